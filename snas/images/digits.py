"""The embedded image set: 1,797 handwritten digits of 8×8 pixels that come with scikit-learn.

E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998 (test part).
"""

from __future__ import annotations

import torch

from snas.images.imageset import ImageSet, Options, divide

TRAIN_IMAGES = 400
"""Images to train on by default, 1,397 to test on: with 1,437 / 360 nearly all networks are nearly perfect."""


def digits(options: Options) -> ImageSet:
    """Return the digits: one channel, 8×8, ten classes; grey values 0…16 become 0…255 (rounded down)."""
    from sklearn.datasets import load_digits

    options.refuse("path", "download", "side", "channels")
    bunch = load_digits()
    # 16 → 255, so that [0, 1] is used in full
    pixels = torch.from_numpy(bunch.images).mul(255 / 16).to(torch.uint8).unsqueeze(1)
    return divide(
        options,
        pixels,
        torch.from_numpy(bunch.target).to(torch.int64),
        tuple(map(str, bunch.target_names)),
        train_images=options.train_images or TRAIN_IMAGES,
        flip=False,  # a mirrored 2 is no digit
        source="scikit-learn load_digits",
    )
