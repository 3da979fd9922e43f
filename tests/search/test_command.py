"""``snas search``: what is asked for, what a run keeps, and how wrong words are answered."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from snas import InputError, config, provenance, tables
from snas.__main__ import _parser, main
from snas.images.sizes import fitting_side, image_sizes
from snas.search import command, forecast
from snas.search.command import FIXED, LIMITS, image_source, merged, number, run_name
from snas.search.forecast import Plan, Speed
from snas.search.jobs import own_search
from snas.search.own import CANDIDATES, candidates
from snas.spaces.shards import WANTED

CHOICE = {
    "cell": "expand", "accuracy": 0.9, "balanced": 0.8, "macs": 2_000_000, "params": 1234, "trainings": 10,
    "method": "gp", "budget": 8, "top": 2, "limits": {"max_macs": 0, "max_params": 0, "within": 1120, "of": 1120},
}  # fmt: skip


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
    assert image_source("folder", str(photos)) == {"images": "folder", "images_path": str(photos)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--images", "nowhere"],
            "--images nowhere: no such folder or file, and no image set of that name; known: digits",
        ),
        (["--images", "{photos}", "--path", "x"], "--path goes with a named image set"),
        (["--images", "digits", "--hours", "0"], "--hours 0: a time above 0 and below 10000"),
        (["--images", "digits", "--hours", "20000"], "--hours 20000: a time above 0 and below 10000"),
        (["--images", "digits", "--gpu-hours", "-1"], "--gpu-hours -1: a time above 0"),
        (["--images", "digits", "--cores", "0"], "--cores 0: at least 1"),
        (["--images", "digits", "--cores", "99999"], "--cores 99999: this machine has "),
        (["--images", "digits", "--width", "2"], "--width 2: at least 4"),
        (["--images", "digits", "--width", "100000"], "key 'width' is 100000; allowed: at most 1024"),
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
        (
            ["--images", "digits", "--device", "cuda"],
            "device 'cuda' was asked for, but torch sees no GPU (CUDA_VISIBLE_DEVICES=7); 'auto' or 'cpu' would work",
        ),
    ],
)
def test_wrong_words_are_one_sentence_before_any_work(
    words, sentence, photos, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(command.Workflow, "start", lambda *_, **__: pytest.fail("the workflow was started"))
    monkeypatch.setattr(command, "workflow_folder", lambda: tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert main(["search", *(word.format(photos=photos) for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["5m", "-3", "0", "M", "5 M", "1e6", "0.4", "0.0004k"])
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
    assert len(run_name({"images": "folder", "images_path": "/" + "x" * 250})) <= 100, (
        "the longest name that a run has"
    )


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
    assert again["max_macs"] == 500, "a device is not larger because more is trained"
    assert merged({"images": "digits", "max_macs": 0}, stored, "a")["max_macs"] == 0
    assert merged({"images": "digits"}, {}, "a")["max_macs"] == 0
    assert merged({"images": "digits"}, {}, "a")["device"] == "auto"
    assert (
        merged(command.asked(options("--images", "digits", "--run", "a")), {**stored, "device": "cpu"}, "a")[
            "device"
        ]
        == "cpu"
    )
    assert (
        merged(
            command.asked(options("--images", "digits", "--device", "auto")), {**stored, "device": "cpu"}, "a"
        )["device"]
        == "auto"
    )
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
        ([(12, 12), (18, 18), (30, 30)], 16),  # the middle one, rounded down to a multiple of four
        ([], 0),
    ],
)
def test_images_of_other_sizes_are_brought_to_one(sizes, side) -> None:
    assert fitting_side(sizes, 32) == side


def test_only_images_that_are_read_say_how_large_images_are(photos: Path) -> None:
    for name, side in (("0.png", 32), (".0.png", 12), (".thumbnails/0.png", 12), ("__MACOSX/0.png", 12)):
        path = photos / "oak" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (side, side)).save(path)
    os.mkfifo(photos / "oak/1.png")
    assert image_sizes("folder", photos) == [(32, 32)]


@pytest.mark.parametrize("each", [1, 2, 3, 5])
def test_images_of_every_class_say_how_large_images_are(photos: Path, monkeypatch, each: int) -> None:
    monkeypatch.setattr("snas.images.sizes.LOOKED_AT", 4)
    for wider, name in enumerate(("ash", "birch", "oak")):
        (photos / name).mkdir(exist_ok=True)
        for image in range(each):
            Image.new("L", (8 + wider, 8)).save(photos / name / f"{image}.png")
    rows = [{"bytes": path.read_bytes()} for path in sorted(photos.rglob("*.png"))]
    pd.DataFrame({"image": rows, "label": range(len(rows))}).to_parquet(photos / "sorted.parquet")
    for kind, place in (("folder", photos), ("parquet", photos / "sorted.parquet")):
        found = image_sizes(kind, place, most=4)
        assert len(found) <= 4
        assert set(found) == {(8, 8), (9, 8), (10, 8)}


def test_the_forecast_is_compared_with_what_it_took_and_kept(tmp_path: Path) -> None:
    own = tmp_path / "search/own"
    own.mkdir(parents=True)
    (own / "choice.json").write_text(json.dumps(CHOICE))
    found = command.outcome(tmp_path)[0]
    assert "90.0% of the validation images (80.0% balanced), 2.00 M MACs, 1,234 parameters" in found
    said = command.judged(tmp_path, 100.0, 125.0)
    assert said == "took 2 min 05 s, forecast 1 min 40 s: 25% longer than forecast"
    command.judged(tmp_path, 100.0, 80.0)
    assert [one["ratio"] for one in json.loads((own / "starts.json").read_text())] == [1.25, 0.8]


def test_commands_that_are_said_may_be_copied(tmp_path: Path) -> None:
    """Also where the folder's name has a blank, or a sign that a shell reads."""
    place = tmp_path / "my $photos"
    own = place / "results/own-oaks/search/own"
    own.mkdir(parents=True)
    (own / "choice.json").write_text(json.dumps(CHOICE))
    words = shlex.split(command.again(place, place, "own-oaks"))
    assert words == [
        "cd",
        str(place),
        "&&",
        "snakemake",
        "search",
        "--configfile",
        "results/own-oaks/search.yaml",
    ]
    said = command.outcome(place / "results/own-oaks")[1]
    assert shlex.split(said.partition("use it: ")[2])[:3] == [
        "snas",
        "predict",
        str(place / "results/own-oaks/best"),
    ]


