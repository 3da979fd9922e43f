"""Trainings and proxies on a GPU that is not there (:mod:`tests.pretend_cuda`) give what they give on the CPU."""

import numpy as np
import pytest
import torch

from snas import images, networks, proxies, spaces, training
from snas.export.compare import Contest, _handmade
from snas.export.complete import complete_training, probabilities
from snas.export.description import Description
from snas.images.split import write_split
from snas.networks.handmade import FAMILIES
from snas.proxies.scores import score
from snas.search import forecast
from snas.training.codes import EPOCHS, estimation_codes
from snas.training.truth import ground_truth
from tests.pretend_cuda import OnDevice, pretended
from tests.small_digits import small_digits

LOSSES = [f"loss_{epoch}" for epoch in range(1, EPOCHS + 1)]
ARCHS = [3, 600, 1100]


@pytest.fixture(scope="module")
def digits():
    return small_digits()


def on_both(make):
    """Return what ``make`` returns on the CPU and on the GPU, where it has to compute."""
    expected = make("cpu")
    with pretended() as operations:
        found = make("cuda")
        assert operations() > 100, "it computed elsewhere"
    return found, expected


# ---- the pretence ---------------------------------------------------------------------------------------------------


def refused(words, call):
    with pytest.raises((RuntimeError, TypeError), match=words):
        call()


def test_it_refuses_what_a_gpu_refuses():
    with pretended():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert there.device == torch.device("cuda:0")
        assert there.is_cuda
        refused("add: tensors of two devices", lambda: there + here)
        refused("mul_: tensors of two devices", lambda: there.mul_(here))
        refused("stack: tensors of two devices", lambda: torch.stack([there, here]))
        refused("can't convert", there.numpy)
        refused("can't convert", lambda: np.asarray(there))
        refused("indices on a GPU", lambda: here[there.long()])
        refused("generator of the cpu", lambda: torch.rand(3, generator=torch.Generator(), device="cuda"))
        linear = torch.nn.Linear(3, 2)
        refused("linear: tensors of two devices", lambda: linear(there))
        refused("linear: tensors of two devices", lambda: linear.to("cuda")(here))


def test_it_does_what_a_gpu_does():
    with pretended():
        there = torch.arange(6.0, device="cuda")
        assert (there * torch.tensor(2.0) + 1).tolist() == [1, 3, 5, 7, 9, 11]
        assert there.cpu().numpy().sum() == there.sum().item() == 15
        assert there[torch.tensor([0, 5])].device.type == "cuda"
        there.view(2, 3)[0].copy_(torch.zeros(3))
        assert there.tolist() == [0, 0, 0, 3, 4, 5]
        assert torch.zeros_like(there).device.type == there.new_ones(2).device.type == "cuda"
        linear = torch.nn.Linear(3, 2).to("cuda")
        linear(torch.ones(1, 3).to("cuda")).sum().backward()
        assert linear.weight.grad.device.type == "cuda"
        torch.optim.Adam(linear.parameters(), fused=True, capturable=True).step()
        assert type(linear.cpu().weight.data) is torch.Tensor
    assert not torch.cuda.is_available()
    assert not isinstance(torch.ones(1), OnDevice)


# ---- trainings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", spaces.REGISTRY.names())
def test_codes(digits, space):
    share = images.draw_share(len(digits.train_labels), 0.5, 1)
    archs = [a % len(spaces.load(space)) for a in ARCHS]
    found, expected = on_both(
        lambda device: estimation_codes(
            space, archs, digits, share, training.recipe("smoke_code"),
            base_seed=0, width=4, device=device, compile=False,
        )
    )  # fmt: skip
    assert (found["status"] == "ok").all()
    np.testing.assert_allclose(found[LOSSES], expected[LOSSES], rtol=1e-4)


def test_the_gradient_of_a_population(digits):
    space, x = spaces.load("tiny_nanobench"), digits.train_images[:8] / 255
    params = int(space.costs(width=4, channels=1, side=8, classes=10)[1][ARCHS].sum())

    def gradient(device):
        population = networks.population(
            space, ARCHS, base_seed=0, width=4, channels=1, side=8, device=device, compile=False
        )
        population.train()
        run, logits = population._run(x.to(device), keep=True)
        return logits.cpu(), population._run_back(torch.ones_like(logits), run).cpu()[:params]

    for found, expected in zip(*on_both(gradient), strict=True):
        torch.testing.assert_close(found, expected)
        assert expected.abs().sum() > 0


def test_accuracies(digits):
    found, expected = on_both(
        lambda device: ground_truth(
            "tiny_nanobench", ARCHS, digits, training.recipe("smoke_truth"),
            base_seed=0, width=4, device=device, compile=False,
        )
    )  # fmt: skip
    assert (found["status"] == "ok").all()
    np.testing.assert_allclose(found["accuracy"], expected["accuracy"], atol=1.1 / 60)


def test_the_winner_is_trained_and_comes_back(digits):
    network = Description.of("tiny_nanobench", spaces.load("tiny_nanobench").cell(600).name, 4, digits)
    recipe = training.recipe("smoke_truth")
    found, expected = on_both(
        lambda device: complete_training(network, digits, recipe, base_seed=0, device=device, compile=False)
    )
    shares = [probabilities(made.module, digits.test_images) for made in (found, expected)]
    np.testing.assert_allclose(*shares, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_made_by_hand(digits, family):
    contest = lambda device: Contest("random", "4+1", "smoke_truth", width=4, device=device, compile=False)
    found, expected = on_both(
        lambda device: _handmade(contest(device), family, 1, 50_000, digits, base_seed=0)
    )
    assert abs(found["correct"] - expected["correct"]) <= 1


def test_the_measurement_of_a_machine(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "MEASURE_SECONDS", 0.01)
    write_split(tmp_path, digits, base_seed=0)
    task = {
        "selection": str(tmp_path / "selection.parquet"),
        "space": "tiny_nanobench",
        "width": 4,
        "compile": False,
    }
    found, expected = on_both(lambda device: forecast.work_seconds({**task, "device": device}))
    assert found["macs"] == expected["macs"]
    assert min(found["step"] + found["test"]) > 0


# ---- proxies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", spaces.REGISTRY.names())
def test_proxies(space):
    archs = [a % len(spaces.load(space)) for a in ARCHS]
    for name in proxies.REGISTRY.names():
        make = lambda device, name=name: score(
            space, archs, name, base_seed=0, width=4, channels=1, side=8, device=device
        )
        expected = make("cpu")
        with pretended():
            found = make("cuda")
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6)
