"""The one training loop, for one network or many: every population sees the same batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from snas.images.augment import Batches, plain_batches
from snas.networks.populations import Population, losses
from snas.training.adam import Adam
from snas.training.recipes import Recipe

LOG = logging.getLogger(__name__)
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
    images).  A network that diverges has a non-finite loss from then on and leaves the others alone; what its very last
    step did, no loss says.  Nothing waits for the device before an epoch is over.  ``epoch_done(done, total)`` is called
    after each.
    """
    history: list[Float[Tensor, " networks"]] = []
    population.train()
    for rate, epochs in recipe.phases:
        step = Step(population, rate, recipe.adam_eps, epochs * batches.steps)
        for _ in range(epochs):
            history.append(_epoch(step, batches, len(history)))
            if epoch_done is not None:
                epoch_done(len(history), recipe.epochs)
    if recipe.bn_batches:
        estimate_statistics(population, batches, recipe)
    return torch.stack(history, dim=1).cpu()


class Step:
    """One training step of a population with Adam, ``loss`` being the sum of the networks' losses so far.

    On a GPU with ``SNAS_CUDA_GRAPHS=1`` in the environment the step is recorded as a CUDA graph and replayed: the host then
    launches one thing a step and not some 1,200 kernels, which is what a step of few networks waits for.
    """

    WARM_UP = 3
    """Steps before the recording: what is made on first use (kernels, handles, Adam's moments) is there then."""
    WORTH = 16
    """Steps that are worth a recording."""

    def __init__(self, population: Population, rate: float, eps: float, steps: int) -> None:
        device = population.parameters.device
        self.population = population
        self.adam = Adam(population.parameters, rate, eps)
        self.loss = torch.zeros(population.size, device=device)
        records = device.type == "cuda" and steps >= self.WORTH and os.environ.get("SNAS_CUDA_GRAPHS") == "1"
        self._waits = self.WARM_UP if records else -1
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._stream = torch.cuda.Stream(device) if self._waits > 0 else None

    def __call__(
        self, images: Float[Tensor, "batch channels side side"], targets: Float[Tensor, "batch classes"]
    ) -> None:
        """Take a step."""
        if self._graph is None and self._waits == 0:
            self._record(images, targets)
        if self._graph is not None and self._inputs is not None:
            for room, value in zip(self._inputs, (images, targets), strict=True):
                room.copy_(value)
            self._graph.replay()
        elif self._stream is not None:  # beside the default stream, as a recording's first steps have to be
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._take(images, targets)
            torch.cuda.current_stream().wait_stream(self._stream)
            self._waits -= 1
        else:
            self._take(images, targets)

    def _take(self, images: Tensor, targets: Tensor) -> None:
        self.population.zero_grad()
        loss = losses(self.population(images), targets)
        loss.sum().backward()
        self.adam.step()
        self.loss += loss.detach()

    def _record(self, images: Tensor, targets: Tensor) -> None:
        """Record the step; where that cannot be done, further steps are launched kernel by kernel."""
        self._inputs = images.clone(), targets.clone()
        self._waits, self._stream = -1, None
        self.population.zero_grad()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                self._take(*self._inputs)
            self._graph = graph
        except RuntimeError as error:
            # torch leaves the recording's own stream only where the recording ends well
            torch.cuda.set_stream(stream)
            LOG.warning("the step was not recorded as a CUDA graph: %s", str(error).splitlines()[0])
        self.population.settle()


def _epoch(step: Step, batches: Batches, epoch: int) -> Float[Tensor, " networks"]:
    """Take one epoch's steps; return the mean loss of each network."""
    step.loss.zero_()
    for images, targets in batches.epoch(epoch):
        step(images, targets)
    return step.loss / batches.steps


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
def classified(
    population: Population,
    images: UInt8[Tensor, "images channels side side"],
    labels: Int64[Tensor, " images"],
    *,
    batch: int,
    classes: int,
) -> tuple[Int64[Tensor, "networks classes"], Bool[Tensor, " networks"]]:
    """Return how many plain images of each class each network gets right, with running BN statistics, and who knows of all.

    A network with a logit that is not finite does not: it diverged, in its last step if no loss says so.
    """
    population.eval()
    device = population.parameters.device
    labels = labels.to(device)
    correct = torch.zeros(population.size, classes, dtype=torch.int64, device=device)
    finite = torch.ones(population.size, dtype=torch.bool, device=device)
    start = 0
    for part in plain_batches(images, batch, device):
        own = labels[start : start + len(part)]
        logits = population(part)
        finite &= logits.isfinite().flatten(1).all(dim=1)
        right = logits.argmax(dim=-1) == own
        correct.index_add_(1, own, right.to(torch.int64))
        start += len(part)
    return correct.cpu(), finite.cpu()


def balanced_accuracy(
    correct: Int64[Tensor, "networks classes"], labels: Int64[Tensor, " images"]
) -> Float[Tensor, " networks"]:
    """Return the mean over the classes of the share of a class's images that is told right (classes without: left out)."""
    counts = torch.bincount(labels, minlength=correct.shape[1])
    present = counts > 0
    return (correct[:, present].double() / counts[present]).mean(dim=1)
