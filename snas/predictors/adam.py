"""Adam and AdamW on one flat buffer of all runs: every entry on its own, so a NaN stays in its run."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.999)


def corrections(step: int) -> tuple[float, float]:
    """Return 1 − β₁ᵗ and √(1 − β₂ᵗ) of step t = 1, 2, …"""
    return 1 - BETAS[0] ** step, (1 - BETAS[1] ** step) ** 0.5


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
    m = first + (gradient - first) * (1 - BETAS[0])
    v = second * BETAS[1] + gradient * gradient * (1 - BETAS[1])
    kept = weights * (1 - rate * decay) if decay else weights
    weights.copy_(kept - (rate / bias_1) * m / (v.sqrt() / bias_2 + epsilon))
    first.copy_(m)
    second.copy_(v)
