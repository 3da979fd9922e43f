"""Search spaces: a cell as a graph, its costs and its encoding for the predictors.

Importing this package imports neither torch nor pandas, so that a workflow can check a name while it is parsed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from snas.registry import Registry

if TYPE_CHECKING:
    from snas.spaces.space import Space

REGISTRY = Registry(
    "space",
    {
        "tiny_nanobench": "snas.spaces.nanobench:TinyNanoBench",
        "nasbench201": "snas.spaces.nasbench201:NASBench201",
        "tiny_nasbench201": "snas.spaces.nasbench201:TinyNASBench201",
    },
)


def load(name: str) -> Space:
    """Return the space of the registered ``name``; raises ``InputError`` that lists the known ones.

    A space has no state but its cells, which are enumerated once in a process.
    """
    return _made(REGISTRY.load(name))


@cache
def _made(kind: type[Space]) -> Space:
    """Return the only space of its class."""
    return kind()
