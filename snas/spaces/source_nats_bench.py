"""NAS-Bench-201 from the official NATS-Bench folder or tar: 15,625 files, read by several processes, resumable.

The work is cut into parts, each left as a Parquet file in a folder beside the result until all are there; what is
done stays done, and a kill costs the parts in flight.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snas.tables
from snas import InputError
from snas.spaces import accuracies, apart, nats_bench, pickles
from snas.spaces.archives import Member, decompress, members
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
PART = 250
"""Architectures in a part: a few seconds of work."""
DEFAULT_EPOCHS = (1, 2, 3)
ACCURACY = (
    "mean over the recorded seeds of the official test accuracy after 200 epochs "
    "(CIFAR-100 and ImageNet16-120: their x-test)"
)
_FILE = re.compile(r"(\d{6})\.pickle\.pbz2")
_META = "meta.pickle.pbz2"

_PART_SCHEMA = Schema(
    name="part of NAS-Bench-201 accuracies",
    description="Rows of some architectures, before they are checked together.",
    key=("dataset", "arch"),
    columns={
        **{c: s for c, s in accuracies.ACCURACIES.columns.items() if c not in ("macs", "params")},
        "params_m": Column("float64", "Parameters that the source records, millions", null=True),
    },
)


def read(
    source: Path,
    work: Path,
    *,
    code_epochs: Sequence[int] | None = None,
    allow_partial: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of all architectures and what the table's metadata say of this source.

    ``work`` is the folder of the parts, which the caller removes when the table is written or the source refused.
    """
    epochs = DEFAULT_EPOCHS if code_epochs is None else tuple(code_epochs)
    files = members(_inner(source) if source.is_dir() else source)
    indices = {int(m[1]): files[name] for name in sorted(files) if (m := _FILE.fullmatch(name))}
    _check_index(source, indices, allow_partial)
    _check_meta(files.get(_META))
    frame, digests = _parts(indices, epochs, work, jobs, progress)
    listing = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return frame, {
        "kind": "nats_bench",
        "title": "NAS-Bench-201",
        "accuracy": ACCURACY,
        "content_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        **code_metadata(
            epochs,
            "cifar10",
            200,
            "of the lowest recorded seed's training of 200 epochs",
            images=accuracies.TRAIN_IMAGES["cifar10"],
        ),
    }


def code_metadata(
    epochs: Sequence[int], dataset: str, whole: int, which: str, *, images: int | None
) -> dict[str, Any]:
    """Return what the metadata say of codes taken from recorded curves (:func:`snas.spaces.accuracies.code_price`).

    ``images``: of an epoch of the trainings that all data sets' codes are taken from; None: each has its own.
    """
    if not epochs:
        return {"code_epochs": None, "code_source": None, "code_price": None}
    text = ", ".join(map(str, epochs))
    return {
        "code_epochs": list(epochs),
        "code_source": f"recorded training losses of epochs {text} on {dataset} {which}",
        "code_price": max(epochs) / whole,
        "code_training_images": images,
    }


def _inner(source: Path) -> Path:
    """Return the folder of the files where ``source`` holds just that."""
    inner = [p for p in source.glob("NATS-tss-*-simple") if p.is_dir() and not p.is_symlink()]
    return inner[0] if len(inner) == 1 else source


def check_folder(source: Path) -> None:
    """Raise :class:`InputError` where the names in a folder are not those of the whole benchmark; no file is opened."""
    found = (_FILE.fullmatch(name) for name in os.listdir(_inner(source)))
    _check_index(source, {int(match[1]) for match in found if match}, allow_partial=False)


def _check_index(source: Path, indices: Collection[int], allow_partial: bool) -> None:
    """Refuse a source that is no NATS-Bench, or lacks architectures."""
    if not indices:
        raise InputError(
            f"{source} holds no file such as 000000.pickle.pbz2; expected the unpacked NATS-tss-v1_0-3ffb9-simple"
        )
    count = accuracies.ARCHITECTURES
    if max(indices) >= count:
        raise InputError(f"{source}: {max(indices):06d}.pickle.pbz2 is beyond the {count} architectures")
    if len(indices) != count and not allow_partial:
        lacking = next(i for i in range(count) if i not in indices)
        raise InputError(
            f"{source}: {len(indices)} architectures, {count} are needed (the first that lacks is {lacking:06d}); "
            "--allow-partial takes what there is"
        )


