"""``python -m speed --only workflow``: what Snakemake and the start of jobs cost beside the work itself.

Processor seconds and peak memory of child processes, as the system counts them.  The default run is made from nothing,
under a name of its own (``--quick``: the smoke run), and each of its jobs leaves the names of all modules that it had
imported when it ended.  An interpreter that imports just these is what the start of the job took, whenever in its life
it imported them.  Overhead is the starts of all jobs, the driver's share of each and the driver's own start; all other
processor time of the run is its work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snas import tables
from speed.record import ROOT, Record

TRACE = """
import sys
if any("/.snakemake/scripts/" in word for word in sys.orig_argv):
    import atexit, json, os, time
    def leave():
        job = getattr(sys.modules["__main__"], "snakemake", None)
        if job is not None:
            said = {"rule": job.rule, "modules": [name for name in sys.modules if name not in ("__main__", "sitecustomize")]}
            with open(os.path.join(os.environ["SPEED_TRACE"], f"{time.time_ns()}_{os.getpid()}.json"), "w") as out:
                json.dump(said, out)
    atexit.register(leave)
"""
"""A ``sitecustomize`` with which every job leaves its rule and what it has imported."""
IMPORT = """
import atexit, gc, importlib, json, sys
gc.disable()  # as scripts/_job.py does while a job imports
atexit.register(gc.freeze)  # as it does at a job's end
for name in json.load(open(sys.argv[1])):
    try:
        importlib.import_module(name)
    except Exception:  # a name that its package has made up
        pass
"""
KINDS = (
    ("in torch", "torch"),
    ("in native code", "snas.predictors.native"),
    ("without a predictor", "snas.search.block"),
)
"""Kinds of a search, and the module by which to know them."""
SNAKEFILE = """
rule all:
    input:
        expand("out/{{i}}.txt", i=range({jobs})),


rule one:
    output:
        "out/{{i}}.txt",
    log:
        "results/x/logs/{{i}}.log",
    script:
        "scripts/one.py"
"""
SCRIPT = "from _job import begin\njob = begin(snakemake)\nopen(snakemake.output[0], 'w').close()\n"


def spent(command: list[str], folder: Path = ROOT, trace: Path | None = None) -> tuple[float, float]:
    """Return (processor seconds, peak MB) of a command and its children; raises where it fails.

    ``trace``: an empty folder where the jobs below it leave what they have imported.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as site:
        if trace is not None:
            Path(site, "sitecustomize.py").write_text(TRACE, encoding="utf-8")
            environment |= {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "SPEED_TRACE": str(trace)}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read().decode()[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def snakemake(*arguments: str) -> list[str]:
    """Return the command line of Snakemake."""
    return [sys.executable, "-m", "snakemake", *arguments]


def dry_runs(record: Record, repeats: int) -> None:
    """Measure parsing and the DAG of the paper's configuration with NAS-Bench-201, and of the default one."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "nasbench201.parquet"
        row = {"arch_id": [0], "dataset": ["cifar10"], "test_accuracy_200": [90.0]}
        pq.write_table(pa.table(row), source)  # a dry run looks whether it is there and has the columns
        paper = ["--configfile", "config/paper.yaml", "--config", f"nasbench201={source}"]
        found: dict[str, list[tuple[float, float]]] = {
            "imports": [],
            "parsed": [],
            "paper": [],
            "default": [],
        }
        for _ in range(repeats):
            found["imports"].append(spent([sys.executable, "-c", "import snakemake.cli, snakemake.workflow"]))
            found["parsed"].append(spent(snakemake("--list-rules", *paper)))
            found["paper"].append(spent(snakemake("-n", "--quiet", "all", *paper)))
            found["default"].append(spent(snakemake("-n", "--quiet", "all", "--forceall")))
    jobs = sum(job_counts(*paper[:2]).values())
    imports = [cpu for cpu, _ in found["imports"]]
    assumes = "an interpreter that has imported Snakemake"
    least = statistics.median(imports)
    for name, what in (
        ("parsed", "Snakefile and the paper's configuration parsed, rules listed"),
        ("paper", f"dry run of the paper's configuration with NAS-Bench-201 ({jobs} jobs without it)"),
        ("default", "dry run of the default configuration, all jobs"),
    ):
        record.row(what, [cpu for cpu, _ in found[name]], "s", floor=least, floor_assumes=assumes)
    record.row("peak memory of the paper's dry run", [mb for _, mb in found["paper"]], "MB")


def job_counts(*arguments: str) -> dict[str, int]:
    """Return how many jobs each rule has, from a dry run with everything to do."""
    said = subprocess.run(
        snakemake("-n", "--forceall", "--quiet", "reason", *arguments),
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", said.stdout + said.stderr, re.M)}
    counts.pop("total", None)
    return counts


def per_job(record: Record, jobs: int, repeats: int) -> float:
    """Measure what Snakemake and the product's script head take for one job; return what of it is the driver's share."""
    values, imports = [], []
    for _ in range(repeats):
        (one, imported), (many, _) = toy_run(1), toy_run(1 + jobs)
        values.append((many - one) / jobs)
        imports.extend(start(imported[0]["modules"]) for _ in range(5))
    record.row(
        f"a job of a script that does nothing but begin (difference of 1 and {1 + jobs} jobs)",
        values, "s", floor=spent([sys.executable, "-c", "pass"])[0], floor_assumes="an interpreter that starts and ends",
    )  # fmt: skip
    record.row("its own start: interpreter and imports", imports, "s")
    return statistics.median(values) - statistics.median(imports)


def toy_run(jobs: int) -> tuple[float, list[dict[str, Any]]]:
    """Return the processor seconds of a workflow of jobs that only begin, and what its jobs have left."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scripts").mkdir()
        (folder / "trace").mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs), encoding="utf-8")
        (folder / "scripts/one.py").write_text(SCRIPT, encoding="utf-8")
        (folder / "scripts/_job.py").write_bytes((ROOT / "scripts/_job.py").read_bytes())
        cpu, _ = spent(snakemake("--cores", "1", "--quiet", "all"), folder, folder / "trace")
        return cpu, left(folder / "trace")


