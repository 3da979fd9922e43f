"""BTS, FTS and BRP's iterations against the rule read literally."""

import numpy as np
import pytest

from snas import InputError, seeds
from snas.search import SAMPLERS
from snas.search.ranking import rank, tie_breaks
from snas.search.samplers import BatchTop, BRPIterations, FullTop, RandomPool, outside

SIZE, RUNS = 97, (4, 0, 9)


class Recorder:
    """A ranker with known values that writes down what it is asked to rank."""

    def __init__(self, size=SIZE):
        self.size = size
        self.values = np.random.default_rng(3).random((len(RUNS), size))
        self.asked = []

    def generators(self, purpose, *ids):
        return [seeds.numpy_generator(0, purpose, "toy", run, *ids) for run in RUNS]

    def rank_candidates(self, candidates, *, codes, update):
        self.asked.append((candidates, codes))
        ties = tie_breaks(0, "toy", RUNS, candidates.shape[1], update)
        return rank(np.take_along_axis(self.values, candidates, axis=1), ties).take(candidates)


def pools(size, count):
    return np.stack([np.random.default_rng(r).permutation(size)[:count] for r in range(len(RUNS))])


@pytest.mark.parametrize("sampler", [BatchTop(), FullTop()])
def test_bts_schedule_for_every_budget(sampler):
    for budget in range(5, 201):
        plan = sampler.plan(budget, 200)
        start = (3 * budget) // 10
        each = (budget - start) // 10
        assert [u.epoch for u in plan] == [0, 49, 58, 67, 76, 85, 94, 103, 112, 121, 130]
        assert [u.new for u in plan] == [start, *[each] * 9, budget - start - 9 * each]
        assert sum(u.new for u in plan) == budget


def test_known_plans():
    assert [u.new for u in BatchTop().plan(30, 200)] == [9, *[2] * 9, 3]
    assert [u.new for u in BatchTop().plan(10, 200)] == [3, *[0] * 9, 7]
    assert BatchTop(share=0.29).plan(100, 200)[0].new == 29  # 0.29 * 100 is 28.999… in floats
    assert RandomPool().plan(50, 200)[0].new == 50
    assert [u.new for u in BRPIterations().plan(103, 5)] == [20, 20, 20, 20, 23]
    assert [u.epoch for u in BRPIterations().plan(103, 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("pool_size", [9, 40, 90])
def test_bts_takes_the_top_of_a_random_subset_without_pool_members(pool_size):
    ranker, pool = Recorder(), pools(SIZE, pool_size)
    new = BatchTop().choose(2, 3, pool, ranker)
    candidates, codes = ranker.asked[0]
    assert codes == 30
    for r, run in enumerate(RUNS):
        shuffled = seeds.numpy_generator(0, "subset", "toy", run, 2).permutation(SIZE)
        expected = [a for a in shuffled if a not in pool[r]][: min(SIZE // 10, SIZE - pool_size)]
        assert candidates[r].tolist() == expected  # ⌊97/10⌋ = 9, distinct, none of the pool
        best = sorted(expected, key=lambda a: -ranker.values[r, a])[:3]
        assert new[r].tolist() == best


def test_a_subset_is_never_smaller_than_what_is_added():
    ranker = Recorder()
    assert BatchTop().choose(1, 14, pools(SIZE, 5), ranker).shape == (3, 14)
    assert ranker.asked[0][0].shape == (3, 14)


def test_fts_ranks_all_but_the_pool():
    ranker, pool = Recorder(), pools(SIZE, 20)
    new = FullTop().choose(1, 4, pool, ranker)
    for r in range(len(RUNS)):
        rest = sorted(set(range(SIZE)) - set(pool[r]))
        assert sorted(ranker.asked[0][0][r]) == rest
        assert new[r].tolist() == sorted(rest, key=lambda a: -ranker.values[r, a])[:4]


@pytest.mark.parametrize("update", [1, 2, 3, 4])
@pytest.mark.parametrize("new", [1, 5, 12])
def test_brp_takes_half_from_the_top_and_half_at_random_from_the_top_part(update, new):
    ranker, pool = Recorder(), pools(SIZE, 12)
    chosen = BRPIterations().choose(update, new, pool, ranker)
    for r in range(len(RUNS)):
        rest = sorted(set(range(SIZE)) - set(pool[r]), key=lambda a: -ranker.values[r, a])
        best, drawn = -(-new // 2), new // 2
        assert chosen[r, :best].tolist() == rest[:best]
        part = rest[: max(len(rest) // 2**update, new)]
        assert set(chosen[r, best:]) <= set(part[best:])
        assert len(set(chosen[r])) == new == best + drawn
    assert ranker.asked[0][1] == 0  # no codes


def test_brp_reaches_the_whole_top_part_and_nothing_below():
    seen = set()
    values = Recorder().values[:1]
    for seed in range(200):

        class One(Recorder):
            def generators(self, purpose, *ids):
                return [np.random.default_rng(seed)]  # noqa: B023

            def rank_candidates(self, candidates, *, codes, update):
                return rank(
                    np.take_along_axis(values, candidates, axis=1),
                    np.arange(candidates.shape[1])[None],
                ).take(candidates)

        chosen = BRPIterations().choose(2, 4, np.zeros((1, 1), np.int64), One())
        seen |= set(chosen[0, 2:].tolist())
    rest = sorted(set(range(1, SIZE)), key=lambda a: -values[0, a])
    assert seen == set(rest[2 : 96 // 4])


def test_outside_keeps_the_order():
    archs = np.array([[3, 1, 0, 2], [0, 1, 2, 3]])
    assert outside(np.array([[1], [3]]), archs).tolist() == [[3, 0, 2], [0, 1, 2]]


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_adds_up_to_the_budget_and_starts_at_random(name):
    sampler = SAMPLERS.load(name)()
    for budget in range(sampler.smallest, 60):
        plan = sampler.plan(budget, 200)
        assert sum(u.new for u in plan) == budget
        assert plan[0].epoch == 0 < plan[0].new
        assert [u.epoch for u in plan] == sorted(u.epoch for u in plan)
        assert len(plan) == len(sampler.plan(budget, 5))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"share": 0.0}, "share of the random start is 0.0"),
        ({"share": 1.1}, "share of the random start is 1.1"),
        ({"updates": 0}, "number of updates is 0"),
        ({"rerank": -1}, "number of codes of an update is -1"),
    ],
)
def test_bad_options(options, sentence):
    with pytest.raises(InputError, match=sentence):
        BatchTop(**options)


def test_the_ends_of_what_is_allowed():
    """All at the start, one update, no codes."""
    edge = BatchTop(share=1, updates=1, rerank=0)
    assert [u.new for u in edge.plan(30, 200)] == [30, 0]
    assert edge.codes(30) == 0
    with pytest.raises(InputError, match=r"budget 9 leaves no architecture to start on \(share 0.1\)"):
        BatchTop(share=0.1).plan(9, 200)
    assert BatchTop(share=0.1).plan(10, 200)[0].new == 1
    with pytest.raises(InputError, match=r"budget 4 leaves no architecture to start on \(5 iterations\)"):
        BRPIterations().plan(4, 5)
    with pytest.raises(InputError, match="number of iterations is 0"):
        BRPIterations(iterations=0)
