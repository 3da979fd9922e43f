"""The smoke run as jobs of a real SLURM cluster of one node, brought up for these tests (python -m pytest -m slurm).

Nothing of it touches a cluster that is there: where a ``slurm.conf`` exists that the script beside the repository has not
written, or the script is missing, the tests are skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflow.conftest import columns, same

pytestmark = pytest.mark.slurm
SCRIPTS = ROOT.parent / "shared" / "slurm"
CONF = Path("/etc/slurm/slurm.conf")
MEMORY_KILL = "JobAcctGatherParams=OverMemoryKill\n"
PROFILE = (
    "--workflow-profile", "profiles/slurm", "--configfile", "config/smoke.yaml", "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "20",
)  # fmt: skip


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of one node with four CPUs and four devices, whose jobs are killed when they take too much memory."""
    if not (SCRIPTS / "slurm_up.sh").exists():
        pytest.skip(f"no SLURM to bring up: {SCRIPTS} is missing")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip(
            "Snakemake's plugin for SLURM is missing: pip install -c constraints.txt -e '.[test,slurm]'"
        )
    if os.geteuid() != 0:
        pytest.skip("bringing up SLURM needs root")
    if CONF.exists() and "slurm_up.sh" not in CONF.read_text().splitlines()[0]:
        pytest.skip(f"{CONF} belongs to a cluster of this site")
    up = ["bash", str(SCRIPTS / "slurm_up.sh")]
    environment = os.environ | {"SLURM_TEST_CPUS": "4", "SLURM_TEST_GPUS": "4"}
    done = subprocess.run(
        up, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"SLURM does not come up here: {done.stdout[-300:]}")
    try:
        with CONF.open("a") as file:
            file.write(MEMORY_KILL)
        output("scontrol", "reconfigure")
        yield
    finally:
        subprocess.run(["bash", str(SCRIPTS / "slurm_down.sh")], check=False)


def jobs(folder: Path) -> list[dict[str, str]]:
    """Return what SLURM says of every job that was submitted from ``folder``, in order."""
    found = []
    for line in output("scontrol", "show", "job", "-d", "-o").splitlines():
        job = dict(re.findall(r"(\w+)=(\S*)", line))
        if job.get("WorkDir") == str(folder):
            found.append(job)
    return sorted(found, key=lambda job: int(job["JobId"]))


def table(found: list[dict[str, str]]) -> str:
    """Return the list of jobs as people read it."""
    lines = [f"{'job':>6} {'state':<14} {'limit':>11} {'memory':>7} {'gpu':>4}  rule"]
    for job in found:
        rule = job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
        lines.append(
            f"{job['JobId']:>6} {job['JobState']:<14} {job['TimeLimit']:>11} {job['MinMemoryNode']:>7} "
            f"{job.get('TresPerJob', '').rpartition(':')[2]:>4}  {rule}"
        )
    return "\n".join(lines)


def rule_of(job: dict[str, str]) -> str:
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


def test_the_smoke_run_as_jobs(cluster, smoke, workflow, capsys):
    """Every shard and block is a job of its own; each that wants a GPU asks for one and sees that one."""
    workflow.run(*PROFILE)
    found = jobs(workflow.folder)
    with capsys.disabled():
        print("\n" + table(found))
    assert {job["JobState"] for job in found} == {"COMPLETED"}
    rules = [rule_of(job) for job in found]
    assert rules.count("code_shard") == 2
    assert rules.count("truth_shard") == 3
    assert rules.count("search_block") == 7
    for job in found:
        native = rule_of(job) == "search_block"  # random search and predictors with native code
        assert job.get("TresPerJob") == (None if native else "gres:gpu:1")
        assert "ArrayTaskId" not in job, "tasks of an array watch, and delete, the output of its first job"
    logs = workflow.folder / "results/smoke/logs"
    seen = [p.read_text() for room in ("training", "search") for p in (logs / room).rglob("*_*.log")]
    devices = [m for text in seen if (m := re.search(r"device: SLURM's, CUDA_VISIBLE_DEVICES=(\S+)", text))]
    assert len(devices) == 2 + 3
    with capsys.disabled():
        print("devices that the jobs saw:", " ".join(m.group(1) for m in devices))
    assert {m.group(1) for m in devices} <= {"0", "1", "2", "3"}, "one device, never a list"
    same(columns(workflow.folder / "results/smoke"), columns(smoke[0].folder / "results/smoke"))
    assert "Nothing to be done" in workflow.run(*PROFILE).stdout


