"""What a run has cost: trainings, codes and seconds per stage, added up from the metadata of its Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snas import tables
from snas.tables import Column, Schema

COSTS = Schema(
    name="costs",
    description="One row per stage, in the order of the work, and a last row with the total.",
    key=("stage",),
    columns={
        "stage": Column("string", "Name of the stage"),
        "files": Column("int32", "Files that the stage has left (shards, blocks)", low=0),
        "rows": Column("int64", "Rows in them", low=0),
        "trainings": Column("int64", "Networks trained completely", low=0),
        "codes": Column("int64", "Estimation codes trained", low=0),
        "seconds": Column("float64", "Wall seconds of all jobs, added up", low=0),
        "cpu_seconds": Column("float64", "Processor seconds of all jobs, added up", low=0),
        "gpu_seconds": Column("float64", "Wall seconds on a GPU, added up", low=0),
        "peak_memory_mb": Column("float64", "Largest resident memory of a job, MiB", null=True, low=0),
        "unmeasured": Column("int32", "Files without `seconds` in their metadata: not in the sums", low=0),
        "device": Column("string", "Devices that the jobs have named"),
    },
)

TRAININGS, CODES = "truth", "codes"
"""Schema names of the tables whose rows are complete trainings and estimation codes."""
TOTAL = "total"


def costs(stages: Mapping[str, Sequence[str | Path]]) -> pd.DataFrame:
    """Add up the files of each stage (name → shards, each file once), a table with the schema :data:`COSTS`.

    Only metadata and row counts are read.  Joined copies of shards must not be given beside them.
    """
    rows = [_stage(name, paths) for name, paths in stages.items()]
    if not rows:
        return pd.DataFrame(columns=list(COSTS.columns))
    frame = pd.DataFrame(rows)
    summed = ["files", "rows", "trainings", "codes", "seconds", "cpu_seconds", "gpu_seconds", "unmeasured"]
    devices = sorted({device for text in frame["device"] for device in text.split(", ") if device})
    total: dict[str, Any] = {name: frame[name].sum() for name in summed}
    total.update(stage=TOTAL, peak_memory_mb=frame["peak_memory_mb"].max(), device=", ".join(devices))
    return pd.concat([frame, pd.DataFrame([total])], ignore_index=True)[list(COSTS.columns)]


def _stage(name: str, paths: Sequence[str | Path]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    facts = [(tables.metadata(path), pq.read_metadata(path).num_rows) for path in paths]
    measured = [(meta, rows) for meta, rows in facts if "seconds" in meta]
    peaks = [float(meta["peak_memory_mb"]) for meta, _ in measured if meta.get("peak_memory_mb") is not None]
    return {
        "stage": name,
        "files": len(facts),
        "rows": sum(rows for _, rows in facts),
        "trainings": sum(rows for meta, rows in facts if meta.get("schema") == TRAININGS),
        "codes": sum(rows for meta, rows in facts if meta.get("schema") == CODES),
        "seconds": sum(float(meta["seconds"]) for meta, _ in measured),
        "cpu_seconds": sum(float(meta.get("cpu_seconds") or 0) for meta, _ in measured),
        "gpu_seconds": sum(float(meta.get("gpu_seconds") or 0) for meta, _ in measured),
        "peak_memory_mb": max(peaks, default=float("nan")),
        "unmeasured": len(facts) - len(measured),
        "device": ", ".join(sorted({str(meta["device"]) for meta, _ in measured if meta.get("device")})),
    }
