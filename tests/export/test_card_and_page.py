"""Card and page: their numbers are those of the files, the page needs no network, the card's program runs."""

import base64
import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import FancyBboxPatch
from PIL import ExifTags, Image

from snas import spaces, tables
from snas.export import card, page, pictures
from snas.export.description import Description
from snas.export.found import read_found
from snas.figures.style import styled
from snas.progress import clock
from snas.search.own import LOST, TRAINED
from tests.figures.test_report import Loads


def test_the_card_says_what_was_measured(best):
    text, found = (best.folder / "README.md").read_text(), best.found
    right = int((found.tested["label"] == found.tested["predicted"]).sum())
    total = len(found.tested)
    for said in (
        f"**{right / total:.4f}** ({right} of {total})", f"{sum(p.numel() for p in best.module.parameters()):,}",
        f"| multiply-accumulates of one image | {found.costs[0]:,} |", f"{found.latency.median_ms:.2f} ms",
        "1 thread of", "Siamese + NSAM + BTS", "N + K = 20 + 4", "24 complete trainings, 100 estimation codes", "digits_truth",
        "max_macs 100,000: 700 of 1,120 networks", f"| {clock(24 * 0.5 + found.facts['seconds'])}, added up over the jobs, the last training included |",
        "1 min 40 s from start to end for what was left then, 2 jobs at a time", "operators of version 17", "1,797 images: 1,079 train, 359 validation, 359 test",
    ):  # fmt: skip
        assert said in text, said
    matrix = [line.split("|")[2:-1] for line in text.splitlines() if re.match(r"\| \d \|", line)]
    assert np.array_equal(np.array(matrix, dtype=int), found.matrix)
    for name in re.findall(r"\]\((\S+)\)", text):
        assert (best.folder / name).is_file()


@pytest.mark.parametrize(
    ("column", "said"), [("accuracy", "accuracy on the"), ("balanced", "balanced accuracy on the")]
)
def test_the_card_says_by_what_it_was_chosen(best, column, said):
    choice = {**best.found.choice, "chosen_by": f"{column} on the validation images", "balanced": 0.94}
    assert dict(card.story(replace(best.found, choice=choice)))["chosen by"].startswith(f"{said} validation")


@pytest.mark.parametrize(
    ("images", "said"), [("/home/jane/photos", "photos"), ("data/photos", "data/photos"), ("", "folder")]
)
def test_the_card_does_not_say_where_on_a_machine_the_images_lie(best, images, said):
    split = {**best.found.split, "image_set": "folder", "image_source": images}
    assert card.source(replace(best.found, split=split)) == said


def test_without_a_width_a_network_has_the_spaces_own(best):
    found = Description.of("tiny_nanobench", best.description.cell, 0, best.images)
    assert found == replace(best.description, width=spaces.load("tiny_nanobench").default_width)


def test_the_trained_macs_are_those_of_the_network(best):
    row = best.found.trained.set_index("cell").loc[best.found.title]
    assert (row["macs"], row["params"]) == best.found.costs


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_program_of_the_card_gives_what_predict_gives(best, tmp_path, orientation):
    from snas.export.predict import Predictor

    program = re.search(r"```python\n(.*?)```", (best.folder / "README.md").read_text(), re.S)[1]
    for name in ("model.onnx", "network.json"):
        (tmp_path / name).write_bytes((best.folder / name).read_bytes())
    pixels = np.random.default_rng(0).integers(256, size=(13, 17), dtype=np.uint8)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=turned)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    label, share = done.stdout.split()
    ((wanted, probability),) = Predictor(best.folder)(tmp_path / "image.png")
    assert label == wanted
    assert float(share) == pytest.approx(probability, abs=1e-5)


def test_the_page_loads_nothing_and_shows_every_error(best):
    text = (best.folder / "page.html").read_text()
    parsed = Loads()
    parsed.feed(text)
    assert all(value.startswith("data:") for value in parsed.loaded)
    assert not re.search(r"url\(|@import|<script|<link(?![^>]*data:)", text)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    wrong = best.found.accuracy.images - best.found.accuracy.correct
    assert parsed.images == 1 + len(page.HEADINGS) + min(wrong, 120)
    for what, value in [*card.summary(best.found), *card.story(best.found)]:
        assert what in text
        assert value.replace("**", "") in text


