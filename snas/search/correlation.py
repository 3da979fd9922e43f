"""Rank correlation of whole rankings with the true accuracies: evaluated after a search, outside its counter.

Of all runs of a block at once.  Kendall's τ-b is counted here and equals ``scipy.stats.kendalltau`` to the last digit: the
import of that package takes half a second, as long as a short block of searches.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from snas.search.ranking import Ranking


def rank_correlations(
    ranking: Ranking, accuracy: Float[np.ndarray, " archs"]
) -> tuple[Float[np.ndarray, " runs"], Float[np.ndarray, " runs"]]:
    """Return (Spearman's ρ, Kendall's τ-b) per run between the predicted order and the accuracies; ties share ranks.

    ``accuracy`` holds −∞ for an architecture that has none because its training failed: those rank last, together.
    A run whose predictions are all equal, or a table with equal accuracies everywhere, has no correlation (NaN).
    """
    worse = np.empty(ranking.archs.shape, dtype=np.int64)
    np.put_along_axis(worse, ranking.archs, ranking.levels, axis=1)
    merit = worse.max(axis=1, keepdims=True) - worse
    true = np.unique(accuracy, return_inverse=True)[1]
    return _spearman(merit, true), _kendall(merit, true)


def _spearman(merit: Int64[np.ndarray, "runs archs"], true: Int64[np.ndarray, " archs"]) -> np.ndarray:
    """Return ρ per row: Pearson's of the ranks, of which equal values have the mean of theirs."""
    import pandas as pd

    ranks, true_ranks = pd.DataFrame(merit).rank(axis=1).to_numpy(), pd.Series(true).rank().to_numpy()
    a, b = ranks - ranks.mean(axis=1, keepdims=True), true_ranks - true_ranks.mean()
    scale = np.sqrt((a * a).sum(axis=1) * (b @ b))
    return np.divide(a @ b, scale, out=np.full(len(a), np.nan), where=scale > 0)


def _kendall(merit: Int64[np.ndarray, "runs archs"], true: Int64[np.ndarray, " archs"]) -> np.ndarray:
    """Return τ-b per row: concordant minus discordant pairs, over the geometric mean of the pairs that tie in neither."""
    count = len(true)
    pairs, ties = count * (count - 1) // 2, _tied(np.bincount(true))
    # by accuracy, of equal ones by merit: none of these is discordant
    both = np.sort(true * count + merit, axis=1)
    tied = np.array([_tied(np.bincount(row)) for row in merit])
    tied_in_both = np.array([_tied(np.unique(row, return_counts=True)[1]) for row in both])
    difference = pairs - tied - ties + tied_in_both - 2 * _inversions(both % count)
    with np.errstate(invalid="ignore"):  # 0/0: all are equal
        return np.clip(difference / np.sqrt(pairs - tied) / np.sqrt(pairs - ties), -1, 1)


def _tied(counts: Int64[np.ndarray, " values"]) -> int:
    """Return how many pairs there are of equal values."""
    return int((counts * (counts - 1) // 2).sum())


def _inversions(values: Int64[np.ndarray, "runs places"]) -> Int64[np.ndarray, " runs"]:
    """Return per row how many pairs stand in descending order: a merge sort of all rows together, n log² n.

    Of two sorted halves of width w, merged with the left one first among equals, the values of the right half would stand at
    w, w + 1, ... if none of the left ones were larger; each that is larger moves one of them a place ahead.
    """
    runs, places = values.shape
    whole = 1 << (places - 1).bit_length()
    values = np.pad(values, ((0, 0), (0, whole - places)), constant_values=values.max())
    count, width = np.zeros(runs, dtype=np.int64), 1
    while width < whole:
        halves = 2 * values.reshape(runs, -1, 2, width) + np.arange(2)[:, None]
        merged = np.sort(halves.reshape(runs, -1, 2 * width))
        count += whole * (3 * width - 1) // 4 - ((merged & 1) * np.arange(2 * width)).sum(axis=(1, 2))
        values, width = merged >> 1, 2 * width
    return count
