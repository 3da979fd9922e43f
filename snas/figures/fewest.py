"""Fewer trainings: regret against the price of a search, and what each method needs until it has the optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snas.figures import style
from snas.figures.drawing import Drawing, card, over_runs, span
from snas.figures.sources import Source, Sources
from snas.spaces import REGISTRY as SPACES

NEEDS = (
    "Searches with methods that need few trainings are needed: add gp to methods, or run the target fewest."
)
PAIRED_NEEDS = (
    "A study of few trainings with gp in it is needed: run the target fewest with config/fewest.yaml."
)
NOT_KNOWN = "regret needs all accuracies, and this run knows those that a search asked for"
SMALLEST = 0.01
"""Regret, in percentage points, below which the axis is linear down to 0."""
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
"""Difference of regrets, in percentage points, below which the axis is linear."""
MEETS = 0.015
"""Share of the axis of prices below which one of two points would hide the other."""
BESIDE = " Points at nearly the same price stand beside each other."
LEVELS = (style.BLACK, style.BLUE, style.ORANGE, style.GREEN, style.VERMILLION, style.PURPLE, style.SKY, style.GREY)  # fmt: skip
"""Colours of `needed`, each at the number of the best that are removed, so that it means the same in every run: from 8 on,
they begin anew."""
STROKES: tuple[Any, ...] = ("-", (0, (5, 1.2)), (0, (2.5, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (1, 1)))
"""Strokes of its bars in the same way, for who does not see the colours: from 5 on, they begin anew, with another colour."""
ROW, BAR = 0.17, 0.5
"""Height of a row of `needed` with one bar, in inches; what a bar takes of it."""


def fewest(sources: Sources, *, removed: int = 0, most: float = 100.0) -> Drawing:
    """Mean regret with its 95 % interval against the price in complete trainings, a panel per bench."""
    return _progress(sources, "price", removed, most, "price (complete trainings)")


def fewest_seconds(sources: Sources, *, removed: int = 0, most: float = 100.0) -> Drawing:
    """The same against the seconds of the trainings on the machine of the source, where it has times."""
    return _progress(sources, "seconds", removed, most, "time of training ({unit})")


def needed(sources: Sources) -> Drawing:
    """Price until the optimum is trained, median and 10-90 % of the runs, a panel per bench; the best removed beside."""
    title = "What is needed until the best architecture is trained"
    tables = sources.all("needed")
    missing = _unknown(sources, "needed")
    if not tables:
        return card(title, " ".join(missing) or NEEDS, NEEDED_COLUMNS)
    every = pd.concat([table.frame for table in tables], ignore_index=True)
    frame = _chosen(every, _plain(every["method"]) | every["method"].str.contains(" batch=", regex=False))
    benches, titles = list(dict.fromkeys(frame["bench"])), _titles(tables)
    methods_of = {bench: _with_variants(frame.loc[frame["bench"] == bench, "method"]) for bench in benches}
    places_of = {bench: _rows(frame[frame["bench"] == bench], methods_of[bench]) for bench in benches}
    ends = [max(place for _, _, place in places_of[bench].values()) for bench in benches]
    figure = Figure(figsize=(style.WIDTH, 0.7 + sum(0.5 + ROW * end for end in ends)))
    grid = figure.subplots(len(benches), 1, squeeze=False, sharex=True, height_ratios=ends)
    levels = sorted(frame["removed"].unique())
    looks = {
        level: {"color": LEVELS[level % len(LEVELS)], "ls": STROKES[level % len(STROKES)]} for level in levels
    }
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place, 0], chr(ord("a") + place)
        rows, places = frame[frame["bench"] == bench], places_of[bench]
        for number, (_, top, bottom) in enumerate(places.values()):
            if number % 2:
                ax.axhspan(top, bottom, color="#F4F4F4", lw=0, zorder=0)
        for row in rows.to_dict("records"):
            _range(ax, row, places[row["method"]][0][row["removed"]], looks[row["removed"]])
        middles = [(top + bottom) / 2 for _, top, bottom in places.values()]
        ax.set_yticks(middles, [_title(method) for method in places])
        ax.grid(visible=False, axis="y")
        ax.set_ylim(ends[place], 0)
        ax.set_title(_panel_title(letter, titles[bench], benches))
        shown.append(rows.assign(panel=letter))
    _log_prices(grid[-1, 0], frame)
    grid[-1, 0].set_xlabel("price until the optimum is trained (complete trainings)")
    handles = [
        Line2D([], [], **looks[k], marker="o", label=f"best {k} removed" if k else "whole table")
        for k in levels
    ]
    if levels != [0]:
        style.legend_below(figure, handles, len(handles))
    data = pd.concat(shown, ignore_index=True)
    ended = f"when the search ended (at {span(data['budget'])} trainings, looks beside)"
    symbols = (
        f"n = {span(data['runs'])} runs. Dot: median; bar: 10 % to 90 % of the runs; tick: the worst run; an arrow: the run in this "
        f"place had not found it {ended}."
    )
    if data["runs"].max() < 2:
        symbols = f"n = 1 run. Dot: its price; an arrow: it had not found it {ended}."
    facts = [
        f"{symbols} A predictor, which is a search of its own for every N, has no such price.",
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
    benches, titles = list(dict.fromkeys(frame["bench"])), _titles(tables)
    figure, grid = _panels(len(benches))
    looks = style.looks(frame["method"])
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place], chr(ord("a") + place)
        part = frame[frame["bench"] == bench].assign(mean=lambda rows: rows["difference"])
        _lines(ax, part, "price", looks)
        ax.axhline(0, color=style.BLACK, lw=0.6)
        ax.set_title(_panel_title(letter, titles[bench], benches))
        ax.set_xlabel("price (complete trainings)")
        ax.set_ylabel("regret beyond GP's\n(percentage points)" if place % 2 == 0 else "")
        shown.append(part.assign(panel=letter))
    data = pd.concat(shown, ignore_index=True)
    _percent(
        grid, CLOSE, 1.5 * min(100 * data["low"].min(), -CLOSE), 1.5 * max(100 * data["high"].max(), CLOSE)
    )
    _legend(figure, looks, data)
    facts = [
        *facts,
        f"Mean over runs of the method's regret less that of the Gaussian process in the run of the same number (n = "
        f"{span(data['runs'])}), at the same price; bands and bars: its 95 % bootstrap interval. Above 0 the Gaussian "
        f"process is better. Linear below {CLOSE} points.{BESIDE}",
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
    benches, titles = list(dict.fromkeys(frame["bench"])), _titles(tables)
    figure, grid = _panels(len(benches))
    looks = style.looks(frame["method"])
    shown = []
    for place, bench in enumerate(benches):
        ax, letter = grid[place], chr(ord("a") + place)
        part = frame[frame["bench"] == bench]
        unit, size = _unit(float(part[axis].max())) if axis == "seconds" else ("", 1)
        _lines(ax, part.assign(mean=part["regret"], **{axis: part[axis] / size}), axis, looks)
        ax.set_title(_panel_title(letter, titles[bench], benches))
        ax.set_xlabel(name.format(unit=unit))
        ax.set_ylabel("mean regret (percentage points)" if place % 2 == 0 else "")
        shown.append(part.assign(panel=letter))
    data = pd.concat(shown, ignore_index=True)
    _percent(grid, SMALLEST, -SMALLEST / 10, 1.5 * max(100 * data["high"].max(), 2 * SMALLEST))
    _legend(figure, looks, data)
    without = f" The best {removed} architectures were removed before the search." if removed else ""
    points = data[~data["continuous"].astype(bool)]
    own = ""
    if len(points):
        own = (
            f"; single points: a search of its own for every N, with N + K trainings (K = {span(points['top'])}), the best of its "
            "pool and of the K best-ranked outside it"
        )
    clock = "" if axis == "price" else " Times are those of the source's machine."
    facts = [
        f"{over_runs(data['runs'], 'bands and bars: 95 % bootstrap interval of the mean')}{without} "
        f"Curves: one search read off as it goes on{own}. Linear below {SMALLEST} points.{clock}{BESIDE if len(points) else ''}",
        *left,
    ]
    return Drawing(figure, data[COLUMNS], title, facts, missing)


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a time is best said, and its seconds."""
    return ("seconds", 1) if seconds < 600 else ("minutes", 60) if seconds < 36_000 else ("hours", 3600)


