"""The training schedule of the accuracy predictors: epochs, steps, learning rates, batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError, seeds

BATCH = 8
BETAS = (0.9, 0.999)
"""Adam's, which all predictors have."""


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

    def optimiser(self, epochs: range) -> Float[np.ndarray, "steps 4"]:
        """Return learning rate, Adam's bias corrections and whether Adam is new, of each step of ``epochs``."""
        rows = []
        for epoch in epochs:
            fresh = max(first for first in self.fresh_adam if first <= epoch)
            before = (epoch - fresh) * self.steps
            rate = self.rate(epoch)
            rows += [(rate, *corrections(before + s), before + s == 1) for s in range(1, self.steps + 1)]
        return np.array(rows, dtype=float).reshape(-1, 4)


def corrections(step: int) -> tuple[float, float]:
    """Return 1 − β₁ᵗ and √(1 − β₂ᵗ) of Adam's step t = 1, 2, …"""
    return 1 - BETAS[0] ** step, (1 - BETAS[1] ** step) ** 0.5


def draw_batches(
    base_seed: int, runs: Sequence[int], epoch: int, *, steps: int, pool: int
) -> Int64[np.ndarray, "steps runs batch"]:
    """Return positions in the pool, with replacement, of all steps of an epoch: ``torch.randint``'s.

    Each (run, epoch) has its own stream, so a run that is resumed needs no generator state, and kinds of predictor that
    train on the same pool see the same batches.
    """
    words = np.stack([seeds.words(steps * BATCH, base_seed, "batches", run, epoch) for run in runs])
    draws = (words % np.uint32(pool)).astype(np.int64).reshape(-1, steps, BATCH)
    return np.ascontiguousarray(draws.swapaxes(0, 1))
