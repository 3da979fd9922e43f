"""Variants of methods: the same searches as settings and options give, under a name of their own, and no senseless one."""

import pytest

from snas import InputError, tables
from snas.search import METHODS, variants
from snas.search.block import SEARCH, Settings, metadata, run_block

from .test_blocks import same

RUNS = (0, 3)


@pytest.mark.parametrize(
    ("name", "base", "settings"),
    [
        ("linear@c=5", "linear", {"rerank": 5}),
        ("linear_bts@lambda=0.5", "linear_bts", {"options": {"sampler": {"share": 0.5}}}),
        ("linear_bts@c=0,lambda=0.7", "linear_bts", {"rerank": 0, "options": {"sampler": {"share": 0.7}}}),
        ("linear@labels=select", "linear", {"labels": "accuracy_select"}),
        ("random@labels=select", "random", {"labels": "accuracy_select"}),
    ],
)
def test_a_variant_is_its_method_with_the_settings(name, base, settings, bench):
    path = bench()
    mine = run_block(path, Settings(name, 20, 6, RUNS))
    assert set(mine["method"]) == {name}
    same(mine, run_block(path, Settings(base, 20, 6, RUNS, **settings)), but=("method",))
    said = metadata(path, Settings(name, 20, 6, RUNS))
    assert said["rerank"] == settings.get("rerank", 60)
    assert said["labels"] == settings.get("labels", "accuracy")


def test_synflow_as_code_is_a_bench_whose_code_is_synflow_three_times(bench):
    def coded(frame):
        for place in (1, 2, 3):
            frame[f"code_{place}"] = frame["log10_synflow"].astype("float32")

    mine = run_block(bench(), Settings("linear@code=synflow", 20, 6, RUNS))
    other = run_block(bench(coded, "coded"), Settings("linear", 20, 6, RUNS))
    same(mine, other, but=("method", "codes", "price"))
    assert (mine["codes"] == 0).all(), "synflow is no trained code"
    assert (mine["price"] == mine["trainings"]).all()
    assert (
        mine["ranking"][0].tolist()
        != run_block(bench(), Settings("linear", 20, 6, RUNS))["ranking"][0].tolist()
    )


def test_a_bench_without_synflow_says_so(bench):
    path = bench(lambda frame: frame.assign(log10_synflow=float("nan")))
    with pytest.raises(InputError, match="it has no synflow; add synflow to the proxies"):
        run_block(path, Settings("linear@code=synflow", 20, 6, RUNS))


def test_a_bench_without_codes_says_so(bench):
    path = bench(lambda frame: frame.assign(code_1=float("nan"), code_2=float("nan"), code_3=float("nan")))
    with pytest.raises(
        InputError, match="it has no estimation codes; take a source that has them, or a proxy"
    ):
        run_block(path, Settings("linear", 20, 6, RUNS))
    assert len(run_block(path, Settings("linear_plain", 20, 6, RUNS))) == len(RUNS)


def test_the_results_keep_the_variant_s_name(bench, tmp_path):
    tables.write(tmp_path / "runs.parquet", run_block(bench(), Settings("linear@c=5", 20, 6, RUNS)), SEARCH)
    assert set(tables.read(tmp_path / "runs.parquet", SEARCH)["method"]) == {"linear@c=5"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("siamese@", "'' is no setting of a variant; known, each once: c="),
        ("siamese@k=3", "'k=3' is no setting"),
        ("siamese@c=3,c=4", "'c=4' is no setting"),
        ("siamese@c", "'c' is no setting"),
        ("siamese@c=-1", "c is '-1'; a whole number is expected"),
        (
            "neural_predictor@c=5",
            "'neural_predictor' has no predictor that looks at codes, so 'c' changes nothing",
        ),
        ("gp+fidelity@code=synflow", "'gp+fidelity' has no predictor that looks at codes"),
        ("random@lambda=0.3", "'random' has no setting 'lambda'"),
        (
            "siamese@lambda=0.3",
            "sampler 'random' has no lambda, the share of N to start on at random; 'bts' and 'fts' have",
        ),
        ("brp_nas@lambda=0.3", "sampler 'brp' has no lambda"),
        ("siamese+bts@lambda=1.5", "share of the random start is 1.5"),
        ("siamese+bts@lambda=half", "lambda is 'half'; a number is expected"),
        ("siamese@code=grasp", "code is 'grasp'; known: synflow"),
        ("siamese@labels=other", "labels is 'other'; known: select"),
        ("evolution@labels=select", "'evolution' has no setting 'labels'"),
        ("siamse@c=10", "unknown method 'siamse'"),
    ],
)
def test_a_senseless_variant_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(InputError) as error:
        METHODS.check(name)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_variant_hangs_on_the_code_of_its_method():
    assert METHODS.check("siamese+bts@lambda=0.5") == "siamese+bts@lambda=0.5"
    assert METHODS.load("siamese@c=10").modules == METHODS.load("siamese").modules
    assert METHODS.module("gp@labels=select") == METHODS.module("gp")
    assert variants.parse("a+b@c=1,lambda=0.5") == ("a+b", {"c": "1", "lambda": "0.5"})
