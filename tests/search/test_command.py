"""``snas search``: what is asked for, what a run keeps, and how wrong words are answered."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import yaml

from snas import InputError, config
from snas.__main__ import _parser, main
from snas.images.sizes import fitting_side
from snas.search import command
from snas.search.command import FIXED, image_source, merged, number, run_name


def options(*words: str) -> argparse.Namespace:
    return _parser().parse_args(["search", *words])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "Bäume & Blätter/oak").mkdir(parents=True)
    return tmp_path / "Bäume & Blätter"


def test_images_are_a_folder_a_table_or_a_name(photos: Path, tmp_path: Path) -> None:
    assert image_source(str(photos), None) == {"images": "folder", "images_path": str(photos)}
    (tmp_path / "own.parquet").write_bytes(b"")
    assert image_source(str(tmp_path / "own.parquet"), None)["images"] == "parquet"
    (photos / "train.parquet").write_bytes(b"")
    assert image_source(str(photos), None)["images"] == "parquet"
    assert image_source("digits", None) == {"images": "digits", "images_path": ""}
    assert image_source("cifar10", str(tmp_path)) == {"images": "cifar10", "images_path": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--images", "nowhere"],
            "--images nowhere: no such folder or file, and no image set of that name; known: digits",
        ),
        (["--images", "{photos}", "--path", "x"], "--path goes with a named image set"),
        (["--images", "digits", "--hours", "0"], "--hours 0: a time above 0 is expected"),
        (["--images", "digits", "--gpu-hours", "-1"], "--gpu-hours -1: a time above 0"),
        (["--images", "digits", "--cores", "0"], "--cores 0: at least 1"),
        (["--images", "digits", "--width", "2"], "--width 2: at least 4"),
        (["--images", "digits", "--steps", "41"], "--steps 41: a multiple of 8"),
        (["--images", "digits", "--budget", "40"], "key 'budget' is '40'; allowed: N+K, as in 32+8"),
        (["--images", "digits", "--method", "gpp"], "unknown method 'gpp' (did you mean 'gp'?)"),
        (["--images", "digits", "--side", "200"], "key 'image_side' is 200; allowed: at most 128"),
        (["--images", "digits", "--side", "4"], "key 'image_side' is 4; allowed: 8 to 128"),
        (["--images", "digits", "--run", "a/b"], "key 'run' is 'a/b'; allowed: letters"),
        (
            ["--images", "digits", "--gpu-hours", "1", "--device", "cpu"],
            "--gpu-hours: no GPU is to be seen here",
        ),
    ],
)
def test_wrong_words_are_one_sentence_before_any_work(
    words, sentence, photos, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(command.Workflow, "start", lambda *_, **__: pytest.fail("the workflow was started"))
    monkeypatch.setattr(command, "workflow_folder", lambda: tmp_path)
    assert main(["search", *(word.format(photos=photos) for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["5m", "-3", "0", "M", "5 M", "1e6"])
def test_numbers_with_other_endings_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="as in 700, 100k or 5M"):
        number(text)


def test_two_budgets_contradict_each_other(capsys) -> None:
    with pytest.raises(SystemExit):
        options("--images", "digits", "--budget", "8+2", "--hours", "1")
    assert "not allowed with" in capsys.readouterr().err


def test_a_run_has_a_name_that_a_folder_can_have(photos: Path) -> None:
    assert run_name(image_source(str(photos), None)) == "own-Baume-Blatter"
    assert run_name({"images": "digits", "images_path": ""}) == "own-digits"
    assert run_name({"images": "folder", "images_path": "/x/木"}) == "own-images"


def test_a_run_keeps_what_its_trainings_hang_on() -> None:
    stored = {
        "images": "digits",
        "width": 8,
        "seed": 0,
        "budget": "8+2",
        "max_macs": 500,
        "method": "gp",
        "truth_recipe": "own_160",
    }
    again = merged({"images": "digits", "budget": "16+4"}, stored, "a")
    assert again["budget"] == "16+4"
    assert again["max_macs"] == 0, "limits are those of this start"
    assert again["truth_recipe"] == "own_160"
    for key, value in (("images", "cifar10"), ("width", 16), ("seed", 1)):
        with pytest.raises(InputError, match=f"run 'a' was begun with {key} = "):
            merged({key: value}, stored, "a")
    assert set(FIXED) <= set(config.schema()["properties"])


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(32, 32)] * 5, 0),  # squares of one size stay
        ([(8, 8)] * 5, 0),
        ([(6, 6)] * 5, 8),  # too small for the networks
        ([(64, 64)] * 5, 32),  # larger than what two cores can do with
        ([(4000, 3000), (3000, 4000)], 32),
        ([(32, 32), (28, 28), (28, 28)], 28),
        ([(20, 15)] * 3, 12),
        ([], 0),
    ],
)
def test_images_of_other_sizes_are_brought_to_one(sizes, side) -> None:
    assert fitting_side(sizes, 32) == side


def test_the_forecast_is_compared_with_what_it_took_and_kept(tmp_path: Path) -> None:
    own = tmp_path / "search/own"
    own.mkdir(parents=True)
    choice = {
        "cell": "expand",
        "accuracy": 0.9,
        "balanced": 0.8,
        "macs": 2_000_000,
        "params": 1234,
        "trainings": 20,
    }
    (own / "choice.json").write_text(json.dumps(choice))
    said = command.outcome(tmp_path, 100.0, 125.0)
    assert "took 2 min 05 s, forecast 1 min 40 s: 25% longer than forecast" in said
    assert any(
        "90.0% of the validation images (80.0% balanced), 2.00 M MACs, 1,234 parameters" in line
        for line in said
    )
    command.outcome(tmp_path, 100.0, 80.0)
    assert [one["ratio"] for one in json.loads((own / "starts.json").read_text())] == [1.25, 0.8]


def test_a_written_configuration_is_a_valid_one(tmp_path: Path) -> None:
    from snas.search.forecast import Plan
    from snas.search.jobs import own_search

    values = merged(image_source("digits", None), {}, "own-digits") | {"image_side": 0}
    values |= command.plan_values(Plan(own_search("gp", "32+8", 8), 8, 320), 2)
    command.write_yaml(tmp_path / "search.yaml", values)
    made = config.load(yaml.safe_load((tmp_path / "search.yaml").read_text()))
    assert (made.truth_recipe, made.code_recipe, made.budget, made.truth_shards) == (
        "own_320",
        "own_code_18",
        "32+8",
        2,
    )


def test_a_stopped_measurement_says_why(tmp_path: Path) -> None:
    from snas.search.forecast import measure

    with pytest.raises(InputError, match=r"the measurement of this machine failed: .*no such file"):
        measure(tmp_path / "none.parquet", "tiny_nanobench", width=4, jobs=1, device="cpu", compile=False)
