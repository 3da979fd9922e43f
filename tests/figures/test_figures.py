"""Every registered figure: with data and without, its CSV against what is drawn, the same bytes twice."""

import itertools
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from snas import InputError, figures, spaces, tables
from snas.analysis import published
from snas.analysis.correlations import correlations
from snas.analysis.costs import COSTS, costs
from snas.analysis.counting import CELLS, COUNTS, WITHIN, write_counts
from snas.analysis.fewest import NEEDED, PAIRED
from snas.analysis.inputs import Bench
from snas.analysis.points import POINTS
from snas.analysis.statistics import SCHEMAS
from snas.figures import READS, REGISTRY, SUFFIXES, draw, style
from snas.figures.diagrams import draw_cell, example_cell
from snas.figures.sources import Sources
from snas.spaces.space import ARCHITECTURES
from snas.tables import Column, Schema

BENCHES = {
    "tiny_nanobench-cifar10": 300,
    "nasbench201-cifar10": 2200,
    "nasbench201-cifar100": 500,
    "tiny_nasbench201-cifar10": 300,
}


@pytest.fixture(scope="session")
def data(synthetic, made_once):
    """All tables of a run that has everything."""
    folder = made_once("everything", lambda folder: make_everything(synthetic, folder))
    return [folder / name for name in json.loads((folder / "tables.json").read_text())]


def make_everything(synthetic, folder):
    extra = {"siamese+nsam+fts": (30,), "brp_nas": (30, 70), "siamese@c=10": (30, 70)}
    made = synthetic.make_run(
        folder, BENCHES, extra=extra, budgets=(10, 30, 70), tops=(5, 10, 20, 30, 70), runs=4
    )
    write_counts(folder / "counts.parquet")
    table = spaces.load("tiny_nanobench").table()
    tables.write(folder / "space.parquet", table, ARCHITECTURES, {"space": "tiny_nanobench", "seconds": 1.0})
    searches = sorted(folder.glob("*/siamese_*.parquet"))
    tables.write(
        folder / "costs.parquet", costs({"spaces": [folder / "space.parquet"], "search": searches}), COSTS
    )
    tables.write(folder / "paired.parquet", pd.DataFrame(paired_rows()), PAIRED, {})
    analysed = [path for of_bench in made.values() for name, path in of_bench.items() if name in SCHEMAS]
    names = [str(path.relative_to(folder)) for path in analysed]
    names += [f"{name}.parquet" for name in ("counts", "space", "costs", "paired")]
    (folder / "tables.json").write_text(json.dumps(names))


@pytest.fixture(scope="session")
def small(synthetic, tmp_path_factory):
    """The tables of runs with one budget: four runs of all methods on two benches, and one run of one method."""
    folder = tmp_path_factory.mktemp("small")
    two = {"tiny_nanobench-digits": 200, "nasbench201-cifar10": 300}
    extra = {"siamese+nsam+fts": (20,), "siamese@c=10": (20,)}
    made = {
        "methods": synthetic.make_run(
            folder / "a", two, extra=extra, budgets=(20,), tops=(5, 10, 20), runs=4
        ),
        "alone": synthetic.make_run(
            folder / "b",
            {"tiny_nanobench-digits": 200},
            methods=("siamese+nsam+bts",),
            extra={"siamese+nsam+bts@c=10": (20,)},
            budgets=(20,),
            tops=(5, 10, 20),
            runs=1,
        ),
    }
    return {
        name: [path for of_bench in run.values() for table, path in of_bench.items() if table in SCHEMAS]
        for name, run in made.items()
    }


@pytest.fixture(scope="session")
def few(synthetic, tmp_path_factory):
    """The tables of an ordinary run whose largest K is 100, as the default's: what is beyond a price of 100 is too dear."""
    extra = {"siamese+nsam+fts": (100,), "siamese@c=10": (20, 50)}
    made = synthetic.make_run(
        tmp_path_factory.mktemp("few"),
        {"tiny_nanobench-digits": 300, "nasbench201-cifar10": 400},
        extra=extra,
        budgets=(20, 50, 100),
        tops=(10, 20, 100),
        top=20,
        runs=3,
    )
    return [path for of_bench in made.values() for name, path in of_bench.items() if name in SCHEMAS]


def paired_rows():
    """A curve of whole prices and a predictor's point, on two benches."""
    for bench in ("tiny_nanobench-digits", "nasbench201-cifar10"):
        for method, prices in (("random", range(1, 31)), ("siamese", (23.5,))):
            for price in prices:
                yield {
                    "bench": bench, "removed": 0, "reference": "gp", "method": method, "price": float(price), "runs": 4,
                    "regret": 0.02, "reference_regret": 0.01, "difference": 0.01, "low": -0.001, "high": 0.02,
                }  # fmt: skip


@pytest.fixture(scope="session")
def digits(synthetic, tmp_path_factory):
    """The tables of a run that has Tiny-NanoBench on digits only, with one budget."""
    folder = tmp_path_factory.mktemp("digits")
    made = synthetic.make_run(
        folder, {"tiny_nanobench-digits": 200}, budgets=(20,), tops=(7,), runs=3, codes=False
    )
    return [path for name, path in made["tiny_nanobench-digits"].items() if name in SCHEMAS]


@pytest.fixture(scope="session")
def drawn(data, made_once):
    """All figures of the run that has everything."""
    return made_once("drawn", lambda folder: [draw(name, data, folder / name) for name in REGISTRY])


def shown(name, paths, **options):
    with style.styled():
        return REGISTRY.load(name)(Sources(paths), **options)


def csv(stem) -> pd.DataFrame:
    return pd.read_csv(stem.with_name(stem.name + ".csv"))


