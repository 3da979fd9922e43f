"""``snas search`` from a folder of images to the chosen network: refusals, stops, a raised budget, and what it never sees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from snas import tables
from snas.export.predict import predict
from snas.images.split import load_parts
from snas.search.own import TRAINED
from tests.conftest import ROOT, Workflow

SMALL = ("--width", "4", "--steps", "40", "--cores", "2")


def paint(root: Path, classes: dict[str, int], side: int = 12) -> Path:
    """Make a folder of images that a network can tell apart: each class has its own bright corner."""
    draw = np.random.default_rng(0)
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = draw.integers(0, 120, size=(side, side, 3), dtype=np.uint8)
            row, column = divmod(label, 2)
            pixels[
                row * side // 2 : (row + 1) * side // 2, column * side // 2 : (column + 1) * side // 2
            ] += 100
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def command(workflow: Workflow, *words: object) -> list[str]:
    return [sys.executable, "-m", "snas", "search", *map(str, words)]


def search(workflow: Workflow, *words: object, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(workflow, *words), cwd=workflow.folder, env=workflow.environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def paid(run: Path) -> pd.Series:
    """Return how often each network was trained."""
    found = [
        pd.read_parquet(path, columns=["arch"]) for path in (run / "training/paid").glob("*/[!.]*.parquet")
    ]
    return pd.concat(found)["arch"].value_counts()


def test_a_class_with_too_few_images_is_one_sentence(workflow, tmp_path):
    folder = paint(tmp_path / "Blätter", {"ash": 12, "öl": 3})
    done = search(workflow, "--images", folder, *SMALL)
    assert done.returncode
    assert "class 'öl' has 3 images; at least 10 are needed" in done.stdout
    assert "Traceback" not in done.stdout
    assert "[snas] not all is made; logs stand in " in done.stdout
    assert "goes on from here" not in done.stdout, "it would be refused again"
    # a job that was not refused what it is given may do better the next time
    (workflow.folder / "scripts/split.py").write_text(
        "from _job import begin\n\nbegin(snakemake)\nraise RuntimeError('once')\n"
    )
    done = search(workflow, "--images", folder, *SMALL)
    assert "[snas] split: RuntimeError: once" in done.stdout
    assert "logs/, and the same command goes on from here" in done.stdout


def test_no_job_of_a_search_has_the_test_images_among_its_inputs(workflow):
    words = ("--config", "run=a", "budget=16+4", "method=siamese+nsam+bts", "truth_shards=1", "code_shards=1")
    done = workflow.run("-n", *words, "--", "results/a/search/own/choice.json")
    inputs = [line for line in done.stdout.splitlines() if line.strip().startswith("input:")]
    assert sum("selection.parquet" in line for line in inputs) > 10
    assert not any("held_out" in line for line in inputs)
    assert sum("rule own_codes:" in line for line in done.stdout.splitlines()) == 1


def test_a_round_reads_the_answers_to_the_last_one_alone_and_has_no_job_without_a_training(workflow):
    """The answers to earlier rounds stand in the state of the search."""
    done = workflow.run("-n", "--config", "budget=14+2", "ask_batch=3", "run=a", "--", "search").stdout
    plan = r"results/a/search/own/gp_n014_k002_b3"
    read = re.findall(rf"^rule own_round:\n    input: (.*)\n    output: {plan}/(\d+)/", done, re.MULTILINE)
    read += re.findall(
        rf"^(?:local)?rule own_finish:\n    input: (.*)\n    output: ({plan}/runs)", done, re.MULTILINE
    )
    asked = {"01": ("00", 6), "02": ("01", 3), "03": ("02", 3), "04": ("03", 2), f"{plan}/runs": ("04", 2)}
    assert {number: re.findall(rf"{plan}/(\d+)/truth", line) for line, number in read} == {
        number: [before] * jobs for number, (before, jobs) in asked.items()
    }


def test_a_search_of_many_rounds_is_laid_out_within_seconds(workflow):
    """One network at a time: in time and memory that grow with the rounds, and deeper than Python's usual recursion."""
    words = ("--config", "budget=600+8", "ask_batch=1", "run=a", "--", "search")
    done = workflow.run("-n", "--quiet", "rules", *words, timeout=120)
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", done.stdout, re.MULTILINE))
    assert (counts["own_truth"], counts["own_round"]) == ("608", "595")


