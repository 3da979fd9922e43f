"""Scores of runs against plain loops, and what is read."""

import numpy as np
import pandas as pd
import pytest

from snas import InputError, tables
from snas.analysis.inputs import BENCH, SEARCH, Bench, read_bench, read_search
from snas.analysis.points import MEANS, POINTS, aggregate
from snas.analysis.scores import SCORES, score_runs
from snas.analysis.timing import timing
from snas.search import bench as search_bench
from snas.search import block as search_block

TOPS = (1, 3, 10, 25)


@pytest.fixture(scope="module")
def bench(synthetic, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "bench.parquet"
    return synthetic.make_bench(path, "tiny_nanobench", "digits", 120, select=True, failed=4, seed=3)


@pytest.fixture(scope="module")
def searches(synthetic, bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return [
        synthetic.make_search(folder / f"{m}_{n}_{runs.start}.parquet", bench, m, n, runs, keep=25)
        for m in ("random", "neural_predictor", "siamese", "siamese+nsam+bts")
        for n in (10, 20)
        for runs in (range(0, 3), range(3, 6))
    ]


def plain_scores(bench: Bench, row, k: int) -> dict[str, float]:
    """One run at one K, an architecture at a time."""
    chance = bench.facts["chance"]
    truth = {int(r.arch): (chance if r.status != "ok" else r.accuracy) for r in bench.table.itertuples()}
    select = {int(r.arch): r.accuracy_select for r in bench.table.itertuples()}
    ranking, pool = [int(a) for a in row.ranking], [int(a) for a in row.pool]
    top = ranking[:k]
    outside = [a for a in ranking if a not in pool][:k]
    trained = pool + outside if row.asked else top  # what a run may choose from
    best_selected = trained[0]
    for arch in trained:
        if select[arch] > select[best_selected]:
            best_selected = arch
    return {
        "score": max(truth[a] for a in (top if not row.asked else pool + top)),
        "score_fair": max(truth[a] for a in pool + outside),
        "score_protocol": truth[best_selected],
        "score_coarse": max(truth[int(a)] for a in row.coarse_ranking[:k]),
        "pool_in_top": sum(a in pool for a in top),
    }


def test_scores_equal_plain_loops(bench, searches):
    loaded = read_bench(bench)
    search = read_search(searches, loaded)
    assert set(search[search["asked"]]["method"]) == {"random"}, "as their metadata say"
    scores = score_runs(loaded, search, TOPS)
    assert len(scores) == 4 * 2 * 6 * len(TOPS)
    by = scores.set_index(["method", "budget", "run", "top"])
    for row in search.itertuples():
        for k in TOPS:
            ours = by.loc[(row.method, row.budget, row.run, k)]
            wanted = plain_scores(loaded, row, k)
            if row.asked:
                assert np.isnan(ours["score_coarse"])
                del wanted["score_coarse"]
            for name, value in wanted.items():
                assert ours[name] == pytest.approx(value, abs=1e-12), (row.method, k, name)
            assert ours["trained"] == row.budget + k
            assert ours["regret"] == pytest.approx(loaded.optimum - wanted["score"])


def test_the_fair_protocol_selects_on_the_other_table(synthetic, bench, tmp_path):
    """Every score of a run that was trained on the selection accuracy, by a plain loop over what it may choose from."""
    loaded = read_bench(bench)
    paths = []
    for method in ("random", "siamese"):
        path = synthetic.make_search(tmp_path / f"{method}.parquet", bench, method, 10, range(4), keep=25)
        frame, facts = tables.read(path, search_block.SEARCH), tables.metadata(path)
        tables.write(path, frame, search_block.SEARCH, facts | {"labels": "accuracy_select"})
        paths.append(path)
    search = read_search(paths, loaded)
    assert set(search["labels"]) == {"accuracy_select"}
    scores = score_runs(loaded, search, TOPS).set_index(["method", "run", "top"])
    # random search learns nothing: choosing by the other table is all there is to its protocol
    random = scores.loc["random"]
    assert random["score_protocol"].equals(random["score"])
    truth = loaded.by_arch("accuracy")
    select = dict(zip(loaded.table["arch"], loaded.table["accuracy_select"], strict=True))
    chosen = lambda archs: truth[max(archs, key=select.get)]
    for row in search.itertuples():
        ranking, pool = [int(a) for a in row.ranking], [int(a) for a in row.pool]
        outside = [a for a in ranking if a not in pool]
        for k in TOPS:
            ours = scores.loc[(row.method, row.run, k)]
            assert ours["score_fair"] == chosen(pool + outside[:k])
            assert ours["score"] == (ours["score_fair"] if row.asked else chosen(ranking[:k]))
            if not row.asked:
                assert ours["score_coarse"] == chosen([int(a) for a in row.coarse_ranking[:k]])


def test_a_pool_that_leads_the_ranking_is_not_new(bench):
    """The pool holds the optimum: the paper's score counts it, at K = 1, and the fair one trains K others."""
    loaded = read_bench(bench)
    order = loaded.table.sort_values("accuracy", ascending=False)["arch"].to_numpy()
    search = one_run(ranking=order[:10], pool=order[:3])
    scores = score_runs(loaded, search, [1, 5, 7]).set_index("top")
    assert scores.loc[1, "pool_in_top"] == 1
    assert scores.loc[7, "pool_in_top"] == 3
    assert (scores["score"] == loaded.optimum).all()
    assert (scores["score_fair"] == loaded.optimum).all()
    missed = score_runs(loaded, one_run(ranking=order[:10], pool=order[5:8]), [5, 8]).set_index("top")
    assert missed.loc[5, "score_fair"] == loaded.optimum
    assert np.isnan(missed.loc[8, "score_fair"])  # only seven of the kept ranking are outside the pool


def test_a_failed_network_counts_as_chance(bench):
    loaded = read_bench(bench)
    failed = loaded.table.loc[loaded.table["status"] != "ok", "arch"].to_numpy()
    scores = score_runs(loaded, one_run(ranking=failed, pool=failed[:1]), [2])
    assert scores["score"].tolist() == [loaded.facts["chance"]]


def test_where_no_network_got_beyond_chance_a_failed_one_is_the_optimum(bench):
    """As small a training as that of a first try: no regret is less than nothing."""
    loaded = read_bench(bench)
    table = loaded.table.copy()
    table["accuracy"] = table["accuracy"].where(table["accuracy"].isna(), loaded.facts["chance"] / 2)
    poor = Bench(loaded.name, table, loaded.facts)
    assert poor.optimum == loaded.facts["chance"]
    failed = table.loc[table["status"] != "ok", "arch"].to_numpy()
    others = table.loc[table["status"] == "ok", "arch"].to_numpy()
    scores = score_runs(poor, one_run(ranking=[*others[:3], *failed[:1]], pool=others[:2]), [1, 4])
    assert scores["regret"].tolist() == [loaded.facts["chance"] / 2, 0]


def test_an_architecture_without_a_selection_accuracy_counts_as_chance(bench):
    """As it does where a predictor learns from it: chosen where there is nothing better, and its own accuracy is the score."""
    loaded = read_bench(bench)
    order = loaded.table.sort_values("accuracy_select", ascending=False)["arch"].to_numpy()
    table = loaded.table.copy()
    table.loc[table["arch"].isin(order[:2]), "accuracy_select"] = np.nan
    known = Bench(loaded.name, table, loaded.facts)
    search = one_run(ranking=order[:6], pool=order[6:9]).assign(labels="accuracy_select")
    scores = score_runs(known, search, [1, 2, 3]).set_index("top")
    truth = known.by_arch("accuracy")
    for name in ("score", "score_protocol", "score_coarse"):
        assert scores[name].tolist() == [truth[order[0]], truth[order[0]], truth[order[2]]]
    without = Bench(loaded.name, table.assign(accuracy_select=np.nan), loaded.facts)
    nowhere = score_runs(without, one_run(ranking=order[:6], pool=order[6:9]), [3])
    assert nowhere["score_protocol"].isna().all(), "there is no other table to select on"


def test_a_score_that_needs_an_untrained_network_is_missing(bench):
    """On demand, only what the search asked for is trained: here all but the sixth of the ranking."""
    loaded = read_bench(bench)
    order = loaded.table.sort_values("accuracy", ascending=False)["arch"].to_numpy()
    table = loaded.table.copy()
    table.loc[table["arch"] == order[5], ["accuracy", "status"]] = [np.nan, "unknown"]
    known = Bench(loaded.name, table, loaded.facts)
    search = pd.concat([one_run(order[:9], order[1:3]), one_run(order[:9], order[1:3])], ignore_index=True)
    search["run"] = [0, 1]
    search.at[1, "ranking"] = [a for a in order[:10] if a != order[5]]
    scores = score_runs(known, search, [3, 4, 5, 6]).set_index(["run", "top"]).sort_index()
    assert scores["score"].isna().tolist() == [False, False, False, True] + [False] * 4
    assert scores["score_fair"].isna().tolist() == [False, True, True, True] + [False] * 4
    points = aggregate(scores.reset_index(), known).set_index("top")
    assert points["fair_mean"].isna().tolist() == [False, True, True, True]
    assert points["mean"].isna().tolist() == [False, False, False, True]
    assert points["runs"].tolist() == [2, 2, 2, 1]
    assert np.isnan(known.optimum), "the one that nobody trained could be better than all others"
    assert scores["regret"].isna().all()
    assert points["regret"].isna().all()
    assert known.metadata()["optimum"] is None


def test_what_is_missing_is_written_as_missing(bench, tmp_path):
    """On demand: no score where one is not trained, no regret, no correlation, no other table; the run goes on."""
    loaded = read_bench(bench)
    order = loaded.table.sort_values("accuracy", ascending=False)["arch"].to_numpy()
    table = loaded.table.assign(accuracy_select=np.nan)
    table.loc[table["arch"] == order[5], ["accuracy", "status"]] = [np.nan, "unknown"]
    known = Bench(loaded.name, table, loaded.facts)
    scores = score_runs(known, one_run(order[:9], order[1:3]), [3, 6])
    for schema, frame in ((SCORES, scores), (POINTS, aggregate(scores, known))):
        tables.write(tmp_path / "table.parquet", frame, schema)
        kept = tables.read(tmp_path / "table.parquet", schema).set_index("top")
        assert kept.loc[6, [c for c in ("score", "mean", "median", "fair_mean") if c in kept]].isna().all()
        assert kept["regret"].isna().all()


def test_an_analysis_without_search_results_is_refused(bench):
    with pytest.raises(InputError, match="no search results; at least one block of runs is needed"):
        read_search([], read_bench(bench))


def one_run(ranking, pool) -> pd.DataFrame:
    row = {name: np.nan for name in SEARCH.columns}
    row |= {
        "method": "siamese",
        "budget": len(pool),
        "run": 0,
        "codes": 5,
        "asked": False,
        "labels": "accuracy",
    }
    row |= {"ranking": list(ranking), "coarse_ranking": list(ranking), "pool": list(pool)}
    return pd.DataFrame([row])


@pytest.mark.parametrize(("asked", "twice"), [(False, [0, 2, 2]), (True, [0, 0, 0])])
def test_trainings_of_a_search_that_asks_one_after_the_other_are_never_twice_in_its_price(
    bench, asked, twice
):
    """Its ranking may hold what it has asked for; the score is the best of that and of K others."""
    loaded = read_bench(bench)
    order = loaded.table.sort_values("accuracy", ascending=False)["arch"].to_numpy()
    search = one_run(order[:9], order[1:3]).assign(asked=asked)
    assert score_runs(loaded, search, [1, 3, 5])["pool_in_top"].tolist() == twice


def test_points_equal_numpy(bench, searches):
    loaded = read_bench(bench)
    scores = score_runs(loaded, read_search(searches, loaded), TOPS)
    points = aggregate(scores, loaded)
    for row in points.itertuples():
        same = scores[
            (scores["method"] == row.method) & (scores["budget"] == row.budget) & (scores["top"] == row.top)
        ]
        values = same["score"].to_numpy()
        assert row.runs == len(values) == 6
        assert row.mean == pytest.approx(values.mean())
        assert row.sd == pytest.approx(values.std(ddof=1))
        assert row.se == pytest.approx(values.std(ddof=1) / np.sqrt(6))
        assert row.quarter_sd == pytest.approx(row.sd / 4)
        assert row.median == pytest.approx(np.median(values))
        assert row.code_trainings == pytest.approx(same["codes"].mean() * 0.003)
        assert row.trained == row.budget + row.top
        spreads = {"fair_sd": "score_fair", "protocol_sd": "score_protocol"}
        means = {"fair_mean": "score_fair", "protocol_mean": "score_protocol", "coarse_mean": "score_coarse"}
        means |= {"regret": "regret", "fair_regret": "regret_fair"}
        means |= {name: name for name in (*MEANS, "pool_in_top", "codes")}
        for column, of in means.items():
            assert getattr(row, column) == pytest.approx(same[of].to_numpy().mean(), nan_ok=True), column
        for column, of in spreads.items():
            assert getattr(row, column) == pytest.approx(same[of].to_numpy().std(ddof=1), nan_ok=True), column
    best = loaded.optimum
    assert scores["regret"].tolist() == pytest.approx((best - scores["score"]).tolist())
    assert scores["regret_fair"].tolist() == pytest.approx((best - scores["score_fair"]).tolist())
    assert (scores["regret"] != scores["regret_fair"]).any()
    assert scores.loc[scores["method"] == "random", "pool_in_top"].eq(0).all(), (
        "all its trainings are distinct"
    )
    assert scores.loc[scores["method"] == "siamese+nsam+bts", "pool_in_top"].gt(0).any()


def test_the_facts_of_a_bench(bench):
    """A name may have more than one hyphen; a code that no metadata price costs nothing."""
    loaded = read_bench(bench)
    plain = Bench("nasbench201-imagenet16-120", loaded.table)
    assert (plain.space, plain.dataset, plain.code_price) == ("nasbench201", "imagenet16-120", 0)
    times = np.where(np.arange(120) < 3, 100.0, 1.0)
    facts = Bench(loaded.name, loaded.table.assign(truth_seconds=times), loaded.facts).metadata()
    assert facts["truth_seconds"] == pytest.approx(times.mean())
    assert (facts["architectures"], facts["known_accuracies"]) == (120, 116)


def test_times_of_training_are_those_that_were_measured(bench, searches):
    loaded = read_bench(bench)
    search = read_search(searches, loaded)
    seconds = np.array([1.0, 2.0, 9.0, 4.0, 5.0, np.nan])
    search["train_seconds"] = np.tile(seconds, len(search) // 6)
    found = timing(search, loaded)
    assert len(found) == 8
    for row in found.itertuples():
        assert (row.runs, row.mean, row.median) == (5, pytest.approx(4.2), 4)
        assert row.sd == pytest.approx(seconds[:5].std(ddof=1))
        assert (row.architectures, row.space) == (120, "tiny_nanobench")


def test_tables_keep_their_schemas(bench, searches, tmp_path):
    loaded = read_bench(bench)
    scores = score_runs(loaded, read_search(searches, loaded), TOPS)
    for schema, frame in ((SCORES, scores), (POINTS, aggregate(scores, loaded))):
        path = tmp_path / f"{schema.name}.parquet"
        tables.write(path, frame, schema)
        assert len(tables.read(path, schema)) == len(frame)


@pytest.mark.parametrize(
    ("view", "written"),
    [(BENCH, search_bench.BENCH), (SEARCH, search_block.SEARCH)],
    ids=["bench", "search"],
)
def test_what_is_read_is_what_the_search_room_writes(view, written):
    assert {name: column.type for name, column in view.columns.items()} == {
        name: written.columns[name].type for name in view.columns
    }


def test_a_block_given_twice_is_refused(bench, searches):
    with pytest.raises(InputError, match=r"run 0 of random at N = 10 is also in .*random_10_0\.parquet"):
        read_search([*searches, searches[0]], read_bench(bench))


@pytest.mark.parametrize("column", ["ranking", "coarse_ranking", "pool"])
def test_a_foreign_architecture_is_refused(synthetic, bench, tmp_path, column):
    path = synthetic.make_search(tmp_path / "search.parquet", bench, "siamese", 10, range(2))
    frame = tables.read(path, search_block.SEARCH)
    frame[column] = [[*archs[:-1], 9999] for archs in frame[column]]
    tables.write(path, frame, search_block.SEARCH, {})
    with pytest.raises(
        InputError, match=rf"search\.parquet: column '{column}', row 0: architecture 9999 is not in"
    ):
        read_search([path], read_bench(bench))


def test_a_ranking_shorter_than_k_is_refused(bench, searches):
    loaded = read_bench(bench)
    with pytest.raises(InputError, match="keeps the first 35 of its ranking; K = 50 needs as many"):
        score_runs(loaded, read_search(searches, loaded), [50])


@pytest.mark.parametrize("tops", [[], [0, 5]])
def test_a_senseless_k_is_refused(bench, searches, tops):
    loaded = read_bench(bench)
    with pytest.raises(InputError, match="values of K"):
        score_runs(loaded, read_search(searches[:1], loaded), tops)