TROUBLE = """
import pathlib as _pathlib, time as _time
_first = _pathlib.Path(".snakemake", "first_" + "_".join(map(str, snakemake.wildcards)) + "_" + snakemake.rule)
if {when}:
    try:
        _first.touch(exist_ok=False)
    except FileExistsError:
        pass
    else:
        {what}
"""  # only the first attempt is in trouble
TAKE_TOO_MUCH = "_held = bytearray(b'x' * 2**20) * 3000; _time.sleep(120)"


def trouble(script: Path, when: str, what: str) -> None:
    """Let the first attempt of some jobs of a script get into trouble."""
    script.write_text(TROUBLE.format(when=when, what=what) + script.read_text())


def wait_for(happened: Callable[[], object], seconds: float = 3600) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.3)
    raise AssertionError("it did not happen in time")


def test_cancelled_timed_out_and_memory_killed_jobs_are_tried_again_with_more(
    cluster, smoke, workflow, capsys
):
    """The driver is killed on the way as well; the result is that of an undisturbed run."""
    folder, run = workflow.folder, "results/smoke"
    wanted = ("training/codes", "training/truth", "search/tiny_nanobench-digits/random/n010/block_00-01")
    targets = ("--", *(f"{run}/{name}.parquet" for name in wanted))
    shard = "snakemake.wildcards.get('shard')"
    trouble(folder / "scripts/codes.py", f"{shard} == '000'", TAKE_TOO_MUCH)
    trouble(folder / "scripts/truth.py", f"{shard} == '001'", "_time.sleep(600)")
    block = "(snakemake.wildcards.method, snakemake.wildcards.block)"
    trouble(folder / "scripts/search.py", f"{block} == ('random', '00-01')", "_time.sleep(600)")
    limits = (
        "--set-resources",
        "code_shard:mem_mb=2500 * 2 ** (attempt - 1)", "truth_shard:mem_mb=2500 * 2 ** (attempt - 1)",
        "code_shard:runtime=4 * 3 ** (attempt - 1)", "truth_shard:runtime=2 * 5 ** (attempt - 1)",
    )  # fmt: skip
    log = folder / "said.txt"

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            workflow.command(*PROFILE, *limits, *targets), cwd=folder, env=workflow.environment, start_new_session=True,
            stdout=log.open("a"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def meanwhile(happened: Callable[[], object]) -> None:
        wait_for(lambda: happened() or driver.poll() is not None)
        assert driver.poll() is None, log.read_text()[-4000:]

    driver = start()
    try:
        meanwhile(
            lambda: [j for j in jobs(folder) if rule_of(j) == "truth_shard" and j["JobState"] == "RUNNING"]
        )
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        name = jobs(folder)[0]["JobName"]
        subprocess.run(["scancel", f"--name={name}"], check=True)  # as docs/cluster.md says
        for mark in (folder / ".snakemake").glob("first_*"):
            mark.unlink()
        driver = start()
        meanwhile(lambda: list((folder / ".snakemake").glob("first_*random*")))
        asleep = [j for j in jobs(folder) if "random_010_00" in j["Comment"] and j["JobState"] == "RUNNING"]
        subprocess.run(["scancel", asleep[0]["JobId"]], check=True)
        assert driver.wait(timeout=3600) == 0, log.read_text()[-4000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        subprocess.run(["scancel", "--user=root"], check=False)
    found = jobs(folder)
    with capsys.disabled():
        print("\n" + table(found))
    states = {rule: [j["JobState"] for j in found if rule_of(j) == rule] for rule in map(rule_of, found)}
    assert {"OUT_OF_MEMORY", "FAILED", "CANCELLED"} & set(states["code_shard"]), states
    assert "TIMEOUT" in states["truth_shard"], states
    assert "CANCELLED" in states["search_block"], states
    assert max(j["MinMemoryNode"] for j in found if rule_of(j) == "code_shard").startswith("5")
    made, there = columns(folder / run), columns(smoke[0].folder / run)
    assert {f"{name}.parquet" for name in wanted} <= set(made)
    same(made, {name: there[name] for name in made})
