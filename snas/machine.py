"""What can be said of this machine before jobs are begun on it, without torch.

Apart from :mod:`snas.device`, which trainings hang on: an edit of a check re-runs none of them.
"""

from __future__ import annotations

import os

from snas import InputError, device

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
