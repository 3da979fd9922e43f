"""Fewer trainings: regret against the price of a search, and what each method needs until it has the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snas.figures import style
from snas.figures.drawing import Drawing, card, span
from snas.figures.sources import Sources
from snas.spaces import REGISTRY as SPACES

NEEDS = (
    "Searches with methods that need few trainings are needed: add gp to methods, or run the target fewest."
)
PAIRED_NEEDS = (
    "A study of few trainings with gp in it is needed: run the target fewest with config/fewest.yaml."
)
NOT_KNOWN = "regret needs all accuracies, and this run knows those that a search asked for"
SMALLEST = 0.01
"""Regret, in %, below which the axis is linear down to 0."""
COLUMNS = [
    "panel",
    "bench",
    "removed",
    "method",
    "trained",
    "top",
    "price",
    "seconds",
    "runs",
    "regret",
    "low",
    "high",
    "found",
]
NEEDED_COLUMNS = [
    "panel", "bench", "removed", "method", "runs", "budget", "found", "price_low", "price_median", "price_high", "price_worst",
    "price_end",
]  # fmt: skip

PAIRED_COLUMNS = [
    "panel", "bench", "removed", "reference", "method", "price", "runs", "regret", "reference_regret", "difference", "low", "high",
]  # fmt: skip
CLOSE = 0.1
"""Difference of regrets, in %, below which the axis is linear."""


def fewest(sources: Sources, *, removed: int = 0, most: float = 100.0) -> Drawing:
    """Mean regret with its 95 % interval against the price in complete trainings, a panel per bench."""
    return _progress(sources, "price", removed, most, "complete trainings, looks and codes counted")


def fewest_seconds(sources: Sources, *, removed: int = 0, most: float = 100.0) -> Drawing:
    """The same against the seconds of the trainings on the machine of the source, where it has times."""
    return _progress(sources, "seconds", removed, most, "{unit} of training on the source's machine")


def needed(sources: Sources) -> Drawing:
    """Price until the optimum is trained, median and 10-90 % of the runs, a panel per bench; the best removed beside."""
    title = "What is needed until the best architecture is trained"
    tables = sources.all("needed")
    missing = _unknown(sources, "needed")
    if not tables:
        return card(title, " ".join(missing) or NEEDS, NEEDED_COLUMNS)
    every = pd.concat([table.frame for table in tables], ignore_index=True)
    frame = _chosen(every, _plain(every["method"]) | every["method"].str.contains(" batch=", regex=False))
    benches = list(dict.fromkeys(frame["bench"]))
    methods_of = {bench: style.order(frame.loc[frame["bench"] == bench, "method"]) for bench in benches}
    heights = [len(methods) + 2.5 for methods in methods_of.values()]
    figure = Figure(figsize=(style.WIDTH, 0.7 + 0.2 * sum(heights)))
    grid = figure.subplots(len(benches), 1, squeeze=False, sharex=True, height_ratios=heights)
    levels = sorted(frame["removed"].unique())
    colours = dict(
        zip(levels, (style.BLACK, style.BLUE, style.ORANGE, style.VERMILLION, style.GREY), strict=False)
    )
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place, 0], chr(ord("a") + place)
        rows, methods = frame[frame["bench"] == bench], methods_of[bench]
        for level in levels:
            shift = (levels.index(level) - (len(levels) - 1) / 2) * 0.8 / len(levels)
            _ranges(ax, rows[rows["removed"] == level], methods, shift, colours[level])
        ax.set_yticks(range(len(methods)), [_title(method) for method in methods])
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.set_xscale("log")
        ax.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
        ax.set_title(f"({letter}) {_bench_title(bench)}")
        shown.append(rows.assign(panel=letter))
    grid[-1, 0].set_xlabel("price until the optimum is trained (complete trainings)")
    handles = [
        Line2D([], [], color=colours[k], marker="o", label=f"best {k} removed" if k else "whole table")
        for k in levels
    ]
    style.legend_below(figure, handles, len(handles))
    data = pd.concat(shown, ignore_index=True)
    facts = [
        f"n = {span(data['runs'])} runs. Dot: median; bar: 10 % to 90 % of the runs; tick: the worst run; an arrow: the run in this place had not "
        f"found it when the search ended (at {span(data['budget'])} trainings, looks beside). A predictor, which is a search of "
        "its own for every N, has no such price.",
        *_left_out(every, frame),
    ]
    return Drawing(figure, data[NEEDED_COLUMNS], title, facts, missing)


def fewest_paired(sources: Sources, *, removed: int = 0, most: float = 100.0) -> Drawing:
    """How much more regret each method has than the Gaussian process at the same price, run by run, a panel per bench."""
    title = "Other methods against the Gaussian process"
    tables = sources.all("paired")
    if not tables:
        return card(title, PAIRED_NEEDS, PAIRED_COLUMNS)
    every = pd.concat([t.frame for t in tables], ignore_index=True)
    frame, facts, missing = _shown(every, removed, most)
    if not len(frame):
        return card(title, " ".join(missing) or PAIRED_NEEDS, PAIRED_COLUMNS)
    benches = list(dict.fromkeys(frame["bench"]))
    figure, grid = _panels(len(benches))
    looks = style.looks(frame["method"])
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place], chr(ord("a") + place)
        part = frame[frame["bench"] == bench].assign(mean=lambda rows: rows["difference"])
        for method in looks:
            rows = part[part["method"] == method].sort_values("price")
            _line(ax, rows, rows["price"], _is_curve(rows), looks[method])
        ax.axhline(0, color=style.BLACK, lw=0.6)
        ax.set_yscale("symlog", linthresh=CLOSE)
        _name(
            ax,
            letter,
            bench,
            "price (complete trainings)",
            "regret beyond GP's (%)" if place % 2 == 0 else "",
        )
        shown.append(part.assign(panel=letter))
    _legend(figure, looks)
    data = pd.concat(shown, ignore_index=True)
    facts = [
        *facts,
        f"Mean over runs of the method's regret less that of the Gaussian process in the run of the same number (n = "
        f"{span(data['runs'])}), at the same price; bands and bars: its 95 % bootstrap interval. Above 0 the Gaussian "
        f"process is better. Linear below {CLOSE} %.",
    ]
    return Drawing(figure, data[PAIRED_COLUMNS], title, facts, missing)


def _progress(sources: Sources, axis: str, removed: int, most: float, name: str) -> Drawing:
    title = "Regret against price" if axis == "price" else "Regret against time"
    tables = sources.all("progress")
    missing = _unknown(sources, "progress")
    if not tables:
        return card(title, " ".join(missing) or NEEDS, COLUMNS)
    every = pd.concat([t.frame for t in tables], ignore_index=True)
    timed = every[every[axis].notna()]
    missing += [
        f"{_bench_title(bench)}: its source has no times of training."
        for bench in dict.fromkeys(every["bench"])
        if bench not in set(timed["bench"])
    ]
    frame, left, beyond = _shown(timed, removed, most)
    missing += beyond
    if not len(frame):
        return card(title, " ".join(missing) or NEEDS, COLUMNS)
    benches = list(dict.fromkeys(frame["bench"]))
    figure, grid = _panels(len(benches))
    looks = style.looks(frame["method"])
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place], chr(ord("a") + place)
        part = frame[frame["bench"] == bench]
        unit, size = _unit(float(part[axis].max())) if axis == "seconds" else ("", 1)
        for method in style.order(part["method"]):
            _curve(ax, part[part["method"] == method].sort_values("trained"), axis, size, looks[method])
        ax.set_yscale("symlog", linthresh=SMALLEST)
        ax.set_ylim(bottom=0)
        _name(ax, letter, bench, name.format(unit=unit), "mean regret (%)" if place % 2 == 0 else "")
        shown.append(part.assign(panel=letter))
    _legend(figure, looks)
    data = pd.concat(shown, ignore_index=True)
    without = f" The best {removed} architectures were removed before the search." if removed else ""
    points = data[~data["continuous"].astype(bool)]
    own = ""
    if len(points):
        own = (
            f"single points: a search of its own for every N, with N + K trainings (K = {span(points['top'])}), the best of its "
            "pool and of the K best-ranked outside it. "
        )
    facts = [
        f"n = {span(data['runs'])} runs with their own seeds; bands and bars: 95 % bootstrap interval of the mean.{without} "
        f"Curves: one search read off as it goes on; {own}Linear below {SMALLEST} %.",
        *left,
    ]
    return Drawing(figure, data[COLUMNS], title, facts, missing)


def _curve(ax: Axes, rows: pd.DataFrame, axis: str, size: float, look: style.Look) -> None:
    _line(ax, rows.assign(mean=rows["regret"]), rows[axis] / size, bool(rows["continuous"].all()), look)


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a time is best said, and its seconds."""
    return ("seconds", 1) if seconds < 600 else ("minutes", 60) if seconds < 36_000 else ("hours", 3600)


