"""The device that a job computes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snas import InputError

if TYPE_CHECKING:
    import torch


def torch_device(name: str = "auto") -> torch.device:
    """Return the torch device for ``auto`` (a GPU where torch sees one, else the CPU), ``cpu`` or ``cuda``.

    Raises :class:`InputError` for another name, or where ``cuda`` is asked for and torch sees no GPU.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device 'cuda' was asked for, but torch sees no GPU "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); 'auto' or 'cpu' would work"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
