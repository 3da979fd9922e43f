"""Differences, correlations, published numbers, costs, counting, and all tables of a bench at once."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snas import InputError, seeds, tables
from snas.analysis import published
from snas.analysis.correlations import code_value, correlations, groups, scatter
from snas.analysis.costs import COSTS, TOTAL, costs
from snas.analysis.counting import CELLS, COUNTS, LISTS, WITHIN, write_counts
from snas.analysis.differences import COARSE, bootstrap_means, paired
from snas.analysis.inputs import Bench, read_bench
from snas.analysis.statistics import SCHEMAS, analyse


@pytest.fixture(scope="module")
def run(synthetic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return synthetic.make_run(
        folder, {"nasbench201-cifar100": 400}, budgets=(20, 30, 70), tops=(10, 20, 30), runs=12
    )["nasbench201-cifar100"]


def test_bootstrap_agrees_with_scipy():
    rng = np.random.default_rng(5)
    values = np.stack([rng.normal(0.3, 1, 60), rng.gamma(1.5, 1, 60)], axis=1)
    low, high = bootstrap_means(values, 20_000, np.random.default_rng(0))
    for column in range(2):
        theirs = stats.bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        spread = values[:, column].std() / np.sqrt(60)
        assert abs(low[column] - theirs.low) < 0.08 * spread
        assert abs(high[column] - theirs.high) < 0.08 * spread


def test_differences_are_paired_by_run(run):
    scores = tables.read(run["scores"], SCHEMAS["scores"])
    bench = read_bench(run["bench"])
    shuffled = scores.sample(frac=1, random_state=1)  # order of rows must not matter
    frame = paired(shuffled, bench, resamples=500)
    pd.testing.assert_frame_equal(frame, paired(scores, bench, resamples=500))
    by = scores.set_index(["method", "budget", "top", "run"])["score"]
    row = frame[
        (frame["method"] == "siamese")
        & (frame["reference"] == "neural_predictor")
        & (frame["kind"] == "score")
    ].iloc[0]
    one_by_one = [
        by[("siamese", row["budget"], row["top"], r)] - by[("neural_predictor", row["budget"], row["top"], r)]
        for r in range(12)
    ]
    assert row["runs"] == 12
    assert row["difference"] == pytest.approx(np.mean(one_by_one))
    assert row["low"] <= row["difference"] <= row["high"]
    pd.testing.assert_frame_equal(frame, paired(scores, bench, resamples=500, level=0.95))
    others = frame[(frame["kind"] == "score") & ~frame["reference"].str.endswith(COARSE)]
    for row in others.itertuples():
        gains = [
            by[(row.method, row.budget, row.top, r)] - by[(row.reference, row.budget, row.top, r)]
            for r in range(12)
        ]
        assert row.better == np.mean([gain > 0 for gain in gains])
        assert row.equal == np.mean([gain == 0 for gain in gains])
    assert (others["better"] + others["equal"] < 1).any()
    assert others["equal"].between(0.01, 0.99).any()


def test_a_coarse_ranking_is_compared_by_the_score_that_it_has(run):
    """Of methods with codes, and of those with a proxy in the place of the code, which trains none."""
    scores = tables.read(run["scores"], SCHEMAS["scores"])
    of_one = scores[scores["method"] == "siamese"]
    proxy = of_one.assign(method="siamese@code=synflow", codes=0)
    frame = paired(pd.concat([scores, proxy]), read_bench(run["bench"]), resamples=10)
    coarse = frame[frame["reference"].str.endswith(COARSE)]
    assert coarse["kind"].eq("score").all()
    with_codes = {"siamese", "siamese+nsam", "siamese+nsam+bts"}
    assert set(coarse["method"]) == {*with_codes, "siamese@code=synflow"}
    expected = (of_one["score"] - of_one["score_coarse"]).groupby([of_one["budget"], of_one["top"]]).mean()
    row = coarse[coarse["method"] == "siamese"].iloc[0]
    assert row["difference"] == pytest.approx(expected[row["budget"], row["top"]])


def test_a_pair_of_which_a_run_has_no_score_is_left_out(run):
    """The other runs are no random choice."""
    scores = tables.read(run["scores"], SCHEMAS["scores"])
    lost = (
        (scores["method"] == "siamese")
        & (scores["run"] == 3)
        & (scores["budget"] == 30)
        & (scores["top"] == 10)
    )
    assert lost.sum() == 1
    scores.loc[lost, "score"] = np.nan
    frame = paired(scores, read_bench(run["bench"]), resamples=10)
    found = frame[(frame["method"] == "siamese") & (frame["reference"] == "neural_predictor")]
    budgets = {
        kind: set(zip(rows["budget"], rows["top"], strict=True)) for kind, rows in found.groupby("kind")
    }
    assert budgets["score_fair"] - budgets["score"] == {(30, 10)}


def test_differences_use_only_runs_that_both_have(run):
    scores = tables.read(run["scores"], SCHEMAS["scores"])
    fewer = scores[(scores["method"] != "siamese") | (scores["run"] >= 7)]
    frame = paired(fewer, read_bench(run["bench"]), resamples=100)
    both = frame[(frame["method"] == "siamese") & (frame["reference"] == "neural_predictor")]
    assert set(both["runs"]) == {5}
    means = scores[scores["run"] >= 7].groupby(["method", "budget", "top"])["score"].mean()
    for row in both[both["kind"] == "score"].itertuples():
        of = [means[method, row.budget, row.top] for method in ("siamese", "neural_predictor")]
        assert row.difference == pytest.approx(of[0] - of[1])


def test_an_interval_does_not_hang_on_the_company(run):
    scores = tables.read(run["scores"], SCHEMAS["scores"])
    bench = read_bench(run["bench"])
    pair = [("siamese", "neural_predictor")]
    alone = paired(
        scores[scores["method"].isin(["siamese", "neural_predictor"])], bench, pairs=pair, resamples=300
    )
    among = paired(scores, bench, resamples=300)
    among = among[
        (among["method"] == "siamese") & among["reference"].isin(["neural_predictor", "siamese" + COARSE])
    ]
    pd.testing.assert_frame_equal(alone, among.reset_index(drop=True))


def test_resamples_are_seeded():
    values = np.random.default_rng(0).normal(size=(10, 1))
    draw = lambda seed: bootstrap_means(values, 200, seeds.numpy_generator(seed, "bootstrap", 10))
    assert draw(0)[0] == draw(0)[0]
    assert draw(0)[0] != draw(1)[0]


def test_code_value_is_the_formula():
    codes = np.array([[2.0, 1.0, 0.5], [4.0, 2.0, 1.0], [9.0, 9.0, 9.0], [1.0, np.nan, 1.0]])
    accuracy = np.array([0.9, 0.8, np.nan, 0.7])
    value = code_value(codes, accuracy)
    assert value[:2] == pytest.approx(
        [1 - (3.5 / 3) / 4.0, 1 - (7 / 3) / 4.0]
    )  # the third is not plotted: 9 is not the largest
    assert np.isnan(value[2:]).all()


def test_spearman_per_group(run):
    bench = read_bench(run["bench"])
    points = scatter(bench)
    frame = correlations(points, bench)
    assert {"all", "group", "zoom", "rectangle"} == set(frame["kind"])
    for row in frame[frame["kind"] != "rectangle"].itertuples():
        rows = points.dropna(subset=[row.against, "accuracy"])
        rows = rows[(rows["accuracy"] >= row.low) & ((rows["accuracy"] < row.high) | (row.high == 1))]
        assert row.n == len(rows)
        ranks = [stats.rankdata(rows[name]) for name in (row.against, "accuracy")]
        assert row.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert row.p_value == pytest.approx(stats.spearmanr(*ranks).pvalue)


def test_the_papers_regions_are_counted_by_their_bounds(run):
    """docs/definitions.md, section 5: accuracy and code from, to, their ends included."""
    bench = read_bench(run["bench"])
    rng = np.random.default_rng(0)
    accuracy, code = rng.uniform(0.1, 0.95, 2000).round(2), rng.uniform(-0.02, 0.25, 2000).round(2)
    found = correlations(pd.DataFrame({"accuracy": accuracy, "code": code}), bench)
    found = found[found["kind"] == "rectangle"].set_index("label")
    for name, low, high, left, right in (("red", 0.25, 0.8, 0, 0.11), ("blue", 0.45, 0.8, 0.11, 0.18)):
        inside = [low <= a <= high and left <= c <= right for a, c in zip(accuracy, code, strict=True)]
        row = found.loc[f"{name} of figure 8a"]
        assert row["n"] == sum(inside)
        assert row["spearman"] == pytest.approx(stats.spearmanr(code[inside], accuracy[inside]).statistic)


def test_a_scatter_has_the_numbers_of_the_bench(run):
    bench = read_bench(run["bench"])
    points = scatter(bench)
    assert points["mmacs"].tolist() == pytest.approx((bench.table["macs"] / 1_000_000).tolist())
    assert points["accuracy"].tolist() == bench.table["accuracy"].tolist()
    assert points["log10_synflow"].tolist() == bench.table["log10_synflow"].tolist()


@pytest.mark.parametrize(
    ("dataset", "expected"), [("cifar10", ["0.90–0.95", "0.70–0.90", "< 0.70"]), ("digits", None)]
)
def test_groups_hold_every_architecture_once(dataset, expected):
    accuracy = np.random.default_rng(0).uniform(0.1, 0.949, 300)
    colours = [group for group in groups(dataset, accuracy) if group.kind == "group"]
    zooms = [(group.low, group.high) for group in groups(dataset, accuracy) if group.kind == "zoom"]
    assert sum(group.holds(accuracy).astype(int) for group in colours).tolist() == [1] * 300
    if expected:
        assert [group.label for group in colours] == expected
        assert zooms == [(0.9, 0.95), (0.85, 0.9)]
    else:
        assert zooms == [(group.low, group.high) for group in colours[:2]]
        assert all(abs(group.holds(accuracy).sum() - 100) <= 1 for group in colours)


@pytest.mark.parametrize("perfect", [0.2, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("value", [1.0, 0.0, 0.5])
def test_equal_accuracies_make_fewer_groups_and_none_twice(perfect, value):
    accuracy = np.random.default_rng(0).uniform(0.2, 0.8, 100)
    accuracy[: int(100 * perfect)] = value
    found = groups("digits", accuracy)
    colours = [group for group in found if group.kind == "group"]
    if colours:
        assert sum(group.holds(accuracy).astype(int) for group in colours).tolist() == [1] * 100
    assert len({(group.kind, group.label) for group in found}) == len(found)


@pytest.mark.parametrize("best", [0.95, 0.96])
def test_no_architecture_of_cifar10_above_the_papers_groups_is_lost(best):
    accuracy = np.array([0.5, best, 0.92, 0.8])
    colours = [group for group in groups("cifar10", accuracy) if group.kind == "group"]
    assert sum(group.holds(accuracy).astype(int) for group in colours).tolist() == [1, 1, 1, 1]


def test_published_points_meet_ours_at_equal_n_and_k(run):
    frame = tables.read(run["comparison"], SCHEMAS["comparison"])
    points = tables.read(run["points"], SCHEMAS["points"]).set_index(["method", "budget", "top"])
    met = frame.dropna(subset=["mean"])
    assert {("6b", 70, 30), ("6b", 30, 30)} <= set(zip(met["figure"], met["budget"], met["top"], strict=True))
    for row in met.itertuples():
        assert row.mean == points.loc[(row.method, row.budget, row.top), "mean"]
        assert row.difference == pytest.approx(row.mean - row.published)
    best = frame[
        (frame["figure"] == "6b") & (frame["method"] == "siamese+nsam+bts") & (frame["trained"] == 210)
    ].iloc[0]
    assert (best["budget"], best["published"], best["published_quarter_sd"]) == (180, 0.7426, 0.0005)
    assert len(frame) == 28 + 4 + 4 * 16  # figure 6a, BRP-NAS and four methods of 6b


def test_other_image_sets_have_no_published_points():
    bench = Bench("tiny_nanobench-digits", pd.DataFrame(), {})
    columns = ["method", "budget", "top", "runs", "mean", "sd", "se", "fair_mean", "regret"]
    assert published.compare(pd.DataFrame(columns=columns), bench).empty


def test_a_published_file_without_a_column_is_refused(tmp_path):
    (tmp_path / "curves.csv").write_text("figure,space\n6a,nasbench201\n")
    with pytest.raises(InputError, match=r"curves\.csv: column 'dataset' is missing"):
        published.curves(tmp_path)


def test_costs_add_up(tmp_path):
    from snas.tables import Column, Schema

    def shard(name, schema, rows, **facts):
        path = tmp_path / f"{name}.parquet"
        frame = pd.DataFrame({"arch": range(rows)})
        tables.write(path, frame, Schema(schema, {"arch": Column("int64", "index")}), facts)
        return path

    truth = [
        shard(f"t{i}", "truth", 3, seconds=10.0, gpu_seconds=4.0, peak_memory_mb=100.0 + i, device="H")
        for i in range(2)
    ]
    codes = [
        shard("c0", "codes", 5, seconds=1.5, cpu_seconds=2.5, peak_memory_mb=50.0, device="cpu"),
        shard("c1", "codes", 2),
    ]
    frame = costs({"codes": codes, "truth": truth})
    by = frame.set_index("stage")
    assert by.loc[
        "truth", ["files", "rows", "trainings", "codes", "seconds", "gpu_seconds", "peak_memory_mb"]
    ].tolist() == [2, 6, 6, 0, 20.0, 8.0, 101.0]
    assert by.loc["codes", ["codes", "seconds", "cpu_seconds", "unmeasured"]].tolist() == [7, 1.5, 2.5, 1]
    assert by.loc[
        TOTAL, ["files", "trainings", "codes", "seconds", "gpu_seconds", "peak_memory_mb", "unmeasured"]
    ].tolist() == [4, 6, 7, 21.5, 8.0, 101.0, 1]
    assert by.loc[TOTAL, "device"] == "H, cpu"
    tables.write(tmp_path / "costs.parquet", frame, COSTS)


def test_the_schemas_that_costs_count_are_those_of_the_training_room():
    from snas.analysis.costs import CODES, TRAININGS
    from snas.training.schemas import CODES as CODE_SCHEMA
    from snas.training.schemas import TRUTH

    assert (TRUTH.name, CODE_SCHEMA.name) == (TRAININGS, CODES)


def test_counting(tmp_path):
    write_counts(tmp_path / "counts.parquet")
    frame = tables.read(tmp_path / "counts.parquet", COUNTS)
    totals = frame.groupby("step")["count"].sum()
    assert (totals[CELLS], totals[WITHIN]) == (2083, 1120)
    # lists by the multinomial coefficients of the bag: the double operation 0, 1 or 2 times, others at most once
    from itertools import combinations
    from math import factorial

    wanted = sum(
        factorial(double + len(others)) // factorial(double)
        for double in (0, 1, 2)
        for size in range(5)
        for others in combinations("abcd", size)
    )
    assert totals[LISTS] == wanted
    nearest = tables.metadata(tmp_path / "counts.parquet")
    assert nearest["largest_within"] == pytest.approx(34.7886e6, abs=100)
    assert nearest["smallest_above"] == pytest.approx(35.0057e6, abs=100)


def test_every_table_says_what_it_is(run):
    for name, schema in SCHEMAS.items():
        frame = tables.read(run[name], schema)
        assert len(frame), name
        facts = tables.metadata(run[name])
        assert (facts["schema"], facts["bench"], facts["space"], facts["dataset"]) == (
            name,
            "nasbench201-cifar100",
            "nasbench201",
            "cifar100",
        )
        assert facts["optimum"] == read_bench(run["bench"]).optimum
        assert facts["code_price"] == 0.003


def test_a_bench_without_searches_still_has_its_scatter(run, tmp_path):
    outputs = {name: tmp_path / f"{name}.parquet" for name in SCHEMAS}
    analyse(run["bench"], [], outputs, tops=[5])
    assert len(tables.read(outputs["scatter"], SCHEMAS["scatter"])) == 400
    assert tables.read(outputs["points"], SCHEMAS["points"]).empty


def test_an_unknown_table_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="unknown table 'point' of the analysis; known: scores, points"):
        analyse(run["bench"], [], {"point": tmp_path / "x.parquet"}, tops=[5])


def test_variants_are_paired_with_their_method_and_with_each_other():
    from snas.analysis.differences import PAIRS, pairs_of

    found = pairs_of(["siamese", "siamese@c=10", "siamese@labels=select", "siamese@code=synflow"])
    assert found[: len(PAIRS)] == PAIRS
    assert set(found[len(PAIRS) :]) == {
        ("siamese@c=10", "siamese"),
        ("siamese@c=10", "neural_predictor@c=10"),
        ("siamese@labels=select", "siamese"),
        ("siamese@labels=select", "neural_predictor@labels=select"),
        ("siamese@code=synflow", "siamese"),
        ("siamese@code=synflow", "neural_predictor@code=synflow"),
        ("siamese@code=synflow", "neural_predictor"),
    }


def test_another_benchmark_is_not_laid_over_the_published_curves(synthetic, tmp_path):
    from snas.analysis.inputs import Bench, read_bench
    from snas.analysis.published import compare

    path = synthetic.make_bench(tmp_path / "bench.parquet", "nasbench201", "cifar100", 120)
    bench = read_bench(path)
    points = pd.DataFrame(
        columns=["method", "budget", "top", "runs", "mean", "sd", "se", "fair_mean", "regret"]
    )
    assert len(compare(points, bench)) > 50
    assert compare(points, Bench(bench.name, bench.table, {**bench.facts, "published": False})).empty


def test_agreement_is_a_plain_mean_over_the_points_that_both_have():
    from snas.analysis.agreement import agreement

    rows = [
        ("6b", "neural_predictor", 30, 30, 0.70, 0.71, 5), ("6b", "neural_predictor", 40, 30, 0.71, 0.72, 9),
        ("6b", "siamese", 30, 30, 0.72, 0.715, 9), ("6b", "siamese", 40, 30, 0.74, 0.745, 9),
        ("6b", "siamese", 50, 30, 0.75, np.nan, np.nan), ("7a", "siamese", 30, 30, 0.9, 0.8, 3),
    ]  # fmt: skip
    names = ["figure", "method", "budget", "top", "published", "mean", "runs"]
    frame = pd.DataFrame(rows, columns=names).assign(difference=lambda f: f["mean"] - f["published"])
    found = agreement(frame, "bench").set_index(["figure", "method"])
    assert found.loc["6b", "neural_predictor"]["n"] == 5
    assert found.loc["6b", "siamese"]["points"] == 2
    assert found.loc["6b", "siamese"]["difference"] == pytest.approx(0)
    assert found.loc["6b", "siamese"]["lowest"] == pytest.approx(-0.005)
    assert found.loc["6b", "siamese"]["highest"] == pytest.approx(0.005)
    assert found.loc["6b", "siamese"]["lead"] == pytest.approx((0.005 + 0.025) / 2)
    assert found.loc["6b", "siamese"]["published_lead"] == pytest.approx((0.02 + 0.03) / 2)
    assert np.isnan(found.loc["6b", "neural_predictor"]["lead"])
    assert np.isnan(found.loc["7a", "siamese"]["lead"]), (
        "the neural predictor of another figure is no reference"
    )
    assert found.loc["7a", "siamese"]["lowest"] == pytest.approx(-0.1)


def test_a_proxy_in_the_place_of_the_code_is_no_loss(synthetic, tmp_path):
    """It has an axis of its own in figures 1 and 8; on that of losses it would be a number without a meaning."""
    bench = read_bench(synthetic.make_bench(tmp_path / "bench.parquet", "tiny_nanobench", "digits", 60))
    assert scatter(bench)["code"].notna().all()
    instead = Bench(bench.name, bench.table, {**bench.facts, "code_kind": "proxy"})
    points = scatter(instead)
    assert points["code"].isna().all()
    assert points["log10_synflow"].notna().all()
    found = correlations(points, instead).set_index(["against", "label"])
    assert found.loc[("code", "all"), "n"] == 0
    assert np.isnan(found.loc[("code", "all"), "spearman"])
    assert found.loc[("log10_synflow", "all"), "n"] == 60


def test_three_architectures_have_a_correlation(synthetic, tmp_path):
    bench = read_bench(synthetic.make_bench(tmp_path / "bench.parquet", "tiny_nanobench", "digits", 3))
    found = correlations(scatter(bench), bench)
    assert found.loc[found["label"] == "all", ["n", "spearman"]].notna().all(axis=None)


def test_two_architectures_have_no_groups_and_no_correlation(synthetic, tmp_path):
    bench = read_bench(synthetic.make_bench(tmp_path / "bench.parquet", "tiny_nanobench", "digits", 2))
    found = correlations(scatter(bench), bench)
    assert found["label"].tolist() == ["all", "all"]
    assert found["n"].tolist() == [2, 2]
    assert found[["spearman", "p_value"]].isna().all(axis=None)


def test_a_lone_method_has_no_differences_and_their_table_is_written(synthetic, tmp_path):
    bench = synthetic.make_bench(tmp_path / "bench.parquet", "tiny_nanobench", "digits", 60)
    search = synthetic.make_search(tmp_path / "search.parquet", bench, "random", 10, range(3))
    out = tmp_path / "differences.parquet"
    analyse(bench, [search], {"differences": out}, tops=[5], resamples=10)
    assert tables.read(out, SCHEMAS["differences"]).empty


def test_a_published_file_that_is_missing_or_has_another_axis_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"curves\.csv: no such file; it belongs to the repository"):
        published.curves(tmp_path)
    frame = pd.read_csv(published.FOLDER / "curves.csv")
    frame.loc[3, "fixed"] = "M"
    frame.to_csv(tmp_path / "curves.csv", index=False)
    with pytest.raises(InputError, match="column 'fixed', row 3: 'M', expected N or K"):
        published.curves(tmp_path)
