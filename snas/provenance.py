"""Where a file comes from: versions, device, seconds, peak memory; and which driver makes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import os
import platform
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import snas

if TYPE_CHECKING:
    import torch

DRIVER = "SNAS_DRIVER"
"""Variable that tells jobs who drives them, as host:process."""


@contextlib.contextmanager
def measured(device: torch.device | None = None, **facts: Any) -> Iterator[dict[str, Any]]:
    """Yield a dictionary that is complete when the block ends: ``facts``, seconds, peak memory, device, versions.

    The facts (recipe, seed, code, ...) say what a file is; ``identity`` lists their keys, and :func:`snas.tables.join`
    refuses to mix shards that differ in one of them.  The rest says what it cost:
    ``seconds`` is wall time, ``cpu_seconds`` processor time of this process, ``gpu_seconds`` wall time on a GPU
    (0 on a CPU), ``peak_memory_mb`` the process's largest resident size, ``peak_gpu_memory_mb`` torch's on the GPU.
    """
    record: dict[str, Any] = {**facts, "identity": sorted(facts)}
    on_gpu = device is not None and device.type == "cuda"
    started, cpu = time.monotonic(), time.process_time()
    yield record
    seconds = time.monotonic() - started  # a clock that jumps does not touch the monotonic one
    record.update(
        seconds=round(seconds, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        gpu_seconds=round(seconds, 3) if on_gpu else 0.0,
        peak_memory_mb=_peak_memory_mb(),
        device=_device_name(device),
        host=socket.gethostname(),
        versions=versions(),
    )
    if on_gpu:
        import torch

        record["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)


def _peak_memory_mb() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kibibytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that shape results."""
    found = {"python": platform.python_version(), "snas": snas.__version__}
    for package in ("torch", "numpy", "pandas", "pyarrow"):
        if package in sys.modules:
            found[package] = importlib.metadata.version(package)
    return found


def _device_name(device: torch.device | None) -> str:
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return "cpu"


def alive(pid: int) -> bool:
    """Return whether a process of this machine runs; one that has ended and that nobody has asked after does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        return True
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # no such file system, or gone by now: the next look tells
        return True
    return said.rpartition(")")[2].split()[0] not in ("Z", "X")  # the name, in brackets, may hold anything


FLAGS = "tkfFlSDpa"
"""Snakemake's short options that take no value: behind any other, an n belongs to its value (``-Rtrain``)."""


def only_reads(arguments: Sequence[str]) -> bool:
    """Return whether a Snakemake command line makes nothing: a dry run, a summary, a lint, a drawing of the DAG."""
    words = {
        "--lint", "--summary", "-S", "-D", "--detailed-summary", "--list", "-l", "--list-rules",
        "--list-target-rules", "--lt", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--report", "--unlock",
        "--list-changes", "--list-input-changes", "--list-params-changes", "--list-code-changes", "--lc",
        "--list-untracked", "--lu",
    }  # fmt: skip
    return any(
        a.partition("=")[0] in words or a.startswith("--dry") or re.match(rf"-[{FLAGS}]*n", a) is not None
        for a in arguments[1:]
    )


def _lock_path(folder: Path, run: str) -> Path:
    return folder / ".snakemake" / "snas" / f"{run}.lock"


def check_free(folder: Path, run: str) -> None:
    """Raise :class:`InputError` where another process makes ``run`` in ``folder`` right now; nothing is held."""
    try:
        file = _lock_path(folder, run).open("r")
    except OSError:  # nobody has begun it, or it cannot be told
        return
    with file:
        try:
            _lock(file, READING_SECONDS)
        except BlockingIOError:
            holder = file.read().strip() or "another process"
            raise snas.InputError(
                f"run {run!r} is being made by {holder}; wait for it, stop it, or choose another name (--run NAME)"
            ) from None
        except OSError:  # a file system without locks
            return


