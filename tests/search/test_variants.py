"""Variants of methods: the same searches as settings and options give, under a name of their own, and no senseless one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import huber_loss

from snas import InputError, tables
from snas.predictors import REGISTRY as PREDICTORS
from snas.predictors import native
from snas.predictors.accuracy import AccuracyPredictor
from snas.predictors.native_predictor import NativePredictor
from snas.search import METHODS, variants
from snas.search.block import SEARCH, Settings, metadata, run_block

from .test_blocks import same
from .toys import ToySpace

RUNS = (0, 3)


@pytest.mark.parametrize(
    ("name", "base", "settings"),
    [
        ("linear@c=5", "linear", {"rerank": 5}),
        ("linear_bts@lambda=0.5", "linear_bts", {"options": {"sampler": {"share": 0.5}}}),
        ("linear_bts@c=0,lambda=0.7", "linear_bts", {"rerank": 0, "options": {"sampler": {"share": 0.7}}}),
        ("linear@labels=select", "linear", {"labels": "accuracy_select"}),
        ("random@labels=select", "random", {"labels": "accuracy_select"}),
        ("siamese@momentum=0.1", "siamese", {"options": {"predictor": {"bn_momentum": 0.1}}}),
        ("siamese+nsam@qv=shared", "siamese+nsam", {"options": {"predictor": {"shared_qv": True}}}),
    ],
)
def test_a_variant_is_its_method_with_the_settings(name, base, settings, bench):
    path = bench()
    mine = run_block(path, Settings(name, 20, 6, RUNS))
    assert set(mine["method"]) == {name}
    same(mine, run_block(path, Settings(base, 20, 6, RUNS, **settings)), but=("method",))
    if base.startswith("siamese"):
        plain = run_block(path, Settings(base, 20, 6, RUNS))
        assert plain["ranking"][0].tolist() != mine["ranking"][0].tolist()
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


@pytest.mark.parametrize("predictor", ["siamese+nsam", "neural_predictor"])
def test_a_checkpoint_is_that_of_the_smallest_loss_on_what_was_held_out(predictor, bench, toy):
    """Against a plain version: one run, epoch by epoch, all checkpoints kept; some of the codes are missing."""

    def change(frame):
        frame.loc[frame["arch"] % 3 == 0, ["code_1", "code_2", "code_3"]] = np.nan

    change(toy)
    options = {"predictor": {"epochs": 60, "bn_momentum": 0.3}}
    table = run_block(bench(change), Settings(f"{predictor}@checkpoint=4", 20, 6, RUNS, options=options))
    last = run_block(bench(change), Settings(predictor, 20, 6, RUNS, options=options))
    accuracy = torch.tensor(toy["accuracy"], dtype=torch.float32)
    codes = torch.tensor(toy[["code_1", "code_2", "code_3"]].to_numpy(), dtype=torch.float32)
    chosen = []
    for row, other in zip(table.itertuples(), last.itertuples(), strict=True):
        assert row.pool.tolist() == other.pool.tolist()  # N trainings, the four among them
        held, taught = (torch.tensor(part.copy())[None] for part in (row.pool[:4], row.pool[4:]))
        one = PREDICTORS.load(predictor)(
            ToySpace().encoding(), [row.run], base_seed=0, budget=16, **options["predictor"]
        )
        found = []
        for epoch in range(60):
            one.fit(taught, accuracy[taught], codes[taught], start=epoch, stop=epoch + 1)
            loss = huber_loss(one.coarse(held), accuracy[held], delta=0.5)
            if one.uses_code:
                has = ~codes[held].isnan().any(-1)
                fine = huber_loss(one.fine(held, codes[held]), accuracy[held], delta=0.5, reduction="none")
                loss = loss + (fine[has].mean() if has.any() else 0.0)
            found.append((float(loss), epoch, one.coarse(None)[0]))
        _, epoch, coarse = min(found, key=lambda checkpoint: checkpoint[:2])
        chosen.append(epoch)
        expected = np.argsort(-coarse.numpy(), kind="stable")
        assert row.coarse_ranking.tolist() == expected[: len(row.coarse_ranking)].tolist()
    assert min(chosen) < 59, "the last weights would do as well"


def test_a_run_that_breaks_down_has_its_last_weights_and_leaves_the_others_alone(bench, monkeypatch):
    """Losses of NaN are never the smallest."""
    settings = Settings("neural_predictor@checkpoint=3", 20, 6, (0, 3), options={"predictor": {"epochs": 5}})
    alone = run_block(bench(), replace(settings, runs=(3,)))
    coarse = NativePredictor.coarse if native.load() is not None else AccuracyPredictor.coarse
    kind = NativePredictor if native.load() is not None else AccuracyPredictor

    def broken(self, archs=None):
        values = coarse(self, archs)
        values[[run == 0 for run in self.runs]] = float("nan")
        return values

    monkeypatch.setattr(kind, "coarse", broken)
    both = run_block(bench(), settings)
    assert both["ranking"][1].tolist() == alone["ranking"][0].tolist()
    assert len(set(both["ranking"][0])) == len(both["ranking"][0])


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
        ("siamese@momentum=high", "momentum is 'high'; a number is expected"),
        ("siamese@momentum=0", "option 'bn_momentum' is 0.0; a number above 0 and at most 1 is expected"),
        ("siamese@momentum=nan", "option 'bn_momentum' is nan; a number above 0 and at most 1 is expected"),
        ("gp@momentum=0.1", "'gp' has no setting 'momentum'"),
        ("gp+coarse@qv=shared", "'gp+coarse' has no setting 'qv'"),
        ("siamese@qv=two", "qv is 'two'; known: shared"),
        ("neural_predictor@qv=shared", "'neural_predictor' has no setting 'qv'"),
        ("siamese@checkpoint=0", "checkpoint is '0'; a whole number of 1 or more is expected"),
        ("siamese@checkpoint=1.5", "checkpoint is '1.5'; a whole number of 1 or more is expected"),
        ("brp_nas@checkpoint=3", "'brp_nas' has no setting 'checkpoint'"),
        ("random@checkpoint=3", "'random' has no setting 'checkpoint'"),
    ],
)
def test_a_senseless_variant_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(InputError) as error:
        METHODS.check(name)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_checkpoint_is_chosen_by_is_taken_from_the_budget():
    method = METHODS.load("siamese+bts@checkpoint=3")
    assert method.sizes(43) == [15, *[2] * 9, 10]  # 12 of 40, and three
    with pytest.raises(InputError, match=r"budget 6 .*sampler 'bts', beside 3 to choose a checkpoint by"):
        method.sizes(6)
    assert method.sizes(7)[0] == 4


def test_a_variant_hangs_on_the_code_of_its_method():
    assert METHODS.check("siamese+bts@lambda=0.5") == "siamese+bts@lambda=0.5"
    assert METHODS.load("siamese@c=10").modules == METHODS.load("siamese").modules
    assert METHODS.module("gp@labels=select") == METHODS.module("gp")
    assert variants.parse("a+b@c=1,lambda=0.5") == ("a+b", {"c": "1", "lambda": "0.5"})
