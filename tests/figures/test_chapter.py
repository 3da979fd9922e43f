"""The tables of docs/results.md: every number is one of the analysis, and the images are small."""

import shutil

import numpy as np
import pytest
from PIL import Image

from snas import InputError, tables
from snas.__main__ import main
from snas.analysis.agreement import agreement
from snas.analysis.statistics import SCHEMAS
from snas.figures import chapter, style

NAME = "nasbench201-cifar100"


@pytest.fixture(scope="module")
def run(synthetic, tmp_path_factory):
    """A finished run's analysis with two benches, variants and the fair protocol."""
    folder = tmp_path_factory.mktemp("chapter")
    extra = {m: (30, 70) for m in ("siamese@c=10", "siamese@labels=select", "neural_predictor+nsam")}
    extra |= {"siamese+nsam+fts": (70,)}
    made = synthetic.make_run(
        folder / "made", {NAME: 300, "tiny_nanobench-digits": 120}, extra=extra, budgets=(30, 70), tops=(5, 30), runs=4
    )  # fmt: skip
    for bench, paths in made.items():
        (folder / "run/analysis" / bench).mkdir(parents=True)
        for name in SCHEMAS:
            shutil.copy(paths[name], folder / "run/analysis" / bench / f"{name}.parquet")
    return folder / "run"


@pytest.fixture(scope="module")
def ablations(synthetic, tmp_path_factory):
    """Another run on the same bench: other methods, one budget of the first run and one of its own."""
    folder = tmp_path_factory.mktemp("ablations")
    made = synthetic.make_run(
        folder / "made", {NAME: 300}, methods=("siamese", "siamese+nsam", "siamese+bts", "siamese+nsam+bts"),
        extra={"siamese@labels=select": (30, 100)}, budgets=(30, 100), tops=(30,), runs=3,
    )  # fmt: skip
    (folder / "run/analysis" / NAME).mkdir(parents=True)
    for name in SCHEMAS:
        shutil.copy(made[NAME][name], folder / "run/analysis" / NAME / f"{name}.parquet")
    return folder / "run"


def interval(row):
    return f"{100 * row.difference:+.2f} [{100 * row.low:+.2f}, {100 * row.high:+.2f}]".replace("-", "−")


def signed(value):
    return f"{100 * value:+.2f}".replace("-", "−")


def read(run, name):
    return tables.read(run / "analysis" / NAME / f"{name}.parquet", SCHEMAS[name])


def test_the_numbers_are_those_of_the_analysis(run, capsys):
    assert main(["nasbench201-chapter", str(run)]) == 0
    text = capsys.readouterr().out
    assert "Tiny-NanoBench" not in text.split("### Table 1")[0]
    points = read(run, "points")
    compared = read(run, "comparison")
    here, fair_text = text.split("### Ablations on")[0].split("### The fair protocol on")
    assert (
        f"optimum of the table {tables.metadata(run / 'analysis' / NAME / 'points.parquet')['optimum']:.4f}"
        in here
    )
    published = compared[(compared["figure"] == "6b") & (compared["top"] == 30)].set_index(
        ["method", "budget"]
    )
    by = points[points["top"] == 30].set_index(["method", "budget"])
    for row in points[points["top"] == 30].itertuples():
        codes = f"{row.codes:.0f} ({row.codes * 0.003:.1f})" if row.codes else "–"
        plain = row.method.removesuffix("@labels=select")
        own = [style.method_title(plain), str(row.budget + 30)]
        regrets = [f"{row.mean:.4f} ± {row.sd:.4f}", f"{row.regret:.4f}"]
        if "labels" in row.method:
            paper = by.loc[(plain, row.budget)]
            cells = [
                *own,
                str(row.runs),
                *regrets,
                f"{paper['mean']:.4f} ± {paper['sd']:.4f}",
                f"{paper['regret']:.4f}",
            ]
        else:
            theirs = published["published"].get((row.method, row.budget))
            said = ["–", "–"] if theirs is None else [f"{theirs:.4f}", signed(row.mean - theirs)]
            cells = [
                *own,
                codes,
                str(row.runs),
                *regrets,
                f"{row.fair_mean:.4f}",
                f"{row.fair_regret:.4f}",
                *said,
            ]
        line = f"| {' | '.join(cells)} |"
        assert (line in (fair_text if "labels" in row.method else here)) == ("@c" not in row.method), line
        ranks = [
            f"{getattr(row, name):.3f}"
            for name in ("spearman", "coarse_spearman", "kendall", "coarse_kendall")
        ]
        line = f"| {' | '.join([own[0], str(row.budget), *ranks])} |".replace("nan", "–")
        assert (line in here) == ("@" not in row.method and row.method != "random"), line
    (theirs,) = compared.query("figure == '6b' and method == 'siamese' and budget == 70").to_dict("records")
    assert f"| {theirs['published']:.4f} | {100 * theirs['difference']:+.2f} |".replace("-", "−") in text
    differences = read(run, "differences")
    for method in ("siamese", "siamese@c=10", "neural_predictor+nsam"):
        rows = differences[(differences["method"] == method) & (differences["top"] == 30)]
        assert len(rows)
        for row in rows.itertuples():
            assert interval(row) in text, (row.method, row.reference, row.kind)
    one = differences[(differences["method"] == "siamese") & (differences["reference"] == "neural_predictor")]
    one = one[one["top"] == 30].set_index(["kind", "budget"])
    assert "| difference | score | N + K = 60 | N + K = 100 |" in here
    for kind, name in (("score", "pool counted"), ("score_fair", "pool not counted")):
        found = " | ".join(interval(one.loc[(kind, budget)]) for budget in (30, 70))
        assert f"| Siamese − Neural predictor | {name} | {found} |" in here
    assert "| difference | score | N = 30 | N = 70 |" in text.split("### Ablations on")[1]
    agreed = agreement(compared, NAME)
    for row in agreed.itertuples():
        lead = ["–", "–"] if np.isnan(row.lead) else [signed(row.lead), signed(row.published_lead)]
        cells = [style.method_title(row.method), str(row.points), str(row.n), signed(row.difference)]
        cells += [f"{signed(row.lowest)} to {signed(row.highest)}", *lead]
        assert f" | {' | '.join(cells)} |" in text.split("### Where our numbers")[1]
    seconds = read(run, "timing").set_index(["method", "budget"])["mean"]
    fts, bts = (seconds[f"siamese+nsam+{name}", 70] for name in ("fts", "bts"))
    assert f"| NAS-Bench-201 | 70 | 4 | {fts:.1f} | {bts:.1f} | {fts / bts:.2f}× | 5.81× |" in text
    for heading in (
        "### Ablations on",
        "### Where our numbers and the published ones agree",
        "### Table 1",
        "### The fair protocol on",
    ):
        assert heading in text