@pytest.mark.parametrize("name", REGISTRY.names())
def test_a_figure_draws_what_the_run_has(drawn, name):
    assert {path.name for path in drawn.glob(f"{name}.*")} == {name + suffix for suffix in SUFFIXES}
    assert len(csv(drawn / name)) > 0
    notes = json.loads((drawn / f"{name}.json").read_text())
    assert notes["title"]
    assert notes["facts"]
    with Image.open(drawn / f"{name}.png") as image:
        assert round(image.info["dpi"][0]) == 200
        assert np.asarray(image.convert("L")).min() < 100
    assert (drawn / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (drawn / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", REGISTRY.names())
def test_a_figure_without_data_says_how_to_get_it(tmp_path, name, digits):
    draw(name, [], tmp_path / name)
    header = pd.read_csv(tmp_path / f"{name}.csv")
    assert header.empty
    notes = json.loads((tmp_path / f"{name}.json").read_text())
    assert re.search(r"run |add |give ", notes["missing"][0])
    with Image.open(tmp_path / f"{name}.png") as image:
        assert np.asarray(image.convert("L")).min() < 100
    draw(name, digits, tmp_path / "part")  # a run with little: a card or a part, never an error


@pytest.mark.parametrize("name", REGISTRY.names())
def test_a_card_has_the_columns_of_the_figure(drawn, tmp_path, name):
    draw(name, [], tmp_path / name)
    assert list(csv(tmp_path / name).columns) == list(csv(drawn / name).columns)


@pytest.mark.parametrize("name", ["fig4", "fig7", "fig9", "table1"])
def test_the_same_data_give_the_same_bytes(data, drawn, tmp_path, name):
    for path in draw(name, data, tmp_path / name):
        assert path.read_bytes() == (drawn / path.name).read_bytes(), path.suffix


def test_every_figure_says_what_it_reads():
    assert set(READS) == set(REGISTRY.names())


def test_a_figure_without_the_line_of_what_it_reads_is_a_sentence(monkeypatch):
    monkeypatch.delitem(READS, "fig5")
    with pytest.raises(InputError, match="figure 'fig5' has no line in READS"):
        figures.reads("fig5")


def lines(axes, *, bars: bool = False) -> set[tuple[float, float]]:
    """Return the points of the curves of a panel: not of the dotted optimum, nor of bars unless asked for."""
    parts = {id(part) for box in axes.containers for part in (box[0], *box[1])}
    return {
        (round(float(x), 9), round(float(y), 9))
        for line in axes.get_lines()
        if line.get_linestyle() != ":" and (bars or id(line) not in parts)
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def points(frame, x="trained", y="mean") -> set[tuple[float, float]]:
    return {(round(float(a), 9), round(float(b), 9)) for a, b in zip(frame[x], frame[y], strict=True)}


def spreads(axes) -> set[tuple[float, float, float]]:
    """Return place, lower and upper end of all bands and bars of a panel."""
    found = set()
    for part in axes.collections:
        if isinstance(part, PolyCollection):
            for x, y in ((path.vertices[:, 0], path.vertices[:, 1]) for path in part.get_paths()):
                found |= {(place, y[x == place].min(), y[x == place].max()) for place in x}
        elif isinstance(part, LineCollection):
            found |= {(bar[0, 0], *sorted(bar[:, 1])) for bar in part.get_segments() if len(bar)}
    return {tuple(round(float(number), 9) for number in bar) for bar in found if np.isfinite(bar).all()}


def intervals(x, low, high) -> set[tuple[float, float, float]]:
    return {tuple(round(float(n), 9) for n in bar) for bar in zip(x, low, high, strict=True)}


def panel(drawing, letter):
    """Return the panel whose title begins with the letter."""
    (found,) = [ax for ax in drawing.figure.axes if ax.get_title(loc="left").startswith(f"({letter})")]
    return found


def optima(paths) -> dict[str, float]:
    found = [tables.metadata(path) for path in paths if path.name == "points.parquet"]
    return {facts["bench"]: facts["optimum"] for facts in found}


def of_bench(paths, bench):
    return [path for path in paths if path.parent.name == bench]


def changed(paths, name, folder, change, **more):
    """Write the first table called ``name`` of ``paths`` once more, changed, with more metadata; return its path."""
    path = next(path for path in paths if path.stem == name)
    facts = {key: value for key, value in tables.metadata(path).items() if key != "schema"}
    frame = change(tables.read(path, SCHEMAS[name]).copy())
    tables.write(folder / f"{name}.parquet", frame, SCHEMAS[name], facts | more)
    return folder / f"{name}.parquet"


@pytest.mark.parametrize("name", ["fig5", "fig6", "fig7"])
def test_bands_are_the_spread_of_the_table(data, name):
    """Of ours one standard deviation, a quarter of it beside a published curve, as that one's bars."""
    drawing = shown(name, data)
    for letter, rows in drawing.data.groupby("panel"):
        expected = set()
        for _, of_one in rows.groupby("bench"):
            ours, theirs = (of_one[of_one["source"] == source] for source in ("ours", "published"))
            half = ours["sd"] / 4 if len(theirs) else ours["sd"]
            expected |= intervals(ours["trained"], ours["mean"] - half, ours["mean"] + half)
            read = theirs.dropna(subset=["quarter_sd"])
            half = read["quarter_sd"]
            expected |= intervals(read["trained"], read["mean"] - half, read["mean"] + half)
        assert spreads(panel(drawing, letter)) == expected
    theirs = published.curves()["published_quarter_sd"].dropna()
    shown_theirs = drawing.data.loc[drawing.data["source"] == "published", "quarter_sd"].dropna()
    assert set(shown_theirs) <= set(theirs)


@pytest.mark.parametrize("name", ["fig5", "fig6"])
def test_bars_at_single_points_are_the_spread_of_the_table(small, name):
    drawing = shown(name, small["methods"])
    for letter, rows in drawing.data.groupby("panel"):
        ends = intervals(rows["trained"], rows["mean"] - rows["sd"], rows["mean"] + rows["sd"])
        assert spreads(panel(drawing, letter)) == ends


@pytest.mark.parametrize("name", ["fig5", "fig6"])
def test_the_axis_on_the_right_is_the_regret_to_the_dotted_optimum(data, name):
    drawing = shown(name, data)
    drawing.figure.draw_without_rendering()
    for letter, rows in drawing.data.groupby("panel"):
        ax, best = panel(drawing, letter), optima(data)[rows["bench"].iloc[0]]
        dotted = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
        assert [set(line.get_ydata()) for line in dotted] == [{best}]
        (right,) = ax.child_axes
        for regret in (0.0, 0.1):
            here, there = ((0, regret), (0, best - regret / 100))
            assert right.transData.transform(here)[1] == pytest.approx(ax.transData.transform(there)[1])
        ours = rows["source"] == "ours"
        assert set(rows.loc[ours, "optimum"]) == {best}
        assert rows.loc[~ours, "optimum"].isna().all()
        assert rows.loc[~ours, "n"].eq(100).all()


def test_figure_7_has_the_optimum_of_each_light_space_in_its_colour(data, tmp_path):
    """Also where no search has found it."""
    (tmp_path / "one").mkdir()
    mine = of_bench(data, "tiny_nanobench-cifar10")
    given = [path for path in data if path.name == "points.parquet" and path not in mine]
    given.append(changed(mine, "points", tmp_path / "one", lambda frame: frame, optimum=0.97))
    drawing = shown("fig7", given)
    light = {"tiny_nanobench-cifar10", "tiny_nasbench201-cifar10"}
    assert set(drawing.data["bench"]) == light
    looks = style.space_looks(["tiny_nanobench", "tiny_nasbench201"])
    wanted = {(looks[bench.partition("-")[0]].colour, optima(given)[bench]) for bench in light}
    assert (looks["tiny_nanobench"].colour, 0.97) in wanted
    for ax in drawing.figure.axes[:2]:
        dotted = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
        assert {(line.get_color(), line.get_ydata()[0]) for line in dotted} == wanted
    labels = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert {"Tiny-NanoBench · CIFAR-10, n = 4", "Tiny-NASBench-201 · CIFAR-10, n = 4"} <= labels


@pytest.mark.parametrize("name", ["fig5", "fig6", "fig7", "ranks", "differences"])
def test_variants_are_in_no_curve(data, name):
    assert not shown(name, data).data["method"].str.contains("@").any()


@pytest.mark.parametrize("name", ["fig5", "fig6", "ranks"])
def test_the_legend_says_the_number_of_runs(data, name):
    labels = {text.get_text() for text in shown(name, data).figure.legends[0].get_texts()}
    assert {"Siamese (n = 4)", "Siamese + NSAM + BTS (n = 4)"} <= labels


def test_titles_of_figure_6_say_what_is_fixed(data):
    drawing = shown("fig6", data)
    for letter, rows in drawing.data.groupby("panel"):
        title = panel(drawing, letter).get_title(loc="left").splitlines()[1]
        grows = "K" if rows["budget"].nunique() == 1 else "N"
        fixed = f"N = {rows['budget'].iloc[0]}" if grows == "K" else f"K = {rows['top'].iloc[0]}"
        assert title == f"{fixed}, {grows} grows"
        assert rows["top" if grows == "N" else "budget"].nunique() == 1


def test_a_method_that_is_published_only_is_in_figure_6(data, tmp_path):
    """BRP-NAS has a curve in the paper's figure 6b, and in 6a none."""
    mine = of_bench(data, "nasbench201-cifar100")
    points_ = changed(mine, "points", tmp_path, lambda frame: frame[frame["method"] != "brp_nas"])
    drawing = shown("fig6", [points_, *(path for path in mine if path.name == "comparison.parquet")])
    rows = drawing.data[drawing.data["method"] == "brp_nas"]
    assert set(rows["source"]) == {"published"}
    assert set(rows["panel"]) == {"b"}
    labels = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert "BRP-NAS (published only)" in labels


def test_ranks_are_their_csv(data):
    drawing = shown("ranks", data)
    for letter, rows in drawing.data.groupby("panel"):
        ax = panel(drawing, letter)
        assert lines(ax) == points(rows, "budget", "spearman")
        assert set(zip(rows["method"], rows["budget"], strict=True)) >= {("siamese", 10), ("siamese", 70)}
        assert rows["n"].eq(4).all()
    assert drawing.figure.axes[0].get_ylabel() == "mean Spearman correlation"


def test_each_panel_of_differences_has_its_pair(data):
    """In the order of legends, each with its intervals and a line at no difference."""
    drawing = shown("differences", data)
    panels = [ax for ax in drawing.figure.axes if ax.get_visible()]
    pairs = list(dict.fromkeys(zip(drawing.data["method"], drawing.data["reference"], strict=True)))
    known = list(style.METHODS)
    pairs.sort(key=lambda pair: (known.index(pair[0]), pair[1]))
    assert len(panels) == len(pairs)
    assert drawing.data["kind"].eq("score").all()
    for ax, (method, reference) in zip(panels, pairs, strict=True):
        own = reference.startswith(f"{method} (")
        other = "its coarse ranking" if own else style.method_title(reference)
        assert ax.get_title(loc="left").replace("\n", " ") == f"{style.method_title(method)} − {other}"
        rows = drawing.data[(drawing.data["method"] == method) & (drawing.data["reference"] == reference)]
        assert spreads(ax) == intervals(rows["budget"], 100 * rows["low"], 100 * rows["high"])
        bars = {
            tuple(xy)
            for box in ax.containers
            for xy in np.column_stack(box[0].get_data()).astype(float).round(9)
        }
        assert bars == points(rows.assign(percent=100 * rows["difference"]), "budget", "percent")
        assert any(set(line.get_ydata()) == {0} for line in ax.get_lines())


@pytest.mark.parametrize("name", ["fig5", "fig6"])
def test_curves_are_their_csv(data, name):
    drawing = shown(name, data)
    panels = [ax for ax in drawing.figure.axes if ax.get_visible() and ax.get_xlabel()]
    letters = sorted(drawing.data["panel"].unique())
    assert len(panels) == len(letters) == {"fig5": 4, "fig6": 8}[name]
    for ax, letter in zip(panels, letters, strict=True):
        rows = drawing.data[drawing.data["panel"] == letter]
        assert points(rows) == lines(ax)


def test_published_curves_lie_only_over_equal_axes(data, digits):
    drawing = shown("fig6", data)
    theirs = drawing.data[drawing.data["source"] == "published"]
    assert set(theirs["bench"]) == {"nasbench201-cifar100"}
    everything = published.curves()
    wanted = everything[everything["figure"].isin(["6a", "6b"])]
    assert len(theirs) == len(wanted)
    assert not (shown("fig6", digits).data["source"] == "published").any()
    light = shown("fig7", data).data
    assert set(light.loc[light["source"] == "published", "bench"]) == {
        "tiny_nanobench-cifar10",
        "tiny_nasbench201-cifar10",
    }
    assert not (shown("fig7", digits).data["source"] == "published").any()


def test_fig4_does_not_ask_for_what_is_there_on_other_images(data, tmp_path):
    """Tiny-NanoBench on digits has nothing to stand beside; Tiny-NASBench-201 on CIFAR-10 is in the run all the same."""
    paths = [p for p in data if p.name == "scatter.parquet"]
    nano = next(p for p in paths if "tiny_nanobench" in str(p))
    facts = tables.metadata(nano) | {"dataset": "digits", "bench": "tiny_nanobench-digits"}
    tables.write(
        tmp_path / "scatter.parquet", tables.read(nano, SCHEMAS["scatter"]), SCHEMAS["scatter"], facts
    )
    others = [p for p in paths if p != nano]
    alone = [p for p in others if "tiny_nasbench201" not in str(p)]
    nothing = [p for p in alone if "nasbench201" not in str(p)]
    for given, asks, adds in ((others, False, False), (alone, False, True), (nothing, True, False)):
        said = " ".join(shown("fig4", [tmp_path / "scatter.parquet", *given]).missing)
        assert "(b) Tiny-NASBench-201 on digits is not in this run." in said
        assert ("run again with --config nasbench201=PATH" in said) == asks
        assert ("added by tiny_nasbench201: true" in said) == adds


def test_fig7_shows_mean_and_regret(data):
    drawing = shown("fig7", data)
    for column, letter in enumerate("ab"):
        rows = drawing.data[drawing.data["panel"] == letter]
        assert points(rows) <= lines(drawing.figure.axes[column])
        ours = rows[rows["source"] == "ours"].assign(percent=100 * rows["regret"])
        assert lines(drawing.figure.axes[2 + column]) == points(ours, y="percent")
        assert set(ours["top"]) == {(5, 10)[column]}


@pytest.mark.parametrize("name", ["fig1", "fig4", "fig8"])
def test_scatters_are_their_csv(data, name):
    drawing = shown(name, data)
    panels = drawing.figure.axes
    for ax, letter in zip(panels, "abcd", strict=False):
        rows = drawing.data[drawing.data["panel"] == letter]
        offsets = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
        low, high = ax.get_ylim()
        offsets = offsets[(offsets[:, 1] >= low) & (offsets[:, 1] <= high)]
        assert {tuple(row) for row in offsets.round(9)} == points(rows, "x", "accuracy")


def test_panels_of_differences_stand_in_the_order_of_legends(data, tmp_path):
    def renamed(frame):
        names = frame[["method", "reference"]].replace({r"^siamese\b(?!\+)": "gp"}, regex=True)
        return frame.assign(**names)

    path = changed(of_bench(data, "nasbench201-cifar100"), "differences", tmp_path, renamed)
    panels = [ax for ax in shown("differences", [path]).figure.axes if ax.get_visible()]
    firsts = list(dict.fromkeys(ax.get_title(loc="left").splitlines()[0] for ax in panels))
    assert firsts[0] == "Neural predictor"
    assert firsts[-1] == "GP"


def colours_of(ax) -> dict[str, np.ndarray]:
    """Return the points of a scatter by their colour."""
    found: dict[str, np.ndarray] = {}
    for part in ax.collections:
        found[to_hex(part.get_facecolor()[0]).upper()] = np.asarray(part.get_offsets())
    return found


def test_figure_4_marks_what_is_light_and_counts(data):
    drawing = shown("fig4", data)
    left, right = drawing.figure.axes
    colours = colours_of(left)
    assert colours[style.BLUE][:, 0].max() < 35 <= colours[style.GREY][:, 0].min()
    for ax in (left, right):
        for part in ax.collections:
            assert part.get_label().endswith(f", n = {len(part.get_offsets()):,}")
        assert ax.get_xlabel() == "multiply-accumulates (millions)"
    low, high = right.get_ylim()
    left_end, right_end = right.get_xlim()
    everything = np.concatenate([np.asarray(part.get_offsets()) for part in right.collections])
    below = int((everything[:, 1] < low).sum())
    assert below > 0
    assert right.get_legend().get_title().get_text() == f"{below} below the axis"
    quarter, three = np.quantile(everything[:, 1], [0.25, 0.75])
    assert low < quarter - 3 * (three - quarter), "broken networks only"
    assert everything[:, 1].max() < high
    assert left_end < everything[:, 0].min()
    assert everything[:, 0].max() < right_end


def test_panels_of_figure_1_are_their_groups(data):
    """With the group's own correlation above; the best group in the first colour."""
    drawing = shown("fig1", data)
    found = tables.read(
        next(p for p in data if p.match("*/tiny_nanobench-cifar10/correlations.parquet")), SCHEMAS["correlations"]
    )  # fmt: skip
    found = found[found["against"] == "code"]
    for letter, (kind, low, high) in zip(
        "abc", (("all", 0, 1), ("zoom", 0.9, 0.95), ("zoom", 0.85, 0.9)), strict=True
    ):
        (row,) = found[(found["kind"] == kind) & (found["low"] == low)].itertuples()
        title = panel(drawing, letter).get_title(loc="left")
        assert title == f"({letter}) {row.label}\nρ = {row.spearman:.2f}, n = {row.n}".replace("-", "−")
        rows = drawing.data[drawing.data["panel"] == letter]
        assert len(rows) == row.n
        assert rows["accuracy"].between(low, high).all()
    assert drawing.figure.axes[0].get_ylabel() == "accuracy, CIFAR-10"
    colours = colours_of(drawing.figure.axes[0])
    best, middle, rest = (colours[colour][:, 1] for colour in style.GROUPS[:3])
    assert best.min() >= 0.9 > middle.max() > middle.min() >= 0.7 > rest.max()
    labels = {line.get_label(): line.get_color() for line in drawing.figure.legends[0].get_lines()}
    assert labels["accuracy 0.90–0.95"] == style.GROUPS[0]


def test_what_is_better_than_the_papers_best_group_is_black(data, tmp_path):
    mine = of_bench(data, "tiny_nanobench-cifar10")
    raised = lambda frame: frame.assign(accuracy=frame["accuracy"] + 0.012)
    path = changed(mine, "scatter", tmp_path, raised)
    frame = tables.read(path, SCHEMAS["scatter"])
    rho = correlations(frame, Bench("tiny_nanobench-cifar10", frame, tables.metadata(path)))
    colours = colours_of(
        shown("fig8", [path, changed(mine, "correlations", tmp_path, lambda _: rho)]).figure.axes[1]
    )
    assert colours[style.BLACK][:, 1].min() >= 0.95
    assert 0.9 <= colours[style.GROUPS[0]][:, 1].min() <= colours[style.GROUPS[0]][:, 1].max() < 0.95


@pytest.mark.parametrize(
    ("code", "accuracy", "wanted"),
    [
        ([0.05, 0.3], [0.6, 0.1], {style.VERMILLION: (0.0, 0.25, 0.11, 0.8)}),
        ([0.12, 0.3], [0.6, 0.1], {style.BLUE: (0.11, 0.45, 0.18, 0.8)}),
        ([0.05, 0.3], [0.1, 0.6], {}),
    ],
)
def test_the_papers_regions_of_figure_8_are_outlined_where_they_hold_a_point(
    data, tmp_path, code, accuracy, wanted
):
    mine = of_bench(data, "nasbench201-cifar100")
    two = lambda frame: frame.head(2).assign(code=code, accuracy=accuracy)
    ax = shown("fig8", [changed(mine, "scatter", tmp_path, two)]).figure.axes[0]
    found = {to_hex(patch.get_edgecolor()).upper(): patch.get_bbox().extents for patch in ax.patches}
    assert set(found) == set(wanted)
    for colour, extents in wanted.items():
        assert found[colour] == pytest.approx(extents)


def test_a_correlation_is_found_by_its_bounds(digits, tmp_path):
    """However the table of an older run writes the label of a range."""
    made = {path.name: path for path in digits}
    paths = [made["scatter.parquet"], tmp_path / "correlations.parquet"]
    frame, facts = tables.read(made["correlations.parquet"], SCHEMAS["correlations"]), tables.metadata(made["correlations.parquet"])  # fmt: skip
    facts.pop("schema")
    tables.write(paths[1], frame.assign(label=frame["label"] + " or so"), SCHEMAS["correlations"], facts)
    titles = lambda paths: [t.get_text() for ax in shown("fig8", paths).figure.axes for t in ax.texts]
    assert titles(paths) == titles([made["scatter.parquet"], made["correlations.parquet"]])
    assert any("ρ = " in text for text in titles(paths))


def test_fig1_names_its_space_and_its_codes(data):
    """Of another space than the paper's figure it says so."""
    elsewhere = [path for path in data if "tiny_nanobench" not in str(path)]
    for paths, heading in (
        (data, "Tiny-NanoBench · CIFAR-10"),
        (elsewhere, "NAS-Bench-201 · CIFAR-10; the paper's figure is of Tiny-NanoBench"),
    ):
        drawing = shown("fig1", paths)
        assert drawing.figure.get_suptitle() == heading
        assert drawing.figure.axes[1].get_xlabel().endswith("\nmade-up losses of epochs 1, 2, 3")
        assert any("run with space: tiny_nanobench" in text for text in drawing.missing) == (
            paths is elsewhere
        )


def test_fig4_takes_tiny_nasbench201_from_the_whole(data):
    without = [path for path in data if "tiny_nasbench201" not in str(path)]
    drawing = shown("fig4", without)
    part = drawing.data[drawing.data["group"] == "Tiny-NASBench-201"]
    assert set(part["bench"]) == {"nasbench201-cifar10"}
    assert len(part) > 0
    assert part["x"].max() < 35


def test_parts_that_are_missing_are_named(digits):
    drawing = shown("fig4", digits)
    assert any("nasbench201=PATH" in text for text in drawing.missing)
    assert set(drawing.data["panel"]) == {"b"}
    eight = shown("fig8", digits)  # this run has no codes
    assert {text[:3] for text in eight.missing} == {"(a)", "(b)", "(c)"}
    assert set(eight.data["panel"]) == {"d"}
    five = shown("fig5", digits)
    assert five.missing == ["(a) the run has no K = 20; K = 7 is shown."]


@pytest.mark.parametrize("name", ["fig1", "fig4", "fig8"])
def test_a_bench_whose_trainings_all_failed_is_named(digits, tmp_path, name):
    path = next(p for p in digits if p.name == "scatter.parquet")
    frame, facts = tables.read(path, SCHEMAS["scatter"]), tables.metadata(path)
    facts.pop("schema")
    frame[["accuracy", "code"]] = np.nan
    tables.write(tmp_path / "scatter.parquet", frame, SCHEMAS["scatter"], facts)
    drawing = shown(name, [tmp_path / "scatter.parquet"])
    assert drawing.data.empty
    assert drawing.missing


def test_every_proxy_has_a_row_of_figure_8(digits, tmp_path):
    """The paper has one; a second one that somebody adds is drawn below."""
    path = next(p for p in digits if p.name == "scatter.parquet")
    frame, facts = tables.read(path, SCHEMAS["scatter"]), tables.metadata(path)
    facts.pop("schema")
    frame["log10_norms"] = frame["log10_synflow"] + 1
    tables.write(tmp_path / "scatter.parquet", frame, SCHEMAS["scatter"], facts)
    drawing = shown("fig8", [tmp_path / "scatter.parquet"])
    assert [ax.get_xlabel() for ax in drawing.figure.axes[3::2]] == ["log₁₀ synflow", "log₁₀ norms"]
    x = drawing.data.groupby("panel")["x"].mean()
    assert x["f"] == pytest.approx(x["d"] + 1)
    assert drawing.title == "Estimation code, synflow and norms against accuracy"


def test_correlations_above_the_panels_are_those_of_the_table(data):
    figure = shown("fig8", data).figure
    benches, measures = ("nasbench201-cifar100", "tiny_nanobench-cifar10"), ("code", "log10_synflow")
    for ax, (against, bench) in zip(figure.axes, itertools.product(measures, benches), strict=True):
        path = next(p for p in data if p.match(f"*/{bench}/correlations.parquet"))
        found = tables.read(path, SCHEMAS["correlations"])
        texts = [text.get_text() for text in ax.texts]
        rows = found[(found["against"] == against) & found["kind"].isin(["all", "group"])]
        assert texts == [
            f"{row.label}: ρ = {row.spearman:.2f}, n = {row.n}".replace("-", "−") for row in rows.itertuples()
        ]


def test_table1_has_the_ratios(data):
    drawing = shown("table1", data, budget=30)
    frame = drawing.data.set_index("bench")
    timing = tables.read(
        next(p for p in data if p.match("*/nasbench201-cifar10/timing.parquet")), SCHEMAS["timing"]
    )
    seconds = timing[timing["budget"] == 30].set_index("method")["mean"]
    row = frame.loc["nasbench201-cifar10"]
    assert row["ratio"] == pytest.approx(seconds["siamese+nsam+fts"] / seconds["siamese+nsam+bts"])
    assert row["published_ratio"] == pytest.approx(816.43 / 140.62)
    assert frame.loc["tiny_nanobench-cifar10", "published_ratio"] == pytest.approx(115.67 / 67.22)
    assert np.isnan(frame.loc["tiny_nasbench201-cifar10", "published_ratio"])
    texts = {text.get_text() for text in drawing.figure.axes[0].texts}
    assert {"1.72×", "5.81×", f"{row['ratio']:.2f}×"} <= texts


@pytest.mark.parametrize(
    ("have", "said"),
    [
        ({"fts": [100], "bts": [30, 70]}, "add siamese+nsam+bts at N = 100, where siamese+nsam+fts is, to"),
        ({"fts": [], "bts": [30, 70]}, "add siamese+nsam+fts at N = 70, where siamese+nsam+bts is, to"),
        ({"fts": [], "bts": []}, "add siamese+nsam+fts and siamese+nsam+bts, both at N = 100, to"),
    ],
)
def test_table1_says_what_it_lacks(data, tmp_path, have, said):
    """Whichever of the two is missing, and at which N."""
    path = next(p for p in data if p.match("*/nasbench201-cifar10/timing.parquet"))
    frame, facts = tables.read(path, SCHEMAS["timing"]), tables.metadata(path)
    facts.pop("schema")
    row = frame[frame["method"] == "siamese+nsam+fts"].head(1)
    rows = [
        row.assign(method=f"siamese+nsam+{name}", budget=n) for name, budgets in have.items() for n in budgets
    ]
    rows.append(row.assign(method="random"))
    tables.write(tmp_path / "timing.parquet", pd.concat(rows, ignore_index=True), SCHEMAS["timing"], facts)
    (missing,) = shown("table1", [tmp_path / "timing.parquet"]).missing
    assert missing == f"NAS-Bench-201 · CIFAR-10: {said} extra_searches."


@pytest.mark.parametrize("tops", [[5, 10], [10, 5], [10]])
def test_fig7_has_the_published_points_of_each_k_in_whatever_order(data, tops):
    everything = published.curves()
    theirs = everything[everything["figure"].isin(["7a", "7b"]) & everything["fixed_value"].isin(tops)]
    found = shown("fig7", data, tops=tops).data
    assert (found["source"] == "published").sum() == len(theirs) > 0


def test_a_correlation_that_nobody_could_know_is_no_lack_of_searches(data, tmp_path):
    path = next(p for p in data if p.name == "points.parquet" and "tiny_nanobench" in str(p))
    facts = tables.metadata(path) | {"optimum": None, "known_accuracies": 70}
    nothing = {name: np.nan for name in ("spearman", "kendall", "coarse_spearman", "coarse_kendall")}
    tables.write(tmp_path / "points.parquet", tables.read(path, POINTS).assign(**nothing), POINTS, facts)
    (said,) = shown("ranks", [tmp_path / "points.parquet"]).missing
    assert "truth: on_demand" in said


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("siamese@c=10", "Label, selection and score are one value here, so these numbers are optimistic."),
        ("siamese@labels=select", "one value here (but for the fair protocol), so"),
    ],
)
def test_headline_says_of_which_numbers_they_are_optimistic(data, tmp_path, method, sentence):
    path = next(p for p in data if p.name == "points.parquet" and "nasbench201-cifar100" in str(p))
    frame = tables.read(path, POINTS)
    frame["method"] = frame["method"].replace("siamese@c=10", method)
    tables.write(tmp_path / "points.parquet", frame, POINTS, tables.metadata(path))
    assert sentence in " ".join(shown("headline", [tmp_path / "points.parquet"]).facts)
    only = frame[frame["method"].eq("siamese@labels=select")]
    if len(only):
        tables.write(tmp_path / "points.parquet", only, POINTS, tables.metadata(path))
        assert "optimistic" not in " ".join(shown("headline", [tmp_path / "points.parquet"]).facts)


def test_headline_prints_its_numbers(data):
    drawing = shown("headline", data)
    texts = " ".join(text.get_text() for text in drawing.figure.axes[0].texts)
    for row in drawing.data.itertuples():
        assert f"{row.mean:.4f} ± {row.sd:.4f}" in texts
    joined = drawing.data.dropna(subset=["published"])
    assert {"nasbench201-cifar100", "tiny_nanobench-cifar10", "tiny_nasbench201-cifar10"} == set(
        joined["bench"]
    )
    one = joined[
        (joined["bench"] == "nasbench201-cifar100")
        & (joined["method"] == "siamese")
        & (joined["budget"] == 30)
    ]
    assert one["published"].tolist() == [0.7193]


def test_the_regret_stands_next_to_its_mean(data):
    """Behind the fair score it would be taken for that one's."""
    drawing = shown("headline", data)
    lines_ = [words(line) for line in cells(drawing)]
    of_regret = [text for line in lines_ for text in line if "regret" in text]
    assert all(re.fullmatch(r"regret \.\d{4}; fair \.\d{4}", text) for text in of_regret)
    bare = lambda value: f"{value:.4f}".removeprefix("0")
    main = lambda row: f"{row.mean:.4f} ± {row.sd:.4f}"
    for (_, method), rows in drawing.data.sort_values("budget").groupby(["bench", "method"]):
        wanted = [
            [style.method_title(method), *map(main, rows.itertuples())],
            [f"regret {bare(r.regret)}; fair {bare(r.fair_mean)}" for r in rows.itertuples()],
            [f"publ. {bare(r.published)}" for r in rows.itertuples() if r.published > 0],
        ]
        wanted = [line for line in wanted if line]
        found = [[text for text in line if text != "–"] for line in lines_]
        assert any(found[place : place + len(wanted)] == wanted for place in range(len(found))), wanted


def test_budgets_of_a_table_are_spread_over_those_that_are_there():
    """At most four: those that are wished for, or of many the first, the last and what lies between."""
    from snas.figures.tabular import _choose

    assert _choose([10, 30, 70, 100], [30, 70], 4) == [30, 70]
    assert _choose(range(10, 80, 10), [], 4) == [10, 30, 50, 70]
    assert _choose([10, 20], [99], 4) == [10, 20]


def cells(drawing) -> list[dict[float, Any]]:
    """Return the texts of a table, line by line, by where they stand from the left."""
    found: dict[float, dict[float, Any]] = {}
    for text in drawing.figure.axes[0].texts:
        x, y = text.get_position()
        if text.get_text():
            found.setdefault(round(y, 3), {})[round(x, 3)] = text
    return [dict(sorted(line.items())) for _, line in sorted(found.items())]


def words(line) -> list[str]:
    return [text.get_text() for text in line.values()]


@pytest.mark.parametrize(("runs", "bold"), [(9, False), (10, True)])
def test_ablations_are_their_csv(data, tmp_path, runs, bold):
    """Each difference under its N; bold where the interval leaves out zero, on either side."""
    signs = lambda frame: frame.assign(
        runs=runs, low=frame["difference"] - 1e-4, high=frame["difference"] + 1e-4
    )
    mine = of_bench(data, "nasbench201-cifar100")
    drawing = shown("ablations", [changed(mine, "differences", tmp_path, signs)])
    _, head, *body = cells(drawing)
    where = {text.get_text(): x for x, text in head.items()}
    rows = {words(line)[0]: line for line in body}
    score = drawing.data[drawing.data["kind"] == "score"]
    assert {row.low > 0 for row in score.itertuples()} == {row.high < 0 for row in score.itertuples()} == {True, False}  # fmt: skip
    for row in score.itertuples():
        own = row.reference.startswith(f"{row.method} (")
        other = "its coarse ranking" if own else style.method_title(row.reference)
        cell = rows[f"{style.method_title(row.method)} − {other}"][where[f"N = {row.budget}"]]
        numbers = [f"{100 * value:+.3f}" for value in (row.difference, row.low, row.high)]
        assert cell.get_text() == "{} [{}, {}]".format(*numbers).replace("-", "−")
        clear = row.low > 0 or row.high < 0
        assert cell.get_fontweight() == ("bold" if bold and clear else "normal")


def test_the_table_of_agreement_is_its_csv(data):
    drawing = shown("agreement", data)
    _, heads, *body = cells(drawing)
    assert words(heads)[2:] == ["points", "n", "mean", "range", "ours", "published"]
    assert len(body) == len(drawing.data)
    said = lambda value: "–" if np.isnan(value) else f"{100 * value:+.2f}".replace("-", "−")
    for line, row in zip(body, drawing.data.itertuples(), strict=True):
        assert words(line)[1:] == [
            style.method_title(row.method), str(row.points), str(row.n), said(row.difference),
            f"{said(row.lowest)} to {said(row.highest)}", said(row.lead), said(row.published_lead),
        ]  # fmt: skip
        assert row.lowest <= row.difference <= row.highest


def test_the_table_of_costs_has_its_columns(data, tmp_path):
    row = tables.read(next(p for p in data if p.name == "costs.parquet"), COSTS).tail(1)
    row = row.assign(
        files=3, trainings=1234, codes=56, seconds=125.0, cpu_seconds=9000.0, gpu_seconds=42.0, peak_memory_mb=2048.0
    )  # fmt: skip
    tables.write(tmp_path / "costs.parquet", row, COSTS)
    heads, line = cells(shown("costs", [tmp_path / "costs.parquet"]))
    assert dict(zip(words(heads), words(line), strict=True)) == {
        "stage": "total", "files": "3", "trainings": "1,234", "codes": "56", "time of all jobs": "2 min 5 s", "on a GPU": "42.0 s",
        "peak (MiB)": "2,048",
    }  # fmt: skip


def test_table1_counts_the_runs_that_both_have(data, tmp_path):
    mine = of_bench(data, "nasbench201-cifar10")
    fewer = lambda frame: frame.assign(runs=np.where(frame["method"] == "siamese+nsam+fts", 2, 4))
    drawing = shown("table1", [changed(mine, "timing", tmp_path, fewer)], budget=30)
    assert drawing.data["runs"].tolist() == [2]
    (row,) = drawing.data.itertuples()
    assert [f"{row.fts_seconds:.2f}", f"{row.bts_seconds:.2f}"] == words(cells(drawing)[-1])[4:6]


@pytest.mark.parametrize("name", ["agreement", "ablations"])
def test_tables_of_differences_say_their_unit(data, name):
    texts = [text.get_text() for text in shown(name, data).figure.axes[0].texts]
    assert any("(percentage points)" in text for text in texts)


def test_differences_are_their_csv(data):
    drawing = shown("differences", data)
    drawn_points = set().union(*(lines(ax, bars=True) for ax in drawing.figure.axes))
    heights = {round(y, 9) for _, y in drawn_points}
    assert {round(100 * value, 9) for value in drawing.data["difference"]} <= heights


def test_the_example_cell_has_every_operation():
    frame = spaces.load("tiny_nanobench").table()
    example = example_cell(frame)
    assert set(example["operations"]) == {"dwconv3x3", "conv1x1", "attention", "expand", "split"}
    reach = lambda cell: max(b - a for a, b in zip(cell.edges[::2], cell.edges[1::2], strict=True))
    others = [cell for cell in frame.itertuples() if set(cell.operations) == set(example["operations"])]
    assert reach(example) == max(map(reach, others)) > 1


def test_the_counting_chart_shows_the_counts(data):
    drawing = shown("fig10", data)
    flow, bars = drawing.figure.axes
    texts = " ".join(text.get_text() for text in flow.texts)
    for number in ("2,083", "1,120", "963", "35 million"):
        assert number in texts
    assert "34.7886 M and 35.0057 M" in drawing.facts[0]
    counts = tables.read(next(p for p in data if p.name == "counts.parquet"), COUNTS).set_index("step")
    numbers = {text.get_text() for text in bars.texts}
    for box, step in zip(bars.containers, (CELLS, WITHIN), strict=True):
        rows = counts.loc[step].sort_values("nodes")
        assert [bar.get_height() for bar in box] == rows["count"].tolist()
        assert [bar.get_x() + bar.get_width() / 2 for bar in box] == pytest.approx(rows["nodes"].tolist())
        assert {f"{count:,}" for count in rows["count"] if count >= 60} <= numbers


def reached(ax) -> list[tuple[int, int]]:
    """Return (from, to) of every arrow of a drawn cell, as places of its boxes from the left; the sum is the last place."""
    boxes = [patch.get_extents().get_points() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    middles = sorted(float(ax.transData.inverted().transform(box)[:, 0].mean()) for box in boxes)
    middles += [float(line.get_xdata()[0]) for line in ax.get_lines() if line.get_marker() == "+"]
    place = lambda x: min(range(len(middles)), key=lambda at: abs(middles[at] - x))
    bent = {
        line.get_xdata()[-1]: line.get_xdata()[0] for line in ax.get_lines() if len(line.get_xdata()) == 3
    }
    found = []
    for patch in ax.patches:
        if isinstance(patch, FancyArrowPatch):
            (left, _), (right, _) = patch._posA_posB
            found.append((place(bent.get(right, left)), place(right)))
    return sorted(found)


@pytest.mark.parametrize(
    ("operations", "edges"),
    [
        (["split", "conv1x1", "expand"], [(0, 1), (0, 3), (1, 2), (2, 3)]),
        (["nor_conv_3x3", "skip_connect"], [(0, 2)]),  # the second is fed by the input, too
        ([], []),
    ],
)
def test_the_arrows_of_a_cell_are_its_edges(operations, edges):
    """Of its input to what nothing else feeds, and to the sum behind its output."""
    ax = Figure(figsize=(5, 1)).add_axes((0, 0, 1, 1))
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 2)
    assert draw_cell(ax, operations, edges) == ["input", *operations, "output"]
    boxes = [patch.get_extents() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(operations) + 2
    assert all(ax.bbox.x0 <= box.x0 < box.x1 <= ax.bbox.x1 for box in boxes)
    assert all(one.x1 < two.x0 for one, two in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)))
    last = len(operations)
    fed = {target for _, target in edges}
    wanted = [(a + 1, b + 1) for a, b in edges]
    wanted += [(0, node + 1) for node in range(last + 1) if node not in fed]
    wanted += [(last + 1, last + 2), (0, last + 2)]
    assert reached(ax) == sorted(wanted)


