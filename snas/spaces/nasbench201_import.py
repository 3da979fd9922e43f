"""``snas import-nasbench201``: NAS-Bench-201 from any of its public forms as one small checked Parquet file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import snas
import snas.tables
from snas import InputError
from snas.spaces import (
    accuracies,
    apart,
    source_analog,
    source_naslib,
    source_nats_bench,
    source_table,
)

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("nats_bench", "table", "naslib", "analog_nasbench")
MAX_EPOCH = 200


def import_nasbench201(
    source: str | Path,
    out: str | Path,
    *,
    kind: str | None = None,
    code_epochs: Sequence[int] | None = None,
    allow_partial: bool = False,
    overwrite: bool = True,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Write the table :data:`snas.spaces.accuracies.ACCURACIES` of ``source`` to ``out``; return its metadata.

    Args:
        source: the unpacked official folder or its tar (``NATS-tss-v1_0-3ffb9-simple``), a table (Parquet, CSV),
            NASLib's ``nb201_*_full_training.pickle`` (or a folder of them), ``analog-nasbench`` (the installed package, or
            its wheel, folder or ``data.anb``), or a table that was imported before.
        out: the Parquet file to write.  A folder of its name and ``.parts`` keeps what an interrupted import has read.
        kind: one of :data:`KINDS`; None looks at the source.
        code_epochs: three epochs (from 1) whose training losses are the code; empty for no codes; None for the source's
            usual ones (1, 2, 3; a table's ``early_losses`` 10, 30, 50; none where it records no curves).
        allow_partial: take a source that has not all 15,625 architectures.
        overwrite: False leaves a file ``out`` that is another table than this source and these epochs give.
        jobs: processes that read the official files.
        progress: called with (done, total, text) of what was not read before.

    Raises :class:`InputError` where the source is not what it should be, or ``out`` is not to be overwritten; then nothing
    is written.
    """
    source, out = _source(source), Path(out)
    if out.is_dir() or (out.exists() and source.exists() and out.samefile(source)):
        raise InputError(f"{out}: the table is written to a file of its own")
    epochs = _epochs(code_epochs)
    there = None if overwrite else _there(out)
    if there is not None and source.exists():  # known before minutes of reading
        asked = {} if epochs is None else {"code_epochs": list(epochs) or None}
        _check_same(out, there, {"source": source.resolve().name, **asked})
    kind = kind or recognise(source)
    work = out.with_name(out.name + ".parts")
    lacking = [folder for folder in out.parents if not folder.exists()]
    try:
        frame, found = _read(source, kind, work, epochs, allow_partial, jobs, progress)
        if there is not None:
            _check_same(out, there, {key: found.get(key) for key in ("code_epochs", "content_sha256")})
        table = accuracies.complete(frame, str(source), allow_partial=allow_partial)
    except InputError:
        source_nats_bench.remove_parts(work)
        _remove_empty(lacking)
        raise
    metadata = {**found, **_counts(table), "source": source.resolve().name, "snas_version": snas.__version__}
    snas.tables.write(out, table, accuracies.ACCURACIES, metadata)
    source_nats_bench.remove_parts(work)
    return metadata


def _there(out: Path) -> dict[str, Any] | None:
    """Return the metadata of the imported table at ``out``, None where nothing is; refuse any other file."""
    if not out.exists():
        return None
    try:
        found = snas.tables.metadata(out)
    except InputError:
        found = {}
    if found.get("schema") != accuracies.ACCURACIES.name:
        raise InputError(f"{out} exists and is no imported table of NAS-Bench-201; {KEEP}")
    return found


KEEP = "--out FILE leaves it as it is, --overwrite replaces it"


