"""Augmentation and mixup of whole epochs on the device (docs/definitions.md, section 2; the paper is silent).

Per image, in this order, each with probability p:

1. **flip**: mirrored left to right.
2. **crop**: l and t of {0, 1, 2} px are cut off at the left and at the top, and what is left is resized to the full
   side again.
3. **shift**: moved dx to the right and dy down, both U(−2, 3) px; zero comes in from outside.

Pixels are those of a 32 px image; at another side s they are scaled by s/32 (the same shares of the side), so a crop
at side 8 is 0, ¼ or ½ px.  Then **mixup**, per image with probability p: λ·image + (1−λ)·partner with one
λ ~ Beta(1.5, 1.5); the partner is drawn from the same images and augmented independently.

*Bilinear convention*: half-pixel centres (``align_corners=False`` in torch, the default of TensorFlow 2).  A crop of l
from side s reads output column i at l + (i + ½)(s − l)/s − ½, clamped to [l, s − 1]; a shift reads at i − dx and takes
pixels outside as zero.  Both are linear and act on rows and columns separately, so each is a matrix per image and axis
with the entries max(0, 1 − |position − column|), and doing one after the other is exactly the product of their
matrices: two interpolations, as the order above demands, in one pass over the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from snas import InputError, seeds
from snas.images.augmentation import NO_AUGMENTATION, REFERENCE_SIDE, Augmentation

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
"""About what one chunk of an epoch takes while it is augmented: what a CPU's cache holds, or enough to fill a GPU."""


@dataclass(frozen=True)
class Draws:
    """All random numbers of one epoch.  Row 0 is the drawn image, row 1 its partner; px of the images' own side.

    What is not applied is drawn all the same and then neutral here (no flip, 0 px, λ = 1), so that switching one
    transform off leaves the draws of the others alone.
    """

    image: Int64[Tensor, "2 drawn"]
    flip: Bool[Tensor, "2 drawn"]
    crop: Float[Tensor, "xy=2 2 drawn"]
    shift: Float[Tensor, "xy=2 2 drawn"]
    lam: Float[Tensor, " drawn"]


def draw(
    augmentation: Augmentation,
    images: int,
    drawn: int,
    side: int,
    generator: np.random.Generator,
    weights: Float64[np.ndarray, " images"] | None = None,
) -> Draws:
    """Return the draws for ``drawn`` of ``images`` images, with replacement; ``weights``: of the images, add up to 1."""
    a, both = augmentation, (2, drawn)
    scale = side / REFERENCE_SIDE
    if weights is None:
        image = generator.integers(images, size=both)
    else:
        image = np.searchsorted(np.cumsum(weights)[:-1], generator.random(both), side="right")
    happens = generator.random((3, *both)) < a.p
    # uniform numbers and not integers(): those take as many random bits as their range needs, here always as many
    crop = np.floor(generator.random((2, *both)) * (a.crop + 1)) * scale
    shift = generator.uniform(*a.shift, size=(2, *both)) * scale
    mixes = generator.random(drawn) < a.p
    lam = generator.beta(a.mixup or 1.0, a.mixup or 1.0, size=drawn)
    return Draws(
        image=torch.from_numpy(image),
        flip=torch.from_numpy(happens[0] & a.flip),
        crop=torch.from_numpy((crop * happens[1]).astype(np.float32)),
        shift=torch.from_numpy((shift * happens[2]).astype(np.float32)),
        lam=torch.from_numpy(np.where(mixes & (a.mixup > 0), lam, 1.0).astype(np.float32)),
    )


