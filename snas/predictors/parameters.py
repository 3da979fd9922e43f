"""Parameters of R runs in one flat buffer ``(runs, P)``: names, shapes, initial values, views.

No torch is imported here: native code trains without it.  One buffer per block keeps the optimiser one fused pass, and keeps runs apart: nothing ever sums over the leading axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from snas import seeds

if TYPE_CHECKING:
    from torch import Tensor


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
    import torch

    return torch.cat([tensors[name].flatten(1) for name in layout], dim=1)


def initial(layout: Layout, runs: Sequence[int], base_seed: int) -> Float[np.ndarray, "runs parameters"]:
    """Return the initial buffer.  Each (run, layer name) draws from its own stream.

    So a run starts the same in any block, and a layer that two kinds of predictor share starts the same in both, which
    makes their paired comparison sharper.
    """
    rows = [
        np.concatenate([_draw(name, entry, run, base_seed) for name, entry in layout.items()]) for run in runs
    ]
    return np.stack(rows)


def _draw(name: str, entry: Initial, run: int, base_seed: int) -> Float[np.ndarray, " size"]:
    """Return the start of a parameter; what is drawn is ``torch.Tensor.uniform_``'s, 24 bits of each word."""
    if not entry.limit:
        return np.full(entry.size, entry.value, dtype=np.float32)
    low, high = float(np.float32(-entry.limit)), float(np.float32(entry.limit))
    share = (seeds.words(entry.size, base_seed, "predictor", run, name) & 0xFFFFFF) * 2.0**-24
    return (share * (high - low) + low).astype(np.float32)
