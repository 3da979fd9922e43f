"""The share of the training images that estimation codes are trained on: the paper's tenth (section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from snas import InputError, seeds
from snas.tables import Column, Schema, read, write

if TYPE_CHECKING:
    from snas.images.imageset import ImageSet

TENTH = Schema(
    "tenth",
    {
        "image": Column("int64", "index into the training images of the image set", low=0),
        "label": Column("int64", "class index of the image", low=0),
    },
    key=("image",),
    description="The training images that estimation codes are trained on, drawn once per base seed.",
)


def draw_share(n: int, share: float, base_seed: int) -> Int64[Tensor, " chosen"]:
    """Return the sorted indices of ``round(share · n)`` of ``n`` images, drawn uniformly without replacement.

    The draw hangs on ``base_seed`` and ``n`` only, so it is the same for every architecture, run and job, and a
    smaller share is a part of a larger one.
    """
    if not 0 < share <= 1:
        raise InputError(f"share of the training images is {share}; above 0 and at most 1 is expected")
    size = round(share * n)
    if size < 1:
        raise InputError(
            f"a share of {share} of {n} training images holds no image; a larger share is needed"
        )
    order = seeds.numpy_generator(base_seed, "tenth", n).permutation(n)
    return torch.from_numpy(order[:size]).to(torch.int64).sort().values


def write_share(
    path: str | Path, images: ImageSet, share: float, base_seed: int, metadata: dict[str, Any] | None = None
) -> Int64[Tensor, " chosen"]:
    """Draw the share of ``images``, write it down at ``path`` (:data:`TENTH`) and return it."""
    import pandas as pd

    chosen = draw_share(len(images.train_images), share, base_seed)
    frame = pd.DataFrame({"image": chosen.numpy(), "label": images.train_labels[chosen].numpy()})
    write(
        path,
        frame,
        TENTH,
        {**images.provenance(), "share": share, "base_seed": base_seed, **(metadata or {})},
    )
    return chosen


def read_share(path: str | Path, images: ImageSet) -> Int64[Tensor, " chosen"]:
    """Return the indices written at ``path``; raises :class:`InputError` where they are not of these images."""
    frame = read(path, TENTH, expect={"image_digest": images.digest})
    chosen = torch.from_numpy(frame["image"].to_numpy(copy=True))
    if len(chosen) == 0 or int(chosen.max()) >= len(images.train_images):
        raise InputError(f"{path}: column 'image' does not fit {len(images.train_images)} training images")
    wrong = (images.train_labels[chosen] != torch.from_numpy(frame["label"].to_numpy(copy=True))).nonzero()
    if len(wrong):
        raise InputError(
            f"{path}: column 'label', row {int(wrong[0])}: not the label of that image in {images.name!r}"
        )
    return chosen
