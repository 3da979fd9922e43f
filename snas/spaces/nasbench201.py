"""NAS-Bench-201 (Dong & Yang, 2020): 15,625 cells of six operations, and Tiny-NASBench-201, the 4,096 light ones.

A cell has four feature nodes; each of the six edges i→j (i < j) carries one of five operations, and a feature node is
the sum of what arrives.  As a graph with operations on nodes, as everywhere in this room, the six operations are the
nodes (in the order of the arch string: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3), and an operation i→j feeds every operation j→k.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from math import gcd
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from snas import InputError
from snas.spaces.space import Cell, Encoding, Graph, Space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The benchmark's operations in its order; ``none`` is the zero operation."""
FEATURE_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) feature node of each operation, in the order of the arch string."""
EDGES = tuple(
    (a, b)
    for a, (_, j) in enumerate(FEATURE_EDGES)
    for b, (i, _) in enumerate((*FEATURE_EDGES, (3, 4)))
    if i == j
)
"""Edges between operations (nodes 0..5) and to the output (node 6)."""
CELLS_PER_STAGE = 5
STAGES = 3

ZERO = "zero"
"""Symbol of the zero operation in the encoding, where ``none`` is the padding-like node 5."""
VOCABULARY = (ZERO, *OPERATIONS[1:], "split_2", "split_3", "none", "output")
"""Symbols of the predictor encoding: the five operations, then those of the fixed nodes."""
ENCODING_NODES: tuple[str | int, ...] = ("split_3", 0, "split_2", 1, 2, "none", 3, 4, 5, "output")
"""What stands on each of the ten nodes: a fixed symbol, or the number of an operation of the arch string."""
ENCODING_EDGES = (
    (0, 1), (0, 3), (0, 6), (1, 2), (2, 4), (2, 7), (3, 5), (4, 5), (5, 8), (6, 9), (7, 9), (8, 9)
)  # fmt: skip

_SHUFFLE_SEED = 88
_ARCH = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


def arch_string(operations: Sequence[str]) -> str:
    """Return the benchmark's string of six operations.

    >>> arch_string(["none"] * 6)
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def parse_arch_string(text: str) -> tuple[str, ...]:
    """Return the six operations of an arch string; raises :class:`InputError` where it is none."""
    match = _ARCH.fullmatch(text)
    if match is None or not set(match.groups()) <= set(OPERATIONS):
        raise InputError(
            f"{text!r} is not an architecture of NAS-Bench-201; expected {arch_string(['<op>'] * 6)} "
            f"with operations among {', '.join(OPERATIONS)}"
        )
    return match.groups()


def official_order() -> list[tuple[str, ...]]:
    """Return the operations of all 15,625 cells in the order of the benchmark's index.

    The benchmark's authors listed all cells lexicographically (first operation slowest, operations in the order of
    :data:`OPERATIONS`) and shuffled the list by Python's ``random`` with seed 88.  The same is done here, and agrees
    with the index of the released files in all 15,625 places.
    """
    cells = list(product(OPERATIONS, repeat=len(FEATURE_EDGES)))
    random.Random(_SHUFFLE_SEED).shuffle(cells)
    return cells


Expression = tuple[tuple[tuple[Any, ...], int, int], ...]
"""A sum: its terms, sorted, each as (input or convolution, how often it is pooled, how often it occurs)."""


