"""The official network of NAS-Bench-201 against its costs and a plain re-computation of one cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from snas import networks
from snas.networks.nasbench201 import NASBench201Network, SearchedCell
from snas.spaces import load

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"


def conv(x, module):
    """ReLU, convolution, BN with batch statistics."""
    x = F.conv2d(
        x.clamp(min=0), module[1].weight, padding=module[1].kernel_size[0] // 2, stride=module[1].stride
    )
    return F.batch_norm(x, None, None, module[2].weight, module[2].bias, training=True, eps=1e-5)


def test_cell_is_the_sum_over_its_edges():
    cell = load("nasbench201").cell(CELL)
    module = networks.initialise(
        SearchedCell(cell, 4, momentum=0.1, residual=False), torch.Generator().manual_seed(0)
    )
    x0 = torch.randn(2, 4, 6, 6)
    operations = module.operations
    x1 = conv(x0, operations["01"])
    ones = F.avg_pool2d(F.pad(torch.ones_like(x0), (1, 1, 1, 1)), 3, 1)
    x2 = F.avg_pool2d(F.pad(x0, (1, 1, 1, 1)), 3, 1) / ones  # the padding does not count in the mean
    x3 = x0 + conv(x1, operations["13"]) + conv(x2, operations["23"])
    torch.testing.assert_close(module(x0), x3)
    with_residual = SearchedCell(cell, 4, momentum=0.1, residual=True)
    with_residual.load_state_dict(module.state_dict())
    torch.testing.assert_close(with_residual(x0), x3 + x0)


def test_authors_residual_adds_the_first_cell_to_each_stage():
    """With all-zero cells each cell hands its input on, and each stage doubles it."""
    zero = load("nasbench201").cell("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    network = NASBench201Network(zero, width=2, side=8, authors_residual=True)
    networks.initialise(network, torch.Generator().manual_seed(0)).eval()
    images = torch.rand(2, 3, 8, 8)
    x = 2 * network.stem(images)
    for block in network.reductions:
        x = 2 * block(x)
    expected = network.classifier(F.relu(network.norm(x)).mean((2, 3)))
    torch.testing.assert_close(network(images), expected)
    official = NASBench201Network(zero, width=2, side=8).eval()
    official.load_state_dict(network.state_dict())
    assert torch.equal(official(images)[0], official(images)[1]), (
        "without the residual nothing passes a zero cell"
    )


def test_costs_on_the_running_network():
    """Twenty architectures of each kind of size against the closed formulas (those agree with all records)."""
    space = load("nasbench201")
    for side, classes, width, channels in ((32, 10, 16, 3), (16, 120, 16, 3), (9, 5, 6, 1)):
        macs, params = space.costs(side=side, classes=classes, width=width, channels=channels)
        for arch in range(0, len(space), 800):
            network = NASBench201Network(
                space.cell(arch), width=width, channels=channels, side=side, classes=classes
            )
            assert networks.count_macs(network, (channels, side, side)) == macs[arch]
            assert sum(weight.numel() for weight in network.parameters()) == params[arch]
