"""The functions of ``native.cpp``, built with the machine's own C++ compiler (see :mod:`snas.compiler`)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from snas import compiler

SOURCE = Path(__file__).with_name("native.cpp")
# Sums may be reordered, which is what makes vector code of them.
FLAGS = ("-funroll-loops", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math")
SIGNATURES = {
    "gather_rows": "r pp p ii",
    "depthwise_forward": "rr pppppp iiii b f",
    "depthwise_backward": "rrrrr ppppp pppp iiii f",
    "matmul_forward": "r p ppp pppp ii bb f",
    "matmul_backward": "rr p ppppp ppppp ii b f",
    "attention_forward": "r p pppppp iii",
    "attention_backward": "rr p pppppp p iii",
}

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, built where it is missing; None where there is no compiler or the result does not load.

    With the first call this process keeps the memory that it frees (:func:`keep_memory`).
    """
    library = compiler.library(SOURCE, FLAGS, SIGNATURES)
    if library is not None:
        keep_memory()
    return library


def keep_memory() -> None:
    """Have the C library keep freed memory for the next step instead of giving it back to the system.

    A step frees and takes the same tensors again.  By default glibc maps large ones anew each time, and the system clears
    their pages, which is a tenth of a step at batch 128.  Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 2**26)
