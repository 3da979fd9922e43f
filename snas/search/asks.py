"""What searches on demand and trainings tell each other: lists of what a round asks for, and the answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from snas import tables
from snas.tables import Column, Schema

ASKS = Schema(
    name="asks",
    description="Architectures that a round of an on-demand search asks for, for the first time in their run.",
    key=("run", "arch"),
    columns={
        "run": Column("int32", "Number of the run", low=0),
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "predicted": Column(
            "float64",
            "Accuracy that the search expected before the training; missing where it had no opinion",
            null=True,
        ),
    },
)
ANSWERS = Schema(
    name="answers",
    description="Accuracies of trained architectures (any ground-truth table will do).",
    key=("arch",),
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "accuracy": Column(
            "float64", "True accuracy; missing where status is not ok", null=True, low=0, high=1
        ),
        "status": Column("string", "ok, diverged or out_of_memory"),
    },
)

BALANCED = replace(
    ANSWERS,
    columns={
        ("balanced" if name == "accuracy" else name): column for name, column in ANSWERS.columns.items()
    },
)
"""The same with the balanced accuracies of a ground-truth table."""


def wanted(asks: Iterable[str | Path], known: Iterable[str | Path] = ()) -> list[int]:
    """Return the architectures of ask lists that no answers know, ascending, each once, whichever runs asked."""
    asked = {int(a) for path in asks for a in tables.read(path, ASKS)["arch"]}
    return sorted(asked - {int(a) for path in known for a in tables.read(path, ANSWERS)["arch"]})
