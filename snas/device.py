"""The device that a job computes on, and leases of GPUs among the jobs of one machine.

Snakemake's ``gpu=1`` only counts.  A job leases one device with a file lock that its process holds for life (a killed
job frees its device at once) and sets ``CUDA_VISIBLE_DEVICES`` before torch touches CUDA.  What SLURM, or the user, has
set is respected: the device of a SLURM job is its own, a list of several is what is leased from.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from snas import InputError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cpu", "cuda")
DEVICE_FILES = Path("/dev")


def torch_device(name: str = "auto") -> torch.device:
    """Return the torch device for ``auto`` (a GPU where torch sees one, else the CPU), ``cpu`` or ``cuda``.

    Raises :class:`InputError` for another name, or where ``cuda`` is asked for and torch sees no GPU.
    """
    import torch

    if name not in NAMES:
        raise InputError(f"device {name!r} is unknown; known: {', '.join(NAMES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device 'cuda' was asked for, but torch sees no GPU "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); 'auto' or 'cpu' would work"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def out_of_memory(error: Exception) -> bool:
    """Return whether ``error`` says that something did not fit into the memory of the device or of the machine."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch on a CPU has no class of its own for it
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


@functools.cache
def _machine_devices() -> tuple[str, ...]:
    """Return the indices of the machine's NVIDIA devices without importing torch; empty where there are none.

    A container may have devices and no ``nvidia-smi``: then the device files are counted.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return tuple(str(i) for i in range(len(list(DEVICE_FILES.glob("nvidia[0-9]*")))))
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    rows = [row for row in done.stdout.splitlines() if row.startswith("GPU ")]
    return tuple(str(i) for i in range(len(rows))) if done.returncode == 0 else ()


def visible_devices(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the devices this process may use: ``CUDA_VISIBLE_DEVICES`` where it is set, else all of the machine."""
    environment = os.environ if environment is None else environment
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return _machine_devices()
    return tuple(d.strip() for d in given.split(",") if d.strip() and d.strip() != "-1")


def wanted(name: str, *, elsewhere: bool = False) -> bool:
    """Return whether jobs are to ask for a GPU: ``cuda`` always does, ``cpu`` never, ``auto`` where this machine has one
    or the jobs run ``elsewhere``, on machines that nothing is known of here.  Without torch, for the Snakefile."""
    if name == "auto":
        return elsewhere or bool(visible_devices())
    return name == "cuda"


class Lease:
    """A device held by this process: keep the object for as long as the device is used."""

    def __init__(self, device: str, file: IO[str]) -> None:
        self.device = device
        self._file = file

    def release(self) -> None:
        """Free the device before the process ends."""
        self._file.close()


def lease(
    devices: Sequence[str] | None = None,
    *,
    folder: str | Path | None = None,
    poll_seconds: float = 0.5,
    say: Callable[[str], None] | None = None,
) -> Lease | None:
    """Wait for a free device of ``devices`` (default: the visible ones), hold it and make it the only visible one.

    Returns ``None`` where there is no device at all, and where SLURM has given this job a device of its own (it is left
    as it is); a whole workflow inside one SLURM job leases from that job's devices.  Locks stand in ``folder`` (default:
    one per user, or per SLURM job, in the temporary directory), so that all runs of a user on this machine share them.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    job = os.environ.get("SLURM_JOB_ID") if devices is None else None
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible_devices() if devices is None else tuple(devices)
    if job is not None and (given is None or len(devices) < 2):
        say(f"device: SLURM's, CUDA_VISIBLE_DEVICES={'not set' if given is None else given}")
        return None
    if not devices:
        say("device: no GPU on this machine, computing on the CPU")
        return None
    of = f"-{job}" if job else ""  # SLURM may number each job's devices from 0
    root = Path(folder) if folder else Path(tempfile.gettempdir()) / f"snas-devices-{os.getuid()}{of}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder is None and root.lstat().st_uid != os.getuid():  # in a folder that all may write to
        raise InputError(
            f"{root} belongs to another user, so locks in it mean nothing; set TMPDIR to a folder of your own"
        )
    waiting = False
    while True:
        for device in devices:
            held = _try(root / f"{device.replace(os.sep, '_')}.lock")
            if held is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = device
                say(f"device: GPU {device} of {', '.join(devices)}")
                return Lease(device, held)
        if not waiting:
            say(f"device: all of {', '.join(devices)} are in use, waiting for one")
            waiting = True
        time.sleep(poll_seconds)


def _try(path: Path) -> IO[str] | None:
    """Return the locked file, or ``None`` where another process holds it.  Follows no link to a file of somebody's."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
