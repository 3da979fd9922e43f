"""A study of few trainings: several methods on a bench and on it without its best architectures, resumable.

What ``snakemake fewest`` does in jobs; here in one process, a file per (variant of the bench, method, block of runs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from snas import tables
from snas.search.block import SEARCH, Settings, metadata, run_block
from snas.search.jobs import Entry, runs_name
from snas.search.removed import remove_best


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

    A file that is there is taken as it is: a folder belongs to one version of the code and one seed.
    """
    for count in removed:
        home = Path(folder) / f"removed_{count}"
        bench = home / "table.parquet"
        if not bench.exists():
            remove_best(bench_path, count, bench)
        for entry in entries:
            for start in range(0, runs, block):
                stop = min(start + block, runs)
                path = home / entry.stem / f"block_{runs_name(start, stop)}.parquet"
                if not path.exists():
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
                    table = run_block(bench, settings, device=device, compile=compile)
                    tables.write(path, table, SEARCH, metadata(bench, settings))
                yield path
