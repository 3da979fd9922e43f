"""NAS-Bench-201 from a table, Parquet or CSV: one row for each architecture and data set.

docs/nasbench201.md lists the columns that are read; further ones are left out.

Codes are taken from ``early_losses`` (epochs 10, 30, 50 unless others are asked for: its first epochs say little) or from
``loss_<epoch>`` (epochs 1, 2, 3).
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError
from snas.spaces import accuracies, apart
from snas.tables import METADATA_KEY

if TYPE_CHECKING:
    import pandas as pd

RENAMED = {
    "arch_id": "arch",
    "arch": "cell",
    "dataset": "dataset",
    "test_accuracy_200": "accuracy",
    **{f"test_accuracy_200_{seed}": f"accuracy_{seed}" for seed in accuracies.SEEDS},
    "test_accuracy_12": "accuracy_12",
    "valid_accuracy_200": "validation",
    "valid_accuracy_12": "validation_12",
    "flops_m": "flops_m",
    "params_m": "params_m",
    "train_time_200_s": "seconds_200",
    "train_time_12_s": "seconds_12",
}
"""Column of a source → column of the imported table."""
CURVE = "early_losses"
CURVE_EPOCHS, LOSS_EPOCHS = (10, 30, 50), (1, 2, 3)
MAX_ROWS = accuracies.ARCHITECTURES * len(accuracies.DATASETS)
MAX_CURVE = 1000
MAX_BYTES = 512 << 20
CSV_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIXES = (".parquet", ".pq")


def read(source: Path, *, code_epochs: Sequence[int] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of a table and what the imported table's metadata say of it.

    The file is read by a process of its own (damaged Parquet can end Arrow's reader) and handed over as a new file.

    Raises :class:`InputError` where a needed column is missing, a value has the wrong type, the table announces more
    than the benchmark has, or codes are asked for and it has no such losses.
    """
    import pandas as pd

    epochs = None if code_epochs is None else list(code_epochs)
    with tempfile.TemporaryDirectory(prefix="snas-import-") as folder:
        rows = Path(folder) / "rows.parquet"
        request = {"source": str(source), "code_epochs": epochs, "rows": str(rows)}
        metadata = apart.ask("snas.spaces.source_table", request, str(source))
        return pd.read_parquet(rows), metadata


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Read the table of a request, leave its rows where the request says, and return the metadata."""
    frame, metadata = read_here(Path(request["source"]), request["code_epochs"])
    frame.to_parquet(request["rows"])
    return metadata


def read_here(source: Path, code_epochs: Sequence[int] | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Do the work of :func:`read` in this process."""
    _check_bytes(source)
    reader: _Parquet | _Csv = _Csv(source) if source.suffix.lower() in CSV_SUFFIXES else _Parquet(source)
    if reader.imported is not None:
        return _again(source, reader, code_epochs)
    _check_names(source, reader.names)
    epochs, curve = _epochs(source, reader.names, code_epochs)
    names = [name for name in RENAMED if name in reader.names]
    frame = _frame(source, reader.columns(names, ("dataset", "arch")), RENAMED)
    if curve and epochs:
        losses = reader.curve(epochs)
    else:
        columns = reader.columns([f"loss_{epoch}" for epoch in epochs], ())
        losses = {epoch: columns[f"loss_{epoch}"] for epoch in epochs}
    for place, epoch in enumerate(epochs, start=1):
        frame[f"code_{place}"] = _numbers(source, f"loss of epoch {epoch}", losses[epoch])
        if len(frame) and frame[f"code_{place}"].isna().all():
            raise InputError(
                f"{source}: no row has a loss of epoch {epoch} in column {CURVE if curve else f'loss_{epoch}'!r}; leave the "
                "column out where the source has no curves, or fill it"
            )
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return frame, {
        "kind": "table",
        "title": "NAS-Bench-201",
        "accuracy": "test_accuracy_200 of the source table",
        "content_sha256": digest,
        **_code_metadata(epochs, curve),
    }


def check_head(source: Path) -> None:
    """Raise :class:`InputError` where the first line of a CSV file lacks a column that is needed; nothing else is read."""
    _check_bytes(source)
    _check_names(source, _Csv(source).names)


