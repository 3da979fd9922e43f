"""A found network: a small cell trained briefly on the digits, with a made-up account of the search before it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from snas import images, spaces, tables, training
from snas.export import complete, onnx_file, page
from snas.export.description import Description
from snas.export.found import read_found
from snas.export.weights import write_weights
from snas.images.split import load_parts, write_split
from snas.search.own import TRAINED

CELL = "split>3,dwconv3x3,attention,conv1x1"
RECIPE = "digits_truth"


def account(folder: Path, description: Description, chosen: str) -> None:
    """Write ``trained.parquet`` and ``choice.json`` of a search that never was: 12 at the start, 3 rounds of 4."""
    space = spaces.load(description.space)
    size = {"channels": description.channels, "side": description.side, "classes": len(description.labels)}
    macs, params = space.costs(width=description.width, **size)
    draw = np.random.default_rng(0)
    winner = space.index(chosen)
    archs = [a for a in draw.permutation(len(space))[:24].tolist() if a != winner][:23]
    archs.insert(17, winner)
    rounds = np.repeat([0, 1, 2, 3], [12, 4, 4, 4])
    accuracy = 0.7 + 0.2 * draw.random(24)
    accuracy[17] = 0.95
    accuracy[3] = np.nan
    frame = pd.DataFrame(
        {
            "arch": np.array(archs, dtype=np.int32),
            "cell": [space.cells()[a].name for a in archs],
            "macs": macs[archs],
            "params": params[archs],
            "order": np.arange(1, 25, dtype=np.int32),
            "plan": "siamese+nsam+bts 20+4",
            "round": rounds.astype(np.int32),
            "accuracy": accuracy,
            "balanced": accuracy,
            "status": np.where(np.isnan(accuracy), "diverged", "ok"),
            "seconds": 0.5,
            "predicted": np.where(rounds == 0, np.nan, accuracy - 0.01),
        }
    )
    tables.write(folder / "trained.parquet", frame, TRAINED)
    choice = {
        "arch": winner, "cell": chosen, "method": "siamese+nsam+bts", "budget": 20, "top": 4, "trainings": 24,
        "codes": 100, "codes_trained": 100, "price": 26.0, "measured": {"code_seconds": 7.0}, "bench": "own", "chosen_by": "accuracy on the validation images", "accuracy": 0.95, "recipe": RECIPE, "seed": 0,
        "forecast": {"seconds": 100.0, "at": 0, "speed": {"jobs": 2}},
        "limits": {"max_macs": 100_000, "max_params": 0, "within": 700, "of": 1120},
    }  # fmt: skip
    (folder / "choice.json").write_text(json.dumps(choice))


@pytest.fixture(scope="session")
def best(tmp_path_factory):
    """Everything that a search leaves: ``folder`` with ``best/``, the trained module, the images, what was found."""
    folder = tmp_path_factory.mktemp("found")
    write_split(folder, images.load("digits"), base_seed=0)
    parts = load_parts(folder / "split.parquet").final()
    description = Description.of("tiny_nanobench", CELL, 4, parts)
    recipe = training.recipe(RECIPE)
    done = complete.complete_training(description, parts, recipe, base_seed=0, compile=False)
    frame = complete.tested(done.module, parts)
    facts = complete.facts(description, parts, recipe, base_seed=0)
    opening = complete.record_opening(folder / "openings.jsonl", facts)
    record = {**facts, "losses": done.losses, "seconds": done.seconds, "opening": opening}
    tables.write(folder / "tested.parquet", frame, complete.TESTED, record)
    complete.write_wrong(folder / "wrong.npz", frame, parts)
    (folder / "made").mkdir()
    description.write(folder / "made/network.json")
    write_weights(folder / "made/weights.safetensors", done.module, description)
    onnx_file.write_onnx(folder / "made/model.onnx", done.module, description)
    onnx_file.measure(folder / "made", description, runs=5).write(folder / "latency.json")
    account(folder, description, CELL)
    names = {name: folder / f"{name}.parquet" for name in ("trained", "tested", "split")}
    found = read_found(
        folder / "made", choice=folder / "choice.json", latency=folder / "latency.json", **names
    )
    page.write_best(
        found,
        folder / "best",
        folder / "figures",
        made=folder / "made",
        wrong=folder / "wrong.npz",
        names=names["split"],
        run="trial",
    )
    return SimpleNamespace(
        folder=folder / "best", base=folder, module=done.module, images=parts, found=found, losses=done.losses,
        description=description,
    )  # fmt: skip
