"""Reading foreign files in a process of its own, with a limit on its memory.

What a hostile file can do to a reader written in C (crash it, or have it allocate without end) then ends that process,
and here becomes one sentence.  Request and answer are JSON.  Where its parent is gone, such a process ends when it has
read the file: nobody takes its answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import snas
from snas import InputError

MEMORY = 3 << 30
"""Bytes of data that such a process may have; the largest real source needs a tenth."""
SECONDS = 3600.0


def ask(module: str, request: dict[str, Any], label: str) -> dict[str, Any]:
    """Return what ``python -m module`` answers to ``request``; ``label`` names the file in the sentence of a crash.

    Raises :class:`InputError` with the sentence of the refusal there, or where the process crashes.
    """
    path = os.pathsep.join(
        filter(None, [str(Path(snas.__file__).parent.parent), os.environ.get("PYTHONPATH")])
    )
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(request).encode(),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{label} cannot be read in {SECONDS:g} s; it is damaged or foreign") from None
    try:
        answer: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        raise InputError(f"{label} cannot be read; it is damaged or foreign ({_end(child)})") from None
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def serve(function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer the request on standard input on standard output: the ``main`` of a module that :func:`ask` names."""
    import resource

    for kind, limit in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit may be set already
            resource.setrlimit(kind, (limit, limit))
    try:
        answer = function(json.load(sys.stdin))
    except InputError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    sys.stdout.flush()


def _end(child: subprocess.CompletedProcess[bytes]) -> str:
    """How a process ended that gave no answer: its signal or status, and its last line."""
    lines = child.stderr.decode("utf-8", "replace").strip().splitlines()
    number = -child.returncode
    how = signal.Signals(number).name if number in set(signal.Signals) else f"status {child.returncode}"
    return f"its reader ended with {how}" + (f": {lines[-1].strip()[:160]}" if lines else "")
