"""Siamese-Ranking against algorithm 1 read literally."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snas.search.ranking import rank, siamese_ranking, tie_breaks


def literal(coarse, fine, c, ties):
    """Algorithm 1, one architecture at a time: insert into a sorted list, take the top c, insert again, replace."""

    def insert(ranked, item):
        place = 0
        while place < len(ranked) and ranked[place][:2] < item[:2]:
            place += 1
        ranked.insert(place, item)

    basic = []
    for s in range(len(coarse)):
        insert(basic, (-coarse[s], ties[s], s))
    estimated = []
    for _, _, s in basic[:c]:
        value = coarse[s] if np.isnan(fine[s]) else fine[s]
        insert(estimated, (-value, ties[s], s))
    return [s for _, _, s in estimated + basic[c:]]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40),
    runs=st.integers(1, 3),
    top=st.integers(0, 45),
    values=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_equals_the_literal_algorithm_with_ties_and_missing_codes(size, runs, top, values, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, values, (runs, size)) / 7
    fine = rng.integers(0, values, (runs, size)) / 7
    fine[rng.random((runs, size)) < 0.2] = np.nan
    ties = tie_breaks(seed, "toy", tuple(range(runs)), size)
    asked = []

    def answer(columns):
        asked.append(columns)
        return np.take_along_axis(fine, columns, axis=1)

    found = siamese_ranking(coarse, answer, top, ties)
    for r in range(runs):
        assert found.archs[r].tolist() == literal(coarse[r], fine[r], top, ties[r])
    assert sum(a.shape[1] for a in asked) == min(top, size)  # only the top c are estimated, once
    # levels: equal exactly where neighbours have equal values on the same side of the cut
    head = min(top, size)
    for r in range(runs):
        order = found.archs[r]
        value = np.where(np.isnan(fine[r]), coarse[r], fine[r])
        merged = [(i >= head, coarse[r, s] if i >= head else value[s]) for i, s in enumerate(order)]
        assert (np.diff(found.levels[r]) == [a != b for a, b in pairwise(merged)]).all()


def test_nan_predictions_rank_last_and_leave_other_runs_alone():
    coarse = np.array([[0.1, 0.4, 0.2, 0.3], [np.nan] * 4, [0.1, np.nan, 0.3, 0.2]])
    ties = tie_breaks(0, "toy", (0, 1, 2), 4)
    archs = rank(coarse, ties).archs
    assert archs[0].tolist() == [1, 3, 2, 0]
    assert sorted(archs[1]) == [0, 1, 2, 3]
    assert archs[2].tolist() == [2, 3, 0, 1]


def test_ties_are_shuffled_per_run_and_not_by_index():
    ties = tie_breaks(0, "toy", tuple(range(400)), 20, "final")
    archs = rank(np.zeros((400, 20)), ties).archs
    firsts = np.bincount(archs[:, 0], minlength=20)
    assert firsts.min() > 5  # each of the 20 stands first about 20 times
    assert firsts.max() < 45
    alone = rank(np.zeros((1, 20)), tie_breaks(0, "toy", (17,), 20, "final")).archs
    assert (alone[0] == archs[17]).all()


@pytest.mark.parametrize("ids", [("final",), (3,)])
def test_ties_depend_on_the_occasion(ids):
    assert (tie_breaks(0, "toy", (0,), 50, *ids) != tie_breaks(0, "toy", (0,), 50, "other")).any()
