"""What can be said of this machine before jobs are begun on it, without torch.

Apart from :mod:`snas.device`, which trainings hang on: an edit of a check re-runs none of them.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from snas import InputError, device

GPU_FILES = ("nvidia[0-9]*", "nvhost*", "dxg", "kfd")
"""Files below ``/dev`` of NVIDIA's GPUs, those of Jetson boards, Windows' below a Linux (WSL), and AMD's: torch may use one."""

CPUINFO = Path("/proc/cpuinfo")
"""What Linux says of its processors."""


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


def cores() -> int:
    """Return the CPU cores that this process may use; where the system does not tell, those of the machine."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the name of this machine's processor, or its kind where the system does not tell."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not a Linux
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    if not names and platform.system() == "Darwin":
        names = [_said("sysctl", "-n", "machdep.cpu.brand_string")]
    elif not names:  # on ARM the file has numbers in place of a name
        names = [
            line.partition(":")[2]
            for line in _said("lscpu").splitlines()
            if line.strip().startswith("Model name:")
        ]
    return next((name.strip() for name in names if name.strip(" -\t")), platform.machine())


def _said(*command: str) -> str:
    """Return what a program prints, in English; nothing where it is missing or fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