def test_results_go_where_they_are_told_to(project: Project, tmp_path: Path, monkeypatch, capsys) -> None:
    """A project that serves several people may be read-only."""
    elsewhere, home = tmp_path / "else where", tmp_path / "project"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(command, "workflow_folder", lambda: home)
    monkeypatch.setattr(
        command,
        "planned",
        lambda *_: (
            Plan(own_search("gp", "8+2"), 4, 40),
            Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), 1),
            100.0,
            0,
            0,
        ),
    )
    monkeypatch.setattr(command, "outcome", lambda folder: [])
    monkeypatch.setattr(command, "judged", lambda *_: "")
    assert project.search("--directory", str(elsewhere)) == 0
    assert (elsewhere / "results/own-digits/search.yaml").is_file()
    assert not (home / "results").exists()
    said = capsys.readouterr().out
    assert f"results go to {elsewhere / 'results/own-digits'}" in said
    words = shlex.split(said.partition("the same again: ")[2].splitlines()[0])
    assert words[:6] == ["cd", str(elsewhere), "&&", "snakemake", "search", "--snakefile"]
    assert words[6:] == [str(home / "Snakefile"), "--configfile", "results/own-digits/search.yaml"]
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"own-digits cannot be written \(not a directory\); .* by --directory"
    ):
        project.search("--directory", str(tmp_path / "file"))


