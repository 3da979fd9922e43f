"""Train, validation and test part of a user's own images: drawn once, written down, the test part kept apart.

A search trains on the training part and chooses on the validation part.  The test part is opened once, when the network
is chosen.  So the pixels lie in two files: what every job of a search reads holds no test image at all.

Exact copies (equal decoded pixels) stay in one part together, as a network that was trained on an image has no merit in
knowing its copy.  A training image whose copy lies in the source's own test part goes to the test part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snas import InputError, seeds, tables
from snas.images.imageset import ImageSet, check_least
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)
LEAST = 10
"""Distinct images that a class must have: six to train on, two to choose by, two to test on."""
MOST_VALIDATION = 5000
"""Distinct images to choose by: more would cost every network of a search time, and tell little more."""
LARGEST_SIDE = 128

_IMAGE = Column("int64", "Index of the image in its source", low=0)
_LABEL = Column("int64", "Class of the image", low=0)
SPLIT = Schema(
    name="split",
    description="Which part each image of a search on own images is in (metadata: classes, shares, seed, side, channels, "
    "how images were resized, and how many are copies of others).",
    key=("image",),
    columns={
        "image": _IMAGE,
        "label": _LABEL,
        "part": Column("string", "train, validation (everything is chosen by it) or test (opened once, at the end)"),
        "hash": Column("string", "SHA-256 of the decoded pixels; equal ones are in one part"),
        "name": Column("string", "Path of the file below the folder, or row of the table"),
    },
)  # fmt: skip
PIXELS = Schema(
    name="pixels",
    description="Decoded images of a search on own images: selection.parquet holds the training and the validation part, "
    "held_out.parquet the test part.",
    key=("image",),
    columns={
        "image": _IMAGE,
        "label": _LABEL,
        "part": Column("string", "train, validation or test"),
        "pixels": Column("binary", "Channels × side × side bytes"),
    },
)


def draw_split(images: ImageSet, *, base_seed: int, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Return the part of every image of ``images`` (all of its source) with the schema :data:`SPLIT`.

    The distinct images of each class are shared out by ``shares`` (training, validation, test), copies together; draws come
    from ``(base_seed, "own split", class)``.  A source with a test part of its own keeps it, and training and validation
    share the rest.  At most :data:`MOST_VALIDATION` distinct images are for validation.

    Raises :class:`InputError` for shares that are none, and for a class with fewer than :data:`LEAST` distinct images.
    """
    import pandas as pd

    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(
            f"shares of the images are {tuple(shares)}; three above 0 that add up to 1 are expected"
        )
    order = torch.cat([images.train_index, images.test_index]).argsort()
    labels = torch.cat([images.train_labels, images.test_labels])[order].numpy()
    tensors = (images.train_images, images.test_images)
    every = [hashlib.sha256(image).hexdigest() for t in tensors for image in np.ascontiguousarray(t.numpy())]
    hashes = np.array(every)[order.numpy()]
    group = np.unique(hashes, return_inverse=True)[1]
    given = np.zeros(len(labels), dtype=bool)
    if images.own_test:
        given[images.test_index.numpy()] = True
        given = np.isin(group, group[given])
    _check_distinct(images, labels[~given], group[~given])
    part = np.where(given, "test", "").astype(object)
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(~given):
        members.setdefault(int(group[place]), []).append(int(place))
    for label in range(len(images.classes)):
        groups = np.unique(group[(labels == label) & ~given])
        wanted = _wanted(len(groups), len(members), shares, own_test=images.own_test)
        seeds.numpy_generator(base_seed, "own split", label).shuffle(groups)
        _share_out(part, [members[int(one)] for one in groups], wanted)
    names = images.names or tuple(f"image {i}" for i in range(len(labels)))
    return pd.DataFrame(
        {"image": np.arange(len(labels)), "label": labels, "part": part, "hash": hashes, "name": list(names)}
    )


