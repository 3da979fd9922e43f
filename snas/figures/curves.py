"""Figures with one curve per method or space: budgets (5, 6, 7), paired differences, rank correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snas.figures import style
from snas.figures.drawing import FEWEST_RUNS, Drawing, card, nearest, over_runs, records, span
from snas.figures.sources import Source, Sources

TRAINED_LABEL = "trained architectures N + K"
SCORE_LABEL = "mean best accuracy"
SPREAD = "bands, or bars at single points: ± 1 standard deviation over runs"
REGRET_LABEL = "regret (percentage points)"
NEEDS_ALL = "A correlation needs the accuracies of the whole space; this run trains only what its searches ask for (truth: on_demand)."
NEEDS_SEARCH = "Search results are needed: give methods and budgets, and run the target of this figure again."
FLAT = 1e-4
"""Accuracies that differ by less are one."""
PUBLISHED_RUNS = 100
"""Runs behind every published point."""
COLUMNS = [
    "panel", "bench", "source", "method", "budget", "top", "trained", "n", "mean", "sd", "quarter_sd", "se", "regret",
    "fair_mean", "protocol_mean", "optimum",
]  # fmt: skip


def fig5(sources: Sources, *, top: int = 20) -> Drawing:
    """Mean best accuracy against N + K at a fixed K, all methods, one panel per bench."""
    title = "Search results"
    benches = _plain(sources.all("points"))
    if not benches:
        return card(f"Figure 5. {title}", NEEDS_SEARCH, COLUMNS)
    columns = min(2, len(benches))
    rows = -(-len(benches) // columns)
    figure = Figure(figsize=(style.WIDTH, 2.35 * rows + 0.75))
    grid = figure.subplots(rows, columns, squeeze=False)
    looks = style.looks(m for bench in benches for m in bench.frame["method"])
    data: list[pd.DataFrame] = []
    facts: list[str] = []
    missing: list[str] = []
    for place, bench in enumerate(benches):
        ax = grid.flat[place]
        k = nearest(bench.frame["top"], top)
        letter = chr(ord("a") + place)
        data.append(_curves(ax, bench, bench.frame[bench.frame["top"] == k], looks, panel=letter))
        ax.set_title(
            f"({letter}) {bench.heading(f'K = {k}')}" if len(benches) > 1 else f"{bench.title}, K = {k}"
        )
        first, last = place % columns == 0, place % columns == columns - 1 or place == len(benches) - 1
        _axes(ax, bench, left=first, right=last)
        facts.append(f"{bench.sources()} N = {span(bench.frame['budget'])}, K = {k}.")
        _note_other(missing, f"({letter}) ", "K", top, k)
    for ax in list(grid.flat)[len(benches) :]:
        ax.set_visible(False)
    shown = pd.concat(data, ignore_index=True)
    _legend(figure, looks, shown)
    facts.append(over_runs(shown["n"], SPREAD))
    return Drawing(figure, shown[COLUMNS], title, facts, missing)


def fig6(sources: Sources, *, budget: int = 30, top: int = 30) -> Drawing:
    """(a) N fixed and K growing, (b) K fixed and N growing; a row of panels per bench, published curves dashed."""
    title = "What N and K are worth"
    benches = _plain(sources.all("points"))
    if not benches:
        return card(f"Figure 6. {title}", NEEDS_SEARCH, COLUMNS)
    figure = Figure(figsize=(style.WIDTH, 2.5 * len(benches) + 0.9))
    grid = figure.subplots(len(benches), 2, squeeze=False)
    compared = [sources.of_bench("comparison", bench.bench) for bench in benches]
    looks = style.looks(
        m for frame in (*(b.frame for b in benches), *map(_of_fig6, compared)) for m in frame["method"]
    )
    data: list[pd.DataFrame] = []
    facts: list[str] = []
    missing: list[str] = []
    for row, (bench, theirs) in enumerate(zip(benches, compared, strict=True)):
        n, k = nearest(bench.frame["budget"], budget), nearest(bench.frame["top"], top)
        letters = [chr(ord("a") + 2 * row + column) for column in range(2)]
        fixed = ((f"6a: N = {n}, K grows", "budget", n, "6a"), (f"6b: K = {k}, N grows", "top", k, "6b"))
        for column, (name, axis, value, figure_name) in enumerate(fixed):
            ax, letter = grid[row, column], letters[column]
            published = _published(theirs, (figure_name,), axis, value)
            ours = bench.frame[bench.frame[axis] == value]
            data.append(_curves(ax, bench, ours, looks, panel=letter, published=published))
            data.append(_dashed(ax, bench, published, looks, panel=letter))
            ax.set_title(f"({letter}) {bench.heading(name.partition(': ')[2])}")
            _axes(ax, bench, left=column == 0, right=column == 1)
        facts.append(f"{bench.sources()} ({letters[0]}) N = {n}; ({letters[1]}) K = {k}.")
        _note_other(missing, f"{bench.title}: ", "N", budget, n)
        _note_other(missing, f"{bench.title}: ", "K", top, k)
    shown = pd.concat(data, ignore_index=True)
    _legend(figure, looks, shown)
    facts.extend(_band_facts(shown))
    return Drawing(figure, shown[COLUMNS], title, facts, missing)


def fig7(sources: Sources, *, tops: Sequence[int] = (5, 10), method: str = "siamese+nsam+bts") -> Drawing:
    """One method on the spaces below 35 M: accuracy (top) and regret (bottom) against N + K, a column per K."""
    title = "Search among light architectures"
    benches = _light(sources.all("points"), method)
    if not benches:
        text = f"Search results of {style.method_title(method)} on Tiny-NanoBench or Tiny-NASBench-201 are needed: add {method} to methods."
        return card(f"Figure 7. {title}", text, COLUMNS)
    figure = Figure(figsize=(style.WIDTH, 4.7))
    grid = figure.subplots(2, len(tops), squeeze=False, sharex="col", sharey="row")
    looks = _light_looks(benches)
    data: list[pd.DataFrame] = []
    missing: list[str] = []
    for column, wanted in enumerate(tops):
        letter = chr(ord("a") + column)
        used = []
        for bench in benches:
            frame = bench.frame[bench.frame["method"] == method]
            k = nearest(frame["top"], wanted)
            used.append(k)
            _note_other(missing, f"({letter}) {bench.title}: ", "K", wanted, k)
            published = _published(sources.of_bench("comparison", bench.bench), ("7a", "7b"), "top", k)
            data.append(
                _space_curve(
                    grid[:, column], bench, frame[frame["top"] == k], published, looks[bench.bench], letter
                )
            )
        grid[0, column].set_title(f"({letter}) K = {span(used)}")
        grid[1, column].set_xlabel(TRAINED_LABEL)
        style.whole_ticks(list(grid[:, column]))
    _not_flat(list(grid[0]))
    grid[0, 0].set_ylabel(SCORE_LABEL)
    grid[1, 0].set_ylabel(REGRET_LABEL)
    shown = pd.concat(data, ignore_index=True)
    largest = (
        100 * shown["regret"].max()
    )  # of all columns, which share the axis: set in the first, it would cut the others
    grid[1, 0].set_ylim(0, 1.1 * largest if largest > 0 else None)
    handles = [
        Line2D(
            [],
            [],
            color=looks[b.bench].colour,
            marker=looks[b.bench].marker,
            label=f"{b.title}, n = {span(b.frame.loc[b.frame['method'] == method, 'runs'])}",
        )
        for b in benches
    ]
    _space_legend(figure, handles, shown)
    if not any(bench.space == "tiny_nasbench201" for bench in benches):
        missing.append(
            "Tiny-NASBench-201: run again with --config nasbench201=PATH, a table or archive of NAS-Bench-201."
        )
    facts = [bench.sources() for bench in benches]
    facts.append(f"Method: {style.method_title(method)}.")
    return Drawing(figure, shown[COLUMNS], title, [*facts, *_band_facts(shown)], missing)


def _light_looks(benches: Sequence[Source]) -> dict[str, style.Look]:
    """Return the looks of spaces, by bench; of benches where two of them are of one space."""
    spaces = [bench.space for bench in benches]
    if len(set(spaces)) < len(spaces):
        return style.bench_looks([bench.bench for bench in benches])
    looks = style.space_looks(spaces)
    return {bench.bench: looks[bench.space] for bench in benches}


def ranks(sources: Sources) -> Drawing:
    """Mean Spearman correlation of the whole ranking with accuracy against N, one panel per bench."""
    title = "Rank correlation of the whole space"
    columns = [
        "panel",
        "bench",
        "method",
        "budget",
        "n",
        "spearman",
        "kendall",
        "coarse_spearman",
        "coarse_kendall",
    ]
    benches = [s for s in _plain(sources.all("points")) if s.frame["spearman"].notna().any()]
    if not benches:
        unknown = any(s.optimum is None for s in sources.all("points"))
        return card(title, NEEDS_ALL if unknown else NEEDS_SEARCH, columns)
    across = min(2, len(benches))
    rows = -(-len(benches) // across)
    figure = Figure(figsize=(style.WIDTH, 2.2 * rows + 0.75))
    grid = figure.subplots(rows, across, squeeze=False)
    looks = style.looks(m for bench in benches for m in bench.frame.dropna(subset=["spearman"])["method"])
    data = []
    for place, bench in enumerate(benches):
        ax, letter = grid.flat[place], chr(ord("a") + place)
        frame = (
            bench.frame.dropna(subset=["spearman"])
            .drop_duplicates(["method", "budget"])
            .sort_values("budget")
        )
        asides = _asides(frame, "budget")
        for method in style.order(frame["method"]):
            rows_ = frame[frame["method"] == method]
            _plot(ax, rows_["budget"], rows_["spearman"], looks[method], asides[method])
        style.whole_ticks([ax])
        ax.set_title(f"({letter}) {bench.heading()}" if len(benches) > 1 else bench.title)
        ax.set_xlabel("trained architectures N")
        if place % across == 0:
            ax.set_ylabel("mean Spearman correlation")
        data.append(frame.assign(panel=letter, n=frame["runs"], bench=bench.bench))
    for ax in list(grid.flat)[len(benches) :]:
        ax.set_visible(False)
    shown = pd.concat(data, ignore_index=True)
    _legend(figure, looks, shown.assign(source="ours", optimum=np.nan))
    facts = [bench.sources() for bench in benches]
    return Drawing(figure, shown[columns], title, facts)


def differences(sources: Sources, *, top: int = 20) -> Drawing:
    """Paired differences of what each part adds, with 95 % intervals, against N: one panel per pair."""
    title = "What each part adds"
    columns = [
        "bench",
        "method",
        "reference",
        "budget",
        "top",
        "kind",
        "runs",
        "difference",
        "low",
        "high",
        "better",
        "equal",
    ]
    benches = _plain(sources.all("differences"))
    if not benches:
        pair = "A method with and without one of its parts, or beside random search, at the same N and K is needed."
        return card(title, f"{pair} {NEEDS_SEARCH}", columns)
    picked = [_at_top(bench, top) for bench in benches]
    pairs = list(dict.fromkeys((r.method, r.reference) for frame in picked for r in records(frame)))
    pairs.sort(key=_pair_order)
    across = min(3, len(pairs))
    rows = -(-len(pairs) // across)
    figure = Figure(figsize=(style.WIDTH, 1.5 * rows + 0.6 + 0.15 * len(benches)))
    grid = figure.subplots(rows, across, squeeze=False, sharex=True)
    looks = style.bench_looks([bench.bench for bench in benches])
    budgets = {int(budget) for frame in picked for budget in frame["budget"]}
    # benches beside each other, but not beyond the next N: a panel is about 100 points wide
    shifts = style.abreast(len(benches), min(4.0, 100 / (len(budgets) * len(benches))))
    for place, (method, reference) in enumerate(pairs):
        ax = grid.flat[place]
        for shift, bench, frame in zip(shifts, benches, picked, strict=True):
            rows_ = frame[(frame["method"] == method) & (frame["reference"] == reference)]
            _intervals(ax, rows_, looks[bench.bench], shift)
        ax.axhline(0, color="#404040", lw=0.8)
        ax.set_title(_pair_title(method, reference), fontsize=7)
        if place >= len(pairs) - across:
            ax.set_xlabel("trained architectures N")
            ax.tick_params(labelbottom=True)
    figure.supylabel("difference (percentage points)", fontsize=8)  # once: it is longer than a panel is high
    style.whole_ticks(list(grid.flat)[: len(pairs)])
    for ax in list(grid.flat)[len(pairs) :]:
        ax.set_visible(False)
    shown = pd.concat(picked, ignore_index=True)[columns]
    handles = [
        Line2D(
            [],
            [],
            color=looks[b.bench].colour,
            marker=looks[b.bench].marker,
            label=f"{b.title}, K = {span(f['top'])}, n = {span(f['runs'])}",
        )
        for b, f in zip(benches, picked, strict=True)
    ]
    style.legend_below(figure, handles, 2)
    facts = [f"{bench.sources()} K = {span(f['top'])}." for bench, f in zip(benches, picked, strict=True)]
    facts.append(
        f"Means over runs with the same seed. {over_runs(shown['runs'], 'bars: 95 % percentile bootstrap intervals over runs')}"
    )
    if shown["runs"].between(2, FEWEST_RUNS - 1).any():
        facts.append(
            f"Of fewer than {FEWEST_RUNS} runs, a bar that leaves out zero shows no difference: it is too short."
        )
    return Drawing(figure, shown, title, facts)


def _curves(
    ax: Axes,
    bench: Source,
    frame: pd.DataFrame,
    looks: dict[str, style.Look],
    *,
    panel: str,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Plot mean ± 1 sd of every method against N + K (± 0.25 sd where laid over published curves)."""
    over = published is not None and len(published) > 0
    asides = _asides(frame, "trained")
    if any(asides.values()):
        ax.margins(x=0.1)  # room for what stands aside at an end
    for method in style.order(frame["method"]):
        rows = frame[frame["method"] == method].sort_values("trained")
        look = looks[method]
        _band(ax, rows, look, "quarter_sd" if over else "sd", asides[method])
        _plot(ax, rows["trained"], rows["mean"], look, asides[method])
    if bench.optimum is not None:
        ax.axhline(bench.optimum, color="#404040", ls=":", lw=1, zorder=1)
    return _rows(frame, bench, panel, "ours")


