"""Adam and AdamW on one flat buffer of all runs: every entry on its own, so a NaN stays in its run."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from snas.predictors.schedule import BETAS


def adam(
    weights: Float[Tensor, "runs parameters"],
    gradient: Float[Tensor, "runs parameters"],
    first: Float[Tensor, "runs parameters"],
    second: Float[Tensor, "runs parameters"],
    rate: Float[Tensor, ""],
    bias_1: Float[Tensor, ""],
    bias_2: Float[Tensor, ""],
    *,
    epsilon: float,
    decay: float = 0.0,
) -> None:
    """Do one step in place, as ``torch.optim.Adam`` (``decay`` 0) or ``torch.optim.AdamW`` does.

    ``rate`` and the two bias corrections are tensors, so that one compiled graph serves all steps.
    """
    first.lerp_(gradient, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    change = second.sqrt().div_(bias_2).add_(epsilon)
    change = torch.div(first, change).mul_(rate / bias_1)
    if decay:
        weights.mul_(1 - rate * decay)
    weights.sub_(change)
