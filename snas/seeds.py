"""Every random number of the product: a generator per (base seed, purpose, id), never a global state.

A seed is a hash, so neighbouring ids are independent, and a draw does not depend on which job, block or shard makes it.
Draws are made on the CPU and moved, so that they are the same on every device.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


_REUSED = threading.local()
"""This thread's Mersenne twister, seeded anew for each draw: nothing of one draw is left for another."""


def seed(base_seed: int, purpose: str, *ids: int | str) -> int:
    """Return the 63-bit seed of (base seed, purpose, ids).

    >>> seed(0, "weights", "dwconv3x3") == seed(0, "weights", "dwconv3x3")
    True
    >>> seed(0, "weights", 1) == seed(0, "weights", 2)
    False
    """
    text = "\x1f".join([str(int(base_seed)), purpose, *map(str, ids)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(base_seed: int, purpose: str, *ids: int | str) -> torch.Generator:
    """Return a fresh CPU ``torch.Generator`` for (base seed, purpose, ids)."""
    import torch

    return torch.Generator().manual_seed(seed(base_seed, purpose, *ids))


def words(count: int, base_seed: int, purpose: str, *ids: int | str) -> np.ndarray:
    """Return the first ``count`` 32-bit words that :func:`generator` would draw, without torch.

    Both are the Mersenne twister MT19937, and NumPy's ``RandomState`` is frozen: its streams change with no version.
    """
    import numpy as np

    # A new one asks the system for entropy first, which takes longer than to seed it and to draw a batch.
    twister = getattr(_REUSED, "twister", None) or np.random.RandomState()
    _REUSED.twister = twister
    twister.seed(seed(base_seed, purpose, *ids) & 0xFFFFFFFF)
    return twister.randint(0, 2**32, count, dtype=np.uint32)


def numpy_generator(base_seed: int, purpose: str, *ids: int | str) -> np.random.Generator:
    """Return a fresh ``numpy.random.Generator`` for (base seed, purpose, ids)."""
    import numpy as np

    return np.random.default_rng(seed(base_seed, purpose, *ids))
