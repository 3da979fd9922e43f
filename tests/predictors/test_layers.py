"""Each formula against torch's own or a loop, and the hand-written backward passes against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from snas.predictors import parameters as par
from snas.predictors.adam import adam
from snas.predictors.fused import GraphConvolution, Kernels, NormMish, mish, mish_slope
from snas.predictors.kinds import SIAMESE_NSAM
from snas.predictors.layers import attend, huber
from snas.predictors.schedule import corrections

KERNELS = Kernels(torch.device("cpu"), compile=False)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_mish_and_its_slope_are_torchs_over_the_whole_range():
    x = torch.cat([torch.linspace(-60, 60, 2001, dtype=torch.float64), torch.tensor([-1e4, 0.0, 1e4])])
    x.requires_grad_()
    expected = F.mish(x)
    torch.testing.assert_close(mish(x), expected)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(mish_slope(x).detach(), slope, rtol=1e-6, atol=1e-9)


def test_huber_is_torchs_with_delta_a_half():
    error = torch.linspace(-2, 2, 81, dtype=torch.float64)
    torch.testing.assert_close(
        huber(error), F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=0.5)
    )


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adam_is_torchs(decay):
    weights, gradients = rand(3, 50), [rand(3, 50, seed=s) for s in range(1, 6)]
    reference = torch.nn.Parameter(weights.clone())
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    optimiser = kind([reference], lr=0.01, eps=1e-7, weight_decay=decay)
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        reference.grad = gradient.clone()
        optimiser.step()
        hyper = torch.tensor([0.01, *corrections(step)], dtype=torch.float64)
        adam(weights, gradient, first, second, *hyper.unbind(), epsilon=1e-7, decay=decay)
        torch.testing.assert_close(weights, reference.detach())


def test_norm_mish_is_torchs_batch_norm_per_run():
    x, scale, shift = rand(2, 12, 5), rand(2, 5, seed=1), rand(2, 5, seed=2)
    y, mean, variance = NormMish.apply(KERNELS, x, scale, shift, torch.ones(2, 12, 1, dtype=torch.float64))
    for r in range(2):
        m, v = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
        expected = F.mish(
            F.batch_norm(x[r], m, v, scale[r], shift[r], True, 1.0, 1e-4)
        )  # momentum 1: m, v are the batch's
        torch.testing.assert_close(y[r], expected)
        torch.testing.assert_close(mean[r], m)
        torch.testing.assert_close(variance[r], v)


def test_rows_of_weight_nought_stay_out_of_the_statistics():
    x, scale, shift = rand(1, 12, 5), rand(1, 5, seed=1), rand(1, 5, seed=2)
    weight = torch.ones(1, 12, 1, dtype=torch.float64)
    weight[0, 8:] = 0
    y, mean, variance = NormMish.apply(KERNELS, x, scale, shift, weight)
    few, few_mean, few_variance = NormMish.apply(KERNELS, x[:, :8], scale, shift, weight[:, :8])
    torch.testing.assert_close(y[:, :8], few)
    torch.testing.assert_close((mean, variance), (few_mean, few_variance))


@pytest.mark.parametrize("masked", [False, True])
def test_backward_of_norm_mish_against_finite_differences(masked):
    weight = torch.ones(2, 6, 1, dtype=torch.float64)
    if masked:
        weight[0, 4:] = 0
        weight[1] = 0  # a run whose batch has no code at all
    inputs = [t.requires_grad_() for t in (rand(2, 6, 3), rand(2, 3, seed=1), rand(2, 3, seed=2))]
    assert torch.autograd.gradcheck(
        lambda x, s, b: NormMish.apply(KERNELS, x, s, b, weight)[0], inputs, check_undefined_grad=False
    )


def test_backward_of_the_graph_convolution_against_finite_differences():
    adjacency = (rand(2 * 2, 3, 3) > 0).double()
    weight = torch.ones(2, 6, 1, dtype=torch.float64)
    weight[0, 3:] = 0
    shapes = [(2, 6, 4), (2, 4, 3), (2, 3), (2, 3), (2, 4, 3), (2, 3), (2, 3)]
    x, *rest = [rand(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    call = lambda x, *rest: GraphConvolution.apply(KERNELS, adjacency, x, weight, *rest)[0]
    assert torch.autograd.gradcheck(call, [x, *rest], check_undefined_grad=False)


def test_attention_entry_by_entry_with_non_edges_at_nought():
    x, q, k, v = (rand(1, 1, 4, 64, seed=s)[0, 0] * 0.3 for s in range(4))
    a = torch.triu(torch.ones(4, 4, dtype=torch.float64))
    a[0, 2] = 0
    expected = x.clone()
    for turned in (a, a.T):
        for i in range(4):
            scores = [float(q[i] @ k[j]) * float(turned[i, j]) for j in range(4)]
            total = sum(torch.tensor(scores, dtype=torch.float64).exp())
            for j in range(4):
                expected[i] += torch.tensor(scores[j]).double().exp() / total * v[j]
    batch = [t[None, None] for t in (x, q, k, v, a)]
    torch.testing.assert_close(attend(*batch)[0, 0], expected)


def test_weights_start_in_the_glorot_range_and_fill_it():
    layout = {
        "a.weight": par.glorot((40, 64), 40, 64),
        "a.bias": par.Initial((3,)),
        "a.scale": par.Initial((3,), value=1.0),
    }
    flat = torch.from_numpy(par.initial(layout, [0, 1], base_seed=0))
    views = par.views(layout, flat)
    limit = (6 / 104) ** 0.5
    assert 0.99 * limit < float(views["a.weight"].abs().max()) <= limit
    assert not torch.equal(views["a.weight"][0], views["a.weight"][1])
    assert bool((views["a.bias"] == 0).all())
    assert bool((views["a.scale"] == 1).all())
    torch.testing.assert_close(par.flatten(layout, views), flat)


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        ("gc1.out", 5, 64), ("gc2.in", 64, 64), ("nsam.qkv.out", 64, 64), ("efm.qv.in", 64, 64), ("efm.code", 3, 7 * 64), ("head", 7, 1),
    ],
)  # fmt: skip
def test_every_layer_starts_in_the_glorot_range_of_its_own(layer, fan_in, fan_out):
    """Graph convolutions side by side are as many of 64 features, not a wide one."""
    layout = SIAMESE_NSAM.layout(SIAMESE_NSAM.defaults, nodes=7, vocabulary=5)
    drawn = par.views(layout, torch.from_numpy(par.initial(layout, list(range(20)), base_seed=0)))
    limit = (6 / (fan_in + fan_out)) ** 0.5
    assert 0.95 * limit < float(drawn[f"{layer}.weight"].abs().max()) <= limit * (1 + 1e-6)
