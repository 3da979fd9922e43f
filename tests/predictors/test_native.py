"""Native training and prediction against the plain torch path, autograd and the plain version written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snas import compiler
from snas.predictors import REGISTRY, native
from snas.predictors.native_predictor import check_shapes
from snas.spaces.space import Encoding
from tests.predictors import toys
from tests.predictors.plain import Plain

KINDS = {
    "neural_predictor": {},
    "neural_predictor with NSAM": {"nsam": True},
    "siamese": {},
    "siamese with a shared q/v layer and another momentum": {"shared_qv": True, "bn_momentum": 0.1},
    "siamese+nsam": {},
}
CODED = [kind for kind in KINDS if kind.startswith("siamese")]
CASES = [(kind, 0.0) for kind in KINDS] + [(kind, missing) for kind in CODED for missing in (0.6, 1.0)]
RUNS = (3, 5)


@pytest.fixture(autouse=True)
def _needs_a_compiler():
    if compiler.found() is None:
        pytest.skip("no C++ compiler")
    assert native.load() is not None, "there is a compiler, but it did not build the library"


def build(kind, *, compile, runs=RUNS, budget=80, nodes=5, epochs=5):
    dtype = torch.float32 if compile else torch.float64
    made = REGISTRY.load(kind.split()[0])(
        toys.encoding(nodes=nodes, symbols=6),
        runs,
        base_seed=toys.BASE_SEED,
        budget=budget,
        compile=compile,
        epochs=epochs,
        dtype=dtype,
        **KINDS[kind],
    )
    assert (made.native is not None) == compile
    return made


def close(one, other, rtol, atol):
    torch.testing.assert_close(one, other.float(), rtol=rtol, atol=atol, equal_nan=True)


def compare(fast, reference, *, rtol, atol):
    """Compare all state but the counters, and coarse and fine predictions."""
    for name, part in reference.state_dict().items():
        if name != "counters":
            close(fast.state_dict()[name], part, rtol, atol)
    archs = torch.tensor([[0, 7, 39, 7, 1, 2, 3, 4, 5], [9, 8, 7, 6, 5, 4, 3, 2, 1]])
    close(fast.coarse(archs), reference.coarse(archs), rtol, atol)
    close(fast.coarse(), reference.coarse(), rtol, atol)
    if fast.uses_code:
        codes = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(1))
        codes[1, 2, 0] = torch.nan
        fine = fast.fine(archs, codes)
        assert fine.isnan().nonzero().tolist() == [[1, 2]]
        close(fine, reference.fine(archs, codes), rtol, atol)


@pytest.mark.parametrize("nodes", [3, 7, 10, 19])
@pytest.mark.parametrize(("kind", "missing"), CASES)
def test_one_step_is_torchs(kind, missing, nodes):
    """Every size of graph: rows that fill whole tiles of a product and rows that do not, one and two vectors of scores."""
    fast, reference = (build(kind, compile=c, budget=8, nodes=nodes) for c in (True, False))
    data = toys.pool(2, 12, missing=missing)
    for predictor in (fast, reference):
        predictor.fit(*data, start=0, stop=1)
    # Adam's first step has the size of the rate whatever the gradient's: where that is nearly 0, rounding shows.
    moments = [p.state_dict()["first"] for p in (fast, reference)]
    close(*moments, 1e-3, 1e-6)
    big = moments[1].abs() > 1e-5
    assert bool(big.any())
    close(fast.weights[big], reference.weights[big], 1e-4, 1e-5)
    reference.weights.copy_(fast.weights)
    compare(fast, reference, rtol=1e-3, atol=2e-6)


def check_gradient(fast, reference, ids, accuracy, codes):
    """Compare gradient and loss of a batch of run 1; both have the weights of ``fast``."""
    reference.weights.copy_(fast.weights)
    draws = torch.tensor([[0, 5, 11, 3, 3, 8, 1, 2]])
    losses, gradient = torch.empty(1), torch.empty_like(fast.weights[0])
    parts = (
        *(part[1].clone() for part in (fast.weights, fast.first, fast.second, fast.statistics)),
        ids[1], accuracy[1].float(), codes[1].float(), draws, torch.tensor([[1e-3, 0.1, 0.03, 1.0]]),
    )  # fmt: skip
    fast.native.program.train(
        *(part.numpy() for part in parts), 0.1, losses=losses.numpy(), gradient=gradient.numpy()
    )
    archs, drawn = ids[:, draws[0]], codes[:, draws[0]]
    has_code = ~drawn.isnan().any(-1)
    expected, _, loss = reference.gradient(
        reference.graphs.adjacency[archs],
        reference.graphs.one_hot(archs),
        accuracy[:, draws[0]],
        drawn.nan_to_num(),
        has_code.double(),
    )
    close(losses[0], loss[1], 1e-5, 1e-6)
    close(gradient, expected[1], 1e-3, 1e-6 + 1e-5 * float(expected[1].abs().max()))
    assert bool((gradient != 0).any())


@pytest.mark.parametrize(("kind", "missing"), CASES)
def test_gradient_and_loss_are_autograds(kind, missing):
    """Of a run that has trained for a while: nothing stands at its start any more."""
    fast, reference = (build(kind, compile=c, nodes=7) for c in (True, False))
    data = toys.pool(2, 12, missing=missing)
    fast.fit(*data, start=0, stop=2)
    check_gradient(fast, reference, *data)


@pytest.mark.parametrize("bias", [-2.0, 2.0])
def test_gradient_and_loss_are_autograds_beyond_the_quadratic_part(bias):
    """Accuracies of 0 and 1 where all predictions lie near one of them: half of the errors are above the loss's delta of 0.5."""
    fast, reference = (build("siamese", compile=c, nodes=7) for c in (True, False))
    ids, accuracy, codes = toys.pool(2, 12)
    fast.leaves["head.bias"].detach().fill_(bias)
    accuracy = (torch.arange(12) % 2).double().expand(2, 12)
    errors = fast.coarse(ids) - accuracy
    assert set(errors[errors.abs() > 0.5].sign().tolist()) == {1.0 if bias > 0 else -1.0}
    check_gradient(fast, reference, ids, accuracy, codes)


