"""Figures with one point per architecture: code against accuracy (1), MACs against accuracy (4), code and proxies (8)."""

from __future__ import annotations

import string
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from snas.analysis.correlations import RECTANGLES, Group, measures
from snas.figures import style
from snas.figures.drawing import Drawing, card, card_panel, records
from snas.figures.sources import Source, Sources
from snas.search.bench import LOG10

CODE_LABEL = "1 − mean loss / largest loss"
ACCURACY_LABEL = "accuracy"
MACS_LABEL = "multiply-accumulates (millions)"
LIMIT = 35.0
"""Million MACs: Tiny-NASBench-201 is the part of NAS-Bench-201 below, Tiny-NanoBench lies at most there."""

NEEDS_NASBENCH201 = (
    "NAS-Bench-201 is needed: run again with --config nasbench201=PATH, a table or archive of NAS-Bench-201."
)
NEEDS_LIGHT = "It is added by tiny_nasbench201: true and a data set in nasbench201_sets."
"""What is said where the run has NAS-Bench-201 itself."""
NEEDS_NANOBENCH = (
    "Accuracies of Tiny-NanoBench are needed: run with space: tiny_nanobench (it is the default)."
)
COLUMNS = ["panel", "bench", "arch", "cell", "group", "x", "accuracy"]


