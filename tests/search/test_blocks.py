"""Blocks of runs: pairing, counting, at once and on demand."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snas import InputError, seeds, tables
from snas.predictors import REGISTRY as PREDICTORS
from snas.predictors import native
from snas.search import METHODS, block
from snas.search.asks import ANSWERS, wanted
from snas.search.block import SEARCH, Settings, run_block
from snas.search.counter import BudgetExceeded, NotAsked
from snas.search.method import Method, Search
from snas.search.ranking import Ranking

from . import toys
from .toys import answering, on_demand, unknown

TIMES = ["seconds", "train_seconds"]
METHOD_NAMES = ("random", *toys.TOYS)


def same(a: pd.DataFrame, b: pd.DataFrame, but: tuple[str, ...] = ()) -> None:
    drop = [*TIMES, *but]
    a, b = (f.drop(columns=drop).reset_index(drop=True) for f in (a, b))
    for column in a:
        for x, y in zip(a[column], b[column], strict=True):
            assert np.array_equal(x, y, equal_nan=isinstance(x, float)), (column, x, y)


def some_failed(frame):
    failed = frame["arch"] % 6 == 0
    frame.loc[failed, ["accuracy", "accuracy_select"]] = np.nan
    frame.loc[failed, "status"] = "diverged"
    frame.loc[frame["arch"] == 6, "status"] = "out_of_memory"


def some_without_code(frame):
    frame.loc[frame["arch"] % 3 == 0, ["code_1", "code_2", "code_3"]] = np.nan


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("change", [lambda frame: None, some_failed, some_without_code])
def test_on_demand_equals_exhaustive_bit_by_bit(method, change, bench, tmp_path, toy):
    change(toy)
    settings = Settings(method, 20, 6, runs=(0, 3))
    at_once = run_block(bench(change), settings)
    table, asks = on_demand(
        tmp_path / "rounds",
        bench(lambda frame: unknown(change(frame) or frame), "unknown"),
        settings,
        answering(toy),
    )
    same(at_once, table, but=("spearman", "kendall", "coarse_spearman", "coarse_kendall"))
    assert (
        table["spearman"].isna().all()
    )  # nobody knows the accuracies of the whole space: no number is made up
    for row in table.itertuples():
        asked = np.concatenate([list(a["arch"][a["run"] == row.run]) for a in asks])
        assert len(asked) == row.trainings  # each run asks for an architecture once
        assert set(asked) == set(row.pool) | set(row.ranking[:6])
    assert len(asks) == block.rounds(method, 20)


def test_what_several_runs_ask_for_is_trained_once(bench, tmp_path, toy):
    trained = []

    def answer(archs):
        trained.extend(archs)
        return answering(toy)(archs)

    table, asks = on_demand(
        tmp_path / "rounds",
        bench(unknown, "unknown"),
        Settings("linear_bts", 40, 10, runs=tuple(range(6))),
        answer,
    )
    assert len(trained) == len(set(trained)) == len(set(pd.concat(asks)["arch"]))
    assert len(trained) < table["trainings"].sum()


def test_runs_do_not_depend_on_their_block(bench):
    path = bench()
    for method in ("random", "linear_bts", "linear_brp"):
        settings = Settings(method, 20, 6, runs=(0, 1, 2, 3))
        whole = run_block(path, settings)
        parts = [run_block(path, replace(settings, runs=runs)) for runs in ((0,), (1, 2), (3,))]
        same(whole, pd.concat(parts))


def test_a_search_says_which_share_of_the_training_is_done(bench, monkeypatch):
    """The predictor tells the share of a call, the search that of the whole training."""
    fit = toys.LinearPredictor.fit

    def telling(self, *data, start, stop):
        if self.tell:
            self.tell(0.5)
        fit(self, *data, start=start, stop=stop)

    monkeypatch.setattr(toys.LinearPredictor, "fit", telling)
    path, said = bench(), []
    settings = Settings("linear_bts", 20, 6, runs=(0, 1))
    same(run_block(path, settings), run_block(path, settings, progress=lambda *words: said.append(words)))
    shares = [done for done, _, _ in said]
    assert shares == sorted(shares)
    assert len(set(shares)) == len(shares) > 2
    assert {words[1:] for words in said} == {(100, "% of the training")}
    assert max(shares) < 100  # half of the last call


def test_the_times_of_a_block_are_shared_by_its_runs(bench, monkeypatch):
    """Table 1 shows the time of a training: the sum over the runs is what the block has taken, not a multiple of it."""
    fit, slept = toys.LinearPredictor.fit, []

    def slow(self, *data, start, stop):
        slept.append(0.05)
        time.sleep(0.05)
        fit(self, *data, start=start, stop=stop)

    monkeypatch.setattr(toys.LinearPredictor, "fit", slow)
    started = time.perf_counter()
    table = run_block(bench(), Settings("linear_bts", 20, 6, runs=(0, 1, 2, 3)))
    whole = time.perf_counter() - started
    assert sum(slept) <= table["train_seconds"].sum() <= table["seconds"].sum() <= whole


def test_seeds_are_paired_across_methods_and_budgets(bench):
    path, runs = bench(), (0, 1, 5)
    random = run_block(path, Settings("random", 60, 10, runs=runs))
    for method, start in (("linear", 30), ("linear_plain", 30), ("linear_bts", 9), ("linear_brp", 6)):
        table = run_block(path, Settings(method, 30, 5, runs=runs))
        assert table["seed"].tolist() == random["seed"].tolist()
        for mine, draws in zip(table["pool"], random["pool"], strict=True):
            assert mine[:start].tolist() == draws[:start].tolist()
    permutation = seeds.numpy_generator(0, "pool", "toy", 5).permutation(240)
    assert random["pool"][2].tolist() == permutation[:60].tolist()
    assert random["ranking"][2][:10].tolist() == permutation[60:70].tolist()  # N + K draws
    assert (random["trainings"] == 70).all()
    other = run_block(path, Settings("random", 60, 10, runs=runs, base_seed=1))
    assert not np.array_equal(other["pool"][0], random["pool"][0])
    assert set(other["seed"]).isdisjoint(random["seed"])


def test_counts_stand_in_the_table(bench):
    for method, most_codes in (
        ("linear", 20 + 60),
        ("linear_bts", 20 + 300 + 60),
        ("linear_plain", 0),
        ("random", 0),
    ):
        table = run_block(bench(), Settings(method, 20, 6, runs=(0, 1)))
        for row in table.itertuples():
            assert len(row.pool) == len(set(row.pool)) == 20
            assert row.trainings == len(set(row.pool) | set(row.ranking[:6])) <= 26
            assert row.codes <= most_codes
            assert (row.codes > 0) == (most_codes > 0)
            assert row.price == pytest.approx(row.trainings + 0.003 * row.codes)
        if method == "linear":
            # the pool and the first 60 of the coarse ranking (26 of them are kept): nothing else was looked at
            assert (table["codes"] >= 60).all()


def test_the_top_outside_the_pool_costs_n_plus_k(bench):
    settings = Settings("linear_bts", 40, 10, runs=(0, 1, 2))
    paper, fair = (run_block(bench(), replace(settings, new_only=new)) for new in (False, True))
    same(paper, fair, but=("trainings", "price"))
    assert (fair["trainings"] == 50).all()
    assert (paper["trainings"] < 50).any()
    for row in fair.itertuples():  # enough of the ranking is kept to find K outside the pool
        assert len([a for a in row.ranking if a not in row.pool]) >= 10


def test_search_finds_better_ones_than_the_pool_and_correlates(bench, toy):
    accuracy = toy["accuracy"].to_numpy()
    table = run_block(bench(), Settings("linear_bts", 40, 10, runs=tuple(range(8))))
    best = [accuracy[r[:10]].max() for r in table["ranking"]]
    assert np.mean(best) > np.mean([accuracy[p[:12]].max() for p in table["pool"]])
    assert table["spearman"].mean() > 0.3
    assert np.isfinite(table[["spearman", "kendall", "coarse_spearman", "coarse_kendall"]]).all(axis=None)
    assert (run_block(bench(), Settings("random", 9, 9, runs=(0,)))["spearman"].isna()).all()


def test_correlations_are_those_of_each_ranking(bench, toy):
    accuracy = toy["accuracy"].to_numpy()
    for row in run_block(bench(), Settings("linear", 40, 200, runs=(0, 1), rerank=240)).itertuples():
        for ranking, spearman, kendall in (
            (row.ranking, row.spearman, row.kendall),
            (row.coarse_ranking, row.coarse_spearman, row.coarse_kendall),
        ):
            places = -np.arange(len(ranking))
            assert spearman == pytest.approx(stats.spearmanr(places, accuracy[ranking]).statistic, abs=0.003)
            assert kendall == pytest.approx(stats.kendalltau(places, accuracy[ranking]).statistic, abs=0.003)
        assert abs(row.spearman - row.coarse_spearman) > 0.006


def test_the_final_ranking_resorts_the_coarse_top(bench):
    table = run_block(bench(), Settings("linear", 80, 20, runs=(0, 1, 2), rerank=12))
    for row in table.itertuples():
        assert set(row.ranking[:12]) == set(row.coarse_ranking[:12])
        assert row.ranking[12:].tolist() == row.coarse_ranking[12:].tolist()
    assert any(r.ranking.tolist() != r.coarse_ranking.tolist() for r in table.itertuples())


def test_failed_trainings_count_as_chance_and_rank_last(bench, toy):
    some_failed(toy)
    path = bench(some_failed, chance=0.25)
    told = {}

    class Curious(Search):
        def __init__(self, problem, counter):
            self.problem, self.counter = problem, counter

        def propose(self, number):
            return self.problem.permutations[:, :120]

        def rank(self):
            archs = self.problem.permutations
            told["accuracy"] = self.counter.accuracies(archs[:, :120])
            told["archs"] = archs[:, :120]
            return Ranking(archs, archs.argsort(axis=1)), Ranking(archs, archs.argsort(axis=1))

    with registered(Curious):
        run_block(path, Settings("test", 120, 1, runs=(0,)))
    truth = toy["accuracy"].to_numpy()[told["archs"]]
    assert np.isnan(truth).any()
    assert np.array_equal(told["accuracy"], np.where(np.isnan(truth), 0.25, truth))


def test_a_table_with_ties_everywhere(bench):
    def flat(frame):
        frame["accuracy"] = 0.5
        frame[["code_1", "code_2", "code_3"]] = 1.0

    for method in METHOD_NAMES:
        table = run_block(bench(flat), Settings(method, 20, 5, runs=(0, 1)))
        assert table["spearman"].isna().all()
        assert (table["trainings"] <= 25).all()


def test_the_fair_protocol_learns_from_the_selection_accuracy(bench, toy):
    def inverted(frame):
        frame["accuracy_select"] = 1 - frame["accuracy"]

    settings = Settings("linear_plain", 60, 5, runs=(0, 1, 2))
    paper, fair = (
        run_block(bench(inverted), replace(settings, labels=labels))
        for labels in ("accuracy", "accuracy_select")
    )
    assert paper["spearman"].mean() > 0.3
    assert fair["spearman"].mean() < -0.3  # correlations are with the true accuracy in both


def test_a_sample_of_the_space_keeps_its_indices(bench):
    path = bench(lambda frame: frame[frame["arch"] % 2 == 1])
    table = run_block(path, Settings("linear_bts", 20, 6, runs=(0, 1)))
    for column in ("ranking", "pool", "coarse_ranking"):
        assert all((np.array(row) % 2 == 1).all() for row in table[column])


def test_options_are_ablations_of_their_own(bench):
    settings = Settings("linear_bts", 20, 6, runs=(0,))
    table = run_block(bench(), replace(settings, options={"sampler": {"share": 0.5, "updates": 2}}))
    plain = run_block(bench(), settings)
    assert table["pool"][0][:10].tolist() != plain["pool"][0][:10].tolist()
    assert block.rounds("linear_bts", 20, {"sampler": {"updates": 2}}) == 4
    with pytest.raises(
        InputError, match="sampler 'bts' has no option 'lambda'; known: share, updates, rerank"
    ):
        run_block(bench(), replace(settings, options={"sampler": {"lambda": 0.5}}))
    with pytest.raises(InputError, match="method option 'samplr' is unknown"):
        run_block(bench(), replace(settings, options={"samplr": {}}))


def test_the_search_table_is_written_and_read(bench, tmp_path):
    path = bench()
    settings = Settings("linear_bts", 20, 6, runs=(0, 1))
    table = run_block(path, settings)
    out = tmp_path / "search.parquet"
    tables.write(out, table, SEARCH, block.metadata(path, settings))
    same(tables.read(out, SEARCH), table)
    assert tables.metadata(out)["score"] == "top"
    assert tables.metadata(out)["code_price"] == 0.003
    assert block.metadata(path, Settings("random", 20, 6, runs=(0,)))["score"] == "asked"


class registered:
    """A search as the method ``test`` for the length of a block."""

    def __init__(self, search: type, looks: dict[str, int] | None = None, rounds: int = 1) -> None:
        class Tested(Method):
            def rounds(self, budget, options=None):
                return rounds

            def looks(self, budget, rerank, options=None):
                return looks or {}

            def start(self, problem, counter):
                return search(problem, counter)

        self.method = Tested()

    def __enter__(self):
        toys.TESTED = self.method
        METHODS.register("test", f"{toys.__name__}:TESTED")

    def __exit__(self, *_):
        METHODS.unregister("test")
        del toys.TESTED


class Cheat(Search):
    """Asks for what it may; subclasses then try for more."""

    def __init__(self, problem, counter):
        self.problem, self.counter = problem, counter

    def propose(self, number):
        return self.problem.permutations[:, :10]

    def rank(self):
        self.cheat(self.problem.permutations)
        ranking = Ranking(self.problem.permutations, np.zeros_like(self.problem.permutations))
        return ranking, ranking

    def cheat(self, archs):
        raise NotImplementedError


def cheats():
    class Peek(Cheat):
        def cheat(self, archs):
            self.counter.accuracies(archs[:, 10:11])

    class Overspend(Cheat):
        def cheat(self, archs):
            self.counter.ask(archs[:, 10:30])

    class PeekAtAnotherRun(Cheat):
        def cheat(self, archs):
            self.counter.accuracies(archs[::-1, :10])

    class AskAndReadAtOnce(Cheat):
        def cheat(self, archs):
            self.counter.ask(archs[:, 10:12])
            self.counter.accuracies(archs[:, 10:12])

    class AllCodes(Cheat):
        def cheat(self, archs):
            self.counter.codes(archs)

    class Undeclared(Cheat):
        def cheat(self, archs):
            self.counter.look("select", archs[:, :1])

    return [
        (Peek, NotAsked),
        (Overspend, BudgetExceeded),
        (PeekAtAnotherRun, NotAsked),
        (AskAndReadAtOnce, NotAsked),
        (AllCodes, BudgetExceeded),
        (Undeclared, NotAsked),
    ]


@pytest.mark.parametrize(("cheat", "error"), cheats())
def test_a_method_cannot_get_round_the_counter(cheat, error, bench):
    with registered(cheat, looks={"code": 20}), pytest.raises(error):
        run_block(bench(), Settings("test", 10, 5, runs=(0, 1)))


def test_a_method_is_given_no_accuracy(bench, toy):
    found = []

    class Look(Cheat):
        def cheat(self, archs):
            found.extend([*vars(self.problem).values(), *vars(self.counter).values()])

    with registered(Look):
        run_block(bench(), Settings("test", 10, 5, runs=(0,)))
    known = set(toy["accuracy"])
    for value in found:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert len(known & set(value.ravel().tolist())) <= 10


def test_priced_looks_of_other_fidelities(bench):
    class Looking(Cheat):
        def propose(self, number):
            first = self.problem.permutations[:, :40]
            chosen = np.argsort(-self.counter.look("select", first), axis=1)[:, :10]
            return np.take_along_axis(first, chosen, axis=1)

        def cheat(self, archs):
            self.counter.look("select", archs[:, :40])  # again: counted once

    settings = Settings("test", 10, 5, runs=(0, 1))
    with registered(Looking, looks={"select": 40}):
        table = run_block(bench(select_price=0.06), settings)
        with pytest.raises(InputError, match="has no price"):
            run_block(bench(name="unpriced", select_price=None), settings)
        with pytest.raises(InputError, match="cannot be a cheap look as well"):
            run_block(bench(select_price=0.06), replace(settings, labels="accuracy_select"))
    assert table["price"].tolist() == pytest.approx((table["trainings"] + 40 * 0.06).tolist())
    with registered(Looking, looks={"nonsense": 40}), pytest.raises(InputError, match="known: code, select"):
        run_block(bench(), settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Settings("siamees", 10, 5, runs=(0,)), "unknown method 'siamees' .did you mean 'siamese'"),
        (Settings("linear", 230, 11, runs=(0,)), r"N \+ K = 230 \+ 11 is more than its 240 architectures"),
        (
            Settings("linear_bts", 3, 5, runs=(0,)),
            "budget 3 is too small for sampler 'bts'; the smallest is 4",
        ),
        (Settings("linear", 0, 5, runs=(0,)), "expected at least 1"),
        (Settings("linear", 10, 5, runs=()), "at least one"),
        (Settings("linear", 10, 5, runs=(1, 1)), "must be distinct"),
        (Settings("linear", 10, 5, runs=(0,), labels="accurcy"), "label column 'accurcy' is unknown"),
    ],
)
def test_bad_settings(settings, sentence, bench):
    with pytest.raises(InputError, match=sentence):
        run_block(bench(), settings)


def test_exhaustive_needs_the_accuracy_of_what_is_asked(bench):
    def partly(frame):
        frame.loc[frame["arch"] > 20, "accuracy"] = np.nan
        frame.loc[frame["arch"] > 20, "status"] = "unknown"

    with pytest.raises(InputError, match="is not known; train it, or search with truth: on_demand"):
        run_block(bench(partly), Settings("linear", 10, 5, runs=(0,)))


class TestBadRounds:
    settings = Settings("linear_bts", 10, 5, runs=(0, 1))

    @pytest.fixture
    def begun(self, bench, tmp_path):
        path = bench(unknown)
        block.begin(
            path,
            self.settings,
            state_out=tmp_path / "state.npz",
            asks_out=tmp_path / "asks.parquet",
        )
        return path

    def go_on(self, path, tmp_path, settings=None, answers=(), state="state.npz"):
        block.advance(
            path,
            settings or self.settings,
            state_in=tmp_path / state,
            answers=answers,
            state_out=tmp_path / "next.npz",
            asks_out=tmp_path / "next.parquet",
        )

    def test_answers_missing(self, begun, tmp_path):
        with pytest.raises(InputError, match="was asked for in an earlier round and is not answered"):
            self.go_on(begun, tmp_path)
        assert not (tmp_path / "next.npz").exists()

    def test_another_search(self, begun, tmp_path):
        with pytest.raises(InputError, match="made with budget = 10, expected 12"):
            self.go_on(begun, tmp_path, replace(self.settings, budget=12))

    def test_another_bench(self, begun, bench, tmp_path):
        def other(frame):
            frame["code_1"] += 1
            return unknown(frame)

        with pytest.raises(InputError, match="made with bench = "):
            self.go_on(bench(other, "other"), tmp_path)

    @pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"nothing" * 50])
    def test_a_damaged_state(self, begun, tmp_path, damage):
        state = tmp_path / "state.npz"
        (tmp_path / "damaged.npz").write_bytes(damage(state.read_bytes()))
        with pytest.raises(InputError, match=r"damaged.npz: not a readable state of a search"):
            self.go_on(begun, tmp_path, state="damaged.npz")

    def test_no_state(self, begun, tmp_path):
        with pytest.raises(InputError, match="no such file; expected the state of a search"):
            self.go_on(begun, tmp_path, state="none.npz")

    def test_a_pickle_is_not_loaded(self, begun, tmp_path):
        np.savez(tmp_path / "pickled.npz", identity=np.array([{"a": 1}], dtype=object))
        with pytest.raises(InputError, match="not a readable state"):
            self.go_on(begun, tmp_path, state="pickled.npz")

    def test_answers_that_disagree_or_make_no_sense(self, begun, tmp_path, toy):
        asked = wanted([tmp_path / "asks.parquet"])
        good = answering(toy)(asked)
        tables.write(tmp_path / "good.parquet", good, ANSWERS)
        tables.write(tmp_path / "other.parquet", good.assign(accuracy=0.01), ANSWERS)
        tables.write(tmp_path / "bad.parquet", good.assign(status="diverged"), ANSWERS)
        with pytest.raises(InputError, match=r"other.parquet: .* has accuracy 0.01, another answer says"):
            self.go_on(
                begun,
                tmp_path,
                answers=[tmp_path / "good.parquet", tmp_path / "other.parquet"],
            )
        with pytest.raises(
            InputError, match=r"bad.parquet: architecture \d+ has status 'diverged' and accuracy"
        ):
            self.go_on(begun, tmp_path, answers=[tmp_path / "bad.parquet"])
        self.go_on(begun, tmp_path, answers=[tmp_path / "good.parquet"])

    def test_accuracies_of_a_table_on_demand(self, begun, tmp_path):
        with pytest.raises(InputError, match="on demand, a search trains and selects on 'accuracy'"):
            block.begin(
                begun,
                replace(self.settings, labels="accuracy_select"),
                state_out=tmp_path / "fair.npz",
                asks_out=tmp_path / "fair.parquet",
            )
        assert not (tmp_path / "fair.npz").exists()

    def test_finish_too_early(self, begun, tmp_path):
        with pytest.raises(InputError, match="only 1 of 12 rounds are done"):
            block.finish(begun, self.settings, state_in=tmp_path / "state.npz", answers=[])


def test_rounds_and_modules_are_known_without_torch():
    code = (
        "import sys; from snas.search import METHODS\n"
        "put_together = ['neural_predictor+bts', 'siamese+fts', 'neural_predictor+nsam+bts@lambda=0.5']\n"
        "for method in map(METHODS.load, [*METHODS, *put_together]):\n"
        "    method.rounds(100), method.modules, method.looks(100, 60)\n"
        "assert not {'torch', 'pandas'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [block.rounds(m, 100) for m in ("random", "siamese+nsam+bts", "brp_nas")] == [2, 12, 6]


@pytest.mark.parametrize("method", ["neural_predictor", "siamese+nsam+bts"])
def test_native_code_searches_without_torch_as_the_predictor_in_torch_does(
    method, bench, tmp_path, monkeypatch
):
    """An import of torch takes longer than most blocks of searches, and four times their memory."""
    if native.load() is None:
        pytest.skip("no C++ compiler")
    code = (
        "import sys, snas.search.block as block\n"
        "settings = block.Settings(sys.argv[3], 20, 6, runs=(0, 1))\n"
        "assert block.place(settings.method, 'cpu', compile=True) is None\n"
        "block.run_block(sys.argv[1], settings, compile=True).to_pickle(sys.argv[2])\n"
        "assert 'torch' not in sys.modules"
    )
    path, made = bench(space="tiny_nanobench"), tmp_path / "made.pkl"
    subprocess.run([sys.executable, "-c", code, str(path), str(made), method], check=True)
    PREDICTORS.load("siamese")  # the class of torch has the same native code
    monkeypatch.setattr("snas.predictors.native_predictor.made", lambda *_, **__: None)
    expected = block.run_block(path, block.Settings(method, 20, 6, runs=(0, 1)), compile=True)
    same(pd.read_pickle(made), expected)


def test_random_search_needs_no_torch(bench):
    """An import of torch takes as long as thousands of random searches; half a second is SciPy's."""
    code = (
        "import sys, snas.search.block, snas.search.methods\n"
        "assert not {'torch', 'scipy', 'pandas'} & set(sys.modules), set(sys.modules)\n"
        "from tests.search import toys; from snas import spaces\n"  # which needs torch itself
        "spaces.REGISTRY.register('toy', f'{toys.__name__}:ToySpace')\n"
        "sys.modules['torch'] = sys.modules['scipy.stats'] = None  # an import of it fails from here on\n"
        "settings = snas.search.block.Settings('random', 20, 6, runs=(0, 1))\n"
        "assert len(snas.search.block.run_block(sys.argv[1], settings)) == 2"
    )
    subprocess.run([sys.executable, "-c", code, str(bench())], check=True)
