"""Zero-cost proxies: a number for an untrained network (section 4.3 of the paper compares synflow with the code).

A new proxy is one file with a function ``(network, image) -> float`` and one line in the registry: the network is the
proxy's own copy with its initial weights, ``image`` its size (channels, side, side), and a larger score is better.  Where it
stands in for the estimation code it is its decimal logarithm, so an architecture has a code only where its score is positive.
A proxy of MACs and parameters alone is a :class:`snas.proxies.counted.Counted`, for which no network is made.

Importing this package does not import torch.
"""

from __future__ import annotations

from snas.registry import Registry

REGISTRY = Registry(
    "proxy",
    {
        "synflow": "snas.proxies.synflow:synflow",
        "params": "snas.proxies.counts:PARAMS",
        "macs": "snas.proxies.counts:MACS",
        "noise": "snas.proxies.noise:noise",
    },
)
