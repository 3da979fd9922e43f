"""Image files to pixels: many at once in threads, in bounded memory, whatever people put into folders.

Grey images stay grey unless one in the set has colours, palettes and CMYK become RGB, 16-bit grey becomes 8-bit,
transparency is laid over white, a photo is turned as its EXIF entry says.  With ``side`` the middle square is cut out
and resized by Pillow's antialiased bilinear filter (``Image.Resampling.BILINEAR``, a triangle as wide as a target
pixel); without it all images must be squares of one size.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from snas import InputError
from snas.images.imageset import LARGEST_SIDE, SMALLEST_SIDE

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Formats that are decoded; others (EPS would start Ghostscript) are refused."""
LARGEST_PIXELS = 2**26
"""Pixels of one file (67 millions, above any phone's photo) before it is taken for a decompression bomb."""
LARGEST_BYTES = 8 * 2**30
"""Bytes of all decoded images together."""
_BLOCK = 16  # images that a thread takes at a time, and that wait as bytes
_SMALL = 16 * 2**10  # bytes of an encoded image
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_T = TypeVar("_T")


def decode_all(
    items: Iterable[tuple[str, bytes | Path]],
    count: int,
    *,
    side: int | None = None,
    channels: int | None = None,
    threads: int | None = None,
) -> UInt8[Tensor, "images channels side side"]:
    """Return the ``count`` images of ``items``, pairs of a name for messages and the file or its bytes.

    Raises :class:`InputError` for the first one that is broken, too large or of another size than the first.
    """
    blocks = _blocks(items, _BLOCK)
    first = next(blocks, [])
    threads = threads or _threads(first)

    def work(block: list[tuple[str, bytes | Path]]) -> list[tuple[str, np.ndarray]]:
        return [(where, decode(file, where, side=side, channels=channels)) for where, file in block]

    stack = _Stack(count)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[tuple[str, np.ndarray]]]] = deque()
        try:
            for block in chain([first], blocks):
                waiting.append(pool.submit(work, block))
                if len(waiting) > threads:
                    stack.extend(waiting.popleft().result())
            while waiting:
                stack.extend(waiting.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return torch.from_numpy(stack.images)


def _threads(block: list[tuple[str, bytes | Path]]) -> int:
    """Return one thread for small files, whose time the interpreter takes and not the decoder, else one per core."""
    sizes = [len(file) if isinstance(file, bytes) else file.stat().st_size for _, file in block]
    return 1 if sum(sizes) < _SMALL * len(sizes) else cpu_count() or 1


def decode(file: bytes | Path, where: str, *, side: int | None, channels: int | None) -> np.ndarray:
    """Return one image as uint8 (height, width, channels); see the module for what is done to it."""
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS) as image:
            _check_size(image, where, side)
            pixels = np.asarray(_square(_convert(_upright(image), where, channels), side))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_absurd(where, "very many")) from error
    except Exception as error:  # Pillow's decoders raise whatever their parsers meet in a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "cannot identify" in reason:
            reason = f"not one of {', '.join(FORMATS)}"
        raise InputError(f"{where}: not a readable image ({reason}); replace or remove it") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _absurd(where: str, pixels: str) -> str:
    return f"{where}: the file announces {pixels} pixels; at most {LARGEST_PIXELS} are decoded"


def _check_size(image: Image.Image, where: str, side: int | None) -> None:
    """Refuse by the header alone what is too large to decode, or needs a ``side`` to resize to."""
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        raise InputError(_absurd(where, f"{width}×{height}"))
    if side is not None:
        return
    if width != height:
        raise InputError(
            f"{where}: {width}×{height} pixels; squares are needed, or --side (the key image_side) to resize to"
        )
    if not SMALLEST_SIDE <= width <= LARGEST_SIDE:
        raise InputError(
            f"{where}: {width}×{height} pixels; sides of {SMALLEST_SIDE} to {LARGEST_SIDE} are possible, "
            "or --side (the key image_side) to resize to"
        )


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # a PNG may have the entry behind its pixels, and some programs leave it in XMP or as text
    return ImageOps.exif_transpose(image) if ExifTags.Base.Orientation in image.getexif() else image


def _convert(image: Image.Image, where: str, channels: int | None) -> Image.Image:
    """Return the image in 8 bits with so many channels, or with its own 1 or 3."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((np.clip(grey, 0, 65535) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise InputError(f"{where}: 32-bit pixels, whose range is unknown; 8 or 16 bits are needed")
    channels = channels or (1 if image.mode in ("1", "L", "LA", "La") else 3)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    if image.has_transparency_data and channels in (1, 3):
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    if channels == 2 and image.mode != "LA":
        image = image.convert("RGBA")  # not every mode converts to LA directly
    return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])


def _square(image: Image.Image, side: int | None) -> Image.Image:
    if side is None:
        return image
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    # cut first: given a box, Pillow's filter would read over its edges
    middle = image.crop((left, top, left + edge, top + edge))
    return middle.resize((side, side), Image.Resampling.BILINEAR)


class _Stack:
    """Images one after the other in one array; grey ones become RGB when the first coloured one comes."""

    def __init__(self, count: int) -> None:
        self.count, self.filled = count, 0
        self.images = np.empty((0, 1, 1, 1), dtype=np.uint8)
        self.first = ""

    def extend(self, block: list[tuple[str, np.ndarray]]) -> None:
        for where, pixels in block:
            self._put(where, pixels)

    def _put(self, where: str, pixels: np.ndarray) -> None:
        height, width, channels = pixels.shape
        if self.filled == 0:
            self.first = where
            self.images = self._empty(channels, height)
        if height != self.images.shape[2]:
            side = self.images.shape[2]
            raise InputError(
                f"{where}: {width}×{height} pixels, but {side}×{side} in {self.first}; "
                "all need one size, or --side (the key image_side) to resize to"
            )
        if channels > self.images.shape[1]:
            grey, self.images = self.images, self._empty(channels, height)
            self.images[: self.filled] = grey[: self.filled]
        self.images[self.filled] = pixels.transpose(2, 0, 1)
        self.filled += 1

    def _empty(self, channels: int, side: int) -> np.ndarray:
        size = self.count * channels * side**2
        if size > LARGEST_BYTES:
            raise InputError(
                f"{self.first}: {self.count} images of {channels}×{side}×{side} take {size / 2**30:.0f} GiB; "
                f"at most {LARGEST_BYTES // 2**30} are kept in memory; a smaller side is needed"
            )
        return np.empty((self.count, channels, side, side), dtype=np.uint8)


def _blocks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
