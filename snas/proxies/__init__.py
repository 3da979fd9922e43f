"""Zero-cost proxies: a number for an untrained network (section 4.3 of the paper compares synflow with the code).

A new proxy is one file with a function ``(network, image) -> float`` and one line in the registry: the network is the
proxy's own copy with its initial weights, ``image`` its size (channels, side, side), and a larger score is better.  Where it
stands in for the estimation code it is its decimal logarithm, so an architecture has a code only where its score is positive.

Importing this package does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from snas.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from snas.spaces.space import Space

REGISTRY = Registry("proxy", {"synflow": "snas.proxies.synflow:synflow"})


def score(
    space: str | Space,
    archs: Sequence[int],
    name: str,
    *,
    base_seed: int,
    width: int | None = None,
    channels: int = 3,
    side: int = 32,
    classes: int = 10,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return the scores of ``archs`` by the proxy ``name``; see :func:`snas.proxies.scores.score`."""
    from snas.proxies.scores import score

    return score(
        space,
        archs,
        name,
        base_seed=base_seed,
        width=width,
        channels=channels,
        side=side,
        classes=classes,
        device=device,
        progress=progress,
    )
