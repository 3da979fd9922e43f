"""Time of training and ranking with the predictors: plain PyTorch one run at a time against blocks of runs.

    python speed/predictors.py                       every row for siamese+nsam on both spaces, some minutes
    python speed/predictors.py --predictor siamese --space tiny_nanobench --repeats 3
    python speed/predictors.py --compile-seconds     first and later start of each predictor, with an empty cache folder
    python speed/predictors.py --json X              raw numbers of every repeat to the file X

One thread, processor time (other jobs disturb it less than wall time, though not little: caches are shared).  The rows of a table are
measured in turns in one process.  "plain" is one model written with torch.nn as one would first write it, eager, batch of 8; it is checked
to predict what the product predicts with the same weights.  The floor is the arithmetic of the matrix products alone at this machine's
speed for their shapes, measured in the same turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snas.predictors import REGISTRY
from snas.predictors.accuracy import AccuracyPredictor
from snas.spaces import REGISTRY as SPACES

BUDGET, BATCH = 100, 8


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
        self.encoding = SPACES.load(space)().encoding()
        self.name, self.kind = name, REGISTRY.load(name)
        generator = torch.Generator().manual_seed(0)
        self.size = len(self.encoding.operations)
        self.pools = torch.stack([torch.randperm(self.size, generator=generator)[:BUDGET] for _ in range(64)])
        self.accuracy = torch.rand(64, BUDGET, generator=generator) * 0.1 + 0.8
        self.codes = torch.rand(64, BUDGET, 3, generator=generator)

    def block(self, runs: int, *, compile: bool) -> AccuracyPredictor:
        """Return R runs that have trained one epoch (compiled, where that is asked for)."""
        predictor: AccuracyPredictor = self.kind(
            self.encoding, range(runs), base_seed=0, budget=BUDGET, compile=compile
        )
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


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def products(bench: Bench) -> list[tuple[int, int, int]]:
    """Return (rows, inputs, outputs) of the products of one forward pass of a step."""
    nodes, symbols = bench.encoding.operations.shape[1], len(bench.encoding.vocabulary)
    rows = BATCH * nodes
    gc = [(rows, symbols, 64)] + [(rows, 64, 64)] * 2
    gc += [(rows, 64, 192), (rows, 64, 64)] if bench.kind.defaults["nsam"] else []
    gc += [(rows, 64, 128), (rows, 64, 64), (rows, 64, 64)] if bench.kind.uses_code else []
    return [shape for shape in gc for _ in range(2)]


def floor(bench: Bench, runs: int) -> float:
    """Return the seconds that one step's products of a block take alone, per run: forward and both backward ones."""
    total = 0.0
    for (m, k, n), times in {shape: products(bench).count(shape) for shape in products(bench)}.items():
        x, w, y = torch.randn(runs, m, k), torch.randn(runs, k, n), torch.randn(runs, m, n)
        for a, b in ((x, w), (y, w.transpose(1, 2)), (x.transpose(1, 2), y)):
            out = torch.bmm(a, b)
            total += (
                times * seconds(lambda a=a, b=b, out=out: [torch.bmm(a, b, out=out) for _ in range(20)]) / 20
            )
    return total / runs


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


def training_rows(bench: Bench, repeats: int) -> dict[str, list[float]]:
    """Return ms per run and step of every row, ``repeats`` times in turns."""
    steps = BUDGET // BATCH
    model = bench.plain()
    plain = plain_step(bench, model, 2 * steps)
    blocks = {
        f"{'compiled' if compile else 'eager'}, block of {runs}": bench.block(runs, compile=compile)
        for compile in (False, True)
        for runs in (1, 5, 10, 20, 40)
    }
    rows: dict[str, list[float]] = {}
    for _ in range(repeats):
        rows.setdefault("plain PyTorch, one run", []).append(1e3 * seconds(plain) / (2 * steps))
        for title, block in blocks.items():
            bench.train(block, 1)
            spent = seconds(lambda block=block: bench.train(block, 2))
            rows.setdefault(title, []).append(1e3 * spent / (2 * steps) / len(block.runs))
        rows.setdefault("floor: products alone, block of 20", []).append(1e3 * floor(bench, 20))
    return rows