@pytest.mark.parametrize(("k_shift", "q_scale"), [(-1.2, 400.0), (3.0, 20.0)])
def test_attention_of_strong_scores_is_torchs(k_shift, q_scale):
    """Scores of some hundreds below 0 and above: in a row of edges alone and in one with others, which stand at 0."""
    fast, reference = (build("siamese+nsam", compile=c) for c in (True, False))
    q, k = slice(0, 64), slice(64, 128)
    for way in ("out", "in"):
        fast.leaves[f"nsam.qkv.{way}.scale"].detach()[:, q] = q_scale
        fast.leaves[f"nsam.qkv.{way}.scale"].detach()[:, k] *= 0.1
        fast.leaves[f"nsam.qkv.{way}.shift"].detach()[:, k] = k_shift
    reference.weights.copy_(fast.weights)
    close(fast.coarse(), reference.coarse(), 0, 1e-4)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_code_that_lacks_one_loss_is_none(compile, place):
    ids, accuracy, codes = toys.pool(2, 12)
    whole, part = codes.clone(), codes.clone()
    whole[:, ::3] = torch.nan
    part[:, ::3, place] = torch.nan
    one, two = (build("siamese", compile=compile) for _ in range(2))
    one.fit(ids, accuracy, whole, start=0, stop=1)
    two.fit(ids, accuracy, part, start=0, stop=1)
    assert bool(two.weights.isfinite().all())
    assert torch.equal(one.weights, two.weights)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_equal_the_plain_version(kind):
    """Ten steps in each of five epochs: Adam is new at epochs 1 and 4, where the learning rate falls."""
    fast = build(kind, compile=True)
    start = build(kind, compile=False)
    plain = Plain(start, 1, nsam=start.options["nsam"], shared_qv=start.options.get("shared_qv", False))
    ids, accuracy, codes = toys.pool(2, 12, missing=0.2)
    fast.fit(ids, accuracy, codes, start=0, stop=5)
    plain.train(ids[1], accuracy[1], codes[1], epochs=5, budget=80, run=5, base_seed=toys.BASE_SEED)
    coarse = fast.coarse()
    for arch in (0, 7, 39):
        close(coarse[1, arch], plain.coarse(arch), 0, 5e-4)
        if fast.uses_code:
            code = codes[~codes.isnan().any(-1)][arch % 2]
            fine = fast.fine(torch.tensor([[arch], [arch]]), code.expand(2, 1, 3))
            close(fine[1, 0], plain.fine(arch, code), 0, 5e-4)


@pytest.mark.parametrize("kind", ["siamese+nsam", "neural_predictor"])
def test_fifty_steps_stay_close_to_torch(kind):
    fast, reference = (build(kind, compile=c) for c in (True, False))
    for predictor in (fast, reference):
        predictor.fit(*toys.pool(2, 12), start=0, stop=5)
    compare(fast, reference, rtol=0, atol=5e-4)


def test_a_batch_without_a_code_leaves_nothing_of_the_one_before_in_the_gradient():
    """Two of twelve have a code: batches with one, or two, and batches without follow each other."""
    fast, reference = (build("siamese", compile=c) for c in (True, False))
    ids, accuracy, codes = toys.pool(2, 12)
    codes[:, 2:] = torch.nan
    for predictor in (fast, reference):
        predictor.fit(ids, accuracy, codes, start=0, stop=3)
    for part in ("first", "weights"):
        close(fast.state_dict()[part], reference.state_dict()[part], 0, 2e-3)


def test_spans_blocks_and_parts_do_not_show():
    """To the last bit: epochs in one call or several, runs alone or together, architectures alone or together."""
    ids, accuracy, codes = toys.pool(2, 12, missing=0.3)
    block = build("siamese+nsam", compile=True)
    block.fit(ids, accuracy, codes, start=0, stop=5)
    alone = build("siamese+nsam", compile=True, runs=RUNS[1:])
    for stop in (1, 4, 5):
        alone.fit(ids[1:], accuracy[1:], codes[1:], start=alone.reached, stop=stop)
    for name in ("weights", "first", "second", "statistics"):
        assert torch.equal(block.state_dict()[name][1:], alone.state_dict()[name])
    whole = block.coarse()
    assert torch.equal(alone.coarse(), whole[1:])
    some = torch.tensor([[5, 0, 39], [1, 1, 30]])
    assert torch.equal(block.coarse(some), whole.gather(1, some))
    fine = block.fine(some, codes[:, :3].nan_to_num())
    for place in range(3):
        assert torch.equal(block.fine(some[:, [place]], codes[:, [place]].nan_to_num()), fine[:, [place]])


