"""Where the channels of many Tiny-NanoBench networks lie when they are run as one program.  Plain Python, no torch.

A *value* is a tensor of rows: what one step of the program leaves, for all networks that take part in it; a row is one
channel of one network.  At node position p of a cell all networks with the same operation are one *step*, whose input is
put together from contiguous row ranges of earlier values.  Inside a cell every row is read exactly once (a chain; the
halves of a split go to different nodes), so the gradient of a value is put together from row ranges of the gradients of
the inputs that read it: the same kind of list, known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from snas.spaces.nanobench import CellPlan, NodePlan, Piece

CELL_INPUT = 0
"""Number of the value that is the cell's input."""
OUTPUT_READ = -1
"""Number of the read that is the cell's output (reads of steps are numbered by step)."""
MATMUL, DEPTHWISE, EXPAND, ATTENTION = "matmul", "depthwise", "expand", "attention"


@dataclass(frozen=True)
class Range:
    """Rows ``start`` to ``stop`` of the tensor number ``of``."""

    of: int
    start: int
    stop: int


@dataclass(frozen=True)
class Member:
    """One network in a step: its node, its channels, and where its rows begin in the step's input and output."""

    network: int
    node: int
    in_channels: int
    out_channels: int
    in_row: int
    out_row: int


@dataclass
class Step:
    """One operation of many networks at once.

    ``values`` are the numbers of its results (three for ``expand``, which leaves one after each of its convolutions),
    ``reads`` the rows of earlier values that make its input, ``gradients`` for each result the rows of the reads'
    gradients that make its gradient.  ``mish``: whether the activation follows (matmuls of outputs and splits: no).
    """

    operation: str
    mish: bool
    members: list[Member]
    reads: list[Range]
    values: list[int]
    gradients: list[list[Range]] = field(default_factory=list)
    last_reads: list[int] = field(default_factory=list)

    @property
    def in_rows(self) -> int:
        """Rows of the step's input."""
        return sum(member.in_channels for member in self.members)

    @property
    def out_rows(self) -> int:
        """Rows of each of the step's results."""
        return self.in_rows if self.operation == EXPAND else sum(m.out_channels for m in self.members)

    def parts(self) -> list[list[Member]]:
        """Return the members in runs of equal shapes: each is one batched product."""
        runs: list[list[Member]] = []
        for member in self.members:
            same = runs and (runs[-1][0].in_channels, runs[-1][0].out_channels) == (
                member.in_channels,
                member.out_channels,
            )
            if same:
                runs[-1].append(member)
            else:
                runs.append([member])
        return runs


@dataclass
class CellLayout:
    """The steps of one cell of all networks.  Its input and output hold the networks in order, all of equal channels."""

    networks: int
    in_channels: int
    out_channels: int
    steps: list[Step]
    output: list[Range]
    input_gradient: list[Range]

    @property
    def residual(self) -> bool:
        """True where the cell's input is added to its output."""
        return self.in_channels == self.out_channels


def lay_out(plans: Sequence[CellPlan]) -> CellLayout:
    """Return the layout of one cell of networks whose channel books are ``plans`` (equal ends, in the networks' order)."""
    width_in, width_out = plans[0].in_channels, plans[0].out_channels
    steps: list[Step] = []
    rows = {CELL_INPUT: len(plans) * width_in}
    # where[m][node]: the row ranges that hold the channels of a node of network m, in order
    where: list[dict[int, list[Range]]] = [
        {-1: [Range(CELL_INPUT, m * width_in, (m + 1) * width_in)]} for m in range(len(plans))
    ]
    last = [len(plan.nodes) - 1 for plan in plans]
    for position in range(max(last) + 1):
        groups: dict[tuple[str, bool], list[int]] = {}
        for m, plan in enumerate(plans):
            if position < last[m]:
                _sort_in(groups, where[m], plan.nodes[position], position, m)
        for (operation, mish), members in groups.items():
            steps.append(_step(operation, mish, members, [position] * len(members), plans, where, rows))
    groups = {}
    for m, plan in enumerate(plans):  # all outputs together, whatever their position
        _sort_in(groups, where[m], plan.nodes[-1], last[m], m)
    for (operation, mish), members in groups.items():
        steps.append(_step(operation, mish, members, [last[m] for m in members], plans, where, rows))
    output = _merge([part for m in range(len(plans)) for part in where[m][last[m]]])
    layout = CellLayout(len(plans), width_in, width_out, steps, output, [])
    _trace_back(layout, rows)
    return layout


