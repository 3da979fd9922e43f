"""``python -m speed --only scale``: time against runs, architectures, budgets, image sides and cores.

Processor time of one thread, but for the rows of cores (wall).  What the whole paper costs on several GPUs is not
measured but computed, from the measured steps and from stated assumptions: :func:`paper_hours`.
"""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from snas import config, networks, spaces, training
from snas.predictors import REGISTRY
from snas.search import jobs
from speed.networks import Setting, nearest, population_turns, spread_out
from speed.processes import ready, together
from speed.record import RECORDS, ROOT, Record

CODE_IMAGES, TRAIN_IMAGES = 5000, 50000
"""The paper's tenth of CIFAR-10's training images, and all of them."""
CODE_SHARDS, TRUTH_SHARDS, SEARCH_JOBS = 40, 280, 2040
"""Jobs of config/paper.yaml with NAS-Bench-201, without BRP-NAS's 400."""
REFERENCE_MACS = 22e6
WORKERS = (1, 4, 64)
PASSES = 3
"""How often the activations of a step go through memory: written, read by the next layer, read and written on the way back
by kernels that fuse what is element by element; :func:`snas.networks.activation_bytes` already counts the gradients of one stage."""


def predictor_seconds(space: str, runs: int, budget: int, epochs: int) -> tuple[float, float]:
    """Return processor seconds of a training of 200 epochs (from a few) and of a ranking, siamese+nsam, all runs together."""
    encoding = spaces.load(space).encoding()
    predictor = REGISTRY.load("siamese+nsam")(encoding, range(runs), base_seed=0, budget=budget, compile=True)
    generator = torch.Generator().manual_seed(0)
    pool = torch.stack([torch.randperm(len(encoding), generator=generator)[:budget] for _ in range(runs)])
    accuracy = 0.8 + 0.1 * torch.rand(runs, budget, generator=generator)
    codes = torch.rand(runs, budget, 3, generator=generator)
    predictor.fit(pool, accuracy, codes, start=0, stop=1)
    predictor.coarse(pool[:, :1])
    started = time.process_time()
    predictor.fit(pool, accuracy, codes, start=1, stop=1 + epochs)
    trained = time.process_time()
    predictor.coarse()
    return (trained - started) / epochs * 200, time.process_time() - trained


