"""What a job does that trains a share of the architectures to the end.

Where the share is empty, as most are in a round on demand, no torch is imported and no image is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import provenance, tables, training
from snas.training import recipes
from snas.training.schemas import TRUTH

if TYPE_CHECKING:
    from snas.training.loop import Progress


def write_shard(
    out: str | Path,
    archs: Sequence[int],
    *,
    space: str,
    images: Mapping[str, Any],
    labels: str | Path,
    recipe: str,
    base_seed: int,
    width: int,
    code: str,
    kept: str | Path,
    forget: bool = False,
    device: str = "cpu",
    compile: bool = True,
    group: int = 0,
    progress: Progress | None = None,
) -> None:
    """Train what of ``archs`` is not kept from before, and write the table :data:`TRUTH` of all of them.

    Args:
        out: the shard.
        images: what :func:`snas.images.load` is given.
        labels: the table of the images' labels (:mod:`snas.images.labels`); its metadata say of which image set.
        code: hash of the code that trains.
        kept: folder of the trainings that outlive a job that is killed; ``forget``: they are this job's own, and go when
            all is written.
        group: as in :func:`snas.training.truth.ground_truth`.

    Raises :class:`snas.InputError` where the images are not those of the labels any more.
    """
    how = training.recipe(recipe)
    if not archs:
        _write_nothing(out, space, how, tables.metadata(labels), base_seed=base_seed, width=width, code=code)
        return
    from snas import images as image_sets
    from snas.device import torch_device
    from snas.images.labels import check_images
    from snas.training.paid import Paid, train_what_is_new
    from snas.training.truth import facts

    image_set = image_sets.load(**images)
    # A folder of the same name may hold other images by now; proxies and the bench are of those that were written down.
    check_images(labels, image_set)
    said = facts(space, image_set, how, base_seed=base_seed, width=width)
    with provenance.measured(torch_device(device), **said, code=code) as record:
        frame = train_what_is_new(
            kept, space, archs, image_set, how, base_seed=base_seed, width=width, code=code,
            device=device, compile=compile, group=group, progress=progress,
        )  # fmt: skip
    book = Paid(kept, {**said, "code": code})
    tables.write(out, frame, TRUTH, record | book.spent(archs))
    if forget:
        book.forget()


def _write_nothing(
    out: str | Path, space: str, recipe: recipes.Recipe, said: Mapping[str, Any], **of: Any
) -> None:
    """Write a shard of no architecture; that of which images it is, the metadata ``said`` of the labels say."""
    import pandas as pd

    code = of.pop("code")
    facts = recipes.facts(
        space, recipe, images=said["image_set"], image_digest=said["image_digest"], train_images=said["train_images"],
        classes=said["classes"], **of,
    )  # fmt: skip
    with provenance.measured(**facts, code=code) as record:
        frame = pd.DataFrame({name: [] for name in TRUTH.columns})
    tables.write(out, frame, TRUTH, record)
