"""The winner's complete training: the same as any complete training, and blind to the test images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snas import InputError, tables, training
from snas.export import complete
from snas.training.truth import ground_truth
from tests.export.conftest import RECIPE


def test_it_is_the_training_that_the_search_does(best):
    d = best.description
    frame = ground_truth(
        d.space, [best.found.choice["arch"]], best.images, training.recipe(RECIPE), base_seed=0, width=d.width, compile=False
    )  # fmt: skip
    assert frame["correct"][0] == best.found.accuracy.correct
    assert frame["losses"][0] == pytest.approx(best.losses)


def test_test_images_have_no_part_in_the_training(best):
    other = replace(
        best.images, test_images=255 - best.images.test_images, test_labels=best.images.test_labels.flip(0)
    )
    again = complete.complete_training(
        best.description, other, training.recipe(RECIPE), base_seed=0, compile=False
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.module.state_dict().values(), best.module.state_dict().values(), strict=True)
    )


def test_every_test_image_has_a_row_with_its_probabilities(best):
    frame, images = tables.read(best.base / "tested.parquet", complete.TESTED), best.images
    assert frame["image"].tolist() == images.test_index.tolist()
    assert frame["label"].tolist() == images.test_labels.tolist()
    with torch.no_grad():
        shares = torch.softmax(best.module(images.test_images / 255.0).double(), 1).numpy()
    assert np.allclose(frame["probability"], shares.max(1), atol=1e-6)
    assert np.allclose(
        frame["probability_label"], shares[np.arange(len(shares)), images.test_labels], atol=1e-6
    )
    assert (frame["predicted"] == shares.argmax(1)).all()
    assert frame["predicted"].eq(frame["label"]).mean() > 0.7


def test_the_surest_errors_are_kept_with_their_pixels(best):
    frame = best.found.tested
    wrong = frame[frame["label"] != frame["predicted"]].sort_values(
        "probability", ascending=False, kind="stable"
    )
    with np.load(best.base / "wrong.npz") as stored:
        assert stored["image"].tolist() == wrong["image"].tolist()[: complete.PICTURES]
        at = best.images.test_index.tolist().index(stored["image"][0])
        assert (stored["pixels"][0] == best.images.test_images[at].numpy()).all()


def test_openings_count_networks_and_not_looks(tmp_path):
    path = tmp_path / "openings.jsonl"
    looks = [("a", "x"), ("a", "x"), ("b", "x"), ("b", "other images"), ("a", "x")]
    counts = [complete.record_opening(path, {"cell": cell, "image_digest": digest}) for cell, digest in looks]
    assert counts == [1, 1, 2, 1, 2]
    assert len(path.read_text().splitlines()) == len(looks)


def test_a_winner_is_trained_once(best, tmp_path, monkeypatch, capsys):
    """The same one comes again after a kill, with a larger budget, within other limits."""
    trainings = []
    real = complete.complete_training
    monkeypatch.setattr(complete, "complete_training", lambda *a, **k: trainings.append(1) or real(*a, **k))
    options = {"base_seed": 0, "compile": False}
    again = lambda code="a", **o: complete.trained_once(
        tmp_path, best.description, best.images, training.recipe(RECIPE), code=code, **options | o
    )
    first = again()
    (folder,) = tmp_path.iterdir()
    second = again()
    assert len(trainings) == 1
    assert "this network has been trained before" in capsys.readouterr().out
    assert second.losses == first.losses == best.losses
    assert second.seconds == first.seconds
    states = [done.module.state_dict() for done in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not second.module.training
    again("b")
    again(base_seed=1)
    assert len(trainings) == 3, "another code, another seed"
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert again().losses == first.losses
    assert len(trainings) == 4
    assert "is of no use, it is done again" in capsys.readouterr().out


def test_a_training_that_diverges_is_one_sentence(best):
    wild = replace(training.recipe(RECIPE), name="wild", phases=((1e9, 2),))
    with pytest.raises(InputError, match="diverged"):
        complete.complete_training(best.description, best.images, wild, base_seed=0, compile=False)
    last = replace(training.recipe(RECIPE), name="last", phases=((1e30, 1),), epoch_steps=1)
    with pytest.raises(InputError, match="diverged in its last step"):
        complete.complete_training(best.description, best.images, last, base_seed=0, compile=False)
