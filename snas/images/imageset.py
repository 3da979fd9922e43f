"""What an image set is, and how one is split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from snas import InputError, seeds
from snas.words import counted

SMALLEST_SIDE, LARGEST_SIDE = 8, 256
"""Sides that a network of three stages and one machine's memory can do with; larger images are resized."""
LARGEST_NUMBER = 5_000_000
"""More images than this are not kept in memory as pixels; it bounds what a file may announce."""


@dataclass(frozen=True)
class Options:
    """What :func:`snas.images.load` passes on to a source; the fields are explained there."""

    name: str
    path: Path | None = None
    train_images: int = 0
    base_seed: int = 0
    download: bool = False
    side: int | None = None
    channels: int | None = None
    flip: bool | None = None
    threads: int | None = None
    least: int = 0

    def __post_init__(self) -> None:
        if self.train_images < 0:
            raise InputError(
                f"image set {self.name!r}: train_images is {self.train_images}; 0 (the source's own split) "
                "or a positive number of images is expected"
            )
        if self.side is not None and not SMALLEST_SIDE <= self.side <= LARGEST_SIDE:
            raise InputError(
                f"image set {self.name!r}: side {self.side} is outside {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
            )
        if self.channels is not None and not 1 <= self.channels <= 4:
            raise InputError(
                f"image set {self.name!r}: channels is {self.channels}; 1, 2, 3 or 4 is expected"
            )
        if self.threads is not None and self.threads < 1:
            raise InputError(f"image set {self.name!r}: threads is {self.threads}; at least 1 is expected")

    def refuse(self, *names: str) -> None:
        """Raise :class:`InputError` where one of these options is set, for sources that have no use for it."""
        for name in names:
            if getattr(self, name):
                raise InputError(
                    f"image set {self.name!r} has no option {name!r} (it was set to {str(getattr(self, name))!r}); leave it out"
                )


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Square images with labels, in memory: what every stage after this room works on.

    ``train_index`` and ``test_index`` number the images in their source (its training images first, then its test
    images, or the one list that was split), so that an image can be found again and no image is in both parts.
    ``flip`` says whether a mirrored image still belongs to its class.  ``source`` says where the images come from.
    ``names`` are those of all images of the source, by index (none: they have only numbers); ``own_test`` says that the
    source itself has a test part.  Raises :class:`InputError` where something does not fit.
    """

    name: str
    # plain types: shapes are what this class checks, with sentences of its own
    train_images: Tensor  # uint8 (train, channels, side, side)
    train_labels: Tensor  # int64 (train,)
    test_images: Tensor  # uint8 (test, channels, side, side)
    test_labels: Tensor  # int64 (test,)
    classes: tuple[str, ...]
    flip: bool
    train_index: Tensor  # int64 (train,)
    test_index: Tensor  # int64 (test,)
    source: str = ""
    names: tuple[str, ...] = ()
    own_test: bool = False

    def __post_init__(self) -> None:
        where = f"image set {self.name!r}" + (f" ({self.source})" if self.source else "")
        if len(self.classes) < 2:
            raise InputError(f"{where}: {len(self.classes)} class(es); at least two are needed")
        if len(set(self.classes)) < len(self.classes):
            twice = next(c for c in self.classes if self.classes.count(c) > 1)
            raise InputError(f"{where}: two classes are named {twice!r}; each needs a name of its own")
        for part, images, labels, index in (
            ("training", self.train_images, self.train_labels, self.train_index),
            ("test", self.test_images, self.test_labels, self.test_index),
        ):
            _check_part(f"{where}: {part} images", images, labels, index, self.classes)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise InputError(
                f"{where}: training images are {_size(self.train_images)}, test images {_size(self.test_images)}; "
                "all need one size"
            )
        empty = torch.bincount(self.train_labels, minlength=len(self.classes)) == 0
        if empty.any():
            name = self.classes[int(empty.nonzero()[0])]
            raise InputError(f"{where}: class {name!r} has no training image; each class needs at least one")

    @property
    def size(self) -> dict[str, int]:
        """Channels, side and number of classes, as networks are built for them."""
        return {"channels": self.channels, "side": self.side, "classes": len(self.classes)}

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train_images.shape[1]

    @property
    def side(self) -> int:
        """Height and width of an image in pixels."""
        return self.train_images.shape[2]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels, labels and class names of both parts, in order: what a result rests on."""
        digest = hashlib.sha256("\x1f".join([*self.classes, ""]).encode())
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).data)
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """Return what results of trainings hang on, as :func:`snas.training.recipes.facts` takes it."""
        return {
            "images": self.name,
            "image_digest": self.digest,
            "train_images": len(self.train_labels),
            "classes": len(self.classes),
        }

    def provenance(self) -> dict[str, object]:
        """Return what a result's metadata says about its images (JSON types)."""
        return {
            "image_set": self.name,
            "image_source": self.source,
            "image_digest": self.digest,
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "channels": self.channels,
            "side": self.side,
            "classes": len(self.classes),
        }


def _size(images: Tensor) -> str:
    return "×".join(map(str, images.shape[1:]))


def _check_part(where: str, images: Tensor, labels: Tensor, index: Tensor, classes: tuple[str, ...]) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InputError(
            f"{where}: {images.dtype} of {images.ndim} axes; uint8 pixels (images, channels, side, side) needed"
        )
    if len(images) == 0:
        raise InputError(f"{where}: there are none; at least one per class is needed")
    if images.shape[2] != images.shape[3] or not 1 <= images.shape[1] <= 4:
        raise InputError(
            f"{where}: channels × height × width are {_size(images)}; square images of 1 to 4 channels needed"
        )
    if not SMALLEST_SIDE <= images.shape[2] <= LARGEST_SIDE:
        raise InputError(
            f"{where}: {images.shape[2]} pixels wide; {SMALLEST_SIDE} to {LARGEST_SIDE} are possible, others need --side (the key image_side)"
        )
    if labels.dtype != torch.int64 or labels.shape != (len(images),) or index.shape != labels.shape:
        raise InputError(
            f"{where}: {len(images)} images, {tuple(labels.shape)} labels of {labels.dtype}; one int64 each needed"
        )
    bad = ((labels < 0) | (labels >= len(classes))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{where}: label {int(labels[row])} of image {row} is out of range; 0 to {len(classes) - 1} is expected"
        )


