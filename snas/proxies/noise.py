"""A number that says nothing about a network, as a proxy: the control of what a code or a proxy is worth to a search."""

from __future__ import annotations

from torch import nn


def noise(network: nn.Module, image: tuple[int, int, int]) -> float:
    """Return ten to the power of a number from [0, 1) that hangs on the network's first initial weight alone.

    The weights follow from (base seed, cell), so the number is the same in every run of a search and whatever the shard.
    """
    first = next(network.parameters()).detach().flatten()[0]
    return float(10 ** (float(first.abs()) * 1e4 % 1))
