"""How Tiny-NanoBench comes to its 1,120 architectures (figure 10)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from snas import tables
from snas.spaces import nanobench
from snas.tables import Column, Schema

LISTS, CELLS, WITHIN = "operation lists", "cells", "cells within the limit"

COUNTS = Schema(
    name="counts",
    description="Steps of the making of Tiny-NanoBench, by the number of op nodes.",
    key=("step", "nodes"),
    columns={
        "step": Column("string", f"{LISTS}; {CELLS} (a list and a target of its split); {WITHIN}"),
        "nodes": Column("int32", "L, number of op nodes", low=0),
        "count": Column("int64", "How many there are", low=0),
    },
)


def count() -> tuple[pd.DataFrame, dict[str, float]]:
    """Enumerate all Nano Cells; return their counts (schema :data:`COUNTS`) and the costs nearest to the limit.

    The second value has ``limit``, ``largest_within`` and ``smallest_above``, in MACs.
    """
    cells = nanobench.all_cells()
    macs, _ = nanobench.network_costs(cells)
    within = macs <= nanobench.MACS_LIMIT
    lengths = np.array([len(cell.operations) for cell in cells])
    lists = np.array([len(operations) for operations in {cell.operations for cell in cells}])
    rows = [
        {"step": step, "nodes": nodes, "count": int((values == nodes).sum())}
        for step, values in ((LISTS, lists), (CELLS, lengths), (WITHIN, lengths[within]))
        for nodes in range(nanobench.MAX_NODES + 1)
    ]
    nearest = {
        "limit": float(nanobench.MACS_LIMIT),
        "largest_within": float(macs[within].max()),
        "smallest_above": float(macs[~within].min()),
    }
    return pd.DataFrame(rows), nearest


def write_counts(path: str | Path) -> None:
    """Write the counts to ``path`` (Parquet, schema :data:`COUNTS`, the nearest costs in its metadata)."""
    frame, nearest = count()
    tables.write(path, frame, COUNTS, {"space": nanobench.TinyNanoBench.name, **nearest})