def test_the_networks_of_figure_9(data):
    drawing = shown("fig9", data)
    parts = drawing.data.groupby("part")["text"].agg(list)
    assert [text for text in parts["meta-architecture"] if "Stage" in text] == [
        "Stage 1 f = b", "Stage 2 f = 2b", "Stage 3 f = 4b",
    ]  # fmt: skip
    frame = spaces.load("tiny_nanobench").table()
    example = example_cell(frame)
    assert parts["example cell"] == ["input", *example["operations"], "output"]
    assert f"with {example['macs'] / 1e6:.2f} million multiply-accumulates" in drawing.facts[0]
    assert example["macs"] <= 35e6
    pairs = zip(example["edges"][::2], example["edges"][1::2], strict=True)
    drawn = [edge for edge in reached(drawing.figure.axes[3]) if edge[1] <= len(example["operations"]) + 1]
    assert drawn == sorted([(0, 1), *((a + 1, b + 1) for a, b in pairs)])
    skip = next(line for line in drawing.figure.axes[1].get_lines() if len(line.get_xdata()) == 3)
    first = drawing.figure.axes[1].texts[2]
    assert (first.get_text(), skip.get_xdata()[0]) == ("Nano Cell", first.get_position()[0])


def test_colours_and_markers_are_distinct():
    looks = style.looks([*style.METHODS, "siamese+bts", "my_own", "another"])
    assert len({look.colour for look in looks.values()}) == len(looks)
    assert len({look.marker for look in looks.values()}) == len(looks)
    assert len(set(style.GROUPS)) == len(style.GROUPS)
    spaces = style.space_looks(["tiny_nanobench", "tiny_nasbench201", "nasbench201", "own", "other"])
    for looks in (spaces, style.bench_looks(list("abcdefg"))):
        assert len({look.colour for look in looks.values()}) == len(looks)
        assert len({look.marker for look in looks.values()}) == len(looks)
    assert set(style.bench_looks([str(n) for n in range(20)])) == {str(n) for n in range(20)}


