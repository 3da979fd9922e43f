"""Processes that are measured at the same time: each gets ready, waits for the others, and prints what it took."""

from __future__ import annotations

import os
import subprocess
import sys

from speed.record import ROOT


def together(module: str, *arguments: object, processes: int, threads: int = 1) -> list[str]:
    """Return what each of ``python -m module arguments`` printed after :func:`ready`; they begin at the same time."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(processes)
    ]
    for each in running:
        assert each.stdout
        assert each.stdout.readline().strip() == "ready"
    for each in running:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    return [each.communicate()[0] for each in running]


def ready() -> None:
    """Say that this process has prepared everything, and wait until all others have."""
    print("ready", flush=True)
    sys.stdin.readline()
