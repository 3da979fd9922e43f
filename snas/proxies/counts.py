"""How large a network is, as a proxy: what every other score of an untrained network has to beat (Ning et al., 2021)."""

from __future__ import annotations

from torch import nn

from snas.networks import count_macs


def params(network: nn.Module, image: tuple[int, int, int]) -> float:
    """Return the number of trainable parameters."""
    return float(sum(parameter.numel() for parameter in network.parameters()))


def macs(network: nn.Module, image: tuple[int, int, int]) -> float:
    """Return the multiply-accumulates of one image, as :func:`snas.networks.count_macs` counts them."""
    return float(count_macs(network, image))