def test_published_curves_are_told_by_their_markers(data):
    """Who does not see the colours tells them by their method's marker, hollow."""
    drawing = shown("fig6", data)
    looks = style.looks([*style.METHODS])
    hollow = [line for ax in drawing.figure.axes for line in ax.get_lines() if line.get_mfc() == "white"]
    theirs = drawing.data[drawing.data["source"] == "published"]
    assert len(hollow) == len(theirs.groupby(["panel", "bench", "method"]))
    assert {line.get_marker() for line in hollow} == {looks[m].marker for m in theirs["method"]}


def test_variants_of_the_table_are_told_by_their_strokes(tmp_path):
    drawing = shown("needed", write_needed(tmp_path / "needed.parquet"))
    handles = drawing.figure.legends[0].get_lines()
    assert len({(line.get_linestyle(), str(line._unscaled_dash_pattern)) for line in handles}) == 3


def test_differences_say_their_unit_once(data):
    figure = shown("differences", data).figure
    assert figure.get_supylabel() == "difference (percentage points)"
    assert not any(ax.get_ylabel() for ax in figure.axes)


def test_a_method_looks_the_same_in_any_company():
    assert style.looks(["siamese", "zzz"])["siamese"] == style.looks(["random", "siamese"])["siamese"]


def test_methods_that_a_user_has_added_differ_in_colour_or_marker():
    many = [f"mine_{i}" for i in range(20)]
    looks = style.looks([*many, *style.METHODS])
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)