def test_a_saved_state_of_arrays_is_a_copy():
    """Of predictors that a search uses without torch: neither training nor loading touches it."""
    data = [part.numpy() for part in toys.pool(2, 12)]
    one, two = (build("siamese", compile=True).native for _ in range(2))
    state = one.state_dict()
    before = {key: value.copy() for key, value in state.items()}
    one.fit(*data, start=0, stop=1)
    two.fit(*data, start=0, stop=1)
    two.load_state_dict(state)
    two.fit(*data, start=0, stop=1)
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)
        np.testing.assert_array_equal(two.state_dict()[key], one.state_dict()[key])


def test_nan_in_one_architecture_or_run_stays_there():
    ids, accuracy, codes = toys.pool(2, 12)
    healthy, ill = (build("siamese+nsam", compile=True) for _ in range(2))
    ill.weights[0, 1000] = torch.nan
    for predictor in (healthy, ill):
        predictor.fit(ids, accuracy, codes, start=0, stop=1)
    assert bool(ill.coarse()[0].isnan().all())
    assert torch.equal(ill.coarse()[1], healthy.coarse()[1])
    assert torch.equal(ill.weights[1], healthy.weights[1])


def test_architectures_outside_the_space_are_refused():
    predictor = build("siamese", compile=True)
    ids, accuracy, codes = toys.pool(2, 12)
    for wrong in (-1, 40):
        with pytest.raises(IndexError, match="of 40"):
            predictor.coarse(torch.full((2, 3), wrong))
        with pytest.raises(IndexError, match="of 40"):
            predictor.fit(torch.where(ids == ids[1, 2], wrong, ids), accuracy, codes, start=0, stop=1)


@pytest.mark.parametrize("compile", [False, True])
def test_what_does_not_belong_together_is_refused_and_not_read_beyond_its_end(compile):
    ids, accuracy, codes = toys.pool(len(RUNS), 6)
    predictor = build("siamese", compile=compile)
    schedule = {"start": 0, "stop": 1}
    with pytest.raises(ValueError, match=r"architectures are \(1, 6\); \(2, any number\) is expected"):
        predictor.fit(ids[:1], accuracy[:1], codes[:1], **schedule)
    with pytest.raises(ValueError, match=r"codes are \(2, 6, 2\); \(2, 6, 3\) is expected"):
        predictor.fit(ids, accuracy, codes[..., :2], **schedule)
    with pytest.raises(ValueError, match=r"\(2, 0\): there is nothing to train on"):
        predictor.fit(ids[:, :0], accuracy[:, :0], codes[:, :0], **schedule)
    with pytest.raises(ValueError, match=r"codes are \(2, 6, 2\)"):
        predictor.fine(ids, codes[..., :2])
    with pytest.raises(ValueError, match=r"architectures are \(1, 6\)"):
        predictor.coarse(ids[:1])
    with pytest.raises(
        ValueError, match=r"accuracies are \(2, 5\); \(2, 6\) is expected"
    ):  # the tests' own check sees it first
        check_shapes(2, ids, accuracy=accuracy[:, :5])


def test_without_a_compiler_torch_serves_and_one_line_says_so(monkeypatch, caplog):
    monkeypatch.setattr(native, "load", lambda: None)
    native.said.cache_clear()
    made = [
        REGISTRY.load("siamese+nsam")(toys.encoding(), [0], base_seed=0, budget=8, epochs=10, compile=compile)
        for compile in (True, True, False)
    ]
    assert [r.getMessage() for r in caplog.records] == [
        "predictors run in eager mode, several times slower: no working C++ compiler was found"
    ]
    for predictor in made:
        predictor.fit(*toys.pool(1, 12), start=0, stop=1)
    assert torch.equal(made[0].coarse(), made[2].coarse())


def test_double_precision_is_left_to_torch():
    """Native code has single precision only."""
    double = REGISTRY.load("siamese")(
        toys.encoding(), [0], base_seed=0, budget=8, compile=True, dtype=torch.float64
    )
    assert double.native is None
    assert double.coarse().dtype == torch.float64


def test_weighted_edges_are_left_to_torch(caplog):
    native.said.cache_clear()
    plain = toys.encoding()
    adjacency = plain.adjacency.copy()
    adjacency[0, 0, 1] = 0.5
    half = Encoding(adjacency=adjacency, operations=plain.operations, vocabulary=plain.vocabulary)
    kind = REGISTRY.load("neural_predictor")
    assert kind(half, [0], base_seed=0, budget=8, compile=True).native is None
    assert "entries other than 0 and 1" in caplog.text
