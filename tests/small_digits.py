"""The handwritten digits, so few that networks train on them in a moment."""

import dataclasses

from snas import images
from snas.images.imageset import ImageSet


def small_digits() -> ImageSet:
    """Return 96 digits to train on and 60 to test on."""
    whole = images.load("digits", train_images=96, base_seed=1)
    return dataclasses.replace(
        whole,
        test_images=whole.test_images[:60],
        test_labels=whole.test_labels[:60],
        test_index=whole.test_index[:60],
    )
