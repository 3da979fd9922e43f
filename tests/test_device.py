"""GPU leases with fake device lists and real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from snas import InputError, device, machine

HOLD = """
import sys, time
from snas import device
held = device.lease(sys.argv[2].split(","), folder=sys.argv[1], poll_seconds=0.05, say=lambda text: None)
import os
print(held.device, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
time.sleep(float(sys.argv[3]))
"""


def holder(folder, devices, seconds=60):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), devices, str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_four_jobs_get_four_devices_and_a_fifth_waits_for_the_first_to_be_killed(tmp_path):
    jobs = [holder(tmp_path, "0,1,2,3") for _ in range(4)]
    got = [job.stdout.readline().split() for job in jobs]
    assert sorted(g[0] for g in got) == ["0", "1", "2", "3"]
    assert all(g[0] == g[1] for g in got)
    fifth = holder(tmp_path, "0,1,2,3", 0)
    time.sleep(0.5)
    assert fifth.poll() is None, "the fifth job must wait"
    jobs[2].send_signal(signal.SIGKILL)
    assert fifth.stdout.readline().split()[0] == got[2][0]
    for job in [*jobs, fifth]:
        job.kill()
        job.wait()
        job.stdout.close()


def test_no_device_says_so_and_serves(tmp_path):
    said = []
    assert device.lease([], folder=tmp_path, say=said.append) is None
    assert "no GPU" in said[0]


def test_slurms_devices_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    said = []
    assert device.lease(folder=tmp_path, say=said.append) is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert "SLURM" in said[0]


def test_a_workflow_inside_one_slurm_job_leases_from_its_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    held = device.lease(say=lambda text: None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    second = device.lease(say=lambda text: None)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    other = device.lease(say=lambda text: None)
    assert other.device == "0", "another job's device 0 is another device"
    for lease in (held, second, other):
        lease.release()


def test_a_users_list_is_what_is_leased_from(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    held = device.lease(folder=tmp_path, say=lambda text: None)
    assert held.device == "2"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    held.release()


@pytest.mark.parametrize(
    ("given", "expected"), [("", ()), ("-1", ()), ("0, 2", ("0", "2")), ("GPU-ab12", ("GPU-ab12",))]
)
def test_visible_devices_reads_the_variable(given, expected):
    assert device.visible_devices({"CUDA_VISIBLE_DEVICES": given}) == expected


def test_unknown_and_absent_devices_are_refused():
    with pytest.raises(InputError, match=r"device 'tpu' is unknown; known: auto, cpu, cuda$"):
        device.torch_device("tpu")
    if device.torch_device("auto").type == "cpu":
        with pytest.raises(InputError, match="torch sees no GPU"):
            device.torch_device("cuda")


@pytest.mark.parametrize(
    ("name", "there", "kind"),
    [("auto", True, "cuda"), ("cuda", True, "cuda"), ("cpu", True, "cpu"), ("auto", False, "cpu"), ("cpu", False, "cpu")],
)  # fmt: skip
def test_a_gpu_is_taken_where_there_is_one_and_it_is_not_refused(monkeypatch, name, there, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device.torch_device(name).type == kind


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (InputError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, expected):
    assert device.out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("name", "given", "elsewhere", "expected"),
    [
        ("auto", "", False, False),
        ("auto", "0", False, True),
        ("auto", "", True, True),
        ("cpu", "0", True, False),
        ("cuda", "", False, True),
    ],
)
def test_jobs_ask_for_a_gpu_where_they_may_find_one(monkeypatch, name, given, elsewhere, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert device.wanted(name, elsewhere=elsewhere) is expected


def test_a_lock_in_a_folder_that_all_may_write_to_follows_no_link_and_trusts_nobody(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_text("content")
    room = tmp_path / "room"
    room.mkdir()
    (room / "0.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        device.lease(["0"], folder=room)
    assert precious.read_text() == "content"
    monkeypatch.setattr(device.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    (tmp_path / f"snas-devices-{os.getuid()}").mkdir()
    monkeypatch.setattr(
        device.Path, "lstat", lambda path: os.stat_result((0o40755, 0, 0, 0, os.getuid() + 1, *[0] * 5))
    )
    with pytest.raises(InputError, match="belongs to another user, so locks in it mean nothing; set TMPDIR"):
        device.lease(["0"])


LISTED = "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo '  MIG 1g.18gb Device 0: (UUID: MIG-1)'; echo 'GPU 1: NVIDIA H200'"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"#!/bin/sh\n{LISTED}\n", ("0", "1")),
        ("#!/bin/sh\necho 'No devices found.'\n", ()),
        (f"#!/bin/sh\n{LISTED}\nexit 9\n", ()),
        ("#!/nowhere/sh\n", ()),
    ],
)
def test_devices_are_those_that_nvidia_smi_lists(tmp_path, monkeypatch, lines, expected):
    (tmp_path / "nvidia-smi").write_text(lines)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    device._machine_devices.cache_clear()
    try:
        assert device.visible_devices({}) == expected
        assert device.visible_devices() == ("7",)
    finally:
        device._machine_devices.cache_clear()


def test_an_nvidia_smi_that_does_not_answer_tells_of_no_device(monkeypatch):
    def hang(command, *, timeout, **options):
        assert timeout < 60
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(device.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(device.subprocess, "run", hang)
    device._machine_devices.cache_clear()
    try:
        assert device.visible_devices({}) == ()
    finally:
        device._machine_devices.cache_clear()


def test_a_device_that_is_given_back_is_free_again(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = device.lease(["0"], folder=tmp_path, say=lambda text: None)
    first.release()
    again = device.lease(["0", "1"], folder=tmp_path, say=lambda text: None)
    assert again.device == "0"
    again.release()


def test_a_lock_says_who_holds_it_and_belongs_to_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(device.tempfile, "tempdir", str(tmp_path))
    root = tmp_path / f"snas-devices-{os.getuid()}"
    before = os.umask(0)
    try:
        device.lease(say=lambda text: None).release()
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (root, root / "0.lock")] == [0o700, 0o600]
    (root / "0.lock").write_text("a process of a longer number\n")
    held = device.lease(say=lambda text: None)
    assert (root / "0.lock").read_text() == f"{os.getpid()}\n"
    held.release()


def test_a_part_of_a_device_is_a_device(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    held = device.lease(["MIG-GPU-ab12/1/0"], folder=tmp_path, say=lambda text: None)
    assert (held.device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("MIG-GPU-ab12/1/0",) * 2
    held.release()


def test_a_folder_for_locks_that_is_named_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    of_another = os.stat_result((0o40755, 0, 0, 0, os.getuid() + 1, *[0] * 5))
    monkeypatch.setattr(device.Path, "lstat", lambda path: of_another)
    device.lease(["0"], folder=tmp_path, say=lambda text: None).release()


def test_who_waits_says_so_once_and_looks_again_from_time_to_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = device.lease(["0"], folder=tmp_path, say=lambda text: None)
    said, slept = [], []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            first.release()

    monkeypatch.setattr(device.time, "sleep", sleep)
    device.lease(["0"], folder=tmp_path, poll_seconds=0.25, say=said.append).release()
    assert said == ["device: all of 0 are in use, waiting for one", "device: GPU 0 of 0"]
    assert slept == [0.25] * 3


def test_devices_that_are_named_are_leased_within_a_slurm_job_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    held = device.lease(["5"], folder=tmp_path, say=lambda text: None)
    assert (held.device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("5", "5")
    held.release()


def test_a_slurm_job_that_is_told_of_no_device_takes_none_of_the_machines(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "_machine_devices", lambda: ("0", "1"))
    said = []
    assert device.lease(folder=tmp_path, say=said.append) is None
    assert said == ["device: SLURM's, CUDA_VISIBLE_DEVICES=not set"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_devices_of_a_container_without_nvidia_smi_are_counted(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(device, "DEVICE_FILES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device._machine_devices.cache_clear()
    try:
        assert device.visible_devices() == ("0", "1")
        assert device.wanted("auto")
    finally:
        device._machine_devices.cache_clear()


@pytest.mark.parametrize("file", ["nvidia0", "nvhost-gpu", "dxg", "kfd"])
def test_a_gpu_that_only_a_device_file_tells_of_is_left_to_torch(tmp_path, monkeypatch, file):
    """In a container without nvidia-smi, on a Jetson board, below Windows, or AMD's."""
    monkeypatch.setattr(device, "DEVICE_FILES", tmp_path)
    monkeypatch.setattr(device, "_machine_devices", lambda: ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine.check_gpu("auto")
    machine.check_gpu("cpu")
    with pytest.raises(
        InputError, match=r"no GPU to be used here \(CUDA_VISIBLE_DEVICES=not set\); 'auto' or"
    ):
        machine.check_gpu("cuda")
    (tmp_path / file).touch()
    machine.check_gpu("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES='-1'"):
        machine.check_gpu("cuda")