def resampling(
    side: int,
    crop: Float[Tensor, " batch"],
    shift: Float[Tensor, " batch"],
    flip: Bool[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch side side"]:
    """Return per image the matrix S·R·F of one axis: shift after crop-and-resize after flip (px of ``side``)."""
    out = torch.arange(side, device=crop.device, dtype=torch.float32)
    source = out.expand(len(crop), side)
    if flip is not None:
        source = torch.where(flip[:, None], side - 1 - source, source)
    left = crop[:, None]
    read = left + (out + 0.5) * ((side - left) / side) - 0.5
    resize = _tent(torch.maximum(read, left).clamp(max=side - 1), source)
    return torch.bmm(_tent(out - shift[:, None], out.expand(len(crop), side)), resize)


def _tent(
    position: Float[Tensor, "batch side"], column: Float[Tensor, "batch side"]
) -> Float[Tensor, "batch side side"]:
    """Return the bilinear weights of all columns at each position; nothing outside the image has a weight."""
    return (position[:, :, None] - column[:, None, :]).abs_().neg_().add_(1).clamp_(min=0)


def transform(
    images: UInt8[Tensor, "batch channels side side"],
    flip: Bool[Tensor, " batch"],
    crop: Float[Tensor, "xy=2 batch"],
    shift: Float[Tensor, "xy=2 batch"],
) -> Float[Tensor, "batch channels side side"]:
    """Return flipped, cropped and shifted images as float32 in [0, 1]; crop and shift as (x, y) in px."""
    count, channels, side, _ = images.shape
    across = resampling(side, crop[0], shift[0], flip)
    down = resampling(side, crop[1], shift[1])
    pixels = images.to(torch.float32).div_(255)
    rows = torch.bmm(pixels.view(count, channels * side, side), across.transpose(1, 2))
    return torch.matmul(down[:, None], rows.view(count, channels, side, side))


def class_weights(labels: Int64[Tensor, " images"]) -> Float64[np.ndarray, " images"]:
    """Return weights of the images by which every class that has images is drawn equally often; they add up to 1."""
    counts = np.bincount(labels.cpu().numpy())
    weights: np.ndarray = 1 / counts[labels.cpu().numpy()] / np.count_nonzero(counts)
    return weights


def smooth_targets(
    labels: Int64[Tensor, " batch"], classes: int, smoothing: float
) -> Float[Tensor, "batch classes"]:
    """Return 1 − ε + ε/classes at the label and ε/classes elsewhere (label smoothing as in torch and Keras)."""
    targets = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / classes)


def mix(
    own: Float[Tensor, " batch *rest"],
    partner: Float[Tensor, " mixed *rest"],
    rows: Int64[Tensor, " mixed"],
    lam: Float[Tensor, " mixed"],
) -> Float[Tensor, " batch *rest"]:
    """Return ``own`` with λ·own + (1−λ)·partner in the given rows; changes ``own`` in place."""
    weight = lam.view(-1, *[1] * (own.ndim - 1))
    return own.index_copy_(0, rows, own[rows].mul_(weight).add_(partner * (1 - weight)))


class Batches:
    """The augmented batches of a recipe: the same for every architecture, device, job and chunk size.

    An epoch is ``steps`` batches drawn with replacement, by default ``⌊images / batch⌋``; all its draws come from
    ``(base_seed, "batches/" + recipe, epoch)`` on the CPU and are moved once.  Targets are probabilities: the cross
    entropy with them is λ·CE₁ + (1−λ)·CE₂ of the two labels, each smoothed.  ``balanced``: every class is drawn equally
    often, whatever its number of images.

    Raises :class:`InputError` where there are fewer images than one batch and no ``steps`` are given.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "images channels side side"],
        labels: Int64[Tensor, " images"],
        *,
        classes: int,
        batch: int,
        recipe: str,
        base_seed: int,
        augmentation: Augmentation = NO_AUGMENTATION,
        label_smoothing: float = 0.0,
        steps: int = 0,
        balanced: bool = False,
        device: torch.device | str = "cpu",
        chunk_bytes: int | None = None,
    ) -> None:
        if not 1 <= batch <= (batch if steps else len(images)):
            raise InputError(
                f"recipe {recipe!r}: batch is {batch}; 1 to {len(images)} (the training images) is possible"
            )
        if not 0 <= label_smoothing < 1:
            raise InputError(
                f"recipe {recipe!r}: label_smoothing is {label_smoothing}; 0 to below 1 is expected"
            )
        self.device = torch.device(device)
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        self.classes, self.batch, self.recipe, self.base_seed = classes, batch, recipe, base_seed
        self.augmentation, self.label_smoothing = augmentation, label_smoothing
        self.steps = steps or len(images) // batch
        self._weights = class_weights(labels) if balanced else None
        channels, side = images.shape[1:3]
        # image and partner as bytes, floats and two passes of results, and six matrices for each of both
        per_image = 2 * 4 * (4 * channels * side**2 + 6 * side**2)
        chunk_bytes = chunk_bytes or CHUNK_BYTES.get(self.device.type, CHUNK_BYTES["cpu"])
        self._chunk_steps = max(1, chunk_bytes // (per_image * batch))

    def draws(self, epoch: int) -> Draws:
        """Return the draws of ``epoch`` (from 0), on the CPU."""
        generator = seeds.numpy_generator(self.base_seed, f"batches/{self.recipe}", epoch)
        return draw(
            self.augmentation,
            len(self.images),
            self.steps * self.batch,
            self.images.shape[2],
            generator,
            self._weights,
        )

    def epoch(
        self, epoch: int
    ) -> Iterator[tuple[Float[Tensor, "batch channels side side"], Float[Tensor, "batch classes"]]]:
        """Yield the batches of ``epoch`` (from 0): images in [0, 1] and target probabilities, float32 on the device."""
        draws = self.draws(epoch)
        for first in range(0, self.steps, self._chunk_steps):
            last = min(first + self._chunk_steps, self.steps)
            images, targets = self._chunk(draws, first * self.batch, last * self.batch)
            yield from zip(images.split(self.batch), targets.split(self.batch), strict=True)

    def _chunk(
        self, draws: Draws, start: int, stop: int
    ) -> tuple[Float[Tensor, "drawn channels side side"], Float[Tensor, "drawn classes"]]:
        """Return images ``start`` to ``stop`` of the epoch, augmented and mixed, with their targets."""
        own = slice(start, stop)
        rows = (draws.lam[own] < 1).nonzero().squeeze(1)  # on the CPU: no wait for the device

        def both(values: Tensor) -> Tensor:
            """Own values of the chunk, then those of the partners that take part."""
            return torch.cat([values[..., 0, own], values[..., 1, own][..., rows]], -1).to(
                self.device, non_blocking=True
            )

        image = both(draws.image)
        augmented = transform(self.images[image], both(draws.flip), both(draws.crop), both(draws.shift))
        targets = smooth_targets(self.labels[image], self.classes, self.label_smoothing)
        lam, rows = (t.to(self.device, non_blocking=True) for t in (draws.lam[own][rows], rows))
        count = stop - start
        return (
            mix(augmented[:count], augmented[count:], rows, lam),
            mix(targets[:count], targets[count:], rows, lam),
        )


def plain_batches(
    images: UInt8[Tensor, "images channels side side"], batch: int, device: torch.device | str = "cpu"
) -> Iterator[Float[Tensor, "batch channels side side"]]:
    """Yield all images in order as float32 in [0, 1] on the device, for evaluation; the last batch may be smaller."""
    for part in images.split(batch):
        yield part.to(device).to(torch.float32).div_(255)
