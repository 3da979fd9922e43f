# Names and targets; no logic.
import os
import sys
from pathlib import Path

import snas.config
import snas.device
import snas.progress
import snas.provenance
from snas import InputError
from snas.search import jobs

try:
    CONFIG = snas.config.load(config)
    # The reader of a dry run neither waits for a driver nor becomes one; jobs parse this file too, as part of theirs.
    DRIVER = workflow.is_main_process and snas.provenance.hold_run(
        Path.cwd(), CONFIG.run, reads_only=snas.provenance.only_reads(sys.argv)
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{CONFIG.run}"
LOGS = f"{RUN}/logs"
BENCHMARKS = f"{RUN}/benchmarks"
BENCHES = {bench.name: bench for bench in jobs.benches(CONFIG)}
SEARCHES = jobs.search_jobs(CONFIG)
TOPS = jobs.tops(CONFIG)
ON_DEMAND = CONFIG.truth == "on_demand"

# An image set as the library's loader takes it.
IMAGES = dict(
    name=CONFIG.images,
    path=CONFIG.images_path,
    download=CONFIG.images_download,
    train_images=CONFIG.train_images,
    base_seed=CONFIG.seed,
)
# A job that can use a GPU asks for one where jobs may find one.
GPU = int(snas.device.wanted(CONFIG.device))
WIDTH = dict(width=CONFIG.width)

if DRIVER:
    os.environ["SNAS_DRIVER"] = f"{os.uname().nodename}:{os.getpid()}"

PROGRESS = snas.progress.Progress(CONFIG, Path(RUN))


wildcard_constraints:
    bench="|".join(map(re.escape, BENCHES)),
    space=r"\w+",
    shard=r"\d+",
    round=r"\d+",
    method=r"[a-z_+0-9]+",
    budget=r"\d+",
    block=r"\d+",
    proxy=r"\w+",
    figure=r"[a-z]+\d*[a-z_]*",


def shards(pattern, count):
    """Return the files of all shards of ``pattern``."""
    return expand(pattern, shard=[f"{i:03d}" for i in range(count)])


def space_table(space):
    """Return the file of a space's architectures."""
    return f"{RUN}/spaces/{space}.parquet"


def search_files(bench):
    """Return the search results of a bench."""
    return [
        f"{RUN}/search/{bench}/{job.method}/n{job.budget:03d}/block_{job.block:02d}.parquet"
        for job in SEARCHES
        if job.bench == bench
    ]


def search_job(wildcards):
    """Return the search job of a result file."""
    key = (wildcards.bench, wildcards.method, int(wildcards.budget), int(wildcards.block))
    return next(j for j in SEARCHES if (j.bench, j.method, j.budget, j.block) == key)


def memory(base):
    """Return a function of the attempt: ``base`` MB, doubled at each further try."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)


def minutes(base):
    """Return a function of the attempt: ``base`` minutes, doubled at each further try."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)
