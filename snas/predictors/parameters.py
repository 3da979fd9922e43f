"""Parameters of R runs in one flat buffer ``(runs, P)``: names, shapes, initial values, views.

One buffer per block keeps the optimiser one fused pass, and keeps runs apart: nothing ever sums over the leading axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from snas import seeds


@dataclass(frozen=True)
class Initial:
    """Shape of a parameter and its start: uniform in ±``limit``, or the constant ``value`` where ``limit`` is 0."""

    shape: tuple[int, ...]
    limit: float = 0.0
    value: float = 0.0

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def glorot(shape: tuple[int, ...], fan_in: int, fan_out: int) -> Initial:
    """Return a weight that starts Glorot-uniform (Keras' default, which the authors' program uses)."""
    return Initial(shape, limit=math.sqrt(6.0 / (fan_in + fan_out)))


Layout = Mapping[str, Initial]


def size(layout: Layout) -> int:
    """Return P, the number of entries of one run."""
    return sum(entry.size for entry in layout.values())


def views(layout: Layout, flat: Float[Tensor, "runs parameters"]) -> dict[str, Tensor]:
    """Return ``name -> (runs, *shape)``, each a view into the flat buffer."""
    out, at = {}, 0
    for name, entry in layout.items():
        out[name] = flat[:, at : at + entry.size].view(flat.shape[0], *entry.shape)
        at += entry.size
    return out


def flatten(layout: Layout, tensors: Mapping[str, Tensor]) -> Float[Tensor, "runs parameters"]:
    """Return the flat buffer of ``tensors``: the inverse of :func:`views`."""
    return torch.cat([tensors[name].flatten(1) for name in layout], dim=1)


def initial(
    layout: Layout, runs: Sequence[int], base_seed: int, *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "runs parameters"]:
    """Return the initial buffer.  Each (run, layer name) draws from its own generator.

    So a run starts the same in any block, and a layer that two kinds of predictor share starts the same in both, which
    makes their paired comparison sharper.
    """
    rows = [torch.cat([_draw(name, entry, run, base_seed) for name, entry in layout.items()]) for run in runs]
    return torch.stack(rows).to(dtype)


def _draw(name: str, entry: Initial, run: int, base_seed: int) -> Float[Tensor, " size"]:
    if not entry.limit:
        return torch.full((entry.size,), entry.value)
    generator = seeds.generator(base_seed, "predictor", run, name)
    return torch.empty(entry.size).uniform_(-entry.limit, entry.limit, generator=generator)
