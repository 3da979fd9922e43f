"""A small space of random graphs, and pools to train on."""

from __future__ import annotations

import numpy as np
import torch

from snas.spaces.space import Encoding

BASE_SEED = 11


def encoding(archs=40, nodes=5, symbols=4, seed=0):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((archs, nodes, nodes)) < 0.5, 1)
    return Encoding(
        adjacency=(upper + np.eye(nodes)).astype(np.float32),
        operations=rng.integers(0, symbols, (archs, nodes)),
        vocabulary=tuple(f"op{i}" for i in range(symbols)),
    )


def pool(runs, size, archs=40, seed=0, missing=0.0):
    """Return ids, accuracies and codes (a share of them missing) of R pools."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(archs, generator=g)[:size] for _ in range(runs)])
    accuracy = torch.rand(runs, size, generator=g, dtype=torch.float64) * 0.3 + 0.6
    codes = torch.rand(runs, size, 3, generator=g, dtype=torch.float64) * 2
    codes[torch.rand(runs, size, generator=g) < missing] = float("nan")
    return ids, accuracy, codes
