"""Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747) from torchvision's or Debian's files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snas import InputError
from snas.images.imageset import LARGEST_NUMBER, ImageSet, Options, own_split
from snas.images.places import DOWNLOADS, fetch, find

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""
FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_mnist(options: Options) -> ImageSet:
    """Return Fashion-MNIST: 60,000 + 10,000 grey images of 28×28, ten classes.

    The files are looked for at ``path``, else in ``data`` and where Debian's package puts them.
    """
    options.refuse("side", "channels")
    folder = find(options, "FashionMNIST/raw", FILES, (DOWNLOADS, DEBIAN), zipped=True)
    if folder is None and options.download:
        folder = fetch(options, "FashionMNIST/raw", FILES, _download)
    if folder is None:
        raise InputError(
            f"image set {options.name!r}: no {FILES[0]} … in {options.path or f'{DOWNLOADS} or {DEBIAN}'}; install "
            "Debian's package dataset-fashion-mnist, give the files' place as the path (--path, images_path), or ask for the download "
            "(images_download)"
        )
    train, test = (_part(folder, part) for part in ("train", "t10k"))
    return own_split(options, train, test, CLASSES, flip=True, source=f"Fashion-MNIST ({folder})")


def _download(root: Path) -> None:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(root), download=True)


def _part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    images = read_idx(_present(folder / f"{part}-images-idx3-ubyte"), 3)
    labels = read_idx(_present(folder / f"{part}-labels-idx1-ubyte"), 1)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels).to(torch.int64)


def _present(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Return the uint8 array of an IDX file (MNIST's format; big-endian sizes, then pixels), plain or gzip.

    Reads no more than the header announces, and refuses what announces or holds another amount.
    """
    expected = f"an IDX file of bytes with {axes} axes is expected"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * axes)
            if len(header) < 4 + 4 * axes or header[:4] != bytes((0, 0, 8, axes)):
                raise InputError(f"{path}: another format; {expected}")
            shape = struct.unpack(f">{axes}I", header[4:])
            if shape[0] > LARGEST_NUMBER or any(size > 256 for size in shape[1:]):
                raise InputError(
                    f"{path}: it announces {'×'.join(map(str, shape))}; too large for images; {expected}"
                )
            size = int(np.prod(shape, dtype=np.int64))
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: not readable ({type(error).__name__}, truncated or damaged); {expected}"
        ) from error
    if len(content) != size:
        raise InputError(
            f"{path}: it announces {size} bytes and holds {'more' if len(content) > size else len(content)}"
        )
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(shape)
