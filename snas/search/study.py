"""A study of few trainings: several methods on a bench and on it without its best architectures, resumable.

What ``snakemake fewest`` does in jobs; here in one process, a file per (variant of the bench, method, block of runs).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from snas import InputError, tables
from snas.registry import shortened
from snas.search.bench import BENCH, METADATA
from snas.search.bench import write as write_bench
from snas.search.block import SEARCH, Settings, metadata, run_block
from snas.search.jobs import Entry, runs_name
from snas.search.removed import without_best

COMPARED = (*METADATA, "removed", "select_price", "code_kind", *(field.name for field in fields(Settings)))
"""What the metadata say of a bench and of a search on it; the rest is who made it, and when."""


def study(
    bench_path: str | Path,
    folder: str | Path,
    entries: Sequence[Entry],
    *,
    runs: int = 100,
    block: int = 50,
    removed: Sequence[int] = (0,),
    base_seed: int = 0,
    device: str = "cpu",
    compile: bool = False,
) -> Iterator[Path]:
    """Run what is not there yet and yield every file, the searches of each variant of the bench after its table.

    A file that is there is taken as it is: a folder belongs to one version of the code.  Raises
    :class:`snas.InputError` where it was made with another bench or seed.
    """
    for count in removed:
        home = Path(folder) / f"removed_{count}"
        bench = home / "table.parquet"
        frame, facts = without_best(bench_path, count)
        if not bench.exists():
            write_bench(bench, frame, facts)
        elif not tables.read(bench, BENCH).equals(frame) or _differing(bench, facts):
            raise InputError(
                f"{bench}: made of another bench than {bench_path}; a folder that is not there yet is right, or this one removed"
            )
        for entry in entries:
            for start in range(0, runs, block):
                stop = min(start + block, runs)
                path = home / entry.stem / f"block_{runs_name(start, stop)}.parquet"
                settings = Settings(
                    entry.method,
                    entry.budget,
                    entry.top,
                    tuple(range(start, stop)),
                    base_seed=base_seed,
                    labels=entry.labels,
                    new_only=entry.top > 0,
                    options=entry.options,
                )
                facts = metadata(bench, settings)
                if not path.exists():
                    tables.write(
                        path, run_block(bench, settings, device=device, compile=compile), SEARCH, facts
                    )
                elif key := _differing(path, facts):
                    raise InputError(
                        f"{path}: made with {key} = {shortened(tables.metadata(path).get(key))}, and {shortened(facts[key])} is "
                        "asked for; a folder that is not there yet is right, or this one removed"
                    )
                yield path


def _differing(path: Path, facts: Mapping[str, Any]) -> str:
    """Return the first key by which the metadata of a file are not these facts; an empty text where there is none."""
    said, wanted = tables.metadata(path), json.loads(json.dumps(facts))
    return next((key for key in COMPARED if key in wanted and said.get(key) != wanted[key]), "")
