"""The share of the training images that estimation codes are trained on: the paper's tenth (section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError, seeds
from snas.images.labels import LABELS, OF_IMAGES
from snas.tables import Schema, metadata, read

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int64
    from torch import Tensor

    from snas.images.imageset import ImageSet

TENTH = Schema(
    "tenth",
    LABELS.columns,
    key=("image",),
    description="The training images that estimation codes are trained on, drawn once per base seed.",
)


def draw_share(n: int, share: float, base_seed: int) -> Int64[Tensor, " chosen"]:
    """Return the sorted indices of ``round(share · n)`` of ``n`` images, drawn uniformly without replacement.

    The draw hangs on ``base_seed`` and ``n`` only, so it is the same for every architecture, run and job, and a
    smaller share is a part of a larger one.
    """
    import torch

    return torch.from_numpy(_draw(n, share, base_seed))


def _draw(n: int, share: float, base_seed: int) -> np.ndarray:
    if not 0 < share <= 1:
        raise InputError(f"share of the training images is {share}; above 0 and at most 1 is expected")
    size = round(share * n)
    if size < 1:
        raise InputError(
            f"a share of {share} of {n} training images holds no image; a larger share is needed"
        )
    order = seeds.numpy_generator(base_seed, "tenth", n).permutation(n)
    return np.sort(order[:size].astype(np.int64))


def share_table(labels: str | Path, share: float, base_seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the share of the training images whose ``labels`` are written down (:data:`TENTH`), and its metadata."""
    frame, said = read(labels, LABELS), metadata(labels)
    chosen = frame.iloc[_draw(len(frame), share, base_seed)].reset_index(drop=True)
    return chosen, {**{key: said[key] for key in OF_IMAGES}, "share": share, "base_seed": base_seed}


def read_share(path: str | Path, images: ImageSet) -> Int64[Tensor, " chosen"]:
    """Return the indices written at ``path``; raises :class:`InputError` where they are not of these images."""
    import torch

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
