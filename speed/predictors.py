"""The accuracy predictors: blocks of runs, native and in torch, against a plain PyTorch loop of one run.

    python -m speed --only predictors            all rows
    python -m speed --only predictors --quick    fewer repeats

*Plain* is one model written with torch.nn as one would first write it, eager, batches of 8; it is checked to predict what
the product predicts with the same weights.  *Torch* is the product's plain torch path, *native* its C++ path, each by
blocks of runs.  All rows of a predictor take turns in one process of one thread; processor time, which other jobs of a
machine disturb less than wall time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snas import spaces
from snas.predictors import REGISTRY, native
from snas.predictors.accuracy import AccuracyPredictor
from speed import brp
from speed.record import ROOT, Record
from speed.timing import Rows, product_seconds, seconds

BUDGET, BATCH, RUNS, ALL = 100, 8, 20, 100
STEPS = 200 * (BUDGET // BATCH)
FLOOR = (
    "the matrix products alone at this machine's torch.bmm for their shapes, measured in the same turns: forward, gradients by "
    "input (but for the symbols) and by weight in training; batch norm, mish, neighbours, attention and Adam for nothing"
)


class PlainConvolution(nn.Module):
    """GC(64) with torch.nn: two linear layers, two batch norms, mish."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(inputs, 64) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(64, eps=1e-4, momentum=0.003) for _ in range(2)])

    def forward(self, a: Tensor, x: Tensor) -> Tensor:
        """Return the mean of both directions."""
        halves = []
        for turned, linear, norm in zip((a, a.transpose(1, 2)), self.linears, self.norms, strict=True):
            y = turned @ (x @ linear.weight.T) + linear.bias
            halves.append(F.mish(norm(y.flatten(0, 1)).view(y.shape)))
        return (halves[0] + halves[1]) / 2


class PlainSiamese(nn.Module):
    """The accuracy predictors, one model for one run."""

    def __init__(self, symbols: int, nodes: int, *, nsam: bool, code: bool) -> None:
        super().__init__()
        names = {"gc1": symbols, "gc2": 64, "gc3": 64}
        names |= dict.fromkeys(["nsam.q", "nsam.k", "nsam.v", "nsam.close"] if nsam else [], 64)
        names |= dict.fromkeys(["efm.q", "efm.k", "efm.v", "efm.close"] if code else [], 64)
        self.gc = nn.ModuleDict(
            {name.replace(".", "_"): PlainConvolution(size) for name, size in names.items()}
        )
        self.nsam, self.code = nsam, code
        self.lift, self.norm = nn.Linear(3, nodes * 64), nn.BatchNorm1d(64, eps=1e-4, momentum=0.003)
        self.last = nn.Linear(nodes, 1)

    def attend(self, room: str, a: Tensor, x: Tensor, keys: Tensor) -> Tensor:
        """Return NSAM or EFM of x."""
        q, k, v = self.gc[f"{room}_q"](a, x), self.gc[f"{room}_k"](a, keys), self.gc[f"{room}_v"](a, x)
        s = q @ k.transpose(1, 2)
        fused = x + torch.softmax(s * a, -1) @ v + torch.softmax(s * a.transpose(1, 2), -1) @ v
        return self.gc[f"{room}_close"](a, fused)

    def head(self, x: Tensor) -> Tensor:
        """Return an accuracy per architecture."""
        return torch.sigmoid(self.last(x.mean(-1)))[:, 0]

    def forward(self, a: Tensor, x: Tensor, code: Tensor | None) -> list[Tensor]:
        """Return the coarse accuracies and, with a code, the fine ones."""
        x = self.gc["gc2"](a, self.gc["gc1"](a, x))
        x = self.attend("nsam", a, x, x) if self.nsam else x
        x = self.gc["gc3"](a, x)
        if code is None or not self.code:
            return [self.head(x)]
        lifted = self.lift(code).view(*x.shape)
        k = F.mish(self.norm(lifted.flatten(0, 1))).view(x.shape)
        return [self.head(x), self.head(self.attend("efm", a, x, k))]

    def take(self, predictor: AccuracyPredictor) -> None:
        """Copy the weights of the first run of a block, to check that both are the same network."""
        pieces = {}
        for name, value in predictor.leaves.items():
            whole = next((w for w in ("nsam.qkv", "efm.qv") if name.startswith(w)), None)
            if whole is None:
                pieces[name] = value[0]
                continue
            room, parts = whole.split(".")
            for part, piece in zip(parts, value[0].split(64, -1), strict=True):
                pieces[name.replace(whole, f"{room}.{part}")] = piece
        with torch.no_grad():
            for name, gc in self.gc.items():
                for i, side in enumerate(("out", "in")):
                    gc.linears[i].weight.copy_(pieces[f"{name.replace('_', '.')}.{side}.weight"].T)
                    gc.linears[i].bias.zero_()
            if self.code:
                self.lift.weight.copy_(pieces["efm.code.weight"].T)
                self.lift.bias.zero_()
            self.last.weight.copy_(pieces["head.weight"].T)
            self.last.bias.zero_()


