"""``python -m speed --only populations``: many networks of the default run as one program, against one at a time."""

from __future__ import annotations

import torch

from snas import spaces
from snas.training.groups import group_size
from speed.networks import DIGITS_CODE, DIGITS_TRUTH, population_rows, shard_rows
from speed.record import Record


def measure(*, quick: bool) -> Record:
    """Measure populations of growing size, and whole trainings."""
    torch.set_num_threads(1)
    space = spaces.load("tiny_nanobench")
    group = group_size(space, range(140), width=8, side=8, batch=32, device=torch.device("cpu"))
    record = Record(
        "populations",
        notes=f"Processor time of one thread; each repeat is an epoch. The default run trains groups of at most {group} networks.",
    )
    for setting in (DIGITS_TRUTH, DIGITS_CODE):
        population_rows(record, setting, (1, 100) if quick else (1, 10, 100), 1 if quick else 3)
    shard_rows(record, 1 if quick else 2, quick)
    return record