def _check_distinct(images: ImageSet, labels: np.ndarray, group: np.ndarray) -> None:
    """Refuse a class that has too few images when copies are counted once."""
    _, first = np.unique(np.stack([labels, group]), axis=1, return_index=True)
    where = f"image set {images.name!r}" + (f" ({images.source})" if images.source else "")
    beside = " beside the test part" if images.own_test else ""
    check_least(where, torch.from_numpy(labels[first]), images.classes, LEAST, "distinct ", beside)


def _wanted(count: int, total: int, shares: Sequence[float], *, own_test: bool) -> dict[str, int]:
    """Return how many of a class's ``count`` distinct images are to test and to choose by; one at least is left to train on.

    ``total`` is the number of all classes.
    """
    train, validation, test = shares
    if own_test:
        train, validation, test = train / (train + validation), validation / (train + validation), 0.0
    tests = 0 if own_test else min(max(round(test * count), 1), count - 2)
    chosen = min(validation * count, MOST_VALIDATION * count / total)
    return {"test": tests, "validation": min(max(round(chosen), 1), count - tests - 1)}


def _share_out(part: np.ndarray, groups: Sequence[Sequence[int]], wanted: Mapping[str, int]) -> None:
    """Give ``groups`` of copies to the parts in their order: testing and validation first, the rest is for training.

    A group counts once, however many copies it has.  One that would be most of such a part waits behind the others: a
    placeholder that stands a hundred times is to be trained on.  Where copies stand in several classes, all go where the
    first class sends them.
    """
    left = {name: count - sum(part[group[0]] == name for group in groups) for name, count in wanted.items()}
    few = max(wanted["validation"], 1)
    for group in sorted(groups, key=lambda group: max(len(group), few)):
        if part[group[0]]:
            continue
        chosen = next((name for name, room in left.items() if room > 0), "train")
        if chosen != "train":
            left[chosen] -= 1
        part[list(group)] = chosen


def split_facts(
    frame: pd.DataFrame, images: ImageSet, *, base_seed: int, shares: Sequence[float]
) -> dict[str, Any]:
    """Return what the metadata of a split says: images, how they were resized, shares, copies."""
    copies = frame[frame.duplicated("hash", keep=False)]
    contrary = copies.groupby("hash")["label"].nunique() > 1
    return {
        "image_set": images.name,
        "image_source": images.source,
        "class_names": list(images.classes),
        "flip": images.flip,
        "channels": images.channels,
        "side": images.side,
        "shares": list(shares),
        "own_test": images.own_test,
        "seed": base_seed,
        "copies": len(copies) - copies["hash"].nunique(),
        "contrary_copies": int(contrary.sum()),
        "digest": hashlib.sha256("".join(frame["hash"] + frame["part"]).encode()).hexdigest(),
        **{f"{name}_images": int((frame["part"] == name).sum()) for name in PARTS},
    }  # fmt: skip


