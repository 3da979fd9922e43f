"""Proxies that the costs of a network say: no network is made for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Int64, Shaped
from numpy import ndarray


@dataclass(frozen=True)
class Counted:
    """A proxy of a space's costs.

    Attributes:
        score: function ``(macs, params) -> scores``, all of the whole space at the size that is scored.
    """

    score: Callable[[Int64[ndarray, " archs"], Int64[ndarray, " archs"]], Shaped[ndarray, " archs"]]
