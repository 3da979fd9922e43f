"""A toy space of 240 architectures, a linear predictor that trains in no time, benches, and the rounds by files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from snas import seeds, tables
from snas.predictors.predictor import Predictor
from snas.search import block
from snas.search.asks import ANSWERS, ASKS, wanted
from snas.search.methods import PredictorMethod
from snas.spaces.space import Cell, Encoding, Space

SIZE = 240
NODES = 5


class ToySpace(Space):
    """Random graphs of five nodes with three operations."""

    name = "toy"
    title = "Toy"
    default_width = 1
    network = "none:none"

    def encoding(self) -> Encoding:
        rng = np.random.default_rng(7)
        upper = np.triu(rng.integers(0, 2, (SIZE, NODES, NODES)), 1) + np.eye(NODES, dtype=int)
        return Encoding(upper.astype(np.float32), rng.integers(0, 3, (SIZE, NODES)), ("a", "b", "c"))

    def enumerate(self) -> list[Cell]:
        encoding = self.encoding()
        return [
            Cell(
                tuple(encoding.vocabulary[k] for k in operations),
                (
                    *zip(*map(np.ndarray.tolist, np.triu(graph, 1).nonzero()), strict=True),
                    (NODES - 1, NODES),
                ),
                f"cell {arch}",
            )
            for arch, (graph, operations) in enumerate(
                zip(encoding.adjacency, encoding.operations, strict=True)
            )
        ]

    def costs(self, **size):  # type: ignore[no-untyped-def]
        return np.arange(SIZE, dtype=np.int64), np.arange(SIZE, dtype=np.int64)


class LinearPredictor(Predictor):
    """Linear in the encoding, trained by plain gradient steps; fine = coarse + v · mean of the code."""

    name = "linear"
    uses_code = True

    def __init__(
        self, encoding: Encoding, runs: Sequence[int], *, base_seed: int, budget: int, **options: Any
    ) -> None:
        self.epochs = options.get("epochs", 200)
        self.runs, self.base_seed = tuple(runs), base_seed
        counts = np.stack([(encoding.operations == k).sum(axis=1) for k in range(3)], axis=1)
        features = np.concatenate([counts, encoding.adjacency.reshape(len(encoding), -1)], axis=1)
        self.features = torch.tensor(features / NODES, dtype=torch.float32)
        self.w = torch.stack(
            [
                torch.randn(features.shape[1], generator=seeds.generator(base_seed, "predictor", r))
                for r in runs
            ]
        ).mul(0.1)
        self.v = torch.full((len(self.runs),), -0.2)
        self.reached = 0

    def fit(self, pool, accuracy, codes, *, start, stop):  # type: ignore[no-untyped-def]
        assert start == self.reached < stop <= self.epochs
        for epoch in range(start, stop):
            for row, run in enumerate(self.runs):
                draw = torch.randint(
                    pool.shape[1], (8,), generator=seeds.generator(self.base_seed, "batches", run, epoch)
                )
                x = self.features[pool[row, draw]]
                error = accuracy[row, draw] - (x * self.w[row]).sum(-1)
                self.w[row] += 0.5 * (error[:, None] * x).mean(0)
                if codes is not None:
                    code = codes[row, draw].mean(-1)
                    rest = (error - self.v[row] * code) * code
                    self.v[row] += 0.0003 * torch.nan_to_num(rest).mean()
        self.reached = stop

    def coarse(self, archs=None):  # type: ignore[no-untyped-def]
        if archs is None:
            archs = torch.arange(len(self.features)).expand(len(self.runs), -1)
        return (self.features[archs] * self.w[:, None]).sum(-1)

    def fine(self, archs, codes):  # type: ignore[no-untyped-def]
        return self.coarse(archs) + self.v[:, None] * codes.mean(-1)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"w": self.w, "v": self.v, "reached": torch.tensor(self.reached)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.w, self.v, self.reached = state["w"].clone(), state["v"].clone(), int(state["reached"])


LINEAR = PredictorMethod("linear", "random", uses_code=True)
LINEAR_PLAIN = PredictorMethod("linear", "random", uses_code=False)
LINEAR_BTS = PredictorMethod("linear", "bts", uses_code=True)
LINEAR_FTS = PredictorMethod("linear", "fts", uses_code=True)
LINEAR_BRP = PredictorMethod("linear", "brp", uses_code=False, predictor_options={"epochs": 5})


TOYS = ("linear", "linear_plain", "linear_bts", "linear_fts", "linear_brp")

METADATA = {
    "space": "toy",
    "dataset": "toys",
    "table": "trained",
    "truth_source": "drawn",
    "code_source": "drawn",
    "code_price": 0.003,
    "select_price": 0.06,
    "chance": 0.1,
}


def toy_frame() -> pd.DataFrame:
    """A complete bench of the toy space: accuracy grows with operation 0 and edges, the code falls with accuracy."""
    rng = np.random.default_rng(1)
    encoding = ToySpace().encoding()
    merit = (encoding.operations == 0).sum(axis=1) + 0.3 * encoding.adjacency.sum(axis=(1, 2))
    accuracy = np.round(
        0.5 + 0.3 * (merit - merit.min()) / np.ptp(merit) + 0.02 * rng.standard_normal(SIZE), 4
    )
    frame = pd.DataFrame(
        {
            "arch": np.arange(SIZE, dtype=np.int32),
            "cell": [f"cell {i}" for i in range(SIZE)],
            "macs": rng.integers(10**6, 10**7, SIZE),
            "params": rng.integers(10**3, 10**4, SIZE),
            "accuracy": accuracy,
            "accuracy_select": np.clip(accuracy - 0.1 + 0.02 * rng.standard_normal(SIZE), 0, 1),
            "log10_synflow": accuracy * 10 + rng.standard_normal(SIZE),
            "truth_seconds": 10.0,
            "code_seconds": 0.1,
            "status": "ok",
        }
    )
    for k in (1, 2, 3):
        frame[f"code_{k}"] = (3 - accuracy - 0.2 * k + 0.02 * rng.standard_normal(SIZE)).astype(np.float32)
    return frame


def on_demand(tmp_path, bench_path, settings, answer, extra=()):
    """Drive a search as the workflow does, by files; return (SEARCH table, ask lists)."""
    tmp_path.mkdir(exist_ok=True)
    state = lambda number: tmp_path / f"state_{number}.npz"
    asks = lambda number: tmp_path / f"asks_{number}.parquet"
    total = block.rounds(settings.method, settings.budget, settings.options)
    answers = list(extra)
    block.begin(bench_path, settings, state_out=state(0), asks_out=asks(0))
    for number in range(total):
        if number:
            block.advance(
                bench_path,
                settings,
                state_in=state(number - 1),
                answers=answers,
                state_out=state(number),
                asks_out=asks(number),
            )
        path = tmp_path / f"answers_{number}.parquet"
        tables.write(path, answer(wanted([asks(number)], answers)), ANSWERS)
        answers.append(path)
    table, spent = block.finish(bench_path, settings, state_in=state(total - 1), answers=answers)
    sums = [np.load(state(number))["state/spent"][0] for number in range(total)] + [spent["seconds"]]
    assert sums == sorted(sums), "every round adds its seconds to those before"
    assert sums[0] > 0
    return table, [tables.read(asks(n), ASKS) for n in range(total)]


def unknown(frame):
    return frame.assign(accuracy=np.nan, accuracy_select=np.nan, truth_seconds=np.nan, status="unknown")


def answering(frame):
    def answer(archs):
        rows = frame.set_index("arch").loc[archs].reset_index()
        return rows[["arch", "accuracy", "status"]]

    return answer
