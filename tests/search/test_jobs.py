"""Which searches a configuration asks for."""

import pytest

from snas import InputError, config
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


def test_a_search_beside_the_others_has_their_number_of_runs_unless_it_names_its_own(points):
    found = points(extra_searches=[{"method": "siamese+bts", "budgets": [40]}])
    assert found[WHOLE, "siamese+bts", 40] == found[WHOLE, "siamese", 30] == 5


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


@pytest.mark.parametrize("own", [{}, {"runs": 6}])
def test_a_search_of_the_others_may_be_cut_into_more_jobs(tmp_path, own):
    """As many runs as it has anyway, a few a job."""
    extra = [{"method": "siamese", "budgets": [70], "block": 2, **own}]
    values = {
        "space": "",
        "nasbench201": str(tmp_path),
        "nasbench201_sets": ["cifar100"],
        "methods": ["siamese"],
    }
    values |= {"budgets": [70, 80], "runs": 6, "block": 6, "extra_searches": extra}
    found = [
        (job.budget, job.first, job.stop)
        for job in jobs.search_jobs(config.load(values))
        if "tiny" not in job.bench
    ]
    assert found == [(70, 0, 2), (70, 2, 4), (70, 4, 6), (80, 0, 6)]


MEANS = {"cifar10": ["epochs_12", "validation"], "cifar100": ["one_seed", "code", "validation"]}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"nasbench201_sets": ["cifar10", "imagenet16-120"]},
         "key 'nasbench201_sets' has imagenet16-120, which source.csv has not; it has cifar10, cifar100"),
        ({"nasbench201_table": "one_seed"},
         "key 'nasbench201_table' is 'one_seed', and source.csv has no accuracy per seed of cifar10; nasbench201_table = mean is"),
        ({"nasbench201_select": "one_seed"},
         "key 'nasbench201_select' is 'one_seed', which source.csv has not of cifar10; epochs_12 or validation is right"),
        ({"methods": ["random", "siamese"]},
         "method 'siamese' on nasbench201-cifar10: it looks at estimation codes, and source.csv records none; nasbench201_code ="),
        ({"fewest": [{"method": "gp+fidelity", "budgets": [20]}]}, "method 'gp+fidelity' on nasbench201-cifar10: it looks at est"),
        ({"nasbench201_sets": ["cifar100"], "methods": ["random@labels=select"]},
         "method 'random@labels=select' on nasbench201-cifar100: it selects on the accuracies of nasbench201_select = epochs_12, which source.csv has not"),
    ],
)  # fmt: skip
def test_what_a_source_of_nasbench201_lacks_is_refused_by_the_key_that_asks_for_it(
    values, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source.csv").touch()
    own = {"space": "", "nasbench201": "source.csv", "nasbench201_sets": ["cifar10"], "methods": ["random"]}
    none = {"extra_searches": [], "bench_budgets": []}
    checked = config.load({**own, **none, **values})
    names = [bench.name for bench in jobs.benches(checked)]
    wanted = jobs.search_jobs(checked), jobs.fewest_jobs(checked)
    with pytest.raises(InputError) as error:
        jobs.check_offers(checked, MEANS, names, *wanted)
    assert f"configuration: {sentence}" in str(error.value)
    jobs.check_offers(checked, MEANS, [], *wanted)  # of a bench that is not made nothing is asked
    jobs.check_offers(checked, None, names, *wanted)
    checked = config.load({**own, **none})
    jobs.check_offers(checked, MEANS, names[:1], jobs.search_jobs(checked))