class Bench:
    """A space, and pools to train on."""

    def __init__(self, space: str, name: str) -> None:
        self.encoding = spaces.load(space).encoding()
        self.name, self.kind = name, REGISTRY.load(name)
        generator = torch.Generator().manual_seed(0)
        self.size, self.nodes = self.encoding.operations.shape
        self.pools = torch.stack(
            [torch.randperm(self.size, generator=generator)[:BUDGET] for _ in range(ALL)]
        )
        self.accuracy = torch.rand(ALL, BUDGET, generator=generator) * 0.1 + 0.8
        self.codes = torch.rand(ALL, BUDGET, 3, generator=generator)

    def block(self, runs: int, *, compile: bool) -> AccuracyPredictor:
        """Return R runs that have trained one epoch (natively, where that is asked for)."""
        predictor: AccuracyPredictor = self.kind(
            self.encoding, range(runs), base_seed=0, budget=BUDGET, compile=compile
        )
        assert (predictor.native is not None) == compile, "there is no C++ compiler"
        self.train(predictor, 1)
        return predictor

    def train(self, predictor: AccuracyPredictor, epochs: int) -> None:
        """Train some more epochs, from the start again at the end of the schedule."""
        runs = len(predictor.runs)
        if predictor.reached + epochs > predictor.epochs:
            predictor.reached = 0
        at = predictor.reached
        predictor.fit(self.pools[:runs], self.accuracy[:runs], self.codes[:runs], start=at, stop=at + epochs)

    def plain(self) -> PlainSiamese:
        """Return the plain model, after checking it against the product."""
        with_nsam = bool(self.kind.defaults["nsam"])
        model = PlainSiamese(
            len(self.encoding.vocabulary),
            self.encoding.operations.shape[1],
            nsam=with_nsam,
            code=self.kind.uses_code,
        )
        fresh = self.kind(self.encoding, [0], base_seed=0, budget=BUDGET)
        model.take(fresh)
        ids = self.pools[:1, :8]
        graphs = fresh.graphs
        with torch.no_grad():
            mine = model.eval()(graphs.adjacency[ids[0]], graphs.one_hot(ids[0]), self.codes[0, :8])
        torch.testing.assert_close(mine[0], fresh.coarse(ids)[0], rtol=1e-4, atol=1e-5)
        if self.kind.uses_code:
            torch.testing.assert_close(mine[1], fresh.fine(ids, self.codes[:1, :8])[0], rtol=1e-4, atol=1e-5)
        return model.train()


def products(bench: Bench, rows: int, *, estimation: bool = True) -> Counter[tuple[int, int, int]]:
    """Return (rows, inputs, outputs) of the products of a forward pass, and how many there are of each."""
    symbols = len(bench.encoding.vocabulary)
    gc = [(rows, symbols, 64)] + [(rows, 64, 64)] * 2
    gc += [(rows, 64, 192), (rows, 64, 64)] if bench.kind.defaults["nsam"] else []
    gc += [(rows, 64, 128), (rows, 64, 64), (rows, 64, 64)] if bench.kind.uses_code and estimation else []
    return Counter(shape for shape in gc for _ in range(2))


