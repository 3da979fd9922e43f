"""Processor time of calls, and rows that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from speed.record import Record


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def product_seconds(a: Tensor, b: Tensor, times: int = 20) -> float:
    """Return the processor time of one batched product."""
    out = torch.bmm(a, b)
    return seconds(lambda: [torch.bmm(a, b, out=out) for _ in range(times)]) / times


class Rows:
    """Values of titled rows that are measured in turns."""

    def __init__(self, rows: dict[str, Callable[[], float]], repeats: int) -> None:
        self.values: dict[str, list[float]] = {title: [] for title in rows}
        for _ in range(repeats):
            for title, row in rows.items():
                self.values[title].append(row())

    def middle(self, title: str) -> float:
        """Return a row's median."""
        return statistics.median(self.values[title])

    def record(self, record: Record, prefix: str, unit: str, *, plain: str, floor: str, assumes: str) -> None:
        """Add all rows to a record: times against the row ``plain``, share of the row ``floor``."""
        for title, values in self.values.items():
            if title != floor:
                record.row(
                    f"{prefix}: {title}",
                    values,
                    unit,
                    against=None if title == plain else self.values[plain],
                    floor=self.middle(floor),
                    floor_assumes=assumes,
                )
