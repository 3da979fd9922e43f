"""The training schedule of the accuracy predictors (SPEC section 4): epochs, steps, learning rates, batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from snas import InputError, seeds

BATCH = 8


@dataclass(frozen=True)
class Schedule:
    """``epochs`` epochs of max(N // 8, 1) steps; lr 1e-3, and 1e-4 from 70 % on; Adam re-created at 20 % and at 70 %.

    >>> Schedule(200, budget=30).steps, Schedule(200, budget=30).fresh_adam
    (3, (0, 40, 140))
    """

    epochs: int
    budget: int

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.budget < 1:
            raise InputError(f"predictor: epochs {self.epochs} and budget {self.budget} must be at least 1")

    @property
    def steps(self) -> int:
        """Steps of one epoch; set by N, not by the size that the pool has reached."""
        return max(self.budget // BATCH, 1)

    @property
    def fresh_adam(self) -> tuple[int, int, int]:
        """First epochs of the three optimisers: moments and step count start anew there."""
        return 0, round(0.2 * self.epochs), round(0.7 * self.epochs)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return 1e-3 if epoch < self.fresh_adam[2] else 1e-4


def draw_batches(
    base_seed: int, runs: Sequence[int], epoch: int, *, steps: int, pool: int
) -> Int64[Tensor, "steps runs batch"]:
    """Return positions in the pool, with replacement, of all steps of an epoch.

    Each (run, epoch) has its own generator, so a run that is resumed needs no generator state, and kinds of predictor that
    train on the same pool see the same batches.
    """
    draws = [
        torch.randint(pool, (steps, BATCH), generator=seeds.generator(base_seed, "batches", run, epoch))
        for run in runs
    ]
    return torch.stack(draws, 1)
