"""The embedded image set: 1,797 handwritten digits of 8×8 pixels that come with scikit-learn.

E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998 (test part).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from snas.images.imageset import ImageSet, Options, divide

TRAIN_IMAGES = 400
"""Images to train on by default, 1,397 to test on: with 1,437 / 360 nearly all networks are nearly perfect."""


def digits(options: Options) -> ImageSet:
    """Return the digits: one channel, 8×8, ten classes; grey values 0…16 become 0…255 (rounded down)."""
    options.refuse("path", "download", "side", "channels")
    pixels, labels = _read()
    # 16 → 255, so that [0, 1] is used in full
    pixels = pixels.mul(255 / 16).to(torch.uint8).view(-1, 1, 8, 8)
    return divide(
        options,
        pixels,
        labels,
        tuple(map(str, range(10))),
        train_images=options.train_images or TRAIN_IMAGES,
        flip=False,  # a mirrored 2 is no digit
        source="scikit-learn load_digits",
    )


def _read() -> tuple[torch.Tensor, torch.Tensor]:
    """Return grey values, ``(images, 64)``, and labels, from scikit-learn's file.

    To import scikit-learn for it would take every job a second and 60 MB; a release that keeps the file elsewhere is asked.
    """
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            table = np.loadtxt(path, delimiter=",")
            return torch.from_numpy(table[:, :-1]), torch.from_numpy(table[:, -1]).to(torch.int64)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.data), torch.from_numpy(bunch.target).to(torch.int64)
