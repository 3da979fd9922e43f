"""Recipes: what the paper and docs/definitions.md say, in numbers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from snas import InputError, training
from snas.images.augmentation import Augmentation
from snas.training.codes import EPOCHS
from snas.training.recipes import Recipe


@pytest.mark.parametrize("name", training.REGISTRY.names())
def test_every_recipe_stands_under_its_own_name(name):
    recipe = training.recipe(name)
    assert recipe.name == name
    json.dumps(recipe.metadata())
    assert recipe.metadata()["recipe"] == name
    if name.endswith("_code"):
        assert recipe.epochs == EPOCHS
        assert [rate for rate, _ in recipe.phases] == [1e-3]  # docs/definitions.md, section 2


def test_paper_recipes_are_the_papers():
    truth, code = training.recipe("paper_truth"), training.recipe("paper_code")
    assert (truth.batch, truth.phases, truth.epochs) == (128, ((1e-2, 50), (1e-3, 38), (1e-4, 12)), 100)
    assert truth.steps(50_000) == 39_000  # 390 a epoch
    assert (code.batch, code.phases, code.steps(5_000)) == (16, ((1e-3, 3),), 936)
    for recipe in (truth, code):
        assert recipe.augmentation == Augmentation(flip=True, crop=2, shift=(-2, 3), mixup=1.5, p=0.5)
        assert (recipe.label_smoothing, recipe.bn_momentum) == (0.01, 0.003)
    assert code.passes(5_000) / truth.passes(50_000) == pytest.approx(0.003, rel=1e-3)


def test_default_recipe_is_96_steps_without_flips():
    truth, code = training.recipe("digits_truth"), training.recipe("digits_code")
    assert (truth.batch, truth.epochs, truth.steps(400)) == (32, 8, 96)
    assert [rate for rate, _ in truth.phases] == [1e-2, 1e-3, 1e-4]
    assert (code.batch, code.steps(100)) == (16, 18)
    for recipe in (truth, code):
        assert not recipe.augmentation.flip
        assert 1 - (1 - recipe.bn_momentum) ** code.steps(100) > 0.8  # the statistics have left their start


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(InputError, match=r"unknown recipe 'digit_code'.*paper_truth"):
        training.recipe("digit_code")


@pytest.mark.parametrize(
    "change",
    [{"batch": 0}, {"phases": ()}, {"phases": ((1e-3, 0),)}, {"bn_momentum": 0.0}, {"label_smoothing": 1.0}],
)
def test_nonsense_is_refused_by_name(change):
    with pytest.raises(InputError, match=f"recipe 'smoke_code': {next(iter(change))}"):
        dataclasses.replace(training.recipe("smoke_code"), **change)


def test_recipes_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        training.recipe("paper_code").batch = 3
    assert isinstance(training.recipe("paper_code"), Recipe)