def _check_meta(meta: Member | None) -> None:
    """Refuse an index, where there is one, that counts the architectures differently."""
    if meta is not None:
        limits = pickles.Limits(steps=200_000, containers=1000)
        plain = decompress(meta.read(nats_bench.MAX_COMPRESSED), meta.label, nats_bench.MAX_PLAIN)
        index = pickles.load(plain, meta.label, limits=limits)
        official = [cell.name for cell in accuracies.benchmark().cells()]
        if type(index) is not dict or index.get("meta_archs") != official:
            raise InputError(
                f"{meta.label}: its index is not that of NAS-Bench-201's {accuracies.ARCHITECTURES} architectures"
            )


def _parts(
    indices: dict[int, Member],
    epochs: Sequence[int],
    work: Path,
    jobs: int,
    progress: Progress | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    import pandas as pd

    groups: dict[int, dict[int, Member]] = {}
    for index, member in sorted(indices.items()):
        groups.setdefault(index // PART, {})[index] = member
    done = {part: _load(work, part, _signature(group, epochs)) for part, group in groups.items()}
    left = [part for part in groups if done[part] is None]
    total, read = sum(len(groups[part]) for part in left), 0
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        answer = nats_bench.read_part if jobs <= 1 else _ask
        futures = {pool.submit(answer, _request(groups[part], epochs)): part for part in left}
        try:
            for future in as_completed(futures):
                part = futures.pop(future)
                done[part] = _keep(work, part, future.result(), _signature(groups[part], epochs))
                read += len(groups[part])
                if progress is not None:
                    progress(read, total, "architectures")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = [value for value in done.values() if value is not None]
    digests = {name: digest for _, names in found for name, digest in names.items()}
    return pd.concat([frame for frame, _ in found], ignore_index=True), digests


def _request(group: dict[int, Member], epochs: Sequence[int]) -> dict[str, Any]:
    listed = [(i, m.name, str(m.path), m.offset, m.size, m.stamp) for i, m in group.items()]
    return {"members": listed, "code_epochs": list(epochs)}


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Have a part read by a process of its own."""
    (_, first, path, *_), (_, last, *_) = request["members"][0], request["members"][-1]
    return apart.ask("snas.spaces.nats_bench", request, f"{path} ({first} to {last})")


def _signature(group: dict[int, Member], epochs: Sequence[int]) -> str:
    """What a part depends on: its files and when they changed, the epochs of the codes, and the form of a part (1)."""
    listed = [(i, m.name, m.size, m.stamp) for i, m in group.items()]
    return hashlib.sha256(repr((1, listed, tuple(epochs))).encode()).hexdigest()


def _path(work: Path, part: int) -> Path:
    return work / f"part_{part:03d}.parquet"


def remove_parts(work: Path) -> None:
    """Remove the parts and their folder; whatever else lies in it stays."""
    for pattern in ("part_*.parquet", ".part_*.parquet.*"):
        for path in work.glob(pattern):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        work.rmdir()


def _keep(
    work: Path, part: int, answer: dict[str, Any], signature: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    import pandas as pd

    frame = pd.DataFrame(answer["rows"])
    for name in _PART_SCHEMA.columns:
        if name not in frame:
            frame[name] = float("nan")
        elif _PART_SCHEMA.columns[name].type.startswith("float"):
            frame[name] = frame[name].astype("float64")
    digests = dict(answer["digests"])
    snas.tables.write(_path(work, part), frame, _PART_SCHEMA, {"signature": signature, "digests": digests})
    return frame[list(_PART_SCHEMA.columns)], digests


def _load(work: Path, part: int, signature: str) -> tuple[pd.DataFrame, dict[str, str]] | None:
    """Return an earlier part, None where there is none or it is not of these files."""
    path = _path(work, part)
    try:
        if not path.is_file() or snas.tables.metadata(path).get("signature") != signature:
            return None
        return snas.tables.read(path, _PART_SCHEMA), snas.tables.metadata(path)["digests"]
    except InputError:  # a damaged part is read again
        return None
