"""``python -m speed --only gpu``: populations on a GPU against a plain PyTorch loop on the same GPU.  Not among the topics by default.

    python -m speed --only gpu            the codes of all 1,120 networks included, some ten minutes on an H100
    python -m speed --only gpu --quick    without them

Wall time, of work that has been waited for.  Images are random, of CIFAR-10's size; what they show does not change the time.
The codes come first, and rows are kept as they come: a machine that is lent for minutes may be taken back before the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from snas import networks, spaces, training
from snas.images.augment import Batches
from snas.images.imageset import ImageSet
from snas.training.groups import group_size
from snas.training.loop import Step, make_batches
from speed.networks import CODE, TRUTH, Setting, endless, nearest, spread_out
from speed.plain_networks import PlainTraining, loader, random_images
from speed.record import ROOT, Record

GROUPS = (1, 28, 140, 280)
TRUTH_GROUP = 28
CODES = 1120
FLOOR = (
    "6 FLOP per MAC and image (forward, gradients by input and by weight) at the speed of a float32 product of 8192×8192 on "
    "the same card; everything else, and all traffic, for nothing"
)


def seconds(function: Callable[[], object]) -> float:
    """Return the wall seconds of a call, waiting for the GPU."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def ceilings(record: Record) -> float:
    """Measure what the card can do at best; return its float32 FLOP per second."""
    a = torch.empty(2**29, device="cuda")
    b = torch.empty_like(a)
    copy = [2 * a.numel() * 4 / seconds(lambda: b.copy_(a)) / 1e12 for _ in range(12)][2:]
    record.row("copy from memory to memory, read and written", copy, "TB/s")
    x = torch.randn(8192, 8192, device="cuda")
    product = [2 * 8192**3 / seconds(lambda: x @ x) / 1e12 for _ in range(5)][2:]
    record.row("float32 product of 8192×8192", product, "TFLOP/s")
    return 1e12 * statistics.median(product)


def least(archs: list[int], setting: Setting, flops: float) -> float:
    """Return the ms per network and step of :data:`FLOOR`."""
    macs = spaces.load("tiny_nanobench").costs()[0][archs].mean()
    return float(1e3 * 6 * macs * training.recipe(setting.recipe).batch / flops)


def batches_of(setting: Setting) -> Batches:
    """Return the batches of a recipe on random images."""
    return make_batches(
        *random_images(setting.images, setting.channels, setting.side), training.recipe(setting.recipe),
        classes=10, flip=True, base_seed=0, device="cuda",
    )  # fmt: skip


def batch_ms(setting: Setting, repeats: int) -> list[float]:
    """Return the ms per batch of whole epochs; all networks of a group share it."""
    batches = batches_of(setting)
    epoch = lambda: [None for _ in batches.epoch(0)]
    epoch()
    return [1e3 * seconds(epoch) / batches.steps for _ in range(repeats)]


def group_ms(networks_: int, setting: Setting, steps: int, repeats: int, *, compile: bool) -> list[float]:
    """Return the ms per network and step of a group; the batches are there."""
    space, recipe = spaces.load("tiny_nanobench"), training.recipe(setting.recipe)
    archs = spread_out(space, networks_)
    population = networks.population(
        space, archs, bn_momentum=recipe.bn_momentum, device="cuda", compile=compile, **setting.size
    )
    batch = next(iter(batches_of(setting).epoch(0)))
    population.train()
    step = Step(population, recipe.phases[0][0], recipe.adam_eps, 10**6)
    for _ in range(6):
        step(*batch)
    return [
        1e3 * seconds(lambda: [step(*batch) for _ in range(steps)]) / steps / networks_
        for _ in range(repeats)
    ]


