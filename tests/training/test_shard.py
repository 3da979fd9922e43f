"""What a job writes that trains a share of the architectures, and the job whose share is empty."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snas import InputError, images, spaces, tables
from snas.images.labels import write_labels
from snas.training.schemas import TRUTH
from snas.training.shard import write_shard
from tests.conftest import ROOT

HOW = {"space": "tiny_nanobench", "images": {"name": "digits", "base_seed": 3}, "recipe": "smoke_truth"}
HOW |= {"base_seed": 3, "width": 4, "code": "c0de"}


@pytest.fixture
def labels(tmp_path):
    """The labels of the images, whose metadata say of which images."""
    write_labels(tmp_path / "labels.parquet", images.load(**HOW["images"]))
    return tmp_path / "labels.parquet"


def test_an_empty_shard_joins_the_others(labels, tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in ("none", "two")]
    for path, archs in zip(paths, ([], [7, 700]), strict=True):
        write_shard(path, archs, labels=labels, kept=tmp_path / "kept" / path.stem, forget=True, **HOW)
    none, two = (tables.metadata(path) for path in paths)
    assert none["identity"] == two["identity"]
    assert {key: none[key] for key in none["identity"]} == {key: two[key] for key in two["identity"]}
    tables.join(paths, TRUTH, tmp_path / "truth.parquet")
    joined = tables.read(tmp_path / "truth.parquet", TRUTH)
    assert joined["arch"].tolist() == [7, 700]
    assert joined["cell"].tolist() == [spaces.load("tiny_nanobench").cell(arch).name for arch in (7, 700)]
    assert not (tmp_path / "kept" / "two").exists(), "the job's own, and all is written"


def test_what_is_kept_for_good_stays_and_is_not_trained_again(labels, tmp_path, capfd):
    for name in ("once", "again"):
        write_shard(tmp_path / f"{name}.parquet", [7], labels=labels, kept=tmp_path / "kept", **HOW)
    assert "1 of 1 are paid for already" in capfd.readouterr().out
    once, again = (tables.read(tmp_path / f"{name}.parquet", TRUTH) for name in ("once", "again"))
    assert once.equals(again)
    spent = [tables.metadata(tmp_path / f"{name}.parquet")["cpu_seconds"] for name in ("once", "again")]
    assert spent[0] == spent[1] > 0, "what it took, whoever took it"


def test_images_that_are_not_those_that_were_written_down_any_more_are_refused_before_a_training(
    labels, tmp_path
):
    how = HOW | {"images": {**HOW["images"], "base_seed": 4}}
    with pytest.raises(
        InputError, match=r"labels.parquet: it was made of other images .*; have the images as they were"
    ):
        write_shard(tmp_path / "one.parquet", [7], labels=labels, kept=tmp_path / "kept", **how)
    assert not (tmp_path / "kept").exists()


EMPTY = """
import sys
from snas.training.shard import write_shard
write_shard({out!r}, [], labels={labels!r}, kept="kept", **{how!r})
print("torch" in sys.modules)
"""


def test_an_empty_shard_imports_no_torch_and_looks_at_no_image(labels, tmp_path):
    how = HOW | {"images": {"name": "folder", "path": "nowhere"}}
    code = EMPTY.format(out=str(tmp_path / "none.parquet"), labels=str(labels), how=how)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert tables.read(tmp_path / "none.parquet", TRUTH).empty
