"""Which searches a configuration asks for."""

import pytest

from snas import config
from snas.search import jobs

WHOLE, PART = "nasbench201-cifar10", "tiny_nasbench201-cifar10"


@pytest.fixture
def points(tmp_path):
    """Return a function from configuration values to {(bench, method, N): runs}."""

    def make(**values):
        source = {"space": "", "nasbench201": str(tmp_path), "nasbench201_sets": ["cifar10"]}
        fixed = {
            "methods": ["random", "siamese"],
            "budgets": [30, 40],
            "runs": 5,
            "block": 2,
            "extra_searches": [],
        }
        found = {}
        for job in jobs.search_jobs(config.load({**source, **fixed, **values})):
            place = (job.bench, job.method, job.budget)
            assert job.first == found.get(place, 0), "blocks follow one another"
            found[place] = job.stop
        return found

    return make


def test_every_method_is_searched_at_every_budget_of_every_bench(points):
    assert points() == {(b, m, n): 5 for b in (WHOLE, PART) for m in ("random", "siamese") for n in (30, 40)}


def test_a_bench_may_have_budgets_of_its_own(points):
    found = points(bench_budgets=[{"bench": PART, "budgets": [10]}])
    assert {n for b, _, n in found if b == WHOLE} == {30, 40}
    assert {n for b, _, n in found if b == PART} == {10}


def test_a_bench_without_budgets_has_only_what_is_named_for_it(points):
    extra = [{"method": "siamese+bts", "budgets": [15], "runs": 3, "benches": [PART]}]
    found = points(bench_budgets=[{"bench": PART, "budgets": []}], extra_searches=extra)
    assert {place: runs for place, runs in found.items() if place[0] == PART} == {
        (PART, "siamese+bts", 15): 3
    }
    assert (WHOLE, "siamese+bts", 15) not in found


def test_the_larger_number_of_runs_counts(points):
    found = points(extra_searches=[{"method": "siamese", "budgets": [40, 50], "runs": 7}])
    assert found[WHOLE, "siamese", 40] == found[PART, "siamese", 50] == 7
    assert found[WHOLE, "siamese", 30] == 5


def test_a_dear_method_may_have_blocks_of_its_own(tmp_path):
    extra = [{"method": "brp_nas", "budgets": [70], "runs": 6, "block": 2}]
    values = {
        "space": "",
        "nasbench201": str(tmp_path),
        "nasbench201_sets": ["cifar100"],
        "methods": ["random"],
    }
    found = jobs.search_jobs(
        config.load({**values, "budgets": [70], "runs": 6, "block": 3, "extra_searches": extra})
    )
    blocks = {m: [(j.first, j.stop) for j in found if j.method == m] for m in ("random", "brp_nas")}
    assert blocks == {"random": [(0, 3), (3, 6)], "brp_nas": [(0, 2), (2, 4), (4, 6)]}
