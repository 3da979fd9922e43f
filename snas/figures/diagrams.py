"""Drawings of Tiny-NanoBench: the meta-architecture with cells (9) and how the space is counted (10)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from snas.analysis.counting import CELLS, LISTS, WITHIN
from snas.figures import style
from snas.figures.drawing import Drawing, card, free_figure, records
from snas.figures.sources import Source, Sources

BOXES = {
    "dwconv3x3": ("DW conv\n3×3", "#CDE7F7"),
    "conv1x1": ("Conv\n1×1", "#BFE3D6"),
    "attention": ("Atten-\ntion", "#F9DDB8"),
    "expand": ("Expand", "#F0D3E3"),
    "split": ("Split", "#FBF6B6"),
}
"""Text and fill of an operation's box; other operations are white with their own name in short lines."""
INK = "#303030"


def fig9(sources: Sources) -> Drawing:
    """The meta-architecture, a stage, a Nano Cell, and a cell of the space that contains every operation."""
    title = "The networks of Tiny-NanoBench"
    columns = ["part", "position", "text"]
    source = sources.first("architectures", "tiny_nanobench") or next(
        iter(sources.all("architectures")), None
    )
    if source is None:
        return card(
            f"Figure 9. {title}",
            "The table of Tiny-NanoBench is needed: run with space: tiny_nanobench.",
            columns,
        )
    example = example_cell(source.frame)
    figure = free_figure(figsize=(style.WIDTH, 4.4))
    rows = [figure.add_axes((0.01, bottom, 0.98, 0.21)) for bottom in (0.745, 0.5, 0.25, 0.0)]
    texts = {
        "meta-architecture": _meta(rows[0]),
        "stage": _stage(rows[1]),
        "nano cell": _nano_cell(rows[2]),
        "example cell": _example(rows[3], example),
    }
    data = [(part, place, text) for part, boxes in texts.items() for place, text in enumerate(boxes)]
    facts = [
        f"The example is architecture {int(example['arch'])}, {example['cell']}, with {example['macs'] / 1e6:.2f} million multiply-accumulates; "
        "of the cells with all operations it is one in which the split skips furthest."
    ]  # fmt: skip
    return Drawing(figure, pd.DataFrame(data, columns=columns), title, facts)


def fig10(sources: Sources) -> Drawing:
    """How the bag of operations becomes 2,083 cells, and these 1,120 architectures of at most 35 M."""
    title = "The counting of Tiny-NanoBench"
    columns = ["step", "nodes", "count"]
    source = next(iter(sources.all("counts")), None)
    if source is None:
        return card(
            f"Figure 10. {title}",
            "The counts of Tiny-NanoBench are needed: run the target of this figure with space: tiny_nanobench.",
            columns,
        )
    totals = source.frame.groupby("step")["count"].sum()
    figure = Figure(figsize=(style.WIDTH, 3.4))
    flow, bars = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _flow(flow, totals, source)
    _bars(bars, source.frame)
    facts = [
        f"The costs nearest to the limit are {source.facts['largest_within'] / 1e6:.4f} M and {source.facts['smallest_above'] / 1e6:.4f} M, so the count does not hang on rounding."
    ]
    return Drawing(figure, source.frame[columns], title, facts)


def example_cell(frame: pd.DataFrame) -> pd.Series:
    """Return the cell that contains every operation of the space and whose longest edge is longest (first of equals)."""
    everything = {operation for operations in frame["operations"] for operation in operations}
    complete = frame[[everything <= set(operations) for operations in frame["operations"]]]
    candidates = complete if len(complete) else frame
    spans = [
        (len(set(row.operations)), max((b - a for a, b in _pairs(row.edges)), default=0))
        for row in records(candidates)
    ]
    return candidates.iloc[spans.index(max(spans))]


