"""Room: one function per figure and table of the paper, each from one or two small tables of the analysis.

:func:`draw` is the one way to a figure.  A new figure is a function ``(Sources, **options) -> Drawing`` and one line in
:data:`REGISTRY`.  Importing this package imports neither matplotlib nor pandas.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snas import InputError
from snas.registry import Registry

REGISTRY = Registry(
    "figure",
    {
        "fig1": "snas.figures.scatter:fig1",
        "fig4": "snas.figures.scatter:fig4",
        "fig5": "snas.figures.curves:fig5",
        "fig6": "snas.figures.curves:fig6",
        "fig7": "snas.figures.curves:fig7",
        "fig8": "snas.figures.scatter:fig8",
        "fig9": "snas.figures.diagrams:fig9",
        "fig10": "snas.figures.diagrams:fig10",
        "table1": "snas.figures.tabular:table1",
        "headline": "snas.figures.tabular:headline",
        "differences": "snas.figures.curves:differences",
        "ablations": "snas.figures.tabular:ablations",
        "agreement": "snas.figures.tabular:agreement",
        "ranks": "snas.figures.curves:ranks",
        "costs": "snas.figures.tabular:costs",
        "fewest": "snas.figures.fewest:fewest",
        "fewest_seconds": "snas.figures.fewest:fewest_seconds",
        "needed": "snas.figures.fewest:needed",
        "fewest_paired": "snas.figures.fewest:fewest_paired",
    },
)

READS: dict[str, tuple[str, ...]] = {
    "fig1": ("scatter", "correlations"),
    "fig4": ("scatter",),
    "fig5": ("points",),
    "fig6": ("points", "comparison"),
    "fig7": ("points", "comparison"),
    "fig8": ("scatter", "correlations"),
    "fig9": ("architectures",),
    "fig10": ("counts",),
    "table1": ("timing",),
    "headline": ("points", "comparison"),
    "differences": ("differences",),
    "ablations": ("differences",),
    "agreement": ("comparison",),
    "ranks": ("points",),
    "costs": ("costs",),
    "fewest": ("progress",),
    "fewest_seconds": ("progress",),
    "needed": ("needed",),
    "fewest_paired": ("paired",),
}
"""Names of the schemas that a figure reads, of every bench of the run; other files among its data are left alone."""

SUFFIXES = (".pdf", ".svg", ".png", ".csv", ".json")
"""Of the files that :func:`draw` writes for one figure."""


def reads(figure: str) -> tuple[str, ...]:
    """Return :data:`READS` of a figure; raises :class:`InputError` where its line is missing."""
    if figure not in READS:
        raise InputError(
            f"figure {REGISTRY.check(figure)!r} has no line in READS of {__name__}: the names of the tables that it draws"
        )
    return READS[figure]


def draw(name: str, data_paths: Iterable[str | Path], out_stem: str | Path, **options: Any) -> list[Path]:
    """Draw the figure ``name`` and write it to ``out_stem`` with each of :data:`SUFFIXES`; returns the paths.

    ``data_paths`` are Parquet files of the analysis (each says in its metadata which table it is) and, for published
    numbers, the CSV files of ``published/``; a figure takes what it reads of them (:data:`READS`) and draws a card that
    says what is missing where it has none.  ``options`` are those of the figure's function.  The CSV is exactly what
    the figure shows, the JSON its title, the facts for its caption and what is missing.  Raises :class:`InputError`
    for an unknown name or a file that is not such a table.
    """
    from snas.figures.drawing import save
    from snas.figures.sources import Sources
    from snas.figures.style import styled

    function = REGISTRY.load(name)
    with styled():
        return save(function(Sources(data_paths, reads(name)), **options), out_stem)
