"""The methods with a Gaussian process, evolution and local search: what they ask, in which order, at what price."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from snas import InputError, spaces, tables
from snas.analysis import fewest
from snas.search import METHODS
from snas.search.bench import BENCH, Bench
from snas.search.block import Settings, run_block
from snas.search.counter import QueryCounter
from snas.search.gp import GP, GP_CODE, GP_SELECT
from snas.search.jobs import Entry
from snas.search.neighbours import Neighbourhood
from snas.search.removed import remove_best
from snas.search.study import study
from snas.spaces.features import classes

from .toys import SIZE, answering, on_demand, unknown

RUNS = (0, 1, 5)
LOOKING = {"looks": 12, "looks_more": 5, "looks_every": 3, "looks_start": 4}


def search(path, method="gp", budget=14, **options):
    return run_block(path, Settings(method, budget, 0, RUNS, options=options))


def asked(table):
    return np.stack(table["pool"].to_list())


@pytest.mark.parametrize("method", ["gp", "gp+select", "evolution", "local_search"])
def test_a_larger_budget_goes_on_where_a_smaller_one_ends(bench, method):
    """What is asked after t trainings does not hang on N: one search is the whole curve."""
    path = bench()
    assert np.array_equal(asked(search(path, method, 13)), asked(search(path, method, 20))[:, :13])


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batches_use_the_budget_exactly(bench, batch):
    table = search(bench(), budget=31, batch=batch, start=5)
    assert all(len(set(pool)) == 31 for pool in table["pool"])
    assert GP.sizes(31, {"batch": batch, "start": 5}) == [
        5,
        *[batch] * (26 // batch),
        *[26 % batch] * (26 % batch > 0),
    ]


def test_a_batch_of_one_after_another_shares_its_first_with_the_single_search(bench):
    path = bench()
    single, batch = search(path, budget=12, start=8), search(path, budget=12, start=8, batch=4)
    assert np.array_equal(asked(single)[:, :9], asked(batch)[:, :9])


def test_it_finds_the_optimum_sooner_than_chance(bench):
    """On the toy bench (accuracy grows with counts of operations and edges), against the random order."""
    path = bench()
    accuracy = Bench.read(path).accuracy
    mine = accuracy[asked(search(path, budget=40))].max(axis=1)
    random = accuracy[asked(search(path, "random", budget=40))].max(axis=1)
    assert (mine >= random).all()
    assert mine.mean() > random.mean()
    assert (mine >= np.sort(accuracy)[-5]).all()


def test_every_class_is_asked_once_and_then_the_others_follow(bench):
    """The space's own classes: of equal cells only one, the random start itself excepted, until there is nothing else."""
    path = bench(lambda frame: frame.head(60))
    found = classes(spaces.load("toy"), np.arange(60))
    assert len(found) < 60, "the toy space has equal cells"
    pool = asked(search(path, budget=60))
    assert (np.sort(pool, axis=1) == np.arange(60)).all()
    first = found.of[pool[:, : len(found)]]
    assert (np.sort(first, axis=1) == np.arange(len(found))).all()
    assert (pool[:, 1 : len(found)] == found.first[first[:, 1:]]).all()
    assert (pool[:, :1] == asked(search(path, "random", budget=1))).all(), "the start of all methods, itself"
    known = Bench.read(path).accuracy[found.first]
    for row in pool:
        rest = known[found.of[row[len(found) :]]]
        assert np.corrcoef(rest, np.arange(len(rest)))[0, 1] < -0.5, "the best class first"
    for ranking in run_block(path, Settings("gp", 20, 40, RUNS))["ranking"]:
        _, places = np.unique(found.of[ranking], return_index=True)
        assert (ranking[places] == found.first).all(), "of equal ones that which is asked for stands first"


