"""What is done to training images, as a recipe names it; :mod:`snas.images.augment` does it.

Apart from it, so that a recipe can be read without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from snas import InputError

REFERENCE_SIDE = 32
"""The side that the paper's pixels are counted on (CIFAR-10)."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images; the defaults are the paper's.

    ``flip``: mirror left to right.  ``crop``: largest crop in px of a 32 px image, 0 for none.  ``shift``: lowest and
    highest shift in px of a 32 px image, (0, 0) for none.  ``mixup``: both parameters of the Beta distribution of λ,
    0 for none.  ``p``: probability of each of the four, for each image.
    """

    flip: bool = True
    crop: int = 2
    shift: tuple[float, float] = (-2.0, 3.0)
    mixup: float = 1.5
    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.crop < REFERENCE_SIDE // 2:
            raise InputError(
                f"augmentation: crop is {self.crop}; 0 to {REFERENCE_SIDE // 2 - 1} px of 32 expected"
            )
        if not -REFERENCE_SIDE < self.shift[0] <= self.shift[1] < REFERENCE_SIDE:
            raise InputError(
                f"augmentation: shift is {self.shift}; lowest and highest, within ±31 px of 32, expected"
            )
        if self.mixup < 0:
            raise InputError(
                f"augmentation: mixup is {self.mixup}; 0 (none) or a positive Beta parameter expected"
            )
        if not 0 <= self.p <= 1:
            raise InputError(f"augmentation: p is {self.p}; a probability from 0 to 1 is expected")

    def allowing(self, *, flip: bool) -> Augmentation:
        """Return the same without the flip where the image set does not allow it (``ImageSet.flip``)."""
        return self if flip else replace(self, flip=False)


NO_AUGMENTATION = Augmentation(flip=False, crop=0, shift=(0.0, 0.0), mixup=0.0)