def _asides(frame: pd.DataFrame, axis: str) -> dict[str, float]:
    """Return how far aside each method stands, in points of the page: those that have one point, and have it at the same place."""
    asides = dict.fromkeys(style.order(frame["method"]), 0.0)
    alone = frame[~frame.duplicated("method", keep=False)]
    for place in sorted(set(alone[axis])):
        methods = style.order(alone.loc[alone[axis] == place, "method"])
        asides |= zip(methods, style.abreast(len(methods), 5.0), strict=True)
    return asides


def _plot(ax: Axes, x: pd.Series, y: pd.Series, look: style.Look, aside: float) -> None:
    style.count_in(ax, x, y)
    ax.plot(x, y, color=look.colour, **style.curve_marker(look), transform=style.aside(ax, aside), zorder=3)


def _band(ax: Axes, rows: pd.DataFrame, look: style.Look, width: str, aside: float = 0.0) -> None:
    """Draw the spread: a band along a curve; bars at a single point, and where a point of one run has none."""
    spread = rows[width]
    for edge in (rows["mean"] - spread, rows["mean"] + spread):
        style.count_in(ax, rows["trained"], edge)
    if len(rows) == 1 or spread.isna().any():
        ax.errorbar(
            rows["trained"], rows["mean"], yerr=spread, transform=style.aside(ax, aside), color=look.colour, ls="",
            capsize=2, lw=0.9,
        )  # fmt: skip
    else:
        ax.fill_between(
            rows["trained"], rows["mean"] - spread, rows["mean"] + spread,
            color=look.colour, alpha=0.13 if width == "sd" else 0.25, lw=0, zorder=2,
        )  # fmt: skip


