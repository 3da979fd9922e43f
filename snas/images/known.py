"""What is known of an image set before an image is read: what a configuration must say of it, and how many images it has.

Without torch, so that a workflow can check it while it is parsed.  An image set that is not here is checked by its source alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from snas import InputError
from snas.config import Config


@dataclass(frozen=True)
class Known:
    """What is known of an image set.

    Attributes:
        path: what ``images_path`` names, where the source has no images without it.
        folder: whether that has to be a folder.
        unused: keys of the configuration that the source has no use for.
        images: images that a training part is taken from, 0 where only the files say.
        classes: their classes.
        own_test: whether there are test images beside them, so that all may be trained on.
        default: images to train on with ``train_images`` = 0.
        side: of an image in pixels, 0 where only the files say.
    """

    path: str = ""
    folder: bool = False
    unused: tuple[str, ...] = ()
    images: int = 0
    classes: int = 0
    own_test: bool = True
    default: int = 0
    side: int = 0

    @property
    def most(self) -> int:
        """Most images to train on: where the others are the test images, every class leaves one to them."""
        return self.images if self.own_test else self.images - self.classes


RESIZING = ("image_side", "image_channels")
KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "digits": Known(
            unused=("images_path", "images_download", *RESIZING),
            images=1797,
            classes=10,
            own_test=False,
            default=400,
            side=8,
        ),
        "cifar10": Known(unused=RESIZING, images=50_000, classes=10, default=50_000, side=32),
        "cifar100": Known(unused=RESIZING, images=50_000, classes=100, default=50_000, side=32),
        "fashion_mnist": Known(unused=RESIZING, images=60_000, classes=10, default=60_000, side=28),
        "parquet": Known(
            path="a Parquet file, or a folder with train and test files", unused=("images_download",)
        ),
        "folder": Known(
            path="a folder with one folder of images per class", folder=True, unused=("images_download",)
        ),
    }
)


SUPPOSED_IMAGES, SUPPOSED_SIDE = 10_000, 32
"""What a forecast takes where only the files say."""


BENCHMARK_SIDE = 16
"""Of the smallest images in NAS-Bench-201, ImageNet16-120's."""


def expected(config: Config) -> tuple[int, int]:
    """Return how many images a run trains on and their side: as known, as asked for, or as supposed."""
    known = KNOWN.get(config.images, Known())
    images = config.train_images or known.default or SUPPOSED_IMAGES
    return images, config.image_side or known.side or SUPPOSED_SIDE


def own_files(config: Config) -> bool:
    """Return whether images lie in files of the user's own, which others may take the place of.

    What can be fetched is the same everywhere: its source holds it against what was published.
    """
    known = KNOWN.get(config.images)
    fetched = config.images_download or (known is not None and "images_download" not in known.unused)
    return bool(config.images_path) and not fetched


def check(config: Config) -> None:
    """Raise :class:`InputError` where a run reads images and what its configuration says of them cannot be so."""
    trains = config.space and config.truth != "table"
    coded = config.nasbench201 and config.nasbench201_code == "trained"
    if trains or coded:
        check_source(config)
        _check_numbers(config)
    side = expected(config)[1]
    if coded and side < BENCHMARK_SIDE:
        raise InputError(
            f"configuration: nasbench201_code = trained trains 15,625 networks on images = {config.images} of {side}×{side}; "
            f"NAS-Bench-201's accuracies are those of images of {BENCHMARK_SIDE}×{BENCHMARK_SIDE} and 32×32, so such a code needs "
            "images of that size, as images = cifar10 (config/paper.yaml)"
        )


def check_source(config: Config) -> None:
    """Raise :class:`InputError` where the image set lacks what it needs, or has no use for what is said."""
    name, known = config.images, KNOWN.get(config.images, Known())
    for key in known.unused:
        if config[key]:
            raise InputError(
                f"configuration: key {key!r} is {config[key]!r}, and images = {name} has no use for it; leave it out"
            )
    if known.path and not config.images_path:
        raise InputError(f"configuration: images = {name} needs the key 'images_path', {known.path}")
    if known.folder and not Path(config.images_path).is_dir():
        raise InputError(
            f"configuration: key 'images_path': {config.images_path} is no folder; images = {name} needs {known.path}"
        )


def _check_numbers(config: Config) -> None:
    """Raise :class:`InputError` where there are not as many training images, or none for the codes."""
    name, known, n = config.images, KNOWN.get(config.images, Known()), config.train_images
    if n and known.images and not known.classes <= n <= known.most:
        raise InputError(
            f"configuration: key 'train_images' is {n}; {name} has {known.images:,} images of {known.classes} classes to "
            f"take them from, so {known.classes} to {known.most:,} are possible, or 0 for its usual {known.default:,}"
        )
    n = n or known.default
    if n and round(config.code_share * n) < 1:
        raise InputError(
            f"configuration: key 'code_share' is {config.code_share}; of {n} training images that is none; a larger share is "
            "needed"
        )