def flop(shapes: Counter[tuple[int, int, int]]) -> int:
    """Return the floating-point operations of products, forward."""
    return sum(2 * rows * inputs * outputs * count for (rows, inputs, outputs), count in shapes.items())


def training_floor(bench: Bench) -> float:
    """Return the seconds that one step's products of a run take alone: forward and both backward ones, but for the gradient
    by the symbols."""
    total = 0.0
    for (rows, inputs, outputs), count in products(bench, BATCH * bench.nodes).items():
        x, y = torch.randn(RUNS, rows, inputs), torch.randn(RUNS, rows, outputs)
        w = torch.randn(RUNS, inputs, outputs)
        needed = [(x, w), (x.transpose(1, 2), y)]
        needed += [(y, w.transpose(1, 2))] if inputs != len(bench.encoding.vocabulary) else []
        for a, b in needed:
            total += count * product_seconds(a, b)
    return total / RUNS


def training_flop(bench: Bench) -> int:
    """Return the floating-point operations of the products that :func:`training_floor` measures."""
    every = products(bench, BATCH * bench.nodes)
    symbols = len(bench.encoding.vocabulary)
    first = Counter({shape: count for shape, count in every.items() if shape[1] == symbols})
    return 3 * flop(every) - flop(first)


def ranking_floor(bench: Bench) -> float:
    """Return the seconds that the products of a coarse ranking take alone, all rows of the space computed."""
    rows, total = 8_000, 0.0
    for (_, inputs, outputs), count in products(bench, rows, estimation=False).items():
        each = product_seconds(torch.randn(1, rows, inputs), torch.randn(1, inputs, outputs))
        total += count * each * bench.size * bench.nodes / rows
    return total


def plain_step(bench: Bench, model: PlainSiamese, steps: int) -> Callable[[], None]:
    """Return a function that trains the plain model for some steps."""
    adjacency = torch.as_tensor(bench.encoding.adjacency)
    one_hot = F.one_hot(torch.as_tensor(bench.encoding.operations), len(bench.encoding.vocabulary)).float()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)

    def train() -> None:
        for _ in range(steps):
            draw = torch.randint(BUDGET, (BATCH,))
            archs, truth = bench.pools[0, draw], bench.accuracy[0, draw]
            out = model(adjacency[archs], one_hot[archs], bench.codes[0, draw])
            loss = sum(F.huber_loss(each, truth, delta=0.5) for each in out)
            adam.zero_grad()
            loss.backward()
            adam.step()

    return train


def training_rows(bench: Bench, repeats: int) -> Rows:
    """Return the ms per run and step."""
    steps = BUDGET // BATCH
    train = plain_step(bench, bench.plain(), 2 * steps)
    rows = {"plain, one run": lambda: 1e3 * seconds(train) / (2 * steps)}
    for kind, runs in (("torch", 1), ("torch", RUNS), ("native", 1), ("native", RUNS), ("native", ALL)):
        block, epochs = bench.block(runs, compile=kind == "native"), {1: 10, ALL: 1}.get(runs, 2)

        def spent(block: AccuracyPredictor = block, epochs: int = epochs) -> float:
            return 1e3 * seconds(lambda: bench.train(block, epochs)) / (epochs * steps * len(block.runs))

        rows[f"{kind}, block of {runs}"] = spent
    rows["floor"] = lambda: 1e3 * training_floor(bench)
    return Rows(rows, repeats)