def ranking_rows(bench: Bench, repeats: int) -> dict[str, list[float]]:
    """Return the ms per run of a coarse ranking of the whole space."""
    model = bench.plain().eval()
    adjacency = torch.as_tensor(bench.encoding.adjacency)
    one_hot = F.one_hot(torch.as_tensor(bench.encoding.operations), len(bench.encoding.vocabulary)).float()
    blocks = {
        f"{'compiled' if c else 'eager'}, block of {runs}": bench.block(runs, compile=c)
        for c in (False, True)
        for runs in (1, 20)
    }
    for block in blocks.values():
        block.coarse(torch.zeros(len(block.runs), 1, dtype=torch.int64))
    rows: dict[str, list[float]] = {}
    with torch.no_grad():
        for _ in range(repeats):
            whole = lambda: [
                model(*each, None) for each in zip(adjacency.split(256), one_hot.split(256), strict=True)
            ]
            rows.setdefault("plain PyTorch, one run, chunks of 256", []).append(1e3 * seconds(whole))
            for title, block in blocks.items():
                rows.setdefault(title, []).append(1e3 * seconds(block.coarse) / len(block.runs))
    return rows


def show(title: str, rows: dict[str, list[float]]) -> None:
    """Print a table: median, range, and how many times faster than the first row."""
    print(f"\n{title}\n{'':42}{'median':>10}{'min':>10}{'max':>10}{'ratio':>8}")
    first = statistics.median(next(iter(rows.values())))
    for name, values in rows.items():
        middle = statistics.median(values)
        print(
            f"{name:42}{middle:10.3f}{min(values):10.3f}{max(values):10.3f}{first / middle:8.1f}", flush=True
        )


def compile_seconds() -> None:
    """Print the processor and wall seconds of the first training epoch with a new and with a filled cache folder."""
    code = (
        "import sys, time, os; sys.argv=['x']; sys.path.insert(0, {here!r})\n"
        "import torch; torch.set_num_threads(1); import predictors as P\n"
        "bench = P.Bench('tiny_nanobench', {name!r}); w, t = time.time(), os.times()\n"
        "b = bench.kind(bench.encoding, range(20), base_seed=0, budget=8, compile=True)\n"
        "(bench.train(b, 1), b.coarse()) if {name!r} != 'brp_nas' else b.fit(bench.pools[:20, :2], bench.accuracy[:20, :2], None, start=0, stop=1)\n"
        "u = os.times(); print(f'{{u.user + u.system + u.children_user + u.children_system - sum(t[:4]):8.1f}}{{time.time() - w:8.1f}}')\n"
    )  # fmt: skip
    here = str(Path(__file__).parent)
    print(f"first epoch and ranking, 20 runs: {'CPU s':>8}{'wall s':>8}")
    for name in REGISTRY.names():
        with tempfile.TemporaryDirectory() as folder:
            for state in ("new cache", "filled cache"):
                environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder}
                script = code.format(here=here, name=name)
                out = subprocess.run(
                    [sys.executable, "-c", script],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                print(f"{name:18}{state:16}{out.stdout.rstrip()}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = [n for n in REGISTRY.names() if issubclass(REGISTRY.load(n), AccuracyPredictor)]
    parser.add_argument("--predictor", action="append", choices=kinds)
    parser.add_argument("--space", action="append", choices=SPACES.names())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-ranking", action="store_true")
    parser.add_argument("--compile-seconds", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.compile_seconds:
        compile_seconds()
        return
    raw: dict[str, dict[str, list[float]]] = {}
    for space in arguments.space or ["tiny_nanobench", "nasbench201"]:
        for name in arguments.predictor or ["siamese+nsam"]:
            bench = Bench(space, name)
            title = f"{name}, {space}: training, ms per run and step"
            raw[title] = training_rows(bench, arguments.repeats)
            show(title, raw[title])
            if not arguments.no_ranking:
                title = f"{name}, {space}: ranking {bench.size} architectures, ms per run"
                raw[title] = ranking_rows(bench, arguments.repeats)
                show(title, raw[title])
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"torch": torch.__version__, "load": os.getloadavg(), "ms": raw}, indent=1)
        )


if __name__ == "__main__":
    main()
