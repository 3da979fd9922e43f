"""Which architectures a predictor is trained on: a random pool, BTS and FTS (paper, algorithm 2), BRP-NAS's iterations.

A sampler is a plan (when, how many; known from the budget alone) and a choice.  Axes: ``runs``, ``pool`` the
architectures trained so far, ``new`` those of one update.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from snas import InputError
from snas.search.ranking import Ranking


@dataclass(frozen=True)
class Update:
    """Train until ``epoch`` complete epochs of the predictor's schedule are done, then add ``new`` to the pool."""

    epoch: int
    new: int


@runtime_checkable
class Ranker(Protocol):
    """What a sampler may use of a search: seeded draws and a ranking, no accuracies."""

    size: int
    """Number of architectures of the space."""

    def generators(self, purpose: str, *ids: int | str) -> list[np.random.Generator]:
        """Return a generator per run, the same for every method, budget and block."""

    def rank_candidates(
        self, candidates: Int64[np.ndarray, "runs archs"], *, codes: int, update: int
    ) -> Ranking:
        """Siamese-Rank ``candidates`` with the predictor as it is; the first ``codes`` of them by the fine accuracy."""


class Sampler(ABC):
    """How the pool of N architectures comes about."""

    smallest: int = 1
    """Smallest N it can serve."""

    @abstractmethod
    def plan(self, budget: int, epochs: int) -> tuple[Update, ...]:
        """Return the updates for N = ``budget`` and a schedule of ``epochs``; their number hangs on N alone.

        The first has epoch 0: the start of the run's random permutation, the same for every method.
        """

    def choose(
        self, update: int, new: int, pool: Int64[np.ndarray, "runs pool"], ranker: Ranker
    ) -> Int64[np.ndarray, "runs new"]:
        """Return ``new`` architectures for update number ``update`` (from 1) that are not in the pool."""
        raise NotImplementedError(f"{type(self).__name__} adds nothing after the start")

    def codes(self, budget: int) -> int:
        """Return how many codes of architectures outside the pool the updates may look at."""
        return 0


@dataclass(frozen=True)
class RandomPool(Sampler):
    """All N at the start, at random (neural predictor, siamese, siamese+nsam)."""

    def plan(self, budget: int, epochs: int) -> tuple[Update, ...]:
        """Return the one update."""
        return (Update(0, budget),)


