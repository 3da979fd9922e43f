"""How the architectures of a list are cut into shards."""

from __future__ import annotations

from pathlib import Path

from snas import InputError, tables
from snas.tables import Column, Schema

WANTED = Schema(
    name="wanted",
    description="A list of architectures, whatever else the file says of them.",
    key=("arch",),
    columns={"arch": Column("int32", "Index of the architecture in its space", low=0)},
)


def shard(path: str | Path, number: int, count: int) -> list[int]:
    """Return shard ``number`` of ``count`` of the column ``arch`` of a file: every ``count``-th, possibly none.

    Neighbours cost about the same, so the shards do as well.
    """
    if not 0 <= number < count:
        raise InputError(f"shard {number} of {count} is none; shards are numbered from 0")
    return [int(arch) for arch in tables.read(path, WANTED)["arch"].tolist()[number::count]]