def test_a_written_configuration_is_a_valid_one(tmp_path: Path) -> None:
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


class Project:
    """A project folder with the run of a search on the digits; ``started`` is what the workflow was started with."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.started = place / "results/own-digits", []
        monkeypatch.setattr(command, "workflow_folder", lambda: place)
        monkeypatch.setattr(command, "images_in_words", lambda folder, **_: [])
        monkeypatch.setattr(command.Workflow, "start", self.start)

    def start(self, file: Path, target: str) -> int:
        self.started.append((file.name, target))
        return 0

    def search(self, *words: str) -> int:
        return command.run(options("--images", "digits", "--device", "cpu", *words))

    def stored(self) -> dict[str, object]:
        return config.read_file(self.folder / "search.yaml")

    def end(self, choice: dict[str, object], *, order: str = "forecast choice page") -> None:
        """Leave what a search leaves, made in this order."""
        files = {
            "forecast": "search/own/forecast.json",
            "choice": "search/own/choice.json",
            "page": "best/page.html",
        }
        for second, name in enumerate(order.split()):
            path = self.folder / files[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(choice))
            os.utime(path, (second, second))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


@pytest.fixture
def begun(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run of gp with 8 + 2 trainings that was begun; the workflow and the measurement of the machine do nothing."""

    def planned(options, values, stored, folder, jobs):
        plan = Plan(own_search(values["method"], values["budget"]), 4, 40)
        return plan, Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), jobs), 100.0, 0, 0

    monkeypatch.setattr(command, "planned", planned)
    project.end(CHOICE)
    project.search("--budget", "8+2", "--cores", "2")
    project.started.clear()
    return project


def test_a_plan_binds_no_images(photos: Path, project: Project, monkeypatch) -> None:
    """Whatever changes in the folder until the run is begun is in it; a run that is begun keeps what it was begun with."""
    split = project.folder.parent / "photos/images/split.parquet"

    def start(workflow, file: Path, target: str) -> int:
        made = not split.exists()
        if made:
            split.parent.mkdir(parents=True, exist_ok=True)
            split.touch()
        project.started.append((file.name, made))
        return 0

    plan = Plan(own_search("gp", "8+2"), 4, 40)
    monkeypatch.setattr(
        command, "planned", lambda *_: (plan, Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), 1), 100.0, 0, 0)
    )
    monkeypatch.setattr(command, "outcome", lambda folder: [])
    monkeypatch.setattr(command, "judged", lambda *_: "")
    monkeypatch.setattr(command.Workflow, "start", start)

    def made_anew(*words: str) -> bool:
        project.started.clear()
        time.sleep(0.05)  # more than the clock of any file system takes to tick
        command.run(options("--images", str(photos), "--run", "photos", "--device", "cpu", *words))
        return project.started[0][1]

    (photos / "oak/0.png").write_bytes(b"0")
    old = (photos / "oak/0.png").stat()
    assert made_anew("--plan")
    assert not made_anew("--plan"), "nothing has changed"
    (photos / "oak/1.png").write_bytes(b"1")
    os.utime(photos / "oak/1.png", (old.st_atime - 1000, old.st_mtime - 1000))
    os.utime(photos / "oak", (old.st_atime - 1000, old.st_mtime - 1000))
    assert made_anew("--plan"), "a copy that keeps its time"
    (photos / "oak/1.png").unlink()
    assert made_anew("--plan"), "one that is gone"
    (split.parents[1] / "training").mkdir()
    (photos / "oak/0.png").write_bytes(b"1")
    assert not made_anew("--plan"), "trainings rest on it, whoever began them"
    (split.parents[1] / "training").rmdir()
    (photos / "oak/0.png").write_bytes(b"2")
    assert made_anew(), "the run is begun with it"
    (photos / "oak/2.png").write_bytes(b"2")
    assert not made_anew("--plan"), "the run has been begun"