def test_looks_are_counted_priced_and_topped_up_as_planned(bench):
    for name, method, price in (("gp+fidelity", GP_CODE, 0.003), ("gp+select", GP_SELECT, 0.06)):
        for budget in (4, 5, 7, 8, 12):
            table = search(bench(), name, budget, **LOOKING)
            planned = method.looks_after(budget, LOOKING)
            assert len(planned) == budget
            assert planned[-1] == 12 + 5 * ((budget - 5) // 3 + 1 if budget > 4 else 0)
            assert np.allclose(table["price"], budget + planned[-1] * price)
            assert method.looks(budget, 60, LOOKING) == {method.measured: planned[-1]}


@pytest.mark.parametrize("budget", [8, 16, 20, 24])
def test_batches_that_are_due_for_several_looks_make_them_once(bench, budget):
    options = LOOKING | {"batch": 8}
    table = search(bench(), "gp+select", budget, **options)
    assert np.allclose(table["price"], budget + GP_SELECT.looks_after(budget, options)[-1] * 0.06)


@pytest.mark.parametrize(("looks", "sizes"), [(2, [1, 1]), (12, [4, 8]), (60, [20, 10, 10, 10, 10])])
def test_a_third_of_the_looks_is_spread_out_and_the_others_are_chosen_ten_at_a_time(
    bench, monkeypatch, looks, sizes
):
    seen, look = [], QueryCounter.look
    monkeypatch.setattr(
        QueryCounter, "look", lambda self, name, archs: seen.append(archs) or look(self, name, archs)
    )
    search(bench(), "gp+select", 4, looks=looks, looks_start=4)
    assert [archs.shape[1] for archs in seen] == sizes
    assert all(len(set(row)) == looks for row in np.concatenate(seen, axis=1).tolist())


def test_the_first_looks_may_come_after_the_first_trainings(bench):
    options = LOOKING | {"looks": 0}
    table = search(bench(), "gp+select", 12, **options)
    planned = GP_SELECT.looks_after(12, options)
    assert planned[0] == 0 < planned[-1]
    assert np.allclose(table["price"], 12 + planned[-1] * 0.06)


def test_there_are_no_more_looks_than_architectures(bench):
    table = search(bench(lambda frame: frame.head(30)), "gp+select", 8, **LOOKING | {"looks": 100})
    found = classes(spaces.load("toy"), np.arange(30))
    assert np.allclose(table["price"], 8 + 0.06 * len(found))


def test_a_telling_fidelity_helps_and_a_constant_one_falls_back(bench):
    """A cheap measurement that is the accuracy itself leads to the optimum; a constant one leaves the process to itself."""
    path = bench()
    accuracy = Bench.read(path).accuracy
    telling = bench(lambda f: f.assign(accuracy_select=f["accuracy"]), "telling")
    table = search(telling, "gp+select", 5, looks=100, looks_start=4)
    alone = asked(search(path, "gp", 5, start=4))
    assert accuracy[asked(table)].max(axis=1).mean() > accuracy[alone].max(axis=1).mean()
    for constant in (0.5, np.nan):
        flat = bench(lambda f, c=constant: f.assign(accuracy_select=c), "flat")
        table = search(flat, "gp+select", 20, **LOOKING)
        assert all(len(set(pool)) == 20 for pool in table["pool"])
        ranked = np.stack(table["ranking"].to_list())
        assert accuracy[asked(table)].max(axis=1).mean() > np.median(accuracy)
        assert ranked.shape == (len(RUNS), 20)


def test_what_is_looked_at_later_counts_from_then_on(bench, tmp_path, toy):
    path = bench(lambda f: f.assign(accuracy=np.nan, truth_seconds=np.nan, status="unknown"))
    on_demand(tmp_path / "rounds", path, Settings("gp+select", 9, 0, (0,), options=LOOKING), answering(toy))
    found = [np.load(tmp_path / f"rounds/state_{number}.npz") for number in range(6)]
    looks = [state["state/search/cheap/seen"].shape[1] for state in found]
    assert looks == [12, 17, 17, 17, 22, 22]
    for before, after in itertools.pairwise(found):
        more = before["state/search/cheap/seen"].shape != after["state/search/cheap/seen"].shape
        scores = (state["state/search/cheap/scores"] for state in (before, after))
        assert np.array_equal(*scores) != more


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gp", {"start": 4}),
        ("gp+fidelity", LOOKING),
        ("gp+coarse", {"start": 2, "refresh": 4, "predictor": {"epochs": 2}}),
    ],
)
def test_round_by_round_it_is_the_search_that_it_is_at_once(bench, tmp_path, toy, method, options):
    settings = Settings(method, 11, 3, RUNS[:2], options=options)
    at_once = run_block(bench(), settings)
    rounds, _ = on_demand(tmp_path / "rounds", bench(unknown, "unknown"), settings, answering(toy))
    for column in ("pool", "ranking", "trainings", "codes", "price"):
        assert np.array_equal(np.stack(rounds[column]), np.stack(at_once[column])), column


