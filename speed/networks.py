"""Small networks: populations of Tiny-NanoBench against a plain PyTorch loop, augmentation included.

    python -m speed --only networks            all rows
    python -m speed --only networks --quick    fewer steps and networks

*Plain* is :mod:`speed.plain_networks`: one network after the other, a ``DataLoader``, each image augmented by itself,
eager.  *Step* is forward, backward and Adam; *together* is the step and what its batch took to make.  Both programs take
turns, step for step, in one process of one thread; processor time, which other jobs of a machine disturb less than wall
time.  Rows of two cores are wall time.  Steps of the paper's recipes are a sample: an epoch's further steps are the same
program on other images.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snas import images as image_sets
from snas import networks, spaces, training
from snas.spaces.nanobench import cell_widths, plan
from snas.spaces.space import Cell, Space
from snas.training.loop import Step, make_batches
from snas.training.truth import ground_truth
from speed.plain_networks import PlainTraining, loader, random_images
from speed.processes import ready, together
from speed.record import Record
from speed.timing import product_seconds

COSTS = (4e6, 11e6, 22e6, 33e6)
"""MACs of the networks that are measured on images of 32×32: the nearest of the space each."""
SIDE_BY_SIDE = 32
"""Equal products of different networks that the floor counts as one batched product, at most."""
FLOOR = (
    "the multiply-adds alone: 1×1 convolutions and the stem as matrix products (forward, gradients by weight and, but for "
    "the stem, by input) at this machine's torch.bmm for their shapes, equal ones of different networks in one call, measured right after the turns; depthwise convolutions at the speed of "
    "the fastest of these products, though they are bound by memory; batch norm, mish, attention and Adam for nothing"
)


@dataclass(frozen=True)
class Setting:
    """Images, a width and a recipe."""

    title: str
    recipe: str
    width: int
    channels: int
    side: int
    images: int

    @property
    def size(self) -> dict[str, int]:
        """What a network's size hangs on."""
        return {"width": self.width, "channels": self.channels, "side": self.side, "classes": 10}


CODE = Setting("paper's code, 32×32, batch 16", "paper_code", 32, 3, 32, 5000)
TRUTH = Setting("paper's truth, 32×32, batch 128", "paper_truth", 32, 3, 32, 50000)
DIGITS_CODE = Setting("default run's code, 8×8, batch 16", "digits_code", 8, 1, 8, 100)
DIGITS_TRUTH = Setting("default run's truth, 8×8, batch 32", "digits_truth", 8, 1, 8, 400)


def nearest(space: Space, macs: float) -> int:
    """Return the architecture whose cost is nearest."""
    return int(np.abs(space.costs()[0] - macs).argmin())