def test_a_search_that_has_ended_says_what_it_has_found(begun: Project, capsys) -> None:
    begun.end(CHOICE)
    assert begun.search() == 0
    said = capsys.readouterr().out
    assert "this search is done, with 8+2 trainings" in said
    assert "found: expand, 90.0%" in said
    assert begun.started == [("search.yaml", "search")], "what may be missing is made"


def test_the_steps_that_a_run_was_begun_with_are_nothing_new(begun: Project, capsys) -> None:
    begun.end(CHOICE)
    steps = re.match(r"own_(\d+)", begun.stored()["truth_recipe"])[1]
    assert begun.search("--steps", steps) == 0
    assert "this search is done, with 8+2 trainings" in capsys.readouterr().out
    with pytest.raises(InputError, match="was begun with the recipe own_"):
        begun.search("--steps", str(int(steps) + 8))


def test_a_second_start_changes_nothing_of_the_one_that_runs(begun: Project, tmp_path, capsys) -> None:
    before = begun.stored()
    held = provenance.hold_run(begun.folder.parents[1], begun.folder.name, reads_only=False)
    try:
        with pytest.raises(InputError, match="is being made by process"):
            begun.search("--budget", "40+8")
    finally:
        held.close()
    assert begun.stored() == before
    assert begun.started == []


def test_a_plan_of_a_search_that_has_ended_starts_nothing(begun: Project, capsys) -> None:
    begun.end(CHOICE)
    assert begun.search("--plan") == 0
    assert "found: expand" in capsys.readouterr().out
    assert begun.started == []


@pytest.mark.parametrize(
    ("choice", "order"),
    [
        ({}, "forecast choice"),  # stopped in the winner's complete training
        ({}, "page forecast choice"),  # the same, after a smaller budget
        ({}, "choice page forecast"),  # stopped in a round
        ({"budget": 4}, "forecast choice page"),
        ({"method": "random"}, "forecast choice page"),
        ({"limits": {"max_macs": 500, "max_params": 0}}, "forecast choice page"),
    ],
)
def test_a_search_that_was_stopped_before_its_end_is_not_done(begun: Project, capsys, choice, order) -> None:
    (begun.folder / "best/page.html").unlink()
    begun.end(CHOICE | choice, order=order)
    assert begun.search() == 0
    said = capsys.readouterr().out
    assert "this search is done" not in said
    assert "forecast: 1 min 40 s" in said
    assert "found: expand" in said
    assert len(json.loads((begun.folder / "search/own/starts.json").read_text())) == 2


def test_a_run_asks_for_as_many_at_a_time_as_it_was_begun_with(begun: Project, monkeypatch) -> None:
    """More cores train more of a round at a time; they change neither the rounds nor the shards of the codes."""
    monkeypatch.setattr(command.os, "cpu_count", lambda: 32)
    before = begun.stored()
    begun.search("--budget", "16+4", "--cores", "32")
    after = begun.stored()
    assert (before["ask_batch"], before["code_shards"], before["truth_shards"]) == (8, 2, 2)
    assert (after["ask_batch"], after["code_shards"], after["truth_shards"]) == (8, 2, 32)


def test_a_plan_is_made_for_what_the_run_was_begun_with(tmp_path: Path, monkeypatch) -> None:
    speed = Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), 32)
    monkeypatch.setattr(command.forecasts, "measure", lambda *_, **__: speed)
    facts = {"channels": 1, "side": 8, "class_names": list("0123456789"), "validation_images": 100}
    tables.write(tmp_path / "images/selection.parquet", archs(range(2)), WANTED, facts)
    stored = {"method": "gp", "budget": "16+4", "ask_batch": 8, "code_shards": 2, "width": 4, "device": "cpu"}
    values = stored | {"max_macs": 0, "max_params": 0}
    plan, *_ = command.planned(options("--images", "digits"), values, stored, tmp_path, 32)
    assert plan.search.name == "gp_n016_k004_b8"