@dataclass(frozen=True)
class BatchTop(Sampler):
    """Batch Top Sampling (paper, section 3.4, algorithm 2; schedule decided in docs/from-paper-to-code.md).

    ⌊share·N⌋ at random; training on them for the first fifth of the epochs; in the following half of the epochs
    ``updates`` times: Siamese-Rank a random ⌊S/updates⌋ of the S architectures, drawn without replacement, pool members
    skipped, and add the top ⌊(N − ⌊share·N⌋)/updates⌋.  The last update takes the remainder, so that the pool ends at
    exactly N.  Of 200 epochs, the ten updates follow after 49, 58, ..., 130.

    Decided: an update that adds nothing ranks nothing and spends no codes; a subset is never smaller than what is
    added from it.

    >>> [u.epoch for u in BatchTop().plan(100, 200)]
    [0, 49, 58, 67, 76, 85, 94, 103, 112, 121, 130]
    """

    share: float = 0.3
    updates: int = 10
    rerank: int = 30
    smallest = 4

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"share of the random start is {self.share}; expected more than 0 and at most 1")
        if self.updates < 1:
            raise InputError(f"number of updates is {self.updates}; expected 1 or more")
        if self.rerank < 0:
            raise InputError(f"number of codes of an update is {self.rerank}; expected 0 or more")

    def plan(self, budget: int, epochs: int) -> tuple[Update, ...]:
        """Return the start and ``updates`` updates."""
        start = int(Fraction(str(self.share)) * budget)  # exact: 0.29 * 100 is 28.999… in floats
        if start < 1:
            raise InputError(f"budget {budget} leaves no architecture to start on (share {self.share})")
        each, rest = divmod(budget - start, self.updates)
        return (
            Update(0, start),
            *(
                Update(
                    epochs // 5 + i * (epochs // 2) // (self.updates + 1),
                    each + rest * (i == self.updates),
                )
                for i in range(1, self.updates + 1)
            ),
        )

    def subset(self, size: int, new: int) -> int:
        """Return how many architectures an update ranks."""
        return max(size // self.updates, new)

    def choose(
        self, update: int, new: int, pool: Int64[np.ndarray, "runs pool"], ranker: Ranker
    ) -> Int64[np.ndarray, "runs new"]:
        """Return the top ``new`` of a Siamese-ranked random subset."""
        wanted = min(self.subset(ranker.size, new), ranker.size - pool.shape[1])
        shuffled = np.stack([g.permutation(ranker.size) for g in ranker.generators("subset", update)])
        candidates = outside(pool, shuffled)[:, :wanted]
        return ranker.rank_candidates(candidates, codes=self.rerank, update=update).archs[:, :new]

    def codes(self, budget: int) -> int:
        """Return the re-ranked architectures of all updates together."""
        return self.updates * self.rerank


@dataclass(frozen=True)
class FullTop(BatchTop):
    """Fully Top Sampling: as BTS, with the whole space (but the pool) ranked at every update."""

    def subset(self, size: int, new: int) -> int:
        """Return the whole space."""
        return size


@dataclass(frozen=True)
class BRPIterations(Sampler):
    """BRP-NAS's iterations: a fifth of N at random; after iteration i, half of the new ones are the top predicted, half
    random from the top 1/2^i of the ranking of those not yet trained.

    Decided: with an odd number the top gets one more; the last iteration takes the remainder of N/5; where the top
    1/2^i is too short, it reaches as far down as the draw needs.
    """

    iterations: int = 5
    smallest = 5

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InputError(f"number of iterations is {self.iterations}; expected 1 or more")

    def plan(self, budget: int, epochs: int) -> tuple[Update, ...]:
        """Return one update per iteration; the schedule unit of the predictor is the iteration."""
        each, rest = divmod(budget, self.iterations)
        if each < 1:
            raise InputError(
                f"budget {budget} leaves no architecture to start on ({self.iterations} iterations)"
            )
        last = self.iterations - 1
        return tuple(
            Update(i * epochs // self.iterations, each + rest * (i == last)) for i in range(last + 1)
        )

    def choose(
        self, update: int, new: int, pool: Int64[np.ndarray, "runs pool"], ranker: Ranker
    ) -> Int64[np.ndarray, "runs new"]:
        """Return the top ⌈new/2⌉ and ⌊new/2⌋ random ones of the top 1/2^update."""
        every = np.broadcast_to(np.arange(ranker.size), (len(pool), ranker.size))
        ranked = ranker.rank_candidates(outside(pool, every), codes=0, update=update).archs
        drawn = new // 2
        best = new - drawn
        stop = max(ranked.shape[1] >> update, best + drawn)
        places = np.stack(
            [
                g.choice(np.arange(best, stop), drawn, replace=False)
                for g in ranker.generators("explore", update)
            ]
        )
        return np.concatenate([ranked[:, :best], np.take_along_axis(ranked, places, axis=1)], axis=1)


def outside(
    pool: Int64[np.ndarray, "runs pool"], archs: Int64[np.ndarray, "runs archs"]
) -> Int64[np.ndarray, "runs rest"]:
    """Return each row of the permutations ``archs`` without the members of the pool (distinct), in the same order."""
    member = np.zeros(archs.shape, dtype=bool)
    np.put_along_axis(member, pool, True, axis=1)
    keep = ~np.take_along_axis(member, archs, axis=1)
    return archs[keep].reshape(len(archs), archs.shape[1] - pool.shape[1])