def write_split(
    folder: str | Path,
    images: ImageSet,
    *,
    base_seed: int,
    shares: Sequence[float] = SHARES,
    metadata: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Draw the split and write ``split.parquet``, ``selection.parquet`` and ``held_out.parquet`` into ``folder``.

    Raises :class:`InputError` as :func:`draw_split` does, and for images larger than :data:`LARGEST_SIDE`.
    """
    import pandas as pd

    if images.side > LARGEST_SIDE:
        raise InputError(
            f"image set {images.name!r}: {images.side} pixels wide; a search takes 8 to {LARGEST_SIDE}, "
            "others need the key image_side (--side) to be resized to"
        )
    frame = draw_split(images, base_seed=base_seed, shares=shares)
    facts = {**(metadata or {}), **split_facts(frame, images, base_seed=base_seed, shares=shares)}
    order = torch.cat([images.train_index, images.test_index]).argsort().tolist()
    cut = len(images.train_images)
    pixels = [
        (images.train_images[i] if i < cut else images.test_images[i - cut]).numpy().tobytes() for i in order
    ]
    every = pd.DataFrame({**{c: frame[c] for c in ("image", "label", "part")}, "pixels": pixels})
    held = every["part"] == "test"
    folder = Path(folder)
    tables.write(folder / "held_out.parquet", every[held], PIXELS, facts)
    tables.write(folder / "selection.parquet", every[~held], PIXELS, facts)
    tables.write(folder / "split.parquet", frame, SPLIT, facts)
    return frame


def copies_in_words(frame: pd.DataFrame, classes: Sequence[str], most: int = 3) -> list[str]:
    """Return sentences about exact copies among the images; none where there are none."""
    copies = frame[frame.duplicated("hash", keep=False)]
    if not len(copies):
        return []
    groups = [group for _, group in copies.groupby("hash", sort=False)]
    more = len(copies) - len(groups)
    what = "1 image is an exact copy" if more == 1 else f"{more:,} images are exact copies"
    of = "another" if len(groups) == 1 else f"{len(groups):,} others"
    said = [f"{what} of {of}; copies stand in one part, so that none is trained on and tested on"]
    contrary = [group for group in groups if group["label"].nunique() > 1]
    for group in contrary[:most]:
        shown = " and ".join(
            f"{n} ({classes[k]})" for n, k in zip(group["name"], group["label"], strict=True)
        )
        said.append(f"equal images with different labels: {shown}")
    if len(contrary) > most:
        said.append(f"... and {len(contrary) - most} more of these")
    return said


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a split whose files lie beside ``split.parquet``; pixels are read when they are asked for.

    Attributes:
        path: of the split.
        facts: its metadata (:func:`split_facts`).
    """

    path: Path
    facts: Mapping[str, Any]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The split itself, with the schema :data:`SPLIT`."""
        return tables.read(self.path, SPLIT)

    def selection(self) -> ImageSet:
        """Return the training images against the validation images as its test part: all that a search sees."""
        return read_selection(self.path.with_name("selection.parquet"))

    def final(self) -> ImageSet:
        """Return training and validation images against the test images, for the network that was chosen."""
        chosen, held = (
            _pixels(self.path.with_name(f"{name}.parquet"), self.facts["digest"])
            for name in ("selection", "held_out")
        )
        return _image_set(self.facts, chosen, held)


def load_parts(split: str | Path) -> Parts:
    """Return the parts of a split; raises :class:`InputError` where the file is missing, damaged or foreign."""
    split = Path(split)
    tables.read(split, SPLIT)
    return Parts(split, tables.metadata(split))


def read_selection(path: str | Path) -> ImageSet:
    """Return the images of a ``selection.parquet``: the training part, against the validation part as its test part."""
    frame = _pixels(path)
    parts = (frame[frame["part"] == "train"], frame[frame["part"] == "validation"])
    if len(parts[0]) + len(parts[1]) < len(frame):
        raise InputError(
            f"{path}: holds images of other parts than train and validation; it is not a selection"
        )
    return _image_set(tables.metadata(path), *parts)


def _pixels(path: str | Path, digest: str | None = None) -> pd.DataFrame:
    return tables.read(path, PIXELS, expect=None if digest is None else {"digest": digest})


def _image_set(facts: Mapping[str, Any], train: pd.DataFrame, test: pd.DataFrame) -> ImageSet:
    shape = (-1, int(facts["channels"]), int(facts["side"]), int(facts["side"]))

    def tensor(frame: pd.DataFrame) -> torch.Tensor:
        return torch.from_numpy(
            np.frombuffer(bytearray(b"".join(frame["pixels"])), dtype=np.uint8).reshape(shape)
        )

    def numbers(values: pd.Series) -> torch.Tensor:
        return torch.from_numpy(values.to_numpy(copy=True))

    return ImageSet(
        name=facts["image_set"],
        train_images=tensor(train),
        train_labels=numbers(train["label"]),
        test_images=tensor(test),
        test_labels=numbers(test["label"]),
        classes=tuple(facts["class_names"]),
        flip=bool(facts["flip"]),
        train_index=numbers(train["image"]),
        test_index=numbers(test["image"]),
        source=facts["image_source"],
    )
