"""How large the images of a folder or a Parquet file are, from the headers of some of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from snas.images.decode import FORMATS
from snas.images.folder import image_files
from snas.images.imageset import SMALLEST_SIDE
from snas.images.parquet import parquet_files

LOOKED_AT = 400


def image_sizes(name: str, path: Path, most: int = LOOKED_AT) -> list[tuple[int, int]]:
    """Return (width, height) of up to ``most`` images; what cannot be read is passed over (reading it all says why)."""
    found = []
    for file in islice(_files(path) if name == "folder" else _rows(path), most):
        try:
            with Image.open(file, formats=FORMATS) as image:
                found.append(image.size)
        except Exception:  # Pillow's parsers raise whatever they meet
            continue
    return found


def _files(folder: Path) -> Iterator[Path | io.BytesIO]:
    """Yield image files in turn of all folders, so that no class is left out."""
    every = [file for file in image_files(folder) if file.is_file()]
    step = max(-(-len(every) // LOOKED_AT), 1)
    yield from every[::step]


def _rows(path: Path) -> Iterator[Path | io.BytesIO]:
    """Yield images evenly spaced over all rows: they may be sorted by class."""
    files = parquet_files(path)
    step = max(-(-sum(file.rows for file in files) // LOOKED_AT), 1)
    every = (encoded for file in files for _, encoded in file.images())
    yield from (io.BytesIO(encoded) for encoded in islice(every, 0, None, step) if isinstance(encoded, bytes))


def fitting_side(sizes: Sequence[tuple[int, int]], largest: int) -> int:
    """Return the side to resize to: 0 where all are squares of one size up to ``largest``, else what they have, rounded.

    That is half of the images' shorter edges or more, a multiple of four, at least 8 and at most ``largest``.
    """
    if not sizes:
        return 0
    edges = sorted(min(size) for size in sizes)
    if len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1] and SMALLEST_SIDE <= edges[0] <= largest:
        return 0
    middle = edges[len(edges) // 2]
    return max(SMALLEST_SIDE, min(largest, middle // 4 * 4))