def _sort_in(
    groups: dict[tuple[str, bool], list[int]],
    where: dict[int, list[Range]],
    node: NodePlan,
    position: int,
    network: int,
) -> None:
    """Add a network's node to the step that it belongs to; one that only hands its input on is done here."""
    kind = {"dwconv3x3": DEPTHWISE, "expand": EXPAND, "attention": ATTENTION}.get(node.operation)
    if kind is not None:
        groups.setdefault((kind, True), []).append(network)
    elif node.operation == "conv1x1" or node.projects:
        groups.setdefault((MATMUL, node.operation == "conv1x1"), []).append(network)
    else:
        where[position] = _gathered(node, where)


def _step(
    operation: str,
    mish: bool,
    networks: list[int],
    nodes: list[int],
    plans: Sequence[CellPlan],
    where: list[dict[int, list[Range]]],
    rows: dict[int, int],
) -> Step:
    """Make a step, number its results and note where its networks' channels are now."""
    order = list(zip(networks, nodes, strict=True))
    if operation in (MATMUL, ATTENTION):  # equal shapes side by side
        order.sort(key=lambda pair: plans[pair[0]].nodes[pair[1]].in_channels)
    members, reads, in_row, out_row = [], [], 0, 0
    results = 3 if operation == EXPAND else 1
    values = [len(rows) + t for t in range(results)]
    for network, position in order:
        node = plans[network].nodes[position]
        members.append(Member(network, position, node.in_channels, node.out_channels, in_row, out_row))
        reads += _gathered(node, where[network])
        channels = node.out_channels // results
        where[network][position] = [Range(value, out_row, out_row + channels) for value in values]
        in_row += node.in_channels
        out_row += channels
    rows.update(dict.fromkeys(values, out_row))
    return Step(operation, mish, members, _merge(reads), values)


def _gathered(node: NodePlan, where: dict[int, list[Range]]) -> list[Range]:
    """Return the row ranges that make a node's input, in order."""
    return [part for piece in node.pieces for part in _cut(where[piece.source], piece)]


def _cut(ranges: list[Range], piece: Piece) -> list[Range]:
    """Return channels ``piece.start`` to ``piece.stop`` of a node that lies in ``ranges``."""
    parts, channel = [], 0
    for part in ranges:
        size = part.stop - part.start
        start, stop = max(piece.start - channel, 0), min(piece.stop - channel, size)
        if start < stop:
            parts.append(Range(part.of, part.start + start, part.start + stop))
        channel += size
    return parts


def _merge(ranges: list[Range]) -> list[Range]:
    """Join neighbours that lie one after the other."""
    merged: list[Range] = []
    for part in ranges:
        if merged and merged[-1].of == part.of and merged[-1].stop == part.start:
            merged[-1] = Range(part.of, merged[-1].start, part.stop)
        else:
            merged.append(part)
    return merged


def _trace_back(layout: CellLayout, rows: dict[int, int]) -> None:
    """Fill in where each value's gradient comes from, and after which step a value is not needed any more."""
    readers: dict[int, list[tuple[int, Range]]] = {value: [] for value in rows}
    last_reader: dict[int, int] = {}
    reads = [(index, step.reads) for index, step in enumerate(layout.steps)]
    for index, ranges in [*reads, (OUTPUT_READ, layout.output)]:
        row = 0
        for part in ranges:
            size = part.stop - part.start
            readers[part.of].append((part.start, Range(index, row, row + size)))
            row += size
            last_reader[part.of] = index if index != OUTPUT_READ else len(layout.steps)
    gradients = {}
    for value, parts in readers.items():
        parts.sort(key=lambda pair: pair[0])
        at = 0
        for start, part in parts:
            assert start == at, "every row of a value is read exactly once"
            at += part.stop - part.start
        assert at == rows[value], "every row of a value is read exactly once"
        gradients[value] = _merge([part for _, part in parts])
    for step in layout.steps:
        step.gradients = [gradients[value] for value in step.values]
    layout.input_gradient = gradients[CELL_INPUT]
    for value, index in last_reader.items():
        if index < len(layout.steps):
            layout.steps[index].last_reads.append(value)
