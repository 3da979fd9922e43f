"""Tiny-NanoBench: chains of at most six light operations with one possible split (paper, appendix A; docs/definitions.md, section 1).

A Nano Cell is an ordered list of L op nodes, 0 ≤ L ≤ 6, taken from a bag of six: ``dwconv3x3`` at most twice,
``conv1x1``, ``attention``, ``expand`` and ``split`` at most once each.  2,083 cells exist; the space are the 1,120 that
cost at most 35·10⁶ multiply-accumulates.

:func:`plan` keeps the channel book of a cell: the cost count, the plain network and the program that trains many
networks at once all read it, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int64

from snas.spaces.space import Cell, Encoding, Space

BAG = {"dwconv3x3": 2, "conv1x1": 1, "attention": 1, "expand": 1, "split": 1}
"""The operations and how often each may occur in a cell."""
MAX_NODES = 6
"""Most op nodes of a cell."""
MACS_LIMIT = 35_000_000
"""Most multiply-accumulates of an architecture of the space, at 3×32×32, ten classes and width 32."""
VOCABULARY = (*BAG, "output", "none")
"""Symbols of the predictor encoding; ``none`` pads."""
CELLS_PER_STAGE = 3
STAGES = 3
OUT_CHANNELS: Mapping[str, Callable[[int, int], int]] = {
    "dwconv3x3": lambda channels, width: channels,
    "conv1x1": lambda channels, width: width,
    "attention": lambda channels, width: channels,
    "expand": lambda channels, width: 3 * channels,
    "split": lambda channels, width: channels + channels % 2,
    "output": lambda channels, width: width,
}
"""Channels that an operation gives of the channels that it reads, in a cell of some width (f)."""
INPUT = -1
"""Source number of the cell's input in a plan."""


class Piece(NamedTuple):
    """Channels ``start`` to ``stop`` of the output of node ``source`` (:data:`INPUT`: of the cell's input)."""

    source: int
    start: int
    stop: int

    @property
    def channels(self) -> int:
        """How many channels the piece has."""
        return self.stop - self.start


