"""Builds and loads C++ with the machine's own compiler: seconds of work, once per machine.

A library is kept in the user's cache folder (``SNAS_CACHE``, else ``XDG_CACHE_HOME``/snas, else ``~/.cache/snas``)
under a name that changes with the source, the compiler, the flags and the processor, so that one home folder serves
different machines.  It is plain C functions on addresses, called through ctypes; torch's headers are not needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LOG = logging.getLogger(__name__)
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
"""NaN and infinity keep their meaning, and sums their order."""
NATIVE = ("-march=native", "-mcpu=native")
"""What a compiler calls the very processor that it runs on; some know the one for ARM and POWER, some the other."""
END = b"" if sys.platform == "darwin" else b"\nbuilt by snas, whole\n"
"""The last bytes of a library.  To load one whose end is missing would kill the process (SIGBUS).  On macOS the linker signs
what it writes, and bytes after it may not be taken."""
TYPES = {
    "p": (ctypes.c_void_p,),
    "i": (ctypes.c_int64,),
    "b": (ctypes.c_int,),
    "f": (ctypes.c_float,),
    "r": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
}
"""Arguments of C functions: p address, i int64, b flag, f float, r rows (sources, table of ranges, number of ranges)."""


def library(source: Path, flags: Sequence[str], signatures: Mapping[str, str]) -> ctypes.CDLL | None:
    """Return the functions of ``source``, built with :data:`FLAGS` and ``flags`` where that has not been done.

    ``signatures`` gives each function's arguments as letters of :data:`TYPES`, spaces ignored; all return nothing.
    None where there is no compiler, or where the result does not build or load (a warning then says why).
    """
    compiler = found()
    if compiler is None:
        return None
    try:
        loaded = _load(source, [compiler, *FLAGS, *flags])
    except (OSError, subprocess.SubprocessError) as error:
        LOG.warning("native kernels were not built with %s: %s", compiler, _reason(error))
        return None
    for name, letters in signatures.items():
        function = getattr(loaded, name)
        function.argtypes = [kind for letter in letters.replace(" ", "") for kind in TYPES[letter]]
        function.restype = None
    return loaded


def why_not(device: torch.device) -> str | None:
    """Return why ``torch.compile`` can make nothing for ``device`` here, or ``None``."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed"
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # torch's own InvalidCxxCompiler; its text runs over many lines
        return f"no working C++ compiler was found ({type(error).__name__})"
    return None


def cache_folder() -> Path:
    """Return the folder that built libraries are kept in, and other things that would be made anew without it."""
    if os.environ.get("SNAS_CACHE"):
        return Path(os.environ["SNAS_CACHE"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snas"
    except RuntimeError:  # a container's user without a name and a home
        return _temporary_room()


def found() -> str | None:
    """Return the path of the C++ compiler: ``CXX``, else g++, clang++ or c++."""
    candidates = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def _load(source: Path, command: list[str]) -> ctypes.CDLL:
    """Return the library of ``source`` from the first room that can keep and run it, built there where it is not yet."""
    name = _name(source, command)
    failure: Exception = OSError("no folder to keep it in")
    for folder in _rooms():
        path = folder / name
        try:
            if not (path.is_file() and _trusted(path) and _whole(path)):
                if not _writable(folder):
                    continue
                _build(source, command, path)
            # absolute: a bare name would be looked for in the system's folders
            return ctypes.CDLL(str(path.absolute()))
        # A full disk, which the compiler or its linker meets; a home that is mounted without the right to run what lies there.
        except (OSError, subprocess.CalledProcessError) as error:
            failure = error
    raise failure


def _name(source: Path, command: list[str]) -> str:
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True, timeout=60).stdout
    key = hashlib.sha256()
    for part in (source.read_bytes(), version, os.fsencode(" ".join([*command, *NATIVE])), _processor()):
        key.update(part)
    return f"{source.parent.name}-{key.hexdigest()[:16]}.so"


def _build(source: Path, command: list[str], path: Path) -> None:
    # Built under another name and renamed: two processes that start together both end with a whole file.
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        built = Path(beside) / path.name
        subprocess.run(
            [*command, *_tuning(command[0]), "-o", str(built), str(source)],
            capture_output=True,
            check=True,
            timeout=300,
        )
        with built.open("ab") as file:
            file.write(END)
            file.flush()
            os.fsync(file.fileno())
        built.replace(path)


def _tuning(compiler: str) -> tuple[str, ...]:
    """Return the flag of :data:`NATIVE` that ``compiler`` takes here; none where it would build for any machine of the kind.

    On x86 GCC takes both, and ``-mcpu`` would then not choose the vectors.
    """
    for flag in NATIVE if platform.machine() in ("x86_64", "AMD64", "i686") else reversed(NATIVE):
        trial = [compiler, flag, "-x", "c++", "-fsyntax-only", os.devnull]
        if subprocess.run(trial, capture_output=True, check=False, timeout=60).returncode == 0:
            return (flag,)
    return ()


def _rooms() -> Iterator[Path]:
    """Yield folders to keep a library in: the cache; the user's own in the temporary directory; one for this process."""
    yield cache_folder()
    yield _temporary_room()
    with tempfile.TemporaryDirectory(prefix="snas-") as own:  # what has been loaded from it stays in memory
        yield Path(own)


def _temporary_room() -> Path:
    return Path(tempfile.gettempdir()) / f"snas-cache-{os.getuid()}"


def _writable(folder: Path) -> bool:
    """Make ``folder`` and return whether this user, and nobody else who is not root, owns it and may write to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _trusted(folder) and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _trusted(path: Path) -> bool:
    """Return whether a file or folder is this user's or root's: what is loaded runs, and ``/tmp`` is open to all."""
    return path.stat().st_uid in (os.getuid(), 0)


def _whole(path: Path) -> bool:
    """Return whether a file is all that was built: a crash or a full disk may have left, or copied, its beginning alone."""
    with path.open("rb") as file:
        file.seek(-min(len(END), path.stat().st_size), os.SEEK_END)
        return file.read() == END


def _processor() -> bytes:
    """Return what tells machines apart whose instructions differ."""
    kind = f"{platform.machine()} {platform.processor()}".encode()
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:  # not a Linux
        lines = []
    # x86; ARM; POWER; RISC-V; IBM Z
    told = {
        b"flags",
        b"model name",
        b"Features",
        b"CPU implementer",
        b"CPU part",
        b"cpu",
        b"isa",
        b"features",
    }
    return b"\n".join([kind, *sorted({line for line in lines if line.partition(b":")[0].strip() in told})])


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [str(error)]
        return next((line for line in lines if "error:" in line), lines[-1])
    return str(error)
