"""The training loop against a plain loop in a few lines."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snas import networks
from snas.networks.populations import Singles
from snas.training.loop import classified, estimate_statistics, make_batches, train

SIZE = {"width": 4, "channels": 1, "side": 8, "classes": 10}


def batches_of(digits, recipe):
    return make_batches(
        digits.train_images, digits.train_labels, recipe, classes=10, flip=digits.flip, base_seed=2
    )


@pytest.mark.parametrize("space", ["tiny_nanobench", "tiny_nasbench201"])
def test_loop_equals_a_plain_loop(space, digits, truth_recipe):
    """One network, torch's own cross-entropy and Adam, a new Adam in each phase."""
    recipe = dataclasses.replace(truth_recipe, adam_eps=1e-4)
    archs = [700, 20]
    population = networks.population(space, archs, base_seed=2, bn_momentum=recipe.bn_momentum, **SIZE)
    found = train(population, batches_of(digits, recipe), recipe)
    assert found.shape == (2, recipe.epochs)
    for network, arch in enumerate(archs):
        module = networks.build(space, arch, base_seed=2, bn_momentum=recipe.bn_momentum, **SIZE)
        expected, batches = [], batches_of(digits, recipe)
        for rate, epochs in recipe.phases:
            adam = torch.optim.Adam(module.parameters(), lr=rate, eps=recipe.adam_eps)
            for _ in range(epochs):
                history = []
                for images, targets in batches.epoch(len(expected)):
                    loss = F.cross_entropy(module(images), targets)
                    adam.zero_grad()
                    loss.backward()
                    adam.step()
                    history.append(loss.item())
                expected.append(sum(history) / len(history))
        assert found[network].tolist() == pytest.approx(expected, rel=2e-3)
        module.eval()
        images = digits.test_images.float() / 255
        correct = int((module(images).argmax(1) == digits.test_labels).sum())
        counted, finite = classified(population, digits.test_images, digits.test_labels, batch=23, classes=10)
        assert finite.all()
        assert abs(int(counted[network].sum()) - correct) <= 2  # ties of rounding


def test_singles_share_the_flat_buffer(digits, code_recipe):
    modules = [networks.build("tiny_nanobench", arch, **SIZE) for arch in (3, 9)]
    singles = Singles(modules)
    for network, module in enumerate(modules):
        (place,) = singles.owners(network)
        flat = torch.cat([p.reshape(-1) for p in module.parameters()])
        assert torch.equal(singles.parameters[place], flat)
    before = singles.parameters.detach().clone()
    train(singles, batches_of(digits, code_recipe), code_recipe)
    assert not torch.equal(singles.parameters, before)
    (place,) = singles.owners(1)
    assert torch.equal(singles.parameters[place], torch.cat([p.reshape(-1) for p in modules[1].parameters()]))


class Constant(nn.Module):
    """BN alone, to see its statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=0.5)
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        return self.head(self.norm(images).flatten(1))


def test_statistics_are_estimated_as_the_mean_over_batches(digits, code_recipe):
    recipe = dataclasses.replace(code_recipe, bn_batches=8)
    singles, batches = Singles([Constant()]), batches_of(digits, recipe)
    estimate_statistics(singles, batches, recipe)
    drawn = [images for epoch in (3, 4) for images, _ in batches.epoch(epoch)][:8]
    norm = singles.module(0).norm
    assert norm.running_mean.item() == pytest.approx(sum(b.mean().item() for b in drawn) / 8, rel=1e-5)
    assert norm.running_var.item() == pytest.approx(sum(b.var().item() for b in drawn) / 8, rel=1e-5)
    assert norm.momentum == recipe.bn_momentum


def test_statistics_of_a_population_are_estimated_alike(digits, code_recipe):
    recipe = dataclasses.replace(code_recipe, bn_batches=4)
    population = networks.population("tiny_nanobench", [30, 600], base_seed=0, **SIZE)
    singles = Singles([population.module(i) for i in range(2)])
    for each in (population, singles):
        estimate_statistics(each, batches_of(digits, recipe), recipe)
    for i in range(2):
        state, plain = population.module(i).state_dict(), singles.module(i).state_dict()
        for name in plain:
            if "running" in name:
                torch.testing.assert_close(state[name], plain[name], rtol=1e-3, atol=1e-5)
