"""The plain loop that the populations are measured against: one network, a ``DataLoader``, each image augmented by itself.

Written as one would first write it from the paper, with torchvision's functions on PIL images, eager, Adam over the
module's parameters.  It draws from the same distributions as :mod:`snas.images.augment`, not the same numbers.
"""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms.functional import to_tensor

from snas.images.augmentation import Augmentation
from snas.training.recipes import Recipe


class AugmentedImages(Dataset[tuple[Tensor, Tensor]]):
    """Images as a data set whose items are augmented and mixed when they are asked for (section 3.2)."""

    def __init__(self, images: Tensor, labels: Tensor, classes: int, recipe: Recipe) -> None:
        channels_last = images.permute(0, 2, 3, 1).numpy()
        self.images = [
            Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image) for image in channels_last
        ]
        self.targets = F.one_hot(labels, classes).float()
        self.targets = self.targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
        self.augmentation = recipe.augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.augmented(index), self.targets[index]
        if self.augmentation.mixup and random.random() < self.augmentation.p:
            other = random.randrange(len(self))
            lam = random.betavariate(self.augmentation.mixup, self.augmentation.mixup)
            image = lam * image + (1 - lam) * self.augmented(other)
            target = lam * target + (1 - lam) * self.targets[other]
        return image, target

    def augmented(self, index: int) -> Tensor:
        """Return an image after its flip, crop and shift, as float32 in [0, 1]."""
        return to_tensor(augment(self.images[index], self.augmentation))


def augment(image: Image.Image, a: Augmentation) -> Image.Image:
    """Return the image flipped, cropped and shifted, each with probability p."""
    side = image.width
    if a.flip and random.random() < a.p:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if a.crop and random.random() < a.p:
        left, top = (random.randint(0, a.crop) * side / 32 for _ in range(2))
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, side, side))
    if a.shift != (0.0, 0.0) and random.random() < a.p:
        dx, dy = (random.uniform(*a.shift) * side / 32 for _ in range(2))
        image = image.transform(
            image.size, Image.Transform.AFFINE, (1, 0, -dx, 0, 1, -dy), Image.Resampling.BILINEAR
        )
    return image


def loader(images: Tensor, labels: Tensor, classes: int, recipe: Recipe, workers: int = 0) -> DataLoader:
    """Return the batches of an epoch, drawn with replacement."""
    random.seed(0)
    data = AugmentedImages(images, labels, classes, recipe)
    draws = RandomSampler(data, replacement=True, num_samples=len(data) // recipe.batch * recipe.batch)
    return DataLoader(data, batch_size=recipe.batch, sampler=draws, num_workers=workers)


class PlainTraining:
    """One network and its optimizer."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self.module = module.train()
        self.adam = torch.optim.Adam(module.parameters(), lr=recipe.phases[0][0], eps=recipe.adam_eps)

    def step(self, images: Tensor, targets: Tensor) -> None:
        """Forward, backward, Adam."""
        self.adam.zero_grad()
        F.cross_entropy(self.module(images), targets).backward()
        self.adam.step()


def random_images(count: int, channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Return images and labels of ten classes: what they show does not change the time."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, size=(count, channels, side, side), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy(draws.integers(0, 10, size=count))