def predictor_rows(record: Record, quick: bool) -> None:
    """Measure training and ranking against the number of runs, the budget and the size of the space."""
    points = [("nasbench201", runs, 100) for runs in ((1, 10) if quick else (1, 5, 25))]
    points += [("nasbench201", 10, budget) for budget in ((30,) if quick else (30, 200))]
    points += [(space, 10, 100) for space in ("tiny_nanobench", "tiny_nasbench201")]
    for space, runs, budget in points:
        repeats = 1 if quick else 2
        epochs = max(1, 20 // runs)
        found = [predictor_seconds(space, runs, budget, epochs) for _ in range(repeats)]
        size = len(spaces.load(space))
        name = f"siamese+nsam, {runs} runs at once, N = {budget}, {size} architectures"
        record.row(
            f"{name}: training of 200 epochs, {epochs} of them measured",
            [train / runs for train, _ in found],
            "s/run",
        )
        record.row(f"{name}: ranking", [rank / runs for _, rank in found], "s/run")


def image_rows(record: Record, repeats: int) -> None:
    """Measure a step of the same network against the side of the images, over whole epochs of four steps."""
    space = spaces.load("tiny_nanobench")
    for side in (8, 16, 32, 64):
        setting = Setting(f"side {side}", "paper_code", 32, 3, side, 64)
        turns = population_turns(space, [nearest(space, 22e6)], setting)
        turns.run(4)
        values = [turns.run(4)[1] for _ in range(repeats)]
        record.row(
            f"22 M network of width 32, batch 16, images of {side}×{side}: augmentation and step",
            values,
            "ms/step",
        )


def core_rows(record: Record, steps: int, repeats: int) -> None:
    """Measure one and two processes that train populations at the same time: wall time per network and step."""
    rows: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for processes in rows:
            rows[processes].append(shards_at_once(processes, steps))
    for processes, values in rows.items():
        record.row(
            f"{processes} process(es), each a population of 50 on the digits: wall time of a step",
            values, "ms/network", against=rows[1] if processes > 1 else None,
        )  # fmt: skip


def shards_at_once(processes: int, steps: int) -> float:
    """Return wall ms per network and step of processes that begin together."""
    said = together("speed.scale", "shard", steps, processes=processes)
    return max(map(float, said)) / processes


def one_shard(steps: int) -> None:
    """Train a population when told to, and print wall ms per network and step."""
    torch.set_num_threads(1)
    setting = Setting("digits", "digits_truth", 8, 1, 8, 400)
    turns = population_turns(
        spaces.load("tiny_nanobench"), spread_out(spaces.load("tiny_nanobench"), 50), setting
    )
    turns.run(1)
    ready()
    started = time.perf_counter()
    turns.run(steps)
    print((time.perf_counter() - started) * 1e3 / steps / 50)


# --- the whole paper, computed ---------------------------------------------------------------------------------------


def makespan(durations: Sequence[float], workers: int) -> float:
    """Return when the last of the jobs is done: each is given to the worker that is free first, longest jobs first."""
    free = [0.0] * workers
    for duration in sorted(durations, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def shard_seconds(seconds: np.ndarray, shards: int, start: float) -> list[float]:
    """Return the seconds of each shard, every ``shards``-th architecture, with the start of its job."""
    return [start + float(seconds[number::shards].sum()) for number in range(shards)]


def paper_hours(
    workers: int, *, code_step: float, truth_step: float, search: float, start: float = 10.0
) -> tuple[float, float]:
    """Return (hours, share of the workers' time that is used) of the paper's trainings and searches on equal workers.

    ``code_step`` and ``truth_step`` are the seconds of a step of batch 16 and 128 of a network of 22 M MACs on one worker; others
    cost in proportion to their MACs.  ``search`` are the seconds of all searches on one worker; they are 2,040 jobs of
    equal length.  Shards are those of ``config/paper.yaml`` (40 and 280), and every job takes ``start`` seconds to begin.
    """
    macs = spaces.load("tiny_nanobench").costs()[0] / REFERENCE_MACS
    code, truth = training.recipe("paper_code"), training.recipe("paper_truth")
    codes, truths = code_step * code.steps(CODE_IMAGES) * macs, truth_step * truth.steps(TRAIN_IMAGES) * macs
    first = shard_seconds(codes, CODE_SHARDS, start) + shard_seconds(truths, TRUTH_SHARDS, start)
    then = [start + search / SEARCH_JOBS] * SEARCH_JOBS
    total = makespan(first, workers) + makespan(then, workers)
    return total / 3600, (sum(first) + sum(then)) / (workers * total)


def assumed_step(batch: int, *, flops: float, bandwidth: float) -> float:
    """Return the seconds of a step of a 22 M network on a device that is never waited for: arithmetic, then traffic.

    Arithmetic is 6 FLOP per MAC and image (forward, both gradients).  Traffic is :data:`PASSES` times the activations
    that a step keeps.
    """
    space = spaces.load("tiny_nanobench")
    arch = nearest(space, REFERENCE_MACS)
    kept = networks.activation_bytes(space, arch, width=32, side=32, batch=batch)
    assert kept is not None
    return 6 * REFERENCE_MACS * batch / flops + PASSES * kept / bandwidth


def search_seconds(step: float, ranking: float) -> float:
    """Return the seconds of all searches of the paper's configuration but BRP-NAS's, one after the other on one worker.

    ``step`` is one training step of siamese+nsam and ``ranking`` one ranking of NAS-Bench-201, per run.  A run ranks once, with
    BTS in ten parts once more, with FTS ten times more.  The neural predictor and siamese, half of the runs, are counted
    as siamese+nsam, and smaller spaces as NAS-Bench-201, so that this is a bound from above.
    """
    source = (
        ROOT / "config/paper.yaml"
    )  # stands for the table of NAS-Bench-201: whether it is there is all that matters
    paper = config.load(config.read_file(source) | {"nasbench201": str(source)})
    chosen = [job for job in jobs.search_jobs(paper) if job.method not in ("random", "brp_nas")]
    return sum(
        (job.stop - job.first) * (200 * max(job.budget // 8, 1) * step + rankings(job.method) * ranking)
        for job in chosen
    )


def rankings(method: str) -> int:
    """Return how often a run computes every architecture's accuracy."""
    return {"bts": 2, "fts": 11}.get(method.rpartition("+")[2], 1)


def paper_workers(
    code_step: float, truth_step: float, search_step: float, ranking: float
) -> tuple[float, dict[str, tuple[float, float]]]:
    """Return the seconds of all searches, and of a step of batch 16 and 128 by kind of worker: measured, or by assumption."""
    kinds = {"CPU core of the record": (code_step, truth_step)}
    for name, flops, bandwidth in (
        ("GPU, 20 TFLOP/s and 2 TB/s sustained", 20e12, 2e12),
        ("GPU, 5 TFLOP/s and 0.5 TB/s sustained", 5e12, 5e11),
    ):
        code, truth = (assumed_step(batch, flops=flops, bandwidth=bandwidth) for batch in (16, 128))
        kinds[name] = code, truth
    return search_seconds(search_step, ranking), kinds


def paper_table(code_step: float, truth_step: float, search_step: float, ranking: float) -> str:
    """Return what the whole paper costs: on CPU cores by measured steps, on GPUs by assumption."""
    search, workers = paper_workers(code_step, truth_step, search_step, ranking)
    lines = [
        "| worker | ms per step, batch 16 / 128 | 1 | 4 | 64 | used at 64 |",
        "|---|---|---|---|---|---|",
    ]
    for name, (code, truth) in workers.items():
        found = [paper_hours(n, code_step=code, truth_step=truth, search=search) for n in WORKERS]
        hours = " | ".join(f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h" for hours, _ in found)
        lines.append(f"| {name} | {1e3 * code:.3g} / {1e3 * truth:.3g} | {hours} | {found[-1][1]:.0%} |")
    lines.append(
        f"\nSearches but BRP-NAS's: {search / 3600:.1f} h of one core, the same for every kind of worker."
    )
    return "\n".join(lines)


def newest(topic: str, what: str) -> float:
    """Return the median of the row ``what`` in the newest record of a topic that has it; raises where none has."""
    place = lambda path: (path.parent.name[:10], len(path.parent.name), path.parent.name)
    for path in sorted(RECORDS.glob(f"*_{topic}*/record.json"), key=place, reverse=True):
        for row in json.loads(path.read_text("utf-8"))["rows"]:
            if row["what"] == what:
                return float(row["median"])
    raise LookupError(f"no record has the row {what!r}; first: python -m speed --only {topic}")


def paper_rows(record: Record) -> None:
    """Add what the whole paper costs, computed from the steps of the newest records: hours on 1, 4 and 64 workers."""
    steps = (
        newest("networks", "paper's code, 32×32, batch 16, 22.0 M MACs: augmentation and step, product"),
        newest("networks", "paper's truth, 32×32, batch 128, 22.0 M MACs: augmentation and step, product"),
        newest("predictors", "siamese+nsam, nasbench201: training: native, block of 1"),
    )
    ranking = newest("predictors", "siamese+nsam, nasbench201: ranking of 15,625: native, block of 1")
    search, workers = paper_workers(*(step / 1e3 for step in steps), ranking)
    for name, (code, truth) in workers.items():
        for count in WORKERS:
            hours, _ = paper_hours(count, code_step=code, truth_step=truth, search=search)
            record.row(f"the whole paper but BRP-NAS, computed: {count} × {name}", [hours], "h")


def measure(*, quick: bool) -> Record:
    """Measure and return all rows."""
    torch.set_num_threads(1)
    record = Record(
        "scale",
        notes="Processor time of one thread, but for the rows that say wall.",
    )
    image_rows(record, 1 if quick else 3)
    predictor_rows(record, quick)
    core_rows(record, 12, 1 if quick else 3)
    paper_rows(record)
    return record


if __name__ == "__main__":
    if sys.argv[1] == "shard":
        one_shard(int(sys.argv[2]))
    else:  # python -m speed.scale paper CODE_MS TRUTH_MS SEARCH_STEP_MS RANKING_S
        print(
            paper_table(
                *(
                    float(value) * unit
                    for value, unit in zip(sys.argv[2:], (1e-3, 1e-3, 1e-3, 1), strict=True)
                )
            )
        )
