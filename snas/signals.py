"""Signals to a process that drives a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, as Python says Ctrl-C: what is going on takes its other processes with it."""


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


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Let the handlers of Ctrl-C and SIGTERM run at the end of the block, where this is the main thread.

    One that raises while a process is being started leaves it behind: nobody has a name for it yet.  What has no handler
    stays as it is: a process that is started meanwhile inherits it.
    """
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in dict.fromkeys(came):
            signal.raise_signal(late)
