"""The report: self-contained, complete, with the captions that Snakemake's report takes too."""

import html
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from snas import InputError, tables
from snas.analysis.costs import COSTS, costs
from snas.analysis.counting import write_counts
from snas.analysis.statistics import SCHEMAS
from snas.figures import REGISTRY, draw
from snas.figures.report import CAPTIONS, HEADINGS, rst, verdict, write_report


@pytest.fixture(scope="module")
def page(synthetic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    made = synthetic.make_run(folder, {"tiny_nanobench-digits": 150}, budgets=(10, 20), tops=(5, 10), runs=5)
    data = [path for name, path in made["tiny_nanobench-digits"].items() if name in SCHEMAS]
    write_counts(folder / "counts.parquet")
    searches = sorted(folder.glob("*/siamese_*.parquet"))
    tables.write(folder / "costs.parquet", costs({"search": searches}), COSTS)
    data += [folder / "counts.parquet", folder / "costs.parquet"]
    stems = [folder / "figures" / name for name in REGISTRY]
    for stem in stems:
        draw(stem.name, data, stem)
    configuration = {"seed": 3, "images": "digits", "budgets": (10, 20), "note": "<b>&"}
    out = write_report(folder / "report.html", stems, data, run="trial", configuration=configuration)
    return out.read_text(), folder, data


class Loads(HTMLParser):
    """Collects everything that a browser would load, and where links inside the page go."""

    def __init__(self):
        super().__init__()
        self.loaded, self.links, self.ids, self.images = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.images += tag == "img"
        for name in ("src", "srcset", "data", "poster"):
            self.loaded += [attrs[name]] if name in attrs else []
        if "href" in attrs:
            (self.links if tag == "a" else self.loaded).append(attrs["href"])


def test_nothing_is_loaded_from_elsewhere(page):
    parsed = Loads()
    parsed.feed(page[0])
    assert parsed.images == len(REGISTRY.names())
    assert all(value.startswith("data:") for value in parsed.loaded)
    assert not re.search(r"url\(|@import|<script|<link(?![^>]*data:)", page[0])
    assert all(link.startswith(("#", "data:text/csv")) for link in parsed.links)


def test_links_inside_the_page_lead_somewhere(page):
    parsed = Loads()
    parsed.feed(page[0])
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)


def test_it_says_how_the_run_was_made(page):
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page[0]))
    assert (
        "Tiny-NanoBench · digits: 150 architectures; accuracy: trained by this run, recipe digits_truth"
        in text
    )
    assert "one code costs 0.3 % of a complete training" in text
    assert "N = 10–20 (2 budgets), K = 5–10, n = 5 runs per point" in text
    assert "Base seed 3" in text
    assert "Computed on: cpu." in text
    assert "nasbench201=PATH" in text


def test_what_it_found_are_the_numbers_of_the_differences(page):
    frame = tables.read(next(p for p in page[2] if p.name == "differences.parquet"), SCHEMAS["differences"])
    row = frame[
        (frame["kind"] == "score")
        & (frame["top"] == 10)
        & (frame["budget"] == 20)
        & (frame["reference"] == "neural_predictor")
    ].iloc[0]
    assert f"{100 * row['difference']:+.3f} points".replace("-", "−") in html.unescape(page[0])
    assert not re.search(": (better|worse)\\.", page[0]), "five runs say neither"


@pytest.mark.parametrize(
    ("low", "high", "runs", "said"),
    [
        (0.01, 0.02, 10, "better"),
        (-0.02, -0.01, 100, "worse"),
        (-0.01, 0.02, 100, "no difference is shown"),
        (-0.01, 0.02, 2, "no difference is shown"),
        (0.01, 0.01, 1, "too few runs to tell"),
        (-0.02, -0.01, 9, "too few runs to tell"),
    ],
)
def test_a_verdict_needs_runs(low, high, runs, said):
    assert verdict(low, high, runs) == said


def test_the_configuration_is_escaped(page):
    assert "&lt;b&gt;&amp;" in page[0]
    assert "<b>&" not in page[0]
    assert "[10, 20]" in page[0]


def test_the_numbers_are_in_the_page(page):
    frame = pd.read_csv(page[1] / "figures" / "costs.csv")
    assert f"<td>{frame['stage'][0]}</td>" in page[0]
    assert f'<td class="n">{frame["files"][0]}</td>' in page[0], "numbers stand at the right"
    assert '<th scope="col">stage</th>' in page[0]
    assert "The numbers (2 rows)" in page[0]
    assert "(1 rows" not in page[0]


def test_a_narrow_or_low_window_is_not_filled_by_the_links(page):
    """More than twenty links in a bar that stays would cover half of a phone."""
    assert re.search(r"@media \(max-width[^{]*\{ nav \{ position: static", page[0])


def test_the_same_run_gives_the_same_page(page, tmp_path):
    text, folder, data = page
    configuration = {"seed": 3, "images": "digits", "budgets": (10, 20), "note": "<b>&"}
    stems = [folder / "figures" / name for name in reversed(REGISTRY.names())]
    again = write_report(tmp_path / "again.html", stems, data, run="trial", configuration=configuration)
    assert again.read_text() == text


def test_every_figure_has_a_heading_and_a_caption():
    assert set(HEADINGS) == set(REGISTRY.names())
    assert {path.stem for path in CAPTIONS.glob("*.rst")} == {*REGISTRY.names(), "workflow"}
    for path in CAPTIONS.glob("*.rst"):
        assert rst(path).startswith("<"), path
        assert "{{" not in path.read_text()  # Snakemake renders captions with Jinja2; these are plain


def test_a_missing_figure_is_named(tmp_path):
    with pytest.raises(InputError, match=r"fig5\.svg: no such file; draw the figure fig5 first"):
        write_report(tmp_path / "report.html", [tmp_path / "fig5"], run="x")


def test_a_missing_caption_is_named(tmp_path):
    draw("fig5", [], tmp_path / "fig5")
    with pytest.raises(InputError, match=r"fig5\.rst: no such file"):
        write_report(tmp_path / "report.html", [tmp_path / "fig5"], run="x", captions=tmp_path)


def test_a_broken_caption_is_an_error(tmp_path):
    from docutils.utils import SystemMessage

    (tmp_path / "bad.rst").write_text("*unfinished\n\n.. nothing::\n")
    with pytest.raises(SystemMessage):
        rst(tmp_path / "bad.rst")


def test_a_caption_cannot_take_in_files(tmp_path):
    from docutils.utils import SystemMessage

    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "bad.rst").write_text(f".. include:: {tmp_path / 'secret.txt'}\n")
    with pytest.raises(SystemMessage):
        rst(tmp_path / "bad.rst")