counted_once = functools.cache(candidates)
"""The same networks for all tests: to count what they cost takes a second or more."""


@pytest.fixture
def planning(tmp_path: Path, monkeypatch):
    """Plan a search on the digits' sizes in a run folder, on a machine of a known speed."""

    def plan(
        *words: str,
        jobs: int = 2,
        stored: dict[str, object] | None = None,
        widths: tuple[int, ...] = (8,),
        change: dict[str, object] | None = None,
    ):
        facts = {"channels": 1, "side": 8, "class_names": list("0123456789"), "validation_images": 100}
        tables.write(tmp_path / "images/selection.parquet", archs(range(2)), WANTED, facts)
        speed = Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), jobs)
        monkeypatch.setattr(command.forecasts, "measure", lambda *_, **__: speed)
        monkeypatch.setattr(command.forecasts, "WIDTHS", widths)
        monkeypatch.setattr("snas.search.own.candidates", counted_once)
        start = {
            "run": "a",
            "method": "gp",
            "ask_batch": 8,
            "code_shards": 2,
            "device": "cpu",
            **dict.fromkeys(LIMITS, 0),
        }
        values = start | (stored or {}) | (change or {})
        return command.planned(options("--images", "digits", *words), values, stored or {}, tmp_path, jobs)

    return plan


def test_a_time_that_no_plan_fits_into_is_refused_with_what_would_be_enough(planning) -> None:
    with pytest.raises(InputError) as error:
        planning("--hours", "0.0001")
    said = str(error.value)
    assert (
        "--hours 0.0001: no plan is that short; the least, 20 trainings of 40 steps at width 8, takes about "
        in said
    )
    takes, enough = re.search(
        r"about (\d+) s here; --hours (\S+), or a --budget N\+K that is smaller, would be right$", said
    ).groups()
    assert int(takes) < 3600 * float(enough) < 1.5 * int(takes)
    *_, seconds, _, _ = planning("--hours", enough)
    assert seconds <= 3600 * float(enough)
    with pytest.raises(InputError, match="the least, 20 trainings of 800 steps at width 8, takes about"):
        planning("--hours", enough, "--steps", "800")


def test_a_time_that_is_too_short_is_gone_on_with_until_the_search_has_ended(
    planning, tmp_path, capsys
) -> None:
    stored = {"truth_recipe": "own_40", "width": 8, "budget": "16+4", "method": "gp"}
    planning("--hours", "0.0001", stored=stored)
    assert "and this run goes on with it" in capsys.readouterr().out
    (tmp_path / "best").mkdir()
    (tmp_path / "best/page.html").touch()
    with pytest.raises(InputError, match=r"no plan is that short; .* would be right"):
        planning("--hours", "0.0001", stored=stored)


def test_the_candidates_are_told_at_the_width_of_the_plan(planning, capsys) -> None:
    plan, *_ = planning("--hours", "10", widths=(8, 16))
    assert plan.width == 16
    said = [line for line in capsys.readouterr().out.splitlines() if "candidates: " in line]
    assert len(said) == 1
    assert said[0].endswith("on these images at width 16")


def test_a_time_of_gpus_is_that_of_all_of_them(planning) -> None:
    with pytest.raises(InputError) as error:
        planning("--gpu-hours", "0.001", jobs=4)
    enough = re.search(
        r"--gpu-hours 0.001: no plan is that short.*; --gpu-hours (\S+), or", str(error.value)
    )[1]
    *_, seconds, _, _ = planning("--gpu-hours", enough, jobs=4)
    assert 4 * seconds < 3600 * float(enough)