def expression(operations: Sequence[str]) -> Expression:
    """Return what a cell computes as a normal form, the same for functionally equal cells.

    A feature node is a sum of terms: the cell's input, or a convolution of another sum.  A zero adds nothing, a skip
    adds the terms of its source, average pooling is linear and so pools term by term.  A convolution begins with ReLU
    and ends with BN, so that a positive factor of its whole input changes nothing, and a convolution of nothing is
    nothing but a bias.  A convolution that is read on two ways, and two with weights of their own that read the same,
    are one expression twice: with equal weights for equal expressions, cells of equal expressions are the same
    function (up to BN's eps).  Kept apart (a shared convolution is a weight tied), there would be 4,954 instead of
    4,450.

    >>> expression(["none"] * 6)
    ()
    >>> one_way = expression(["none", "none", "none", "skip_connect", "none", "none"])
    >>> one_way == expression(["skip_connect", "none", "skip_connect", "none", "none", "skip_connect"])
    True
    """
    nodes: list[Counter[tuple[tuple[Any, ...], int]]] = [Counter({(("input",), 0): 1})]
    for node in range(1, 4):
        total: Counter[tuple[tuple[Any, ...], int]] = Counter()
        for (source, target), operation in zip(FEATURE_EDGES, operations, strict=True):
            if target != node or operation == "none" or not nodes[source]:
                continue
            terms = nodes[source]
            if operation == "skip_connect":
                total.update(terms)
            elif operation == "avg_pool_3x3":
                total.update({(term, pooled + 1): times for (term, pooled), times in terms.items()})
            else:
                factor = gcd(*terms.values())
                read = Counter({term: times // factor for term, times in terms.items()})
                total[(operation, _sorted(read)), 0] += 1
        nodes.append(total)
    return _sorted(nodes[-1])


def _sorted(terms: Counter[tuple[tuple[Any, ...], int]]) -> Expression:
    return tuple(sorted(((term, pooled, times) for (term, pooled), times in terms.items()), key=repr))


class NASBench201(Space):
    """All 15,625 cells; the architecture index is the benchmark's own."""

    name: ClassVar[str] = "nasbench201"
    title: ClassVar[str] = "NAS-Bench-201"
    default_width: ClassVar[int] = 16
    network: ClassVar[str] = "snas.networks.nasbench201:NASBench201Network"

    def enumerate(self) -> list[Cell]:
        """Return the cells in the order of the benchmark; a cell's name is its arch string."""
        return [Cell(operations, EDGES, arch_string(operations)) for operations in official_order()]

    def computing(self, cell: Cell) -> Graph:
        """Return the cell without zero operations and what hangs on them alone."""
        return cell.graph().live(dead=("none",))

    def function(self, cell: Cell) -> Expression:
        """Return the cell's output as an expression (:func:`expression`); 4,450 are distinct."""
        return expression(cell.operations)

    @cached_property
    def official_index(self) -> Int64[np.ndarray, " archs"]:
        """The benchmark's index of each architecture."""
        return np.arange(len(self), dtype=np.int64)

    @cached_property
    def _codes(self) -> Int64[np.ndarray, "archs operations"]:
        """Place in :data:`OPERATIONS` of each operation of each cell."""
        place = {operation: code for code, operation in enumerate(OPERATIONS)}
        return np.array([[place[o] for o in cell.operations] for cell in self.cells()], dtype=np.int64)

    def costs(
        self, *, width: int | None = None, channels: int = 3, side: int = 32, classes: int = 10
    ) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
        """Return (MACs, trainable parameters) of the official network (five cells a stage) of the given size.

        The recorded FLOPs of the benchmark are these MACs plus the number of classes.  A stride-2 block halves the
        side, rounded up.
        """
        width = width or self.default_width
        sides = [side, -(-side // 2), -(-side // 4)]
        widths = [width * 2**stage for stage in range(STAGES)]
        # one cell's weights are (1·n₁ + 9·n₃)·c², and as many MACs per pixel; each convolution has its BN, 2c
        ones, threes = ((self._codes == OPERATIONS.index(f"nor_conv_{k}x{k}")).sum(axis=1) for k in (1, 3))
        taps, norms = ones + 9 * threes, ones + threes
        macs = np.full(len(self), 9 * channels * width * side**2 + widths[-1] * classes, dtype=np.int64)
        params = np.full(
            len(self),
            9 * channels * width + 2 * width + 2 * widths[-1] + (widths[-1] + 1) * classes,
            dtype=np.int64,
        )
        for c, s in zip(widths, sides, strict=True):
            macs += CELLS_PER_STAGE * taps * c * c * s * s
            params += CELLS_PER_STAGE * (taps * c * c + norms * 2 * c)
        for c, s in zip(
            widths[1:], sides[1:], strict=True
        ):  # residual block: 3×3 of stride 2, 3×3, 1×1 shortcut
            weights = 9 * (c // 2) * c + 9 * c * c + (c // 2) * c
            macs += weights * s * s
            params += weights + 4 * c
        return macs, params

    def encoding(self) -> Encoding:
        """Return graphs of ten nodes with the operations on nodes."""
        nodes = len(ENCODING_NODES)
        adjacency = np.eye(nodes, dtype=np.float32)
        adjacency[tuple(np.transpose(ENCODING_EDGES))] = 1
        operations = np.empty((len(self), nodes), dtype=np.int64)
        for node, what in enumerate(ENCODING_NODES):
            # the five operations come first in the vocabulary, in the benchmark's order
            operations[:, node] = VOCABULARY.index(what) if isinstance(what, str) else self._codes[:, what]
        return Encoding(np.tile(adjacency, (len(self), 1, 1)), operations, VOCABULARY)


class TinyNASBench201(NASBench201):
    """The 4,096 cells without ``nor_conv_3x3``, exactly those below 35·10⁶ MACs; in the benchmark's order.

    The architecture index is the place in this list; ``official_index`` has the benchmark's.
    """

    name: ClassVar[str] = "tiny_nasbench201"
    title: ClassVar[str] = "Tiny-NASBench-201"

    def enumerate(self) -> list[Cell]:
        """Return the cells without 3×3 convolution."""
        return [cell for cell in super().enumerate() if "nor_conv_3x3" not in cell.operations]

    @cached_property
    def official_index(self) -> Int64[np.ndarray, " archs"]:
        """The benchmark's index of each architecture."""
        kept = ["nor_conv_3x3" not in operations for operations in official_order()]
        return np.flatnonzero(kept).astype(np.int64)
