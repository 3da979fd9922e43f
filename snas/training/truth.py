"""Ground truth: test accuracy after a complete training under a named recipe (sections 3.1 and 4.1; docs/definitions.md, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from snas import spaces
from snas.device import torch_device
from snas.images.imageset import ImageSet
from snas.training import recipes
from snas.training.groups import Told, checked, group_size, run_in_groups, train_together
from snas.training.loop import Progress, balanced_accuracy, classified
from snas.training.recipes import Recipe
from snas.training.schemas import TRUTH

if TYPE_CHECKING:
    import pandas as pd

    from snas.spaces.space import Space


def ground_truth(
    space: str | Space,
    archs: Sequence[int | str],
    images: ImageSet,
    recipe: Recipe,
    *,
    base_seed: int,
    width: int | None = None,
    device: str = "cpu",
    compile: bool = True,
    group: int = 0,
    progress: Progress | None = None,
    fits: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Train ``archs``, indices or names of cells, and return their accuracies with the schema :data:`TRUTH`, in their order (possibly none).

    ``group`` networks are one program, 0 for as many as the memory holds; a group that does not fit is halved.  Batches,
    augmentation and initial weights do not depend on the group or the shard.  ``fits`` is told the size of every group that
    was trained.

    Raises ``InputError`` for an unknown space, architecture or device.
    """
    import pandas as pd

    space = spaces.load(space) if isinstance(space, str) else space
    chosen = [space.index(arch) for arch in archs]
    width = width or space.default_width
    place = torch_device(device)
    group = group or group_size(
        space, chosen, width=width, side=images.side, batch=recipe.batch, device=place
    )

    told = Told(progress, len(chosen), "trainings")

    def work(part: list[int]) -> list[dict[str, Any]]:
        told.begin(len(part))
        population, losses = train_together(
            space, part, images, recipe, base_seed=base_seed, width=width, device=place, compile=compile,
            epoch_done=told.epoch_done,
        )  # fmt: skip
        correct, finite = classified(
            population,
            images.test_images,
            images.test_labels,
            batch=2 * recipe.batch,
            classes=len(images.classes),
        )
        if fits is not None:
            fits(len(part))
        losses[~finite, -1] = math.nan
        balanced = balanced_accuracy(correct, images.test_labels).tolist()
        columns = zip(losses.tolist(), correct.sum(dim=1).tolist(), balanced, strict=True)
        return [{"losses": a, "correct": b, "balanced": c} for a, b, c in columns]

    rows, total = [], len(images.test_labels)
    for arch, row, seconds in run_in_groups(chosen, group, work, told.done):
        losses, status = checked(None if row is None else row["losses"])
        correct = row["correct"] if row is not None and losses is not None else 0
        accuracy = correct / total if status == "ok" else None
        balanced = row["balanced"] if row is not None and status == "ok" else None
        kept = [] if row is None else row["losses"]
        rows.append((arch, space.cell(arch).name, accuracy, balanced, correct, total, kept, status, seconds))
    floats = dict.fromkeys(("accuracy", "balanced", "seconds"), "float64")
    integers = dict.fromkeys(("arch", "correct", "images"), "int32")
    return pd.DataFrame(rows, columns=list(TRUTH.columns)).astype(floats | integers)


def facts(
    space: str, images: ImageSet, recipe: Recipe, *, base_seed: int, width: int | None
) -> dict[str, Any]:
    """Return what says how accuracies were made, for the metadata of their file."""
    return recipes.facts(space, recipe, **images.facts(), base_seed=base_seed, width=width)