@pytest.mark.long
def test_from_images_to_a_network(workflow, tmp_path):
    """Stopped hard in the middle; gone on without the folder and the test images; then raised."""
    folder = paint(tmp_path / "photos", {"a": 20, "b": 20, "c": 30})
    (folder / "a/copy.png").write_bytes((folder / "a/0.png").read_bytes())
    words = ("--images", folder, "--run", "p", *SMALL)
    run = workflow.folder / "results/p"
    said = search(workflow, *words, "--budget", "8+2", "--plan").stdout
    assert "8 networks" in said
    assert "forecast" in said
    assert "1 image is an exact copy of another" in said
    assert not (run / "search").exists(), "a plan trains nothing"

    driver = subprocess.Popen(
        command(workflow, *words, "--budget", "8+2"), cwd=workflow.folder, env=workflow.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    for _ in range(6000):
        if list(run.glob("training/paid/*/[!.]*.parquet")):
            break
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(timeout=60)
    before = paid(run)
    assert len(before), "something was trained before the stop"

    held = (run / "images/held_out.parquet").read_bytes()
    for path in folder.rglob("*.png"):
        path.write_bytes(b"gone")
    (run / "images/held_out.parquet").write_bytes(b"nothing to see")
    os.utime(run / "images/held_out.parquet", (0, 0))
    target = ("results/p/search/own/choice.json", "--configfile", "results/p/search.yaml", "--cores", "2")
    workflow.run(*target, timeout=900)
    after = paid(run)
    assert (after == 1).all(), "no network was trained twice"
    assert set(before.index) <= set(after.index)
    assert len(after) == 10
    (run / "images/held_out.parquet").write_bytes(held)
    first = json.loads((run / "search/own/choice.json").read_text())

    done = search(workflow, *words, "--budget", "16+2")
    assert done.returncode == 0, done.stdout
    assert "8 trainings are paid for already" in done.stdout, "its N; the last 2 may not be asked for again"
    raised = paid(run)
    assert (raised == 1).all()
    trained = tables.read(run / "search/own/trained.parquet", TRAINED)
    assert set(after.index) <= set(trained["arch"]) == set(raised.index)
    assert 16 <= len(trained) <= 20
    second = json.loads((run / "search/own/choice.json").read_text())
    assert second["accuracy"] >= first["accuracy"]
    assert "than forecast" in done.stdout
    assert json.loads((run / "search/own/starts.json").read_text())[-1]["trainings"] == len(trained)
    best = run / "best"
    assert {p.name for p in best.iterdir()} >= {
        "model.onnx",
        "weights.safetensors",
        "network.json",
        "README.md",
        "page.html",
    }
    assert len((run / "export/openings.jsonl").read_text().splitlines()) == 1, (
        "the test images were opened once"
    )
    assert "| networks held against the test images | 1 |" in (best / "README.md").read_text()
    said = list(predict(best, [folder / "a/0.png", ROOT / "docs/images/fig5.png"]))
    lines, faults = ([text for text, good in said if good == kind] for kind in (True, False))
    assert (len(lines), len(faults)) == (1, 1), "that file was overwritten above; another one is an image"
    chosen = load_parts(run / "images/split.parquet").selection()
    assert len(chosen.train_labels) + len(chosen.test_labels) < 71
    refused = search(workflow, *words, "--width", "8")
    assert "run 'p' was begun with width = 4, not 8" in refused.stdout
