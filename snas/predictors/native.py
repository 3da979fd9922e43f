"""The functions of ``native.cpp`` on NumPy arrays: an accuracy predictor on a CPU, one run at a time, all steps of a span of
epochs in one call.

It computes what :mod:`snas.predictors.layers` defines, in single precision.  The plain torch path stays the reference,
and serves GPUs, double precision and machines without a C++ compiler.  No torch is imported here.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from snas import compiler
from snas.predictors.kinds import FEATURES
from snas.predictors.parameters import Layout, size

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = ("-ffp-contract=fast",)
SPACE = "ppppp"
SIGNATURES = {
    "train": f"p {SPACE} pppp ppp ippp f pp",
    "predict": f"p {SPACE} pp ippp p",
}
CONVOLUTIONS = ("gc1", "gc2", "nsam.qkv", "nsam.close", "gc3", "efm.qv", "efm.k", "efm.close")
PARTS = ("products", "batch norm + mish", "neighbours", "attention", "Adam", "rest")
"""What :meth:`Program.train` and :meth:`Program.predict` tell apart when they are timed."""
ALIGNMENT = 16


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, built where it is missing; None where there is no compiler or the result does not load."""
    return compiler.library(SOURCE, FLAGS, SIGNATURES)


@functools.cache
def said(reason: str) -> None:
    """Say once per process why predictors are not compiled."""
    log.warning("predictors run in eager mode, several times slower: %s", reason)


def why_not(adjacency: Float[np.ndarray, "space nodes nodes"]) -> str | None:
    """Return why native code cannot serve predictors of this space here, or ``None``."""
    if not bool(((adjacency == 0) | (adjacency == 1)).all()):
        return "the adjacency of the space has entries other than 0 and 1"
    return None if load() is not None else "no working C++ compiler was found"


class Program:
    """A kind of predictor on a space, as the library reads it.

    Args:
        parameters: names and shapes in the flat buffer of a run.
        statistics: the same of the running statistics.
        adjacency, operations: of the space, checked.
        vocabulary: number of operations.
    """

    def __init__(
        self,
        parameters: Layout,
        statistics: Layout,
        adjacency: Float[np.ndarray, "space nodes nodes"],
        operations: Int64[np.ndarray, "space nodes"],
        vocabulary: int,
    ) -> None:
        library = load()
        assert library is not None
        self.library = library
        self.size, nodes = operations.shape
        self.plan = _plan(parameters, statistics, nodes=nodes, vocabulary=vocabulary)
        self.space = (
            *_neighbours(adjacency),
            *_neighbours(adjacency.transpose(0, 2, 1)),
            np.ascontiguousarray(operations, dtype=np.int64),
        )

    def train(
        self,
        weights: Float32[np.ndarray, " parameters"],
        first: Float32[np.ndarray, " parameters"],
        second: Float32[np.ndarray, " parameters"],
        statistics: Float32[np.ndarray, " statistics"],
        pool: Int64[np.ndarray, " pool"],
        accuracy: Float32[np.ndarray, " pool"],
        codes: Float32[np.ndarray, "pool code"],
        draws: Int64[np.ndarray, "steps batch"],
        optimiser: Float32[np.ndarray, "steps 4"],
        momentum: float,
        *,
        losses: Float32[np.ndarray, " steps"] | None = None,
        gradient: Float32[np.ndarray, " parameters"] | None = None,
        seconds: Float64[np.ndarray, " parts"] | None = None,
    ) -> None:
        """Train one run in place for the steps whose batches are ``draws``, positions in the pool.

        Args:
            weights, first, second, statistics: the run's row of each buffer.
            pool: architecture ids.
            accuracy: fractions.
            codes: NaN where there is none.
            draws: batches of 8.
            optimiser: learning rate, Adam's two bias corrections, and 1 where Adam is new at this step.
            momentum: of the running statistics.
            losses: receives the loss of each step.
            gradient: receives the gradient of the last step.
            seconds: each of :data:`PARTS` gains the processor time that it took.
        """
        self._check(pool)
        self.library.train(
            *_addresses(self.plan),
            *_addresses(*self.space, weights, first, second, statistics, pool, accuracy, codes),
            len(draws),
            *_addresses(draws, optimiser, losses),
            momentum,
            *_addresses(gradient, seconds),
        )

    def predict(
        self,
        weights: Float32[np.ndarray, " parameters"],
        statistics: Float32[np.ndarray, " statistics"],
        archs: Int64[np.ndarray, " archs"],
        codes: Float32[np.ndarray, "archs code"] | None = None,
        *,
        seconds: Float64[np.ndarray, " parts"] | None = None,
    ) -> Float32[np.ndarray, " archs"]:
        """Return the accuracies that one run predicts, with codes by the estimation branch."""
        self._check(archs)
        out = np.empty(len(archs), dtype=np.float32)
        self.library.predict(
            *_addresses(self.plan),
            *_addresses(*self.space, weights, statistics),
            len(archs),
            *_addresses(archs, codes, out, seconds),
        )
        return out

    def _check(self, archs: np.ndarray) -> None:
        if len(archs) and not 0 <= int(archs.min()) <= int(archs.max()) < self.size:
            raise IndexError(f"architectures {int(archs.min())} to {int(archs.max())} of {self.size}")


def _addresses(*arrays: np.ndarray | None) -> Iterator[int | None]:
    """Return where contiguous arrays lie (None stays None)."""
    for array in arrays:
        if array is not None and not array.flags.c_contiguous:
            raise ValueError(f"native kernels take contiguous arrays, not strides {array.strides}")
        yield None if array is None else array.ctypes.data


def _neighbours(adjacency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each node's neighbours start (archs · nodes + 1), and all neighbours, in ascending order."""
    starts = np.zeros(adjacency.shape[0] * adjacency.shape[1] + 1, dtype=np.int64)
    np.cumsum(adjacency.astype(bool).sum(2).ravel(), out=starts[1:])
    return starts, np.nonzero(adjacency)[2].astype(np.int16)


def _places(layout: Layout, step: int) -> dict[str, int]:
    """Return where each tensor starts if each takes a multiple of ``step`` entries."""
    out, at = {}, 0
    for name, entry in layout.items():
        out[name] = at
        at += -(-entry.size // step) * step
    return out


def _plan(
    parameters: Layout, statistics: Layout, *, nodes: int, vocabulary: int
) -> Int64[np.ndarray, " plan"]:
    """Return the ``Plan`` of native.cpp: sizes, where each tensor lies, and where it lies in the flat buffer."""
    flat, place = _places(parameters, 1), _places(parameters, ALIGNMENT)
    running = _places(statistics, 1)
    total = sum(-(-entry.size // ALIGNMENT) * ALIGNMENT for entry in parameters.values())
    norm = lambda name: [
        *(place.get(f"{name}.{what}", -1) for what in ("scale", "shift")),
        *(running.get(f"{name}.{what}", -1) for what in ("mean", "variance")),
    ]
    numbers = [nodes, vocabulary, size(parameters), total, size(statistics), len(parameters)]
    for name in CONVOLUTIONS:
        entry = parameters.get(f"{name}.out.weight")
        numbers.append(entry.shape[1] // FEATURES if entry else 0)
        for way in ("out", "in"):
            numbers += [place.get(f"{name}.{way}.weight", -1), *norm(f"{name}.{way}")]
    numbers += [place.get("efm.code.weight", -1), place.get("efm.code.bias", -1), *norm("efm.code")]
    numbers += [place["head.weight"], place["head.bias"]]
    for name, entry in parameters.items():
        numbers += [flat[name], place[name], entry.size]
    return np.array(numbers, dtype=np.int64)
