"""The driver's lock, measurements."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from snas import InputError, provenance

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


def test_a_driver_waits_for_who_only_reads(tmp_path, monkeypatch):
    """A dry run that begins at the same time holds the run for a moment: it would be taken for its driver."""
    path = tmp_path / ".snakemake/snas/mine.lock"
    path.parent.mkdir(parents=True)
    with path.open("a") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        monkeypatch.setattr(provenance.time, "sleep", lambda _: fcntl.flock(reader, fcntl.LOCK_UN))
        held = provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert held is not None
    held.close()


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
    assert provenance.hold_run(tmp_path, "mine", reads_only=False) is None
    assert "this file system has no locks (no locks available)" in capsys.readouterr().err
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("-n", True),
        ("-np", True),
        ("--cores 2 --dry-run", True),
        ("--summary", True),
        ("--report=page.html", True),
        ("--dag=dot", True),
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


def test_measured_says_what_it_cost():
    with provenance.measured(recipe="r", seed=3) as record:
        sum(range(10000))
    assert record["identity"] == ["recipe", "seed"]
    assert record["recipe"] == "r"
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert record["gpu_seconds"] == 0
    assert "python" in record["versions"]
