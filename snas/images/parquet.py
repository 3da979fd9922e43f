"""Parquet in the common image layout: a column of encoded images ``{bytes, path}`` and an integer label column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from snas import InputError
from snas.images.decode import decode_all
from snas.images.imageset import LARGEST_NUMBER, ImageSet, Options, divide, own_split, training_part

IMAGE_COLUMNS, LABEL_COLUMNS = ("img", "image"), ("label", "fine_label")
LARGEST_GROUP = 4 * 2**30
"""Bytes that the images of one row group may announce; a row group is the least that is read at a time."""
LARGEST_PIECE = 2**30
LONGEST_PATH = 4096
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a damaged file; the last, for the name of a column."""


def parquet(options: Options) -> ImageSet:
    """Return the images of a Parquet file, or of a folder with ``train*.parquet`` and ``test*.parquet`` (or in ``data/``).

    Class names come from the file's Hugging Face metadata, else from the folders in the images' paths where they
    agree with the labels, else they are the labels.  One file alone is split like a folder of images: a fifth for
    testing, chosen by the base seed in proportion to the classes.
    """
    options.refuse("download")
    if options.path is None:
        raise InputError(
            "image set 'parquet' needs a path: a Parquet file, or a folder with train and test files"
        )
    if options.path.is_file():
        part = [_File(options.path)]
        labels, classes = _labels(part, part)
        images = _images(part, options)
        return divide(
            options,
            images,
            labels,
            classes,
            train_images=training_part(options, len(labels), len(classes)),
            flip=True,
            source=str(options.path),
            names=_names(part),
        )
    train, test = ([_File(path) for path in _find(options.path, part)] for part in ("train", "test"))
    labels, classes = _labels(train, train + test)
    test_labels, _ = _labels(test, train + test, classes)
    channels = options.channels
    train_images, test_images = _images(train, options), _images(test, options)
    if channels is None and train_images.shape[1] != test_images.shape[1]:
        raise InputError(
            f"{options.path}: one of train and test is grey, the other has colours; set channels to 1 or 3"
        )
    return own_split(
        options,
        (train_images, labels),
        (test_images, test_labels),
        classes,
        flip=True,
        source=str(options.path),
        names=_names(train) + _names(test),
    )


def parquet_files(path: Path) -> list[_File]:
    """Return the file, or the train and test files of a folder; nothing is read but their footers."""
    if path.is_file():
        return [_File(path)]
    return [_File(found) for part in ("train", "test") for found in _find(path, part)]


