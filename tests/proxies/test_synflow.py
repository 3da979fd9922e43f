"""Synflow against its definition, its conservation law, and the published scores of NAS-Bench-201."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from snas import networks
from snas.networks.nasbench201 import NASBench201Network
from snas.proxies.scores import score
from snas.proxies.synflow import synflow, without_norms
from snas.spaces import load

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "nasbench201_proxies.parquet"


def test_two_layers_by_hand():
    """R = Σ over all paths of the product of |w|; each weight counts with the paths through it, once per layer."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
        network[3].weight.copy_(torch.tensor([[-4.0, 0.25]]))
    paths = sum(abs(a) * abs(b) for row, b in (((1.0, -2.0), -4.0), ((3.0, 0.5), 0.25)) for a in row)
    assert synflow(network, (1, 1, 2)) == pytest.approx(2 * paths)


def test_paths_of_a_small_convolutional_network_by_enumeration():
    """Each path input pixel → filter tap → output pixel → classifier, listed one by one."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    networks.initialise(network, torch.Generator().manual_seed(0))
    kernel, matrix = network[0].weight.detach().abs().double(), network[3].weight.detach().abs().double()
    total = 0.0
    for c, y, x, dy, dx, k in itertools.product(range(2), range(2), range(2), range(3), range(3), range(3)):
        if 0 <= y + dy - 1 < 2 and 0 <= x + dx - 1 < 2:
            total += (kernel[c, 0, dy, dx] * matrix[k, 4 * c + 2 * y + x]).item()
    assert synflow(network, (1, 2, 2)) == pytest.approx(2 * total)


def test_flow_is_conserved_in_a_chain():
    """Without batch norm, each layer's share of a ReLU chain is R itself (Tanaka et al., theorem of conservation)."""
    cell = load("nasbench201").cell("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
    network = networks.initialise(
        NASBench201Network(cell, width=4, channels=1, side=8), torch.Generator().manual_seed(3)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    plain = without_norms(network).double()
    total = plain(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum()
    weights = [plain.stem[0].weight, plain.cells[7].operations["01"][1].weight, plain.classifier.weight]
    for weight, gradient in zip(weights, torch.autograd.grad(total, weights), strict=True):
        assert (weight * gradient).sum().item() == pytest.approx(total.item(), rel=1e-9)
    # 1 + 15·2 + 1 layers on every path; each reduction block splits R into conv_a and conv_b's share and the shortcut's
    score = synflow(plain, (1, 8, 8))
    assert 32 * total.item() < score < (32 + 2 * 2) * total.item()


def test_sign_of_weights_and_norms_do_not_count():
    network = networks.build("tiny_nanobench", "expand,conv1x1", width=4, channels=1, side=8)
    flipped = networks.build("tiny_nanobench", "expand,conv1x1", width=4, channels=1, side=8)
    with torch.no_grad():
        for layer in flipped.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.neg_()
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(7)
    assert synflow(network, (1, 8, 8)) == synflow(flipped, (1, 8, 8))


def test_no_path_no_score():
    table = score(
        "nasbench201",
        [load("nasbench201").index("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")],
        "synflow",
        base_seed=0,
        width=4,
        side=8,
    )
    assert table.score[0] == 0
    assert math.isnan(table.log10[0])
    assert table.status[0] == "ok"


@pytest.mark.parametrize("space", ["nasbench201", "tiny_nanobench"])
def test_costliest_networks_stay_finite(space):
    """Four times wider than the default of NAS-Bench-201, where scores are largest: far from the end of float64."""
    arch = int(load(space).costs()[0].argmax())
    assert 1e5 < synflow(networks.build(space, arch, width=64, side=8), (3, 8, 8)) < 1e150


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"{PUBLISHED} is not here")
def test_ranking_agrees_with_the_published_scores():
    """Every 150th of 9,445 published values (natural logarithm, other initial weights): Spearman .99 was measured."""
    space = load("nasbench201")
    published = pd.read_parquet(PUBLISHED, columns=["arch", "synflow"]).dropna()
    published["index"] = [space.index(arch) for arch in published.arch]
    sample = published.sort_values("index").iloc[::150]
    ours = score(space, sample["index"].tolist(), "synflow", base_seed=0)
    assert len(ours) >= 60
    assert ours.score.corr(sample.synflow.reset_index(drop=True), method="spearman") > 0.97
