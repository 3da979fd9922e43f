"""Siamese-Ranking (paper, section 3.3, algorithm 1) of R runs at once.

Axes: ``runs`` the searches of a block, ``archs`` the ranked architectures, ``places`` places of a ranking, best first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from snas import seeds


@dataclass(frozen=True)
class Ranking:
    """A ranking per run.

    Attributes:
        archs: which architecture stands at a place, best first; every row is a permutation of what was ranked.
        levels: 0 for the best value, one more at each smaller value; equal levels are ties that the shuffle has broken.
    """

    archs: Int64[np.ndarray, "runs places"]
    levels: Int64[np.ndarray, "runs places"]

    def take(self, candidates: Int64[np.ndarray, "runs places"]) -> Ranking:
        """Return the same ranking with column numbers replaced by the architectures that the columns stood for."""
        return Ranking(np.take_along_axis(candidates, self.archs, axis=1), self.levels)


def tie_breaks(base_seed: int, space: str, runs: tuple[int, ...], size: int, *ids: int | str) -> np.ndarray:
    """Return a permutation of 0..size-1 per run: among equal values the smaller number goes first.

    Ties are never broken by index, which in both spaces follows the operations.
    """
    return np.stack(
        [seeds.numpy_generator(base_seed, "ties", space, run, *ids).permutation(size) for run in runs]
    )


def order(
    values: Float[np.ndarray, "runs archs"], ties: Int64[np.ndarray, "runs archs"]
) -> Int64[np.ndarray, "runs places"]:
    """Return the columns of each row from the largest value to the smallest, NaN last, ties by ``ties``."""
    return np.lexsort((ties, -_numbers(values)), axis=-1)


def rank(values: Float[np.ndarray, "runs archs"], ties: Int64[np.ndarray, "runs archs"]) -> Ranking:
    """Return the ranking of each row by ``values``, the largest first."""
    archs = order(values, ties)
    return Ranking(archs, _levels(np.take_along_axis(_numbers(values), archs, axis=1)))


def siamese_ranking(
    coarse: Float[np.ndarray, "runs archs"],
    fine: Callable[[Int64[np.ndarray, "runs top"]], Float[np.ndarray, "runs top"]],
    top: int,
    ties: Int64[np.ndarray, "runs archs"],
) -> Ranking:
    """Rank all by the coarse accuracy, then the first ``top`` of them by the fine one (algorithm 1).

    ``fine`` is asked once, for the columns of the first ``top`` places; it answers NaN where an architecture has no
    code, and such an architecture keeps its coarse accuracy in the re-ranking (docs/from-paper-to-code.md).
    """
    first = rank(coarse, ties)
    top = min(top, coarse.shape[1])
    if top == 0:
        return first
    head = first.archs[:, :top]
    predicted = np.asarray(fine(head))
    value = np.where(np.isnan(predicted), np.take_along_axis(_numbers(coarse), head, axis=1), predicted)
    again = rank(value, np.take_along_axis(ties, head, axis=1)).take(head)
    # The head stays ahead of the rest whatever the fine values are, so the levels of the rest go on from it.
    rest = first.levels[:, top:] - first.levels[:, top : top + 1] + again.levels[:, -1:] + 1
    return Ranking(
        np.concatenate([again.archs, first.archs[:, top:]], axis=1),
        np.concatenate([again.levels, rest], axis=1),
    )


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return ``values`` with NaN as −∞: a predictor that broke down knows nothing."""
    return np.where(np.isnan(values), -np.inf, values)


def _levels(descending: np.ndarray) -> np.ndarray:
    steps = descending[:, 1:] != descending[:, :-1]
    return np.concatenate([np.zeros((len(steps), 1), np.int64), np.cumsum(steps, axis=1)], axis=1)
