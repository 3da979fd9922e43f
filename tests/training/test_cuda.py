"""What only a GPU can show; skipped without one."""

from __future__ import annotations

import pytest
import torch

from snas import images, networks, spaces, training
from snas.images.share import draw_share
from snas.training.codes import EPOCHS, estimation_codes
from snas.training.loop import Step, make_batches, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
LOSSES = [f"loss_{epoch}" for epoch in range(1, EPOCHS + 1)]
ARCHS = [3, 600, 1100]


@pytest.fixture(scope="module")
def digits():
    return images.load("digits", train_images=400, base_seed=0)


def codes(digits, device, **options):
    return estimation_codes(
        "tiny_nanobench", ARCHS, digits, draw_share(400, 0.25, 0), training.recipe("digits_code"),
        base_seed=0, width=8, device=device, **options,
    )  # fmt: skip


@pytest.mark.parametrize("compile", [True, False])
def test_codes_are_those_of_the_cpu(digits, compile):
    found, expected = codes(digits, "cuda", compile=compile), codes(digits, "cpu")
    assert (found["status"] == "ok").all()
    assert found[LOSSES].to_numpy() == pytest.approx(expected[LOSSES].to_numpy(), rel=1e-3)


def test_a_network_that_does_not_fit_is_recorded_and_the_others_are_trained(digits, monkeypatch):
    real = networks.population

    def greedy(space, part, **options):
        if 600 in part:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return real(space, part, **options)

    monkeypatch.setattr(networks, "population", greedy)
    assert list(codes(digits, "cuda")["status"]) == ["ok", "out_of_memory", "ok"]


@pytest.mark.parametrize("compile", [True, False])
def test_a_recorded_step_is_the_step(digits, monkeypatch, compile):
    recipe, found, graphs = training.recipe("digits_code"), [], []
    real = Step._record
    monkeypatch.setattr(
        Step, "_record", lambda step, *batch: (real(step, *batch), graphs.append(step._graph))
    )
    for recorded in ("0", "1"):
        monkeypatch.setenv("SNAS_CUDA_GRAPHS", recorded)
        population = networks.population(
            spaces.load("tiny_nanobench"), ARCHS, base_seed=0, width=8, channels=1, side=8, device="cuda", compile=compile
        )  # fmt: skip
        batches = make_batches(
            digits.train_images,
            digits.train_labels,
            recipe,
            classes=10,
            flip=False,
            base_seed=0,
            device="cuda",
        )
        found.append(train(population, batches, recipe))
    assert len(graphs) == 1
    assert graphs[0] is not None
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)
