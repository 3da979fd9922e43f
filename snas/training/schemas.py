"""The tables of trainings; apart from what trains, so that a job that joins or reads them imports no torch."""

from __future__ import annotations

from snas.tables import Column, Schema
from snas.training.recipes import CODE_EPOCHS

WHICH = {
    "arch": Column("int32", "Index of the architecture in its space", low=0),
    "cell": Column("string", "Name of the cell"),
}
HOW = {
    "status": Column("string", "ok | diverged (a loss is not finite) | out_of_memory (does not fit alone)"),
    "seconds": Column("float64", "The architecture's share of the time of its group", low=0),
}
"""The first and the last columns of both: which network, and how its training went."""
CODES = Schema(
    name="codes",
    description="Estimation codes: mean training loss of each of the first three epochs on a share of the images.",
    key=("arch",),
    columns={
        **WHICH,
        **{
            f"loss_{epoch}": Column(
                "float32",
                f"Mean training loss of epoch {epoch}; missing where status is not ok",
                null=True,
                low=0,
            )
            for epoch in range(1, CODE_EPOCHS + 1)
        },
        **HOW,
    },
)

TRUTH = Schema(
    name="truth",
    description="Test accuracy after a complete training: plain images, running BN statistics, last weights.",
    key=("arch",),
    columns={
        **WHICH,
        "accuracy": Column(
            "float64", "Share of the test images that are classified right; missing where status is not ok",
            null=True, low=0, high=1,
        ),
        "balanced": Column(
            "float64", "Balanced accuracy: mean over the classes of the share that is right; missing where status is not ok",
            null=True, low=0, high=1,
        ),
        "correct": Column("int32", "Test images that are classified right; 0 where status is not ok", low=0),
        "images": Column("int32", "Test images", low=1),
        "losses": Column("list<float32>", "Mean training loss of each epoch; not finite once diverged, empty where it did not fit"),
        **HOW,
    },
)  # fmt: skip
