"""Estimation code and proxies against accuracy, one architecture a point, and their rank correlation per group (figures 1, 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from snas.analysis.inputs import CODE, Bench
from snas.search.bench import LOG10, scored_proxies
from snas.tables import Column, Schema

SCATTER = Schema(
    name="scatter",
    description="One row per architecture of a bench: what figures 1, 4 and 8 plot. For each proxy that was scored there is a "
    "further column (`log10_synflow`, ...; float64): log10 of its score, missing where there is none.",
    key=("arch",),
    extra=True,
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "mmacs": Column("float64", "Multiply-accumulates in millions (the paper's FLOPs)", low=0),
        "accuracy": Column("float64", "Accuracy of the bench", null=True, low=0, high=1),
        "code": Column(
            "float64",
            "1 - (mean of the three losses) / (largest single loss over all architectures and epochs that are plotted)",
            null=True,
        ),
    },
)

CORRELATIONS = Schema(
    name="correlations",
    description="One row per group of architectures and measure: rank correlation with accuracy.",
    key=("bench", "against", "kind", "label"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "against": Column("string", "code, or the column of a proxy (log10_synflow)"),
        "kind": Column(
            "string",
            "all; group: by accuracy, the colours of the figures; zoom: a panel; rectangle: the paper's in figure 8a, "
            "chosen by accuracy and code, so its correlation is circular",
        ),
        "label": Column("string", "Name of the group: its range of accuracy"),
        "low": Column("float64", "Smallest accuracy of the group, included", low=0, high=1),
        "high": Column("float64", "Largest accuracy, excluded (included at 1)", low=0, high=1),
        "n": Column("int32", "Architectures in the group", low=0),
        "spearman": Column("float64", "Spearman correlation; missing below three architectures", null=True),
        "p_value": Column("float64", "Its two-sided p-value", null=True, low=0, high=1),
    },
)

RECTANGLES = {
    ("nasbench201", "cifar100"): (("red", 0.25, 0.8, 0.0, 0.11), ("blue", 0.45, 0.8, 0.11, 0.18)),
}
"""Figure 8a, by (space, dataset): name, range of accuracy, range of code."""
BOUNDS = {"cifar10": ((0.9, 0.95), (0.7, 0.9), (0.0, 0.7))}
ZOOMS = {"cifar10": ((0.9, 0.95), (0.85, 0.9))}
"""Figure 1, by dataset: its groups and the ranges of its panels b and c, best first."""


@dataclass(frozen=True)
class Group:
    """Architectures with an accuracy in [low, high); ``kind`` is ``all``, ``group`` (a colour) or ``zoom`` (a panel)."""

    kind: str
    low: float
    high: float

    @property
    def label(self) -> str:
        """The range as figures print it."""
        if self.kind == "all":
            return "all"
        if self.low <= 0:
            return f"< {short(self.high)}"
        return f"≥ {short(self.low)}" if self.high >= 1 else f"{short(self.low)}–{short(self.high)}"

    def holds(self, accuracy: Float[np.ndarray, " archs"]) -> np.ndarray:
        """Return which accuracies lie in the group."""
        below = accuracy <= self.high if self.high >= 1 else accuracy < self.high
        return (accuracy >= self.low) & below


def short(value: float) -> str:
    """Return an accuracy with two decimals where these say all of it, else with four.

    >>> short(0.9), short(0.9275), short(0.932)
    ('0.90', '0.9275', '0.9320')
    """
    return f"{value:.2f}" if round(value, 2) == round(value, 4) else f"{value:.4f}"


def groups(dataset: str, accuracy: Float[np.ndarray, " archs"]) -> list[Group]:
    """Return the groups of figure 1, best first: the paper's on CIFAR-10, elsewhere thirds of the architectures.

    The paper's bounds (0.95, 0.9, 0.85, 0.7) belong to CIFAR-10; on another image set they could leave groups empty.
    """
    known = accuracy[np.isfinite(accuracy)]
    everything = [Group("all", 0.0, 1.0)]
    if dataset in BOUNDS:
        best = BOUNDS[dataset][0][1]
        above = [Group("group", best, 1.0)] if (known >= best).any() else []
        colours = [*above, *(Group("group", *bounds) for bounds in BOUNDS[dataset])]
        return [*everything, *colours, *(Group("zoom", *bounds) for bounds in ZOOMS[dataset])]
    if len(known) < 3:
        return everything
    # Where many accuracies are equal (or 1) there are fewer groups, none of them empty or the same as another.
    cuts = sorted({float(q) for q in np.quantile(known, [1 / 3, 2 / 3]).round(4) if 0 < q < 1}, reverse=True)
    bounds = list(zip([*cuts, 0.0], [1.0, *cuts], strict=True))
    bounds = [b for b in bounds if Group("group", *b).holds(known).any()] if cuts else []
    return [*everything, *(Group("group", *b) for b in bounds), *(Group("zoom", *b) for b in bounds[:2])]


def scatter(bench: Bench) -> pd.DataFrame:
    """Return accuracy, MACs, code and proxies of every architecture, a table with the schema :data:`SCATTER`.

    A proxy that stands in for the code is no loss: it has no value on the axis of losses.
    """
    table = bench.table
    accuracy = table["accuracy"].to_numpy(dtype=float)
    codes = table[list(CODE)].to_numpy(dtype=float)
    if bench.facts.get("code_kind") == "proxy":
        codes = np.full_like(codes, np.nan)
    return pd.DataFrame(
        {
            "arch": table["arch"],
            "cell": table["cell"],
            "mmacs": table["macs"] / 1e6,
            "accuracy": accuracy,
            "code": code_value(codes, accuracy),
            **{c: table[c].to_numpy(dtype=float) for c in (f"{LOG10}{p}" for p in scored_proxies(table))},
        }
    )


def measures(points: pd.DataFrame) -> list[str]:
    """Return the columns of a scatter table that are held against accuracy: the code, then every proxy."""
    return ["code", *(column for column in map(str, points) if column.startswith(LOG10))]


def code_value(
    codes: Float[np.ndarray, "archs epochs"], accuracy: Float[np.ndarray, " archs"]
) -> Float[np.ndarray, " archs"]:
    """Return 1 - mean(losses) / largest single loss (docs/definitions.md, section 5, figure 1); the largest is over plotted points."""
    plotted = np.isfinite(accuracy) & np.isfinite(codes).all(axis=1)
    value = np.full(len(codes), np.nan)
    if plotted.any():
        value[plotted] = 1 - codes[plotted].mean(axis=1) / codes[plotted].max()
    return value


def correlations(points: pd.DataFrame, bench: Bench) -> pd.DataFrame:
    """Return the Spearman correlation of code and proxies with accuracy per group, schema :data:`CORRELATIONS`."""
    accuracy = points["accuracy"].to_numpy(dtype=float)
    rows = []
    for measure in measures(points):
        values = points[measure].to_numpy(dtype=float)
        for group in groups(bench.dataset, accuracy):
            inside = group.holds(accuracy) & np.isfinite(values)
            row = {"kind": group.kind, "label": group.label, "low": group.low, "high": group.high}
            rows.append({**row, "against": measure, **_spearman(values[inside], accuracy[inside])})
        if measure == "code":
            for name, low, high, left, right in RECTANGLES.get((bench.space, bench.dataset), ()):
                inside = (accuracy >= low) & (accuracy <= high) & (values >= left) & (values <= right)
                row = {"kind": "rectangle", "label": f"{name} of figure 8a", "low": low, "high": high}
                rows.append({**row, "against": measure, **_spearman(values[inside], accuracy[inside])})
    return pd.DataFrame(rows).assign(bench=bench.name)[list(CORRELATIONS.columns)]


def _spearman(values: Float[np.ndarray, " n"], accuracy: Float[np.ndarray, " n"]) -> dict[str, Any]:
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(accuracy) == 0:
        return {"n": len(values), "spearman": np.nan, "p_value": np.nan}
    from scipy import stats  # half of what a figure's job imports, and no figure needs it

    result = stats.spearmanr(values, accuracy)
    return {"n": len(values), "spearman": float(result.statistic), "p_value": float(result.pvalue)}
