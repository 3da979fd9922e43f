"""Small image files for the tests of this room."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def png(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Encode uint8 (h, w) or (h, w, 3|4)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def pixels(seed: int, side: int = 8, channels: int = 3, height: int | None = None) -> np.ndarray:
    shape = (height or side, side, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def fill(root: Path, classes: tuple[str, ...] = ("birch", "elm", "oak"), n: int = 5, **options: int) -> None:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(n):
            (root / name / f"{i}.png").write_bytes(png(pixels(100 * label + i, **options)))


def image_table(
    n: int = 12, classes: int = 3, first: int = 0, image: str = "img", label: str = "label", **options: int
) -> pa.Table:
    """Return a table in the common image layout."""
    rows = [
        {"bytes": png(pixels(first + i, **options)), "path": f"c{i % classes}/{first + i}.png"}
        for i in range(n)
    ]
    return pa.table({image: rows, label: pa.array([i % classes for i in range(n)], pa.int64())})


def python2_pickle(content: object) -> bytes:
    """Pickle as Python 2 did when CIFAR's files were made: all text and bytes are its one kind of string."""

    def save(pickler: pickle._Pickler, value: bytes | str) -> None:
        value = value.encode("latin1") if isinstance(value, str) else value
        pickler.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    class Python2(pickle._Pickler):
        dispatch = {**pickle._Pickler.dispatch, bytes: save, str: save}  # noqa: RUF012

    file = io.BytesIO()
    Python2(file, protocol=2).dump(content)
    return file.getvalue()