def _check_same(out: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to replace a table that was made from another source or with other settings than ``now``."""
    sentences = {
        "source": "made from {}, and this is {}",
        "code_epochs": "made with codes of epochs {}, and now it would be {}",
        "content_sha256": "made when its source held something else",
    }
    for key, value in now.items():
        if there.get(key) != value:
            said = sentences[key].format(_shown(there.get(key)), _shown(value))
            raise InputError(f"{out} exists, {said}; {KEEP}")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "none")


def recognise(source: Path) -> str:
    """Return the kind of a source by its name; raises :class:`InputError` where it is none."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; a source of NAS-Bench-201 is expected")
    if source.is_dir():
        if (source / source_analog.FILE).is_file():
            return "analog_nasbench"
        return "naslib" if any(source.glob(source_naslib.PATTERN)) else "nats_bench"
    if not source.is_file():
        raise InputError(f"{source} is no plain file or folder; a source of NAS-Bench-201 is expected")
    suffix = source.suffix.lower()
    if suffix in (".anb", ".whl"):
        return "analog_nasbench"
    if suffix == ".tar" or ".tar." in source.name.lower() or suffix in (".tgz", ".tbz2"):
        return "nats_bench"
    if suffix in (".pickle", ".pkl", ".p"):
        return "naslib"
    if suffix in (*source_table.PARQUET_SUFFIXES, *source_table.CSV_SUFFIXES):
        return "table"
    raise InputError(
        f"{source} is no known source of NAS-Bench-201; expected the folder or .tar of NATS-tss-v1_0-3ffb9-simple, a "
        f".parquet or .csv table, {source_naslib.PATTERN}, or {source_analog.NAME}"
    )


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, as long as nothing lies in them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _source(source: str | Path) -> Path:
    """Return the source as a path; the package's name stands for its installed data unless a file has that name."""
    if str(source) in (source_analog.NAME, "analog_nasbench") and not Path(source).exists():
        return source_analog.locate()
    return Path(source)


def _epochs(asked: Sequence[int] | None) -> tuple[int, ...] | None:
    if asked is None:
        return None
    epochs = tuple(asked)
    right = all(isinstance(e, int | np.integer) and 1 <= e <= MAX_EPOCH for e in epochs)
    if len(epochs) not in (0, 3) or not right or list(epochs) != sorted(set(epochs)):
        raise InputError(
            f"code epochs {', '.join(map(str, epochs))}: three ascending epochs from 1 to {MAX_EPOCH} are expected, or none"
        )
    return tuple(int(e) for e in epochs)


def _read(
    source: Path,
    kind: str,
    work: Path,
    epochs: tuple[int, ...] | None,
    allow_partial: bool,
    jobs: int,
    progress: Callable[[int, int, str], None] | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; a source of NAS-Bench-201 is expected")
    if kind == "nats_bench":
        return source_nats_bench.read(
            source, work, code_epochs=epochs, allow_partial=allow_partial, jobs=jobs, progress=progress
        )
    readers = {
        "table": source_table.read,
        "naslib": source_naslib.read,
        "analog_nasbench": source_analog.read,
    }
    if kind not in readers:
        raise InputError(f"unknown kind {kind!r} of source; known: {', '.join(KINDS)}")
    if source.is_dir() and kind == "table":
        raise InputError(f"{source} is a folder; a table is one Parquet or CSV file")
    return readers[kind](source, code_epochs=epochs)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Read the source of a request, check it as its import does, and return what it has of each data set."""
    source = Path(request["source"])
    epochs = _epochs(request["code_epochs"])
    frame, _ = _read(source, recognise(source), source, epochs, False, 1, None)
    return _offers(accuracies.complete(frame, str(source)))


def _offers(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return what each data set of a table has, of what a configuration may ask for (:data:`snas.spaces.heads.Offers`)."""
    seeds = [f"accuracy_{seed}" for seed in accuracies.SEEDS]
    found: dict[str, list[str]] = {}
    for dataset, rows in table.groupby("dataset", sort=False):
        has = {
            "one_seed": rows[seeds].notna().any(axis=1).all(),
            "validation": rows["validation"].notna().any(),
            "epochs_12": rows["accuracy_12"].notna().any(),
            "code": rows["code_1"].notna().any(),
        }
        found[str(dataset)] = [name for name, there in has.items() if there]
    return found


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    groups = dict(iter(table.groupby("dataset", sort=False)))
    counts = {str(name): len(group) for name, group in groups.items()}
    seeds = [f"accuracy_{seed}" for seed in accuracies.SEEDS]
    return {
        "datasets": counts,
        "complete": all(count == accuracies.ARCHITECTURES for count in counts.values()),
        "per_seed": bool(table[seeds].notna().any(axis=1).all()),
        "codes": {str(name): int(group["code_1"].notna().sum()) for name, group in groups.items()},
    }


if __name__ == "__main__":
    apart.serve(answer)
