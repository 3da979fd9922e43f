"""The accuracy predictors on a CPU without torch: R runs on NumPy arrays, trained and asked by native code.

It is what :class:`snas.predictors.accuracy.AccuracyPredictor` hands its work to where it computes natively; a search takes it
directly, and so starts in a third of the time and a quarter of the memory that an import of torch would take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from snas import InputError
from snas.predictors import native
from snas.predictors import parameters as par
from snas.predictors.graphs import checked
from snas.predictors.kinds import RANGES, Kind, checked_options, statistics_layout
from snas.predictors.schedule import Schedule, draw_batches

if TYPE_CHECKING:
    from snas.spaces.space import Encoding

BUFFERS = ("weights", "statistics", "first", "second")
"""Parameters, running statistics of the batch norms, Adam's moments; ``(runs, entries)`` each."""


class NativePredictor:
    """R predictors of one kind; what :class:`snas.predictors.predictor.Predictor` says of its methods holds, on arrays.

    Made by :func:`made`, which knows where native code can serve.

    Args:
        kind: which predictor.
        encoding: of the whole space.
        runs: run numbers (R of them).
        base_seed: seed that all draws of the runs are derived from.
        budget: N.
        options: of the kind.
    """

    def __init__(
        self,
        kind: Kind,
        encoding: Encoding,
        runs: Sequence[int],
        *,
        base_seed: int,
        budget: int,
        **options: Any,
    ) -> None:
        self.name, self.uses_code = kind.name, kind.uses_code
        self.options = checked_options(kind.name, kind.defaults, options, ranges=RANGES)
        self.runs, self.base_seed = tuple(runs), base_seed
        self.epochs = self.options["epochs"]
        self.schedule = Schedule(self.epochs, budget)
        self.tell: Callable[[float], None] | None = None
        adjacency, operations = checked(encoding)
        vocabulary = len(encoding.vocabulary)
        self.layout = kind.layout(self.options, nodes=encoding.nodes, vocabulary=vocabulary)
        self.statistics_layout = statistics_layout(self.layout)
        self.program = native.Program(self.layout, self.statistics_layout, adjacency, operations, vocabulary)
        self.weights = par.initial(self.layout, self.runs, base_seed)
        self.statistics = par.initial(self.statistics_layout, self.runs, base_seed)
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.reached = 0

    def work(self, stop: int) -> float:
        """Return which share of the whole training is done at epoch ``stop``."""
        return stop / self.epochs

    def fit(
        self,
        pool: Int64[np.ndarray, "runs pool"],
        accuracy: Float[np.ndarray, "runs pool"],
        codes: Float[np.ndarray, "runs pool code"] | None,
        *,
        start: int,
        stop: int,
    ) -> None:
        """Train one run after the other, each through all the epochs: its weights then stay in the core's cache."""
        check_shapes(len(self.runs), pool, accuracy=accuracy, codes=codes)
        check_training(accuracy, start, stop, reached=self.reached, epochs=self.epochs)
        if codes is None or not self.uses_code:
            codes = np.full((*pool.shape, 3), np.nan)
        pool, accuracy, codes = _plain(pool, np.int64), _plain(accuracy), _plain(codes)
        epochs, steps = range(start, stop), self.schedule.steps
        if epochs:
            batches = [
                draw_batches(self.base_seed, self.runs, epoch, steps=steps, pool=pool.shape[1])
                for epoch in epochs
            ]
            draws = np.ascontiguousarray(np.concatenate(batches).swapaxes(0, 1))
            optimiser = _plain(self.schedule.optimiser(epochs))
        for r in range(len(self.runs) if epochs else 0):
            self.program.train(
                self.weights[r], self.first[r], self.second[r], self.statistics[r],
                pool[r], accuracy[r], codes[r], draws[r], optimiser, self.options["bn_momentum"],
            )  # fmt: skip
            if self.tell:
                self.tell((r + 1) / len(self.runs))
        self.reached = stop

    def coarse(
        self, archs: Int64[np.ndarray, "runs archs"] | None = None
    ) -> Float32[np.ndarray, "runs archs"]:
        """Predict accuracies with the basic branch and running statistics; ``None`` asks about the whole space."""
        if archs is None:
            archs = np.broadcast_to(np.arange(self.program.size), (len(self.runs), self.program.size))
        return self._predict(archs, None)

    def fine(
        self, archs: Int64[np.ndarray, "runs archs"], codes: Float[np.ndarray, "runs archs code"]
    ) -> Float32[np.ndarray, "runs archs"]:
        """Predict accuracies with the estimation branch; NaN where the code has a NaN."""
        if not self.uses_code:
            raise NotImplementedError(f"{self.name} has no estimation branch (uses_code is False)")
        return self._predict(archs, codes)

    def _predict(self, archs: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
        check_shapes(len(self.runs), archs, codes=codes)
        rows = [
            self.program.predict(
                self.weights[r],
                self.statistics[r],
                _plain(each, np.int64),
                None if codes is None else _plain(codes[r]),
            )
            for r, each in enumerate(archs)
        ]
        return np.stack(rows)

    def synchronize(self) -> None:
        """Do nothing: a CPU has done what it was given."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all buffers and the epoch reached."""
        return {name: getattr(self, name).copy() for name in BUFFERS} | {"counters": np.array([self.reached])}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`state_dict` gave for the same runs, space and options; raises ``InputError`` otherwise."""
        check_state(self.name, {name: getattr(self, name).shape for name in BUFFERS}, state)
        for name in BUFFERS:
            getattr(self, name)[...] = state[name]
        self.reached = int(state["counters"][0])


def made(
    kind: Kind,
    encoding: Encoding,
    runs: Sequence[int],
    *,
    base_seed: int,
    budget: int,
    **options: Any,
) -> NativePredictor | None:
    """Return the predictors; where native code cannot serve, one line says why, and None is returned."""
    reason = native.why_not(np.asarray(encoding.adjacency))
    if reason is not None:
        native.said(reason)
        return None
    return NativePredictor(kind, encoding, runs, base_seed=base_seed, budget=budget, **options)


def check_training(accuracy: Any, start: int, stop: int, *, reached: int, epochs: int) -> None:
    """Raise for accuracies (array or tensor) that cannot be trained on, and for epochs that do not follow on."""
    if not bool(((accuracy >= 0) & (accuracy <= 1)).all()):
        raise InputError("accuracies to train on must be fractions in [0, 1], not percent and not NaN")
    if start != reached or not start <= stop <= epochs:
        raise ValueError(f"epochs {start}..{stop}: training stands at {reached} of {epochs}")


def check_shapes(runs: int, archs: Any, *, accuracy: Any = None, codes: Any = None) -> None:
    """Raise ``ValueError`` where these arrays or tensors do not belong together: native code would read beyond the shorter."""
    asked = tuple(archs.shape)
    if len(asked) != 2 or asked[0] != runs:
        raise ValueError(f"architectures are {asked}; ({runs}, any number) is expected, a row for each run")
    if accuracy is not None and not asked[1]:
        raise ValueError(f"architectures are {asked}: there is nothing to train on")
    for what, part, shape in (("accuracies", accuracy, asked), ("codes", codes, (*asked, 3))):
        if part is not None and tuple(part.shape) != shape:
            raise ValueError(f"{what} are {tuple(part.shape)}; {shape} is expected for architectures {asked}")


def check_state(name: str, shapes: Mapping[str, Sequence[int]], state: Mapping[str, Any]) -> None:
    """Raise ``InputError`` where a saved state lacks a part, or has one of another shape."""
    for part, shape in shapes.items():
        if part not in state or tuple(state[part].shape) != tuple(shape):
            found = tuple(state[part].shape) if part in state else "nothing"
            raise InputError(f"saved {name}: {part} is {found}; {tuple(shape)} would be right")


def _plain(values: np.ndarray, kind: Any = np.float32) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=kind)