def test_no_text_lies_over_another_or_outside(data, digits):
    """Titles, labels and legends of a figure do not meet and are not cut off."""
    for name in (
        "fig1",
        "fig4",
        "fig5",
        "fig6",
        "fig7",
        "fig8",
        "ranks",
        "fewest",
        "fewest_seconds",
        "needed",
    ):
        for paths in (data, digits):
            figure = shown(name, paths).figure
            with style.styled():
                figure.draw_without_rendering()
            page = figure.bbox
            boxes = [
                (text.get_text(), text.get_window_extent())
                for ax in figure.axes
                if ax.get_visible()
                for text in (ax._left_title, ax.xaxis.label, ax.yaxis.label)
                if text.get_text()
            ] + [("legend", legend.get_window_extent()) for legend in figure.legends]
            for place, (text, box) in enumerate(boxes):
                assert box.x0 >= page.x0 - 1, (name, text)
                assert box.x1 <= page.x1 + 1, (name, text)
                for other, second in boxes[place + 1 :]:
                    assert not box.padded(-1).overlaps(second.padded(-1)), (name, text, other)


@pytest.mark.parametrize(("length", "columns"), [(5, 3), (20, 2), (60, 1)])
def test_a_legend_below_takes_as_many_columns_as_fit(length, columns):
    with style.styled():
        figure = Figure(figsize=(style.WIDTH, 2))
        style.legend_below(figure, [Line2D([], [], label="m" * length) for _ in range(6)], 3)
        figure.draw_without_rendering()
        (legend,) = figure.legends
    box = legend.get_window_extent()
    assert legend._ncols == columns
    assert columns == 1 or (box.x0 >= 0 and box.x1 <= figure.bbox.x1)


