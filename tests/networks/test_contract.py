"""What the network of every registered space promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from snas import InputError, networks
from snas.spaces import REGISTRY, load


@pytest.fixture(scope="module", params=REGISTRY.names())
def space(request):
    return load(request.param)


def some(space, count=12):
    return range(0, len(space), -(-len(space) // count))


def classifier(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1].weight


@pytest.mark.parametrize(("width", "channels", "side", "classes"), [(8, 1, 8, 10), (4, 4, 11, 3)])
def test_runs_at_other_sizes(space, width, channels, side, classes):
    for arch in some(space):
        network = networks.build(space, arch, width=width, channels=channels, side=side, classes=classes)
        logits = network(torch.rand(2, channels, side, side))
        assert logits.shape == (2, classes)
        assert logits.isfinite().all()


def test_costs_agree_with_the_running_network_at_another_size(space):
    macs, params = space.costs(width=6, channels=2, side=10, classes=7)
    for arch in some(space):
        network = networks.build(space, arch, width=6, channels=2, side=10, classes=7)
        assert networks.count_macs(network, (2, 10, 10)) == macs[arch]
        assert sum(weight.numel() for weight in network.parameters()) == params[arch]


def test_every_weight_on_the_way_to_the_output_gets_a_gradient(space):
    arch = len(space) - 1
    network = networks.build(space, arch, width=8, channels=1, side=8, classes=10)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_initial_weights_follow_base_seed_and_cell(space):
    first = networks.build(space, 3, width=4, side=8)
    state = first.state_dict()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = networks.build(space.name, space.cells()[3].name, width=4, side=8).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "the global generator is left alone"
    assert all(torch.equal(state[name], again[name]) for name in state)
    other = networks.build(space, 3, width=4, side=8, base_seed=1)
    assert not torch.equal(classifier(first), classifier(other))
    neighbour = networks.build(space, 4, width=4, side=8)
    assert not torch.equal(classifier(first), classifier(neighbour))


def test_initial_weights_are_glorot_uniform(space):
    network = networks.build(space, int(space.costs()[1].argmax()), side=8)
    seen = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight
            receptive = weight[0, 0].numel()
            bound = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * receptive))
            assert weight.abs().max() <= bound
            if weight.numel() > 400:
                seen += 1
                assert weight.abs().max() > 0.98 * bound
                assert abs(weight.std().item() / (bound / math.sqrt(3)) - 1) < 0.1
            if layer.bias is not None:
                assert not layer.bias.any()
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert not layer.bias.any()
            assert not layer.running_mean.any()
            assert (layer.running_var == 1).all()
    assert seen > 0


def test_counting_leaves_the_network_as_it_is(space):
    network = networks.build(space, 1, width=4, side=8).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    networks.count_macs(network, (3, 8, 8))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_unknown_architecture_and_impossible_size_are_refused(space):
    with pytest.raises(InputError, match="has no architecture"):
        networks.build(space, "nonsense")
    for size in ({"width": -1}, {"channels": 0}, {"side": 0}, {"classes": 1}):
        ((what, value),) = size.items()
        with pytest.raises(InputError, match=f"{what} = {value}"):
            networks.build(space, 0, **size)


def test_unknown_space_lists_the_known():
    with pytest.raises(InputError, match="tiny_nanobench"):
        networks.build("nasbench", 0)


def test_layers_without_a_rule_are_refused():
    with pytest.raises(TypeError, match="LayerNorm"):
        networks.initialise(nn.LayerNorm(3), torch.Generator())