def test_free_looks_are_had_of_everything(bench):
    table = search(bench(), "gp+synflow", 12)
    assert (table["price"] == 12).all()
    assert table["codes"].eq(0).all()


@pytest.mark.parametrize("facts", [{"code_price": 0.0}, {"code_price": 0.003}])
def test_a_proxy_as_the_code_is_looked_at_as_losses_are_whatever_its_price(bench, facts):
    """A larger score is better, a smaller loss is; what costs nothing is no reason to look at more than is planned."""
    score = bench(
        lambda f: f.assign(**{f"code_{k}": -f[f"code_{k}"] for k in (1, 2, 3)}),
        "a",
        code_kind="proxy",
        **facts,
    )
    found = [search(path, "gp+fidelity", 12, **LOOKING) for path in (bench(**facts), score)]
    assert np.array_equal(*map(asked, found))
    planned = GP_CODE.looks_after(12, LOOKING)[-1]
    assert all(table["codes"].eq(planned).all() for table in found)


@pytest.mark.parametrize(("method", "measured"), [("gp+fidelity", "losses"), ("gp+synflow", "scores")])
def test_the_start_is_where_losses_are_small_or_scores_large(bench, method, measured):
    """Of the three losses the last two tell, and the first, which is the same everywhere, does no harm."""
    accuracy, found = Bench.read(bench()).accuracy, []
    for sign in (1, -1):
        loss = (2 - sign * accuracy).astype(np.float32)
        values = {"code_1": np.float32(1), "code_2": loss, "code_3": loss, "log10_synflow": sign * accuracy}
        path = bench(lambda frame, v=values: frame.assign(**v))
        table = search(path, method, 4, looks_start=4, **{"looks": 100} if measured == "losses" else {})
        found.append(accuracy[asked(table)[:, 1:]].mean())
    assert found[0] > found[1] + 0.1


def test_ties_everywhere_end_in_a_random_order(bench):
    """A table of one accuracy: nothing to learn, no NaN, every run another order."""
    path = bench(lambda f: f.assign(accuracy=0.7))
    table = search(path, budget=25)
    pools = asked(table)
    assert all(len(set(pool)) == 25 for pool in pools)
    assert len({tuple(pool) for pool in pools.tolist()}) == len(RUNS)
    assert len({tuple(r) for r in table["ranking"]}) == len(RUNS)


def test_failed_trainings_count_as_chance(bench):
    def half_failed(frame):
        failed = frame["arch"] % 2 == 1
        frame.loc[failed, ["accuracy", "accuracy_select"]] = np.nan
        frame.loc[failed, "status"] = "diverged"

    path = bench(half_failed)
    for method in ("gp", "gp+select", "evolution", "local_search"):
        table = search(path, method, 16)
        assert all(len(set(pool)) == 16 for pool in table["pool"])


def test_the_same_twice_and_alone(bench):
    path = bench()
    for method in ("gp", "gp+select", "evolution", "local_search"):
        table, again = search(path, method, 12), search(path, method, 12)
        assert np.array_equal(asked(table), asked(again))
        for row, run in enumerate(RUNS):
            alone = run_block(path, Settings(method, 12, 0, (run,)))
            assert np.array_equal(alone["pool"][0], table["pool"][row])


@pytest.mark.parametrize("method", ["gp", "local_search"])
def test_a_search_that_asks_one_by_one_says_how_many_are_asked_for(bench, method):
    path, said = bench(), []
    settings = Settings(method, 14, 0, RUNS)
    told = run_block(path, settings, progress=lambda *words: said.append(words))
    assert np.array_equal(asked(told), asked(run_block(path, settings)))
    sizes = [done for done, _, _ in said]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 14
    assert len(sizes) > 3
    assert {words[1:] for words in said} == {(14, "trainings")}


def test_combinations_share_the_process_s_pool(bench):
    """The predictor's pool is what the process has asked for; only the ranking differs."""
    path = bench(lambda frame: frame.head(60))
    plain = search(path, budget=12)
    for method in ("gp+rerank", "siamese+nsam+gp"):
        table = search(path, method, 12, predictor={"epochs": 20})
        assert np.array_equal(asked(table), asked(plain))
        assert (table["codes"] >= 12).all()
        assert (table["codes"] <= METHODS.load(method).looks(12, 60)["code"]).all()
        assert np.array_equal(np.stack(table["coarse_ranking"]), np.stack(plain["coarse_ranking"])) == (
            method == "gp+rerank"
        )