def recorded_ms(networks_: int, recipe: str, steps: int, repeats: int) -> list[float] | None:
    """Return the same with recorded steps, from a process of its own: a driver's crash is then a missing row."""
    done = subprocess.run(
        [sys.executable, "-m", "speed.gpu", str(networks_), recipe, str(steps), str(repeats)],
        env={**os.environ, "SNAS_CUDA_GRAPHS": "1"}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode or "not recorded" in done.stderr:
        print(
            f"recorded steps of {networks_} networks: {(done.stderr.strip().splitlines() or ['crashed'])[-1]}"
        )
        return None
    values: list[float] = json.loads(done.stdout.splitlines()[-1])
    return values


def plain_ms(setting: Setting, steps: int, repeats: int) -> list[float]:
    """Return the ms per step of the plain loop with its images on the way to the GPU."""
    space, recipe = spaces.load("tiny_nanobench"), training.recipe(setting.recipe)
    data = loader(*random_images(setting.images, setting.channels, setting.side), 10, recipe)
    one = PlainTraining(networks.build(space, nearest(space, 22e6), **setting.size).to("cuda"), recipe)
    batches = endless(lambda _: data)
    step = lambda: one.step(*(part.to("cuda") for part in next(batches)))
    seconds(lambda: [step() for _ in range(8)])
    return [1e3 * seconds(lambda: [step() for _ in range(steps)]) / steps for _ in range(repeats)]


def measure(*, quick: bool) -> Record:
    """Measure the ceilings, the plain loop, all codes, and groups of growing size."""
    if not torch.cuda.is_available():
        raise SystemExit("python -m speed --only gpu needs a GPU that torch can use; there is none here")
    record = Record("gpu", notes=f"{torch.cuda.get_device_name()}. Wall time.")
    flops = ceilings(record)
    plain = plain_ms(CODE, 20, 2 if quick else 5)
    record.row(f"{CODE.title}: plain loop, 22 M MACs, augmentation and step", plain, "ms/step")
    if not quick:
        code_rows(record, plain, flops)
    batch = batch_row(record, CODE)
    for size in GROUPS:
        archs = spread_out(spaces.load("tiny_nanobench"), size)
        rows = {"launched": group_ms(size, CODE, 10, 3 if quick else 5, compile=True)}
        if size < 140:
            rows["eager torch"] = group_ms(size, CODE, 4, 3, compile=False)
        torch.cuda.empty_cache()  # for the process apart
        if recorded := recorded_ms(size, CODE.recipe, 10, 5):
            rows["recorded"] = recorded
        for name, values in rows.items():
            record.row(
                f"{CODE.title}: group of {size}, {name}, with its share of the batch", [v + batch / size for v in values],
                "ms/step/network", against=plain, floor=least(archs, CODE, flops), floor_assumes=FLOOR,
            )  # fmt: skip
    batch, size = batch_row(record, TRUTH), TRUTH_GROUP
    values = group_ms(size, TRUTH, 5, 3, compile=True)
    record.row(
        f"{TRUTH.title}: group of {size}, launched, with its share of the batch", [v + batch / size for v in values],
        "ms/step/network", floor=least(spread_out(spaces.load("tiny_nanobench"), size), TRUTH, flops), floor_assumes=FLOOR,
    )  # fmt: skip
    return record


def batch_row(record: Record, setting: Setting) -> float:
    """Measure what a batch takes; return the median in ms."""
    row = record.row(f"{setting.title}: a batch, augmented", batch_ms(setting, 3), "ms")
    return float(row["median"])


def code_rows(record: Record, plain: list[float], flops: float) -> None:
    """Measure the codes of the whole space, group by group, from the first import on."""
    from snas.training.codes import estimation_codes

    space, recipe = spaces.load("tiny_nanobench"), training.recipe(CODE.recipe)
    size = group_size(
        space, range(CODES), width=CODE.width, side=CODE.side, batch=recipe.batch, device=torch.device("cuda")
    )
    began = time.perf_counter()

    def said(done: int, total: int, what: str) -> None:
        print(f"{done} of {total} {what} after {time.perf_counter() - began:.0f} s", flush=True)

    frame = estimation_codes(
        space, range(CODES), _images(), torch.arange(CODE.images), recipe,
        base_seed=0, width=CODE.width, device="cuda", group=size, progress=said,
    )  # fmt: skip
    total = time.perf_counter() - began
    assert (frame["status"] == "ok").all()
    each = (1e3 * frame["seconds"] / recipe.steps(CODE.images)).unique().tolist()
    record.row(
        f"{CODE.title}: {CODES} codes in groups of at most {size}, each group", each, "ms/step/network", against=plain,
        floor=least(list(range(CODES)), CODE, flops), floor_assumes=FLOOR,
    )  # fmt: skip
    record.row(f"{CODE.title}: {CODES} codes", [total], "s")


def _images() -> ImageSet:
    """Return the random images as an image set; the last ten stand in both parts, and no code looks at its test part."""
    images, labels = random_images(CODE.images, CODE.channels, CODE.side)
    index = torch.arange(len(labels))
    return ImageSet(
        "random",
        images,
        labels,
        images[-10:],
        labels[-10:],
        tuple("0123456789"),
        True,
        index,
        index[-10:] + 10,
    )


if __name__ == "__main__":
    chosen = next(each for each in (CODE, TRUTH) if each.recipe == sys.argv[2])
    print(group_ms(int(sys.argv[1]), chosen, int(sys.argv[3]), int(sys.argv[4]), compile=True))
