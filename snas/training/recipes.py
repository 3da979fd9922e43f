"""How networks are trained.  A recipe has a name, and results of different recipes never stand in one file.

A shorter recipe is another recipe with its own name.  With few steps the paper's BN momentum of 0.003 would leave the
running statistics near their initial values (70 % after 120 steps), so a short recipe has a larger one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from snas import InputError, spaces
from snas.images.augmentation import Augmentation


@dataclass(frozen=True)
class Recipe:
    """``phases`` are (learning rate, epochs) in turn; Adam starts anew, without moments, in each.

    An epoch is ``⌊images / batch⌋`` batches drawn with replacement.  ``bn_momentum`` is in the sense of torch.
    ``epoch_steps`` > 0: an epoch is so many batches, however many images there are.  ``balanced``: every class is drawn
    equally often.  ``bn_batches`` > 0: the running statistics are estimated anew after training, as the mean over that many batches.
    """

    name: str
    batch: int
    phases: tuple[tuple[float, int], ...]
    augmentation: Augmentation
    label_smoothing: float = 0.01
    bn_momentum: float = 0.003
    bn_batches: int = 0
    epoch_steps: int = 0
    balanced: bool = False
    adam_eps: float = 1e-7
    """As in Keras (torch's own default is 1e-8); the paper is silent, its BN constants are Keras's."""

    def __post_init__(self) -> None:
        for what, value, good in (
            ("batch", self.batch, self.batch >= 1),
            ("phases", self.phases, self.phases and all(lr > 0 and n >= 1 for lr, n in self.phases)),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1),
            ("bn_momentum", self.bn_momentum, 0 < self.bn_momentum <= 1),
            ("bn_batches", self.bn_batches, self.bn_batches >= 0),
            ("epoch_steps", self.epoch_steps, self.epoch_steps >= 0),
        ):
            if not good:
                raise InputError(f"recipe {self.name!r}: {what} = {value} makes no sense")

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(epochs for _, epochs in self.phases)

    def steps(self, images: int) -> int:
        """Return the steps on ``images`` training images; raises :class:`InputError` where they fill no batch."""
        if self.epoch_steps:
            return self.epochs * self.epoch_steps
        if images < self.batch:
            raise InputError(
                f"recipe {self.name!r} takes batches of {self.batch} images, but there are only {images} to train on; "
                "more images, a larger code_share or another recipe would be right"
            )
        return self.epochs * (images // self.batch)

    def passes(self, images: int) -> int:
        """Return how many images go through a network in training: what a training's price is counted in."""
        return self.steps(images) * self.batch

    def metadata(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        return {"recipe": self.name, **{f"recipe_{k}": v for k, v in asdict(self).items() if k != "name"}}


CODE_EPOCHS = 3
"""Epochs of an estimation code."""
PAPER = Augmentation()
SHIFTS = Augmentation(flip=False, crop=0, mixup=0.0)
"""Small shifts alone: what 8×8 digits bear in few steps."""

PAPER_TRUTH = Recipe("paper_truth", 128, ((1e-2, 50), (1e-3, 38), (1e-4, 12)), PAPER)
"""The paper's complete training (section 3.1): 100 epochs."""
PAPER_CODE = Recipe("paper_code", 16, ((1e-3, 3),), PAPER)
"""The paper's estimation code (section 3.1): three epochs on a tenth of the images."""
DIGITS_TRUTH = Recipe("digits_truth", 32, ((1e-2, 4), (1e-3, 3), (1e-4, 1)), SHIFTS, bn_momentum=0.1)
"""Complete training of the default run: 96 steps on 400 images, the paper's three phases."""
DIGITS_CODE = Recipe("digits_code", 16, ((1e-3, 3),), SHIFTS, bn_momentum=0.1)
"""Estimation code of the default run: 18 steps on 100 images."""
SMOKE_TRUTH = Recipe("smoke_truth", 32, ((1e-2, 1), (1e-3, 1)), SHIFTS, bn_momentum=0.3)
"""Just enough to see that everything runs."""
SMOKE_CODE = Recipe("smoke_code", 16, ((1e-3, 3),), SHIFTS, bn_momentum=0.3)
"""Just enough to see that everything runs."""


PLAIN = Augmentation(mixup=0.0)
"""The paper's without mixup, which needs many epochs; the flip only where the images allow it."""
OWN_EPOCHS = 8


def own_truth(steps: int, *, balanced: bool = False) -> Recipe:
    """Return the complete training of a search on own images: ``own_<steps>``, with ``_balanced`` for weighted drawing.

    The paper's three phases in so many steps of 32 images, whatever the number of images; ``steps`` are rounded down to
    a multiple of eight.
    """
    each = steps // OWN_EPOCHS
    name = f"own_{each * OWN_EPOCHS}" + ("_balanced" if balanced else "")
    phases = ((1e-2, 4), (1e-3, 3), (1e-4, 1))
    return Recipe(name, 32, phases, PLAIN, bn_momentum=0.1, epoch_steps=each, balanced=balanced)


def own_code(steps: int, *, balanced: bool = False) -> Recipe:
    """Return the estimation code of a search on own images: ``own_code_<steps>``, three epochs of 16 images a step."""
    each = steps // 3
    name = f"own_code_{each * 3}" + ("_balanced" if balanced else "")
    return Recipe(name, 16, ((1e-3, 3),), PLAIN, bn_momentum=0.1, epoch_steps=each, balanced=balanced)


def facts(
    space: str,
    recipe: Recipe,
    *,
    images: str,
    image_digest: str,
    train_images: int,
    classes: int,
    base_seed: int,
    width: int | None,
) -> dict[str, Any]:
    """Return what says how networks were trained, for the metadata of a file: equal facts, equal results.

    ``images`` and ``image_digest`` are name and digest of the image set, ``classes`` is how many it has.
    """
    return {
        **recipe.metadata(),
        "space": space,
        "images": images,
        "image_digest": image_digest,
        "train_images": train_images,
        "classes": classes,
        "width": width or spaces.load(space).default_width,
        "seed": base_seed,
    }