def test_a_second_run_on_the_bench_adds_its_own_tables_only(run, ablations):
    text = chapter.chapter([run, ablations])
    alone = chapter.chapter([run])
    assert [line for line in text.splitlines() if line.startswith("### NAS")] == [
        line for line in alone.splitlines() if line.startswith("### NAS")
    ]
    assert text.startswith(alone.split("### The fair protocol")[0])
    assert text.count("### Ablations on") == text.count("### The fair protocol on") == 2  # of each run
    second = text.split("### Ablations on")[2].split("### ")[0]
    rows = read(ablations, "differences")
    rows = rows[rows["method"].str.contains("bts") & rows["reference"].str.contains("bts")]
    assert set(zip(rows["method"], rows["reference"], strict=True)) >= {("siamese+nsam+bts", "siamese+bts")}
    for row in rows[~rows["reference"].str.contains("coarse")].itertuples():
        assert interval(row) in second, (row.method, row.reference, row.kind)
    assert "N = 100" in second
    assert "n = 3;" in second
    assert text.split("### Where our")[1] == alone.split("### Where our")[1]


def test_a_folder_without_analysis_is_refused(tmp_path, capsys):
    assert main(["nasbench201-chapter", str(tmp_path)]) == 2
    assert "no analysis in it" in capsys.readouterr().err


def test_images_are_small(run, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    monkeypatch.setattr(chapter, "draw", lambda name, _, stem: Image.fromarray(noise).save(f"{stem}.png"))
    written = chapter.images(run, tmp_path / "noise", width=200)
    assert [path.name for path in written] == [f"nb201_{name}.png" for name in chapter.IMAGES]
    for path in written:
        assert Image.open(path).width <= 200
        assert path.stat().st_size <= chapter.LARGEST
    with pytest.raises(InputError, match="no analysis in it"):
        chapter.images(tmp_path, tmp_path)


def test_a_figure_without_its_tables_is_left_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        chapter, "draw", lambda name, _, stem: Image.new("RGB", (40, 30), "white").save(f"{stem}.png")
    )
    shutil.copytree(run / "analysis", tmp_path / "run" / "analysis")
    (tmp_path / "run" / "analysis" / NAME / "scatter.parquet").unlink()
    names = [path.stem for path in chapter.images(tmp_path / "run", tmp_path)]
    assert names == ["nb201_fig5", "nb201_fig6", "nb201_fig7", "nb201_differences"]


def test_the_small_figure_6_shows_what_is_compared_in_its_colours(run, tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "IMAGES", ("fig6",))
    chapter.images(run, tmp_path)
    image = Image.open(tmp_path / "nb201_fig6.png").convert("RGB")
    assert image.width == 1100
    assert image.height < image.width  # one row of panels: the bench with published curves
    found = np.asarray(image).reshape(-1, 3).astype(int)
    for method in ("neural_predictor", "siamese", "siamese+nsam", "siamese+nsam+bts", "brp_nas"):
        colour = np.array([int(style.METHODS[method].colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(found - colour).max(axis=1) < 24).sum() > 100, method