def check_footer(source: Path, footer: bytes) -> None:
    """Raise :class:`InputError` where a Parquet footer, as bytes, cannot hold the name of a column that is needed."""
    for needed, part in (("dataset", b"dataset"), ("arch_id", b"arch"), ("test_accuracy_200", b"accuracy")):
        if part not in footer:  # of an imported table, the columns are called arch and accuracy
            raise InputError(f"{source}: column {needed!r} is missing; docs/nasbench201.md lists the columns")


def _check_bytes(source: Path) -> None:
    if source.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{source} has more than {MAX_BYTES >> 20} MiB; a table of NAS-Bench-201 has about 10"
        )


def _check_names(source: Path, names: Sequence[str]) -> None:
    for needed in ("dataset", "test_accuracy_200"):
        if needed not in names:
            raise InputError(f"{source}: column {needed!r} is missing; it has {_shown(names)}")
    if not {"arch_id", "arch"} & set(names):
        raise InputError(f"{source}: column 'arch_id' or 'arch' is needed; it has {_shown(names)}")


def _again(
    source: Path, reader: _Parquet | _Csv, asked: Sequence[int] | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table that was imported before; it has the codes that it was imported with."""
    lacking = [name for name in accuracies.ACCURACIES.columns if name not in reader.names]
    if lacking:
        raise InputError(f"{source}: column {lacking[0]!r} of an imported table is missing")
    metadata = reader.imported or {}
    has = metadata.get("code_epochs")
    if asked and list(asked) != has:
        raise InputError(
            f"{source}: codes of epochs {', '.join(map(str, asked))} are asked for, and it was imported with "
            f"{'those of ' + ', '.join(map(str, has)) if has else 'none'}; import its source again, or ask for these"
        )
    names = [name for name in accuracies.ACCURACIES.columns if name not in ("macs", "params")]
    columns = reader.columns(names, ("dataset", "cell"))
    return _frame(source, columns, {name: name for name in names}), metadata


def _epochs(source: Path, names: Sequence[str], asked: Sequence[int] | None) -> tuple[tuple[int, ...], bool]:
    """Return the epochs of the codes (none: empty) and whether they are places of ``early_losses``."""
    curve = CURVE in names
    if asked is None:
        usual = CURVE_EPOCHS if curve else LOSS_EPOCHS
        return (usual if curve or all(f"loss_{e}" in names for e in usual) else ()), curve
    lacking = [f"loss_{e}" for e in asked if f"loss_{e}" not in names]
    if lacking and not curve:
        raise InputError(
            f"{source}: codes of epochs {', '.join(map(str, asked))} are asked for, and it has neither column "
            f"{CURVE!r} nor {lacking[0]!r}; give no code epochs and another code (nasbench201_code = trained or a proxy, as synflow)"
        )
    return tuple(asked), curve and bool(lacking)


def _code_metadata(epochs: Sequence[int], curve: bool) -> dict[str, Any]:
    text = ", ".join(map(str, epochs))
    if not epochs:
        return {"code_epochs": None, "code_source": None, "code_price": None}
    if curve:  # docs/definitions.md, section 2: passes over 5,000 images against 200 epochs of 50,000
        what, price = "of a reduced training on 5,000 images of CIFAR-10", max(epochs) * 5000 / (200 * 50_000)
    else:
        what, price = "of the complete training on CIFAR-10", max(epochs) / 200
    return {
        "code_epochs": list(epochs),
        "code_source": f"recorded training losses of epochs {text} {what}",
        "code_price": price,
        "code_training_images": accuracies.TRAIN_IMAGES["cifar10"],
    }


def _frame(source: Path, columns: dict[str, Any], renamed: Mapping[str, str]) -> pd.DataFrame:
    """Return columns under the names ``renamed`` has for them, numbers as float64."""
    import pandas as pd

    data: dict[str, Any] = {}
    for name, values in columns.items():
        to = renamed[name]
        if to in ("dataset", "cell"):
            wrong = next((i for i, v in enumerate(values) if not isinstance(v, str)), None)
            if wrong is not None:
                raise InputError(f"{source}: column {name!r}, row {wrong}: text is needed")
            data[to] = np.array(values, dtype=object)
        else:
            data[to] = _numbers(source, name, values)
            if to in accuracies.FRACTIONS:
                accuracies.check_fractions(data[to], name, str(source))
    if "arch" in data:
        arch = data["arch"]
        whole = np.isfinite(arch) & (arch == np.round(arch)) & (np.abs(arch) < 1e9)
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            raise InputError(f"{source}: row {row}: the index of the architecture is a whole number")
        data["arch"] = arch.astype(np.int64)
    return pd.DataFrame(data)


def _numbers(source: Path, name: str, values: Any) -> np.ndarray:
    """Return numbers as float64, missing ones as NaN; infinite ones are refused."""
    try:
        numbers = np.array([np.nan if v is None or v == "" else float(v) for v in values], dtype=np.float64)
    except (ValueError, OverflowError):
        row, value = next((i, v) for i, v in enumerate(values) if not _is_number(v))
        raise InputError(
            f"{source}: column {name!r}, row {row}: {str(value)[:40]!r} is not a number"
        ) from None
    if np.isinf(numbers).any():
        raise InputError(
            f"{source}: column {name!r}, row {int(np.flatnonzero(np.isinf(numbers))[0])}: infinite"
        )
    return numbers


def _is_number(value: Any) -> bool:
    if value is None or value == "":
        return True
    try:
        float(value)
    except (ValueError, OverflowError):
        return False
    return True


def _too_short(source: Path, row: int, has: int, epoch: int) -> InputError:
    return InputError(f"{source}: column {CURVE!r}, row {row} has {has} epochs; epoch {epoch} is asked for")


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20]) or "none"
    return shown + (", ..." if len(names) > 20 else "")


class _Parquet:
    """Columns of a Parquet file, after what it announces has been compared with what the benchmark has."""

    def __init__(self, source: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.source = source
        try:
            self.file = pq.ParquetFile(
                source, thrift_string_size_limit=16 << 20, thrift_container_size_limit=1_000_000
            )
            self.names: list[str] = self.file.schema_arrow.names
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(
                f"{source}: not a readable Parquet file (truncated or foreign): {_first_line(error)}"
            ) from error
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{source}: column {twice[:40]!r} occurs twice; a column occurs once")
        metadata = self.file.metadata
        rows = max(
            metadata.num_rows, sum(metadata.row_group(g).num_rows for g in range(metadata.num_row_groups))
        )
        if not 0 <= rows <= MAX_ROWS:
            raise InputError(
                f"{source} announces {rows} rows; NAS-Bench-201 on three data sets has {MAX_ROWS}"
            )
        self.imported = self._metadata()

    def _metadata(self) -> dict[str, Any] | None:
        """Return the metadata of a table that was imported before, None of any other."""
        try:
            found = json.loads((self.file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
        except ValueError:
            return None
        imported = isinstance(found, dict) and found.pop("schema", None) == accuracies.ACCURACIES.name
        return found if imported else None

    def columns(self, names: Sequence[str], texts: Sequence[str]) -> dict[str, list[Any]]:
        """Return whole columns; None where a value is missing."""
        table = self._read(names, texts)
        return {name: table.column(name).to_pylist() for name in names}

    def curve(self, epochs: Sequence[int]) -> dict[int, list[Any]]:
        """Return the losses of ``epochs`` (from 1) of each row's curve; None where there is none."""
        import pyarrow.compute as pc

        curves = self._read([CURVE], ()).column(CURVE)
        lengths = np.array(pc.fill_null(pc.list_value_length(curves), MAX_CURVE))
        short = np.flatnonzero(lengths < max(epochs))
        if len(short):
            raise _too_short(self.source, int(short[0]), int(lengths[short[0]]), max(epochs))
        return {epoch: pc.list_element(curves, epoch - 1).to_pylist() for epoch in epochs}

    def _read(self, names: Sequence[str], texts: Sequence[str]) -> Any:
        import pyarrow as pa

        self._check_types(names, texts)
        self._check_sizes(names)
        try:
            table = self.file.read(columns=list(names))
            table.validate(full=True)
            return table
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise InputError(
                f"{self.source}: not a readable Parquet file (damaged): {_first_line(error)}"
            ) from error

    def _check_types(self, names: Sequence[str], texts: Sequence[str]) -> None:
        import pyarrow.types as t

        if self.file.metadata.num_rows == 0:  # whatever type its columns have
            raise InputError(f"{self.source}: no architecture in it")
        for name in names:
            kind = self.file.schema_arrow.field(name).type
            if name in texts:
                right, wanted = t.is_string(kind) or t.is_large_string(kind), "text"
                if t.is_dictionary(kind):
                    right = t.is_string(kind.value_type) or t.is_large_string(kind.value_type)
            elif name == CURVE:
                lists = t.is_list(kind) or t.is_large_list(kind)
                right, wanted = lists and t.is_floating(kind.value_type), "a list of floats"
            else:
                right, wanted = t.is_floating(kind) or t.is_integer(kind), "a number"
            if not right:
                raise InputError(
                    f"{self.source}: column {name!r} has type {str(kind)[:60]}; {wanted} is needed"
                )

    def _check_sizes(self, names: Sequence[str]) -> None:
        """Refuse columns that would unpack to far more than the benchmark has."""
        metadata = self.file.metadata
        wanted = set(names)
        size = 0
        for group in range(metadata.num_row_groups):
            for place in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(place)
                name = chunk.path_in_schema.split(".")[0]
                if name not in wanted:
                    continue
                size += chunk.total_uncompressed_size
                limit = MAX_ROWS * (MAX_CURVE if name == CURVE else 1)
                if chunk.num_values > limit or size > MAX_BYTES or chunk.total_uncompressed_size < 0:
                    raise InputError(
                        f"{self.source}: column {name!r} announces {chunk.num_values} values; at most {limit} belong here"
                    )


class _Csv:
    """Columns of a CSV (or, by its suffix, TSV) file in UTF-8, as text."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
        self.imported: dict[str, Any] | None = None
        self.names = next(self._lines(), [])
        if len(set(self.names)) != len(self.names):
            raise InputError(f"{source}: a column occurs twice in its first line")

    def columns(self, names: Sequence[str], texts: Sequence[str]) -> dict[str, list[Any]]:
        """Return whole columns as text; empty where a value is missing."""
        places = [(name, self.names.index(name)) for name in names]
        columns: dict[str, list[Any]] = {name: [] for name in names}
        lines = self._lines()
        next(lines)
        for row, line in enumerate(lines):
            if len(line) != len(self.names):
                raise InputError(
                    f"{self.source}: row {row} has {len(line)} fields, its first line {len(self.names)}"
                )
            if row >= MAX_ROWS:
                raise InputError(f"{self.source} has more than {MAX_ROWS} rows; NAS-Bench-201 has no more")
            for name, place in places:
                columns[name].append(line[place])
        return columns

    def curve(self, epochs: Sequence[int]) -> dict[int, list[Any]]:
        """Return the losses of ``epochs`` (from 1) of each row's curve; None where there is none."""
        losses: dict[int, list[Any]] = {epoch: [] for epoch in epochs}
        for row, text in enumerate(self.columns([CURVE], ())[CURVE]):
            curve = text.strip("[] ").replace(",", " ").replace(";", " ").split()
            if curve and len(curve) < max(epochs):
                raise _too_short(self.source, row, len(curve), max(epochs))
            for epoch in epochs:
                losses[epoch].append(curve[epoch - 1] if curve else None)
        return losses

    def _lines(self) -> Iterator[list[str]]:
        try:
            with self.source.open(encoding="utf-8-sig", newline="") as file:
                for line in csv.reader(file, delimiter=self.delimiter, strict=True):
                    if line:
                        yield line
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.source} is not UTF-8 text: {error.reason} at byte {error.start}"
            ) from error
        except csv.Error as error:
            raise InputError(f"{self.source} is not a readable CSV file: {str(error)[:100]}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


if __name__ == "__main__":
    apart.serve(answer)
