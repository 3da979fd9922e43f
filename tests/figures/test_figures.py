"""Every registered figure: with data and without, its CSV against what is drawn, the same bytes twice."""

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from snas import InputError, figures, spaces, tables
from snas.analysis import published
from snas.analysis.costs import COSTS, costs
from snas.analysis.counting import write_counts
from snas.analysis.fewest import NEEDED, PAIRED
from snas.analysis.points import POINTS
from snas.analysis.statistics import SCHEMAS
from snas.figures import READS, REGISTRY, SUFFIXES, draw, style
from snas.figures.diagrams import example_cell
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
    for given, asks in ((others, False), (alone, True)):
        said = " ".join(shown("fig4", [tmp_path / "scatter.parquet", *given]).missing)
        assert "(b) Tiny-NASBench-201 on digits is not in this run." in said
        assert ("run again with --config nasbench201=PATH" in said) == asks


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
    found = tables.read(
        next(p for p in data if p.match("*/nasbench201-cifar100/correlations.parquet")),
        SCHEMAS["correlations"],
    )
    texts = {text.get_text() for text in figure.axes[0].texts}
    for row in found[(found["against"] == "code") & found["kind"].isin(["all", "group"])].itertuples():
        assert f"{row.label}: ρ = {row.spearman:.2f}, n = {row.n}".replace("-", "−") in texts


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
    texts = [text.get_text() for text in shown("headline", data).figure.axes[0].texts]
    of_regret = [text for text in texts if "regret" in text]
    assert of_regret
    assert all(re.fullmatch(r"regret \.\d{4}; fair \.\d{4}", text) for text in of_regret)


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
    pairs = list(zip(example["edges"][::2], example["edges"][1::2], strict=True))
    assert max(b - a for a, b in pairs) > 1


def test_the_counting_chart_shows_the_counts(data):
    texts = " ".join(t.get_text() for ax in shown("fig10", data).figure.axes for t in ax.texts)
    for number in ("2,083", "1,120", "963", "35 million"):
        assert number in texts


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