def _line(ax: Axes, rows: pd.DataFrame, x: pd.Series, continuous: bool, look: style.Look) -> None:
    low, mean, high = (100 * rows[column] for column in ("low", "mean", "high"))
    if continuous:
        ax.plot(x, mean, color=look.colour, marker=look.marker, markevery=max(len(rows) // 8, 1))
        ax.fill_between(x, low, high, color=look.colour, alpha=0.15, lw=0)
    else:
        ax.errorbar(
            x, mean, yerr=[mean - low, high - mean], color=look.colour, marker=look.marker, lw=0.8, capsize=1.5, ls=":"
        )  # fmt: skip


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with two panels in a row, and the panels that are used."""
    across = min(2, count)
    rows = -(-count // across)
    figure = Figure(figsize=(style.WIDTH, 2.4 * rows + 1.0))
    grid = list(figure.subplots(rows, across, squeeze=False, sharey=True).flat)
    for ax in grid[count:]:
        ax.set_visible(False)
    return figure, grid[:count]


def _name(ax: Axes, letter: str, bench: Any, x: str, y: str) -> None:
    ax.set_title(f"({letter}) {_bench_title(bench)}")
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def _legend(figure: Figure, looks: Mapping[str, style.Look]) -> None:
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, label=_title(method))
        for method, look in looks.items()
    ]
    style.legend_below(figure, handles, 3)


def _shown(every: pd.DataFrame, removed: int, most: float) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return the rows that a figure of prices shows, and in words what else the table has: of variants and longer curves,
    and of points that are dearer than the axis goes."""
    rows = every[every["removed"] == removed]
    chosen = _chosen(rows, _plain(rows["method"]))
    frame = chosen[chosen["price"] <= most]
    longer, missing = [], []
    for bench in dict.fromkeys(every["bench"]):
        part = chosen[chosen["bench"] == bench]
        dearer = []
        for method in style.order(part["method"]):
            of_method = part[part["method"] == method]
            prices = of_method.loc[of_method["price"] > most, "price"]
            if len(prices) and len(prices) < len(of_method) and _is_curve(of_method):
                longer.append(method)
            elif len(prices):
                dearer.append(f"{_title(method)} at {_prices(prices)}")
        if dearer:
            missing.append(
                f"{_bench_title(bench)}: dearer than the {most:g} complete trainings that are shown: {', '.join(dearer)} "
                "(the table of the analysis has them)."
            )
        elif part.empty:
            without = f"its best {removed} removed" if removed else "all its architectures"
            missing.append(f"{_bench_title(bench)}: no search with {without}.")
    facts = _left_out(rows, chosen)
    if longer:
        names = ", ".join(map(_title, style.order(longer)))
        facts.append(f"Cut at a price of {most:g}, but longer in the table of the analysis: {names}.")
    return frame, facts, missing


def _prices(prices: pd.Series) -> str:
    """Return up to three prices; of more, their range and number."""
    if len(prices) > 3:
        return f"{span(prices.round())} ({len(prices)} points)"
    return ", ".join(f"{price:.0f}" for price in sorted(prices))


def _is_curve(rows: pd.DataFrame) -> bool:
    """Return whether the rows of a method are one search read off as it goes on: where the table does not say so, at every
    whole price."""
    if "continuous" in rows:
        return bool(rows["continuous"].all())
    return len(rows) > 1 and bool(np.allclose(np.diff(np.sort(rows["price"])), 1))


def _unknown(sources: Sources, name: str) -> list[str]:
    """Return a sentence for every bench of which the optimum is not known."""
    return [
        f"{s.title}: {NOT_KNOWN}." for s in sources.empty(name) if "bench" in s.facts and s.optimum is None
    ]


def _plain(methods: pd.Series) -> pd.Series:
    """Return which labels are a method without options or settings: its variants stand in the tables."""
    return ~methods.str.contains("[ @]", regex=True).astype(bool)


def _chosen(frame: pd.DataFrame, plain: pd.Series) -> pd.DataFrame:
    """Return the ``plain`` rows; of a bench that has variants alone, these."""
    return frame[plain | ~plain.groupby(frame["bench"]).transform("any").astype(bool)]


def _left_out(every: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Return a sentence that names the methods of the table that the figure leaves out, if there are some."""
    gone = style.order(set(every["method"]) - set(shown["method"]))
    names = ", ".join(map(_title, gone))
    return [f"Variants are in the table of the analysis, not in the figure: {names}."] if gone else []


def _ranges(ax: Axes, rows: pd.DataFrame, methods: list[str], shift: float, colour: str) -> None:
    for row in rows.to_dict("records"):
        y = methods.index(row["method"]) + shift
        end = row["price_end"]
        high = row["price_high"] if np.isfinite(row["price_high"]) else end
        low = row["price_low"] if np.isfinite(row["price_low"]) else end
        ax.plot([low, high], [y, y], color=colour, lw=1)
        if not np.isfinite(row["price_high"]):
            ax.plot([end], [y], color=colour, marker=">", ms=3)
        if np.isfinite(row["price_median"]):
            ax.plot([row["price_median"]], [y], color=colour, marker="o", ms=3)
        if np.isfinite(row["price_worst"]):
            ax.plot([row["price_worst"]], [y], color=colour, marker="|", ms=5)


def _title(label: str) -> str:
    """Return a label of the analysis for legends: the method's title, then its options."""
    method, *rest = label.split(" ")
    return " ".join([style.method_title(method), *(f"({part})" if part[0] != "(" else part for part in rest)])


def _bench_title(bench: Any) -> str:
    space, _, dataset = str(bench).partition("-")
    title = style.space_title(space) if space in SPACES else space
    return " · ".join(filter(None, (title, style.dataset_title(dataset))))
