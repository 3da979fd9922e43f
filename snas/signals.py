"""Signals to a process that drives a run."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def handle_beside(number: signal.Signals) -> None:
    """Let this process's handler of a signal run in a thread of its own, where there is a handler; main thread only.

    A handler interrupts the main thread wherever that is.  If it then asks for a lock that the main thread holds, as
    Snakemake's scheduler does for SIGTERM, both wait for ever; a thread waits until the lock is free.
    """
    handler = signal.getsignal(number)
    if not callable(handler):
        return

    def beside(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=handler, args=(number, frame), daemon=True).start()

    signal.signal(number, beside)
