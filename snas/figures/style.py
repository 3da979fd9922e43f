"""One style for all figures: a method, a bench and a group have the same colour, marker and name everywhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snas import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

WIDTH = 5.5
"""Width of a figure in inches: the text width of the paper."""

ROOM = 0.85
"""Height in inches that a figure leaves below its panels for a legend of five lines."""
FOLD = 38
"""Most letters of a line of a legend that names methods."""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#808080"
"""Okabe and Ito's colours, which colour-blind readers tell apart, and a grey."""


@dataclass(frozen=True)
class Look:
    """How a curve is drawn."""

    colour: str
    marker: str


METHODS = {
    "random": Look(GREY, "x"),
    "neural_predictor": Look(BLUE, "s"),
    "siamese": Look(ORANGE, "^"),
    "siamese+nsam": Look(GREEN, "D"),
    "siamese+nsam+bts": Look(VERMILLION, "o"),
    "siamese+nsam+fts": Look(PURPLE, "P"),
    "brp_nas": Look(SKY, "v"),
    "gp": Look(BLACK, "*"),
    "gp+select": Look("#882255", "<"),
    "gp+fidelity": Look("#332288", "d"),
    "gp+synflow": Look("#A6761D", "H"),
    "gp+coarse": Look("#17BECF", "2"),
    "gp+rerank": Look("#7570B3", "3"),
    "siamese+nsam+gp": Look("#66A61E", "4"),
    "evolution": Look("#8C564B", "+"),
    "local_search": Look("#F781BF", "1"),
}
OTHERS = (
    Look("#999933", ">"),
    Look("#44AA99", "h"),
    Look("#AA4499", "p"),
    Look("#117733", "X"),
    Look(YELLOW, "8"),
)
"""For methods that a user has added and for ablations, in the order in which a figure shows them."""

STROKES, THIN = "x+1234", "1234"
"""Markers without an area, and those of them that are hard to see at the size of the others."""

GROUPS = (VERMILLION, BLUE, GREY, BLACK)
"""Groups of accuracy, best first."""
SPACES = {
    "tiny_nanobench": Look(VERMILLION, "o"),
    "tiny_nasbench201": Look(BLUE, "s"),
    "nasbench201": Look(GREY, "D"),
}
BENCHES = (Look(GREEN, "^"), Look(ORANGE, "v"), Look(PURPLE, "P"), Look(SKY, "X"), Look(BLACK, "d"))
"""Of spaces that are not in :data:`SPACES`, and of benches beside the first two."""

WORDS = {
    "random": "Random search",
    "neural_predictor": "Neural predictor",
    "siamese": "Siamese",
    "nsam": "NSAM",
    "bts": "BTS",
    "fts": "FTS",
    "brp_nas": "BRP-NAS",
    "gp": "GP",
    "fidelity": "codes",
    "select": "few epochs",
    "coarse": "coarse accuracy",
    "rerank": "Siamese-Ranking",
    "evolution": "Evolution",
    "local_search": "Local search",
}
SETTINGS = {"lambda": "λ", "labels=select": "fair protocol", "qv=shared": "shared q and v"}
"""Settings of variants as figures print them."""
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet16-120": "ImageNet16-120",
    "fashion_mnist": "Fashion-MNIST",
    "digits": "digits",
}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#404040",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "snas",  # ids in the SVG do not change from run to run
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with this style; nothing global stays changed."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user does not change the figures
        settings: Any = matplotlib.rcParams
        settings.update(RC)
        yield


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int, **options: Any) -> None:
    """Put a legend below the panels, in at most ``columns`` columns and in no more than fit into the figure's width.

    The width is measured, not estimated by the number of letters: what is too wide would be cut off at both sides. A legend
    that is higher than :data:`ROOM` makes the figure so much higher: it would be taken from the panels.
    """
    for ncols in range(columns, 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=ncols, **options)
        extent = legend.get_window_extent()
        if ncols == 1 or extent.width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + max(extent.height / figure.dpi - ROOM, 0))
            return
        legend.remove()


def fold(title: str, width: int) -> str:
    """Return a title in lines of at most ``width`` letters: a long name would press panels or columns of a legend aside.

    >>> fold("Siamese + NSAM + BTS", 30), fold("a_name_of_a_user + NSAM", 18)
    ('Siamese + NSAM + BTS', 'a_name_of_a_user +\\nNSAM')
    """
    return textwrap.fill(title, width, break_on_hyphens=False)


