"""Estimation codes: the mean training losses of the first epochs on a share of the images (section 3.1; docs/definitions.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Int64
from torch import Tensor

from snas import spaces
from snas.device import torch_device
from snas.images.imageset import ImageSet
from snas.training import recipes
from snas.training.groups import Told, checked, group_size, run_in_groups, train_together
from snas.training.loop import Progress
from snas.training.recipes import Recipe
from snas.training.schemas import CODES

if TYPE_CHECKING:
    import pandas as pd

    from snas.spaces.space import Space

EPOCHS = recipes.CODE_EPOCHS
"""Values of a code."""


def estimation_codes(
    space: str | Space,
    archs: Sequence[int | str],
    images: ImageSet,
    share: Int64[Tensor, " drawn"],
    recipe: Recipe,
    *,
    base_seed: int,
    width: int | None = None,
    device: str = "cpu",
    compile: bool = True,
    group: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return the codes of ``archs``, indices or names, with the schema :data:`CODES`, in their order.

    ``share`` are the indices of the training images that codes are measured on (:func:`snas.images.draw_share`).
    ``group`` networks are one program, 0 for as many as the memory holds; a group that does not fit is halved.  Batches,
    augmentation and initial weights do not depend on the group or the shard.

    Raises ``InputError`` for an unknown space, architecture or device, and a recipe of other than three epochs.
    """
    import pandas as pd

    from snas import InputError

    if recipe.epochs != EPOCHS:
        raise InputError(
            f"recipe {recipe.name!r} has {recipe.epochs} epochs; an estimation code needs {EPOCHS}"
        )
    space = spaces.load(space) if isinstance(space, str) else space
    chosen = [space.index(arch) for arch in archs]
    width = width or space.default_width
    place = torch_device(device)
    group = group or group_size(
        space, chosen, width=width, side=images.side, batch=recipe.batch, device=place
    )

    told = Told(progress, len(chosen), "estimation codes")

    def work(part: list[int]) -> list[dict[str, Any]]:
        told.begin(len(part))
        _, losses = train_together(
            space, part, images, recipe, base_seed=base_seed, width=width, device=place, compile=compile,
            share=share, epoch_done=told.epoch_done,
        )  # fmt: skip
        return [{"losses": row} for row in losses.tolist()]

    rows = []
    for arch, row, seconds in run_in_groups(chosen, group, work, told.done):
        losses, status = checked(None if row is None else row["losses"])
        code = losses if losses is not None else [None] * EPOCHS
        rows.append((arch, space.cell(arch).name, *code, status, seconds))
    types = {"arch": "int32", **{f"loss_{e}": "float32" for e in range(1, EPOCHS + 1)}, "seconds": "float64"}
    return pd.DataFrame(rows, columns=list(CODES.columns)).astype(types)


def facts(
    space: str,
    images: ImageSet,
    recipe: Recipe,
    *,
    share: Int64[Tensor, " drawn"],
    base_seed: int,
    width: int | None,
) -> dict[str, Any]:
    """Return what says how codes were made, for the metadata of their file."""
    return {
        **recipes.facts(space, recipe, **images.facts(), base_seed=base_seed, width=width),
        "code_images": len(share),
    }
