"""What can be said of this machine before jobs are begun on it, without torch.

Apart from :mod:`snas.device`, which trainings hang on: an edit of a check re-runs none of them.
"""

from __future__ import annotations

import os

from snas import InputError, device, spaces
from snas.search.forecast import ADAM_BYTES, memory_bytes

GPU_FILES = ("nvidia[0-9]*", "nvhost*", "dxg", "kfd")
"""Files below ``/dev`` of NVIDIA's GPUs, those of Jetson boards, Windows' below a Linux (WSL), and AMD's: torch may use one."""


def check_gpu(name: str) -> None:
    """Raise :class:`InputError` where ``cuda`` is asked for and there is surely no GPU on this machine, or none to be used.

    Where ``nvidia-smi`` knows none, a device file is enough to leave it to torch, which a job asks.
    """
    if name != "cuda":
        return
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = bool(device.visible_devices({})) or any(any(device.DEVICE_FILES.glob(f)) for f in GPU_FILES)
    if not there or (given is not None and not device.visible_devices()):
        raise InputError(
            "configuration: key 'device' is 'cuda', but there is no GPU to be used here "
            f"(CUDA_VISIBLE_DEVICES={'not set' if given is None else repr(given)}); 'auto' or 'cpu' would work, or a cluster's "
            "machines (docs/cluster.md)"
        )


def memory_in_words(space: str, width: int, jobs: int) -> str:
    """Return what is to be said where ``jobs`` trainings at a time do not fit into this machine's memory; empty where they may.

    Told by what is sure without torch: the weights of the mean network, in training.  It is said and not refused, as less
    may run at a time than there are cores (``--resources mem_mb=...``).
    """
    chosen = spaces.load(space)
    width = width or chosen.default_width
    _, params = chosen.costs(width=width, channels=1, side=8, classes=2)
    each, there = ADAM_BYTES * float(params.mean()), memory_bytes()
    if jobs * each <= there:
        return ""
    return (
        f"networks of width {width} take more than {each / 1e9:.1f} GB of memory to train, {jobs} at a time, and this machine has "
        f"{there / 1e9:.1f} GB; a smaller width, or fewer --cores, would be right"
    )
