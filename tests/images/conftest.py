"""Small image files of every source, made for the test that asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from image_files import fill, image_table, python2_pickle


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Return a folder of three classes with five 8×8 RGB images each."""
    root = tmp_path / "leaves"
    fill(root)
    return root


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

    def make(name: str = "CIFAR10") -> Path:
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
                lists.append([file, write(file, entry)])
            monkeypatch.setattr(kind, part, lists)
        meta = {**kind.meta}
        meta["md5"] = write(
            meta["filename"], {meta["key"].encode(): [f"class {i}".encode() for i in range(10)]}
        )
        monkeypatch.setattr(kind, "meta", meta)
        return tmp_path

    return make
