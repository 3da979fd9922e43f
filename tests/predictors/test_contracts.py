"""What every predictor of the registry keeps, without exception."""

from __future__ import annotations

import pytest
import torch

from snas import InputError
from snas.predictors import NATIVE as WITH_NATIVE_CODE
from snas.predictors import REGISTRY, native
from snas.predictors.accuracy import AccuracyPredictor
from tests.predictors import toys

SMALL = {"epochs": 10, "hidden": 24, "epochs_each": 24, "dtype": torch.float64}
SIZE = 8


NATIVE = [f"{n} natively" for n in REGISTRY.names() if issubclass(REGISTRY.load(n), AccuracyPredictor)]


def build(name, runs, **more):
    kind, natively = REGISTRY.load(name.split()[0]), name in NATIVE
    options = {k: v for k, v in SMALL.items() if k in kind.defaults} | more
    if natively:
        options["dtype"] = torch.float32
    return kind(toys.encoding(), runs, base_seed=toys.BASE_SEED, budget=16, compile=natively, **options)


def data(runs):
    """Return the pools of the given runs: those of a run are the same in every block."""
    ids, accuracy, codes = toys.pool(6, SIZE)
    return ids[list(runs)], accuracy[list(runs)], codes[list(runs)]


def trained(name, runs, stop=3, **more):
    predictor = build(name, runs, **more)
    predictor.fit(*data(runs), start=0, stop=stop)
    return predictor


@pytest.fixture(params=[*REGISTRY.names(), *NATIVE])
def name(request):
    if request.param in NATIVE and native.load() is None:
        pytest.skip("no C++ compiler")
    return request.param


def test_what_the_registry_says_of_native_code_holds():
    """By this a workflow decides, without torch, that a search leases no GPU."""
    if native.load() is None:
        pytest.skip("no C++ compiler")
    has = {n for n in REGISTRY.names() if getattr(build(f"{n} natively", [0]), "native", None) is not None}
    assert has == set(WITH_NATIVE_CODE)


def test_the_start_of_a_run_does_not_depend_on_the_block(name):
    block, alone = build(name, [0, 3, 5]), build(name, [3])
    assert torch.equal(block.state_dict()["weights"][1], alone.state_dict()["weights"][0])
    torch.testing.assert_close(block.coarse()[1], alone.coarse()[0], rtol=1e-12, atol=0)


def test_runs_at_once_equal_runs_alone(name):
    runs = [0, 3, 5]
    block = trained(name, runs)
    for place, run in enumerate(runs):
        alone = trained(name, [run])
        torch.testing.assert_close(block.coarse()[place], alone.coarse()[0], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e30])
def test_nan_or_an_explosion_in_one_run_leaves_the_others_bit_identical(name, weight):
    runs = [0, 3, 5]
    healthy, ill = build(name, runs), build(name, runs)
    state = ill.state_dict()
    state["weights"][1] = weight
    ill.load_state_dict(state)
    before = ill.coarse()
    assert weight == 1e30 or not bool(before[1].isfinite().any())
    assert torch.equal(healthy.coarse()[[0, 2]], before[[0, 2]])
    for predictor in (healthy, ill):
        predictor.fit(*data(runs), start=0, stop=2)
    a, b = healthy.coarse(), ill.coarse()
    assert torch.equal(a[[0, 2]], b[[0, 2]])
    assert torch.equal(healthy.state_dict()["weights"][[0, 2]], ill.state_dict()["weights"][[0, 2]])


def test_every_parameter_learns_from_the_accuracies(name):
    """With other accuracies every parameter ends elsewhere, so each has a gradient."""
    runs = [0, 3]
    one, two = build(name, runs), build(name, runs)
    ids, accuracy, codes = data(runs)
    one.fit(ids, accuracy, codes, start=0, stop=1)
    two.fit(ids, 1 - accuracy, codes, start=0, stop=1)
    moved = one.state_dict()["weights"] != two.state_dict()["weights"]
    at = 0
    for parameter, entry in one.layout.items():
        assert bool(moved[:, at : at + entry.size].any(1).all()), parameter
        at += entry.size
    assert at == moved.shape[1]


