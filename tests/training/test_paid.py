"""What was paid for is kept, found again, and never trained twice; weighted drawing; balanced accuracy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from snas import InputError, spaces, tables, training
from snas.images import augment
from snas.training import paid as paid_module
from snas.training import truth as truth_module
from snas.training.loop import balanced_accuracy, make_batches
from snas.training.paid import Paid, train_what_is_new
from snas.training.schemas import TRUTH
from snas.training.truth import facts, ground_truth

ARCHS = [5, 300, 17, 1000]


@pytest.fixture
def trained(monkeypatch):
    """The list of architectures that were really trained, in order."""
    asked = []

    def counted(space, archs, *arguments, **options):
        asked.extend(archs)
        return ground_truth(space, archs, *arguments, **options)

    monkeypatch.setattr(paid_module, "ground_truth", counted)
    return asked


def test_nothing_is_trained_twice_and_results_are_the_same(digits, tmp_path, trained, capsys):
    recipe = training.recipe("smoke_truth")
    options = {"base_seed": 1, "width": 4, "code": "x"}
    first = train_what_is_new(tmp_path, "tiny_nanobench", ARCHS[:3], digits, recipe, **options)
    second = train_what_is_new(tmp_path, "tiny_nanobench", ARCHS[::-1], digits, recipe, **options)
    said = f"3 of {len(ARCHS)} are paid for already\n"
    assert capsys.readouterr().out == said, "of none, nothing is said"
    assert sorted(trained) == sorted(ARCHS)
    assert second["arch"].tolist() == ARCHS[::-1]
    again = train_what_is_new(tmp_path, "tiny_nanobench", ARCHS, digits, recipe, **options)
    assert len(trained) == len(ARCHS)
    plain = ground_truth("tiny_nanobench", ARCHS, digits, recipe, base_seed=1, width=4)
    assert (again["correct"] - plain["correct"]).abs().max() <= 1  # sums of another group may end otherwise
    assert first.set_index("arch")["correct"].equals(again.set_index("arch")["correct"].loc[first["arch"]])
    tables.write(tmp_path / "out.parquet", again, TRUTH)


@pytest.mark.parametrize("change", [{"base_seed": 2}, {"width": 6}, {"code": "y"}, {"recipe": "smoke_code"}])
def test_other_facts_are_another_book(digits, tmp_path, trained, change):
    def run(recipe="smoke_truth", **options):
        options = {"base_seed": 1, "width": 4, "code": "x"} | options
        train_what_is_new(tmp_path, "tiny_nanobench", [5], digits, training.recipe(recipe), **options)

    run()
    run(**change)
    run()
    assert trained == [5, 5]


def test_a_stop_between_two_groups_loses_one_group(digits, tmp_path, trained, monkeypatch):
    recipe, options = training.recipe("smoke_truth"), {"base_seed": 1, "width": 4, "code": "x", "group": 1}
    keep, kept = Paid.keep, []

    def dying(self, frame, record):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.extend(frame["arch"])
        keep(self, frame, record)

    monkeypatch.setattr(Paid, "keep", dying)
    with pytest.raises(KeyboardInterrupt):
        train_what_is_new(tmp_path, "tiny_nanobench", ARCHS, digits, recipe, **options)
    monkeypatch.setattr(Paid, "keep", keep)
    frame = train_what_is_new(tmp_path, "tiny_nanobench", ARCHS, digits, recipe, **options)
    assert trained == [*ARCHS[:3], *ARCHS[2:]], "the third was in work, the first two were kept"
    assert frame["arch"].tolist() == ARCHS


def test_networks_that_train_for_hours_are_kept_one_by_one_on_a_cpu(digits, tmp_path, trained, monkeypatch):
    recipe, groups = training.recipe("smoke_truth"), []
    keep = Paid.keep
    monkeypatch.setattr(Paid, "keep", lambda *a: (groups.append(len(a[1])), keep(*a)))
    for flops, code in ((paid_module.CORE_FLOPS, "x"), (1.0, "y")):
        monkeypatch.setattr(paid_module, "CORE_FLOPS", flops)
        train_what_is_new(tmp_path, "tiny_nanobench", ARCHS, digits, recipe, base_seed=1, width=4, code=code)
    assert groups == [4, 1, 1, 1, 1]
    (macs, _), size = spaces.load("tiny_nanobench").costs(width=4, **digits.size), len(digits.train_labels)
    floats = 6 * macs[ARCHS].mean() * recipe.passes(size)  # a step is once forward and twice backward
    monkeypatch.setattr(paid_module, "CORE_FLOPS", 2.5 * floats / paid_module.GROUP_SECONDS)
    train_what_is_new(tmp_path, "tiny_nanobench", ARCHS, digits, recipe, base_seed=1, width=4, code="z")
    assert groups[5:] == [2, 2], "two take no longer than a group may"


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, [2, 2]), (2.0, [2, 1, 1])])
def test_groups_are_as_large_as_the_last_one_says_that_they_may_be(
    digits, tmp_path, monkeypatch, seconds, expected
):
    groups, told, keep = [], [], Paid.keep
    monkeypatch.setattr(Paid, "keep", lambda *a: (groups.append(len(a[1])), keep(*a)))
    taking = lambda *a, **options: ground_truth(*a, **options).assign(seconds=seconds)
    for name, value in (
        ("CORE_FLOPS", 1e30),
        ("GROUP_SECONDS", 1.2),
        ("group_size", lambda *_, **__: 2),
        ("ground_truth", taking),
    ):
        monkeypatch.setattr(paid_module, name, value)
    train_what_is_new(
        tmp_path, "tiny_nanobench", ARCHS, digits, training.recipe("smoke_truth"), base_seed=1, width=4, code="x",
        progress=lambda done, total, _: told.append((done, total)),
    )  # fmt: skip
    assert groups == expected
    assert told == sorted(told), "what is done stays done"
    assert told[-1] == (4, 4)


@pytest.mark.parametrize("group", [4, 0])
def test_what_did_not_fit_is_not_tried_again_in_the_next_group(digits, tmp_path, monkeypatch, group):
    tried, train = [], truth_module.train_together

    def little(space, part, *arguments, **options):
        tried.append(len(part))
        if len(part) > 2:
            raise MemoryError("of a machine that holds two")
        return train(space, part, *arguments, **options)

    monkeypatch.setattr(truth_module, "train_together", little)
    monkeypatch.setattr(paid_module, "group_size", lambda *_, **__: 4)
    monkeypatch.setattr(paid_module, "GROUP_SECONDS", 1e9)
    found = train_what_is_new(
        tmp_path, "tiny_nanobench", range(8), digits, training.recipe("smoke_truth"), base_seed=1, width=4, code="x", group=group,
    )  # fmt: skip
    assert tried == [4, 2, 2, 2, 2]
    assert found["status"].eq("ok").all()


def test_kept_groups_tell_what_they_took_and_are_forgotten_with_their_shard(digits, tmp_path):
    recipe, options = training.recipe("smoke_truth"), {"base_seed": 1, "width": 4, "code": "x", "group": 2}
    train_what_is_new(tmp_path / "kept", "tiny_nanobench", ARCHS[:4], digits, recipe, **options)
    said = facts("tiny_nanobench", digits, recipe, base_seed=1, width=4)
    book = Paid(tmp_path / "kept", {**said, "code": "x"})
    groups = [tables.metadata(path) for path in book.folder.iterdir()]
    assert len(groups) == 2
    assert book.read()["arch"].tolist() == ARCHS[:4]
    assert all(group["finished"].startswith("20") for group in groups)
    assert book.spent(ARCHS[:4]) == {
        key: pytest.approx(sum(group[key] for group in groups))
        for key in ("seconds", "cpu_seconds", "gpu_seconds")
    }
    assert book.spent(ARCHS[:4])["seconds"] > 0
    (one, other) = (tables.read(path, TRUTH)["arch"].tolist() for path in book.folder.iterdir())
    assert book.spent([one[0], other[0], other[1]])["seconds"] == pytest.approx(
        groups[0]["seconds"] / 2 + groups[1]["seconds"], abs=0.002
    )
    assert book.spent([])["seconds"] == 0
    book.forget()
    assert not (tmp_path / "kept").exists()


def test_what_a_killed_writer_left_is_no_training(digits, tmp_path, trained):
    recipe, options = training.recipe("smoke_truth"), {"base_seed": 1, "width": 4, "code": "x"}
    train_what_is_new(tmp_path, "tiny_nanobench", [5], digits, recipe, **options)
    (file,) = tmp_path.rglob("*.parquet")
    (file.parent / f".{file.name}.ab12cd34.parquet").write_bytes(b"PAR1")
    train_what_is_new(tmp_path, "tiny_nanobench", [5], digits, recipe, **options)
    assert trained == [5]


def test_trainings_are_read_in_the_order_in_which_they_ended_each_network_once(digits, tmp_path):
    frame = ground_truth(
        "tiny_nanobench", [5, 300, 17], digits, training.recipe("smoke_truth"), base_seed=1, width=4
    )
    book = Paid(tmp_path, {"code": "x"})
    parts = ((slice(2, 3), "2026-03"), (slice(0, 2), "2026-01"), (slice(1, 3), "2026-02"))
    for part, finished in parts:
        book.keep(frame[part], {"finished": finished})
    found = book.read()
    assert found["arch"].tolist() == [5, 300, 17]
    assert found["finished"].tolist() == ["2026-01", "2026-01", "2026-02"]


def test_a_damaged_file_is_named(digits, tmp_path):
    recipe, options = training.recipe("smoke_truth"), {"base_seed": 1, "width": 4, "code": "x"}
    train_what_is_new(tmp_path, "tiny_nanobench", [5], digits, recipe, **options)
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=file.name):
        train_what_is_new(tmp_path, "tiny_nanobench", [5], digits, recipe, **options)


def test_an_empty_share_is_an_empty_table(digits, tmp_path):
    frame = train_what_is_new(
        tmp_path / "p",
        "tiny_nanobench",
        [],
        digits,
        training.recipe("smoke_truth"),
        base_seed=1,
        width=4,
        code="x",
    )
    tables.write(tmp_path / "none.parquet", frame, TRUTH)


def test_balanced_recipes_draw_every_class_equally_often():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    images = torch.zeros(1000, 1, 8, 8, dtype=torch.uint8)
    for name, expected in (("own_800", [0.9, 0.09, 0.01]), ("own_800_balanced", [1 / 3] * 3)):
        batches = make_batches(images, labels, training.recipe(name), classes=3, flip=True, base_seed=0)
        drawn = labels[batches.draws(0).image]
        assert batches.steps == 100
        for row in drawn:  # the images, and their partners
            shares = torch.bincount(row, minlength=3) / len(row)
            spread = 4 * np.sqrt(np.array(expected) * (1 - np.array(expected)) / len(row))
            assert (np.abs(shares.numpy() - expected) <= spread).all(), name


def test_weights_draw_every_image_of_a_class_and_no_other():
    labels = torch.tensor([1, 1, 1, 3])
    weights = augment.class_weights(labels)
    assert weights.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    draws = augment.draw(augment.NO_AUGMENTATION, 4, 4000, 8, np.random.default_rng(0), weights)
    counts = torch.bincount(draws.image.flatten(), minlength=4) / 8000
    assert counts.tolist() == pytest.approx(weights.tolist(), abs=0.03)


def test_balanced_accuracy_is_the_mean_of_the_classes(digits):
    correct = torch.tensor([[3, 0, 1], [3, 0, 2]])
    labels = torch.tensor([0, 0, 0, 2, 2])  # no image of class 1
    assert balanced_accuracy(correct, labels).tolist() == pytest.approx([(1 + 1 / 2) / 2, 1.0])
    recipe = training.recipe("smoke_truth")
    frame = ground_truth("tiny_nanobench", [5], digits, recipe, base_seed=1, width=4)
    few = dataclasses.replace(digits, test_labels=torch.where(digits.test_labels < 5, 0, digits.test_labels))
    other = ground_truth("tiny_nanobench", [5], few, recipe, base_seed=1, width=4)
    assert frame["balanced"].between(0, 1).all()
    assert frame["balanced"][0] != other["balanced"][0]


@pytest.mark.parametrize(
    ("name", "epochs", "steps", "batch"), [("own_320", 8, 320, 32), ("own_code_18_balanced", 3, 18, 16)]
)
def test_recipes_for_own_images_take_their_steps_whatever_the_images(name, epochs, steps, batch):
    recipe = training.recipe(name)
    assert (recipe.name, recipe.epochs, recipe.batch) == (name, epochs, batch)
    assert recipe.steps(12) == recipe.steps(50_000) == steps
    assert recipe.balanced == name.endswith("balanced")


@pytest.mark.parametrize(
    "name", ["own_", "own_33", "own_8", "own_code_4", "own_0", "own_320_weighted", "own_-8"]
)
def test_other_steps_are_refused(name):
    with pytest.raises(InputError, match=r"steps are multiples of|unknown recipe"):
        training.recipe(name)


def test_fewer_images_than_a_batch_will_do_where_steps_are_given(digits):
    few = {"classes": 10, "flip": False, "base_seed": 0}
    batches = make_batches(
        digits.train_images[:12], digits.train_labels[:12], training.recipe("own_40"), **few
    )
    assert [len(images) for images, _ in batches.epoch(0)] == [32] * 5
    with pytest.raises(InputError, match="batch is 32; 1 to 12"):
        make_batches(
            digits.train_images[:12], digits.train_labels[:12], training.recipe("smoke_truth"), **few
        )
