"""Figures of merit against plain versions of themselves."""

from itertools import product
from math import sqrt

import numpy as np
import pytest

from snas.export.measures import accuracy, confusion, expected_best, front


def test_expected_best_is_the_mean_over_all_draws():
    values = np.array([0.2, 0.9, 0.4, 0.4])
    for k in (1, 2, 3):
        every = [max(draw) for draw in product(values, repeat=k)]
        assert expected_best(values, [k])[0] == pytest.approx(np.mean(every))
    assert expected_best(values, [10_000])[0] == pytest.approx(0.9)


def test_the_interval_is_wilsons():
    found = accuracy(np.array([[300, 10], [13, 40]]))
    n, p, z = 363, 340 / 363, 1.959964
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n)),
    )
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert found.value == p
    assert found.balanced == pytest.approx((300 / 310 + 40 / 53) / 2)


def test_a_class_without_images_has_no_share_in_the_balanced_accuracy():
    assert accuracy(np.array([[5, 0, 5], [0, 0, 0], [0, 0, 10]])).balanced == 0.75


def test_the_confusion_matrix_counts_every_image_once():
    draw = np.random.default_rng(0)
    labels, predicted = draw.integers(4, size=(2, 200))
    matrix = confusion(labels, predicted, 4)
    assert matrix[1, 2] == sum(a == 1 and b == 2 for a, b in zip(labels, predicted, strict=True))
    assert matrix.sum() == 200


def test_the_front_is_what_nothing_beats():
    draw = np.random.default_rng(1)
    costs, values = draw.integers(8, size=60), draw.integers(20, size=60) / 20
    found = front(costs, values)

    def beaten(i):
        return any(
            costs[j] <= costs[i] and values[j] >= values[i] and (costs[j], values[j]) != (costs[i], values[i])
            for j in range(60)
        )

    assert {(costs[i], values[i]) for i in found} == {
        (costs[i], values[i]) for i in range(60) if not beaten(i)
    }
    assert len(found) == len({(costs[i], values[i]) for i in found})
