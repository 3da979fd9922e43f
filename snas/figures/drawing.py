"""A drawn figure with its data, how it is saved, and the card that stands for missing data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snas.figures.style import WIDTH
from snas.tables import replacing

DPI = 200
FEWEST_RUNS = 10
"""Fewer runs would be called better or worse far too often: where there is no difference, a percentile bootstrap finds one in
10 % of the cases with 10 runs, in 20 % with 4 and in half of them with 2 (simulated, normal differences)."""
UNDATED: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}
"""Metadata that would make the same figure differ from day to day or from version to version."""


@dataclass(frozen=True)
class Drawing:
    """A figure, exactly the numbers that it shows, and what a caption says of this run."""

    figure: Figure
    data: pd.DataFrame
    title: str
    facts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What the run does not have, and how to get it; also drawn."""


def save(drawing: Drawing, stem: str | Path) -> list[Path]:
    """Write PDF, SVG, PNG (200 dpi), CSV and JSON beside each other, the same bytes for the same data."""
    stem = Path(stem)
    written = []
    for suffix, metadata in UNDATED.items():
        path = stem.with_name(stem.name + suffix)
        with replacing(path) as temporary:
            drawing.figure.savefig(temporary, dpi=DPI, metadata=metadata)
        written.append(path)
    table, notes = (stem.with_name(stem.name + suffix) for suffix in (".csv", ".json"))
    with replacing(table) as temporary:
        drawing.data.to_csv(temporary, index=False, lineterminator="\n")
    with replacing(notes) as temporary:
        facts = {"title": drawing.title, "facts": drawing.facts, "missing": drawing.missing}
        temporary.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*written, table, notes]


def free_figure(figsize: tuple[float, float]) -> Figure:
    """Return a figure whose axes stand where they are put."""
    figure = Figure(figsize=figsize)
    figure.set_layout_engine("none")
    return figure


def card(title: str, missing: str, columns: list[str]) -> Drawing:
    """Return a figure that says what is missing and how to get it, with the header of its CSV."""
    figure = Figure(figsize=(WIDTH, 1.6))
    axes = figure.add_subplot()
    card_panel(axes, missing, title=title, width=88)
    return Drawing(figure, pd.DataFrame(columns=columns), title, [], [missing])


def card_panel(axes: Axes, missing: str, *, title: str = "", width: int = 40) -> None:
    """Make ``axes`` a card with the text ``missing``."""
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_facecolor("#F6F6F6")
    for spine in axes.spines.values():
        spine.set_linestyle((0, (4, 3)))
    text = "\n".join(textwrap.fill(part, width) for part in ["Not in this run.", missing])
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7.5, linespacing=1.5
    )


def records(frame: pd.DataFrame) -> Iterable[Any]:
    """Return the rows of ``frame`` as named tuples (typed as anything, which their columns are)."""
    return frame.itertuples(index=False)


def nearest(values: Any, wanted: int) -> int:
    """Return the value nearest to ``wanted``, the smaller of two equally near ones.

    >>> nearest([10, 20, 40], 30)
    20
    """
    return int(min(values, key=lambda value: (abs(value - wanted), value)))


def over_runs(runs: Any, spread: str) -> str:
    """Return one sentence on the numbers of runs behind a figure and the ``spread`` over them that it shows.

    >>> over_runs([20, 20], "bands: ± 1 standard deviation over runs")
    'n = 20 runs with their own seeds; bands: ± 1 standard deviation over runs.'
    >>> over_runs([1, 4], "bars: intervals"), over_runs([1], "bars: intervals")
    ('n = 1–4 runs with their own seeds; bars: intervals (none where n = 1).', 'n = 1 run, so that no spread over runs is shown.')
    """
    if int(max(runs)) < 2:
        return "n = 1 run, so that no spread over runs is shown."
    alone = " (none where n = 1)" if int(min(runs)) < 2 else ""
    return f"n = {span(runs)} runs with their own seeds; {spread}{alone}."


def span(values: Any) -> str:
    """Return one number or a range.

    >>> span([5, 5]), span([20, 100, 30])
    ('5', '20–100')
    """
    low, high = int(min(values)), int(max(values))
    return str(low) if low == high else f"{low}–{high}"
