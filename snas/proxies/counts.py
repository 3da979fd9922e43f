"""How large a network is, as a proxy: what every other score of an untrained network has to beat (Ning et al., 2021).

The space's own costs are those of the networks, as the contract tests of spaces and networks see to.
"""

from __future__ import annotations

from snas.proxies.counted import Counted

PARAMS = Counted(lambda macs, params: params)
MACS = Counted(lambda macs, params: macs)
"""Trainable parameters, and the multiply-accumulates of one image (as :func:`snas.networks.count_macs` counts them)."""
