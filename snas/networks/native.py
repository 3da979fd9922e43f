"""Builds and loads ``native.cpp`` with the machine's own C++ compiler: a second of work, once per machine.

The library is kept in the user's cache folder (``SNAS_CACHE``, else ``XDG_CACHE_HOME``/snas, else ``~/.cache/snas``)
under a name that changes with the source, the compiler, the flags and the processor, so that one home folder serves
different machines.  It is plain C functions on addresses, called through ctypes; torch's headers are not needed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

LOG = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("native.cpp")
# NaN and infinity keep their meaning; sums may be reordered, which is what makes vector code of them.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-funroll-loops", "-fPIC", "-shared"),
    *(
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
        "-freciprocal-math",
    ),
)
SIGNATURES = {
    "gather_rows": "r pp p ii",
    "depthwise_forward": "rr pppppp iiii b f",
    "depthwise_backward": "rrrrr ppppp pppp iiii f",
    "matmul_forward": "r p ppp pppp ii bb f",
    "matmul_backward": "rr p ppppp ppppp ii b f",
    "attention_forward": "r p pppppp iii",
    "attention_backward": "rr p pppppp p iii",
}
"""Arguments of each function: r rows (sources, table of ranges, number of ranges), p address, i int64, b flag, f float."""
TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "b": ctypes.c_int, "f": ctypes.c_float}


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, built where it is missing; None where there is no compiler or the result does not load."""
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        library = ctypes.CDLL(str(_build(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        LOG.warning("native kernels were not built with %s: %s", compiler, _reason(error))
        return None
    for name, letters in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [TYPES[letter] for letter in letters.replace("r", "ppi").replace(" ", "")]
        function.restype = None
    return library


def cache_folder() -> Path:
    """Return the folder that built libraries are kept in."""
    if "SNAS_CACHE" in os.environ:
        return Path(os.environ["SNAS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snas"


def _compiler() -> str | None:
    candidates = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


def _build(compiler: str) -> Path:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    key = hashlib.sha256()
    for part in (SOURCE.read_bytes(), version, " ".join([compiler, *FLAGS]).encode(), _processor()):
        key.update(part)
    path = cache_folder() / f"native-{key.hexdigest()[:16]}.so"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home folder that cannot be written: build for this process alone
        path = Path(tempfile.mkdtemp(prefix="snas-")) / path.name
    # Built under another name and renamed: two processes that start together both end with a whole file.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [compiler, *FLAGS, "-o", str(built), str(SOURCE)]
        subprocess.run(command, capture_output=True, check=True, timeout=300)
        built.replace(path)
    return path


def _processor() -> bytes:
    """Return what tells machines apart whose vector units differ."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
        return b"\n".join(
            sorted({line for line in lines if line.startswith((b"flags", b"model name", b"Features"))})
        )
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        return error.stderr.decode(errors="replace").strip().splitlines()[-1]
    return str(error)
