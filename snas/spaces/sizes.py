"""What is known of a space before it is enumerated, as a workflow asks for it each time it is parsed.

Apart from the spaces, which trainings hang on: a better number re-runs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from snas import spaces

SIZES: Mapping[str, int] = MappingProxyType(
    {"tiny_nanobench": 1120, "nasbench201": 15_625, "tiny_nasbench201": 4096}
)
"""How many architectures a space has; one that is not here is enumerated."""
HEAVIER: Mapping[str, float] = MappingProxyType({"nasbench201": 5.0})
"""How many times as long as one of Tiny-NanoBench a network of another space trains at the same width; else about as long."""


def size(name: str) -> int:
    """Return how many architectures the space ``name`` has."""
    return SIZES.get(name) or len(spaces.load(name))
