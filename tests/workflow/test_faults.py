"""Faults: kills at random moments, a full disk, a folder that cannot be written, clocks that jump, foreign shards."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snas import provenance, tables
from snas.training.schemas import CODES
from tests.conftest import ROOT, Workflow
from tests.workflow.conftest import SMOKE, columns, processes, same

NOTHING = "Nothing to be done"
SPACE = "results/smoke/spaces/nasbench201.parquet"
ONE = ("--configfile", "config/smoke.yaml", "--cores", "1")


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------
JOB = """
import os, signal, sys, time
from types import SimpleNamespace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
sys.path.insert(0, "scripts")
from _job import begin
import gc
assert not gc.isenabled()  # while the rest is imported
begin(SimpleNamespace(
    rule="one", log=["results/run/logs/one.log"], output=["results/run/one.parquet"], threads=1, resources={}
))
assert gc.isenabled() and gc.get_freeze_count() > 1000
"""


def job(folder: Path, then: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a job that begins and goes on with ``then``; return what came of it, and its log."""
    Workflow(folder)
    done = subprocess.run(
        [sys.executable, "-c", JOB + then], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, (folder / "results/run/logs/one.log").read_text()


def test_a_job_that_is_interrupted_says_so_and_an_error_keeps_its_trace(tmp_path):
    done, log = job(tmp_path, "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
    assert done.returncode
    assert (done.stderr, log) == ("[snas] one: stopped\n", "stopped\n")
    done, log = job(tmp_path, "raise ValueError('no such value')")
    assert done.returncode
    assert done.stderr.splitlines()[0] == "[snas] one: ValueError: no such value"
    assert "Traceback" not in done.stderr
    assert "Traceback" in log


CYCLE = """
class Cycle:
    def __del__(self):
        os.write(1, b"looked for garbage")
one = Cycle()
one.itself = one
del one
"""


def test_nothing_is_looked_through_for_garbage_when_a_job_ends(tmp_path):
    done, log = job(tmp_path, CYCLE)
    assert (done.returncode, done.stderr, log) == (0, "", "")
    assert job(tmp_path, CYCLE + "gc.collect()")[1] == "looked for garbage"


# ---- kills ----------------------------------------------------------------------------------------------------------
KINDS = [
    ("SIGTERM", "driver"),
    ("SIGKILL", "driver"),
    ("SIGTERM", "job"),
    ("SIGKILL", "job"),
    ("SIGTERM", "group"),
    ("SIGKILL", "group"),
]


def jobs_of(driver: int) -> list[int]:
    """Return the processes that run a rule's script."""
    return [
        pid for pid, line in processes(driver).items() if "/.snakemake/scripts/" in line and "-c " not in line
    ]


def in_flight(folder: Path) -> set[str]:
    """Return the files that Snakemake has marked as begun and not ended."""
    marks = folder / ".snakemake/incomplete"
    names = (p.name for p in marks.iterdir() if p.is_file()) if marks.is_dir() else ()
    return {base64.b64decode(name.encode(), b"-_").decode() for name in names if name != "migrated"}


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the finished tables with what would change if they were made again; each must be whole."""
    found = {}
    for path in (folder / "results").rglob("*.parquet"):
        if not path.name.startswith("."):
            pq.read_table(path)
            found[str(path.relative_to(folder))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return {name: state for name, state in found.items() if name not in in_flight(folder)}


def made(folder: Path) -> int:
    """Return how many tables and pictures are there."""
    # not rglob: a driver that starts removes a folder while it is read
    names = (name for _, _, names in os.walk(folder / "results") for name in names)
    return sum(1 for name in names if name.endswith((".parquet", ".png")) and not name.startswith("."))


def kill_once(workflow: Workflow, name: str, whom: str, files: int, after: float, log: Path) -> bool:
    """Start a run and kill it, or a part of it, ``after`` seconds from when it has made ``files``; wait until nothing of
    it lives.  False where it was done before."""
    folder = workflow.folder
    with log.open("w") as out:
        driver = subprocess.Popen(
            workflow.command(*SMOKE), cwd=folder, env=workflow.environment, start_new_session=True,
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        there = made(folder)
        while driver.poll() is None and made(folder) < there + files:
            time.sleep(0.05)
        end = time.monotonic() + after
        while driver.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        while whom == "job" and driver.poll() is None and not jobs_of(driver.pid):
            time.sleep(0.02)
        if driver.poll() is not None:
            return False
        send(getattr(signal, name), whom, driver)
        driver.wait(timeout=600)
        while processes(driver.pid):
            time.sleep(0.1)
    return True


def send(number: signal.Signals, whom: str, driver: subprocess.Popen) -> None:
    """Send a signal to the driver, to all of its group, or to one of its jobs (and stop the driver after that)."""
    with contextlib.suppress(ProcessLookupError):
        if whom == "driver":
            driver.send_signal(number)
        elif whom == "group":
            os.killpg(driver.pid, number)
        else:
            for victim in jobs_of(driver.pid)[:1]:
                os.kill(victim, number)
            time.sleep(0.7)  # the driver sees it, says it, and goes on
            driver.send_signal(signal.SIGKILL)


@pytest.mark.long
def test_twenty_kills_lose_nothing_but_what_was_in_flight(smoke, tmp_path, capsys):
    """Twenty kills at random moments of runs that go on from each other; then all is as if nothing had happened."""
    workflow, log = Workflow(tmp_path), tmp_path / "said.txt"
    draw = random.Random(20)
    kinds = (KINDS * 4)[:20]
    draw.shuffle(kinds)
    undisturbed = columns(smoke[0].folder / "results/smoke")
    rows: list[tuple] = []
    before: dict[str, tuple[int, int]] = {}
    while len(rows) < len(kinds):
        name, whom = kinds[len(rows)]
        files = draw.choice((0, 1, 1, 2, 3, 4))
        after = draw.uniform(0, 12 if files == 0 else 5)
        hit = kill_once(workflow, name, whom, files, after, log)
        said = log.read_text()
        assert "unlock" not in said, said[-3000:]
        now = finished(tmp_path)
        lost = [file for file, state in before.items() if now.get(file) != state]
        assert not lost, f"made again or lost: {lost}"
        if not hit:  # it was done before the kill: compare, and begin again
            same(columns(tmp_path / "results/smoke"), undisturbed)
            shutil.rmtree(tmp_path / "results")
            before = {}
            continue
        before = now
        moment, flying = f"{files} files + {after:.1f} s", len(in_flight(tmp_path))
        rows.append((len(rows) + 1, f"{name} of the {whom}", moment, len(now), flying, len(lost)))
    said = workflow.run(*SMOKE).stdout
    assert "unlock" not in said
    lost = [file for file, state in before.items() if finished(tmp_path).get(file) != state]
    assert not lost
    same(columns(tmp_path / "results/smoke"), undisturbed)
    assert NOTHING in workflow.run(*SMOKE).stdout
    assert not [p for p in (tmp_path / "results").rglob(".*") if provenance.LEFTOVER.fullmatch(p.name)]
    with capsys.disabled():
        print(f"\n{'':>4} {'kill':<20} {'after':>16} {'tables':>7} {'in flight':>10} {'lost':>5}")
        for row in rows:
            print("{:>3}. {:<20} {:>16} {:>7} {:>10} {:>5}".format(*row))
        print(f"{len(rows)} of {len(kinds)}: the finished run equals the undisturbed one in every column")


SLOW_DRIVER = """
import sys
if "snakemake" in sys.orig_argv and not any("/.snakemake/scripts/" in word for word in sys.orig_argv):
    import pathlib, time
    from snakemake.scheduling.job_scheduler import JobScheduler
    finish = JobScheduler._finish_jobs
    def slowly(self):
        if self._tofinish:
            pathlib.Path("in-the-lock").touch()
            time.sleep(3)
        finish(self)
    JobScheduler._finish_jobs = slowly
"""


def test_a_driver_that_is_told_to_end_while_it_holds_its_lock_ends(workflow):
    """Snakemake's own handler waits for a lock that the interrupted thread may hold, and then for ever."""
    (workflow.folder / "sitecustomize.py").write_text(SLOW_DRIVER)
    environment = workflow.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{workflow.folder}"}
    driver = subprocess.Popen(
        workflow.command(SPACE, *ONE), cwd=workflow.folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while not (workflow.folder / "in-the-lock").exists() and driver.poll() is None:
            time.sleep(0.05)
        driver.send_signal(signal.SIGTERM)
        said, _ = driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert "1 of 1 steps (100%) done" in said, said


# ---- disks and folders ----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Mount something at ``folder`` for a while; skips where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill the disk of ``folder`` up to ``leave`` bytes."""
    path = folder / "filler"
    path.write_bytes(bytes(max(0, shutil.disk_usage(folder).free - leave)))
    return path


def test_a_disk_that_fills_up_during_a_job_is_one_sentence_and_goes_on(workflow):
    results = workflow.folder / "results"
    with mounted(results, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        filler = fill(results, provenance.BOOKKEEPING + 20_000)
        done = workflow.run(SPACE, *ONE, check=False)
        assert done.returncode
        assert (
            f"[snas] space: {SPACE} cannot be written: no space left on the device; free some and"
            in done.stdout
        )
        assert not [p for p in results.rglob("*") if p.suffix == ".parquet"], "no half file, hidden or not"
        filler.unlink()
        assert "1 of 1 steps (100%) done" in workflow.run(SPACE, *ONE).stdout
        pq.read_table(workflow.folder / SPACE)


@pytest.mark.parametrize("full", ["results", "."])
def test_a_full_disk_is_refused_before_anything_starts(workflow, tmp_path_factory, full):
    folder = workflow.folder
    if full == ".":
        folder = tmp_path_factory.mktemp("disk")
    with mounted(folder / full, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        started = Workflow(folder)
        filler = fill(folder / full, 0)
        done = started.run(SPACE, *ONE, check=False)
        assert done.returncode
        assert "cannot be written: no space left on the device; free some and start the same" in done.stdout
        assert "Error in rule" not in done.stdout
        filler.unlink()
        started.run(SPACE, *ONE)


def test_a_read_only_results_folder_is_one_sentence(workflow):
    results = workflow.folder / "results"
    with mounted(results, "--bind", "-o", "ro", str(results)):
        done = workflow.run(SPACE, *ONE, check=False)
        assert done.returncode
        assert (
            "results/smoke cannot be written: read-only file system; make the folder writable" in done.stdout
        )
        assert "Traceback" not in done.stdout
        assert workflow.run(SPACE, "-n", *ONE).returncode == 0, "a dry run may read"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_of_somebody_else_is_one_sentence():
    """Not in pytest's own folder, which every start of pytest closes to others anew."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        check_a_folder_of_somebody_else(Path(made))


def check_a_folder_of_somebody_else(folder):
    folder.chmod(0o755)
    (folder / "results").mkdir(mode=0o555)
    code = (
        "import os, sys; from pathlib import Path; from snas import InputError, provenance\n"
        "os.setuid(65534)\n"
        "try: provenance.hold_run(Path(sys.argv[1]), 'mine', reads_only=False)\n"
        "except InputError as error: print(error)\n"
    )
    (folder / ".snakemake/snas").mkdir(parents=True)
    (folder / ".snakemake/snas").chmod(0o777)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(Path(provenance.__file__).parent.parent)})  # fmt: skip
    assert "results/mine cannot be written: permission denied; make the folder writable" in done.stdout, (
        done.stderr
    )


# ---- clocks, foreign shards -----------------------------------------------------------------------------------------
@pytest.mark.long
@pytest.mark.parametrize("hours", [-72, 72])
def test_a_clock_that_jumped_makes_nothing_again(finished_run, hours):
    """Half of the files, and all of the workflow's own, carry times of a clock that was days off."""
    draw = random.Random(0)
    moment = time.time() + hours * 3600
    files = sorted(p for p in (finished_run.folder / "results").rglob("*") if p.is_file())
    for path in [*draw.sample(files, len(files) // 2), *sorted(finished_run.folder.glob("*/*.*"))]:
        os.utime(path, (moment, moment))
    assert NOTHING in finished_run.run(*SMOKE).stdout


def remade(path: Path, **facts: object) -> None:
    """Write a shard again with other facts in its metadata, as an older version would have made it."""
    frame, record = tables.read(path, CODES), tables.metadata(path)
    tables.write(path, frame, CODES, {**record, **facts})


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "value"), [("code", "0123456789abcdef"), ("recipe", "digits_code"), ("seed", 7), ("width", 8)]
)
def test_a_shard_of_older_code_or_another_recipe_is_named_and_not_mixed(finished_run, key, value):
    shard = "results/smoke/training/codes/shard_001.parquet"
    joined = finished_run.folder / "results/smoke/training/codes.parquet"
    before = joined.read_bytes()
    remade(finished_run.folder / shard, **{key: value})
    joined.unlink()
    done = finished_run.run(str(joined.relative_to(finished_run.folder)), *SMOKE, check=False)
    assert done.returncode
    assert f"{shard}: made with {key} = {value!r}, but " in done.stdout
    assert not joined.exists()
    (finished_run.folder / shard).unlink()
    finished_run.run(str(joined.relative_to(finished_run.folder)), *SMOKE)
    again, first = pq.read_table(joined), pq.read_table(pa.BufferReader(before))
    assert again.drop_columns("seconds").equals(first.drop_columns("seconds"))