@pytest.fixture(scope="session")
def crowded(digits, tmp_path_factory):
    """The tables of a run with twenty methods, one of which has a long name."""
    folder = tmp_path_factory.mktemp("crowded")
    names = [
        "a_method_of_a_user_with_a_very_long_name+nsam+bts+more",
        *(f"own_method_{n}" for n in range(14)),
    ]
    for table in ("points", "differences"):
        path = next(path for path in digits if path.name == f"{table}.parquet")
        frame, facts = tables.read(path, SCHEMAS[table]), tables.metadata(path)
        facts.pop("schema")
        more = [frame[frame["method"] == "siamese"].assign(method=name) for name in names]
        frame = pd.concat([frame, *more], ignore_index=True)
        tables.write(folder / f"{table}.parquet", frame, SCHEMAS[table], facts)
    return [folder / "points.parquet", folder / "differences.parquet"]


@pytest.mark.parametrize("name", ["fig5", "fig6", "ranks", "differences"])
def test_many_methods_and_long_names_leave_the_panels_their_room(crowded, name):
    with style.styled():
        figure = REGISTRY.load(name)(Sources(crowded)).figure
        figure.draw_without_rendering()
    panels = [ax for ax in figure.axes if ax.get_visible()]
    sizes = np.array([(box.width, box.height) for box in (ax.get_window_extent() for ax in panels)])
    assert (sizes / figure.dpi > 0.85).all()
    for ax in panels:
        title = ax._left_title.get_window_extent()
        assert title.x1 <= figure.bbox.x1 + 1, title
        others = [other._left_title.get_window_extent() for other in panels if other is not ax]
        assert not any(title.overlaps(box) for box in others if box.width), name


def test_a_long_name_in_a_table_does_not_reach_the_numbers(crowded):
    figure = shown("headline", crowded).figure
    figure.draw_without_rendering()
    lines: dict[int, list[Any]] = {}
    for text in figure.axes[0].texts:
        if text.get_text():
            box = text.get_window_extent()
            lines.setdefault(round(box.y0 + box.y1), []).append(box)
    for boxes in lines.values():
        assert not any(one.overlaps(two) for place, one in enumerate(boxes) for two in boxes[place + 1 :])


def test_a_label_of_the_bench_stands_in_every_title(synthetic, data, tmp_path):
    """Accuracies of another source than the official one carry its name."""
    path = next(p for p in data if p.match("*/nasbench201-cifar10/points.parquet"))
    frame, facts = tables.read(path, SCHEMAS["points"]), tables.metadata(path)
    facts.pop("schema")
    tables.write(tmp_path / "points.parquet", frame, SCHEMAS["points"], facts | {"label": "other source"})
    figure = shown("fig5", [tmp_path / "points.parquet"]).figure
    assert "NAS-Bench-201 · CIFAR-10 (other source)" in figure.axes[0].get_title(loc="left")
    second = next(p for p in data if p.match("*/nasbench201-cifar100/points.parquet"))
    for name in ("fig5", "fig6", "ranks"):
        title = shown(name, [tmp_path / "points.parquet", second]).figure.axes[0].get_title(loc="left")
        assert title.startswith("(a) NAS-Bench-201 · CIFAR-10\nother source"), name


def test_a_table_beside_another_is_that_of_its_bench(data):
    sources = Sources(data)
    found = {source.bench: sources.beside("differences", source) for source in sources.all("points")}
    assert set(found) == set(BENCHES)
    assert all(set(frame["bench"]) == {bench} for bench, frame in found.items())


def test_of_several_benches_of_a_space_the_first_given_is_taken(data):
    """Where none is of the image sets that a figure would rather have."""
    mine = [
        path for path in data if path.name == "scatter.parquet" and path.parent.name.startswith("nasbench201")
    ]
    for paths in (mine, mine[::-1]):
        assert Sources(paths).first("scatter", "nasbench201", ["digits"]).bench == paths[0].parent.name
        assert Sources(paths).first("scatter", "nasbench201", ["digits", "cifar100"]).dataset == "cifar100"


@pytest.mark.parametrize(
    ("facts", "says", "not_"),
    [
        ({}, "one code costs 0.3 % of a complete training (0.1 s beside 5 s, mean of the networks).", "about"),
        ({"code_seconds": None, "truth_seconds": 1000}, "(about 3 s of 1,000 s, mean of the networks).", "beside"),
        ({"truth_seconds": None}, "one code costs 0.3 % of a complete training.", " s"),
        ({"known_accuracies": 70, "optimum": None}, "accuracies known of 70, which a search asked for", "!"),
        ({"known_accuracies": 70}, "5 s, mean of the networks).", "accuracies known of"),
    ],
)  # fmt: skip
def test_the_sentence_on_sources_says_what_a_code_costs_and_what_is_known(data, tmp_path, facts, says, not_):
    path = changed(of_bench(data, "tiny_nanobench-cifar10"), "points", tmp_path, lambda frame: frame, **facts)
    (source,) = Sources([path]).all("points")
    assert says in source.sources()
    assert not_ not in source.sources().partition("one code costs")[2]


def test_an_unknown_figure_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"unknown figure 'fig11'.*known: fig1, fig4"):
        draw("fig11", [], tmp_path / "x")


def test_a_foreign_table_is_refused(tmp_path):
    path = tmp_path / "foreign.parquet"
    tables.write(path, pd.DataFrame({"a": [1]}), Schema("mine", {"a": Column("int64", "a number")}))
    with pytest.raises(
        InputError, match=r"foreign\.parquet: table 'mine' is none that figures read; known: architectures"
    ):
        draw("fig5", [path], tmp_path / "x")
    with pytest.raises(InputError, match=r"absent\.parquet: no such file"):
        draw("fig5", [tmp_path / "absent.parquet"], tmp_path / "x")


