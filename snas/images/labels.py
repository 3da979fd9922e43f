"""The labels of the training images, written down once a run: of which images all that follows is, without the images.

Jobs that need only how many images there are, of which size and classes, read it here; jobs that load the images compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas.tables import Column, Schema, read, write

if TYPE_CHECKING:
    from snas.images.imageset import ImageSet

LABELS = Schema(
    "labels",
    {
        "image": Column("int64", "index into the training images of the image set", low=0),
        "label": Column("int64", "class index of the image", low=0),
    },
    key=("image",),
    description="The label of each training image (metadata: image set, its source, digest, numbers of images, channels, "
    "side and classes).",
)

OF_IMAGES = (
    "image_set",
    "image_source",
    "image_digest",
    "train_images",
    "test_images",
    "channels",
    "side",
    "classes",
)
"""What the metadata say of the images (:meth:`snas.images.imageset.ImageSet.provenance`)."""


def write_labels(path: str | Path, images: ImageSet, metadata: dict[str, Any] | None = None) -> None:
    """Write the labels of the training images down at ``path`` (:data:`LABELS`), and of which images they are."""
    import pandas as pd

    labels = images.train_labels.numpy()
    frame = pd.DataFrame({"image": range(len(labels)), "label": labels})
    write(path, frame, LABELS, {**images.provenance(), **(metadata or {})})


def check_images(path: str | Path, images: ImageSet) -> None:
    """Raise :class:`snas.InputError` where the labels at ``path`` are not those of these images, pixel by pixel."""
    read(path, LABELS, expect={"image_digest": images.digest})
