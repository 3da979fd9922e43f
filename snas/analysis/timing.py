"""Training time of the predictor per run, codes and ground truth not counted (table 1)."""

from __future__ import annotations

import pandas as pd

from snas.analysis.inputs import Bench
from snas.tables import Column, Schema

TIMING = Schema(
    name="timing",
    description="One row per method and N: seconds that training the predictor took per run.",
    key=("bench", "method", "budget"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "space": Column("string", "Search space"),
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N", low=0),
        "runs": Column("int32", "n, runs with a measured time", low=1),
        "architectures": Column("int32", "Size of the space", low=1),
        "mean": Column("float64", "Mean seconds of a run: the block's wall time over its runs", low=0),
        "sd": Column("float64", "Standard deviation over runs", null=True, low=0),
        "median": Column("float64", "Median seconds of a run", low=0),
    },
)


def timing(search: pd.DataFrame, bench: Bench) -> pd.DataFrame:
    """Return the training times of ``search``, a table with the schema :data:`TIMING`."""
    timed = search.dropna(subset=["train_seconds"])
    frame = (
        timed.groupby(["method", "budget"])["train_seconds"]
        .agg(runs="count", mean="mean", sd="std", median="median")
        .reset_index()
    )
    frame["bench"], frame["space"], frame["architectures"] = bench.name, bench.space, len(bench.table)
    return frame[list(TIMING.columns)]