def test_drawing_leaves_the_users_settings_alone(data, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw("ranks", data, tmp_path / "ranks")
    assert dict(matplotlib.rcParams) == before


def test_differences_to_the_gaussian_process_are_curves_and_points(data):
    figure = shown("fewest_paired", data).figure
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 2
    for axes in panels:
        assert {(float(price), 1.0) for price in range(1, 31)} <= lines(axes)
        bars = [container for container in axes.containers if container[0] is not None]
        assert [float(bar[0].get_xdata()[0]) for bar in bars] == [23.5], "a predictor is a point"


@pytest.mark.parametrize("name", ["fewest", "fewest_seconds"])
def test_fewer_trainings_show_all_that_is_no_dearer_and_name_the_rest(few, name):
    drawing = shown(name, few)
    methods = {"random", "neural_predictor", "siamese", "siamese+nsam", "siamese+nsam+bts"}
    for _, rows in drawing.data.groupby("bench"):
        assert set(rows["method"]) == methods, "predictors with N + K up to 100 are in the figure"
        points = rows[rows["method"] != "random"]
        assert set(points["top"]) == {20}
        assert set(points["trained"]) == {40, 70}
    assert len(drawing.missing) == 2
    for text in drawing.missing:
        assert re.match(r"(Tiny-NanoBench · digits|NAS-Bench-201 · CIFAR-10): dearer than the 100 ", text)
        for title in ("Neural predictor at 120", "Siamese at 120", "Siamese + NSAM + FTS at 120"):
            assert title in text
        assert "Random" not in text
    assert any("K = 20" in text for text in drawing.facts)
    assert any(text.endswith("not in the figure: Siamese (c = 10).") for text in drawing.facts)
    assert not shown(name, few, most=200).missing


def test_a_curve_that_goes_on_is_said_to_be_cut(few):
    drawing = shown("fewest", few, most=60)
    assert drawing.data["price"].max() <= 60
    assert "Cut at a price of 60, but longer in the table of the analysis: Random search." in drawing.facts
    dearer = shown("fewest", few, most=30)  # no predictor is left
    assert set(dearer.data["method"]) == {"random"}
    assert "Neural predictor at 40, 70, 120, Siamese at 40, 70, 120" in dearer.missing[0]


def test_what_a_bench_lacks_for_regret_and_time_is_said(few, tmp_path):
    tables_of = {path.parent.name: path for path in few if path.name == "progress.parquet"}
    changed = []
    for bench, change in (("tiny_nanobench-digits", "times"), ("nasbench201-cifar10", "rows")):
        frame, facts = tables.read(tables_of[bench], SCHEMAS["progress"]), tables.metadata(tables_of[bench])
        facts.pop("schema")
        if change == "times":
            frame["seconds"] = np.nan
        else:
            frame, facts = frame.head(0), facts | {"optimum": None}
        changed.append(tmp_path / f"{bench}.parquet")
        tables.write(changed[-1], frame, SCHEMAS["progress"], facts)
    drawing = shown("fewest", changed)
    assert set(drawing.data["bench"]) == {"tiny_nanobench-digits"}
    assert drawing.missing[0].startswith("NAS-Bench-201 · CIFAR-10: regret needs all accuracies")
    card = shown("fewest_seconds", changed)
    assert card.data.empty
    assert "its source has no times of training" in card.missing[0]
    assert "regret needs all accuracies" in card.missing[0]


def panels_of(drawing):
    """Return the panels of a drawing, laid out: without axes of regret on the right and places that are not used."""
    drawing.figure.draw_without_rendering()
    return [ax for ax in drawing.figure.axes if ax.get_visible() and ax.get_lines()]


@pytest.mark.parametrize("name", ["fig5", "fig6", "ranks"])
def test_methods_with_one_budget_stand_beside_each_other(small, name):
    """Bars at one x would hide one another; their data stay at that x, and the axis has no other number."""
    drawing = shown(name, small["methods"])
    seen = 0
    for ax in panels_of(drawing):
        marked = [
            line
            for line in ax.get_lines()
            if line.get_marker() not in ("None", "_")
            and line.get_linestyle() == "-"
            and len(line.get_xdata()) == 1
        ]
        if len(marked) < 4:
            continue  # a panel in which K grows
        seen += 1
        (place,) = {float(line.get_xdata()[0]) for line in marked}
        assert ax.get_xticks().tolist() == [place]
        assert place == int(place)
        shown_at = sorted(
            72 / ax.figure.dpi * float(line.get_transform().transform([(place, line.get_ydata()[0])])[0, 0])
            for line in marked
        )
        assert min(np.diff(shown_at)) > 4
        low, high = ax.get_xlim()
        left, right = ax.transData.transform([(low, 0), (high, 0)])[:, 0] * 72 / ax.figure.dpi
        assert left < shown_at[0] < shown_at[-1] < right
    assert seen == 2


@pytest.mark.parametrize("name", ["fig5", "fig6", "fig7", "ranks", "differences"])
@pytest.mark.parametrize("run", ["methods", "alone"])
def test_an_axis_of_architectures_has_whole_numbers_and_holds_all(small, name, run):
    drawing = shown(name, small[run])
    for ax in panels_of(drawing):
        ticks = ax.get_xticks()
        assert np.array_equal(ticks, np.round(ticks)), ticks
    if name in ("fig5", "fig6"):
        for ax, (_, rows) in zip(panels_of(drawing), drawing.data.groupby("panel"), strict=True):
            low, high = ax.get_ylim()
            spread = rows["sd"].fillna(0)
            assert low < (rows["mean"] - spread).min()
            assert (rows["mean"] + spread).max() < high


def test_benches_of_differences_keep_their_n(small):
    """What stands beside each other is moved on the page, not along the axis of N."""
    drawing = shown("differences", small["methods"])
    for ax in panels_of(drawing):
        bars = [box for box in ax.containers if box[0] is not None]
        assert {float(x) for box in bars for x in box[0].get_xdata()} == {20.0}
        assert len(bars) == 2
        one, two = (box[0].get_transform().transform([(20.0, 0.0)])[0, 0] for box in bars)
        assert abs(one - two) * 72 / ax.figure.dpi > 3


def test_differences_say_what_few_runs_cannot_tell(small, data, tmp_path):
    """As the table of ablations, which has such differences not in bold."""
    said = lambda paths: any("fewer than 10 runs" in text for text in shown("differences", paths).facts)
    assert said(small["methods"])
    assert not said(small["alone"]), "no bar at all"
    path = next(path for path in data if path.name == "differences.parquet")
    frame, facts = tables.read(path, SCHEMAS["differences"]), tables.metadata(path)
    facts.pop("schema")
    tables.write(tmp_path / "differences.parquet", frame.assign(runs=20), SCHEMAS["differences"], facts)
    assert not said([tmp_path / "differences.parquet"])


@pytest.mark.parametrize("name", ["fig5", "fig6", "fig7", "differences", "fewest"])
def test_one_run_has_no_spread(small, name):
    drawing = shown(name, small["alone"])
    assert any("n = 1 run, so that no spread over runs is shown." in text for text in drawing.facts)
    assert not any("standard deviation" in text or "interval" in text for text in drawing.facts)
    for ax in panels_of(drawing):
        ends = [path.vertices for box in ax.containers for bar in box[2] for path in bar.get_paths()]
        assert not any(np.isfinite(end).all() for end in ends), "no bar of no length"


def test_the_axis_of_one_accuracy_is_no_wider_than_a_percent_or_two(small, tmp_path):
    """A point at the optimum: by itself the axis would go from 0.9 to 1.0 and beyond."""
    path = next(path for path in small["alone"] if path.name == "points.parquet")
    frame, facts = tables.read(path, SCHEMAS["points"]), tables.metadata(path)
    facts.pop("schema")
    frame["mean"] = facts["optimum"]
    tables.write(tmp_path / "points.parquet", frame, SCHEMAS["points"], facts)
    ax = panels_of(shown("fig5", [tmp_path / "points.parquet"]))[0]
    low, high = ax.get_ylim()
    assert low < facts["optimum"] < high
    assert high - low < 0.02


def test_a_point_of_one_run_among_others_has_no_band(data, tmp_path):
    """Drawn as a band of no width it would be taken for certainty."""
    path = next(p for p in data if p.match("*/nasbench201-cifar100/points.parquet"))
    frame, facts = tables.read(path, SCHEMAS["points"]), tables.metadata(path)
    facts.pop("schema")
    frame = frame[frame["method"] == "siamese"]
    frame.loc[frame["budget"] == 70, ["sd", "quarter_sd", "se"]] = np.nan
    frame.loc[frame["budget"] == 70, "runs"] = 1
    tables.write(tmp_path / "points.parquet", frame, SCHEMAS["points"], facts)
    drawing = shown("fig5", [tmp_path / "points.parquet"])
    ax = panels_of(drawing)[0]
    assert not any(isinstance(part, PolyCollection) for part in ax.collections)
    bars = [path.vertices for box in ax.containers for bar in box[2] for path in bar.get_paths()]
    finite = [bar for bar in bars if np.isfinite(bar).all() and len(bar)]
    assert len(finite) == 2
    assert any("(none where n = 1)" in text for text in drawing.facts)


def test_two_benches_of_one_space_look_different_in_figure_7(data, tmp_path):
    """Tiny-NASBench-201 on images of this run, and from its published results."""
    path = next(p for p in data if p.match("*/tiny_nasbench201-cifar10/points.parquet"))
    given = [path]
    frame, facts = tables.read(path, SCHEMAS["points"]), tables.metadata(path)
    facts.pop("schema")
    for name in ("digits", "tiny_nanobench"):
        space = "tiny_nanobench" if name == "tiny_nanobench" else "tiny_nasbench201"
        other = f"{space}-digits"
        (tmp_path / name).mkdir()
        given.append(tmp_path / name / "points.parquet")
        said = facts | {"bench": other, "space": space, "dataset": "digits"}
        tables.write(given[-1], frame.assign(bench=other), SCHEMAS["points"], said)
        handles = shown("fig7", given).figure.legends[0].legend_handles[: len(given)]
        assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == len(given)


def test_no_column_of_figure_7_is_cut_by_the_first(data, tmp_path):
    path = next(p for p in data if p.match("*/tiny_nanobench-cifar10/points.parquet"))
    frame, facts = tables.read(path, SCHEMAS["points"]), tables.metadata(path)
    facts.pop("schema")
    frame.loc[frame["top"] == 10, "regret"] = 0.2
    tables.write(tmp_path / "points.parquet", frame, SCHEMAS["points"], facts)
    drawing = shown("fig7", [tmp_path / "points.parquet"])
    assert all(ax.get_ylim()[1] > 20 for ax in drawing.figure.axes[2:4])


def test_tables_say_what_few_runs_can_tell(small):
    """No interval of one run; no bold difference of less than ten; a narrow table for one budget."""
    alone = shown("ablations", small["alone"])
    texts = [text.get_text() for text in alone.figure.axes[0].texts]
    assert any(re.fullmatch(r"[+−]\d\.\d{3}", text) for text in texts)
    assert not any("[" in text for text in texts)
    four = shown("ablations", small["methods"])
    numbers = [text for text in four.figure.axes[0].texts if "[" in text.get_text()]
    clear = four.data[(four.data["kind"] == "score") & ((four.data["low"] > 0) | (four.data["high"] < 0))]
    assert len(clear) > 0
    assert all(text.get_fontweight() == "normal" for text in numbers)
    headline = shown("headline", small["alone"])
    assert "Where n = 1 there is no standard deviation." in headline.facts
    assert "Where n = 1 there is no standard deviation." not in shown("headline", small["methods"]).facts
    assert headline.figure.get_figwidth() < 6


def write_needed(path, runs=4):
    """A method with three variants of the table, one with the whole alone, and one that never has the optimum."""
    rows = [
        {
            "bench": "tiny_nanobench-digits", "removed": removed, "method": method, "runs": runs, "budget": 50, "price_end": 50.0,
            "found": 1.0, **{f"{kind}_{name}": price for kind in ("trained", "price") for name, price in prices.items()},
        }
        for method, levels, factor in (
            ("gp", (0, 1, 4), 1.0), ("gp batch=16", (0,), 2.0), ("gp batch=4", (0,), 1.5), ("random", (0,), np.nan),
        )
        for removed in levels
        for prices in [{"low": 5 * factor, "median": 8 * factor, "high": 12 * factor, "worst": 20 * factor}]
    ]  # fmt: skip
    tables.write(path, pd.DataFrame(rows), NEEDED, {})
    return [path]


def test_bars_stand_about_the_name_of_their_method(tmp_path):
    """However many variants of the table a method has: not in a slot of all the variants that others have."""
    (ax,) = shown("needed", write_needed(tmp_path / "needed.parquet")).figure.axes
    names = {text.get_text(): y for text, y in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)}
    assert list(names) == ["Random search", "GP", "GP (batch=4)", "GP (batch=16)"]
    bars = sorted({float(line.get_ydata()[0]) for line in ax.get_lines()})
    nearest = {
        name: [y for y in bars if min(names, key=lambda n: abs(names[n] - y)) == name] for name in names
    }
    assert [len(found) for found in nearest.values()] == [1, 3, 1, 1]
    for name, found in nearest.items():
        assert np.mean(found) == pytest.approx(names[name]), name
    bottom, top = ax.get_ylim()
    assert top < bars[0] < bars[-1] < bottom
    low, high = ax.get_xlim()
    assert low < 5 < 50 < high
    assert {"5", "10", "20", "50"} <= {text.get_text() for text in ax.get_xticklabels()}