def hold_run(folder: Path, run: str, *, reads_only: bool) -> IO[str] | None:
    """Make this process the one driver of ``run`` in ``folder``; take away what a killed driver left locked.

    The lock is a ``flock`` on ``.snakemake/snas/<run>.lock``, freed by the kernel however the process ends; keep the
    returned file open for the life of the driver.  ``reads_only`` (a dry run, a summary) neither holds nor refuses.
    Raises :class:`InputError` that says who holds the run.
    """
    path = _lock_path(folder, run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        if not reads_only:
            check_writable(path.parent)
            check_writable(folder / "results" / run)
    except OSError as error:
        if reads_only:
            return None
        raise snas.InputError(unwritable(error, str(folder))) from None
    try:
        _lock(file, 0.0 if reads_only else READING_SECONDS)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        if reads_only:
            return None
        raise snas.InputError(
            f"results/{run} is being made by {holder}; wait for it, stop it, or choose another name (--config run=NAME)"
        ) from None
    except OSError as error:
        # Lustre without flock, NFS without its lock service. Snakemake's own locks hold there; nobody knows which are stale.
        file.close()
        if not reads_only:
            print(
                f"[snas] {path.parent}: this file system has no locks ({os.strerror(error.errno or 0).lower()}); see to it that "
                f"one process at a time makes results/{run}. After a kill: snakemake --unlock",
                file=sys.stderr,
            )
            os.environ[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"
        return None
    if _last_host(file) == socket.gethostname():
        # Elsewhere the driver may live: some cluster file systems hold locks on one machine only.
        _clear_stale_locks(folder / ".snakemake" / "locks", run)
    if reads_only:
        file.close()
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
        _sign(file)
    os.environ[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"  # jobs of this machine end when it is gone
    return file


READING_SECONDS = 0.5
"""How long a driver waits for who only reads, and holds the run for a moment to take away a dead one's locks."""


def _lock(file: IO[str], patience: float) -> None:
    """Hold a file alone; raises BlockingIOError where another process does so for ``patience`` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)
        else:
            return


def _last_host(file: IO[str]) -> str:
    """Return the machine of the driver that held the run last; this one where nobody did."""
    file.seek(0)
    match = re.fullmatch(r"process \d+ on (\S+) since .*", file.read().strip())
    return match[1] if match else socket.gethostname()


def _sign(file: IO[str]) -> None:
    """Say in the lock who holds it."""
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()


def unwritable(error: OSError, path: str) -> str:
    """Return what to do about a file that cannot be written, in one sentence; other errors in their own words.

    >>> unwritable(OSError(28, "No space left on device"), "results/a")
    'results/a cannot be written: no space left on the device; free some and start the same command again, it goes on'
    """
    path, again = str(error.filename or path), "start the same command again, it goes on"
    text = str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return f"{path} cannot be written: no space left on the device; free some and {again}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{path} cannot be written: {os.strerror(error.errno).lower()}; make the folder writable and {again}"
    return text


def check_writable(folder: Path) -> None:
    """Raise OSError, with the folder's name, where no file of some size can be made in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(BOOKKEEPING))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


BOOKKEEPING = 2**16
"""Bytes that a driver needs for its own locks and logs before it starts."""

LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+)?")
"""Name of a file that a writer (:func:`snas.tables.replacing`) was killed before it could rename or remove."""


def clear_leftovers(folder: Path) -> None:
    """Remove what killed writers left below ``folder``; for a driver whose jobs are all done."""
    for path in folder.rglob(".*"):
        if LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _clear_stale_locks(locks: Path, run: str) -> None:
    """Remove Snakemake's locks on files of ``run``: their owner no longer holds the run, so it is dead."""
    for lock in sorted(locks.glob("*.lock")):
        with contextlib.suppress(OSError):
            if any(
                line.startswith(f"results/{run}/") for line in lock.read_text(encoding="utf-8").splitlines()
            ):
                lock.unlink()