def _pairs(edges: Sequence[int]) -> list[tuple[int, int]]:
    numbers = [int(node) for node in edges]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def draw_cell(
    ax: Axes, operations: Sequence[str], edges: Sequence[tuple[int, int]], *, residual: bool = True
) -> list[str]:
    """Draw a cell from left to right, long edges as arcs, each at a height of its own; returns the texts of its boxes.

    ``residual``: its input is added to its output, where they have the same number of channels.
    """
    last = len(operations)
    step = 9.0 / (last + 2)
    at = lambda node: (node + 1) * step + 0.5  # input is node -1
    y, texts = 0.95, []
    fed = {target for _, target in edges}
    links = [*edges, *((-1, node) for node in range(last + 1) if node not in fed)]
    heights = _heights([link for link in links if link[1] > link[0] + 1])
    aside = 0.15 if len(heights) > 1 else 0.0  # what leaves a box does not go up where something comes down
    for source, target in links:
        if target == source + 1:
            _arrow(ax, (at(source) + 0.41, y), (at(target) - 0.41, y))
        else:
            _arc(ax, at(source) + aside, at(target) - aside, y, reach=heights[source, target])
    for node, operation in enumerate(("input", *operations, "output")):
        label, fill = BOXES.get(operation, (_in_lines(operation), "white"))
        _box(ax, at(node - 1), y, label, fill, width=0.82)
        texts.append(operation)
    if not residual:
        return texts
    plus = at(last) + 0.85
    _arrow(ax, (at(last) + 0.41, y), (plus - 0.14, y))
    _plus(ax, plus, y)
    _arc(ax, at(-1), plus, y, below=True, dashed=True)
    return texts