def _lines(ax: Axes, part: pd.DataFrame, axis: str, looks: Mapping[str, style.Look]) -> None:
    """Draw ``mean`` with its interval of every method of a panel against ``axis``: curves below, single points above them.

    Markers of curves are staggered, and points of nearly the same price stand beside each other, so that none hides another.
    """
    rows_of = {
        method: part[part["method"] == method].sort_values(axis) for method in style.order(part["method"])
    }
    curves = [method for method, rows in rows_of.items() if _is_curve(rows)]
    for number, method in enumerate(curves):
        _curve(ax, rows_of[method], axis, looks[method], number / len(curves))
    points = part[~part["method"].isin(curves)].sort_values(axis)
    points = points.assign(aside=_asides(points, axis, float(part[axis].max())))
    for method in style.order(points["method"]):
        rows = points[points["method"] == method]
        ax.plot(rows[axis], 100 * rows["mean"], color=looks[method].colour, lw=0.8, ls=":", zorder=2.5)
        for aside in sorted(set(rows["aside"])):
            _points(ax, rows[rows["aside"] == aside], axis, looks[method], aside)
    ax.set_xlim(0, 1.08 * float(part[axis].max()))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=axis == "price"))


def _curve(ax: Axes, rows: pd.DataFrame, axis: str, look: style.Look, place: float) -> None:
    low, mean, high = (100 * rows[column] for column in ("low", "mean", "high"))
    step = max(len(rows) // 8, 1)
    ax.plot(rows[axis], mean, color=look.colour, marker=look.marker, markevery=(int(place * step), step))
    ax.fill_between(rows[axis], low, high, color=look.colour, alpha=0.15, lw=0)


def _points(ax: Axes, rows: pd.DataFrame, axis: str, look: style.Look, aside: float) -> None:
    low, mean, high = (100 * rows[column] for column in ("low", "mean", "high"))
    bars = [error.where(rows["runs"] > 1) for error in (mean - low, high - mean)]  # one run has no interval
    ax.errorbar(
        rows[axis], mean, yerr=bars, transform=style.aside(ax, aside), color=look.colour,
        marker=look.marker, ms=style.marker_size(look), lw=0.8, capsize=1.5, ls="", zorder=3,
    )  # fmt: skip


def _asides(points: pd.DataFrame, axis: str, width: float) -> list[float]:
    """Return how far aside each point stands, in points of the page: those that meet, in steps about their middle.

    Two meet where they lie nearer than :data:`MEETS` of the axis, and their bars overlap.
    """
    x, low, high = (points[column].to_numpy(dtype=float) for column in (axis, "low", "high"))
    order = [style.order(points["method"]).index(method) for method in points["method"]]
    groups: list[list[int]] = []
    for one in range(len(points)):
        meets = (np.abs(x - x[one]) <= MEETS * width) & (low <= high[one]) & (low[one] <= high)
        met = [group for group in groups if meets[group].any()]
        others = [group for group in groups if group not in met]
        groups = [*others, [*(other for group in met for other in group), one]]
    asides = [0.0] * len(points)
    for group in groups:
        ordered = sorted(group, key=lambda one: order[one])
        for one, shift in zip(ordered, style.abreast(len(group)), strict=True):
            asides[one] = shift
    return asides


def _percent(panels: Sequence[Axes], linear: float, least: float, most: float) -> None:
    """Give panels, which share their axis of regrets, a logarithmic one with plain numbers, linear below ``linear``."""
    largest = max(abs(least), abs(most))
    steps = (1, 2, 5) if largest < 50 * linear else (1,)
    exponents = range(round(np.log10(linear)), 3)
    sizes = [m * 10.0**e for e in exponents for m in steps if m * 10.0**e <= largest]
    ticks = [tick for tick in (*(-size for size in sizes), 0.0, *sizes) if least <= tick <= most]
    panels[0].set_yscale("symlog", linthresh=linear)
    panels[0].set_ylim(least, most)
    for ax in panels:
        ax.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])