def _find(folder: Path, part: str) -> list[Path]:
    """Return ``part.parquet`` or ``part-00000-of-00002.parquet``, … in the folder or its ``data`` folder."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such file or folder; a Parquet file, or a folder with train and test files, is expected"
        )
    for place in (folder, folder / "data"):
        found = sorted(
            path
            for path in place.glob(f"{part}*.parquet")
            if path.name[len(part)] in ".-_" and path.is_file()
        )
        if found:
            return found
    raise InputError(
        f"{folder}: no {part}.parquet (or {part}-*.parquet) in it; files for train and for test are needed"
    )


class _File:
    """One Parquet file, its columns found and their types checked; nothing is read but the footer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
                self.image = self._column(IMAGE_COLUMNS, "image")
                self.label = self._column(LABEL_COLUMNS, "label")
                self._check_types()
                self._check_sizes(file.metadata)
        except UNREADABLE as error:
            raise InputError(f"{path}: not a readable Parquet file (truncated or foreign)") from error

    def _column(self, names: tuple[str, ...], what: str) -> str:
        for name in names:
            found = len(self.schema.get_all_field_indices(name))
            if found > 1:
                raise InputError(
                    f"{self.path}: {found} columns are called {name!r}; one {what} column is expected"
                )
            if found:
                return name
        raise InputError(
            f"{self.path}: no {what} column ({' or '.join(names)}); it has {', '.join(map(repr, self.schema.names[:20]))}"
        )

    def _check_types(self) -> None:
        image, label = (self.schema.field(name).type for name in (self.image, self.label))
        self.struct = pa.types.is_struct(image)
        inner = image
        if self.struct:
            inner = image.field("bytes").type if image.get_field_index("bytes") >= 0 else pa.null()
        if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
            raise InputError(
                f"{self.path}: column {self.image!r} has type {image}; encoded images (binary, or a struct with bytes) needed"
            )
        if not pa.types.is_integer(label):
            raise InputError(
                f"{self.path}: column {self.label!r} has type {label}; an integer class number is needed"
            )
        self.paths = (
            self.struct
            and image.get_field_index("path") >= 0
            and pa.types.is_string(image.field("path").type)
        )

    def _check_sizes(self, metadata: Any) -> None:
        if not 0 < self.rows <= LARGEST_NUMBER:
            raise InputError(
                f"{self.path}: the file announces {self.rows} rows; 1 to {LARGEST_NUMBER} are possible"
            )
        # Not the sizes of its columns: pyarrow ends the process where one's description is damaged.
        sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
        for group, size in enumerate(sizes):
            if not 0 <= size <= LARGEST_GROUP:
                raise InputError(
                    f"{self.path}: row group {group} announces {size} bytes; at most {LARGEST_GROUP} are read at a time, "
                    "smaller row groups are needed"
                )
        self.largest = max([1, *sizes])
        on_disk = self.path.stat().st_size
        if 2 * sum(sizes) < on_disk:  # some writers, and a hostile one, announce too little
            self.largest = max(self.largest, on_disk)

    def batches(self, column: str, most: int = 2**16) -> Iterator[pa.Array]:
        """Yield ``column`` (dotted inside a struct) in pieces of at most so many rows.

        Fewer where a piece could take more than ``LARGEST_PIECE`` bytes: one long value may stand in every row.
        """
        rows = most if column == self.label else max(1, min(most, LARGEST_PIECE // self.largest))
        left = self.rows
        try:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20) as file:
                for batch in file.iter_batches(rows, columns=[column], use_threads=False):
                    array = batch.column(0)
                    left -= len(array)
                    if left < 0:
                        break
                    yield array.flatten()[0] if pa.types.is_struct(array.type) else array
        except UNREADABLE as error:
            raise InputError(f"{self.path}: not a readable Parquet file (damaged)") from error
        if left:
            raise InputError(
                f"{self.path}: not a readable Parquet file (damaged): column {column!r} has another number of rows than the "
                f"{self.rows} that the file announces"
            )

    def labels(self) -> np.ndarray:
        """Return all labels as int64; raises :class:`InputError` for a missing or negative one."""
        parts: list[np.ndarray] = []
        for array in self.batches(self.label):
            row = sum(len(part) for part in parts)
            if array.null_count:
                row += array.is_null().to_pylist().index(True)
                raise InputError(
                    f"{self.path}: column {self.label!r}, row {row}: no value; a class number is needed"
                )
            parts.append(array.to_numpy(zero_copy_only=False))
        labels = np.concatenate(parts)
        bad = np.flatnonzero((labels < 0) | (labels >= LARGEST_NUMBER))
        if len(bad):
            raise InputError(
                f"{self.path}: column {self.label!r}, row {bad[0]}: label {labels[bad[0]]} is out of range; "
                "classes are numbered from 0"
            )
        return labels.astype(np.int64)

    def images(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield the encoded images, each with its place for messages."""
        row = 0
        # few rows at a time: they may be photos of many megabytes
        for array in self.batches(f"{self.image}.bytes" if self.struct else self.image, most=16):
            for encoded in array.to_pylist():
                where = f"{self.path}: column {self.image!r}, row {row}"
                if encoded is None:
                    raise InputError(
                        f"{where}: no bytes; the encoded image itself is needed, not only its path"
                    )
                yield where, encoded
                row += 1

    def paths_inside(self) -> list[str]:
        """Return the path that each image says it has, '' where there is none."""
        if not self.paths:
            return [""] * self.rows
        found: list[str] = []
        for array in self.batches(f"{self.image}.path"):
            longest = pc.max(pc.binary_length(array)).as_py() or 0
            if longest > LONGEST_PATH:
                raise InputError(
                    f"{self.path}: column {self.image!r}: a path of {longest} bytes; at most {LONGEST_PATH}"
                )
            for value in array:
                try:
                    found.append(value.as_py() or "")
                except UnicodeDecodeError:
                    raise InputError(
                        f"{self.path}: column {self.image!r}, row {len(found)}: the path is not UTF-8 text; the file is damaged"
                    ) from None
        return found

    def folders(self) -> list[str]:
        """Return the last folder in the path of each image, '' where there is none."""
        parts = (path.replace("\\", "/").split("/") for path in self.paths_inside())
        return [part[-2] if len(part) > 1 else "" for part in parts]

    def names(self) -> tuple[str, ...] | None:
        """Return the class names that Hugging Face's ``datasets`` writes into the schema, if they are there."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            names = features[self.label]["names"]
        except (KeyError, TypeError, ValueError):
            return None
        return tuple(names) if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def _labels(
    files: list[_File], all_files: list[_File], classes: tuple[str, ...] | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the labels of ``files`` and the class names, which are found where they are not given."""
    parts = [file.labels() for file in files]
    classes = classes or _class_names(all_files, int(max(part.max() for part in parts)) + 1)
    for file, part in zip(files, parts, strict=True):
        bad = np.flatnonzero(part >= len(classes))
        if len(bad):
            raise InputError(
                f"{file.path}: column {file.label!r}, row {bad[0]}: label {part[bad[0]]} is out of range; "
                f"0 to {len(classes) - 1} are the classes"
            )
    return torch.from_numpy(np.concatenate(parts)), classes


def _class_names(files: list[_File], count: int) -> tuple[str, ...]:
    names = files[0].names()
    if names is not None:
        return names
    if count > sum(file.rows for file in files):
        raise InputError(
            f"{files[0].path}: column {files[0].label!r}: label {count - 1} is out of range; "
            "classes are numbered from 0 without gaps, and there are fewer images than that"
        )
    seen = {pair for file in files for pair in zip(file.labels().tolist(), file.folders(), strict=True)}
    by_label = dict(seen)
    one_to_one = len(seen) == len(by_label) == len(set(by_label.values())) and "" not in by_label.values()
    if one_to_one and set(by_label) == set(range(count)):
        return tuple(by_label[label] for label in range(count))
    return tuple(map(str, range(count)))


def _names(files: list[_File]) -> tuple[str, ...]:
    """Return of each image file, row and the path that it says it has."""
    return tuple(
        f"{file.path.name}, row {row}" + (f" ({path})" if path else "")
        for file in files
        for row, path in enumerate(file.paths_inside())
    )


def _images(files: list[_File], options: Options) -> Tensor:
    return decode_all(
        (item for file in files for item in file.images()),
        sum(file.rows for file in files),
        side=options.side,
        channels=options.channels,
        threads=options.threads,
    )
