"""Regret against price and queries to the optimum, by hand on three runs of six architectures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snas import InputError, tables
from snas.analysis import fewest, fewest_page
from snas.analysis.inputs import read_bench
from snas.search import METHODS
from snas.search.bench import BENCH
from snas.search.bench import write as write_bench
from snas.search.block import SEARCH
from snas.search.gp import GaussianMethod

GP_PARAMS = GaussianMethod("params")
ACCURACY = [0.5, 0.6, 0.7, 0.8, 0.9, 0.3]
SELECT = [0.5, 0.6, 0.9, 0.1, 0.4, 0.3]
SECONDS = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
FACTS = {
    "space": "made", "dataset": "up", "table": "mean", "truth_source": "hand", "code_source": "hand", "code_price": 0.01,
    "select_price": 0.5, "chance": 0.1,
}  # fmt: skip


@pytest.fixture
def bench(tmp_path):
    def make(accuracy=ACCURACY, **facts):
        frame = pd.DataFrame(
            {
                "arch": np.arange(6, dtype=np.int32),
                "cell": list("abcdef"),
                "macs": 1,
                "params": 1,
                "accuracy": accuracy,
                "accuracy_select": SELECT,
                "code_1": np.float32(1),
                "code_2": np.float32(1),
                "code_3": np.float32(1),
                "truth_seconds": SECONDS,
                "code_seconds": np.nan,
                "status": "ok" if not np.isnan(accuracy).any() else "unknown",
            }
        )
        write_bench(tmp_path / "bench.parquet", frame, FACTS | facts)
        return tmp_path / "bench.parquet"

    return make


@pytest.fixture
def search(tmp_path):
    def make(method, pools, rankings=None, codes=0, first=0, name="search", **facts):
        budget = len(pools[0])
        rows = [
            {
                "method": method,
                "budget": budget,
                "top": 2,
                "run": first + run,
                "seed": run,
                "ranking": list(rankings[run]) if rankings else list(pool)[:budget],
                "coarse_ranking": [],
                "pool": list(pool),
                "trainings": budget,
                "codes": codes,
                "price": 0.0,
                **dict.fromkeys(("spearman", "kendall", "coarse_spearman", "coarse_kendall")),
                "seconds": 1.0,
                "train_seconds": 1.0,
            }
            for run, pool in enumerate(pools)
        ]
        frame = pd.DataFrame(rows).astype(
            {"spearman": float, "kendall": float, "coarse_spearman": float, "coarse_kendall": float}
        )
        path = tmp_path / f"{name}.parquet"
        tables.write(path, frame, SEARCH, {"score": "asked", **facts})
        return path

    return make


def test_a_curve_by_hand(bench, search):
    pools = [[0, 3, 4, 1], [4, 0, 1, 2], [5, 0, 1, 2]]
    progress, needed = fewest.fewest(read_bench(bench(removed=2)), [search("random", pools)])
    assert progress["trained"].tolist() == [1, 2, 3, 4] == progress["price"].tolist()
    regrets = np.array([[0.4, 0.1, 0, 0], [0, 0, 0, 0], [0.6, 0.4, 0.3, 0.2]])
    assert progress["regret"].tolist() == pytest.approx(regrets.mean(axis=0).tolist())
    assert progress["worst"].tolist() == pytest.approx([0.6, 0.4, 0.3, 0.2])
    assert progress["found"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    seconds = np.cumsum([[10, 40, 50, 20], [50, 10, 20, 30], [60, 10, 20, 30]], axis=1)
    assert progress["seconds"].tolist() == pytest.approx(seconds.mean(axis=0).tolist())
    assert (progress["low"] <= progress["regret"]).all()
    assert (progress["regret"] <= progress["high"]).all()
    assert progress["removed"].eq(2).all()
    assert progress["continuous"].all()
    row = needed.iloc[0]
    assert (row["found"], row["trained_low"], row["trained_median"]) == (pytest.approx(2 / 3), 1, 3)
    assert np.isnan(row["trained_high"])
    assert np.isnan(row["trained_worst"])


def test_what_is_needed_has_the_quantiles_of_the_runs(bench, search):
    """The 10 % and 90 % quantiles and the median are runs: of twenty the second, the tenth and the eighteenth."""
    pools = [[arch for arch in (0, 1, 2, 3, 5) * 4][:place] + [4] + [0] * (20 - place) for place in range(20)]
    _, needed = fewest.fewest(read_bench(bench()), [search("random", pools)])
    row = needed.iloc[0]
    assert row[["trained_low", "trained_median", "trained_high", "trained_worst"]].tolist() == [2, 10, 18, 20]


def test_an_architecture_a_little_below_the_optimum_is_not_the_optimum(bench, search):
    """Only what differs by rounding is."""
    near = bench([0.5, 0.6, 0.9 - 1e-12, 0.9 - 1e-4, 0.9, 0.3])
    progress, needed = fewest.fewest(read_bench(near), [search("random", [[0, 3, 1], [0, 3, 2]])])
    assert progress["found"].tolist() == [0, 0, 0.5]
    assert needed["found"].tolist() == [0.5]


@pytest.mark.parametrize("turned", [False, True])
def test_of_one_method_at_several_budgets_the_largest_counts(bench, search, turned):
    paths = [
        search("random", [[0, 1]], name="short"), search("random", [[0, 4, 1]], name="long"), search("gp", [[0, 1]], name="g"),
        search("gp", [[0, 1, 4, 2]], name="gg"),
    ]  # fmt: skip
    paths = paths[::-1] if turned else paths
    whole = read_bench(bench())
    progress, needed = fewest.fewest(whole, paths)
    assert progress.loc[progress["method"] == "random", "regret"].tolist() == pytest.approx([0.4, 0, 0])
    assert needed.set_index("method")["budget"].to_dict() == {"random": 3, "gp": 4}
    found = fewest.paired(whole, paths)
    assert found["price"].tolist() == [1, 2, 3]
    assert found["reference_regret"].tolist() == pytest.approx([0.4, 0.3, 0])


def test_of_one_method_at_several_budgets_a_few_longer_runs_do_not_stand_for_many(bench, search):
    """One long search beside many short ones adds what lies behind their end."""
    paths = [
        search("random", [[0, 1]] * 2 + [[1, 4]], name="many"), search("random", [[4, 0, 1]], name="long"),
        search("gp", [[5, 0]] * 3, name="g"), search("gp", [[4, 5, 0]], name="gg"),
    ]  # fmt: skip
    whole = read_bench(bench())
    progress, needed = fewest.fewest(whole, paths)
    walk = progress[progress["method"] == "random"]
    assert list(zip(walk["trained"], walk["runs"], strict=True)) == [(1, 3), (2, 3), (3, 1)]
    assert walk["regret"].tolist() == pytest.approx([(0.4 + 0.4 + 0.3) / 3, (0.3 + 0.3) / 3, 0])
    assert needed.set_index("method")["runs"].to_dict() == {"random": 3, "gp": 3}
    found = fewest.paired(whole, paths)
    assert list(zip(found["price"], found["runs"], strict=True)) == [(1, 3), (2, 3), (3, 1)]
    assert found["reference_regret"].tolist() == pytest.approx([0.6, 0.4, 0])


def test_looks_are_part_of_the_price(bench, search):
    """Two looks at half a training each before the first, one more after two trainings; quantiles in trainings and price."""
    options = {"looks": 2, "looks_start": 2, "looks_every": 1, "looks_more": 1}
    pools = [[0, 3, 4], [4, 0, 1]]
    progress, needed = fewest.fewest(read_bench(bench()), [search("gp+select", pools, options=options)])
    assert progress["price"].tolist() == [2.0, 3.0, 4.5]
    assert progress["seconds"].tolist() == pytest.approx([30 + 35, 55 + 35, 90 + 52.5])
    row = needed.iloc[0]
    assert row["method"] == "gp+select looks=2 looks_every=1 looks_more=1 looks_start=2"
    assert (row["trained_worst"], row["price_worst"], row["price_low"]) == (3, 4.5, 2.0)


def test_a_look_at_any_proxy_is_free(bench, search):
    METHODS.register("gp+params", f"{__name__}:GP_PARAMS")
    try:
        progress, _ = fewest.fewest(read_bench(bench(select_price=None)), [search("gp+params", [[0, 3, 4]])])
    finally:
        METHODS.unregister("gp+params")
    assert progress["price"].tolist() == [1.0, 2.0, 3.0]


def test_a_predictor_is_a_point_with_the_best_outside_its_pool(bench, search):
    pools, rankings = [[0, 1], [2, 3]], [[1, 4, 0, 3], [3, 2, 0, 1]]
    progress, needed = fewest.fewest(
        read_bench(bench()), [search("siamese", pools, rankings, codes=5, score="top")]
    )
    assert needed.empty
    assert progress["trained"].tolist() == [4]
    assert progress["price"].tolist() == pytest.approx([4 + 5 * 0.01])
    assert progress["regret"].tolist() == pytest.approx([0.05])  # 4 and 3 among pool and top two outside it
    assert not progress["continuous"].any()


@pytest.mark.parametrize(("top", "kept", "regret"), [(None, 2, 0.0), (9, 2, 0.0), (1, 1, 0.1)])
def test_a_predictor_trains_as_many_outside_its_pool_as_a_figure_asks_for(bench, search, top, kept, regret):
    """Searches keep the rankings that the largest K of a run needs; the price is that of the K that is asked for."""
    path = search("siamese", [[0, 1]], [[1, 3, 4, 0]], codes=5, score="top")
    progress, _ = fewest.fewest(read_bench(bench()), [path], top=top)
    assert progress[["trained", "top"]].to_numpy().tolist() == [[2 + kept, kept]]
    assert progress["price"].tolist() == pytest.approx([2 + kept + 5 * 0.01])
    assert progress["regret"].tolist() == pytest.approx([regret])


def test_a_curve_has_no_top(bench, search):
    progress, _ = fewest.fewest(read_bench(bench()), [search("random", [[0, 3, 4]])], top=1)
    assert progress["trained"].tolist() == [1, 2, 3]
    assert progress["top"].eq(0).all()


def test_the_fair_protocol_selects_on_another_table(bench, search):
    """The best so far by accuracy_select, its accuracy reported; on its own row beside the optimistic one."""
    pools = [[0, 3, 2, 4]]
    paths = [
        search("random", pools, labels="accuracy_select", name="fair"),
        search("random", pools, name="plain"),
    ]
    progress, _ = fewest.fewest(read_bench(bench()), paths)
    fair = progress[progress["method"] == "random (fair)"]
    assert fair["regret"].tolist() == pytest.approx([0.4, 0.4, 0.2, 0.2])
    plain = progress[progress["method"] == "random"]
    assert plain["regret"].tolist() == pytest.approx([0.4, 0.1, 0.1, 0.0])


def test_all_variants_of_a_bench_are_written(bench, search, tmp_path):
    whole = bench()
    paths = [search("random", [[0, 4]], name="a"), search("random", [[1, 2]], first=1, name="b")]
    outputs = {name: tmp_path / f"{name}.parquet" for name in fewest.SCHEMAS}
    fewest.analyse({whole: paths}, outputs)
    progress = tables.read(outputs["progress"], fewest.PROGRESS)
    assert progress["runs"].tolist() == [2, 2]
    assert tables.read(outputs["needed"], fewest.NEEDED)["found"].tolist() == [0.5]
    with pytest.raises(InputError, match="unknown table 'more' of the analysis; known: progress, needed"):
        fewest.analyse({whole: paths}, {"more": tmp_path / "more.parquet"})


def test_other_methods_are_compared_run_by_run_at_equal_prices(bench, search):
    reference = search("gp", [[0, 4, 1], [3, 4, 1], [5, 1, 0]], name="gp")
    walk = search("random", [[1, 2, 4], [2, 3, 4], [0, 1, 2]], name="random")
    point = search(
        "siamese", [[0, 1], [2, 3]], [[1, 2, 0, 3], [3, 2, 0, 1]], first=1, codes=50, score="top", name="s"
    )
    found = fewest.paired(read_bench(bench()), [reference, walk, point]).set_index(["method", "price"])
    # regrets of gp .4 0 0, .1 0 0, .6 .3 .3; of random .3 .2 0, .2 .1 0, .4 .3 .2
    assert found.loc["random", "difference"].to_dict() == pytest.approx(
        {1: -0.2 / 3, 2: 0.3 / 3, 3: -0.1 / 3}
    )
    assert found.loc["random", "runs"].eq(3).all()
    # siamese runs 1 and 2, the best of 0, 1, 2, 3 and of 2, 3, 0, 1, cost 4.5; gp has ended with 3: run 1 at 0, run 2 at .3
    row = found.loc[("siamese", 4.5)]
    assert (row["runs"], row["regret"], row["reference_regret"]) == (
        2,
        pytest.approx(0.1),
        pytest.approx(0.15),
    )
    assert row["difference"] == pytest.approx(-0.05)
    assert row["low"] == pytest.approx(-0.2)
    assert row["high"] == pytest.approx(0.1)


def test_intervals_are_those_of_95_percent(bench, search):
    """Of the mean regret and of the mean difference, which are equal where the reference has the optimum at once."""
    firsts = [0, 1, 2, 3, 4, 5, 1, 2, 3, 3, 2, 1]
    walk, known = (
        search(m, [[a] for a in pool], name=m) for m, pool in (("random", firsts), ("gp", [4] * 12))
    )
    regrets = 0.9 - np.array(ACCURACY)[firsts]
    spread = regrets.std() / np.sqrt(12)
    theirs = stats.bootstrap(
        (regrets,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    whole = read_bench(bench())
    progress, _ = fewest.fewest(whole, [walk], resamples=20_000)
    for row in (progress.iloc[0], fewest.paired(whole, [known, walk], resamples=20_000).iloc[0]):
        assert abs(row["low"] - theirs.low) < 0.1 * spread
        assert abs(row["high"] - theirs.high) < 0.1 * spread


def test_looks_delay_what_a_price_buys(bench, search):
    options = {"looks": 2, "looks_start": 2, "looks_every": 1, "looks_more": 1}
    looking = search("gp+select", [[0, 4, 1]], options=options, name="looking")
    found = fewest.paired(read_bench(bench()), [search("gp", [[0, 3, 2, 4, 1]], name="gp"), looking])
    assert found["price"].tolist() == [2, 3, 4]
    assert found["regret"].tolist() == pytest.approx([0.4, 0, 0])
    assert found["reference_regret"].tolist() == pytest.approx([0.1, 0.1, 0])


def test_without_the_reference_there_is_nothing_to_compare(bench, search):
    assert fewest.paired(read_bench(bench()), [search("random", [[0, 1]])]).empty


def test_the_page_says_what_a_price_buys(bench, search, tmp_path):
    pools = [[0, 3, 4], [4, 0, 1]]
    paths = [
        search("gp", pools, name="gp"), search("random", [pool[::-1] for pool in pools], name="random"),
        search("siamese", [[0, 1], [2, 3]], [[1, 2, 0, 3], [3, 2, 0, 1]], codes=50, score="top", name="siamese"),
    ]  # fmt: skip
    outputs = {name: tmp_path / f"{name}.parquet" for name in fewest.SCHEMAS}
    fewest.analyse({bench(removed=2): paths}, outputs)
    fewest_page.write(tmp_path / "page.md", outputs)
    text = (tmp_path / "page.md").read_text()
    assert "## made-up, without the best 2" in text
    # regrets of gp .4 .1 0 and 0 0 0; siamese's 3 and 3 at a price of 4 + 50 codes of .01
    progress, needed = (
        tables.read(outputs[n], s) for n, s in (("progress", fewest.PROGRESS), ("needed", fewest.NEEDED))
    )
    lines = fewest_page.regrets(progress, (1, 2, 3, 5))
    assert lines[0] == "| method | runs | 1 | 2 | 3 | 5 |"
    assert lines[2].startswith("| gp | 2 | 20.000 [0, 40.000] | 5.000 [0, 10.000] | 0 [0, 0] |  |")
    assert lines[4] == "| siamese | 2 |  |  |  | 10.000 [10.000, 10.000] |"
    assert fewest_page.until(needed)[2] == "| gp | 2 | 100% | 1 | 1 | 3 | 3 |"
    assert "| siamese | 2 | 4.5 | 10.000 | 0 | 10.000 [10.000, 10.000] |" in text


def test_one_run_has_no_interval_on_the_page(bench, search, tmp_path):
    paths = [search("gp", [[0, 4]], name="gp"), search("random", [[0, 3]], name="random")]
    outputs = {name: tmp_path / f"{name}.parquet" for name in fewest.SCHEMAS}
    fewest.analyse({bench(): paths}, outputs)
    fewest_page.write(tmp_path / "page.md", outputs)
    rows = [line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    assert not any("[" in row for row in rows)


@pytest.mark.parametrize("budgets", [2, 10, 11, 25])
def test_a_predictor_with_any_number_of_budgets_is_in_the_table_of_differences(budgets):
    """Its prices are no whole numbers, or not every one; a curve is read off at the prices of the page."""
    rows = [("siamese", 40.75 + 10 * place) for place in range(budgets)]
    rows += [("neural_predictor", 50.0 + 10 * place) for place in range(budgets)]
    rows += [("random", float(price)) for price in range(1, 101)]
    frame = pd.DataFrame(rows, columns=["method", "price"]).assign(
        runs=3, regret=0.1, reference_regret=0.0, difference=0.1, low=0.0, high=0.2
    )
    lines = fewest_page.differences(frame, (10, 50, 100))
    found = {name: sum(line.startswith(f"| {name} ") for line in lines) for name in set(frame["method"])}
    assert found == {"siamese": budgets, "neural_predictor": budgets, "random": 3}


def test_without_a_known_accuracy_there_is_nothing(bench, search):
    progress, needed = fewest.fewest(read_bench(bench([np.nan] * 6)), [search("random", [[0, 1]])])
    assert progress.empty
    assert needed.empty


def test_a_source_without_times_has_a_price_and_no_seconds(bench, search, tmp_path):
    whole = bench()
    frame = tables.read(whole, BENCH).assign(truth_seconds=np.nan)
    write_bench(whole, frame, FACTS)
    known = read_bench(whole)
    assert known.metadata()["truth_seconds"] is None
    fewest.analyse({whole: [search("random", [[0, 4]])]}, {"progress": tmp_path / "progress.parquet"})
    progress = tables.read(tmp_path / "progress.parquet", fewest.PROGRESS)
    assert progress["price"].tolist() == [1.0, 2.0]
    assert progress["seconds"].isna().all()


def test_without_a_common_run_or_a_common_price_there_is_nothing_to_compare(bench, search):
    reference = search("gp", [[0]], name="gp")
    others = search("random", [[1, 4]], first=7, name="random")
    options = {"looks": 2, "looks_start": 2, "looks_every": 1, "looks_more": 1}
    dearer = search(
        "gp+select", [[0, 4, 1]], options=options, name="looking"
    )  # costs 2 when the reference has ended
    assert fewest.paired(read_bench(bench()), [reference, others]).empty
    assert fewest.paired(read_bench(bench()), [reference, dearer]).empty