def aside(ax: Axes, points: float) -> Transform:
    """Return the transform of data that stand ``points`` of the page to the right of their place: of things that would hide
    one another, and nobody takes a few points for another value."""
    from matplotlib.transforms import ScaledTranslation

    return ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def abreast(count: int, step: float = 4.0) -> list[float]:
    """Return how many points of the page each of ``count`` things stands aside, about their middle.

    >>> abreast(3), abreast(1)
    ([-4.0, 0.0, 4.0], [0.0])
    """
    return [(place - (count - 1) / 2) * step for place in range(count)]


def count_in(ax: Axes, x: Any, y: Any) -> None:
    """Let the limits of an axis hold the points of :func:`aside`, which are not counted by themselves."""
    import numpy as np

    ax.update_datalim(np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)]))
    ax.autoscale_view()


def whole_ticks(panels: Sequence[Axes]) -> None:
    """Put the ticks of an axis of architectures, which the panels share, at whole numbers; where all stands at one, there."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    low, high = min(ax.dataLim.x0 for ax in panels), max(ax.dataLim.x1 for ax in panels)
    for ax in panels:
        ax.xaxis.set_major_locator(
            FixedLocator([low])
            if low == high
            else MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True)
        )


def marker_size(look: Look) -> float:
    """Return the size of a single point's marker: those of strokes alone would be lost on their bar."""
    return 6.0 if look.marker in STROKES else 4.0


def curve_marker(look: Look) -> dict[str, Any]:
    """Return the marker of a curve, thin ones larger, as matplotlib takes it."""
    return {"marker": look.marker, "ms": 5.5 if look.marker in THIN else 3.5}


def order(methods: Iterable[str]) -> list[str]:
    """Return the distinct methods in the order of legends: the paper's first, then others by name."""
    found = set(methods)
    return [*(m for m in METHODS if m in found), *sorted(found - set(METHODS))]


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each method; the paper's are fixed, others take :data:`OTHERS` in turn, then with other markers."""
    given = order(methods)
    others = [method for method in given if method not in METHODS]
    return {m: METHODS[m] if m in METHODS else _other(others.index(m)) for m in given}


def _other(place: int) -> Look:
    again, number = divmod(place, len(OTHERS))
    return Look(OTHERS[number].colour, OTHERS[(number + again) % len(OTHERS)].marker)


def method_title(method: str) -> str:
    """Return a method's name for legends.

    >>> method_title("siamese+nsam+bts")
    'Siamese + NSAM + BTS'
    >>> method_title("siamese+bts@lambda=0.5,labels=select")
    'Siamese + BTS (λ = 0.5, fair protocol)'
    """
    base, _, settings = method.partition("@")
    title = " + ".join(WORDS.get(part, part) for part in base.split("+"))
    if not settings:
        return title
    return f"{title} ({', '.join(SETTINGS.get(part, _setting(part)) for part in settings.split(','))})"


def _setting(text: str) -> str:
    key, _, value = text.partition("=")
    if key == "code":
        return f"{value} as code"
    return f"{SETTINGS.get(key, key)} = {value}"


def plain(frame: Any) -> Any:
    """Return the rows of a table's methods without variants (``method@…``), which have a table of their own; all rows
    where there is nothing else."""
    variants = frame["method"].str.contains("@", regex=False)
    return frame if variants.all() else frame[~variants]


def space_title(space: str) -> str:
    """Return the title of a registered space; the name itself where it is not registered."""
    from snas.spaces import REGISTRY

    try:
        return str(REGISTRY.load(space).title)
    except InputError:
        return space


def dataset_title(dataset: str) -> str:
    """Return an image set's name for figures."""
    return DATASETS.get(dataset, dataset)


def space_looks(spaces: Iterable[str]) -> dict[str, Look]:
    """Return the look of each space; unknown ones take :data:`BENCHES` in turn."""
    found = list(dict.fromkeys(spaces))
    others = [space for space in found if space not in SPACES]
    return {s: SPACES[s] if s in SPACES else BENCHES[others.index(s) % len(BENCHES)] for s in found}


def bench_looks(benches: Sequence[str]) -> dict[str, Look]:
    """Return the look of each of the benches that a panel shows side by side, in the order given."""
    turn = (*list(SPACES.values())[:2], *BENCHES)
    return {bench: turn[place % len(turn)] for place, bench in enumerate(dict.fromkeys(benches))}
