"""Builds and loads ``native.cpp`` with the machine's own C++ compiler: a second of work, once per machine.

The library is kept in the user's cache folder (``SNAS_CACHE``, else ``XDG_CACHE_HOME``, else ``~/.cache``) under a name
that changes with the source, the compiler, the flags and the processor, so that one home folder serves different
machines.  It is plain C functions on addresses, called through ctypes; torch's headers are not needed.
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

from snas import tables

LOG = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("native.cpp")
# NaN and infinity keep their meaning; sums may be reordered, which is what makes vector code of them.
FLAGS = (
    "-std=c++17 -O3 -march=native -fPIC -shared -fno-math-errno -fno-trapping-math -fno-signed-zeros "
    "-fassociative-math -freciprocal-math"
).split()
FUNCTIONS = {
    "depthwise_forward": "ppppppp iiii ff f",
    "depthwise_backward": "ppppppppppp iiii f f",
    "norm_forward": "pppppp ii ff f",
    "norm_backward": "ppppppppp ii f f",
    "attention_forward": "pp iii",
    "attention_backward": "ppp iii",
    "gate_forward": "ppp iii",
    "gate_slope": "ppp iii",
    "gate_backward": "pppp iii",
}
