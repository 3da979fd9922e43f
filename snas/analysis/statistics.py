"""All tables of a bench's analysis, from its table and its search results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snas import InputError, tables
from snas.analysis.correlations import CORRELATIONS, SCATTER, correlations, scatter
from snas.analysis.differences import DIFFERENCES, paired
from snas.analysis.fewest import NEEDED, PROGRESS, fewest
from snas.analysis.inputs import read_bench, read_search
from snas.analysis.points import POINTS, aggregate
from snas.analysis.published import COMPARISON, FOLDER, compare
from snas.analysis.scores import SCORES, score_runs
from snas.analysis.timing import TIMING, timing
from snas.tables import Schema

SCHEMAS: dict[str, Schema] = {
    schema.name: schema
    for schema in (SCORES, POINTS, DIFFERENCES, SCATTER, CORRELATIONS, COMPARISON, TIMING, PROGRESS, NEEDED)
}


def analyse(
    bench_path: str | Path,
    search_paths: Sequence[str | Path],
    outputs: Mapping[str, str | Path],
    *,
    tops: Sequence[int],
    top: int | None = None,
    name: str | None = None,
    base_seed: int = 0,
    resamples: int = 10_000,
    published: str | Path = FOLDER,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the tables of one bench: ``outputs`` maps names of :data:`SCHEMAS` to Parquet files.

    ``tops`` are the values of K, ``top`` is that of the tables of fewer trainings (None: the largest that the searches have
    kept); ``name`` is the bench's name where its metadata does not say ``space`` and ``dataset``; ``metadata`` is added to
    that of every file, which names the bench, its optimum and its sources.
    """
    unknown = [key for key in outputs if key not in SCHEMAS]
    if unknown:
        raise InputError(f"unknown table {unknown[0]!r} of the analysis; known: {', '.join(SCHEMAS)}")
    bench = read_bench(bench_path, name)
    made: dict[str, pd.DataFrame] = {}
    made["scatter"] = scatter(bench)
    made["correlations"] = correlations(made["scatter"], bench)
    if search_paths:
        search = read_search(search_paths, bench)
        made["scores"] = score_runs(bench, search, tops)
        made["points"] = aggregate(made["scores"], bench)
        made["differences"] = paired(made["scores"], bench, resamples=resamples, base_seed=base_seed)
        made["comparison"] = compare(made["points"], bench, published)
        made["timing"] = timing(search, bench)
        made["progress"], made["needed"] = fewest(bench, search_paths, base_seed=base_seed, top=top)
    facts = {
        **bench.metadata(),
        "tops": sorted({int(k) for k in tops}),
        "resamples": resamples,
        **(metadata or {}),
    }
    for key, path in outputs.items():
        frame = made.get(key, pd.DataFrame(columns=list(SCHEMAS[key].columns)))
        tables.write(path, frame, SCHEMAS[key], facts)
