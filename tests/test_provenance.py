"""The driver's lock, measurements."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from snas import InputError, provenance, tables

HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from snas import provenance
    held = provenance.hold_run(Path(sys.argv[1]), "mine", reads_only=False)
    print("held", flush=True)
    time.sleep(60)
""")


def test_one_driver_per_run_and_a_dead_ones_lock_is_taken_away(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir()
    (locks / "0.output.lock").write_text("results/mine/a.parquet\n")
    (locks / "1.output.lock").write_text("results/other/a.parquet\n")
    with pytest.raises(InputError, match=f"results/mine is being made by process {first.pid} on"):
        provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    with pytest.raises(
        InputError, match=f"run 'mine' is being made by process {first.pid} on .* \\(--run NAME\\)"
    ):
        provenance.check_free(tmp_path, "mine")
    provenance.check_free(tmp_path, "never begun")
    other = provenance.hold_run(tmp_path, "another", reads_only=False)
    other.close()
    provenance.check_free(tmp_path, "another")
    assert len(list(locks.iterdir())) == 2
    first.kill()
    first.wait()
    first.stdout.close()
    held = provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert [p.name for p in locks.iterdir()] == ["1.output.lock"], "another run's lock stays"
    held.close()


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Who only reads: it holds the run ``mine`` until somebody has waited."""
    path = tmp_path / ".snakemake/snas/mine.lock"
    path.parent.mkdir(parents=True)
    with path.open("a") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        monkeypatch.setattr(provenance.time, "sleep", lambda _: fcntl.flock(reader, fcntl.LOCK_UN))
        yield reader


@pytest.mark.usefixtures("reader")
def test_a_driver_waits_for_who_only_reads(tmp_path):
    """A dry run that begins at the same time holds the run for a moment: it would be taken for its driver."""
    held = provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert held is not None
    held.close()


@pytest.mark.usefixtures("reader")
def test_who_asks_whether_a_run_is_free_waits_for_who_only_reads(tmp_path):
    provenance.check_free(tmp_path, "mine")


def test_who_only_reads_waits_for_nobody_and_holds_nothing(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(provenance.time, "sleep", slept.append)
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    assert not (tmp_path / "results").exists(), "nothing is to be written there"
    with provenance.hold_run(tmp_path, "mine", reads_only=False):
        assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    assert not slept


def test_a_run_that_nobody_can_hold_is_read_and_not_made(tmp_path):
    (tmp_path / ".snakemake").write_text("no folder")
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    provenance.check_free(tmp_path, "mine")
    with pytest.raises(InputError, match=r"\.snakemake"):
        provenance.hold_run(tmp_path, "mine", reads_only=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("folder", [".snakemake/snas", "results/mine"])
def test_a_driver_that_could_write_nothing_does_not_begin(tmp_path, monkeypatch, folder):
    whole = tempfile.TemporaryFile

    def file(dir):
        if dir == tmp_path / folder:
            return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")
        return whole(dir=dir)

    monkeypatch.setattr(provenance.tempfile, "TemporaryFile", file)
    with pytest.raises(
        InputError, match=f"{tmp_path / folder} cannot be written: no space left on the device"
    ):
        provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None


def test_a_driver_without_room_for_its_name_holds_the_run(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(provenance, "_sign", full)
    with (
        provenance.hold_run(tmp_path, "mine", reads_only=False),
        pytest.raises(InputError, match="is being made by another process"),
    ):
        provenance.hold_run(tmp_path, "mine", reads_only=False)


def test_jobs_know_their_driver(tmp_path, monkeypatch):
    monkeypatch.setenv(provenance.DRIVER, "nobody")
    provenance.hold_run(tmp_path, "mine", reads_only=True)
    assert os.environ[provenance.DRIVER] == "nobody"
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert os.environ[provenance.DRIVER] == f"{provenance.socket.gethostname()}:{os.getpid()}"


def test_only_locks_on_files_of_the_run_are_taken_away(tmp_path):
    """Also where the last driver had no room for its name."""
    locks = tmp_path / ".snakemake/locks"
    (locks / "a_folder.lock").mkdir(parents=True)
    for name, lines in (
        ("0", "data/images.tar\nresults/mine/a.parquet\n"),
        ("1", "results/mine_too/a.parquet\n"),
        ("2", "kept/results/mine/a.parquet\n"),
    ):
        (locks / f"{name}.output.lock").write_text(lines)
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert sorted(p.name for p in locks.iterdir()) == ["1.output.lock", "2.output.lock", "a_folder.lock"]


def test_a_driver_of_another_machine_may_live_although_its_lock_seems_free(tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/mine/a.parquet\n")
    sign = tmp_path / ".snakemake/snas/mine.lock"
    sign.parent.mkdir()
    sign.write_text("process 7 on another-machine since 2026-01-01 10:00:00")
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert list(locks.iterdir()), "Snakemake says who may take it away"
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert not list(locks.iterdir()), "now it was this machine that held it last"


def test_a_file_system_without_locks_says_so_and_serves(tmp_path, monkeypatch, capsys):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(provenance.fcntl, "flock", flock)
    monkeypatch.setenv(provenance.DRIVER, "nobody")
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    assert (os.environ[provenance.DRIVER], capsys.readouterr().err) == ("nobody", "")
    assert provenance.hold_run(tmp_path, "mine", reads_only=False) is None
    assert "this file system has no locks (no locks available)" in capsys.readouterr().err
    assert os.environ[provenance.DRIVER].endswith(f":{os.getpid()}")
    provenance.check_free(tmp_path, "mine")


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("-n", True),
        ("-np", True),
        ("-pn", True),
        ("--cores 2 --dry-run", True),
        ("--summary", True),
        ("--report=page.html", True),
        ("--dag=dot", True),
        ("--unlock", True),
        ("-nj4", True),
        ("--dry", True),
        ("--list-untracked", True),
        ("--nolock", False),
        ("--cores 2 -Rtrain", False),
        ("-c2 -dmine", False),
        ("-kpRtrain", False),
        ("--cores 2", False),
        ("fig5 --cores 2", False),
    ],
)
def test_commands_that_make_nothing_are_known(line, reads):
    assert provenance.only_reads(["snakemake", *line.split()]) is reads


def test_a_process_that_ended_and_was_not_asked_after_is_not_alive(monkeypatch, tmp_path):
    """In a container whose first process asks after no orphan, a driver that was killed keeps its number for ever."""
    name = tmp_path / "a) R (b"  # a name that looks like the end of one, and a state
    name.symlink_to(shutil.which("sleep"))
    with subprocess.Popen([name, "600"]) as process:
        assert provenance.alive(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is left as it is
        os.kill(process.pid, 0)
        assert not provenance.alive(process.pid)
    assert not provenance.alive(process.pid)
    assert provenance.alive(os.getpid())
    assert provenance.alive(1), "which belongs to somebody else, or to us"


def test_a_process_that_nothing_is_told_of_is_alive(monkeypatch):
    """Of somebody else, or on a system without /proc."""

    def refuse(*arguments):
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(provenance.os, "kill", refuse)
        assert provenance.alive(os.getpid())
    monkeypatch.setattr(provenance.Path, "read_text", refuse)
    assert provenance.alive(os.getpid())


def test_measured_says_what_it_cost():
    with provenance.measured(seed=3, recipe="r") as record:
        sum(range(10000))
    assert record["identity"] == ["recipe", "seed"]
    assert record["recipe"] == "r"
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert record["gpu_seconds"] == 0
    assert "python" in record["versions"]


@pytest.mark.parametrize("kind", [None, "cpu", "cuda"])
def test_seconds_are_those_of_the_block_and_of_its_device(monkeypatch, kind):
    at = {"wall": 10.0, "cpu": 3.0}
    monkeypatch.setattr(provenance.time, "monotonic", lambda: at["wall"])
    monkeypatch.setattr(provenance.time, "process_time", lambda: at["cpu"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    with provenance.measured(kind and torch.device(kind)) as record:
        at |= {"wall": 12.5, "cpu": 3.5}
    on_gpu = kind == "cuda"
    assert (record["seconds"], record["cpu_seconds"]) == (2.5, 0.5)
    assert (record["gpu_seconds"], record["device"]) == ((2.5, "a GPU") if on_gpu else (0.0, "cpu"))
    assert record.get("peak_gpu_memory_mb") == (3.0 if on_gpu else None)


def test_versions_are_those_of_what_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    found = provenance.versions()
    assert "pandas" not in found
    assert found["numpy"] == np.__version__
    assert torch.__version__.startswith(found["torch"].partition("+")[0])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "given cannot be written: no space left on the device; free some"),
        (OSError(errno.ENOSPC, "No space left on device", "own"), "own cannot be written: no space left on the device"),
        (OSError("IOError: [Errno 28] No space left on device"), "given cannot be written: no space left on the device"),
        (OSError(errno.EROFS, ""), "given cannot be written: read-only file system; make the folder writable and start"),
        (OSError(errno.EACCES, ""), "given cannot be written: permission denied; make the folder writable"),
        (OSError(errno.EPERM, ""), "given cannot be written: operation not permitted; make the folder writable"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error"),
    ],
)  # fmt: skip
def test_what_to_do_about_a_file_that_cannot_be_written(error, sentence):
    assert provenance.unwritable(error, "given").startswith(sentence)


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path):
    left = []
    for name in ("a.parquet", "deep/er/openings", "b.tar.gz"):
        with tables.replacing(tmp_path / name) as temporary:
            left.append(temporary)
    for path in left:
        path.touch()
    kept = [tmp_path / name for name in (".hidden", ".a.b", "a.parquet", "deep/er/openings", "b.tar.gz")]
    for path in kept[:2]:
        path.touch()
    (tmp_path / ".folder.abcdefgh").mkdir()
    provenance.clear_leftovers(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    assert (tmp_path / ".folder.abcdefgh").is_dir()