def ranking_rows(bench: Bench, repeats: int) -> Rows:
    """Return the seconds per run of a coarse ranking of the whole space."""
    model = bench.plain().eval()
    adjacency = torch.as_tensor(bench.encoding.adjacency)
    one_hot = F.one_hot(torch.as_tensor(bench.encoding.operations), len(bench.encoding.vocabulary)).float()

    @torch.no_grad()
    def whole() -> None:
        for a, x in zip(adjacency.split(256), one_hot.split(256), strict=True):
            model(a, x, None)

    rows = {"plain, one run, chunks of 256": lambda: seconds(whole)}
    for kind, runs in (("torch", 1), ("native", 1), ("native", 5)):  # whole blocks: speed.runs
        block = bench.block(runs, compile=kind == "native")
        rows[f"{kind}, block of {runs}"] = lambda block=block: seconds(block.coarse) / len(block.runs)
    rows["floor"] = lambda: ranking_floor(bench)
    return Rows(rows, repeats)


def part_rows(bench: Bench, record: Record, prefix: str, repeats: int) -> None:
    """Add where a native step's time goes; reading the clock is some per cent of it."""
    block = bench.block(1, compile=True)
    buffers = (block.weights, block.first, block.second, block.statistics)
    state = [part[0].clone().numpy() for part in buffers]
    optimiser = np.tile(np.array([[1e-4, 1.0, 1.0, 0.0]], dtype=np.float32), (50, 1))
    found: dict[str, list[float]] = {part: [] for part in native.PARTS}
    for _ in range(repeats):
        spent = np.zeros(len(native.PARTS))
        data = (bench.pools[0], bench.accuracy[0], bench.codes[0], torch.randint(BUDGET, (50, BATCH)))
        assert block.native is not None
        block.native.program.train(*state, *(part.numpy() for part in data), optimiser, 0.003, seconds=spent)
        for part, value in zip(native.PARTS, spent.tolist(), strict=True):
            found[part].append(1e3 * value / 50)
    for part, values in found.items():
        record.row(f"{prefix}: a native step's {part}", values, "ms")


def library_rows(record: Record, repeats: int) -> None:
    """Add the wall time of building the library with an empty cache folder, and of loading it afterwards."""
    code = "import time; from snas.predictors import native; t = time.perf_counter(); native.load(); print(time.perf_counter() - t)"
    found: dict[str, list[float]] = {"built, empty cache": [], "loaded": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for values in found.values():
                out = subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "SNAS_CACHE": folder},
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                values.append(float(out.stdout))
    for what, values in found.items():
        record.row(f"native library {what} (wall)", values, "s")


def measure(*, quick: bool) -> Record:
    """Measure and return all rows."""
    torch.set_num_threads(1)
    repeats = 2 if quick else 5
    record = Record("predictors")
    sizes = []
    for space in ("nasbench201", "tiny_nanobench"):
        for name in (n for n in REGISTRY.names() if issubclass(REGISTRY.load(n), AccuracyPredictor)):
            bench = Bench(space, name)
            prefix = f"{name}, {space}"
            training, ranking = training_rows(bench, repeats), ranking_rows(bench, 1 if quick else 3)
            training.record(
                record,
                f"{prefix}: training",
                "ms per run and step",
                plain="plain, one run",
                floor="floor",
                assumes=FLOOR,
            )
            ranking.record(
                record, f"{prefix}: ranking of {bench.size:,}", "s per run",
                plain="plain, one run, chunks of 256", floor="floor", assumes=FLOOR,
            )  # fmt: skip
            part_rows(bench, record, prefix, 3 if quick else 9)
            step = training_flop(bench) / 1e6
            every = flop(products(bench, bench.size * bench.nodes, estimation=False)) / 1e9
            sizes.append(
                f"{prefix} {step:.1f} MFLOP per run and step ({step / training.middle('floor'):.0f} GFLOP/s) and "
                f"{every:.1f} GFLOP per ranking ({every / ranking.middle('floor'):.0f} GFLOP/s)"
            )
    for space in ("tiny_nanobench",) if quick else ("nasbench201", "tiny_nanobench"):
        brp.rows(record, space, 1 if quick else 3)
    library_rows(record, 1 if quick else 2)
    record.notes = (
        f"Processor time of one thread unless it says wall; N = {BUDGET}. Floors are {'; '.join(sizes)}. A share above 100 % "
        "would mean that the native products are faster than torch.bmm. "
        f"Others used the machine at the same time (load before {record.load[0]:.0f})."
    )
    return record