@pytest.mark.parametrize("acquisition", ["ei", "mean"])
def test_only_the_greedy_search_takes_what_it_would_rank_first(bench, acquisition):
    """Six trainings and a ranking, and a seventh: both follow from the same fit."""
    path = bench()
    found = classes(spaces.load("toy"), np.arange(SIZE))
    ranked = run_block(path, Settings("gp", 6, SIZE - 6, RUNS))
    best = [
        next(arch for arch in ranking if found.of[arch] not in found.of[pool])
        for pool, ranking in zip(ranked["pool"], ranked["ranking"], strict=True)
    ]
    taken = asked(search(path, budget=7, acquisition=acquisition))[:, 6].tolist()
    assert (taken == best) == (acquisition == "mean")


def test_the_coarse_accuracy_is_learnt_anew_after_every_so_many_trainings(bench, monkeypatch):
    """As the cheap score of all architectures, it leads to the optimum where it is the accuracy itself."""
    path, trained = bench(), []
    accuracy = Bench.read(path).accuracy

    class Knowing:
        def coarse(self, _):
            return torch.from_numpy(np.tile(accuracy, (len(RUNS), 1)))

    def train(self, count=None):
        trained.append(count)
        return Knowing()

    monkeypatch.setattr("snas.search.gp_search.GaussianSearch._trained", train)
    table = search(path, "gp+coarse", 13, start=2, refresh=4)
    assert trained == [4, 8, 12]
    alone = asked(search(path, "gp", 13, start=2))
    assert accuracy[asked(table)].max(axis=1).mean() > accuracy[alone].max(axis=1).mean()


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("gp", {"strat": 3}, "no option 'strat'; known: start, batch"),
        ("gp", {"batch": 0}, "'batch' is 0; expected an integer of at least 1"),
        ("gp", {"batch": 2.5}, "'batch' is 2.5; expected an integer"),
        ("gp", {"acquisition": "ucb"}, "known: ei, mean"),
        ("evolution", {"batch": 2}, "evolution has no option 'batch'; known: population, sample"),
        ("evolution", {"sample": 0}, "'sample' is 0; expected an integer of at least 1"),
        ("local_search", {"population": 2}, "no option 'population'; known: none"),
    ],
)
def test_unknown_or_senseless_options_are_refused(bench, method, options, sentence):
    with pytest.raises(InputError, match=sentence):
        search(bench(), method, **options)


def test_a_fidelity_without_a_price_is_refused(bench):
    with pytest.raises(InputError, match="has no price; metadata 'select_price' is missing"):
        search(bench(select_price=None), "gp+select")


def test_a_budget_of_one_is_too_small(bench):
    with pytest.raises(InputError, match="budget 1 is too small for a Gaussian process; the smallest is 2"):
        search(bench(), budget=1)


# ---- neighbours


@pytest.mark.parametrize("name", ["nasbench201", "tiny_nanobench"])
def test_neighbours_differ_in_few_places_and_connect_the_space(name):
    encoding = spaces.load(name).encoding()
    near = Neighbourhood(encoding)
    rng = np.random.default_rng(0)
    for arch in rng.choice(len(encoding), 10, replace=False):
        operations = (encoding.operations != encoding.operations[arch]).sum(axis=1)
        edges = (encoding.adjacency != encoding.adjacency[arch]).sum(axis=(1, 2))
        distance = operations + edges
        assert np.array_equal(near.differences(np.array([arch]))[0], distance)
        expected = np.flatnonzero((distance <= near.radius) & (distance > 0))
        assert np.array_equal(near.of(int(arch)), expected)
    if name == "nasbench201":
        assert near.radius == 1
        assert len(near.of(0)) == 24
        return
    assert connected(near, near.radius)
    assert not connected(near, near.radius - 1)


def connected(near, radius):
    size = len(near._marks)
    link = near.differences(np.arange(size)) <= radius
    reached = link[0]
    for _ in range(size):
        more = link[reached].any(axis=0)
        if (more == reached).all():
            break
        reached = more
    return reached.all()


def test_local_search_goes_to_better_neighbours_only(bench):
    """Every step is a neighbour of the best of its walk, or a new start where all neighbours are trained."""
    path = bench()
    accuracy = Bench.read(path).accuracy
    near = Neighbourhood(spaces.load("toy").encoding())
    for pool in asked(search(path, "local_search", 60)):
        here, trained = int(pool[0]), {int(pool[0])}
        for arch in map(int, pool[1:]):
            left = set(near.of(here).tolist()) - trained
            assert arch in left if left else True
            if not left or accuracy[arch] > accuracy[here]:
                here = arch
            trained.add(arch)