def spread_out(space: Space, count: int) -> list[int]:
    """Return architectures spread evenly over the space."""
    return [len(space) * (2 * i + 1) // (2 * count) for i in range(count)]


def endless(batches: Callable[[int], Any]) -> Iterator[Any]:
    """Yield the batches of one epoch after the other."""
    return itertools.chain.from_iterable(batches(epoch) for epoch in itertools.count())


class Turns:
    """One side of a comparison: its batches and its step."""

    def __init__(self, batches: Iterator[Any], step: Callable[[Tensor, Tensor], None], count: int) -> None:
        self.batches, self.step, self.count = batches, step, count

    def run(self, steps: int) -> tuple[float, float]:
        """Return processor ms per network and step: (the step alone, batch and step together)."""
        clock = time.process_time
        alone, began = 0.0, clock()
        for _ in range(steps):
            batch = next(self.batches)
            started = clock()
            self.step(*batch)
            alone += clock() - started
        share = 1e3 / steps / self.count
        return alone * share, (clock() - began) * share


def plain_turns(space: Space, archs: list[int], setting: Setting, workers: int = 0) -> Turns:
    """Return plain loops, one network after the other, each with batches of its own."""
    recipe = training.recipe(setting.recipe)
    pixels, labels = random_images(setting.images, setting.channels, setting.side)
    data = loader(pixels, labels, 10, recipe, workers)
    trainings = [PlainTraining(networks.build(space, arch, **setting.size), recipe) for arch in archs]
    batches = endless(lambda _: data)

    def step(images: Tensor, targets: Tensor) -> None:
        trainings[0].step(images, targets)
        for each in trainings[1:]:
            each.step(*next(batches))

    return Turns(batches, step, len(archs))


def population_turns(space: Space, archs: list[int], setting: Setting, *, compile: bool = True) -> Turns:
    """Return the product's own loop over a population."""
    recipe = training.recipe(setting.recipe)
    population = networks.population(
        space, archs, bn_momentum=recipe.bn_momentum, compile=compile, **setting.size
    )
    population.train()
    step = Step(population, recipe.phases[0][0], recipe.adam_eps, recipe.steps(setting.images))
    batches = make_batches(
        *random_images(setting.images, setting.channels, setting.side),
        recipe,
        classes=10,
        flip=True,
        base_seed=0,
    )
    return Turns(endless(batches.epoch), step, len(archs))


def alternate(
    sides: dict[str, Turns], steps: int, repeats: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Return each side's (step alone, together) of every repeat; the sides take turns, the first turn is not counted."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            values = side.run(1 if repeat == 0 else steps)
            if repeat:
                for kept, value in zip(found[name], values, strict=True):
                    kept.append(value)
    return found


# --- the floor -------------------------------------------------------------------------------------------------------


def products(cell: Cell, setting: Setting) -> tuple[list[tuple[int, int, int]], float]:
    """Return (outputs, inputs, pixels) of every dense product of a network, and the MACs of its depthwise convolutions."""
    dense, depthwise = [(setting.width, 9 * setting.channels, setting.side**2)], 0.0
    for stage, inputs, f in cell_widths(setting.width):
        pixels = (setting.side // 2**stage) ** 2
        for node in plan(cell, inputs, f).nodes:
            if node.operation == "conv1x1" or node.projects:
                dense.append((node.out_channels, node.in_channels, pixels))
            depthwise += {"dwconv3x3": 9, "expand": 27}.get(node.operation, 0) * node.in_channels * pixels
    return dense, depthwise


def floor(cells: Sequence[Cell], setting: Setting, batch: int) -> float:
    """Return the ms per network that the multiply-adds of a step of networks side by side take at least (:data:`FLOOR`)."""
    shapes: Counter[tuple[int, int, int]] = Counter()
    depthwise, seconds, best = 0.0, 0.0, 0.0
    for cell in cells:
        dense, own = products(cell, setting)
        shapes.update(dense)
        depthwise += own
    for (m, k, pixels), count in shapes.items():
        many = min(count, SIDE_BY_SIDE) if len(cells) > 1 else 1
        w, x, y = (torch.randn(many, *size) for size in ((m, k), (k, pixels * batch), (m, pixels * batch)))
        stem = (m, k, pixels) == (setting.width, 9 * setting.channels, setting.side**2)
        for a, b in ((w, x), (y, x.mT)) if stem else ((w, x), (y, x.mT), (w.mT, y)):
            calls = 1 + int(2e7 / (many * m * k * pixels * batch))  # tiny ones are below the clock's step
            each = statistics.median(product_seconds(a, b, calls) for _ in range(5)) / many
            seconds += count * each
            best = max(best, m * k * pixels * batch / each)
    return 1e3 * (seconds + 3 * depthwise * batch / best) / len(cells)


def timed(function: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


# --- rows ------------------------------------------------------------------------------------------------------------


def paper_rows(record: Record, setting: Setting, steps: int, repeats: int) -> None:
    """Measure single networks at the paper's recipe."""
    space, recipe = spaces.load("tiny_nanobench"), training.recipe(setting.recipe)
    for macs in COSTS:
        arch = nearest(space, macs)
        found = alternate(
            {
                "plain": plain_turns(space, [arch], setting),
                "native": population_turns(space, [arch], setting),
            },
            steps,
            repeats,
        )
        least = floor([space.cell(arch)], setting, recipe.batch)
        name = f"{setting.title}, {space.costs()[0][arch] / 1e6:.1f} M MACs"
        for what, part in (("step alone", 0), ("augmentation and step", 1)):
            plain, ours = found["plain"][part], found["native"][part]
            record.row(f"{name}: {what}, plain loop", plain, "ms/step")
            record.row(
                f"{name}: {what}, product", ours, "ms/step", against=plain, floor=least, floor_assumes=FLOOR
            )
    batches = {
        side: [both - alone for alone, both in zip(*values, strict=True)] for side, values in found.items()
    }
    record.row(f"{setting.title}: augmentation alone, plain loop", batches["plain"], "ms/step")
    record.row(
        f"{setting.title}: augmentation alone, product",
        batches["native"],
        "ms/step",
        against=batches["plain"],
    )


def population_rows(record: Record, setting: Setting, groups: tuple[int, ...], repeats: int) -> None:
    """Measure populations of the default run's size."""
    space = spaces.load("tiny_nanobench")
    sides = {"plain": plain_turns(space, spread_out(space, 3), setting)}
    sides |= {str(group): population_turns(space, spread_out(space, group), setting) for group in groups}
    sides["torch"] = population_turns(space, spread_out(space, 20), setting, compile=False)
    epoch = (
        setting.images // training.recipe(setting.recipe).batch
    )  # whole, since a chunk of batches is made at once
    found = alternate(sides, epoch, repeats)
    batch = training.recipe(setting.recipe).batch
    sizes = {str(group): group for group in groups} | {"torch": 20}
    least = {
        name: floor([space.cell(arch) for arch in spread_out(space, size)], setting, batch)
        for name, size in sizes.items()
    }
    for part, what in enumerate(("step alone", "augmentation and step")):
        plain = found["plain"][part]
        record.row(f"{setting.title}: {what}, plain loop, one at a time", plain, "ms/step/network")
        for name, values in found.items():
            if name != "plain":
                title = "population of 20 without a compiler" if name == "torch" else f"population of {name}"
                record.row(
                    f"{setting.title}: {what}, {title}", values[part], "ms/step/network",
                    against=plain, floor=least[name], floor_assumes=FLOOR,
                )  # fmt: skip


def shard_rows(record: Record, repeats: int, quick: bool) -> None:
    """Measure whole trainings of the default run: a shard by the product's own function, and plain loops."""
    space, recipe = spaces.load("tiny_nanobench"), training.recipe("digits_truth")
    digits = image_sets.load("digits", train_images=400, base_seed=0)
    archs = spread_out(space, 20 if quick else 70)
    some = spread_out(space, 1 if quick else 3)

    def plain() -> None:
        for arch in some:
            data = loader(digits.train_images, digits.train_labels, 10, recipe)
            one = PlainTraining(networks.build(space, arch, **DIGITS_TRUTH.size), recipe)
            for _ in range(recipe.epochs):
                for batch in data:
                    one.step(*batch)

    slow, fast = [], []
    for _ in range(repeats):
        slow.append(timed(plain) / len(some))
        fast.append(
            timed(lambda: ground_truth(space, archs, digits, recipe, base_seed=0, width=8)) / len(archs)
        )
    record.row(
        f"default run's complete training, plain loop, mean of {len(some)} networks", slow, "s/network"
    )
    record.row(
        f"default run's complete training, shard of {len(archs)}, with its test",
        fast,
        "s/network",
        against=slow,
    )


def singles_rows(record: Record, steps: int, repeats: int) -> None:
    """Measure NAS-Bench-201, whose networks are trained one at a time: only the batches are made faster."""
    space = spaces.load("nasbench201")
    arch = nearest(space, float(np.median(space.costs()[0])))
    setting = Setting("NAS-Bench-201's code, 32×32, batch 16", "paper_code", 16, 3, 32, 5000)
    found = alternate(
        {"plain": plain_turns(space, [arch], setting), "ours": population_turns(space, [arch], setting)},
        steps,
        repeats,
    )
    for part, what in enumerate(("step alone", "augmentation and step")):
        name = f"{setting.title}, {space.costs()[0][arch] / 1e6:.0f} M MACs: {what}"
        record.row(f"{name}, plain loop", found["plain"][part], "ms/step")
        record.row(
            f"{name}, product (one at a time, eager)",
            found["ours"][part],
            "ms/step",
            against=found["plain"][part],
        )


def two_cores(record: Record, setting: Setting, steps: int, repeats: int) -> None:
    """Measure both cores at work: two plain loops, one plain loop on two threads, two processes of the product."""
    sides = {
        "plain loop on two threads with a loading process": ("plain", 1, 2),
        "two plain loops of one thread": ("plain", 2, 1),
        "two processes of the product": ("native", 2, 1),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, (kind, processes, threads) in sides.items():
            found[name].append(side_by_side(kind, setting, processes, threads, steps))
    name = f"{setting.title}, 22 M MACs: augmentation and step, two cores"
    for part, clock in enumerate(("processor", "wall")):
        plain = [both[part] for both in found["two plain loops of one thread"]]
        for side, values in found.items():
            record.row(f"{name}, {side}", [each[part] for each in values], f"ms/step, {clock}", against=plain)


def side_by_side(
    kind: str, setting: Setting, processes: int, threads: int, steps: int
) -> tuple[float, float]:
    """Return (processor, wall) ms per network and step of processes that train together."""
    said = together(
        "speed.networks", kind, setting.recipe, threads, steps, processes=processes, threads=threads
    )
    found = [json.loads(each) for each in said]
    return sum(spent for spent, _ in found) / processes, max(wall for _, wall in found) / processes


def one_side(kind: str, recipe: str, threads: int, steps: int) -> None:
    """Train in this process when told to, and print (processor, wall) ms per step."""
    torch.set_num_threads(threads)
    setting = next(each for each in (CODE, TRUTH) if each.recipe == recipe)
    space = spaces.load("tiny_nanobench")
    arch = nearest(space, 22e6)
    turns = (
        plain_turns(space, [arch], setting, workers=threads - 1)
        if kind == "plain"
        else population_turns(space, [arch], setting)
    )
    turns.run(1 if setting is TRUTH else 2)
    ready()
    began, spent = time.perf_counter(), time.process_time()
    turns.run(steps)
    print([1e3 * (time.process_time() - spent) / steps, 1e3 * (time.perf_counter() - began) / steps])


def measure(*, quick: bool) -> Record:
    """Measure single networks at the paper's recipes, and what two cores make of them."""
    torch.set_num_threads(1)
    record = Record(
        "networks",
        notes="Processor time of one thread unless it says wall. A code is 936 steps, a complete training 39,000; measured are "
        "the first of an epoch, and the further ones are the same program on other images.",
    )
    paper_rows(record, CODE, 3 if quick else 6, 3 if quick else 5)
    paper_rows(record, TRUTH, 1, 2 if quick else 3)
    singles_rows(record, 3 if quick else 6, 3)
    two_cores(record, CODE, 6 if quick else 18, 1 if quick else 3)
    two_cores(record, TRUTH, 1 if quick else 3, 1 if quick else 3)
    return record


if __name__ == "__main__":
    one_side(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
