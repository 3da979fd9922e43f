"""Architectures of a shard in groups that are trained as one program, by what fits into memory."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas import networks
from snas.device import out_of_memory
from snas.images.imageset import ImageSet
from snas.networks.populations import Population
from snas.spaces.space import Space
from snas.training.loop import Progress, make_batches, train
from snas.training.recipes import Recipe

CPU_BYTES = 512 * 2**20
"""Activations of a group on a CPU: beyond some 100 small networks a larger group gains nothing."""
GPU_SHARE = 0.5
"""Share of a GPU's free memory that the activations of a group may take by the estimate."""

Work = Callable[[list[int]], list[dict[str, Any]]]
"""Trains a group of architectures and returns one row for each."""


class Told:
    """Tells how many networks are done; a group counts by its epochs, so that the time left is known early.

    Args:
        progress: who is told; None: nobody.
        total: number of networks.
        what: what they are done with.
    """

    def __init__(self, progress: Progress | None, total: int, what: str) -> None:
        self.progress, self.total, self.what = progress, total, what
        self.finished = self.working = 0

    def begin(self, count: int) -> None:
        """Take up a group of ``count`` networks."""
        self.working = count

    def epoch_done(self, epoch: int, epochs: int) -> None:
        """Tell of an epoch of the group; the last is the group's own end, which :meth:`done` tells of."""
        if self.progress is not None and epoch < epochs:
            part = self.working * epoch // epochs
            self.progress(self.finished + part, self.total, f"{self.what}, epoch {epoch} of {epochs}")

    def done(self, count: int) -> None:
        """Tell that ``count`` networks are done in all."""
        self.finished = count
        if self.progress is not None:
            self.progress(count, self.total, self.what)


def group_size(
    space: Space, archs: Sequence[int], *, width: int, side: int, batch: int, device: torch.device
) -> int:
    """Return how many networks are one program: as many of their mean size as the memory holds, at least one."""
    needed = [networks.activation_bytes(space, arch, width=width, side=side, batch=batch) for arch in archs]
    if not needed or needed[0] is None:
        return 1
    budget: float = CPU_BYTES
    if device.type == "cuda":  # what this process holds and does not use is free to it as well
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        budget = GPU_SHARE * (torch.cuda.mem_get_info(device)[0] + idle)
    mean = sum(size for size in needed if size is not None) / len(needed)
    return max(1, int(budget / max(mean, 1)))


def train_together(
    space: str | Space,
    archs: Sequence[int | str],
    images: ImageSet,
    recipe: Recipe,
    *,
    base_seed: int,
    width: int,
    device: torch.device,
    compile: bool,
    share: Int64[Tensor, " drawn"] | None = None,
    epoch_done: Callable[[int, int], None] | None = None,
) -> tuple[Population, Float[Tensor, "networks epochs"]]:
    """Train networks as one program on the training images (of these, the ``share``), the test images untouched.

    Returns them and the mean training loss of each epoch.  Initial weights and batches follow ``base_seed``, not the group.
    """
    population = networks.population(
        space, archs, base_seed=base_seed, bn_momentum=recipe.bn_momentum, width=width,
        device=device, compile=compile, **images.size,
    )  # fmt: skip
    chosen = slice(None) if share is None else share
    batches = make_batches(
        images.train_images[chosen], images.train_labels[chosen], recipe,
        classes=len(images.classes), flip=images.flip, base_seed=base_seed, device=device,
    )  # fmt: skip
    return population, train(population, batches, recipe, epoch_done=epoch_done)


def run_in_groups(
    archs: Sequence[int],
    group: int,
    work: Work,
    done: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, dict[str, Any] | None, float]]:
    """Yield (architecture, its row, its share of the seconds) in order; the row is None where it does not fit alone.

    The groups are of equal size, at most ``group``.  Where one runs out of memory, it is done again in two halves, and
    the following groups are no larger than these.
    """
    waiting = list(archs)
    while waiting:
        count = -(-len(waiting) // group)
        size = -(-len(waiting) // count)
        part = waiting[:size]
        started = time.perf_counter()
        rows = _attempt(work, part)
        if rows is None and size > 1:
            group = -(-size // 2)
            continue
        waiting = waiting[size:]
        seconds = (time.perf_counter() - started) / size
        for index, arch in enumerate(part):
            yield arch, None if rows is None else rows[index], seconds
        if done is not None:
            done(len(archs) - len(waiting))


def _attempt(work: Work, part: list[int]) -> list[dict[str, Any]] | None:
    """Return the rows of a group, or None where it does not fit into memory; what it held is free again then."""
    try:
        return work(part)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    gc.collect()  # the failed program lives in reference cycles with its traceback
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def checked(losses: list[float] | None) -> tuple[list[float] | None, str]:
    """Return (losses or None, status): None is a network that did not fit, a loss that is not finite has diverged."""
    if losses is None:
        return None, "out_of_memory"
    if not all(map(math.isfinite, losses)):
        return None, "diverged"
    return losses, "ok"