def test_children_of_evolution_are_neighbours_of_the_living(bench):
    near = Neighbourhood(spaces.load("toy").encoding())
    for pool in asked(search(bench(), "evolution", 40, population=6, sample=3)):
        for place in range(6, 40):
            living = pool[place - 6 : place]
            assert any(pool[place] in near.of(int(parent)) for parent in living)


# ---- benches without their best


def test_the_best_are_removed_and_the_search_does_without(bench, tmp_path):
    path = bench()
    whole = Bench.read(path)
    remove_best(path, 4, tmp_path / "without.parquet")
    part = Bench.read(tmp_path / "without.parquet")
    assert len(part.archs) == SIZE - 4
    assert part.accuracy.max() <= np.sort(whole.accuracy)[-5]
    assert part.metadata["removed"] == 4
    remove_best(tmp_path / "without.parquet", 2, tmp_path / "less.parquet")
    assert Bench.read(tmp_path / "less.parquet").metadata["removed"] == 6
    table = run_block(tmp_path / "without.parquet", Settings("gp", 12, 0, RUNS))
    assert np.isin(asked(table), part.archs).all()
    with pytest.raises(InputError, match="240 architectures cannot be removed"):
        remove_best(path, SIZE, tmp_path / "none.parquet")


def test_settings_of_a_method_are_not_those_of_another():
    assert replace(GP, settings=replace(GP.settings, start=3)).sizes(5) == [3, 1, 1]
    assert GP.sizes(9) == [GP.settings.start, *[1] * (9 - GP.settings.start)]


def test_a_study_is_resumed_and_analysed(bench, tmp_path):
    entries = [
        Entry("random", 6),
        Entry("gp", 6, options={"start": 3}),
        Entry("gp", 6, labels="accuracy_select"),
    ]
    run = lambda: list(study(bench(), tmp_path / "study", entries, runs=3, block=2, removed=(0, 2)))
    paths = run()
    assert len(paths) == len(set(paths)) == 2 * 3 * 2
    before = [path.stat().st_mtime_ns for path in paths]
    paths[3].unlink()
    assert run() == paths
    after = [path.stat().st_mtime_ns for path in paths]
    assert [a != b for a, b in zip(after, before, strict=True)] == [k == 3 for k in range(12)]
    homes = sorted({path.parent.parent for path in paths})
    searches = {home / "table.parquet": [p for p in paths if home in p.parents] for home in homes}
    outputs = {name: tmp_path / f"{name}.parquet" for name in fewest.SCHEMAS}
    fewest.analyse(searches, outputs, resamples=50)
    needed = tables.read(outputs["needed"], fewest.NEEDED)
    assert set(needed["method"]) == {"random", "gp start=3", "gp (fair)"}
    assert set(needed["removed"]) == {0, 2}
    assert needed["runs"].eq(3).all()


def test_a_study_of_another_bench_or_seed_is_not_taken_for_this_one(bench, tmp_path):
    entries = [Entry("random", 6)]
    run = lambda path, **other: list(study(path, tmp_path / "study", entries, runs=2, removed=(2,), **other))
    path = bench()
    assert run(path) == run(path)
    with pytest.raises(
        InputError, match=r"block_00-01.parquet: made with base_seed = 0, and 7 is asked for; a folder"
    ):
        run(path, base_seed=7)
    other = bench(lambda frame: frame.assign(accuracy=1 - frame["accuracy"]), "other")
    with pytest.raises(
        InputError, match=r"removed_2/table.parquet: made of another bench than .*other.*; a folder"
    ):
        run(other)
    facts = tables.metadata(path) | {"dataset": "elsewhere"}
    tables.write(tmp_path / "named.parquet", tables.read(path, BENCH), BENCH, facts)
    with pytest.raises(InputError, match="made of another bench than"):
        run(tmp_path / "named.parquet")


def test_what_a_run_is_judged_by_is_what_it_trains(bench):
    """Its score is the best of pool and K outside it, so these K are asked for; nothing the score needs is unknown."""
    for row in run_block(bench(), Settings("gp", 14, 6, RUNS)).itertuples():
        outside = [arch for arch in row.ranking if arch not in row.pool][:6]
        assert len(outside) == 6
        assert row.trainings == 14 + 6
