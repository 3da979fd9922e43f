"""The one training loop, for one network or many: every population sees the same batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from snas.images.augment import Batches, plain_batches
from snas.networks.populations import Population, losses
from snas.training.recipes import Recipe

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


def make_batches(
    images: UInt8[Tensor, "images channels side side"],
    labels: Int64[Tensor, " images"],
    recipe: Recipe,
    *,
    classes: int,
    flip: bool,
    base_seed: int,
    device: torch.device | str = "cpu",
) -> Batches:
    """Return the recipe's batches of these images; ``flip``: whether the images may be mirrored at all."""
    return Batches(
        images,
        labels,
        classes=classes,
        batch=recipe.batch,
        recipe=recipe.name,
        base_seed=base_seed,
        augmentation=recipe.augmentation.allowing(flip=flip),
        label_smoothing=recipe.label_smoothing,
        steps=recipe.epoch_steps,
        balanced=recipe.balanced,
        device=device,
    )


def train(
    population: Population,
    batches: Batches,
    recipe: Recipe,
    *,
    epoch_done: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "networks epochs"]:
    """Train ``population`` and return each network's mean training loss of each epoch, on the CPU.

    The loss of an epoch is the mean over its batches, each as it was before its step (train mode, augmented and mixed
    images).  A network that diverges has a non-finite loss from then on and leaves the others alone.  Nothing waits for
    the device before an epoch is over.  ``epoch_done(done, total)`` is called after each.
    """
    history: list[Float[Tensor, " networks"]] = []
    population.train()
    for rate, epochs in recipe.phases:
        adam = torch.optim.Adam([population.parameters], lr=rate, eps=recipe.adam_eps, fused=True)
        for _ in range(epochs):
            history.append(_epoch(population, batches, len(history), adam))
            if epoch_done is not None:
                epoch_done(len(history), recipe.epochs)
    if recipe.bn_batches:
        estimate_statistics(population, batches, recipe)
    return torch.stack(history, dim=1).cpu()


def _epoch(
    population: Population, batches: Batches, epoch: int, adam: torch.optim.Optimizer
) -> Float[Tensor, " networks"]:
    """Take one epoch's steps; return the mean loss of each network."""
    total = torch.zeros(population.size, device=population.parameters.device)
    for images, targets in batches.epoch(epoch):
        population.zero_grad()
        loss = losses(population(images), targets)
        loss.sum().backward()
        adam.step()
        total += loss.detach()
    return total / batches.steps


@torch.no_grad()
def estimate_statistics(population: Population, batches: Batches, recipe: Recipe) -> None:
    """Replace BN's running statistics by their mean over ``recipe.bn_batches`` further training batches."""
    population.train()
    seen, epoch = 0, recipe.epochs
    while seen < recipe.bn_batches:
        for images, _ in batches.epoch(epoch):
            population.set_momentum(1 / (seen + 1))
            population(images)
            seen += 1
            if seen == recipe.bn_batches:
                break
        epoch += 1
    population.set_momentum(recipe.bn_momentum)


@torch.no_grad()
def correct_by_class(
    population: Population,
    images: UInt8[Tensor, "images channels side side"],
    labels: Int64[Tensor, " images"],
    *,
    batch: int,
    classes: int,
) -> Int64[Tensor, "networks classes"]:
    """Return how many plain images of each class each network classifies right, with running BN statistics."""
    population.eval()
    device = population.parameters.device
    labels = labels.to(device)
    correct = torch.zeros(population.size, classes, dtype=torch.int64, device=device)
    start = 0
    for part in plain_batches(images, batch, device):
        own = labels[start : start + len(part)]
        right = population(part).argmax(dim=-1) == own
        correct.index_add_(1, own, right.to(torch.int64))
        start += len(part)
    return correct.cpu()


def balanced_accuracy(
    correct: Int64[Tensor, "networks classes"], labels: Int64[Tensor, " images"]
) -> Float[Tensor, " networks"]:
    """Return the mean over the classes of the share of a class's images that is told right (classes without: left out)."""
    counts = torch.bincount(labels, minlength=correct.shape[1])
    present = counts > 0
    return (correct[:, present].double() / counts[present]).mean(dim=1)