def left(trace: Path) -> list[dict[str, Any]]:
    """Return what the jobs of a run have left: each one's ``rule`` and ``modules``."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(trace.iterdir())]


def start(modules: Sequence[str]) -> float:
    """Return the processor seconds of an interpreter that imports modules, in their order."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "names.json")
        names.write_text(json.dumps(list(modules)), encoding="utf-8")
        return spent([sys.executable, "-c", IMPORT, str(names)])[0]


def kind(job: dict[str, Any]) -> str:
    """Return what a job's row is named by: its rule, and of a search what it computes with."""
    if job["rule"] != "search_block":
        return str(job["rule"])
    return "search_block " + next(how for how, module in KINDS if module in job["modules"])


def starts(record: Record, jobs: Sequence[dict[str, Any]], repeats: int) -> float:
    """Measure the starts of a run's jobs, a row for each kind; return the sum over all jobs."""
    torch = [
        spent([sys.executable, "-c", "import gc; gc.disable(); import torch; gc.freeze()"])
        for _ in range(repeats)
    ]
    found: dict[tuple[str, ...], list[float]] = {tuple(job["modules"]): [] for job in jobs}
    for _ in range(repeats):
        for modules, values in found.items():
            values.append(start(modules))
    kinds: dict[str, list[float]] = {}
    for job in jobs:
        kinds.setdefault(kind(job), []).append(statistics.median(found[tuple(job["modules"])]))
    needs = {kind(job) for job in jobs if "torch" in job["modules"]}
    least = {
        "floor": statistics.median(cpu for cpu, _ in torch),
        "floor_assumes": "an interpreter that has imported torch",
    }
    for name, values in sorted(kinds.items()):
        title = (
            f"start of {name}, {len(values)} jobs: interpreter and imports, each job's median of {repeats}"
        )
        record.row(title, values, "s", **(least if name in needs else {}))
    record.row("peak memory of an import of torch", [mb for _, mb in torch], "MB")
    return sum(map(sum, kinds.values()))


def computed(folder: Path) -> float:
    """Return the processor seconds that a run's files say was computed; tables that were joined repeat their shards'."""
    records = [tables.metadata(path) for path in sorted(folder.rglob("*.parquet"))]
    return sum(float(each.get("cpu_seconds", 0.0)) for each in records if "shards" not in each)


def whole_run(record: Record, share: float, repeats: int, *, quick: bool) -> None:
    """Make a run on all cores, and add what it took and what of that was beside its work; ``share``: the driver's, per job."""
    folder, name = ROOT / "results/speed", "smoke run" if quick else "default run"
    words = ["--configfile", "config/smoke.yaml"] if quick else []
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as trace:
        command = snakemake("--cores", "all", "--quiet", "all", *words, "--config", f"run={folder.name}")
        cpu, peak = spent(command, trace=Path(trace))
        wall, jobs = time.perf_counter() - began, left(Path(trace))
    record.row(f"{name}, from no results, all cores: wall time", [wall], "s, wall")
    record.row(f"{name}: processor time of driver and jobs", [cpu], "s")
    record.row(f"{name}: peak memory of its largest process", [peak], "MB")
    record.row(f"{name}: measured by the jobs that train and search, by their files", [computed(folder)], "s")
    driver = next(row["median"] for row in record.rows if row["what"].startswith("dry run of the default"))
    imports, shares = starts(record, jobs, repeats), share * len(jobs)
    title = f"{name}, {len(jobs)} jobs"
    record.row(f"{title}: interpreters and imports, by the rows above", [imports], "s")
    record.row(f"{title}: driver, its start and its share of the jobs", [driver + shares], "s")
    record.row(f"{title}: overhead", [100 * (imports + driver + shares) / cpu], "%")


def measure(*, quick: bool) -> Record:
    """Measure and return all rows."""
    record = Record(
        "workflow", notes="Processor time and peak memory of child processes, as the system counts them."
    )
    repeats = 1 if quick else 3
    dry_runs(record, repeats)
    share = per_job(record, 10 if quick else 30, repeats)
    whole_run(record, share, repeats, quick=quick)  # some minutes
    return record
