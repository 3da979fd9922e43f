"""Codes and truth as tables: schemas, statuses, groups, memory."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import torch

from snas import InputError, networks, spaces, tables, training
from snas.spaces import REGISTRY as SPACES
from snas.training import codes
from snas.training.codes import estimation_codes
from snas.training.groups import Told, group_size, run_in_groups
from snas.training.recipes import Recipe
from snas.training.schemas import CODES, TRUTH
from snas.training.truth import ground_truth

ARCHS = [5, 300, 17, 1000, 2]
LOSSES = ["loss_1", "loss_2", "loss_3"]


@pytest.mark.parametrize("space", SPACES.names())
def test_tables_are_written_and_read_back(space, digits, share, code_recipe, truth_recipe, tmp_path):
    archs = [5, 2]  # which a small space has, too
    calls = []
    options = {"base_seed": 1, "width": 4, "progress": lambda *state: calls.append(state)}
    coded = estimation_codes(space, archs, digits, share, code_recipe, **options)
    texts = [text for _, _, text in calls]
    assert "estimation codes, epoch 1 of 3" in texts, "a group of hundreds is silent for long"
    assert [done for done, *_ in calls] == sorted(done for done, *_ in calls)
    trained = ground_truth(space, archs, digits, truth_recipe, **options)
    for frame, schema in ((coded, CODES), (trained, TRUTH)):
        tables.write(tmp_path / "table.parquet", frame, schema, code_recipe.metadata())
        again = tables.read(tmp_path / "table.parquet", schema)
        assert again.arch.tolist() == archs
        assert again.status.tolist() == ["ok", "ok"]
    assert (coded[LOSSES] > 0).all(axis=None)
    assert (trained.accuracy == trained.correct / 60).all()
    assert trained.losses.map(len).tolist() == [truth_recipe.epochs] * 2
    assert calls[-1][:2] == (2, 2)
    assert all(done <= total for done, total, _ in calls)


def test_results_do_not_depend_on_group_order_or_shard(digits, share, code_recipe, truth_recipe, compiled):
    frames = [
        pd.concat(
            [
                estimation_codes(
                    "tiny_nanobench", part, digits, share, code_recipe, base_seed=1, width=4, group=group
                )
                for part in parts
            ]
        )
        .set_index("arch")
        .loc[ARCHS, LOSSES]
        for group, parts in ((0, [ARCHS]), (2, [ARCHS]), (3, [ARCHS[::-1]]), (0, [ARCHS[:1], ARCHS[1:]]))
    ]
    for frame in frames[1:]:
        if compiled:
            pd.testing.assert_frame_equal(frame, frames[0], check_exact=True)
        else:
            pd.testing.assert_frame_equal(frame, frames[0], rtol=1e-3)
    if compiled:
        accuracies = [
            ground_truth("tiny_nanobench", ARCHS, digits, truth_recipe, base_seed=1, width=4, group=group)
            for group in (1, 5)
        ]
        assert accuracies[0].correct.tolist() == accuracies[1].correct.tolist()


def test_a_shard_may_be_empty(digits, share, code_recipe, truth_recipe, tmp_path):
    frame = ground_truth("tiny_nanobench", [], digits, truth_recipe, base_seed=0, width=4)
    tables.write(tmp_path / "none.parquet", frame, TRUTH)
    assert len(tables.read(tmp_path / "none.parquet", TRUTH)) == 0
    frame = estimation_codes("tiny_nanobench", [], digits, share, code_recipe, base_seed=0, width=4)
    tables.write(tmp_path / "none.parquet", frame, CODES)


@pytest.mark.parametrize("weight", [math.nan, math.inf, 1e38])
def test_divergence_is_recorded_and_leaves_the_others_as_they_are(
    digits, share, truth_recipe, monkeypatch, tmp_path, weight
):
    """A network that is no number from the start, or explodes: 1e38 is one, and overflows in the first sum."""
    sound = networks.population

    def poisoned(space, archs, **options):
        population = sound(space, archs, **options)
        if 17 in archs:
            with torch.no_grad():
                population.parameters[population.owners(list(archs).index(17))[0]] = weight
        return population

    expected = ground_truth("tiny_nanobench", ARCHS, digits, truth_recipe, base_seed=1, width=4)
    monkeypatch.setattr(networks, "population", poisoned)
    found = ground_truth("tiny_nanobench", ARCHS, digits, truth_recipe, base_seed=1, width=4)
    assert found.status.tolist() == ["ok", "ok", "diverged", "ok", "ok"]
    assert math.isnan(found.accuracy[2])
    assert found.correct[2] == 0
    assert found.correct.drop(2).tolist() == expected.correct.drop(2).tolist()
    assert [list(x) for x in found.losses.drop(2)] == [list(x) for x in expected.losses.drop(2)], "to the bit"
    tables.write(tmp_path / "truth.parquet", found, TRUTH)
    coded = estimation_codes(
        "tiny_nanobench", ARCHS, digits, share, training.recipe("smoke_code"), base_seed=1, width=4
    )
    assert coded.status.tolist() == ["ok", "ok", "diverged", "ok", "ok"]
    assert coded.loc[2, LOSSES].isna().all()
    tables.write(tmp_path / "codes.parquet", coded, CODES)
    assert tables.read(tmp_path / "codes.parquet", CODES)[LOSSES].isna().sum().sum() == 3


def test_a_last_step_that_diverges_is_a_divergence(digits):
    """Losses are those before each step: that of a single step knows nothing of where it led."""
    blown = Recipe("blown", 32, ((1e30, 1),), training.recipe("smoke_truth").augmentation, epoch_steps=1)
    found = ground_truth("tiny_nanobench", [3, 700], digits, blown, base_seed=0, width=4)
    assert found.status.tolist() == ["diverged"] * 2
    assert found.accuracy.isna().all()
    sound = ground_truth(
        "tiny_nanobench", [3], digits, dataclasses.replace(blown, phases=((1e-3, 1),)), base_seed=0, width=4
    )
    assert sound.status.tolist() == ["ok"]


def test_a_group_that_does_not_fit_is_halved_and_done_again(digits, truth_recipe, monkeypatch, tmp_path):
    sound, tried = networks.population, []

    def small_memory(space, archs, **options):
        tried.append(len(archs))
        if len(archs) > 2 or 1000 in archs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sound(space, archs, **options)

    expected = ground_truth("tiny_nanobench", ARCHS, digits, truth_recipe, base_seed=1, width=4)
    monkeypatch.setattr(networks, "population", small_memory)
    found = ground_truth("tiny_nanobench", ARCHS, digits, truth_recipe, base_seed=1, width=4)
    assert found.arch.tolist() == ARCHS
    assert found.status.tolist() == ["ok", "ok", "ok", "out_of_memory", "ok"]
    assert found.losses[3] == []
    assert found.correct.drop(3).tolist() == expected.correct.drop(3).tolist()
    assert tried[0] == 5
    assert max(tried[1:]) == 3
    tables.write(tmp_path / "truth.parquet", found, TRUTH)


def test_groups_are_even_and_memory_errors_of_a_cpu_count():
    seen = []

    def work(part):
        seen.append(list(part))
        if len(part) > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
        return [{"value": arch} for arch in part]

    rows = list(run_in_groups(range(10), 4, work))
    assert [arch for arch, _, _ in rows] == list(range(10))
    assert all(row == {"value": arch} for arch, row, _ in rows)
    assert [len(part) for part in seen] == [4, 2, 2, 2, 2, 2]


def test_a_group_counts_by_its_epochs_until_it_is_done():
    seen = []
    told = Told(lambda done, total, _: seen.append((done, total)), 10, "trainings")
    for before, count in ((0, 4), (4, 6)):
        told.begin(count)
        for epoch in (1, 2, 3, 4):
            told.epoch_done(epoch, 4)
        told.done(before + count)
    assert seen == [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (7, 10), (8, 10), (10, 10)]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def work(part):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(run_in_groups([1, 2], 2, work))


def test_group_follows_the_memory(monkeypatch):
    space, cpu = spaces.load("tiny_nanobench"), torch.device("cpu")
    archs = list(range(0, 1120, 100))
    small = group_size(space, archs, width=8, side=8, batch=32, device=cpu)
    large = group_size(space, archs, width=32, side=32, batch=128, device=cpu)
    assert small > 50
    assert large == 1
    assert group_size(spaces.load("nasbench201"), [1], width=8, side=8, batch=32, device=cpu) == 1


def test_a_recipe_of_other_length_is_no_code(digits, share, truth_recipe):
    with pytest.raises(InputError, match="'smoke_truth' has 2 epochs; an estimation code needs 3"):
        estimation_codes("tiny_nanobench", [0], digits, share, truth_recipe, base_seed=0, width=4)


def test_codes_say_of_how_many_images_they_are(digits, share, code_recipe):
    said = codes.facts("tiny_nanobench", digits, code_recipe, share=share, base_seed=1, width=4)
    assert (said["code_images"], said["train_images"]) == (len(share), len(digits.train_labels))
    assert said["code_images"] < said["train_images"]


def test_codes_know_the_share_only(digits, share, code_recipe):
    """Images outside of the share change nothing."""
    outside = torch.ones(len(digits.train_labels), dtype=torch.bool)
    outside[share] = False
    pixels = digits.train_images.clone()
    pixels[outside] = 0
    other = dataclasses.replace(digits, train_images=pixels)
    options = {"base_seed": 1, "width": 4}
    first = estimation_codes("tiny_nanobench", [40], digits, share, code_recipe, **options)
    second = estimation_codes("tiny_nanobench", [40], other, share, code_recipe, **options)
    assert first[LOSSES].equals(second[LOSSES])


def test_an_architecture_may_be_named_and_an_unknown_one_is_refused_before_any_training(
    digits, share, code_recipe, truth_recipe
):
    how = {"base_seed": 1, "width": 4, "progress": lambda *_: pytest.fail("training has begun")}
    for unknown in (1120, "nonsense"):
        with pytest.raises(InputError, match="has no architecture"):
            ground_truth("tiny_nanobench", [5, unknown], digits, truth_recipe, **how)
        with pytest.raises(InputError, match="has no architecture"):
            estimation_codes("tiny_nanobench", [5, unknown], digits, share, code_recipe, **how)
    how.pop("progress")
    name = spaces.load("tiny_nanobench").cell(5).name
    by_name = estimation_codes("tiny_nanobench", [name], digits, share, code_recipe, **how)
    by_index = estimation_codes("tiny_nanobench", [5], digits, share, code_recipe, **how)
    assert by_name.drop(columns="seconds").equals(by_index.drop(columns="seconds"))
