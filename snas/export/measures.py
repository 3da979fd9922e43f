"""Accuracy on held-out images with its interval, balanced accuracy, confusion matrix; what random draws would have found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

LEVEL = 0.95
"""Of the confidence intervals."""


@dataclass(frozen=True)
class Accuracy:
    """``correct`` of ``images``, with Wilson's interval and the mean of the classes' own accuracies."""

    correct: int
    images: int
    low: float
    high: float
    balanced: float

    @property
    def value(self) -> float:
        """Share that is right."""
        return self.correct / self.images


def accuracy(matrix: Int64[np.ndarray, "classes classes"]) -> Accuracy:
    """Return the accuracy of a confusion matrix.

    The interval is Wilson's (1927) score interval at :data:`LEVEL`.  It is about the draw of the test images; another
    training of the same network varies as well.  Balanced accuracy is the mean over the classes that have images.

    >>> found = accuracy(np.array([[90, 0], [5, 5]]))
    >>> found.value, found.balanced, round(found.low, 3), round(found.high, 3)
    (0.95, 0.75, 0.888, 0.978)
    """
    from scipy.stats import binomtest

    correct, total = int(np.trace(matrix)), int(matrix.sum())
    interval = binomtest(correct, total).proportion_ci(LEVEL, method="wilson")
    sizes = matrix.sum(axis=1)
    recalls = np.diag(matrix)[sizes > 0] / sizes[sizes > 0]
    return Accuracy(correct, total, float(interval.low), float(interval.high), float(recalls.mean()))


def confusion(
    labels: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Return how many images of each class (row) were called what (column).

    >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(labels), np.asarray(predicted)), 1)
    return matrix


def expected_best(
    values: Sequence[float] | np.ndarray, draws: Sequence[int] | np.ndarray
) -> Float[np.ndarray, " draws"]:
    """Return the expected largest of k independent draws from ``values`` with replacement, for each k of ``draws``.

    Exact: the largest of k draws is at most the i-th smallest of n values with probability (i/n)^k.

    >>> expected_best([0, 1], [1, 2, 3]).tolist()
    [0.5, 0.75, 0.875]
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    below = np.linspace(0, 1, len(ordered) + 1)[None, :] ** np.asarray(draws, dtype=float)[:, None]
    return np.asarray(np.diff(below, axis=1) @ ordered)


def front(costs: np.ndarray, accuracies: np.ndarray) -> Int64[np.ndarray, " front"]:
    """Return the indices of the Pareto front, cheapest first: nothing is both cheaper (or as cheap) and better.

    >>> front(np.array([3, 1, 2, 2]), np.array([0.9, 0.5, 0.8, 0.7])).tolist()
    [1, 2, 0]
    """
    best, chosen = -np.inf, []
    for index in np.lexsort((-accuracies, costs)):
        if accuracies[index] > best:
            best = accuracies[index]
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)
