"""Adam on a flat buffer."""

from __future__ import annotations

import subprocess
import sys

import torch

from snas.training.adam import Adam
from tests.conftest import ROOT


def test_it_steps_as_torch_does_to_the_bit():
    start = torch.randn(1_000, generator=torch.Generator().manual_seed(0))
    mine, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    ours, torchs = Adam(mine, 1e-2, 1e-7), torch.optim.Adam([theirs], lr=1e-2, eps=1e-7, fused=True)
    for step in range(20):
        gradient = torch.randn(1_000, generator=torch.Generator().manual_seed(step + 1))
        gradient[7] = float("nan") if step == 10 else gradient[7]
        mine.grad = theirs.grad = gradient
        ours.step()
        torchs.step()
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(mine, start)
    assert mine.isnan().nonzero().tolist() == [[7]]


TRAINING = """
import sys
import torch
from snas import images, training
from snas.training.truth import ground_truth
digits = images.load("digits", base_seed=0)
recipe = training.recipe("smoke_truth")
frame = ground_truth("tiny_nanobench", [0, 1], digits, recipe, base_seed=0, width=4, compile={compile})
assert frame["status"].tolist() == ["ok", "ok"]
print(*sorted({{"torch._dynamo", "sympy", "sklearn", "scipy.stats"}} & set(sys.modules)))
"""


def test_a_training_imports_neither_torchs_compiler_nor_what_it_does_not_use():
    """Two seconds of processor time and 200 MB of every job that trains."""
    for compile in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", TRAINING.format(compile=compile)], cwd=ROOT, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert done.stdout.split() == [], done.stdout