def _log_prices(ax: Axes, frame: pd.DataFrame) -> None:
    """Give the panels that share the axis a logarithmic one from the cheapest to the dearest, a decade at least, with plain
    numbers."""
    prices = frame[["price_low", "price_median", "price_high", "price_worst", "price_end"]]
    high = 1.2 * float(prices.max().max())
    low = min(float(prices.min().min()) / 1.2, high / 10)
    ticks = [m * 10.0**e for e in range(-1, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with two panels in a row, and the panels that are used."""
    across = min(2, count)
    rows = -(-count // across)
    figure = Figure(figsize=(style.WIDTH, 2.4 * rows + 1.0))
    grid = list(figure.subplots(rows, across, squeeze=False, sharey=True).flat)
    for ax in grid[count:]:
        ax.set_visible(False)
    return figure, grid[:count]


def _panel_title(letter: str, title: str, benches: Sequence[str]) -> str:
    return f"({letter}) {title}" if len(benches) > 1 else title


def _legend(figure: Figure, looks: Mapping[str, style.Look], shown: pd.DataFrame) -> None:
    """One legend below the panels; a method that has fewer runs than another says how many."""
    handles = []
    for method, look in looks.items():
        runs = shown.loc[shown["method"] == method, "runs"]
        fewer = f" (n = {span(runs)})" if runs.min() < shown["runs"].max() else ""
        size = style.marker_size(look)
        handles.append(
            Line2D(
                [],
                [],
                color=look.colour,
                marker=look.marker,
                ms=size,
                label=style.fold(_title(method) + fewer, style.FOLD),
            )
        )
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
    from snas.analysis.fewest import is_curve  # which imports the searches, and most figures need none of it

    return is_curve(rows)


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


def _with_variants(labels: pd.Series) -> list[str]:
    """Return the methods in the order of legends, each with its variants behind it, the smaller number first."""
    bases = style.order(label.partition(" ")[0] for label in labels)
    return sorted(set(labels), key=lambda label: (bases.index(label.partition(" ")[0]), len(label), label))


def _rows(rows: pd.DataFrame, methods: Sequence[str]) -> dict[str, tuple[dict[int, float], float, float]]:
    """Return where each method stands: its bars by how many were removed, about the middle of its top and its bottom.

    A method takes the height of the bars that it has, so that its name stands beside them.
    """
    places: dict[str, tuple[dict[int, float], float, float]] = {}
    top = 0.0
    for method in methods:
        levels = sorted(rows.loc[rows["method"] == method, "removed"])
        bottom = top + 0.5 + BAR * len(levels)
        bars = {level: top + 0.25 + BAR * (number + 0.5) for number, level in enumerate(levels)}
        places[method] = (bars, top, bottom)
        top = bottom
    return places


def _range(ax: Axes, row: Mapping[str, Any], y: float, look: Mapping[str, Any]) -> None:
    colour = look["color"]
    end = row["price_end"]
    high = row["price_high"] if np.isfinite(row["price_high"]) else end
    low = row["price_low"] if np.isfinite(row["price_low"]) else end
    ax.plot([low, high], [y, y], **look, lw=1)
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


def _titles(tables: Sequence[Source]) -> Mapping[str, str]:
    """Return the title of every bench: that of its own table, which may name another source of the numbers.

    Beside others on a second line, where it would run into theirs.
    """
    several = len({bench for table in tables for bench in table.frame["bench"].unique()}) > 1
    own = {
        table.bench: table.heading() if several else table.title for table in tables if "bench" in table.facts
    }
    return {
        bench: own.get(bench, _bench_title(bench))
        for table in tables
        for bench in table.frame["bench"].unique()
    }


def _bench_title(bench: Any) -> str:
    space, _, dataset = str(bench).partition("-")
    title = style.space_title(space) if space in SPACES else space
    return " · ".join(filter(None, (title, style.dataset_title(dataset))))
