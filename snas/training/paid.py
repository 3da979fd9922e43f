"""What was paid for is kept: complete trainings in a folder that outlives any plan of the work.

A search that is stopped, goes on, or is given a larger budget asks for networks that were trained before.  Each group of
networks leaves a file when it is trained, in a folder named after everything that its accuracies hang on (recipe, images,
width, seed, code).  So nothing is trained twice, whichever job, round, method or budget asks for it again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import provenance, spaces, tables
from snas.device import torch_device
from snas.training.groups import group_size
from snas.training.schemas import TRUTH
from snas.training.truth import facts, ground_truth

if TYPE_CHECKING:
    import pandas as pd

    from snas.images.imageset import ImageSet
    from snas.training.loop import Progress
    from snas.training.recipes import Recipe

SPENT = ("seconds", "cpu_seconds", "gpu_seconds")
GROUP_SECONDS = 120.0
"""About what a group takes at most: what a kill can cost."""
CORE_FLOPS = 1e11
"""More than a core does: a first group that takes longer by this than :data:`GROUP_SECONDS` surely does."""


class Paid:
    """The trainings of one identity below a folder.

    Args:
        folder: of all identities of a run.
        identity: everything that accuracies hang on, as JSON types.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.folder = Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self) -> pd.DataFrame:
        """Return all trainings in the order in which they were finished, each network once.

        Raises :class:`snas.InputError` for a file that is damaged or foreign.
        """
        import pandas as pd

        found = [
            (tables.metadata(path), tables.read(path, TRUTH))
            for path in sorted(self.folder.glob("[!.]*.parquet"))
        ]
        found.sort(key=lambda pair: (pair[0].get("finished", ""), pair[1]["arch"].tolist()))
        frames = [frame.assign(finished=record.get("finished", "")) for record, frame in found]
        empty = pd.DataFrame({name: [] for name in (*TRUTH.columns, "finished")}).astype({"arch": "int32"})
        # a job that outlived its driver may have trained what another trained again: the same, so either will do
        return pd.concat(frames or [empty], ignore_index=True).drop_duplicates("arch", ignore_index=True)

    def keep(self, frame: pd.DataFrame, record: Mapping[str, Any]) -> None:
        """Write the trainings of one group, under a temporary name first."""
        name = hashlib.sha256(repr(sorted(frame["arch"])).encode()).hexdigest()[:16]
        tables.write(self.folder / f"{name}.parquet", frame, TRUTH, record)

    def spent(self, archs: Sequence[int]) -> dict[str, float]:
        """Return what the trainings of ``archs`` took, whichever job did them: their share of each group's :data:`SPENT`."""
        sums = dict.fromkeys(SPENT, 0.0)
        for path in self.folder.glob("[!.]*.parquet"):
            record = tables.metadata(path)
            share = float(tables.read(path, TRUTH)["arch"].isin(archs).mean())
            for key in SPENT:
                sums[key] += share * float(record.get(key, 0))
        return {key: round(value, 3) for key, value in sums.items()}

    def forget(self) -> None:
        """Remove everything below the folder, of other identities too: it was one job's, whose trainings are written."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def train_what_is_new(
    paid: str | Path,
    space: str,
    archs: Sequence[int],
    images: ImageSet,
    recipe: Recipe,
    *,
    base_seed: int,
    width: int,
    code: str,
    device: str = "cpu",
    compile: bool = True,
    group: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return the trainings of ``archs`` (:data:`TRUTH`), done now or kept in the folder ``paid`` from before.

    ``code`` is the hash of the code that trains; ``group`` as in :func:`snas.training.truth.ground_truth`.
    """
    said = facts(space, images, recipe, base_seed=base_seed, width=width)
    place = torch_device(device)
    book = Paid(paid, {**said, "code": code})
    known = set(book.read()["arch"])
    waiting = [arch for arch in archs if arch not in known]
    done = len(archs) - len(waiting)
    if done:
        print(f"{done} of {len(archs)} are paid for already", flush=True)
    chosen = spaces.load(space)
    size = group or group_size(
        chosen, waiting, width=width, side=images.side, batch=recipe.batch, device=place
    )
    if waiting and not group and place.type == "cpu":
        # Networks that train for hours gain nothing by company there; a step is once forward and twice backward.
        of = {"channels": images.channels, "side": images.side, "classes": len(images.classes)}
        macs = float(chosen.costs(width=width or chosen.default_width, **of)[0][waiting].mean())
        least = 6 * macs * recipe.passes(len(images.train_labels)) / CORE_FLOPS
        size = max(1, min(size, int(GROUP_SECONDS / least)))
    while waiting:
        part, waiting = waiting[:size], waiting[size:]
        trained = [1]
        with provenance.measured(place, **said, code=code) as record:
            frame = ground_truth(
                chosen, part, images, recipe, base_seed=base_seed, width=width, device=device, compile=compile,
                group=size, progress=_shifted(progress, done, len(archs)), fits=trained.append,
            )  # fmt: skip
        size = min(size, max(trained))  # a group that did not fit is not tried again
        book.keep(frame, {**record, "finished": _now()})
        done += len(part)
        seconds = float(frame["seconds"].mean())
        if seconds > 0 and not group:
            size = max(1, min(size, int(GROUP_SECONDS / seconds)))
    every = book.read().set_index("arch", drop=False).loc[list(archs)]
    return every[list(TRUTH.columns)].reset_index(drop=True)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, text: progress(before + done, total, text)


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")
