"""GPU leases with fake device lists and real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

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
    with pytest.raises(InputError, match="device 'tpu' is unknown; known: auto, cpu, cuda"):
        device.torch_device("tpu")
    if device.torch_device("auto").type == "cpu":
        with pytest.raises(InputError, match="torch sees no GPU"):
            device.torch_device("cuda")


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
