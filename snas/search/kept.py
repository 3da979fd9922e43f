"""Rounds of a block of searches that takes hours, kept while it works: a kill loses the round in flight, not the block."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError
from snas.search.rounds import Rounds, load_state, save_state

if TYPE_CHECKING:
    import torch

KEEP_SECONDS = 120.0
"""Work that is worth a file: most blocks are done before, and leave none."""
SPENT = ("seconds", "cpu_seconds", "gpu_seconds")


class Meter:
    """What this process spends from now on: wall seconds, processor seconds, wall seconds of a GPU (0 on a CPU)."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.on_gpu = device is not None and device.type == "cuda"
        self.started, self.cpu = time.monotonic(), time.process_time()

    def __call__(self) -> np.ndarray:
        """Return :data:`SPENT`."""
        seconds = time.monotonic() - self.started
        return np.array([seconds, time.process_time() - self.cpu, seconds if self.on_gpu else 0.0])


def as_facts(spent: np.ndarray) -> dict[str, float]:
    """Return :data:`SPENT` as metadata of a file."""
    return {key: round(float(value), 3) for key, value in zip(SPENT, spent, strict=True)}


class Kept:
    """The state of one block after its last kept round, in an ``.npz`` of plain arrays.

    Args:
        result: the block's file.  The state lies beside it as ``….rounds.npz``, between the first kept round and :meth:`forget`.
        code: hash of the code that searches; rounds of other code are not gone on with.
        device: what is computed on; on a GPU the wall time is also a GPU's.
    """

    def __init__(self, result: str | Path, *, code: str, device: torch.device | None = None) -> None:
        self.path, self.code = Path(result).with_suffix(".rounds.npz"), code
        self.before, self.own = np.zeros(len(SPENT)), Meter(device)
        self.identity: dict[str, Any] = {}
        self.saved = time.monotonic()

    def take_up(self, search: Rounds, identity: Mapping[str, Any]) -> None:
        """Go on from what is kept of a search of the same identity; a file of another one is as good as none."""
        self.identity = {**identity, "code": self.code}
        if not self.path.exists():
            return
        try:
            state = load_state(self.path, self.identity)
        except InputError as error:
            print(f"what was kept is of no use, all rounds are done again ({error})", flush=True)
            return
        self.before = state.pop("spent")
        search.restore(state)
        print(f"{search.number} of {search.total} rounds are done already", flush=True)

    def after_round(self, search: Rounds) -> None:
        """Write the state where enough work stands behind it; everything that was asked must be answered."""
        if search.done or time.monotonic() - self.saved < KEEP_SECONDS:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_state(self.path, search.state() | {"spent": self.before + self.own()}, self.identity)
        self.saved = time.monotonic()

    def spent(self) -> dict[str, float]:
        """Return what the block took in all, processes that were killed included, up to their last kept round."""
        return as_facts(self.before + self.own())

    def forget(self) -> None:
        """Remove the file: the block is written."""
        self.path.unlink(missing_ok=True)
