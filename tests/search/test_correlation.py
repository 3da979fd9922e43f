import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from snas.search.correlation import rank_correlations
from snas.search.ranking import rank, tie_breaks


def slow_kendall(x, y):
    """τ-b by looking at every pair."""
    agree = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    pairs = np.sqrt((x[:, None] != x).sum() * (y[:, None] != y).sum())
    return agree.sum() / pairs


def test_equals_plain_definitions_with_ties_and_failed_trainings():
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 15, (4, 80)) / 15
    truth = rng.integers(0, 20, 80) / 20
    truth[:5] = -np.inf
    spearman, kendall = rank_correlations(rank(predicted, tie_breaks(0, "toy", tuple(range(4)), 80)), truth)
    for r in range(4):
        assert spearman[r] == pytest.approx(spearmanr(predicted[r], truth).statistic, abs=1e-12)
        assert kendall[r] == pytest.approx(slow_kendall(predicted[r], np.maximum(truth, -1)), abs=1e-12)
        assert kendall[r] == pytest.approx(kendalltau(predicted[r], truth).statistic, abs=1e-12)


def test_a_perfect_and_a_reversed_ranking():
    truth = np.random.default_rng(1).permutation(30) / 30
    found = rank_correlations(rank(np.stack([truth, -truth]), tie_breaks(0, "toy", (0, 1), 30)), truth)
    assert np.allclose(found, [[1, -1], [1, -1]])


def test_constants_have_no_correlation():
    ties = tie_breaks(0, "toy", (0, 1), 10)
    values = np.stack([np.zeros(10), np.arange(10)])
    spearman, kendall = rank_correlations(rank(values, ties), np.arange(10.0))
    assert np.isnan([spearman[0], kendall[0]]).all()
    assert spearman[1] == pytest.approx(1)
    assert kendall[1] == pytest.approx(1)
    assert np.isnan(rank_correlations(rank(values, ties), np.ones(10))).all()


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 64, 65, 1000])
def test_kendall_is_that_of_scipy_to_the_last_digit(size):
    rng = np.random.default_rng(size)
    for values in (2, 5, 10 * size):
        predicted, truth = rng.integers(0, values, (3, size)) / values, rng.integers(0, values, size) / values
        found = rank_correlations(rank(predicted, tie_breaks(0, "toy", (0, 1, 2), size)), truth)[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns of a single value
            expected = [kendalltau(row, truth, method="asymptotic").statistic for row in predicted]
        assert np.array_equal(found, expected, equal_nan=True)