def test_saving_and_loading_goes_on_bit_equal(name):
    runs = [0, 3]
    straight = trained(name, runs, stop=3)
    first = trained(name, runs, stop=2)
    second = build(name, runs)
    second.load_state_dict(first.state_dict())
    second.fit(*data(runs), start=2, stop=3)
    assert torch.equal(straight.coarse(), second.coarse())
    for key, value in straight.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_it_tells_how_far_it_is_and_computes_the_same(name):
    silent, telling, said = trained(name, [0, 3], stop=2), build(name, [0, 3]), []
    telling.tell = said.append
    telling.fit(*data([0, 3]), start=0, stop=2)
    assert torch.equal(silent.coarse(), telling.coarse())
    assert 0 < said[0] < said[-1] <= 1
    assert said == sorted(said)
    if isinstance(telling, AccuracyPredictor):  # BRP-NAS may stop an iteration early
        assert said[-1] == 1
        again = said.copy()
        said.clear()
        telling.fit(*data([0, 3]), start=2, stop=4)
        assert said == again, "shares of that call's work"
    work = [telling.work(stop) for stop in range(telling.epochs + 1)]
    assert work == sorted(set(work))
    assert (work[0], work[-1]) == (0, 1)


def test_a_saved_state_is_a_copy(name):
    predictor = build(name, [0])
    state = predictor.state_dict()
    before = {k: v.clone() for k, v in state.items()}
    predictor.fit(*data([0]), start=0, stop=1)
    assert all(torch.equal(state[k], v) for k, v in before.items())


def test_networks_that_are_always_wrong_or_right_are_trained_on(name):
    """Accuracies of 0 and 1 are accuracies."""
    ids, accuracy, codes = data([0])
    predictor = build(name, [0])
    predictor.fit(ids, (accuracy > accuracy.mean()).to(accuracy.dtype), codes, start=0, stop=1)
    predictor.fit(ids, torch.zeros_like(accuracy), codes, start=1, stop=2)
    assert bool(predictor.coarse().isfinite().all())


def test_no_epochs_change_nothing(name):
    predictor = trained(name, [0], stop=1)
    before = predictor.state_dict()
    predictor.fit(*data([0]), start=1, stop=1)
    assert all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())


def test_training_goes_on_only_where_it_stands(name):
    predictor = trained(name, [0], stop=1)
    for start, stop in ((0, 1), (2, 3), (1, predictor.epochs + 1)):
        with pytest.raises(ValueError, match="training stands at 1"):
            predictor.fit(*data([0]), start=start, stop=stop)


def test_a_state_of_another_block_is_refused(name):
    with pytest.raises(InputError, match="would be right"):
        build(name, [0, 1]).load_state_dict(build(name, [0]).state_dict())


def test_a_state_that_lacks_a_part_is_refused(name):
    state = build(name, [0]).state_dict()
    del state["weights"]
    with pytest.raises(InputError, match=r"weights is nothing; .* would be right"):
        build(name, [0]).load_state_dict(state)


def test_an_unknown_option_lists_the_known_ones(name):
    with pytest.raises(InputError, match=r"no option 'momentum'; known: .*dtype"):
        build(name, [0], momentum=0.1)


def test_it_learns_an_easy_truth(name):
    """A truth that the graph shows is ranked far better than by chance after training on half of the space."""
    encoding = toys.encoding()
    truth = torch.as_tensor(encoding.adjacency.sum((1, 2)) + 2 * (encoding.operations == 1).sum(1)).double()
    truth = (truth - truth.min()) / (truth.max() - truth.min())
    ids = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(s))[:20] for s in range(2)])
    kind, natively = REGISTRY.load(name.split()[0]), name in NATIVE
    wished = {"bn_momentum": 0.1, "epochs": 60, "hidden": 48, "epochs_each": 12}
    more = {k: v for k, v in wished.items() if k in kind.defaults}
    predictor = kind(encoding, [0, 1], base_seed=0, budget=24, compile=natively, **more)
    codes = (1 - truth[ids])[..., None] * torch.tensor([2.0, 1.5, 1.0])
    predictor.fit(ids, truth[ids], codes, start=0, stop=predictor.epochs)
    ranks = lambda x: x.argsort().argsort().double()
    found = []
    for row, scores in enumerate(predictor.coarse()):
        left = torch.ones(40, dtype=torch.bool)
        left[ids[row]] = False
        found.append(torch.corrcoef(torch.stack([ranks(scores[left]), ranks(truth[left])]))[0, 1])
    assert sum(found) / 2 > 0.4
