"""Small image files of every source, made for the test that asks."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
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


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Return a folder of three classes with five 8×8 RGB images each."""
    root = tmp_path / "leaves"
    fill(root)
    return root


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
        {"bytes": png(pixels(first + i, **options)), "path": f"c{i % classes}/{first + i}.png"} for i in range(n)
    ]
    return pa.table({image: rows, label: pa.array([i % classes for i in range(n)], pa.int64())})


@pytest.fixture
def image_parquet(tmp_path: Path) -> Path:
    """Return a folder with train.parquet (12 images) and test.parquet (6)."""
    root = tmp_path / "images"
    root.mkdir()
    pq.write_table(image_table(), root / "train.parquet")
    pq.write_table(image_table(6, first=50), root / "test.parquet")
    return root


@pytest.fixture
def cifar_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a maker of small files in the layout of CIFAR, whose MD5 sums torchvision is told to be the right ones."""
    from torchvision import datasets

    def make(name: str = "CIFAR10", payload: object = None) -> Path:
        kind = getattr(datasets, name)
        folder = tmp_path / kind.base_folder
        folder.mkdir()
        label_key = b"labels" if name == "CIFAR10" else b"fine_labels"

        def write(file: str, content: object) -> str:
            raw = python2_pickle(content)
            (folder / file).write_bytes(raw)
            return hashlib.md5(raw, usedforsecurity=False).hexdigest()

        for part in ("train_list", "test_list"):
            lists = []
            for k, (file, _) in enumerate(getattr(kind, part)):
                data = np.random.default_rng(k).integers(256, size=(20, 3072), dtype=np.uint8)
                entry = {b"data": data, label_key: [i % 10 for i in range(20)]}
                lists.append([file, write(file, payload or entry)])
            monkeypatch.setattr(kind, part, lists)
        meta = {**kind.meta}
        meta["md5"] = write(meta["filename"], {meta["key"].encode(): [f"class {i}".encode() for i in range(10)]})
        monkeypatch.setattr(kind, "meta", meta)
        return tmp_path

    return make