def fig1(sources: Sources) -> Drawing:
    """Estimation code against accuracy: all, and the two best groups on their own axes.

    As in the paper that of Tiny-NanoBench; of another space where the run does not have it, which the figure then says.
    """
    title = "Estimation code and accuracy"
    found = sources.first("scatter", "tiny_nanobench", ["cifar10"]) or next(
        iter(sources.all("scatter")), None
    )
    if found is None or found.frame["code"].notna().sum() == 0:
        return card(
            f"Figure 1. {title}", f"{NEEDS_NANOBENCH} It also needs estimation codes: code: trained.", COLUMNS
        )
    rho = _correlations(sources, found.bench)
    zooms = [
        Group("zoom", row.low, row.high)
        for row in records(rho[(rho["kind"] == "zoom") & (rho["against"] == "code")])
    ]
    panels = [Group("all", 0.0, 1.0), *zooms]
    figure = Figure(figsize=(style.WIDTH, 3.1))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    data = []
    for letter, group, ax in zip("abc", panels, axes, strict=False):
        data.append(_panel(ax, found, "code", rho, panel=letter, only=group))
        row = _row(rho, "code", group)
        ax.set_title(f"({letter}) {group.label}\n{_rho(row)}")
    axes[0].set_ylabel(f"{ACCURACY_LABEL}, {style.dataset_title(found.dataset)}")
    axes[len(axes) // 2].set_xlabel(_code_label(found, 80))  # once for all panels
    _legend(figure, _groups(rho, "code"))
    theirs = found.space == "tiny_nanobench"
    heading = found.title if theirs else f"{found.title}; the paper's figure is of Tiny-NanoBench"
    figure.suptitle(style.fold(heading, 90), x=0.01, ha="left", fontsize=8)
    facts = [
        found.sources(),
        "ρ is Spearman's rank correlation within the group, n its architectures. A narrow range of accuracy makes ρ small by itself.",
    ]
    missing = [] if theirs else [f"The paper's figure is of Tiny-NanoBench. {NEEDS_NANOBENCH}"]
    return Drawing(figure, pd.concat(data, ignore_index=True), title, facts, missing)


def fig4(sources: Sources) -> Drawing:
    """MACs against accuracy: (a) NAS-Bench-201 with the part below 35 M marked, (b) both small spaces."""
    title = "Multiply-accumulates and accuracy"
    whole = sources.first("scatter", "nasbench201", ["cifar10", "cifar100"])
    nano = sources.first("scatter", "tiny_nanobench", ["cifar10"])
    tiny = _tiny_nasbench(sources, nano)
    whole, nano, tiny = (s if s and s.frame["accuracy"].notna().any() else None for s in (whole, nano, tiny))
    if whole is None and nano is None and tiny is None:
        return card(f"Figure 4. {title}", f"{NEEDS_NASBENCH201} {NEEDS_NANOBENCH}", COLUMNS)
    figure = Figure(figsize=(style.WIDTH, 2.7))
    left, right = figure.subplots(1, 2)
    data: list[pd.DataFrame] = []
    facts: list[str] = []
    missing: list[str] = []
    if whole is None:
        missing.append(f"(a) {NEEDS_NASBENCH201}")
        card_panel(left, NEEDS_NASBENCH201, title="(a) NAS-Bench-201", width=34)
    else:
        facts.append(whole.sources())
        data.append(_whole_panel(left, whole))
    parts = [source for source in (tiny, nano) if source is not None]
    for source in parts:
        facts.append(source.sources())
        data.append(_costs_points(right, source))
    if nano is not None and nano.facts.get("dataset") != "cifar10":
        facts.append("MACs are those of the space at its own size, 3×32×32 images and ten classes.")
    light = f"Tiny-NASBench-201 on {style.dataset_title(nano.dataset)}" if nano else "Tiny-NASBench-201"
    if tiny is None:
        # beside Tiny-NanoBench on other images, Tiny-NASBench-201 on CIFAR-10 would be no comparison
        there = [sources.first("scatter", space) for space in ("tiny_nasbench201", "nasbench201")]
        needs = "" if there[0] else NEEDS_LIGHT if there[1] else NEEDS_NASBENCH201
        text = f"{light if nano else f'{light} on CIFAR-10'} is not in this run. {needs}".rstrip()
        missing.append(f"(b) {text}")
    if nano is None:
        missing.append(f"(b) {NEEDS_NANOBENCH}")
    if parts:
        low = _finish_small(
            right,
            parts,
            absent=[name for name, it in ((light, tiny), ("Tiny-NanoBench", nano)) if it is None],
        )
    else:
        card_panel(right, NEEDS_NANOBENCH, title="(b) Below 35 M", width=34)
    shown = pd.concat(data, ignore_index=True)
    if parts:
        shown = shown[(shown["panel"] != "b") | (shown["accuracy"] >= low)]
    return Drawing(figure, shown, title, facts, missing)


def fig8(sources: Sources) -> Drawing:
    """Code (top) and each proxy (below) against accuracy: NAS-Bench-201 (left) and Tiny-NanoBench (right).

    Where no proxy was scored, the row of the paper's, synflow, says so.
    """
    columns = [
        ("NAS-Bench-201", sources.first("scatter", "nasbench201", ["cifar100", "cifar10"]), NEEDS_NASBENCH201),
        ("Tiny-NanoBench", sources.first("scatter", "tiny_nanobench", ["cifar10"]), NEEDS_NANOBENCH),
    ]  # fmt: skip
    if all(source is None for _, source, _ in columns):
        return card(
            "Figure 8. Estimation code and synflow against accuracy",
            f"{NEEDS_NASBENCH201} {NEEDS_NANOBENCH}",
            COLUMNS,
        )
    known = dict.fromkeys(m for _, source, _ in columns if source for m in measures(source.frame))
    rows = list(known) if len(known) > 1 else ["code", f"{LOG10}synflow"]
    names = ["Estimation code", *(measure.removeprefix(LOG10) for measure in rows[1:])]
    title = f"{', '.join(names[:-1])} and {names[-1]} against accuracy"
    figure = Figure(figsize=(style.WIDTH, 2.8 * len(rows)))
    axes = figure.subplots(len(rows), 2)
    data: list[pd.DataFrame] = []
    facts: list[str] = []
    missing: list[str] = []
    for column, (name, source, needs) in enumerate(columns):
        for row, measure in enumerate(rows):
            letter, ax = string.ascii_lowercase[2 * row + column], axes[row, column]
            if source is None or measure not in source.frame or source.frame[measure].notna().sum() == 0:
                need = needs if source is None else _needs_measure(measure)
                missing.append(f"({letter}) {need}")
                card_panel(ax, need, title=f"({letter}) {name}", width=34)
                continue
            rho = _correlations(sources, source.bench)
            data.append(_panel(ax, source, measure, rho, panel=letter, only=Group("all", 0.0, 1.0)))
            ax.set_title(f"({letter}) {source.heading()}", pad=52)
            code = measure == "code"
            ax.set_xlabel(_code_label(source, 44) if code else f"log₁₀ {measure.removeprefix(LOG10)}")
            ax.set_ylabel(ACCURACY_LABEL)
            _rho_lines(ax, rho, measure)
            if measure == "code":
                _rectangles(ax, source)
        if source is not None:
            facts.append(source.sources())
    facts.append("ρ is Spearman's rank correlation with accuracy, n the architectures of the group.")
    return Drawing(
        figure,
        pd.concat(data, ignore_index=True) if data else pd.DataFrame(columns=COLUMNS),
        title,
        facts,
        missing,
    )


def _code_label(source: Source, width: int) -> str:
    """Return the label of an axis of codes; which losses the code is of, where it is known, in lines of ``width`` letters."""
    made_of = source.facts.get("code_source")
    return f"{CODE_LABEL}\n{textwrap.fill(made_of, width)}" if made_of else CODE_LABEL


def _panel(
    ax: Axes, source: Source, measure: str, rho: pd.DataFrame, *, panel: str, only: Group
) -> pd.DataFrame:
    """Plot ``measure`` against accuracy in the colours of the groups; return the points that are shown."""
    frame = source.frame.dropna(subset=["accuracy", measure])
    frame = frame[only.holds(frame["accuracy"].to_numpy())]
    shown = []
    for group, colour in reversed(_groups(rho, measure)):
        inside = frame[group.holds(frame["accuracy"].to_numpy())]
        if len(inside):
            _points(
                ax,
                inside[measure],
                inside["accuracy"],
                colour,
                size=7 if only.kind == "zoom" else 5,
                label=group.label,
            )
            shown.append(_data(inside, panel, source.bench, group.label, measure))
    if not shown:
        ax.text(
            0.5,
            0.5,
            "no architecture\nin this range",
            transform=ax.transAxes,
            ha="center",
            va="center",
            color=style.GREY,
        )
        return pd.DataFrame(columns=COLUMNS)
    ax.margins(0.06)
    return pd.concat(shown, ignore_index=True)


def _points(ax: Axes, x: pd.Series, y: pd.Series, colour: str, *, size: float, label: str) -> None:
    many = len(x) > 2000
    ax.scatter(
        x, y, s=1.5 if many else size, c=colour, alpha=0.35 if many else 0.6, linewidths=0, label=label,
        rasterized=many,  # 15,625 vector points make a file that no viewer likes
    )  # fmt: skip


def _data(frame: pd.DataFrame, panel: str, bench: str, group: str, x: str) -> pd.DataFrame:
    columns = {"arch": frame["arch"], "cell": frame["cell"], "x": frame[x], "accuracy": frame["accuracy"]}
    return pd.DataFrame({**columns, "panel": panel, "bench": bench, "group": group})[COLUMNS]


def _correlations(sources: Sources, bench: str) -> pd.DataFrame:
    found = sources.of_bench("correlations", bench)
    columns = ["against", "kind", "label", "low", "high", "n", "spearman"]
    return pd.DataFrame(columns=columns) if found is None else found


def _groups(rho: pd.DataFrame, measure: str) -> list[tuple[Group, str]]:
    """Return the colour groups, best first; without correlations all architectures are one group."""
    rows = rho[(rho["kind"] == "group") & (rho["against"] == measure)].sort_values("low", ascending=False)
    groups = [Group("group", row.low, row.high) for row in records(rows)] or [Group("all", 0.0, 1.0)]
    above = [style.BLACK] if len(groups) > 3 else []
    return list(zip(groups, [*above, *style.GROUPS], strict=False))


def _row(rho: pd.DataFrame, measure: str, group: Group) -> pd.Series | None:
    bounds = (rho["low"] == group.low) & (rho["high"] == group.high)  # a label may be written otherwise
    same = rho[(rho["against"] == measure) & (rho["kind"] == group.kind) & bounds]
    return None if same.empty else same.iloc[0]


def _rho(row: pd.Series | None) -> str:
    if row is None or pd.isna(row["spearman"]):
        return f"n = {0 if row is None else int(row['n']):,}"
    return f"ρ = {row['spearman']:.2f}, n = {int(row['n']):,}".replace("-", "−")


def _rho_lines(ax: Axes, rho: pd.DataFrame, measure: str) -> None:
    """Write ρ and n of every group above the panel, in the group's colour."""
    lines = [("all", style.BLACK, _row(rho, measure, Group("all", 0.0, 1.0)))]
    lines += [
        (group.label, colour, _row(rho, measure, group))
        for group, colour in _groups(rho, measure)
        if group.kind == "group"
    ]
    for place, (label, colour, row) in enumerate(lines):
        ax.annotate(
            f"{label}: {_rho(row)}", (0, 1), xycoords="axes fraction", xytext=(0, 4 + 11 * (len(lines) - 1 - place)),
            textcoords="offset points", fontsize=7, color=colour, va="bottom",
        )  # fmt: skip


def _rectangles(ax: Axes, source: Source) -> None:
    """Outline the paper's regions of figure 8a that hold a point: another code lies elsewhere on its axis."""
    x, y = source.frame["code"], source.frame["accuracy"]
    colours = {"red": style.VERMILLION, "blue": style.BLUE}
    for name, low, high, left, right in RECTANGLES.get((source.space, source.dataset), ()):
        if not (x.between(left, right) & y.between(low, high)).any():
            continue
        ax.add_patch(
            Rectangle((left, low), right - left, high - low, fill=False, ec=colours[name], ls="--", lw=0.9)
        )


def _legend(figure: Figure, groups: list[tuple[Group, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker="o", ms=4, color=colour, label=f"accuracy {group.label}")
        for group, colour in groups
    ]
    style.legend_below(figure, handles, len(handles), handletextpad=0.2)


def _needs_measure(measure: str) -> str:
    if measure == "code":
        return (
            "The bench has no estimation codes: set code: trained, or import a source with training curves."
        )
    proxy = measure.removeprefix(LOG10)
    return f"The bench has no {proxy} scores: add {proxy} to proxies (of networks that are trained) or to nasbench201_proxies."


def _tiny_nasbench(sources: Sources, nano: Source | None) -> Source | None:
    """Return Tiny-NASBench-201 on the image set of ``nano``: a bench of its own, or the part of NAS-Bench-201 below 35 M."""
    wanted = [nano.dataset] if nano else ["cifar10"]
    own = [s for s in sources.all("scatter") if s.space == "tiny_nasbench201" and s.dataset in wanted]
    if own:
        return own[0]
    for source in sources.all("scatter"):
        if source.space == "nasbench201" and source.dataset in wanted:
            part = source.frame[source.frame["mmacs"] < LIMIT]
            return Source(
                part, {**source.facts, "space": "tiny_nasbench201", "architectures": len(part)}, source.path
            )
    return None


def _whole_panel(ax: Axes, source: Source) -> pd.DataFrame:
    frame = source.frame.dropna(subset=["accuracy"])
    data = []
    for label, colour, part in (
        (f"≥ {LIMIT:.0f} M", style.GREY, frame[frame["mmacs"] >= LIMIT]),
        (f"< {LIMIT:.0f} M", style.BLUE, frame[frame["mmacs"] < LIMIT]),
    ):
        _points(ax, part["mmacs"], part["accuracy"], colour, size=4, label=f"{label}, n = {len(part):,}")
        data.append(_data(part, "a", source.bench, label, "mmacs"))
    ax.set_title(f"(a) {source.heading()}")
    ax.set_xlabel(MACS_LABEL)
    ax.set_ylabel(ACCURACY_LABEL)
    _below(ax, [])
    return pd.concat(data, ignore_index=True)


def _costs_points(ax: Axes, source: Source) -> pd.DataFrame:
    frame = source.frame.dropna(subset=["accuracy"])
    label = f"{style.space_title(source.space)}, n = {len(frame):,}"
    look = style.space_looks([source.space])[source.space]
    _points(ax, frame["mmacs"], frame["accuracy"], look.colour, size=5, label=label)
    return _data(frame, "b", source.bench, style.space_title(source.space), "mmacs")


def _finish_small(ax: Axes, parts: list[Source], absent: list[str]) -> float:
    """Label panel b; its axis leaves out a few broken networks, which would flatten the rest, and says how many.

    Returns the lower end of the axis.
    """
    values = np.concatenate([part.frame["accuracy"].dropna().to_numpy() for part in parts])
    quarter, three = np.quantile(values, [0.25, 0.75])
    low, high = max(values.min(), quarter - 3 * (three - quarter)), values.max()
    margin = 0.08 * (high - low) or 0.01
    below = int((values < low - margin).sum())
    ax.set_ylim(low - margin, high + margin)
    ax.set_xlim(0, LIMIT * 1.03)
    datasets = " and ".join(dict.fromkeys(style.dataset_title(part.dataset) for part in parts))
    ax.set_title(f"(b) at most {LIMIT:.0f} M · {datasets}")
    ax.set_xlabel(MACS_LABEL)
    ax.set_ylabel(ACCURACY_LABEL)
    notes = [f"{below} below the axis"] if below else []
    notes += [f"{name}: not in this run" for name in absent]
    _below(ax, notes)
    return float(low - margin)


def _below(ax: Axes, notes: list[str]) -> None:
    """Put the legend below the panel, with ``notes`` as its title."""
    legend = ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.22), handletextpad=0.1,
        title="; ".join(notes) or None, title_fontsize=7,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([12])
            handle.set_alpha(1)