def _not_flat(panels: Sequence[Axes]) -> None:
    """Give an axis of accuracies a width where all that its panels show stands at one: by itself it would go beyond 1."""
    lines = [np.asarray(line.get_ydata(), dtype=float) for ax in panels for line in ax.get_lines()]
    heights = np.concatenate(lines)
    heights = heights[np.isfinite(heights)]
    if len(heights) and np.ptp(heights) < FLAT:
        panels[0].set_ylim(heights.mean() - 50 * FLAT, heights.mean() + 50 * FLAT)


def _dashed(
    ax: Axes, bench: Source, published: pd.DataFrame, looks: dict[str, style.Look], *, panel: str
) -> pd.DataFrame:
    """Lay the published curves over a panel, dashed; their band (0.25 sd) as bars where it could be read."""
    shown = published[published["method"].isin(list(looks))]
    for method in style.order(shown["method"]):
        rows = shown[shown["method"] == method].sort_values("trained")
        _published_line(ax, rows, looks[method])
    return _rows(shown, bench, panel, "published")


def _published_line(ax: Axes, rows: pd.DataFrame, look: style.Look) -> None:
    """Draw a published curve: dashed, with a hollow marker here and there, which tells it without its colour."""
    colour, step = look.colour, max(len(rows) // 4, 1)
    ax.plot(
        rows["trained"], rows["mean"], color=colour, ls=(0, (3, 2)), lw=1, zorder=2,
        marker=look.marker, markevery=(step // 2, step), mfc="white", mew=0.8, ms=3.5,
    )  # fmt: skip
    bars = rows.dropna(subset=["quarter_sd"])
    if len(bars):
        ax.errorbar(
            bars["trained"], bars["mean"], yerr=bars["quarter_sd"], color=colour, ls="", lw=0.7, capsize=1.5
        )


def _of_fig6(theirs: pd.DataFrame | None) -> pd.DataFrame:
    return pd.DataFrame(columns=["method"]) if theirs is None else theirs[theirs["figure"].isin(["6a", "6b"])]


def _published(theirs: pd.DataFrame | None, figures: Sequence[str], axis: str, value: int) -> pd.DataFrame:
    """Return the published points of figures at the same fixed N or K, in the columns of ours."""
    names = {"published": "mean", "published_quarter_sd": "quarter_sd"}
    if theirs is None:
        return pd.DataFrame(columns=["method", "budget", "top", "trained", "mean", "quarter_sd"])
    rows = theirs[theirs["figure"].isin(figures) & (theirs[axis] == value)]
    return rows[["method", "budget", "top", "trained", *names]].rename(columns=names)


def _rows(frame: pd.DataFrame, bench: Source, panel: str, source: str) -> pd.DataFrame:
    """Return the rows of the CSV for points that are drawn."""
    facts: dict[str, Any] = {"panel": panel, "bench": bench.bench, "source": source}
    rows = frame.assign(**facts)
    rows["optimum"] = bench.optimum if source == "ours" else np.nan
    rows["n"] = frame.get("runs", PUBLISHED_RUNS)
    rows = rows.reindex(columns=COLUMNS)
    ranked = {name: place for place, name in enumerate(style.order(rows["method"]))}
    return rows.sort_values(["method", "trained"], key=lambda c: c.map(ranked) if c.name == "method" else c)


def _axes(ax: Axes, bench: Source, *, left: bool, right: bool) -> None:
    """Label a panel: accuracy on the left, regret to the optimum of the bench's own table on the right."""
    ax.set_xlabel(TRAINED_LABEL)
    style.whole_ticks([ax])
    _not_flat([ax])
    if left:
        ax.set_ylabel(SCORE_LABEL)
    if bench.optimum is not None:
        best = bench.optimum
        to_regret: Any = lambda accuracy: 100 * (best - accuracy)
        from_regret: Any = lambda regret: best - regret / 100
        regret = ax.secondary_yaxis("right", functions=(to_regret, from_regret))
        regret.tick_params(labelsize=6.5, length=2, colors="#606060")
        if right:
            regret.set_ylabel(REGRET_LABEL, fontsize=7.5, color="#606060")


def _legend(figure: Figure, looks: dict[str, style.Look], shown: pd.DataFrame) -> None:
    """One legend below the panels, n beside each method."""
    handles = []
    for method, look in looks.items():
        rows = shown[(shown["method"] == method) & (shown["source"] == "ours")]
        if len(rows):
            label = style.fold(f"{style.method_title(method)} (n = {span(rows['n'])})", style.FOLD)
            handles.append(Line2D([], [], color=look.colour, **style.curve_marker(look), label=label))
        elif ((shown["method"] == method) & (shown["source"] == "published")).any():
            label = style.fold(f"{style.method_title(method)} (published only)", style.FOLD)
            handles.append(_published_handle(look, label))
    if shown["optimum"].notna().any():
        handles.append(Line2D([], [], color="#404040", ls=":", lw=1, label="optimum of the table"))
    if (shown["source"] == "published").any():
        handles.append(_published_handle(style.Look("#404040", ""), "published"))
    style.legend_below(figure, handles, 2 if len(handles) < 5 else 3, columnspacing=1.2)


def _published_handle(look: style.Look, label: str) -> Line2D:
    return Line2D(
        [], [], color=look.colour, ls=(0, (3, 2)), lw=1, marker=look.marker, mfc="white", mew=0.8, label=label
    )


def _band_facts(shown: pd.DataFrame) -> list[str]:
    lines = [over_runs(shown.loc[shown["source"] == "ours", "n"], SPREAD)]
    if (shown["source"] == "published").any():
        lines.append(
            "Dashed, with hollow markers: published, read off the paper's plot to ±0.001, with its band of ± 0.25 standard deviations as bars; in these panels our bands are ± 0.25 as well. "
            "Published levels come from a one-seed table where label, selection and score are one value: they are optimistic and can exceed the optimum of a table of means."
        )  # fmt: skip
    return lines


def _plain(benches: list[Source]) -> list[Source]:
    """Return the benches without variants of methods; the table of ablations has them."""
    return [replace(bench, frame=style.plain(bench.frame)) for bench in benches]


def _note_other(missing: list[str], where: str, axis: str, wanted: int, used: int) -> None:
    if wanted != used:
        missing.append(f"{where}the run has no {axis} = {wanted}; {axis} = {used} is shown.")


def _light(benches: list[Source], method: str) -> list[Source]:
    """Return the benches of light spaces that have ``method``; any bench but the whole NAS-Bench-201 counts."""
    return [b for b in benches if b.space != "nasbench201" and (b.frame["method"] == method).any()]


def _space_curve(
    axes: np.ndarray,
    bench: Source,
    frame: pd.DataFrame,
    published: pd.DataFrame,
    look: style.Look,
    panel: str,
) -> pd.DataFrame:
    rows = frame.sort_values("trained")
    colour, marker = look.colour, look.marker
    _band(axes[0], rows, look, "quarter_sd" if len(published) else "sd")
    axes[0].plot(rows["trained"], rows["mean"], color=colour, marker=marker, zorder=3)
    if bench.optimum is not None:
        axes[0].axhline(bench.optimum, color=colour, ls=":", lw=1, zorder=1)
    axes[1].plot(rows["trained"], 100 * rows["regret"], color=colour, marker=marker)
    _published_line(axes[0], published.sort_values("trained"), look)
    return pd.concat([_rows(rows, bench, panel, "ours"), _rows(published, bench, panel, "published")])


def _space_legend(figure: Figure, handles: list[Line2D], shown: pd.DataFrame) -> None:
    if shown["optimum"].notna().any():
        handles = [*handles, Line2D([], [], color="#404040", ls=":", lw=1, label="optimum of the table")]
    if (shown["source"] == "published").any():
        handles.append(_published_handle(style.Look("#404040", ""), "published"))
    style.legend_below(figure, handles, 2)


def _at_top(bench: Source, top: int) -> pd.DataFrame:
    frame = bench.frame[bench.frame["kind"] == "score"]
    return frame[frame["top"] == nearest(frame["top"], top)]


def _pair_order(pair: tuple[str, str]) -> tuple[int, str, str]:
    known = list(style.METHODS)
    return (known.index(pair[0]) if pair[0] in known else len(known), pair[0], pair[1])


def _pair_title(method: str, reference: str) -> str:
    """Return the title of a panel, a third of the page wide, in two lines or more."""
    other = "its coarse ranking" if reference.startswith(method + " (") else style.method_title(reference)
    return "\n".join(style.fold(line, 28) for line in (style.method_title(method), f"− {other}"))


def _intervals(ax: Axes, rows: pd.DataFrame, look: style.Look, shift: float) -> None:
    rows = rows.sort_values("budget")
    if rows.empty:
        return
    middle = 100 * rows["difference"]
    errors = np.abs(np.stack([middle - 100 * rows["low"], 100 * rows["high"] - middle]))
    errors[:, rows["runs"] < 2] = np.nan  # the interval of one run is that run
    for edge in ("low", "high"):
        style.count_in(ax, rows["budget"], 100 * rows[edge])
    ax.errorbar(
        rows["budget"],
        middle,
        yerr=errors,
        transform=style.aside(ax, shift),
        color=look.colour,
        marker=look.marker,
        ms=3,
        ls="",
        lw=1,
        capsize=1.5,
    )
