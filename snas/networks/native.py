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


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, built where it is missing; None where there is no compiler or the result does not load."""
    return compiler.library(SOURCE, FLAGS, SIGNATURES)