class NodePlan(NamedTuple):
    """One node of a cell with its channel numbers.

    ``pieces`` are concatenated on channels in this order (by source node).  For ``split``, ``out_channels`` is even: one
    more than ``in_channels`` where these are odd (a 1×1 convolution with BN makes them so), and the halves are told apart
    by the pieces of the nodes that read them.  For ``output``, a 1×1 convolution with BN is needed where ``projects``.
    """

    operation: str
    pieces: tuple[Piece, ...]
    in_channels: int
    out_channels: int

    @property
    def projects(self) -> bool:
        """True where a node without weights of its own needs a 1×1 convolution with BN to get its channels."""
        return self.operation in ("split", "output") and self.in_channels != self.out_channels

    @property
    def hidden(self) -> int:
        """Channels of an attention's q, k and v: a quarter of its input, at least one (below four channels)."""
        return max(self.in_channels // 4, 1)


@dataclass(frozen=True)
class CellPlan:
    """The channel book of one cell: its op nodes and, last, its output node."""

    nodes: tuple[NodePlan, ...]
    in_channels: int
    out_channels: int

    @property
    def residual(self) -> bool:
        """True where the cell's input is added to its output: both have the same number of channels."""
        return self.in_channels == self.out_channels


def plan(cell: Cell, in_channels: int, width: int) -> CellPlan:
    """Return the channel book of ``cell`` with ``in_channels`` at its input and ``width`` (f) at its output."""
    return _planned(_wires(cell), in_channels, width)


Wires = list[tuple[str, list[tuple[int, int | None]]]]
"""Each node's operation, and the sources that it reads: all of one (None), or the first (0) or second (1) half of a split."""


def _wires(cell: Cell) -> Wires:
    """Return what reads what: the part of a plan that hangs on no size, as a plan is made for each width of a network."""
    read: dict[int, list[int]] = {}
    for source, target in sorted(cell.edges):
        read.setdefault(source, []).append(target)
    wires: Wires = [(operation, []) for operation in (*cell.operations, "output")]
    for source, targets in read.items():
        for half, target in enumerate(targets):  # one reader: also a split as the last node gives both halves
            wires[target][1].append((source, None if len(targets) == 1 else half))
    return wires


def _planned(wires: Wires, in_channels: int, width: int) -> CellPlan:
    """Return the channel book of the cell that has these wires."""
    nodes: list[NodePlan] = []
    for operation, reads in wires:
        pieces = tuple([_piece(source, half, nodes[source].out_channels) for source, half in reads])
        if not pieces:
            pieces = (Piece(INPUT, 0, in_channels),)
        channels = sum([piece.stop - piece.start for piece in pieces])
        nodes.append(NodePlan(operation, pieces, channels, OUT_CHANNELS[operation](channels, width)))
    return CellPlan(tuple(nodes), in_channels, width)


def _piece(source: int, half: int | None, channels: int) -> Piece:
    """Return what is read of ``source`` with ``channels`` at its output: all of it, or a half."""
    if half is None:
        return Piece(source, 0, channels)
    return Piece(source, channels // 2, channels) if half else Piece(source, 0, channels // 2)


def stage_widths(width: int) -> tuple[int, ...]:
    """Return the cell widths f of the stages: b, 2b, 4b."""
    return tuple(width * 2**stage for stage in range(STAGES))


def cell_widths(width: int) -> list[tuple[int, int, int]]:
    """Return (stage, input channels, width) of the nine cells of a network with a stem of ``width`` channels."""
    widths = stage_widths(width)
    before = (width, *widths[:-1])
    return [
        (stage, before[stage] if position == 0 else f, f)
        for stage, f in enumerate(widths)
        for position in range(CELLS_PER_STAGE)
    ]


def cell_costs(book: CellPlan) -> tuple[int, int, int]:
    """Return a cell's (MACs per pixel, MACs whatever the size, trainable parameters), by the table of operations in docs/definitions.md.

    A convolution without bias has as many weights as MACs per pixel it is evaluated at; BN adds two per channel.
    """
    per_pixel = fixed = norms = 0
    for node in book.nodes:
        c, out = node.in_channels, node.out_channels
        if node.operation == "dwconv3x3":
            per_pixel += 9 * c
            norms += c
        elif node.operation == "expand":
            per_pixel += 27 * c
            norms += 3 * c
        elif node.operation == "attention":
            fixed += 4 * c * node.hidden
        elif node.operation == "conv1x1" or node.projects:
            per_pixel += c * out
            norms += out
    return per_pixel, fixed, per_pixel + fixed + 2 * norms


def network_costs(
    cells: Sequence[Cell], *, width: int = 32, channels: int = 3, side: int = 32, classes: int = 10
) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
    """Return (MACs, trainable parameters) of the networks of ``cells``: stem, nine cells, classifier with bias.

    Pooling halves the side (rounded down) between stages.  MACs count convolutions and linear layers only.
    """
    places: dict[tuple[int, int, int], int] = {}
    for place in cell_widths(width):
        places[place] = places.get(place, 0) + 1
    features = stage_widths(width)[-1]
    stem = 9 * channels * width
    macs = np.full(len(cells), stem * side * side + features * classes, dtype=np.int64)
    params = np.full(len(cells), stem + 2 * width + (features + 1) * classes, dtype=np.int64)
    wired = [_wires(cell) for cell in cells]
    for (stage, in_channels, f), times in places.items():
        pixels = (side // 2**stage) ** 2
        costs = np.array([cell_costs(_planned(wires, in_channels, f)) for wires in wired], dtype=np.int64)
        per_pixel, fixed, weights = costs.reshape(len(cells), 3).T
        macs += times * (per_pixel * pixels + fixed)
        params += times * weights
    return macs, params


def all_cells() -> list[Cell]:
    """Return all 2,083 Nano Cells, without a limit on costs.

    Order: by the number of nodes, then by the operations in the order of :data:`BAG`, then by the split's target.
    """
    return [
        make_cell(operations, target)
        for length in range(MAX_NODES + 1)
        for operations in product(BAG, repeat=length)
        if all(operations.count(operation) <= most for operation, most in BAG.items())
        for target in _split_targets(operations)
    ]


def _split_targets(operations: tuple[str, ...]) -> Sequence[int | None]:
    """Return the possible targets of the split's second half; ``[None]`` without a split, or with it last."""
    if "split" not in operations[:-1]:
        return [None]
    return range(operations.index("split") + 2, len(operations) + 1)


def make_cell(operations: Sequence[str], target: int | None = None) -> Cell:
    """Return the Nano Cell of ``operations``; ``target`` is the node that reads the split's second half.

    The name lists the operations, ``split>j`` says the target, and the cell without nodes is called ``identity``.

    >>> make_cell(("split", "dwconv3x3", "conv1x1"), 3).name
    'split>3,dwconv3x3,conv1x1'
    """
    operations = tuple(operations)
    edges = [(node, node + 1) for node in range(len(operations))]
    words = list(operations)
    if target is not None:
        split = operations.index("split")
        edges.append((split, target))
        words[split] = f"split>{target}"
    return Cell(operations, tuple(sorted(edges)), ",".join(words) or "identity")


class TinyNanoBench(Space):
    """The 1,120 Nano Cells of at most 35·10⁶ MACs (:data:`MACS_LIMIT`), in the order of :func:`all_cells`."""

    name: ClassVar[str] = "tiny_nanobench"
    title: ClassVar[str] = "Tiny-NanoBench"
    default_width: ClassVar[int] = 32
    network: ClassVar[str] = "snas.networks.nano:NanoNetwork"
    population: ClassVar[str | None] = "snas.networks.nano_population:NanoPopulation"
    residual: ClassVar[bool] = True

    @cached_property
    def _selection(self) -> tuple[list[Cell], np.ndarray, np.ndarray]:
        cells = all_cells()
        macs, params = network_costs(cells, width=self.default_width)
        chosen = np.flatnonzero(macs <= MACS_LIMIT)
        return [cells[i] for i in chosen], macs[chosen], params[chosen]

    def enumerate(self) -> list[Cell]:
        """Return the cells within the limit."""
        return self._selection[0]

    def costs(
        self, *, width: int | None = None, channels: int = 3, side: int = 32, classes: int = 10
    ) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
        """Return (MACs, trainable parameters) of all architectures as networks of the given size."""
        width = width or self.default_width
        if (width, channels, side, classes) == (self.default_width, 3, 32, 10):
            return self._selection[1].copy(), self._selection[2].copy()
        return network_costs(self.cells(), width=width, channels=channels, side=side, classes=classes)

    def encoding(self) -> Encoding:
        """Return graphs of seven nodes: the ops, then ``output``, then padding ``none`` (docs/definitions.md, section 1)."""
        cells, nodes = self.cells(), MAX_NODES + 1
        adjacency = np.tile(np.eye(nodes, dtype=np.float32), (len(cells), 1, 1))
        operations = np.full((len(cells), nodes), VOCABULARY.index("none"), dtype=np.int64)
        for row, cell in enumerate(cells):
            for node, operation in enumerate((*cell.operations, "output")):
                operations[row, node] = VOCABULARY.index(operation)
            for source, target in cell.edges:
                adjacency[row, source, target] = 1
        return Encoding(adjacency, operations, VOCABULARY)
