"""Benches with the best architectures taken away: one table has one optimum, and a search may be lucky with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snas import InputError, tables
from snas.search.bench import BENCH
from snas.search.bench import write as write_bench


def remove_best(bench_path: str | Path, count: int, out: str | Path) -> None:
    """Write the bench without its ``count`` most accurate architectures, as :func:`without_best` returns it."""
    write_bench(out, *without_best(bench_path, count))


def without_best(bench_path: str | Path, count: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the bench without its ``count`` most accurate architectures; metadata ``removed`` says how many.

    Of equal accuracies, the architecture with the smaller index goes first.  Raises :class:`InputError` where the bench
    does not have more known accuracies than that.
    """
    frame = tables.read(bench_path, BENCH)
    known = frame[frame["accuracy"].notna()]
    if not 0 <= count < len(known):
        raise InputError(
            f"{bench_path}: {count} architectures cannot be removed; it has {len(known)} with a known accuracy, and one is "
            "to be left"
        )
    best = known.iloc[np.lexsort((known["arch"], -known["accuracy"]))]["arch"].iloc[:count]
    facts = {key: value for key, value in tables.metadata(bench_path).items() if key != "schema"}
    before = int(facts.get("removed", 0))
    kept = frame[~frame["arch"].isin(best)].reset_index(drop=True)
    return kept, {**facts, "removed": before + count}
