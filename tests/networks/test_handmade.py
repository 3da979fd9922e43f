"""Hand-made networks: their cost, their frame, and that the loop of all others trains them."""

from dataclasses import replace

import pytest
import torch

from snas import InputError, images, training
from snas.networks import handmade
from snas.networks.counting import count_macs
from snas.networks.populations import Singles
from snas.training.loop import classified, make_batches, train

SIZE = {"channels": 1, "side": 8, "classes": 10, "bn_momentum": 0.1}


@pytest.fixture(params=handmade.FAMILIES)
def family(request):
    return request.param


def cost(network):
    return count_macs(network, (1, 8, 8))


@pytest.mark.parametrize("macs", [60_000, 500_000])
def test_the_nearest_cost_of_all_widths_is_taken(family, macs):
    """Against the plain search over every width."""
    found = handmade.build(family, macs, **SIZE)
    made = [
        handmade.HandmadeNetwork(*handmade.FAMILIES[family], widths=handmade.widths(q / 4), blocks=3, **SIZE)
        for q in range(4, 60)
    ]
    ratios = [max(cost(n) / macs, macs / cost(n)) for n in made]
    assert max(cost(found) / macs, macs / cost(found)) == min(ratios)
    assert min(ratios) < (1.1 if macs > 10**5 else 1.2), (
        "one channel more or less is a step of a small network"
    )


def test_other_depths_have_the_same_cost(family):
    for blocks in (1, 2):
        network = handmade.build(family, 300_000, blocks=blocks, **SIZE)
        assert len(network.blocks) == 3 * blocks
        assert cost(network) == pytest.approx(300_000, rel=0.15)


def test_a_resnet_of_sixteen_channels_is_resnet_20():
    """Parameters of He et al.'s table 6 (0.27 M), with 1×1 shortcuts: counted layer by layer."""
    network = handmade.HandmadeNetwork(
        *handmade.FAMILIES["resnet"], widths=(16, 32, 64), blocks=3, channels=3, side=32, classes=10, bn_momentum=0.1
    )  # fmt: skip
    convolutions = 3 * 9 * 16 + 6 * 9 * 16**2 + 9 * (16 * 32 + 5 * 32**2) + 9 * (32 * 64 + 5 * 64**2)
    shortcuts = 16 * 32 + 32 * 64
    norms = 2 * (7 * 16 + 7 * 32 + 7 * 64)
    assert sum(p.numel() for p in network.parameters()) == convolutions + shortcuts + norms + 65 * 10


def test_initial_weights_follow_the_seed_and_the_global_generator_is_left_alone(family):
    before = torch.get_rng_state()
    one, same, other = (handmade.build(family, 10**5, base_seed=s, **SIZE).state_dict() for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_the_loop_trains_them_beside_others():
    digits, recipe = (
        images.load("digits"),
        replace(training.recipe("digits_truth"), phases=((1e-2, 4), (1e-3, 1))),
    )
    networks = [handmade.build(family, 40_000, blocks=1, **SIZE) for family in handmade.FAMILIES]
    population = Singles(networks)
    batches = make_batches(
        digits.train_images, digits.train_labels, recipe, classes=10, flip=False, base_seed=0
    )
    losses = train(population, batches, recipe)
    assert (losses[:, -1] < losses[:, 0]).all()
    by_class, finite = classified(population, digits.test_images, digits.test_labels, batch=256, classes=10)
    correct = by_class.sum(1)
    assert finite.all()
    assert (correct > 0.5 * len(digits.test_labels)).all()


def test_what_is_refused():
    with pytest.raises(InputError, match="known: mobilenet, resnet"):
        handmade.build("vgg", 10**5, **SIZE)
    with pytest.raises(InputError, match="0 multiply-accumulates"):
        handmade.build("resnet", 0, **SIZE)
