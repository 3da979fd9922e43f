"""Contract of the registry: every method, with its real predictor, no exception."""

from importlib.util import find_spec

import numpy as np
import pytest

from snas import InputError
from snas.predictors import REGISTRY as PREDICTORS
from snas.search import METHODS, SAMPLERS, block
from snas.search.block import Settings, run_block
from snas.search.methods import PredictorMethod

from .toys import answering, on_demand, unknown

METHOD_NAMES = [
    *METHODS.names(),
    "siamese@checkpoint=2",
    "siamese+nsam+bts@checkpoint=3",
    "neural_predictor@checkpoint=1",
]
"""Of the registry as it is at import: the toys of the other tests are not yet in."""
BUDGET, SIZE, EPOCHS = 10, 60, 40
SMALL = {"epochs": EPOCHS, "hidden": 100}  # of 200 epochs; BRP-NAS has 600 features
PRICES = {"code": 0.003, "select": 0.06, "synflow": 0.0}


def few(frame):
    """A bench of 60 with missing codes and failed trainings."""
    frame = frame.head(SIZE).copy()
    frame.loc[frame["arch"] % 4 == 0, ["code_1", "code_2", "code_3"]] = np.nan
    failed = frame["arch"] % 10 == 1
    frame.loc[failed, ["accuracy", "accuracy_select"]] = np.nan
    frame.loc[failed, "status"] = "diverged"
    return frame


def settings(name, runs):
    """All 50 outside the pool are asked for, so that the table holds whole rankings; schedules are cut short, BRP-NAS is narrow."""
    method = METHODS.load(name)
    options = {}
    if getattr(method, "learns", False):
        options = {"predictor": {"epochs": EPOCHS}}
    if isinstance(method, PredictorMethod):
        options = {
            "predictor": {k: SMALL[k] for k in PREDICTORS.load(method.predictor).defaults if k in SMALL}
        }
    return Settings(name, BUDGET, SIZE - BUDGET, runs, rerank=20, new_only=True, options=options)


@pytest.fixture(scope="module")
def tables():
    """One search per method, kept for all tests of this module."""
    return {}


@pytest.fixture
def search(bench, tables):
    def make(name):
        if name not in tables:
            tables[name] = run_block(bench(few), settings(name, (0, 2)))
        return tables[name]

    return make


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_budget_is_used_exactly_and_everything_is_in_range(name, search):
    for row in search(name).itertuples():
        assert len(row.pool) == len(set(row.pool)) == BUDGET
        assert set(row.pool) <= set(range(SIZE))
        assert sorted(row.ranking) == sorted(row.coarse_ranking) == list(range(SIZE))
        assert row.trainings == SIZE
        limits = METHODS.load(name).looks(BUDGET, 20)
        assert row.codes <= limits.get("code", 0)
        beside = row.price - row.trainings - PRICES["code"] * row.codes
        other = [PRICES[look] * min(limit, SIZE) for look, limit in limits.items() if look != "code"]
        assert -1e-9 <= beside <= sum(other) + 1e-9


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_runs_start_on_the_common_permutation(name, search):
    table, random = search(name), search("random")
    assert table["seed"].tolist() == random["seed"].tolist()
    for mine, draws in zip(table["pool"], random["pool"], strict=True):
        assert mine[0] == draws[0]
    assert table["ranking"][0].tolist() != table["ranking"][1].tolist()


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_run_is_the_same_alone_and_saved_between_rounds(name, search, bench, tmp_path, toy):
    """Run 2 of a block of two at once against run 2 alone and on demand, by files."""
    at_once = search(name).iloc[1]
    looked_at = lambda frame: unknown(frame).assign(accuracy_select=frame["accuracy_select"])
    path = bench(lambda frame: looked_at(few(frame)), "unknown")
    table, _ = on_demand(tmp_path / "rounds", path, settings(name, (2,)), answering(few(toy)))
    for column in ("pool", "ranking", "coarse_ranking"):
        assert list(table[column][0]) == list(at_once[column])
    for column in ("trainings", "codes", "price", "seed"):
        assert table[column][0] == at_once[column]


@pytest.mark.parametrize("method", ["linear_bts", "linear_fts", "linear_brp"])
def test_no_sampler_asks_a_predictor_that_has_learnt_nothing(method, bench):
    """What it would add were a draw by the breaking of ties, and nothing would say so."""
    few = Settings(method, BUDGET, 5, (0,), options={"predictor": {"epochs": 1}})
    with pytest.raises(InputError, match=r"'linear' has a schedule of 1 epoch\(s\).* more epochs are needed"):
        run_block(bench(), few)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_method_says_what_it_is(name):
    method = METHODS.load(name)
    assert method.score in ("top", "asked")
    assert all(find_spec(module.partition(":")[0]) for module in method.modules)
    assert block.rounds(name, 50) == len(method.sizes(50)) + 1 >= 2


def test_the_methods_of_the_paper_are_there():
    assert {
        "random",
        "neural_predictor",
        "siamese",
        "siamese+bts",
        "siamese+nsam",
        "siamese+nsam+bts",
        "siamese+nsam+fts",
        "brp_nas",
    } <= set(METHOD_NAMES)
    assert {"random", "bts", "fts", "brp"} <= set(SAMPLERS.names())


@pytest.mark.parametrize(
    ("method", "asked", "compile", "place"),
    [
        ("siamese+nsam+bts@lambda=0.5", "auto", True, None),
        ("neural_predictor+nsam", "auto", True, None),
        ("siamese", "auto", False, "cuda"),
        ("siamese", "cuda", True, "cuda"),
        ("brp_nas", "auto", True, "cuda"),
        ("brp_nas", "cpu", True, None),
        ("gp", "auto", True, "cuda"),
    ],
)
def test_native_code_leaves_a_gpu_to_trainings(method, asked, compile, place, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = block.place(method, asked, compile=compile)
    assert (
        found is None if place is None else found.type == place
    )  # None: the CPU, without an import of torch


@pytest.mark.parametrize("method", ["random", "evolution", "local_search"])
def test_a_method_without_a_predictor_computes_nowhere(method):
    assert block.place(method, "cuda", compile=True) is None