def test_thumbnails_are_the_images_pixels():
    pixels = np.random.default_rng(0).integers(256, size=(4, 9, 9), dtype=np.uint8)
    for channels in (1, 2, 3, 4):
        import io

        with Image.open(io.BytesIO(page.png(pixels[:channels]))) as image:
            shown = np.asarray(image).reshape(9, 9, channels)
        assert (shown == pixels[:channels].transpose(1, 2, 0)).all()


def test_names_from_outside_stay_text(best, tmp_path):
    content = json.loads((best.folder / "network.json").read_text())
    content["labels"][3] = "<script>alert(1)</script>|x"
    (tmp_path / "network.json").write_text(json.dumps(content))
    names = {name: best.base / f"{name}.parquet" for name in ("trained", "tested", "split")}
    found = read_found(
        tmp_path, choice=best.base / "choice.json", latency=best.base / "latency.json", **names
    )
    page.write_best(
        found,
        tmp_path,
        tmp_path / "figures",
        made=best.base / "made",
        wrong=best.base / "wrong.npz",
        names=names["split"],
        run="r",
    )
    assert "<script" not in (tmp_path / "page.html").read_text()
    rows = [
        line
        for line in (tmp_path / "README.md").read_text().splitlines()
        if "alert(1)" in line and line.startswith("|")
    ]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 12 for line in rows)


