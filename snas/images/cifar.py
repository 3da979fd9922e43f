"""CIFAR-10 and CIFAR-100 from the files that torchvision downloads and uses (A. Krizhevsky, 2009).

The files are pickles.  They are opened only where their MD5 sums are the published ones, and then by an unpickler
that builds numpy arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snas import InputError
from snas.images.imageset import ImageSet, Options, own_split
from snas.images.places import fetch, find

SIDE = 32


def cifar10(options: Options) -> ImageSet:
    """Return CIFAR-10: 50,000 + 10,000 images of 3×32×32, ten classes; found at ``path`` or in ``data``."""
    from torchvision.datasets import CIFAR10

    return _cifar(options, CIFAR10, b"labels")


def cifar100(options: Options) -> ImageSet:
    """Return CIFAR-100: 50,000 + 10,000 images of 3×32×32, a hundred (fine) classes; found at ``path`` or in ``data``."""
    from torchvision.datasets import CIFAR100

    return _cifar(options, CIFAR100, b"fine_labels")


def _cifar(options: Options, kind: Any, label_key: bytes) -> ImageSet:
    """``kind`` is torchvision's class: it knows the file names, the MD5 sums and where to download."""
    options.refuse("side", "channels")
    files = [*kind.train_list, *kind.test_list]
    wanted = [*(name for name, _ in files), kind.meta["filename"]]
    folder = find(options, kind.base_folder, wanted, ("data",))
    if folder is None and options.download:
        folder = fetch(options, kind.base_folder, wanted, lambda root: kind(root, download=True))
    if folder is None:
        place = options.path or Path("data")
        raise InputError(
            f"image set {options.name!r}: no folder {kind.base_folder!r} with {wanted[0]} … in {place}; "
            "give its place as the path (--path, images_path), or ask for the download (images_download)"
        )
    names = _load(folder / kind.meta["filename"], kind.meta["md5"])[kind.meta["key"].encode()]
    train, test = (
        _part([_load(folder / name, md5) for name, md5 in part], label_key, folder)
        for part in (kind.train_list, kind.test_list)
    )
    return own_split(
        options,
        train,
        test,
        tuple(name.decode() for name in names),
        flip=True,
        source=f"{kind.__name__} ({folder})",
    )


def _part(entries: list[dict[bytes, Any]], label_key: bytes, folder: Path) -> tuple[Tensor, Tensor]:
    try:
        pixels = np.concatenate([entry[b"data"] for entry in entries]).reshape(-1, 3, SIDE, SIDE)
        labels = np.concatenate([entry[label_key] for entry in entries]).astype(np.int64)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{folder}: not the layout of CIFAR's files ({error}); download them again"
        ) from error
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def _load(path: Path, md5: str) -> Any:
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(
            f"{path}: not the published file (its MD5 sum is not {md5}); delete it and download it again"
        )
    return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for lists, strings, numbers and numpy arrays; every other global is refused."""

    ALLOWED = frozenset(
        (module, name)
        for base in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for module, name in ((base, "ndarray"), (base, "dtype"), (base, "_reconstruct"))
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return the global where it is one of numpy's three."""
        if (module, name) not in self.ALLOWED:
            raise InputError(f"a pickle asks for {module}.{name}; only numpy arrays are accepted")
        return super().find_class(module, name)
