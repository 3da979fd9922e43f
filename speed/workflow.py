"""``python -m speed --only workflow``: what Snakemake and the start of jobs cost beside the work itself.

Processor seconds and peak memory of child processes, as the system counts them.  The overhead of the default run is what its
jobs' starts and its driver take, by the numbers of this record, against what the files of that run say that was
computed (``cpu_seconds``).  The default run is made for that, from nothing, under a name of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from snas import config, tables
from snas.search import METHODS, jobs
from speed.record import ROOT, Record

STARTS = {
    "training shard": "import snas.training.truth, snas.training.codes, snas.networks.nano_population, snas.images.digits",
    "search block in torch": "import snas.search.block, snas.search.on_device, snas.search.predictor_search, snas.predictors.brp, scipy.stats",
    "search block in native code": "import snas.search.block, snas.search.predictor_search, snas.predictors.native_predictor, scipy.stats, pandas, pyarrow.parquet",
    "search block without a predictor": "import snas.search.block, snas.search.methods, pandas, pyarrow.parquet",
    "figure": "import snas.figures.curves, snas.figures.scatter",
    "small table": "import snas.tables, pandas, pyarrow.parquet",
}
"""What the jobs import, by kind, wherever in them it is; without looking for garbage, as ``scripts/_job.py`` has it."""
KINDS = {
    "code_shard": "training shard",
    "truth_shard": "training shard",
    "proxy_shard": "training shard",
    "search_block": "search block in native code",
    "figure": "figure",
}
"""Kind of the jobs of a rule; all others are small tables."""
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


def spent(command: list[str], folder: Path = ROOT) -> tuple[float, float]:
    """Return (processor seconds, peak MB) of a command and its children; raises where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
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
    """Measure what Snakemake and the product's script head take for one job; return the median."""
    values = []
    for _ in range(repeats):
        one, many = toy_run(1), toy_run(1 + jobs)
        values.append((many - one) / jobs)
    record.row(
        f"a job of a script that does nothing but begin (difference of 1 and {1 + jobs} jobs)",
        values, "s", floor=spent([sys.executable, "-c", "pass"])[0], floor_assumes="an interpreter that starts and ends",
    )  # fmt: skip
    return statistics.median(values)


def toy_run(jobs: int) -> float:
    """Return the processor seconds of a workflow of jobs that only begin."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scripts").mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs), encoding="utf-8")
        (folder / "scripts/one.py").write_text(SCRIPT, encoding="utf-8")
        (folder / "scripts/_job.py").write_bytes((ROOT / "scripts/_job.py").read_bytes())
        return spent(snakemake("--cores", "1", "--quiet", "all"), folder)[0]


def starts(record: Record, repeats: int) -> dict[str, float]:
    """Measure the imports of each kind of job; return the medians."""
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in ("torch", *STARTS)}
    for _ in range(repeats):
        for kind in found:
            imports = STARTS.get(kind, "import torch")
            found[kind].append(spent([sys.executable, "-c", f"import gc; gc.disable(); {imports}"]))
    torch = statistics.median(cpu for cpu, _ in found["torch"])
    for kind in STARTS:
        needs = kind in ("training shard", "search block in torch")
        floor = {"floor": torch, "floor_assumes": "an interpreter that has imported torch"} if needs else {}
        record.row(
            f"start of a {kind}: interpreter and imports", [cpu for cpu, _ in found[kind]], "s", **floor
        )
    record.row("peak memory of an import of torch", [mb for _, mb in found["torch"]], "MB")
    return {kind: statistics.median(cpu for cpu, _ in values) for kind, values in found.items()}


def computed(folder: Path) -> float:
    """Return the processor seconds that a run's files say was computed; tables that were joined repeat their shards'."""
    records = [tables.metadata(path) for path in sorted(folder.rglob("*.parquet"))]
    return sum(float(each.get("cpu_seconds", 0.0)) for each in records if "shards" not in each)


def default_run(record: Record) -> Path:
    """Make the default run on all cores, add what it took, and return its folder."""
    folder = ROOT / "results/speed"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    cpu, peak = spent(snakemake("--cores", "all", "--quiet", "all", "--config", f"run={folder.name}"))
    record.row("default run, from no results, all cores: wall time", [time.perf_counter() - began], "s, wall")
    record.row("default run: processor time of driver and jobs", [cpu], "s")
    record.row("default run: peak memory of its largest process", [peak], "MB")
    return folder


def overhead(record: Record, folder: Path, each: float, start: dict[str, float]) -> None:
    """Add up what the default run spends beside its work."""
    counts = job_counts()
    counts.pop("all", None)
    beside = sum(n * (each + start[KINDS.get(rule, "small table")]) for rule, n in counts.items())
    for job in jobs.search_jobs(config.load({})):
        method = METHODS.load(job.method)
        kind = "without a predictor" if not method.computes else "in torch" if not method.native else None
        if kind is not None:
            beside += start[f"search block {kind}"] - start["search block in native code"]
    driver = next(row["median"] for row in record.rows if row["what"].startswith("dry run of the default"))
    work = computed(folder)
    title = f"default run, {sum(counts.values())} jobs"
    record.row(f"{title}: computed, by its files", [work], "s")
    record.row(f"{title}: driver, starts and imports, by the rows above", [beside + driver], "s")
    record.row(f"{title}: overhead", [100 * (beside + driver) / (work + beside + driver)], "%")


def measure(*, quick: bool) -> Record:
    """Measure and return all rows."""
    record = Record(
        "workflow", notes="Processor time and peak memory of child processes, as the system counts them."
    )
    repeats = 1 if quick else 3
    dry_runs(record, repeats)
    each = per_job(record, 10 if quick else 30, repeats)
    start = starts(record, repeats)
    if not quick:  # some minutes
        overhead(record, default_run(record), each, start)
    return record