def training_part(options: Options, images: int, classes: int) -> int:
    """Return how many of the ``images`` of a source without a test part are for training: the asked number, or 4 of 5."""
    return options.train_images or images - max(round(images / 5), classes)


def divide(
    options: Options,
    images: UInt8[Tensor, "all channels side side"],
    labels: Int64[Tensor, " all"],
    classes: tuple[str, ...],
    *,
    train_images: int,
    flip: bool,
    source: str,
    names: tuple[str, ...] = (),
) -> ImageSet:
    """Split one list of images into ``train_images`` to train on and the rest to test on, in proportion to classes."""
    where = f"image set {options.name!r}" + (f" ({source})" if source else "")
    check_least(where, labels, classes, options.least)
    train, test = stratified(
        labels, len(classes), train_images, options.base_seed, where=where, names=classes
    )
    return ImageSet(
        name=options.name,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=classes,
        flip=flip if options.flip is None else options.flip,
        train_index=train,
        test_index=test,
        source=source,
        names=names,
    )


def own_split(
    options: Options,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: tuple[str, ...],
    *,
    flip: bool,
    source: str,
    names: tuple[str, ...] = (),
) -> ImageSet:
    """Keep the source's own parts, each (images, labels); ``options.train_images`` picks that many of the first."""
    images, labels = train
    index = torch.arange(len(labels))
    where = f"image set {options.name!r}" + (f" ({source})" if source else "")
    check_least(where, labels, classes, options.least)
    if options.train_images:
        index, _ = stratified(
            labels,
            len(classes),
            options.train_images,
            options.base_seed,
            where=where,
            names=classes,
            rest=False,
        )
    return ImageSet(
        name=options.name,
        train_images=images[index] if options.train_images else images,
        train_labels=labels[index],
        test_images=test[0],
        test_labels=test[1],
        classes=classes,
        flip=flip if options.flip is None else options.flip,
        train_index=index,
        test_index=len(labels) + torch.arange(len(test[1])),
        source=source,
        names=names,
        own_test=True,
    )


def check_least(
    where: str,
    labels: Int64[Tensor, " images"],
    classes: tuple[str, ...],
    least: int,
    kind: str = "",
    beside: str = "",
) -> None:
    """Raise :class:`InputError` for the first class that has fewer than ``least`` images, of a ``kind`` and ``beside`` others."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    for number, (name, count) in enumerate(zip(classes, counts, strict=True)):
        if count < least:
            gap = not count and name == str(number)  # no name was given, and no label speaks of it
            why = (
                ": labels number the classes from 0 without gaps"
                if gap
                else ", as a choice of networks by fewer would be a choice by chance"
            )
            raise InputError(
                f"{where}: class {name!r} has {counted(count, f'{kind}image')}{beside}; at least {least} are needed{why}"
            )


def stratified(
    labels: Int64[Tensor, " all"],
    classes: int,
    n: int,
    base_seed: int,
    *,
    where: str = "images",
    names: tuple[str, ...] = (),
    rest: bool = True,
) -> tuple[Int64[Tensor, " chosen"], Int64[Tensor, " others"]]:
    """Return sorted indices of ``n`` images, each class in its share, and those of all others.

    A class of m of the M images gets n·m/M of the places, rounded by largest remainder (ties: the earlier class), at
    least one, and with ``rest`` leaves at least one over.  Which images of a class is drawn from
    ``(base_seed, "split", class)``.  Raises :class:`InputError` where that is not possible.
    """
    counts = np.bincount(labels.numpy(), minlength=classes)
    least = 1 + rest
    if (counts < least).any():
        short = int(np.flatnonzero(counts < least)[0])
        raise InputError(
            f"{where}: class {names[short] if names else short!r} has {counted(int(counts[short]), 'image')}; at least {least} needed"
            + (", one to train and one to test on" if rest else "")
        )
    low, high = classes, int(counts.sum()) - (classes if rest else 0)
    if not low <= n <= high:
        raise InputError(
            f"{where}: {n} images to train on were asked for; with {int(counts.sum())} images of {classes} classes "
            f"{low} to {high} are possible"
        )
    sizes = _places(counts, n, counts - rest)
    chosen = np.concatenate(
        [
            seeds.numpy_generator(base_seed, "split", label).permutation(
                np.flatnonzero(labels.numpy() == label)
            )[:size]
            for label, size in enumerate(sizes)
        ]
    )
    mask = np.zeros(len(labels), dtype=bool)
    mask[chosen] = True
    return torch.from_numpy(np.flatnonzero(mask)), torch.from_numpy(np.flatnonzero(~mask))


def _places(counts: np.ndarray, n: int, most: np.ndarray) -> np.ndarray:
    """Share ``n`` places among classes by largest remainder, each between 1 and ``most``."""
    exact = counts * (n / counts.sum())
    places = np.clip(np.floor(exact).astype(int), 1, most)
    while places.sum() != n:
        lacking = places.sum() < n
        open_ = places < most if lacking else places > 1
        gain = np.where(open_, (exact - places) if lacking else (places - exact), -np.inf)
        places[int(gain.argmax())] += 1 if lacking else -1
    return places
