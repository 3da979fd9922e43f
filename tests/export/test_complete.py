"""The winner's complete training: the same as any complete training, and blind to the test images."""

import errno
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from snas import InputError, tables, training
from snas.export import complete
from snas.images.imageset import ImageSet
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


DESCRIPTION = SimpleNamespace(space="tiny_nanobench", cell="a cell", width=4)


class Brightness(torch.nn.Module):
    """Says of images how bright they are, and remembers it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        self.seen += bright.tolist()
        return torch.stack([1 - bright, bright], 1)


@pytest.fixture
def plain():
    """Images of one grey each: dark ones to train on, 200 bright ones to test on, of which no class is the second."""
    train, test = (torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 8, 8) for n in (20, 200))
    return ImageSet(
        "plain", train, torch.arange(20) % 2, test.clamp(min=50), torch.zeros(200, dtype=torch.int64),
        ("dark", "bright"), False, torch.arange(20), 20 + torch.arange(200),
    )  # fmt: skip


@pytest.fixture
def taught(monkeypatch):
    """Have a training of two epochs end with these losses and this module at once; return them and what it was told."""
    found = SimpleNamespace(losses=[0.5, 0.25], module=Brightness(), told={})

    def train(*arguments, epoch_done, **told):
        found.told = told
        for epoch in (1, 2):
            epoch_done(epoch, 2)
        return SimpleNamespace(module=lambda number: found.module.train()), torch.tensor([found.losses])

    monkeypatch.setattr(complete, "train_together", train)
    return found


def trained(images, **options):
    return complete.complete_training(DESCRIPTION, images, training.recipe(RECIPE), base_seed=7, **options)


def test_a_training_says_its_epochs_and_looks_at_no_test_image(plain, taught):
    said = []
    done = trained(plain, progress=lambda epoch, epochs, text: said.append((epoch, epochs)))
    assert said == [(1, 2), (2, 2)]
    assert (taught.told["base_seed"], taught.told["width"], taught.told["compile"]) == (7, 4, True)
    assert (done.losses, done.module.training) == ([0.5, 0.25], False)
    assert max(taught.module.seen) < 20 / 255


def test_one_loss_that_is_not_finite_is_a_divergence(plain, taught):
    taught.losses = [0.5, float("nan")]
    with pytest.raises(InputError, match=r"diverged \(losses \[0.5, nan\]\)"):
        trained(plain)


def test_of_many_errors_the_surest_are_kept_and_of_equal_ones_the_first(plain, tmp_path):
    frame = pd.DataFrame({"image": plain.test_index, "label": 0, "predicted": 1, "probability": 0.75})
    frame.loc[150, "probability"] = 0.9
    frame.loc[3, "predicted"] = 0
    complete.write_wrong(tmp_path / "wrong.npz", frame, plain)
    with np.load(tmp_path / "wrong.npz") as stored:
        assert stored["image"].tolist() == [170, 20, 21, 22, *range(24, 20 + complete.PICTURES)]
        assert stored["pixels"][0].tolist() == plain.test_images[150].tolist()


def test_what_is_tested_says_which_network_was_trained_on_which_images(plain):
    found = complete.facts(DESCRIPTION, plain, training.recipe(RECIPE), base_seed=7)
    assert (found["cell"], found["space"], found["width"], found["seed"]) == (
        "a cell",
        "tiny_nanobench",
        4,
        7,
    )
    assert (found["recipe"], found["image_digest"], found["train_images"]) == (RECIPE, plain.digest, 20)


def test_a_network_that_was_trained_in_another_way_is_another(tmp_path):
    looks = [
        {"cell": "a", "recipe": "short", "image_digest": "x"},
        {"image_digest": "x", "recipe": "short", "cell": "a"},
        {"cell": "a", "recipe": "long", "image_digest": "x"},
    ]
    assert [complete.record_opening(tmp_path / "openings.jsonl", look) for look in looks] == [1, 1, 2]


@pytest.mark.parametrize("damage", ["{", "[1]", OSError(errno.EIO, "Input/output error")])
def test_what_is_kept_and_cannot_be_read_is_done_again(plain, taught, tmp_path, monkeypatch, capsys, damage):
    def read(folder, description):
        if isinstance(damage, OSError):
            raise damage
        return taught.module

    monkeypatch.setattr(complete, "write_weights", lambda path, module, description: path.touch())
    monkeypatch.setattr(complete, "read_network", read)
    once = lambda: complete.trained_once(
        tmp_path, DESCRIPTION, plain, training.recipe(RECIPE), code="a", base_seed=7
    )
    once()
    assert not capsys.readouterr().out, "nothing is wrong where nothing is kept"
    (losses,) = tmp_path.rglob("losses.json")
    if isinstance(damage, str):
        losses.write_text(damage)
    assert once().losses == [0.5, 0.25]
    assert "is of no use, it is done again" in capsys.readouterr().out
    assert json.loads(losses.read_text())[0] == [0.5, 0.25]