def called(best, tmp_path, labels):
    """Return what was found as if the classes had these names."""
    content = json.loads((best.folder / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps(content | {"labels": labels}))
    names = {name: best.base / f"{name}.parquet" for name in ("trained", "tested", "split")}
    return read_found(tmp_path, choice=best.base / "choice.json", latency=best.base / "latency.json", **names)


def test_classes_of_any_name_are_told_apart_in_the_picture(best, tmp_path):
    corn = [f"Corn_(maize)___{what}" for what in ("healthy", "Common_rust", "Northern_Leaf_Blight")]
    found = called(best, tmp_path, ["$5", "x^$\\frac$", "猫", "犬", *corn, "#2", "a" * 30, "a" * 31])
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = pictures.confusion(found)
        drawn.figure.savefig(tmp_path / "confusion.png")
    (axes,) = drawn.figure.axes
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == [
        "$5",
        "x^$\\frac$",
        "#2",
        "#3",
        "Corn_(…healthy",
        "Corn_(…on_rust",
        "Corn_(…_Blight",
        "#7",
        "#8",
        "#9",
    ]
    assert [text.get_text() for text in axes.get_xticklabels()] == shown
    assert "#2 is 猫, #3 is 犬, #7 is #2, #8 is aaa" in drawn.facts[0]
    card.write_card(tmp_path / "README.md", found)
    assert drawn.facts[0] in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_legend_of_a_figure_names_what_it_shows(best, tmp_path):
    found = best.found
    last = found.trained[found.trained["round"] == 3].index
    frame = found.trained.copy()
    frame.loc[frame.index.difference(last), "predicted"] = np.nan
    drawn = pictures.predicted(replace(found, trained=frame))
    names = [text.get_text() for text in drawn.figure.axes[0].get_legend().get_texts()]
    assert pictures.LAST in names
    assert pictures.LATER not in names


def test_a_network_is_seen_by_its_kind_on_the_line_of_the_best_or_said_to_be_below(best):
    drawn = pictures.rounds(best.found)
    ax = drawn.figure.axes[0]
    dots = [c for c in ax.collections if c.get_label() in pictures.KINDS]
    (line,) = [line for line in ax.get_lines() if line.get_label() == "best so far"]
    assert min(dot.get_zorder() for dot in dots) > line.get_zorder()
    assert len({look.marker for look in pictures.KINDS.values()}) == len(pictures.KINDS)
    low = ax.get_ylim()[0]
    below = int((best.found.accuracies < low).sum())
    assert below > 0, "one training has failed"
    assert drawn.facts[-1] == f"Below the frame: {below} network{'s' * (below > 1)}."


def test_figures_show_the_numbers_of_the_search(best):
    folder, found = best.base / "figures", best.found
    shown = pd.read_csv(folder / "costs.csv")
    assert len(shown) == (found.trained["status"] == "ok").sum()
    on = shown[shown["front"]].sort_values("macs")
    assert on["accuracy"].is_monotonic_increasing
    assert on["accuracy"].max() == found.accuracies.max()
    rounds = pd.read_csv(folder / "rounds.csv")
    assert len(rounds) == found.cost == 26, "24 trainings and what was looked at beside"
    assert rounds["best_so_far"].dropna().iloc[-1] == found.accuracies.max()
    assert rounds["random_like_start"].iloc[-1] < found.start.max()
    assert rounds["random_like_all"].iloc[0] == pytest.approx(found.accuracies.mean())
    assert found.accuracies[3] == 0.1, "a failed training counts as chance"
    rho, n = found.belief
    assert rho == pytest.approx(1)
    assert n == 12


def test_the_start_is_that_of_each_plan_and_two_beliefs_have_no_correlation(best):
    frame = best.found.trained.copy()
    frame.loc[12:, "plan"], frame.loc[12:, "round"] = "gp 8+4", np.repeat(np.array([0, 1], np.int32), [4, 8])
    frame.loc[frame.index[:-2], "predicted"] = np.nan
    found = replace(best.found, trained=frame)
    assert len(found.start) == 12 + 4, "the second plan's first round has learnt from nothing, either"
    assert found.asked.tolist() == [0] * 12 + [1] * 4 + [2] * 8
    kinds = pictures.costs(found).data["kind"]
    assert kinds.value_counts().to_dict() == {pictures.START: 11 + 4, pictures.LAST: 8}
    rho, n = found.belief
    assert n == 2
    assert np.isnan(rho)


def test_beliefs_are_held_against_what_the_search_has_learnt_from(best):
    frame = best.found.trained.assign(balanced=1 - best.found.trained["accuracy"])
    choice = {**best.found.choice, "chosen_by": "balanced accuracy on the validation images"}
    rho, n = replace(best.found, trained=frame, choice=choice).belief
    assert (rho, n) == (pytest.approx(-1), 12)


def test_a_search_without_beliefs_and_cells_of_nasbench201_are_drawn(best, tmp_path):
    names = {name: best.base / f"{name}.parquet" for name in ("trained", "tested", "split")}
    frame = pd.read_parquet(names["trained"])
    frame["predicted"] = np.nan
    tables.write(tmp_path / "trained.parquet", frame, TRAINED)
    content = json.loads((best.folder / "network.json").read_text())
    cell = "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
    content["network"].update(space="nasbench201", cell=cell)
    (tmp_path / "network.json").write_text(json.dumps(content))
    names["trained"] = tmp_path / "trained.parquet"
    found = read_found(
        tmp_path, choice=best.base / "choice.json", latency=best.base / "latency.json", **names
    )
    with styled():
        drawn = pictures.predicted(found)
        assert "expects nothing" in drawn.missing[0]
        assert drawn.data.empty
        drawn = pictures.cell(found)
        assert "nor_conv_3x3" in drawn.data["text"].tolist()
        drawn.figure.draw_without_rendering()
        (ax,) = drawn.figure.axes
        boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
        for text, box in zip(ax.texts, boxes, strict=True):
            inside, around = text.get_window_extent(), box.get_window_extent()
            assert around.x0 <= inside.x0 < inside.x1 <= around.x1, text
            assert around.y0 <= inside.y0 < inside.y1 <= around.y1, text
        heights = [line.get_ydata()[1] for line in ax.get_lines()]
        assert len(heights) == len(
            {(y, *line.get_xdata()) for y, line in zip(heights, ax.get_lines(), strict=True)}
        )
        assert all(line.get_linestyle() == "-" for line in ax.get_lines()), "its cells have no residual"
    assert "not defined, n = 0" in dict(card.story(found))["predicted and true accuracy"]


def test_codes_of_all_candidates_are_paid_for_whatever_part_was_looked_at(best):
    choice = best.found.choice | {"codes_trained": 700, "measured": {"code_seconds": 77.0}}
    found = replace(best.found, choice=choice)
    assert found.cost == pytest.approx(24 + 700 * 0.02)
    said = dict(card.story(found))
    assert said["paid"].endswith("700 estimation codes (one of each candidate; the search has looked at 100)")
    assert said["time of the estimation codes"].startswith("1 min 17 s")
    assert "random search with 38 trainings" in said
    with styled():
        facts = " ".join(pictures.rounds(found).facts)
    assert "24 complete trainings and 700 estimation codes, 38.0 trainings in all" in facts


def test_networks_beyond_the_limits_do_not_count_for_the_search(best):
    """They were asked for before the limits were set; what they have reached, the search has not."""
    trained = best.found.trained
    limit = int(trained.loc[trained["cell"] == best.found.title, "macs"].iloc[0])
    within = trained["macs"] <= limit
    assert 3 < within.sum() < len(trained) - 3
    above = trained.assign(accuracy=trained["accuracy"].where(within, 0.99))
    limits = {"max_macs": limit, "max_params": 0, "within": 700, "of": 1120}
    found = replace(best.found, trained=above, choice=best.found.choice | {"limits": limits})
    expected = trained.loc[within, "accuracy"].fillna(0.1)
    assert found.accuracies.tolist() == expected.tolist()
    assert found.random_search()["all"].max() <= expected.max()
    with styled():
        drawn = pictures.rounds(found)
    so_far = drawn.data.dropna(subset=["accuracy"])
    assert so_far["trainings"].tolist() == trained.loc[within, "order"].tolist()
    assert so_far["best_so_far"].iloc[-1] == expected.max()
    assert f"and has {expected.max():.4f}" in drawn.facts[0]
    assert f"Left out: {(~within).sum()} trainings of networks beyond the limits" in drawn.facts[-1]


def test_each_budget_s_start_is_a_start(best):
    trained = best.found.trained.copy()
    first = trained["round"].to_numpy() == 0
    assert best.found.begun.tolist() == first.tolist()
    trained.loc[trained.index[10:16], ["plan", "round"]] = ["gp 6+2", 0]
    trained.loc[trained.index[16:18], ["plan", "round"]] = [LOST, 0]
    begun = replace(best.found, trained=trained).begun
    assert begun.tolist() == [*first[:10], *[True] * 6, False, False, *first[18:]]


def test_the_legend_of_the_costs_is_no_wider_than_the_figure(best):
    with styled():
        drawn = pictures.costs(best.found)
        drawn.figure.draw_without_rendering()
        (legend,) = drawn.figure.legends
        assert len(legend.get_texts()) == 6
        extent = legend.get_window_extent()
        assert drawn.figure.bbox.x0 <= extent.x0 < extent.x1 <= drawn.figure.bbox.x1


def test_trainings_of_earlier_budgets_are_told_apart(best):
    assert "asked for by" not in dict(card.story(best.found)), "one budget says it"
    trained = best.found.trained.copy()
    trained.loc[trained.index[:5], "plan"] = "gp 4+1"
    said = dict(card.story(replace(best.found, trained=trained)))
    assert said["asked for by"] == f"gp 4+1 (5 trainings); {trained['plan'].iloc[5]} (19 trainings)"
    assert said["budget"] == "N + K = 20 + 4"
    won = trained.loc[trained["cell"] == best.found.title, "plan"].iloc[0]
    assert said["this network was asked for by"] == won
    assert "predictions" not in said["predicted and true accuracy"], "the first five had none"
    trained.loc[trained.index[-3:], "plan"] = "gp 4+1"
    said = dict(card.story(replace(best.found, trained=trained)))
    assert said["predicted and true accuracy"].endswith("(predictions of 2 budgets or methods)")


def test_many_classes_are_listed_by_their_errors(best):
    text = base64.b64decode(
        re.search(r"base64,([^\"]+)", (best.folder / "page.html").read_text())[1] + "==", validate=False
    )
    assert text.startswith(b"<?xml"), "the cell is a vector figure"
    listed = card.errors(best.found)
    assert sum(n for *_, n in listed) == best.found.accuracy.images - best.found.accuracy.correct
    assert [n for *_, n in listed] == sorted((n for *_, n in listed), reverse=True)
    place = best.description.labels.index
    assert all(best.found.matrix[place(label), place(called)] == n for label, called, n in listed)


def test_the_program_of_the_card_makes_as_many_channels_as_the_network_takes(best):
    for channels, mode in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        found = replace(best.found, description=replace(best.description, channels=channels))
        assert f'.convert("{mode}")' in card.snippet(found)
        assert len(mode) == channels == len(Image.new(mode, (1, 1)).getbands())