def test_a_run_that_is_begun_goes_on_in_any_time_and_says_so(planning, capsys) -> None:
    """The same command may come at a moment when the machine is slower."""
    stored = {"truth_recipe": "own_160", "width": 8, "budget": "32+8"}
    plan, *_ = planning("--hours", "0.0001", stored=stored)
    assert (plan.steps, plan.search.trainings) == (160, 20)
    said = [line for line in capsys.readouterr().out.splitlines() if "--hours" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "[snas] --hours 0.0001: no plan is that short; the least, 20 trainings of 160 steps"
    )
    assert said[0].endswith("here, and this run goes on with it")
    planning("--hours", "1", stored=stored)
    assert "no plan is that short" not in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"max_macs": 90_000}, {"method": "random"}])
def test_what_is_paid_for_is_counted_on_for_the_same_choice_alone(
    planning, monkeypatch, capsys, change
) -> None:
    """Another method and other limits ask for other networks: most of them would be new."""
    monkeypatch.setattr(command, "paid_for", lambda folder: 40)
    stored = {"truth_recipe": "own_160000", "width": 8, "budget": "32+8", "method": "gp", "max_macs": 0}
    *_, same, paid, uncoded = planning(stored=stored)
    assert paid == 40
    assert uncoded == 0
    assert planning(stored=stored, change={"budget": "40+8"})[-2] == 32, (
        "the last 8 may not be asked for again"
    )
    assert planning(stored=stored, change={"budget": "8+2"})[-2] == 8, "a smaller budget asks for no more"
    assert planning("--hours", "1000", stored=stored)[-2] == 32
    assert "for already" not in capsys.readouterr().out
    assert planning(stored=stored, change={"method": "siamese"})[-1] == 1120, "one of each candidate"
    capsys.readouterr()
    *_, other, paid, _ = planning(stored=stored, change=change)
    assert paid == 0
    assert other > 3 * same
    assert (
        "40 trainings are paid for already, by another method or within other limits"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("width", [64, None])
def test_networks_that_fill_the_memory_are_refused_before_they_are_measured(
    tmp_path: Path, monkeypatch, width
) -> None:
    """Of the widths that a plan chooses from, those that do not fit are passed over."""
    measured = []

    def measure(*_, width, jobs, **__):
        measured.append(width)
        return Speed(1.0, (1e-3, 0.0), (1e-5, 0.0), jobs)

    facts = {"channels": 1, "side": 8, "class_names": list("0123456789"), "validation_images": 100}
    tables.write(tmp_path / "images/selection.parquet", archs(range(2)), WANTED, facts)
    values = {
        "method": "gp",
        "ask_batch": 8,
        "code_shards": 2,
        "device": "cpu",
        "max_macs": 0,
        "max_params": 0,
    }
    values |= {"width": width} if width else {}
    monkeypatch.setattr(command.forecasts, "measure", measure)
    monkeypatch.setattr(command.forecasts, "memory_bytes", lambda: 30e6)
    monkeypatch.setattr("snas.search.own.candidates", counted_once)
    begin = lambda: command.planned(options("--images", "digits", "--hours", "900"), values, {}, tmp_path, 2)
    if width:
        with pytest.raises(
            InputError, match=r"networks of width 64 take about 0.0 GB .* this machine has 0.0 GB"
        ):
            begin()
        assert measured == []
    else:
        assert begin()[0].width == 16, "32 would fit the time, but not the memory"


def archs(found: range):
    import pandas as pd

    return pd.DataFrame({"arch": pd.Series(found, dtype="int32")})


def test_codes_that_are_there_count_for_the_candidates_that_they_were_made_for(tmp_path: Path) -> None:
    limits, own = {"max_macs": 0, "max_params": 4000}, tmp_path / "search/own"
    assert command.coded_for(tmp_path, limits) == 0
    frame, said = candidates("tiny_nanobench", width=4, channels=1, side=8, classes=10, **limits)
    tables.write(own / "candidates.parquet", frame, CANDIDATES, said)
    for shard in range(2):
        tables.write(
            own / f"codes/shard_{shard:03d}.parquet", archs(range(10 * shard, 10 * shard + 10)), WANTED, {}
        )
    assert command.coded_for(tmp_path, limits) == 20
    assert command.coded_for(tmp_path, limits | {"max_macs": 500}) == 0
    before = (own / "candidates.parquet").stat().st_mtime - 10
    os.utime(own / "codes/shard_000.parquet", (before, before))
    assert command.coded_for(tmp_path, limits) == 10, "made for earlier candidates"


def test_another_projects_snakefile_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    """A folder with a workflow of its own is no reason to run that; a copy of this one is."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "Snakefile").write_text("print('another project')")
    monkeypatch.chdir(tmp_path)
    assert command.workflow_folder() == command.config.ROOT
    for part in command.WORKFLOW:
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).touch()
    assert command.workflow_folder() == tmp_path


@pytest.fixture
def speaking(monkeypatch):
    """A workflow that says one line and then works on; the processes that were started."""
    started = []

    def speaks(words, **settings):
        code = "import time; print('[snas] a line', flush=True); time.sleep(20)"
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        return started[0]

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(Popen=speaks, PIPE=-1, STDOUT=-2))
    return started


def test_a_search_that_nobody_reads_stops_its_workflow(tmp_path: Path, monkeypatch, speaking) -> None:
    """As in ``snas search | head -1``: no job goes on that nothing is heard of."""

    def closed(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(command, "print", closed, raising=False)
    with pytest.raises(BrokenPipeError):
        command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", "search")
    assert speaking[0].wait(timeout=0) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("target", "heard"), [("results/x/images/selection.parquet", ["2 images"]), ("search", ["1 costly", "2 images", "0 of 1", "3 s"])]
)  # fmt: skip
def test_of_the_reading_of_images_only_what_is_told_of_them_is_passed_on(
    target, heard, tmp_path: Path, monkeypatch, capsys
) -> None:
    """That one file is to be made, and that it took three seconds, is not what a search begins with."""
    said = [
        "1 costly file, 0 there already (0% of the work)",
        "5 others are there and made again (snakemake -n says why); another name for the run keeps what is there",
        "2 images are exact copies",
        "0 of 1 files, 0% of the work, 20 s gone",
        "3 s in all",
    ]
    code = "".join(f"print({'[snas] ' + line!r}); " for line in said)
    real = subprocess.Popen
    popen = lambda words, **settings: real([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(command, "subprocess", SimpleNamespace(Popen=popen, PIPE=-1, STDOUT=-2))
    assert command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", target) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(heard)
    assert all(begin in line for begin, line in zip(heard, lines, strict=True))


def test_a_search_that_is_told_to_end_stops_its_workflow(tmp_path: Path, monkeypatch, speaking) -> None:
    """As by ``kill PID``: else the workflow would hold the run, and the same command would be refused."""
    said = []

    def told(text, **_):
        said.append(text)
        if len(said) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "print", told, raising=False)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # where nothing passes it on, this process lives
    try:
        assert command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", "search") == 143
    finally:
        left = signal.signal(signal.SIGTERM, before)
    assert left.__name__ == "<lambda>", "what was set before is set again"
    assert speaking[0].wait(timeout=0) == -signal.SIGTERM
    assert said[1:] == ["[snas] stopped; the same command goes on from here"]


def test_a_search_that_ctrl_c_stops_says_so(tmp_path: Path, monkeypatch, speaking) -> None:
    """The terminal tells the workflow and this command."""
    said = []

    def told(text, **_):
        said.append(text)
        if len(said) == 1:
            speaking[0].send_signal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(command, "print", told, raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    try:
        assert command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", "search") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert said[1:] == ["[snas] stopped; the same command goes on from here"]


ENDS_WHEN_TOLD = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def end(*_):
    (folder / "ending").touch()
    while not (folder / "told twice").exists():
        time.sleep(0.02)
    exit(1)
signal.signal(signal.SIGTERM, end)
print("[snas] a line", flush=True)
time.sleep(60)
"""


def test_a_search_that_is_told_to_end_twice_waits_for_its_workflow(tmp_path: Path, monkeypatch) -> None:
    """What its jobs have begun they end; left alone, they would hold the run, and the same command would be refused."""
    real, started = subprocess.Popen, []

    def popen(words, **settings):
        started.append(
            real([sys.executable, "-c", ENDS_WHEN_TOLD, tmp_path], stdout=subprocess.PIPE, text=True)
        )
        return started[0]

    def again():
        while not (tmp_path / "ending").exists() and started[0].returncode is None:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        (tmp_path / "told twice").touch()

    twice = threading.Thread(target=again)

    def told(text, **_):
        if "a line" in text:
            twice.start()
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(Popen=popen, PIPE=-1, STDOUT=-2))
    monkeypatch.setattr(command, "print", told, raising=False)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", "search") == 143
        assert started[0].poll() == 1
    except KeyboardInterrupt:  # it would end all tests
        pytest.fail("the workflow is left behind")
    finally:
        started[0].kill()
        started[0].wait()
        twice.join()  # what it sends is not to come where nobody handles it
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def raising():
    """A handler of SIGTERM that raises, as that of the command line does; it comes as Ctrl-C does."""

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_search_that_is_told_to_end_while_it_starts_its_workflow_stops_it(
    tmp_path: Path, monkeypatch, raising
) -> None:
    real, started = subprocess.Popen, []

    def popen(words, **settings):
        started.append(
            real([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True)
        )
        os.kill(os.getpid(), signal.SIGTERM)  # within what constructs it
        return started[0]

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(Popen=popen, PIPE=-1, STDOUT=-2))
    try:
        assert command.Workflow(tmp_path, tmp_path, 1, 0).start(tmp_path / "a.yaml", "search") == 143
        assert started[0].returncode == -signal.SIGTERM
    except KeyboardInterrupt:  # it would end all tests
        pytest.fail("the workflow is left behind")
    finally:
        started[0].kill()
        started[0].wait()
        started[0].stdout.close()