def _heights(arcs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return how high above the middle of the boxes each arc goes: shorter ones lower, no two that overlap the same.

    >>> _heights([(0, 3)]), sorted(_heights([(0, 2), (0, 3), (3, 6)]).values())
    ({(0, 3): 0.58}, [0.44, 0.44, 0.58])
    """
    rows: list[list[tuple[int, int]]] = []
    for arc in sorted(arcs, key=lambda arc: (arc[1] - arc[0], arc)):
        free = (row for row in rows if all(arc[1] <= a or b <= arc[0] for a, b in row))
        row = next(free, None)
        if row is None:
            rows.append(row := [])
        row.append(arc)
    step = min(0.14, 0.56 / max(len(rows) - 1, 1))
    first = 0.58 if len(rows) < 2 else 0.44
    return {arc: round(first + place * step, 3) for place, row in enumerate(rows) for arc in row}


def _in_lines(operation: str) -> str:
    """Return the name of an operation in lines that a box holds.

    >>> _in_lines("nor_conv_3x3"), _in_lines("none")
    ('nor conv\\n3x3', 'none')
    """
    return textwrap.fill(operation.replace("_", " "), 8)


def _meta(ax: Axes) -> list[str]:
    boxes = [
        ("Images\n3×32×32", "white"), ("Conv 3×3\nBN, mish", "#E6E6E6"), ("Stage 1\nf = b", "#CDE7F7"), ("Avg pool\n2×2", "#E6E6E6"), ("Stage 2\nf = 2b", "#CDE7F7"),
        ("Avg pool\n2×2", "#E6E6E6"), ("Stage 3\nf = 4b", "#CDE7F7"), ("Global\navg pool", "#E6E6E6"), ("Linear", "#E6E6E6"),
    ]  # fmt: skip
    _blank(ax, "(a) Meta-architecture")
    step = 10 / len(boxes)
    for place, (text, fill) in enumerate(boxes):
        x = (place + 0.5) * step
        _box(ax, x, 1.0, text, fill, width=0.9)
        if place:
            _arrow(ax, (x - step + 0.45, 1.0), (x - 0.45, 1.0))
    return [text.replace("\n", " ") for text, _ in boxes]


def _stage(ax: Axes) -> list[str]:
    _blank(ax, "A stage: three cells; its output is that of the first plus that of the third")
    names = ["input", "Nano Cell", "Nano Cell", "Nano Cell", "+", "output"]
    xs = [1.2, 2.9, 4.7, 6.5, 7.8, 9.0]
    for name, x in zip(names, xs, strict=True):
        _plus(ax, x, 1.0) if name == "+" else _box(
            ax, x, 1.0, name, "#CDE7F7" if "Cell" in name else "white", width=1.15
        )
    half = {"+": 0.15}
    for (a, left), (b, right) in zip(
        list(zip(names, xs, strict=True))[:-1], list(zip(names, xs, strict=True))[1:], strict=True
    ):
        _arrow(ax, (left + half.get(a, 0.575), 1.0), (right - half.get(b, 0.575), 1.0))
    _arc(ax, xs[1], xs[4], 1.0)
    return names


def _nano_cell(ax: Axes) -> list[str]:
    _blank(
        ax,
        "(b) Nano Cell: at most six op nodes in a chain; a split also feeds one later node.\nThe input is added where the channels agree.",
    )
    operations = [f"op {node}" for node in range(1, 7)]
    return draw_cell(ax, operations, [(node, node + 1) for node in range(6)])


def _example(ax: Axes, example: pd.Series) -> list[str]:
    _blank(ax, "An example that contains all operations")
    return draw_cell(ax, list(example["operations"]), _pairs(example["edges"]))


def _blank(ax: Axes, title: str) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 2)
    ax.text(0.05, 1.98, title, fontsize=7.5, va="top")


def _box(ax: Axes, x: float, y: float, text: str, fill: str, *, width: float, height: float = 0.62) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            fc=fill,
            ec=INK,
            lw=0.7,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=6.5, linespacing=1.1)


def _plus(ax: Axes, x: float, y: float) -> None:
    ax.plot([x], [y], marker="o", ms=8, mfc="white", mec=INK, mew=0.7, zorder=3)
    ax.plot([x], [y], marker="+", ms=5, mec=INK, mew=0.8, zorder=4)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **options: Any) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=6, lw=0.8, color=INK, shrinkA=0, shrinkB=0, **options
        )
    )


def _arc(
    ax: Axes,
    start: float,
    end: float,
    y: float,
    *,
    reach: float = 0.58,
    below: bool = False,
    dashed: bool = False,
) -> None:
    """Draw a bent arrow over (or under) the boxes between ``start`` and ``end``; ``reach``: how high over their middle."""
    edge = -0.31 if below else 0.31
    reach = y + (-0.62 if below else reach)
    tip = y + (-0.14 if dashed else edge)
    line: dict[str, Any] = {
        "color": INK,
        "lw": 0.8,
        "ls": (0, (3, 2)) if dashed else "-",
        "solid_joinstyle": "round",
    }
    ax.plot([start, start, end], [y + edge, reach, reach], **line)
    _arrow(ax, (end, reach), (end, tip), ls=(0, (3, 2)) if dashed else "-")


def _flow(ax: Axes, totals: pd.Series, source: Source) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 10)
    limit = source.facts["limit"] / 1e6
    above = int(totals[CELLS] - totals[WITHIN])
    steps = [
        (8.9, "Bag: DW conv 3×3 twice; conv 1×1,\nattention, expand, split once", "white"),
        (6.6, f"{totals[LISTS]:,} ordered lists\nof at most six operations", "white"),
        (4.3, f"{totals[CELLS]:,} cells: each list with\neach target of its split", "#CDE7F7"),
        (2.6, f"at most {limit:.0f} million MACs?", "#FBF6B6"),
        (0.75, f"{totals[WITHIN]:,} architectures\nof Tiny-NanoBench", "#BFE3D6"),
    ]
    for place, (y, text, fill) in enumerate(steps):
        height = 0.9 if "\n" not in text else 1.35
        ax.add_patch(
            FancyBboxPatch(
                (0.3, y - height / 2),
                6.9,
                height,
                boxstyle="round,pad=0,rounding_size=0.2",
                fc=fill,
                ec=INK,
                lw=0.7,
            )
        )
        ax.text(3.75, y, text, ha="center", va="center", fontsize=7)
        if place:
            before = steps[place - 1]
            gap = (0.9 if "\n" not in before[1] else 1.35) / 2
            _arrow(ax, (3.75, before[0] - gap), (3.75, y + height / 2))
    ax.text(3.9, 1.78, "yes", fontsize=7, va="center")
    _arrow(ax, (7.2, 2.6), (8.3, 2.6))
    ax.text(7.7, 2.75, "no", fontsize=7, ha="center", va="bottom")
    ax.text(8.4, 2.6, f"{above:,}\nleft out", fontsize=7, va="center")


def _bars(ax: Axes, frame: pd.DataFrame) -> None:
    table = frame.pivot_table(index="nodes", columns="step", values="count", aggfunc="sum")
    ax.bar(table.index, table[CELLS], color="#CDE7F7", ec=INK, lw=0.5, label="cells", width=0.75)
    ax.bar(table.index, table[WITHIN], color=style.GREEN, width=0.75, label="within the limit")
    tall = 60  # a bar that holds its own number
    for nodes, row in table.iterrows():
        inside = row[WITHIN] >= tall
        above = (
            f"{row[CELLS]:,}" if inside or row[WITHIN] == row[CELLS] else f"{row[WITHIN]:,}/{row[CELLS]:,}"
        )
        ax.annotate(
            above,
            (nodes, row[CELLS]),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
        )
        if inside:
            ax.annotate(
                f"{row[WITHIN]:,}",
                (nodes, row[WITHIN]),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6.5,
                color="white",
            )
    ax.set_xticks(table.index)
    ax.set_xlabel("op nodes L")
    ax.set_ylabel("number of cells")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left")