def test_bars_and_marks_of_what_is_needed_are_the_quantiles(tmp_path):
    """Where the run in a place has not found the optimum, an arrow stands at the end of the search."""
    (path,) = write_needed(tmp_path / "needed.parquet")
    frame = tables.read(path, NEEDED)
    late = frame["method"].eq("gp batch=4")
    frame.loc[late, ["price_high", "price_worst"]] = np.nan
    tables.write(path, frame[frame["removed"] == 0].reset_index(drop=True), NEEDED, {})
    (ax,) = shown("needed", [path]).figure.axes
    names = {text.get_text(): y for text, y in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)}
    marks: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for line in ax.get_lines():
        name = next(name for name, y in names.items() if y == pytest.approx(line.get_ydata()[0]))
        marks[name][line.get_marker()] = list(map(float, line.get_xdata()))
    assert marks == {
        "GP": {"None": [5, 12], "o": [8], "|": [20]},
        "GP (batch=4)": {"None": [7.5, 50], "o": [12], ">": [50]},
        "GP (batch=16)": {"None": [10, 24], "o": [16], "|": [40]},
        "Random search": {"None": [50, 50], ">": [50]},
    }
    frame[["price_end", "price_low"]] = [21.0, 6.0]
    tables.write(path, frame[frame["method"] == "gp"].reset_index(drop=True), NEEDED, {})
    (ax,) = shown("needed", [path]).figure.axes
    low, high = ax.get_xlim()
    assert high >= 10 * low, "a decade at least"
    assert low < 6
    assert high > 21


def test_any_number_of_variants_of_the_table_has_bars(tmp_path):
    """A study may take away the best in as many steps as it likes."""
    (path,) = write_needed(tmp_path / "needed.parquet")
    frame = tables.read(path, NEEDED)
    frame = pd.concat([frame[frame["removed"] == 0].assign(removed=k) for k in range(12)], ignore_index=True)
    tables.write(path, frame, NEEDED, {})
    drawing = shown("needed", [path])
    assert len(drawing.data) == len(frame)
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert labels == ["whole table", *(f"best {k} removed" for k in range(1, 12))]


def test_a_variant_of_the_table_looks_the_same_in_every_run(tmp_path):
    """However many variants the run has: the best 4 removed beside 1 and alone."""
    (path,) = write_needed(tmp_path / "needed.parquet")
    frame = tables.read(path, NEEDED)
    looks = []
    for levels in ((0, 1, 4), (0, 4)):
        tables.write(path, frame[frame["removed"].isin(levels)].reset_index(drop=True), NEEDED, {})
        line = shown("needed", [path]).figure.legends[0].get_lines()[-1]
        looks.append((line.get_color(), line.get_linestyle(), str(line._unscaled_dash_pattern)))
    assert looks[0] == looks[1]


def test_one_run_has_no_quantiles(tmp_path):
    (text,) = shown("needed", write_needed(tmp_path / "needed.parquet", runs=1)).facts
    assert text.startswith(
        "n = 1 run. Dot: its price; an arrow: it had not found it when the search ended (at 50 "
    )


@pytest.mark.parametrize("name", ["fewest", "fewest_seconds"])
def test_no_panel_is_cut_by_the_axis_of_the_first(few, tmp_path, name):
    """The panels share their axis of regrets: a second bench with far larger ones is inside."""
    paths = [path for path in few if path.name == "progress.parquet"]
    frame, facts = tables.read(paths[1], SCHEMAS["progress"]), tables.metadata(paths[1])
    facts.pop("schema")
    for column in ("regret", "low", "high", "worst"):
        frame[column] = np.minimum(20 * frame[column], 0.9)
    tables.write(tmp_path / "progress.parquet", frame, SCHEMAS["progress"], facts)
    drawing = shown(name, [paths[0], tmp_path / "progress.parquet"])
    for ax in drawing.figure.axes:
        low, high = ax.get_ylim()
        assert low <= 100 * drawing.data["low"].min()
        assert 100 * drawing.data["high"].max() <= high
    labels = {text.get_text() for text in drawing.figure.axes[0].get_yticklabels()}
    assert {"0", "0.01", "1"} <= labels, "plain numbers, not powers"


@pytest.mark.parametrize(
    ("name", "axis", "size"), [("fewest", "price", 1), ("fewest_seconds", "seconds", 60)]
)
def test_curves_and_points_are_the_regrets_of_the_table(few, tmp_path, name, axis, size):
    """In percentage points, with their intervals; times in the unit that the axis names."""
    slower = lambda frame: frame.assign(seconds=5 * frame["seconds"])
    drawing = shown(name, [changed(few, "progress", tmp_path, slower)])
    (ax,) = drawing.figure.axes
    rows = drawing.data.assign(x=drawing.data[axis] / size)
    for column in ("regret", "low", "high"):
        rows[column] *= 100
    assert spreads(ax) == intervals(rows["x"], rows["low"], rows["high"])
    curve, single = (rows[rows["method"].eq("random") == whole] for whole in (True, False))
    assert points(curve, "x", "regret") <= lines(ax)
    bars = {
        tuple(xy) for box in ax.containers for xy in np.column_stack(box[0].get_data()).astype(float).round(9)
    }
    dotted = {
        (round(x, 9), round(y, 9))
        for line in ax.get_lines()
        if line.get_linestyle() == ":"
        for x, y in zip(*line.get_data(), strict=True)
    }
    assert bars == dotted == points(single, "x", "regret")
    assert ax.get_xlabel() == {"price": "price (complete trainings)", "seconds": "time of training (minutes)"}[axis]  # fmt: skip
    left, right = ax.get_xlim()
    assert left <= rows["x"].min() <= rows["x"].max() < right


def test_a_point_at_the_dearest_price_that_is_shown_is_shown(few):
    data = shown("fewest", few, most=40).data
    assert set(data.loc[data["method"] == "neural_predictor", "price"]) == {40.0}


def test_only_the_wished_variant_of_the_table_is_in_a_figure_of_prices(few, tmp_path):
    both = lambda frame: pd.concat([frame, frame.assign(removed=2)], ignore_index=True)
    path = changed(few, "progress", tmp_path, both)
    for removed, said in ((0, False), (2, True)):
        drawing = shown("fewest", [path], removed=removed)
        assert set(drawing.data["removed"]) == {removed}
        assert any("The best 2 architectures were removed" in text for text in drawing.facts) == said


def test_differences_to_the_gaussian_process_have_their_intervals_inside_the_axis(data, tmp_path):
    large = pd.DataFrame(paired_rows())
    large[["difference", "low", "high"]] *= [5, 20, 10]
    tables.write(tmp_path / "paired.parquet", large, PAIRED, {})
    drawing = shown("fewest_paired", [tmp_path / "paired.parquet"])
    for ax in drawing.figure.axes:
        assert spreads(ax) == {(float(price), -2.0, 20.0) for price in (*range(1, 31), 23.5)}
        low, high = ax.get_ylim()
        assert low < -2.0 < 20.0 < high
        assert any(set(line.get_ydata()) == {0} for line in ax.get_lines())


def test_points_of_one_price_whose_bars_are_apart_stay_at_their_place():
    from snas.figures.fewest import _asides

    rows = [("siamese", 50.0, 0.01, 0.02), ("brp_nas", 50.0, 0.05, 0.06), ("random", 50.2, 0.015, 0.03)]
    frame = pd.DataFrame(rows, columns=["method", "price", "low", "high"])
    assert _asides(frame, "price", 100.0)[1] == 0.0
    one, _, other = _asides(frame, "price", 100.0)
    assert other == -one < 0
    assert _asides(frame.iloc[::-1], "price", 100.0) == [other, 0.0, one]


def markers_of_points(ax) -> list[tuple[float, float]]:
    """Return where the markers of single points with bars stand on the page, in points."""
    return [
        tuple(72 * xy / ax.figure.dpi)
        for box in ax.containers
        if box[0] is not None
        for xy in box[0].get_transform().transform(np.column_stack(box[0].get_data()).astype(float))
    ]


def test_points_of_one_price_stand_beside_each_other(few):
    drawing = shown("fewest", few)
    drawing.figure.draw_without_rendering()
    for ax in drawing.figure.axes:
        places = sorted(x for x, _ in markers_of_points(ax))
        assert len(places) == 8, "four predictors at two N"
        assert min(np.diff(places)) > 3, "no marker hides another"
        prices = {float(x) for box in ax.containers for x in box[0].get_xdata()}
        assert min(prices) == 40.0, "the data stay where they are"


@pytest.mark.parametrize("most", [100, 30])
def test_the_notes_on_curves_are_sentences(few, most):
    """With single points (at a price of 40 and more) and without."""
    note = next(text for text in shown("fewest", few, most=most).facts if "Curves:" in text)
    assert ("single points" in note) == (most == 100)
    assert re.search(r"\. Linear below 0\.01 points\.", note)


def test_fewer_runs_are_said_in_the_legend(few, tmp_path):
    path = next(path for path in few if path.name == "progress.parquet")
    frame, facts = tables.read(path, SCHEMAS["progress"]), tables.metadata(path)
    facts.pop("schema")
    frame.loc[frame["method"] == "siamese", "runs"] = 2
    tables.write(tmp_path / "progress.parquet", frame, SCHEMAS["progress"], facts)
    (legend,) = shown("fewest", [tmp_path / "progress.parquet"]).figure.legends
    labels = {text.get_text() for text in legend.get_texts()}
    assert {"Siamese (n = 2)", "Siamese + NSAM", "Random search"} <= labels


@pytest.mark.parametrize(
    ("seconds", "said"), [(90.0, ("seconds", 1)), (7200.0, ("minutes", 60)), (4e5, ("hours", 3600))]
)
def test_times_are_said_in_a_readable_unit(seconds, said):
    from snas.figures.fewest import _unit

    assert _unit(seconds) == said