MEASURES = """
import sys
from snas import __main__
from snas.search import forecast
class Popen(forecast.subprocess.Popen):
    def __init__(self, command, **settings):
        super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **settings)
    def communicate(self):
        print(self.pid, flush=True)
        return super().communicate()
forecast.subprocess.Popen = Popen
__main__._run = lambda _: forecast.measure("none", "tiny_nanobench", width=4, jobs=1, device="cpu", compile=False)
sys.exit(__main__.main())
"""


def test_a_measurement_that_is_told_to_end_leaves_no_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURES], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.terminate()
    assert process.communicate(timeout=60)[1] == "snas: stopped\n"
    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_measurement_that_is_told_to_end_while_it_starts_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, started = subprocess.Popen, []

    def popen(_: list[str], **settings: Any) -> subprocess.Popen[str]:
        if started:
            raise KeyboardInterrupt
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **settings))
        return started[0]

    monkeypatch.setattr(forecast.subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        forecast.measure("none", "tiny_nanobench", width=4, jobs=2, device="cpu", compile=False)
    assert started[0].returncode == -signal.SIGKILL


def test_a_measurement_that_is_told_to_end_within_a_start_leaves_no_process(monkeypatch, raising) -> None:
    """The constructor has started the process, and has not returned it."""
    real, started = subprocess.Popen, []

    def popen(_: list[str], **settings: Any) -> subprocess.Popen[str]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **settings))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(forecast.subprocess, "Popen", popen)
    try:
        with pytest.raises(KeyboardInterrupt):
            forecast.measure("none", "tiny_nanobench", width=4, jobs=2, device="cpu", compile=False)
        assert [process.returncode for process in started] == [-signal.SIGKILL]
    finally:
        for process in started:
            process.kill()
            process.communicate()
