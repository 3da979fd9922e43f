"""The network of Tiny-NanoBench against its description in words, re-computed with plain functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from snas import InputError, networks
from snas.networks.nano import NanoNetwork
from snas.spaces import load
from snas.spaces.nanobench import make_cell


def mish(x):
    return x * torch.tanh(torch.log(1 + torch.exp(x)))


def norm(x, weights, prefix, training):
    """Batch norm with eps 1e-4: batch statistics in training, running ones otherwise."""
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = weights[f"{prefix}.running_mean"], weights[f"{prefix}.running_var"]
    x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-4)
    return x * weights[f"{prefix}.weight"][:, None, None] + weights[f"{prefix}.bias"][:, None, None]


def depthwise(x, weights, prefix, training):
    kernel = weights[f"{prefix}.conv.weight"]
    return mish(norm(F.conv2d(x, kernel, padding=1, groups=x.shape[1]), weights, f"{prefix}.norm", training))


def pointwise(x, kernel):
    return torch.einsum("bchw,oc->bohw", x, kernel[:, :, 0, 0])


def plain_cell(cell, x, weights, prefix, f, training):
    """One cell from the table of operations, node by node, with lists of what arrives at each."""
    given = x
    arriving = [[] for _ in range(len(cell.operations) + 1)]
    arriving[0].append(x)
    for i, operation in enumerate(cell.operations):
        here = f"{prefix}.nodes.{i}"
        x = torch.cat(arriving[i], 1)
        c = x.shape[1]
        targets = sorted(b for a, b in cell.edges if a == i)
        if operation == "dwconv3x3":
            out = [depthwise(x, weights, here, training)]
        elif operation == "conv1x1":
            out = [
                mish(norm(pointwise(x, weights[f"{here}.conv.weight"]), weights, f"{here}.norm", training))
            ]
            assert out[0].shape[1] == f
        elif operation == "expand":
            x1 = depthwise(x, weights, f"{here}.chain.0", training) + x
            x2 = depthwise(x1, weights, f"{here}.chain.1", training) + x
            x3 = depthwise(x2, weights, f"{here}.chain.2", training) + x
            out = [torch.cat([x1, x2, x3], 1)]
        elif operation == "attention":
            pool = x.mean((2, 3))
            q, k, v = (
                mish(pool @ weights[f"{here}.{w}.weight"][:, :, 0, 0].T) for w in ("query", "key", "value")
            )
            assert q.shape[1] == max(c // 4, 1)
            attended = torch.stack([torch.softmax(torch.outer(q[n], k[n]), -1) @ v[n] for n in range(len(x))])
            back = attended @ weights[f"{here}.back.weight"][:, :, 0, 0].T
            out = [x * (torch.clamp(back + 3, 0, 6) / 6)[:, :, None, None]]
        else:
            if c % 2:
                x = norm(pointwise(x, weights[f"{here}.conv.weight"]), weights, f"{here}.norm", training)
            half = x.shape[1] // 2
            out = [x[:, :half], x[:, half:]] if len(targets) == 2 else [x]
        for target, tensor in zip(targets, out, strict=True):
            arriving[target].append(tensor)
    x = torch.cat(arriving[-1], 1)
    if x.shape[1] != f:
        here = f"{prefix}.nodes.{len(cell.operations)}"
        x = norm(pointwise(x, weights[f"{here}.conv.weight"]), weights, f"{here}.norm", training)
    return x + given if given.shape[1] == f else x


def plain_network(cell, images, weights, width, training):
    x = F.conv2d(images, weights["stem.conv.weight"], padding=1)
    x = mish(norm(x, weights, "stem.norm", training))
    for stage in range(3):
        f = width * 2**stage
        if stage:
            h = x.shape[2] // 2
            x = x[:, :, : 2 * h, : 2 * h].unflatten(2, (h, 2)).unflatten(4, (h, 2)).mean((3, 5))
        a, b, c = (f"cells.{3 * stage + i}" for i in range(3))
        first = plain_cell(cell, x, weights, a, f, training)
        second = plain_cell(cell, first, weights, b, f, training)
        x = first + plain_cell(cell, second, weights, c, f, training)
    return x.mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"]


CELLS = [
    make_cell(()),
    make_cell(("dwconv3x3",)),
    make_cell(("split",)),
    make_cell(("conv1x1", "dwconv3x3", "dwconv3x3")),
    make_cell(("expand", "conv1x1")),
    make_cell(("attention", "split", "expand"), 3),
    make_cell(("split", "conv1x1", "attention"), 2),
    make_cell(("expand", "split", "dwconv3x3", "attention", "conv1x1", "dwconv3x3"), 5),
    make_cell(("split", "expand", "attention", "conv1x1", "dwconv3x3", "dwconv3x3"), 6),
]


def randomised(cell, width, **sizes):
    """A network in float64 with every weight and statistic away from its initial value."""
    network = NanoNetwork(cell, width=width, **sizes).double()
    generator = torch.Generator().manual_seed(1)
    networks.initialise(network, generator)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.is_floating_point():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return network


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(("width", "side"), [(8, 8), (5, 9)])  # 5: an odd split; 9: pooling drops a row
def test_agrees_with_the_plain_functions(cell, width, side, training):
    network = randomised(cell, width, channels=2, side=side, classes=4).train(training)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(3, 2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = plain_network(cell, images, weights, width, training)
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


def test_batch_norm_is_the_paper_s():
    network = networks.build("tiny_nanobench", "dwconv3x3", width=4, side=8)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in norms} == {(1e-4, 0.003)}
    other = networks.build("tiny_nanobench", "dwconv3x3", width=4, side=8, bn_momentum=0.1)
    assert other.stem.norm.momentum == 0.1


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, 27))])
def test_all_1120_counted_on_the_running_network(part):
    """Closed formulas against the hook counter at the size that defines the space; parameters likewise.

    A 27th of the architectures each time, all of them among the long tests.
    """
    space = load("tiny_nanobench")
    macs, params = space.costs()
    for arch in range(part, len(space), 27):
        cell = space.cell(arch)
        network = NanoNetwork(cell)
        assert networks.count_macs(network, (3, 32, 32)) == macs[arch], cell.name
        assert sum(weight.numel() for weight in network.parameters()) == params[arch], cell.name


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({"side": 3}, "side = 3"),
        ({"width": 0}, "width = 0"),
        ({"classes": 1}, "classes"),
        ({"channels": 0}, "channels"),
    ],
)
def test_impossible_sizes_are_refused(sizes, what):
    with pytest.raises(InputError, match=what):
        NanoNetwork(CELLS[1], **sizes)


@pytest.mark.parametrize("name", ["tiny_nanobench", "nasbench201", "tiny_nasbench201"])
def test_a_side_that_cannot_be_halved_twice_is_refused(name):
    with pytest.raises(InputError, match="side = 2"):
        networks.build(name, 0, side=2)
