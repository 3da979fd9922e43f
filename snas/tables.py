"""Parquet files with a declared schema: written under a temporary name and renamed, checked when read.

A :class:`Schema` names each column with its type, its meaning and its range; it is the documentation of the file
(``docs/tables.md`` is made from the schemas) and what a foreign, truncated or outdated file is refused by.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

METADATA_KEY = b"snas"
MAX_VALUES = 50_000_000
"""Values that one column of a file may announce: far more than any table of the product, and still some 400 MB."""
MAX_TEXT = 2**30
"""Bytes that the texts of a column may take; a few kilobytes of a file can unpack to any number of them."""


@dataclass(frozen=True)
class Column:
    """One column: ``type`` is an Arrow type name (``int32``, ``float64``, ``string``, ``list<int32>``, ...).

    ``low`` and ``high`` bound every finite value; ``null`` allows missing values and NaN.
    """

    type: str
    description: str
    null: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Schema:
    """What a Parquet file of the product holds.  ``key`` columns together are unique."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...] = ()
    description: str = ""
    extra: bool = field(default=False)
    """Further columns are kept when true (a table that users extend), refused when false."""


def arrow_type(name: str) -> Any:
    """Return the Arrow type for a :class:`Column` type name.

    >>> str(arrow_type("list<int32>"))
    'list<item: int32>'
    """
    import pyarrow as pa

    if name.startswith("list<") and name.endswith(">"):
        return pa.list_(arrow_type(name[5:-1]))
    return {"string": pa.string, "bool": pa.bool_}.get(name, lambda: pa.type_for_alias(name))()


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` when the block ends well, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; results are as readable as any other
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(
    path: str | Path, frame: pd.DataFrame, schema: Schema, metadata: Mapping[str, Any] | None = None
) -> None:
    """Check ``frame`` against ``schema`` and write it to ``path`` with ``metadata`` (JSON) in the Parquet footer.

    Raises :class:`InputError` where a column is missing, a value is out of range or a key occurs twice.
    """
    write_parts(path, [frame], schema, metadata)


def write_parts(
    path: str | Path,
    parts: Iterable[pd.DataFrame],
    schema: Schema,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a table that comes in parts (at least one): each is checked and written before the next one is asked for.

    Raises :class:`InputError` as :func:`write` does; row numbers in its sentences count from the beginning of the table.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    payload = json.dumps({**(metadata or {}), "schema": schema.name}, sort_keys=True).encode()
    keys: list[pd.DataFrame] = []
    rows, writer = 0, None
    with replacing(path) as temporary:
        try:
            for part in parts:
                table = _arrow(path, part, schema).replace_schema_metadata({METADATA_KEY: payload})
                checked = _checkable(table, schema)
                _check(path, checked, schema, rows)
                keys.append(checked[list(schema.key)])
                rows += len(part)
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        if len(keys) > 1:
            _check_key(path, pd.concat(keys, ignore_index=True), schema)


def _checkable(table: pa.Table, schema: Schema) -> pd.DataFrame:
    """Return what there is to check of a table: of a list, which has no range, only whether there is one."""
    lists = {name for name, column in schema.columns.items() if column.type.startswith("list<")}
    whole = table.select([name for name in schema.columns if name not in lists]).to_pandas()
    for name in lists:
        whole[name] = table.column(name).is_valid().to_pandas().where(lambda valid: valid)
    return whole


def _arrow(path: str | Path, frame: pd.DataFrame, schema: Schema) -> pa.Table:
    """Return the schema's columns of a frame, and the others where it allows them, in their Parquet types."""
    import pyarrow as pa

    names = [
        *schema.columns,
        *([c for c in frame.columns if c not in schema.columns] if schema.extra else []),
    ]
    missing = [c for c in schema.columns if c not in frame.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]!r} of the {schema.name} table is missing")
    arrays = [
        pa.array(frame[c].tolist() if schema.columns[c].type.startswith("list<") else frame[c],
                 type=arrow_type(schema.columns[c].type), from_pandas=True)
        if c in schema.columns
        else pa.array(frame[c], from_pandas=True)
        for c in names
    ]  # fmt: skip
    return pa.table(arrays, names=names)


def read(
    path: str | Path, schema: Schema, expect: Mapping[str, Any] | None = None, *, convert: bool = False
) -> pd.DataFrame:
    """Read ``path`` and check it against ``schema``; ``expect`` are metadata values that must agree.

    ``convert``: a user's own table, whose numbers and texts may be of other widths, as pandas writes them (int64,
    large_string), where nothing is lost.

    Raises :class:`InputError` for a truncated or foreign file, a missing column, a wrong type, a value out of range,
    a duplicate key, or metadata of another recipe or code version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a {schema.name} table (Parquet)")
    try:
        with pq.ParquetFile(path) as file:
            _check_size(path, file)
            present = file.schema_arrow
            _check_columns(path, present, schema, convert=convert)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, "truncated or foreign", error) from error
    for key, value in (expect or {}).items():
        found = metadata(path).get(key)
        if found != value:
            raise InputError(
                f"{path}: made with {key} = {found!r}, expected {value!r}; delete the file and run again"
            )
    names = list(schema.columns)
    if schema.extra:
        names += [f.name for f in present if f.name not in schema.columns and _is_plain(f.type)]
    try:
        table = _read(path, names, present)
        frame = (_converted(path, table, schema) if convert else table).to_pandas()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, "damaged", error) from error
    _check(path, frame, schema)
    return frame


def _check_columns(path: Path, present: Any, schema: Schema, *, convert: bool) -> None:
    """Refuse a file that lacks a column, has one twice, or has one of another type."""
    twice = next((name for name in present.names if present.names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: column {twice!r} occurs twice; a column occurs once")
    for name, column in schema.columns.items():
        index = present.get_field_index(name)
        if index < 0:
            raise InputError(
                f"{path}: column {name!r} of the {schema.name} table is missing; it has {', '.join(present.names)}"
            )
        found, wanted = present.field(index).type, arrow_type(column.type)
        if found != wanted and not (convert and _alike(found, wanted)):
            raise InputError(f"{path}: column {name!r} has type {found}, expected {wanted}")


def _alike(found: Any, wanted: Any) -> bool:
    """Return whether values of one Arrow type may be of another without a loss: texts, whole numbers, numbers."""
    import pyarrow.types as t

    if t.is_floating(wanted):
        return t.is_floating(found) or t.is_integer(found)
    return (_is_text(found) and _is_text(wanted)) or (t.is_integer(found) and t.is_integer(wanted))


def _converted(path: Path, table: pa.Table, schema: Schema) -> pa.Table:
    """Return a table with the schema's columns in its types; raises :class:`InputError` where a value is lost by that."""
    import pyarrow as pa

    for name, column in schema.columns.items():
        index, wanted = table.schema.get_field_index(name), arrow_type(column.type)
        try:
            table = table.set_column(index, name, table.column(index).cast(wanted))
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{path}: column {name!r} does not fit {wanted}: {_first_line(error)}"
            ) from error
    return table


def _check_size(path: Path, file: Any) -> None:
    """Refuse a file that announces more than a table of the product holds, before memory is taken for it."""
    footer = file.metadata
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    for index in range(footer.num_columns):
        values = sum(group.column(index).num_values for group in groups)
        if max(values, footer.num_rows) > MAX_VALUES:
            raise InputError(
                f"{path}: announces {max(values, footer.num_rows)} values in column "
                f"{footer.schema.column(index).path!r}; at most {MAX_VALUES} belong into a table"
            )


def _is_plain(kind: Any) -> bool:
    """Return whether values of an Arrow type are of a bounded size each, or text."""
    import pyarrow as pa

    of = kind.value_type if pa.types.is_list(kind) else kind
    return pa.types.is_primitive(of) or _is_text(kind)


def _is_text(kind: Any) -> bool:
    """Return whether values of an Arrow type are texts, also where each is written once and numbered."""
    import pyarrow as pa

    of = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(of) or pa.types.is_large_string(of)


def _read(path: Path, names: Sequence[str], present: Any) -> Any:
    """Read columns of a file; texts are told apart before they are written out, as one long text may stand in every row.

    Raises :class:`InputError` where the texts of a column would take more than ``MAX_TEXT`` bytes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    texts = [name for name in names if _is_text(present.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        table = file.read(columns=list(names))
    for name in texts:
        index = table.schema.get_field_index(name)
        column = table.column(index)
        longest = [pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks]
        size = max(longest, default=0) * len(column)
        if size > MAX_TEXT:
            raise InputError(
                f"{path}: column {name!r} has {len(column)} texts of up to {max(longest)} bytes; "
                f"at most {MAX_TEXT} bytes belong into a table"
            )
        table = table.set_column(index, name, column.cast(pa.string()))
    return table


def join(
    paths: Sequence[str | Path], schema: Schema, out: str | Path, sort: Sequence[str] = ("arch",)
) -> None:
    """Join shards into one table, rows in order of ``sort``; costs are added up, peaks are the largest.

    Raises :class:`InputError` that names the file and the key where a shard was made by another recipe, seed or code
    version than the first one; shards are never mixed.
    """
    import pandas as pd

    frames, records = [], []
    for path in paths:
        frames.append(read(path, schema))
        records.append(metadata(path))
        for key in records[0].get("identity", []):
            if records[-1].get(key) != records[0].get(key):
                raise InputError(
                    f"{path}: made with {key} = {records[-1].get(key)!r}, but {paths[0]} with {records[0].get(key)!r}; "
                    "delete the outdated one and run again"
                )
    joined = pd.concat(frames, ignore_index=True).sort_values(list(sort), kind="stable", ignore_index=True)
    facts = {key: records[0].get(key) for key in ("identity", *records[0].get("identity", []))}
    sums = {
        key: round(sum(r.get(key, 0.0) for r in records), 3)
        for key in ("seconds", "cpu_seconds", "gpu_seconds")
    }
    peaks = {
        key: max(r[key] for r in records if key in r)
        for key in ("peak_memory_mb", "peak_gpu_memory_mb")
        if any(key in r for r in records)
    }
    devices = sorted({r.get("device", "") for r in records})
    versions = records[0].get("versions", {})
    write(
        out,
        joined,
        schema,
        {
            **facts,
            **sums,
            **peaks,
            "device": ", ".join(devices),
            "versions": versions,
            "shards": len(records),
        },
    )


def metadata(path: str | Path) -> dict[str, Any]:
    """Return the product's metadata of a Parquet file; empty where it has none.

    Raises :class:`InputError` where the file is not readable as Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        raw = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, "truncated or foreign", error) from error
    try:
        loaded = json.loads(raw.get(METADATA_KEY, b"{}"))
    except ValueError as error:
        raise InputError(f"{path}: its metadata {METADATA_KEY.decode()!r} is not JSON") from error
    return loaded if isinstance(loaded, dict) else {}


def _unreadable(path: str | Path, why: str, error: BaseException) -> InputError:
    """Return the refusal of a file; a run does not make again what is there, so one that it made has to go first."""
    return InputError(
        f"{path}: not a readable Parquet file ({why}): {_first_line(error)}; "
        "if a run made it, delete it and run again"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _check(path: str | Path, frame: pd.DataFrame, schema: Schema, first: int = 0) -> None:
    """Check values and keys; ``first`` is the number of the first row in sentences."""
    import numpy as np

    for name, column in schema.columns.items():
        values = frame[name]
        if not column.null:
            bad = values.isna().to_numpy()
            if bad.any():
                raise InputError(
                    f"{path}: column {name!r}, row {first + int(np.flatnonzero(bad)[0])}: no value (or NaN); one is needed"
                )
        if column.low is None and column.high is None:
            continue
        numbers = values.to_numpy(dtype=float)
        low = -np.inf if column.low is None else column.low
        high = np.inf if column.high is None else column.high
        bad = (numbers < low) | (numbers > high)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            hint = "; a fraction is expected, not percent" if (low, high) == (0, 1) else ""
            raise InputError(
                f"{path}: column {name!r}, row {first + row}: {numbers[row]:g} is outside [{low:g}, {high:g}]{hint}"
            )
    _check_key(path, frame, schema, first)


def _check_key(path: str | Path, frame: pd.DataFrame, schema: Schema, first: int = 0) -> None:
    import numpy as np

    if not schema.key:
        return
    twice = frame.duplicated(list(schema.key)).to_numpy()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        what = ", ".join(f"{k} = {frame[k].tolist()[row]!r}" for k in schema.key)
        raise InputError(f"{path}: row {first + row}: {what} occurs twice")
