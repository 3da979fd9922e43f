"""The labels of the training images, written down once a run: of which images all that follows is, without the images.

Jobs that need only how many images there are, of which size and classes, read it here; jobs that load the images compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import InputError
from snas.tables import Column, Schema, metadata, read, write

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


def write_labels(path: str | Path, images: ImageSet, facts: dict[str, Any] | None = None) -> None:
    """Write the labels of the training images down at ``path`` (:data:`LABELS`), and of which images they are."""
    import pandas as pd

    labels = images.train_labels.numpy()
    frame = pd.DataFrame({"image": range(len(labels)), "label": labels})
    write(path, frame, LABELS, {**images.provenance(), **(facts or {})})


def check_images(path: str | Path, images: ImageSet) -> None:
    """Raise :class:`snas.InputError` where the labels at ``path`` are not of these images, pixel by pixel."""
    read(path, LABELS)
    said = metadata(path).get("image_digest")
    if said != images.digest:
        source = f" ({images.source})" if images.source else ""
        raise InputError(
            f"{path}: it was made of other images than those of image set {images.name!r}{source} now (image_digest {said!r}, now "
            f"{images.digest!r}); have the images as they were, take another name for the run, or delete the file and run again, "
            "which trains all again"
        )
