"""The figures of a found network: its cell, what the search has trained, how it went on, and what it takes for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from snas import spaces
from snas.export.found import Found
from snas.export.measures import front
from snas.figures import style
from snas.figures.diagrams import draw_cell
from snas.figures.drawing import Drawing, card, free_figure
from snas.words import counted

MEASURES = {"accuracy": "accuracy on validation images", "balanced": "balanced accuracy on validation images"}
"""What a search has chosen by, on axes."""
START, LATER, LAST = "start", "asked for by the method", "last round"
KINDS = {
    START: style.Look(style.GREY, "o"),
    LATER: style.Look(style.SKY, "^"),
    LAST: style.Look(style.BLUE, "s"),
}
"""Kinds of trained networks and how they look."""
WRITTEN = 20
"""Most classes whose counts are written into the confusion matrix."""
NAMED = 60
"""Most classes whose names stand at its axes."""
LONGEST = 14
"""Letters of a name there."""


def cell(found: Found) -> Drawing:
    """The cell, from its input to its output."""
    figure = free_figure((style.WIDTH, 1.15))
    ax = figure.add_axes((0.01, 0.0, 0.98, 1.0))
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 2)
    residual = spaces.load(found.description.space).residual
    texts = draw_cell(ax, found.cell.operations, found.cell.edges, residual=residual)
    data = pd.DataFrame({"position": range(len(texts)), "text": texts})
    return Drawing(figure, data, f"The cell {found.title}")


def costs(found: Found) -> Drawing:
    """Accuracy against multiply-accumulates of all trained networks, with the Pareto front and the winner."""
    known, kinds = found.known, _kinds(found)
    figure = Figure(figsize=(style.WIDTH, 3.1))
    ax = figure.subplots()
    millions = known["macs"].to_numpy() / 1e6
    accuracies = known[found.by].to_numpy()
    for kind, look in KINDS.items():
        chosen = (kinds[known.index] == kind).to_numpy()
        if chosen.any():
            ax.scatter(
                millions[chosen],
                accuracies[chosen],
                s=12,
                color=look.colour,
                marker=look.marker,
                lw=0,
                label=f"{kind} ({chosen.sum()})",
            )
    best = front(millions, accuracies)
    ax.step(
        millions[best],
        accuracies[best],
        where="post",
        color=style.BLACK,
        lw=0.9,
        label="Pareto front",
        zorder=1,
    )
    won = known[known["cell"] == found.title]
    ax.plot(
        won["macs"] / 1e6, won[found.by], "*", color=style.VERMILLION, ms=10, mec="white", mew=0.6, ls="",
        label="the winner",
    )  # fmt: skip
    limit = (found.choice.get("limits") or {}).get("max_macs")
    if limit:
        ax.axvline(limit / 1e6, color=style.GREY, lw=0.8, ls="--", label="limit")
    ax.set_xlabel("multiply-accumulates of one image (millions)")
    ax.set_ylabel(MEASURES[found.by])
    below = _frame(ax, accuracies)
    handles, _ = ax.get_legend_handles_labels()
    style.legend_below(figure, handles, 6, handletextpad=0.4, columnspacing=1.2)
    data = known[["order", "round", "arch", "cell", "macs", "params", found.by]].copy()
    data["kind"] = kinds[known.index]
    data["front"] = np.isin(np.arange(len(known)), best)
    facts = [
        f"{counted(len(known), 'network')} with an accuracy, {len(found.trained) - len(known)} whose training failed; "
        f"{len(best)} on the front.",
        *_below(below),
    ]
    return Drawing(figure, data, "Accuracy and cost of all trained networks", facts)


def rounds(found: Found) -> Drawing:
    """Best accuracy so far over the trainings, beside what random search would be expected to have."""
    figure = Figure(figsize=(style.WIDTH, 3.1))
    ax = figure.subplots()
    kinds, accuracies = _kinds(found)[found.within], found.accuracies
    order = np.flatnonzero(found.within) + 1
    for kind, look in KINDS.items():
        chosen = (kinds == kind).to_numpy()
        if chosen.any():
            ax.scatter(
                order[chosen], accuracies[chosen], s=10, color=look.colour, marker=look.marker, lw=0, label=kind,
                zorder=3,  # on the line of the best, which is drawn through the best of them
            )  # fmt: skip
    so_far = np.maximum.accumulate(accuracies)
    ax.step(order, so_far, where="post", color=style.VERMILLION, label="best so far")
    luck = found.random_search()
    ax.fill_between(luck["trainings"], luck["start"], luck["all"], color=style.GREY, alpha=0.25, lw=0)
    ax.plot(
        luck["trainings"], luck["start"], color=style.GREY, lw=1, ls="--", label="random draws like the start"
    )
    ax.plot(
        luck["trainings"], luck["all"], color=style.GREY, lw=1, ls=":", label="random draws like all trained"
    )
    for begun in np.flatnonzero(np.diff(found.asked.to_numpy())) + 1.5:
        ax.axvline(begun, color="#D0D0D0", lw=0.5, zorder=0)
    ax.set_xlabel("complete trainings")
    ax.set_ylabel(MEASURES[found.by])
    below = _frame(ax, accuracies)
    ax.grid(axis="x", visible=False)  # upright lines are where a round begins
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    figure.legend(loc="outside lower center", ncols=3)
    data = luck.rename(columns={"start": "random_like_start", "all": "random_like_all"}).merge(
        pd.DataFrame({"trainings": order, "accuracy": accuracies, "best_so_far": so_far}), how="left"
    )
    return Drawing(figure, data, "How the search went on", [*_rounds_facts(found), *_below(below)])


def _rounds_facts(found: Found) -> list[str]:
    end, start, size = found.random_search().iloc[-1], len(found.start), len(found.trained)
    best = found.accuracies.max()
    codes = found.codes
    price = counted(size, "complete training")
    beyond = size - len(found.accuracies)
    if codes:  # which cost a part of a training each
        price += f" and {counted(codes, 'estimation code')}, {found.cost:.1f} trainings in all"
    return [
        f"The search cost {price}, and has {best:.4f}. "
        f"Random search with {counted(int(end['trainings']), 'training')} would be expected to have {end['start']:.4f} if its draws are like the start, {end['all']:.4f} if they are like all that was trained.",
        f"Both are the exact expectation of the best of k independent draws with replacement from measured accuracies, one training each: those of the {start} networks of the start, "
        f"and those of all {size - beyond}. The first assumes that the start was drawn at random and can never exceed its best; the second lets random search draw from what the method has picked, "
        "so it is kind to random search. Neither is a random search that was run; a failed training counts as chance.",
        *(
            [
                f"Left out: {counted(beyond, 'training')} of networks beyond the limits, asked for when the limits were others."
            ]
            if beyond
            else []
        ),
    ]


def predicted(found: Found) -> Drawing:
    """What the method expected of a network before it was trained, against what came out."""
    pairs = found.known.dropna(subset=["predicted"])
    columns = ["order", "round", "cell", "predicted", found.by]
    if pairs.empty:
        return card(
            "Predicted and true",
            f"{style.method_title(found.choice['method'])} expects nothing of a network before it is trained.",
            columns,
        )
    figure = Figure(figsize=(style.WIDTH * 0.62, 3.1))
    ax = figure.subplots()
    rho, n = found.belief
    for kind in (LATER, LAST):
        chosen = pairs[(_kinds(found)[pairs.index] == kind).to_numpy()]
        if chosen.empty:  # N = 8 is the start alone
            continue
        look = KINDS[kind]
        ax.scatter(
            chosen["predicted"],
            chosen[found.by],
            s=12,
            color=look.colour,
            marker=look.marker,
            lw=0,
            label=kind,
        )
    values = np.concatenate([pairs["predicted"], pairs[found.by]])
    if values.min() >= 0 and values.max() <= 1:  # the method speaks of accuracies
        ends = [values.min(), values.max()]
        ax.plot(ends, ends, color=style.GREY, lw=0.8, ls="--", label="equal", zorder=0)
    ax.legend(loc="upper left")
    ax.set_xlabel("predicted before its training")
    ax.set_ylabel(MEASURES[found.by])
    said = f"ρ = {rho:.2f}" if np.isfinite(rho) else "ρ is not defined"
    ax.set_title(f"{said}, n = {n}")
    facts = [
        "Spearman's rank correlation over the networks that the method asked for. These are the ones it took for the best, a narrow choice, "
        "which makes a correlation small by itself; the start was trained before there was a prediction."
    ]
    return Drawing(figure, pairs[columns], "Predicted and true", facts)


def confusion(found: Found) -> Drawing:
    """The confusion matrix of the test images; colours are shares of a row."""
    matrix, labels = found.matrix, found.description.labels
    size = min(style.WIDTH, 1.6 + 0.34 * len(labels))
    figure = Figure(figsize=(size, size * 0.92))
    ax = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.grid(False)
    for row, column in np.argwhere(matrix > 0) if len(labels) <= WRITTEN else ():
        ink = "white" if shares[row, column] > 0.55 else "#202020"
        ax.text(column, row, matrix[row, column], ha="center", va="center", fontsize=6.5, color=ink)
    if len(labels) <= NAMED:
        names = class_names(labels)
        # a name is what a folder is called: a $ in it begins no formula
        ax.set_xticks(
            range(len(labels)), names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False
        )
        ax.set_yticks(range(len(labels)), names, parse_math=False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    data = pd.DataFrame(matrix, columns=[f"called {label}" for label in labels])
    data.insert(0, "class", labels)
    return Drawing(figure, data, "Confusion matrix of the test images", numbered(labels))


def class_names(labels: Sequence[str]) -> list[str]:
    """Return what the axes of a confusion matrix call the classes, no two the same: the name, or its beginning, or beginning and
    end where others begin alike, or the number of the class where that does not tell them apart or the font lacks its letters.

    >>> class_names(["oak", "Corn_(maize)___healthy", "猫"])
    ['oak', 'Corn_(maize)_…', '#2']
    >>> class_names(["Corn_(maize)___healthy", "Corn_(maize)___common_rust"])
    ['Corn_(…healthy', 'Corn_(…on_rust']
    """
    forms = (
        lambda label: label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…",
        lambda label: label if len(label) <= LONGEST else f"{label[:6]}…{label[7 - LONGEST :]}",
    )
    letters = _letters()
    names = [f"#{number}" for number in range(len(labels))]
    left = [number for number, label in enumerate(labels) if set(map(ord, label)) <= letters]
    for form in forms:
        short = {number: form(labels[number]) for number in left}
        often = Counter(short.values()) + Counter(names)
        for number, name in short.items():
            if often[name] == 1:
                names[number] = name
                left.remove(number)
    return names


def numbered(labels: Sequence[str]) -> list[str]:
    """Return the sentence that says which classes stand as numbers in the confusion matrix; none where none does."""
    if len(labels) > NAMED:
        return ["Classes are numbered in the order of network.json, from 0."]
    names = class_names(labels)
    told = [f"{name} is {labels[n]}" for n, name in enumerate(names) if name == f"#{n}" != labels[n]]
    return [f"In the picture {', '.join(told)}."] if told else []


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the font of the pictures has."""
    font = get_font(findfont(FontProperties(family=style.RC["font.family"])))
    return frozenset(font.get_charmap())


DRAWN = {"cell": cell, "costs": costs, "rounds": rounds, "predicted": predicted, "confusion": confusion}
"""All figures of a found network, by name."""


def _kinds(found: Found) -> pd.Series:
    """Return the kind of every trained network: start, last round, or between."""
    last = found.asked.max()
    kinds = [
        START if begun else LAST if n == last else LATER
        for n, begun in zip(found.asked, found.begun, strict=True)
    ]
    return pd.Series(kinds, index=found.trained.index)


def _below(count: int) -> list[str]:
    """Return what is said of networks that a frame leaves out."""
    return [f"Below the frame: {counted(count, 'network')}."] if count else []


def _frame(ax: Axes, accuracies: np.ndarray) -> int:
    """Show accuracies from their lower twentieth on and return how many lie below: one at chance would press all others into a line."""
    low, high = np.quantile(accuracies, 0.05), accuracies.max()
    room = max(high - low, 1e-3)
    bottom = min(low, high) - 0.1 * room
    ax.set_ylim(bottom, high + 0.08 * room)
    return int((accuracies < bottom).sum())
