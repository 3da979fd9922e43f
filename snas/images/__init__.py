"""Image sets, the tenth that estimation codes are trained on, augmentation and mixup on whole batches.

:func:`load` is the one way to images.  A new source is one module with a function ``(Options) -> ImageSet`` and one
line in :data:`REGISTRY`.  Importing this package imports neither torch nor Pillow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snas.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from snas.images.imageset import ImageSet

REGISTRY = Registry(
    "image set",
    {
        "digits": "snas.images.digits:digits",
        "cifar10": "snas.images.cifar:cifar10",
        "cifar100": "snas.images.cifar:cifar100",
        "fashion_mnist": "snas.images.fashion_mnist:fashion_mnist",
        "parquet": "snas.images.parquet:parquet",
        "folder": "snas.images.folder:folder",
    },
)
FILTER = "middle square, antialiased bilinear filter of Pillow"
"""How images of other sizes are brought to one (:mod:`snas.images.decode`)."""


def load(
    name: str,
    *,
    path: str | Path | None = None,
    train_images: int = 0,
    base_seed: int = 0,
    download: bool = False,
    side: int | None = None,
    channels: int | None = None,
    flip: bool | None = None,
    threads: int | None = None,
    least: int = 0,
) -> ImageSet:
    """Return the image set ``name`` (a key of :data:`REGISTRY`).

    ``path``: file or folder, where the source is one.  ``train_images``: 0 for the source's own split, else how many
    images to train on, chosen by ``base_seed`` in proportion to the classes; the others are the test images where the
    source has no test part of its own, and are left aside where it has one.  ``download``: fetch what is missing.
    ``side``: resize to this many pixels (sources that decode image files).  ``channels``: 1 grey, 2 grey and alpha,
    3 RGB, 4 RGBA; ``None`` keeps grey images grey and makes RGB of all else.  ``flip``: whether a mirrored image is
    still one of its class; ``None`` asks the source.  ``threads``: of the decoder, ``None`` for one per core.
    ``least``: images that each class must have.

    Raises :class:`snas.InputError` for an unknown name and for every fault of the files.
    """
    source = REGISTRY.load(name)
    from snas.images.imageset import Options

    return source(
        Options(
            name=name,
            path=None if path is None or str(path) == "" else Path(path),
            train_images=train_images,
            base_seed=base_seed,
            download=download,
            side=side or None,
            channels=channels or None,
            flip=flip,
            threads=threads,
            least=least,
        )
    )


def draw_share(n: int, share: float, base_seed: int) -> Tensor:
    """Return the sorted int64 indices of ``round(share · n)`` of ``n`` images; see :mod:`snas.images.share`."""
    from snas.images.share import draw_share as draw

    return draw(n, share, base_seed)
