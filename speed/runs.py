"""``python -m speed --only runs``: whole searches of NAS-Bench-201 at N = 100, from the first step to the last ranking.

For every accuracy predictor: a plain PyTorch program of one run, the product's code one run at a time, and the product's
100 runs as one block; training, every ranking that its sampler asks for, and the fine ranking of the first 60.  Then BRP-NAS
with a small pool, as at N = 100 a run takes an hour and more.  Processor time of one thread, but for the rows of two processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snas.predictors import REGISTRY
from snas.predictors.accuracy import AccuracyPredictor
from snas.progress import search_seconds
from speed import brp
from speed.predictors import ALL, BUDGET, FLOOR, STEPS, Bench, plain_step, ranking_floor, training_floor
from speed.processes import ready, together
from speed.record import Record
from speed.timing import seconds

SPACE = "nasbench201"
UPDATES = 10
"""Times that BTS and FTS rank while a run trains."""
SHARES = {"+bts": 1 / UPDATES, "+fts": 1.0}
"""Share of the space that a sampler ranks at each update: BTS a new batch of it, FTS all."""
FIRST = 60
"""c: how many of the coarse ranking are ranked again by the fine accuracy."""
SMALL = 20
"""N of the whole runs of BRP-NAS."""


def product_run(bench: Bench, sampler: str, first: int, runs: int) -> Callable[[], None]:
    """Return a function that searches with the runs ``first`` .. ``first + runs - 1`` as one block."""
    members = slice(first, first + runs)
    part = _part(bench, sampler).expand(runs, -1)

    def search() -> None:
        block = bench.kind(
            bench.encoding, range(first, first + runs), base_seed=0, budget=BUDGET, compile=True
        )
        block.fit(bench.pools[members], bench.accuracy[members], bench.codes[members], start=0, stop=200)
        for _ in range(UPDATES if sampler else 0):
            block.coarse(part)
        order = block.coarse().argsort(1, descending=True)[:, :FIRST]
        if bench.kind.uses_code:
            block.fine(order, torch.rand(runs, FIRST, 3))

    return search


def plain_run(bench: Bench, sampler: str) -> Callable[[], None]:
    """Return a function that searches with one plain model."""
    adjacency = torch.as_tensor(bench.encoding.adjacency)
    one_hot = F.one_hot(torch.as_tensor(bench.encoding.operations), len(bench.encoding.vocabulary)).float()
    part = _part(bench, sampler)

    def search() -> None:
        model = bench.plain()
        plain_step(bench, model, STEPS)()
        model.eval()

        @torch.no_grad()
        def rank(archs: Tensor) -> Tensor:
            return torch.cat([model(adjacency[some], one_hot[some], None)[0] for some in archs.split(256)])

        for _ in range(UPDATES if sampler else 0):
            rank(part)
        order = rank(torch.arange(bench.size)).argsort(descending=True)[:FIRST]
        if bench.kind.uses_code:
            with torch.no_grad():
                model(adjacency[order], one_hot[order], torch.rand(FIRST, 3))

    return search


def _part(bench: Bench, sampler: str) -> Tensor:
    return torch.arange(int(bench.size * SHARES.get(sampler, 0.0)))


def rows(record: Record, bench: Bench, sampler: str, *, quick: bool) -> None:
    """Add whole runs of a method: plain, one at a time, all as one block."""
    name, many = bench.name + sampler, 3 if quick else ALL
    singles, plains = (1, 1) if quick else (3, 2)
    times = 1 + UPDATES * SHARES.get(sampler, 0.0)
    plain = [seconds(plain_run(bench, sampler)) for _ in range(plains)]
    one = [seconds(product_run(bench, sampler, run, 1)) for run in range(singles)]
    block = [seconds(product_run(bench, sampler, 0, many)) / many]
    floor = STEPS * training_floor(bench) + times * ranking_floor(bench)
    title = f"{name}, a whole run ({STEPS:,} steps, {times:g} × the ranking of {bench.size:,})"
    record.row(f"{title}: plain", plain, "s per run", floor=floor, floor_assumes=FLOOR)
    for what, values in (("one at a time", one), (f"{many} runs as one block", block)):
        record.row(f"{title}: {what}", values, "s per run", against=plain, floor=floor, floor_assumes=FLOOR)


def brp_rows(record: Record, repeats: int) -> None:
    """Add whole runs of BRP-NAS with a pool of :data:`SMALL`, and what the product's forecast says of them."""
    bench = brp.Bench(SPACE)

    def search() -> None:
        predictor = brp.BRPNAS(bench.encoding, [0], base_seed=0, budget=SMALL, compile=True)
        for last in range(1, predictor.epochs + 1):
            pool = slice(0, SMALL * last // predictor.epochs)
            predictor.fit(bench.pools[:1, pool], bench.accuracy[:1, pool], None, start=last - 1, stop=last)
            predictor.coarse()

    values = [seconds(search) for _ in range(repeats)]
    record.row(
        f"brp_nas, a whole run with N = {SMALL}: five iterations, each with its ranking", values, "s per run"
    )
    record.row(
        f"brp_nas, a whole run with N = {SMALL}: the product's forecast",
        [search_seconds("brp_nas", SMALL, 1)],
        "s per run",
    )


def process_rows(record: Record, runs: int, repeats: int) -> None:
    """Add the wall time of a run where one process and where two search at the same time."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for processes in found:
            said = together("speed.runs", runs, processes=processes)
            found[processes].append(max(map(float, said)) / processes)
    for processes, values in found.items():
        record.row(
            f"siamese+nsam, {processes} process(es), each a block of {runs} whole runs: wall time of a run",
            values, "s, wall", against=found[1] if processes > 1 else None,
        )  # fmt: skip


def one_process(runs: int) -> None:
    """Search when told to, and print wall seconds per run."""
    torch.set_num_threads(1)
    search = product_run(Bench(SPACE, "siamese+nsam"), "", 0, runs)
    ready()
    started = time.perf_counter()
    search()
    print((time.perf_counter() - started) / runs)


def measure(*, quick: bool) -> Record:
    """Measure and return all rows."""
    torch.set_num_threads(1)
    record = Record("runs", notes=f"Processor time of one thread unless it says wall; N = {BUDGET}, {SPACE}.")
    for name in (n for n in REGISTRY.names() if issubclass(REGISTRY.load(n), AccuracyPredictor)):
        bench = Bench(SPACE, name)
        for sampler in ("", *(SHARES if name == "siamese+nsam" else ())):
            rows(record, bench, sampler, quick=quick)
    brp_rows(record, 1 if quick else 2)
    process_rows(record, 2 if quick else 5, 1 if quick else 3)
    return record


if __name__ == "__main__":
    one_process(int(sys.argv[1]))
