"""Whether a source of NAS-Bench-201 can be imported, as far as that shows soon: before a workflow computes beside it.

:func:`check` looks at how it begins and ends, in milliseconds: a wrong file, a table without its columns and a download
that was cut off show there.  :func:`check_whole` reads what is read in seconds.  Nothing here imports pyarrow or pandas
into this process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from snas import InputError
from snas.spaces import (
    apart,
    archives,
    source_analog,
    source_naslib,
    source_nats_bench,
    source_table,
)
from snas.spaces.nasbench201_import import recognise

MAGIC = b"PAR1"
PICKLES = (b"\x80", b"(", b"}")
"""First bytes of a pickled dictionary, by protocol."""
STOP = b"."
LARGEST_FOOTER = 16 << 20


def check(source: Path) -> None:
    """Raise :class:`InputError` where the name, the first or the last bytes of ``source`` say that it cannot be imported."""
    kind = recognise(source)
    if kind == "analog_nasbench":
        content = source_analog.content(source)
        _check_pickle(content[:1], content[-1:], source)
    elif kind == "naslib":
        for path in source_naslib.files(source):
            _check_pickle(*_ends(path, 1), path)
    elif kind == "nats_bench" and source.is_dir():
        source_nats_bench.check_folder(source)
    elif kind == "nats_bench":
        archives.check_tar(source)
    elif source.suffix.lower() in source_table.CSV_SUFFIXES:
        source_table.check_head(source)
    else:
        _check_parquet(source)


QUICK = ("table", "analog_nasbench")
"""Kinds that are read in seconds; the others take minutes."""
Offers = Mapping[str, Sequence[str]]
"""Data set → what a source has of it, of ``one_seed``, ``validation``, ``epochs_12`` and ``code``."""


def check_whole(source: Path, code_epochs: Sequence[int] | None = None) -> Offers | None:
    """Do as :func:`check`, read all of a source of one of the :data:`QUICK` kinds, and return what it has; nothing is written.

    NASLib's files have losses and one accuracy.  None is returned of the official files, which have everything.
    """
    check(source)
    kind = recognise(source)
    if kind in QUICK:
        epochs = None if code_epochs is None else list(code_epochs)
        request = {"source": str(source), "code_epochs": epochs}
        return apart.ask("snas.spaces.nasbench201_import", request, str(source))
    if kind == "naslib":
        return {dataset: ["code"] for dataset in source_naslib.names_datasets(source)} or None
    return None


def _ends(path: Path, count: int) -> tuple[bytes, bytes]:
    """Return the first and the last ``count`` bytes of a file, fewer where it has fewer."""
    with path.open("rb") as file:
        first = file.read(count)
        file.seek(max(path.stat().st_size - count, 0))
        return first, file.read(count)


def _check_pickle(first: bytes, last: bytes, source: Path) -> None:
    if first not in PICKLES or last != STOP:
        raise InputError(f"{source}: not a pickle (truncated or foreign): it does not begin and end as one")


def _check_parquet(source: Path) -> None:
    """A Parquet file ends with its footer, in which the names of the columns stand as they are, and the footer's size."""
    first, last = _ends(source, 8)
    size = int.from_bytes(last[:4], "little")
    if first[:4] != MAGIC or last[4:] != MAGIC or not 0 < size <= source.stat().st_size - 12:
        raise InputError(
            f"{source}: not a readable Parquet file (truncated or foreign): it does not begin and end as one"
        )
    if size <= LARGEST_FOOTER:
        with source.open("rb") as file:
            file.seek(-8 - size, os.SEEK_END)
            source_table.check_footer(source, file.read(size))
