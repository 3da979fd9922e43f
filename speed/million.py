"""``python -m speed --only million``: a synthetic space of a million architectures, and what the product's own rooms take for it; each step in a process of its own.

A cell is a chain of five nodes, each one of ten operations, with one edge that skips at least one node (ten ways, the output
included): 10⁵ · 10 cells, all distinct.  Costs are made up from the operations.  Nothing of it can be trained; what is
run is what every space goes through: enumeration, the encoding, the table in Parquet, ranking by siamese+nsam.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from snas.spaces.space import ARCHITECTURES, Cell, Encoding, Space
from speed.record import ROOT, Record

CHAIN = 5
OPERATIONS = tuple(f"op_{i}" for i in range(10))
SKIPS = tuple((a, b) for a in range(CHAIN + 1) for b in range(a + 2, CHAIN + 1))
BUDGET, TOP = 100, 60


class Million(Space):
    """The chains, or the first ``limit`` of them."""

    name: ClassVar[str] = "million"
    title: ClassVar[str] = "A million chains"
    default_width: ClassVar[int] = 32
    network: ClassVar[str] = "speed.million:none"

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit

    def enumerate(self) -> list[Cell]:
        """Return the chains: first operation slowest, the skipping edge fastest."""
        chain = tuple((node, node + 1) for node in range(CHAIN))
        edges = [tuple(sorted((*chain, skip))) for skip in SKIPS]
        names = [f">{a}-{b}" for a, b in SKIPS]
        cells = (
            Cell(operations, edges[i], "".join(o[3] for o in operations) + names[i])
            for operations in product(OPERATIONS, repeat=CHAIN)
            for i in range(len(SKIPS))
        )
        return list(islice(cells, self.limit))

    @cached_property
    def _codes(self) -> Int64[np.ndarray, "archs chain"]:
        """Operation of each node of each chain."""
        chains = np.arange(self.limit) // len(SKIPS)
        return np.stack([chains // 10**place % 10 for place in range(CHAIN - 1, -1, -1)], axis=1)

    def costs(
        self, *, width: int | None = None, channels: int = 3, side: int = 32, classes: int = 10
    ) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
        """Return made-up costs: a million per operation and number."""
        total = (1 + self._codes).sum(axis=1)
        return total * 1_000_000, total * 1_000

    def encoding(self) -> Encoding:
        """Return graphs of six nodes: the chain and ``output``."""
        nodes = CHAIN + 1
        kinds = np.tile(
            np.eye(nodes, dtype=np.float32) + np.eye(nodes, k=1, dtype=np.float32), (len(SKIPS), 1, 1)
        )
        for kind, (a, b) in enumerate(SKIPS):
            kinds[kind, a, b] = 1
        operations = np.full((self.limit, nodes), len(OPERATIONS), dtype=np.int64)
        operations[:, :CHAIN] = self._codes
        return Encoding(kinds[np.arange(self.limit) % len(SKIPS)], operations, (*OPERATIONS, "output"))


def enumeration(limit: int, folder: Path) -> dict[str, float]:
    """Enumerate the cells."""
    return {"seconds": timed(lambda: Million(limit).cells())}


def encoding(limit: int, folder: Path) -> dict[str, float]:
    """Encode, and make the predictors' graphs with their distinct rows."""
    import torch

    from snas.predictors.graphs import Graphs

    made: list[Graphs] = []
    seconds = timed(
        lambda: made.append(
            Graphs(Million(limit).encoding(), device=torch.device("cpu"), dtype=torch.float32)
        )
    )
    return {"seconds": seconds, "distinct_rows": len(made[0].out)}


def writing(limit: int, folder: Path) -> dict[str, float]:
    """Make the table of the space and write it, as the workflow's rule ``space`` does."""
    from snas import tables

    space = Million(limit)
    seconds = timed(lambda: tables.write_parts(folder / "space.parquet", space.table_parts(), ARCHITECTURES))
    return {"seconds": seconds, "file_mb": (folder / "space.parquet").stat().st_size / 2**20}


def reading(limit: int, folder: Path) -> dict[str, float]:
    """Read and check the table."""
    from snas import tables

    rows: list[int] = []
    seconds = timed(lambda: rows.append(len(tables.read(folder / "space.parquet", ARCHITECTURES))))
    assert rows == [limit]
    return {"seconds": seconds}


def sharing(limit: int, folder: Path) -> dict[str, float]:
    """Read one of a thousand shards of the table, as every training job does."""
    from snas.spaces.shards import shard

    return {"seconds": timed(lambda: shard(folder / "space.parquet", 0, 1000))}


def ranking(limit: int, folder: Path, runs: int = 2) -> dict[str, float]:
    """Rank the whole space by siamese+nsam (coarse, then the first 60 by the fine accuracy), two runs, as a search does."""
    from snas.search import METHODS
    from snas.search.method import Problem
    from snas.search.ranking import siamese_ranking, tie_breaks

    encoding, numbers = Million(limit).encoding(), tuple(range(runs))
    problem = Problem("million", encoding, np.arange(limit), BUDGET, numbers, compile=True)
    predictor = METHODS.load("siamese+nsam").make_predictor(problem)
    codes = np.random.default_rng(0).random((runs, TOP, 3))

    def rank() -> None:
        fine = lambda head: predictor.fine(head, codes[:, : head.shape[1]])
        found = siamese_ranking(predictor.coarse(), fine, TOP, tie_breaks(0, "million", numbers, limit))
        assert found.archs.shape == (runs, limit)

    return {"seconds": timed(rank) / runs}


STEPS: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "enumeration": enumeration,
    "encoding": encoding,
    "writing": writing,
    "reading": reading,
    "sharing": sharing,
    "ranking": ranking,
}


def timed(function: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def measure(*, quick: bool) -> Record:
    """Run each step in a process of its own; seconds and peak memory, Python's and torch's own included."""
    limit = 100_000 if quick else 1_000_000
    record = Record(
        "million",
        notes="Processor time of one thread; peak memory of the whole process, its imports included.",
    )
    with tempfile.TemporaryDirectory() as folder:
        for step, function in STEPS.items():
            command = [sys.executable, "-m", "speed.million", step, str(limit), folder]
            found = [
                json.loads(
                    subprocess.run(
                        command, cwd=ROOT, capture_output=True, text=True, check=True
                    ).stdout.splitlines()[-1]
                )
                for _ in range(1 if quick else 3)
            ]
            name = f"{limit:,} architectures, {step}"
            what = (function.__doc__ or "").strip().rstrip(".")
            record.row(
                f"{name}: {what[0].lower()}{what[1:]}",
                [each["seconds"] for each in found],
                "s/run" if step == "ranking" else "s",
            )
            record.row(f"{name}: peak memory", [each["peak_mb"] for each in found], "MB")
            for key, unit in (("distinct_rows", "rows"), ("file_mb", "MB")):
                if key in found[0]:
                    record.row(f"{name}: {key.replace('_', ' ')}", [each[key] for each in found], unit)
    return record


def main() -> None:
    """Run one step and print what it took."""
    step, limit, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    found = STEPS[step](limit, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**found, "peak_mb": peak}))


if __name__ == "__main__":
    main()
