"""NAS-Bench-201 from NASLib's ``nb201_<data set>_full_training.pickle``: curves of one training per architecture.

The pickle is a dictionary: architecture (its string, or six operation indices) → data set (``cifar10-valid``,
``cifar100``, ``ImageNet16-120``) → ``train_losses``, ``eval_losses``, ``train_acc1es``, ``eval_acc1es`` (a number per
epoch, 200 of them; accuracies in percent) and ``cost_info`` (``flops`` and ``params`` in millions, ``latency``,
``train_time`` of an epoch in seconds); https://github.com/automl/NASLib, naslib/search_spaces/nasbench201/graph.py.

Its evaluation accuracies are not the official test accuracy: on CIFAR-10 they are those of trainings on half of the
training set, evaluated on the other half, and NASLib does not document which images of CIFAR-100 and ImageNet16-120
they are of.  A table from here says so in its title.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError
from snas.spaces import pickles
from snas.spaces.accuracies import ARCHITECTURES
from snas.spaces.nasbench201 import FEATURE_EDGES, arch_string
from snas.spaces.source_nats_bench import DEFAULT_EPOCHS, code_metadata

if TYPE_CHECKING:
    import pandas as pd

DATASETS = {"cifar10-valid": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet16-120"}
OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
"""Operations in the order of NASLib's indices."""
INDEX_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Edges in the order of NASLib's indices: by source first, where the benchmark's string goes by target."""
EPOCHS = 200
HALF = 25_000
"""Images that CIFAR-10 is trained on there."""
PATTERN = "nb201_*_full_training.pickle"
MAX_BYTES = 4 << 30
LIMITS = pickles.Limits(steps=400_000_000, containers=3_000_000)
"""Three data sets with four curves of 200 NumPy numbers need 200 million steps."""


def cell_of(indices: Sequence[int]) -> str:
    """Return the benchmark's string for six operation indices in NASLib's order.

    >>> cell_of((0, 1, 2, 3, 4, 0))
    '|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|skip_connect~2|'
    """
    on = dict(zip(INDEX_EDGES, indices, strict=True))
    return arch_string([OPERATIONS[on[edge]] for edge in FEATURE_EDGES])


def parse_key(key: Any, label: str) -> str:
    """Return the benchmark's string for a key of such a dictionary, a string or six indices."""
    if isinstance(key, str):
        return key
    right = type(key) is tuple and len(key) == len(INDEX_EDGES)
    if not right or not all(type(part) is int and 0 <= part < len(OPERATIONS) for part in key):
        raise InputError(
            f"{label}: {str(key)[:60]} is not an architecture; six operation indices from 0 to 4 are expected"
        )
    return cell_of(key)


def read(source: Path, *, code_epochs: Sequence[int] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of one such file, or of all in a folder, and what the metadata say of them.

    Codes come from the curve on CIFAR-10 where the source has it, else from each data set's own.
    """
    import pandas as pd

    epochs = DEFAULT_EPOCHS if code_epochs is None else tuple(code_epochs)
    rows: list[dict[str, Any]] = []
    digests = ""
    for path in files(source):
        rows.extend(_read_file(path, epochs))
        with path.open("rb") as file:
            digests += f"{hashlib.file_digest(file, 'sha256').hexdigest()}\n"
    if not rows:
        raise InputError(f"{source}: no architecture in it; expected a dictionary such as {PATTERN}")
    frame = pd.DataFrame(rows)
    shared = "cifar10" if (frame["dataset"] == "cifar10").any() else None
    if epochs and shared:
        codes = [f"code_{place}" for place in (1, 2, 3)]
        own = frame[frame["dataset"] == shared].drop_duplicates("cell").set_index("cell")[codes]
        frame[codes] = own.reindex(frame["cell"]).to_numpy()
    return frame, {
        "kind": "naslib",
        "title": "NAS-Bench-201 (evaluation accuracy recorded by NASLib)",
        "accuracy": "evaluation accuracy after 200 epochs as recorded by NASLib (CIFAR-10: trained on half of the "
        "training set, evaluated on the other half; else on images that it does not document); not the official test "
        "accuracy",
        "content_sha256": hashlib.sha256(digests.encode()).hexdigest(),
        **code_metadata(
            epochs,
            "CIFAR-10" if shared else "each data set",
            EPOCHS,
            "as recorded by NASLib",
            images=HALF if shared else None,
        ),
    }


def files(source: Path) -> list[Path]:
    """Return the one file, or all of a folder, in the order of their names."""
    return sorted(source.glob(PATTERN)) if source.is_dir() else [source]


def names_datasets(source: Path) -> list[str]:
    """Return the data sets whose names stand in the files, which says in a second what to read them takes minutes."""
    found = []
    for path in files(source):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found += [ours for theirs, ours in DATASETS.items() if content.find(theirs.encode()) >= 0]
    return [ours for ours in DATASETS.values() if ours in found]


def _read_file(path: Path, epochs: Sequence[int]) -> list[dict[str, Any]]:
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise InputError(f"{path} has {size} bytes; such a file has 1 to {MAX_BYTES}")
    rows: list[dict[str, Any]] = []

    def take(key: Any, value: Any) -> None:
        cell = parse_key(key, str(path))
        if type(value) is not dict or not value:
            raise InputError(f"{path}: {cell[:100]!r} has no results; the file is not in NASLib's format")
        for name, results in value.items():
            if name not in DATASETS:
                raise InputError(f"{path}: unknown data set {str(name)[:40]!r}; known: {', '.join(DATASETS)}")
            rows.append({"cell": cell, "dataset": DATASETS[name], **_row(results, f"{path}: {cell}", epochs)})
            if len(rows) > ARCHITECTURES * len(DATASETS):
                raise InputError(
                    f"{path}: more than {ARCHITECTURES} architectures; the benchmark has no more"
                )

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        value = pickles.load(content, str(path), limits=LIMITS, on_item=take)
    if type(value) is not dict:
        raise InputError(f"{path}: a dictionary of architectures is expected, not a {type(value).__name__}")
    return rows


def _row(results: Any, label: str, epochs: Sequence[int]) -> dict[str, Any]:
    accuracy = _curve(results, "eval_acc1es", label)[-1]
    if not 0 <= accuracy <= 100:
        raise InputError(f"{label}: accuracy {accuracy:g}; 0 to 100 percent are expected")
    row = {"accuracy": accuracy / 100}
    if epochs:
        losses = _curve(results, "train_losses", label)
        row.update({f"code_{place}": losses[epoch - 1] for place, epoch in enumerate(epochs, start=1)})
        for place, epoch in enumerate(epochs, start=1):
            if not math.isfinite(row[f"code_{place}"]):
                raise InputError(
                    f"{label}: the training loss of epoch {epoch} is not finite; a code needs it"
                )
    costs = results.get("cost_info")
    costs = costs if type(costs) is dict else {}
    for column, key, factor in (
        ("flops_m", "flops", 1),
        ("params_m", "params", 1),
        ("seconds_200", "train_time", EPOCHS),
    ):
        value: Any = costs.get(key)
        row[column] = float(value) * factor if type(value) in (int, float) else np.nan
    return row


def _curve(results: Any, name: str, label: str) -> list[float]:
    """Return a curve of 200 numbers, kept as a list or as a dictionary by epoch from 0."""
    curve: Any = results.get(name) if type(results) is dict else None
    if type(curve) is dict and len(curve) == EPOCHS and all(epoch in curve for epoch in range(EPOCHS)):
        curve = [curve[epoch] for epoch in range(EPOCHS)]
    if type(curve) not in (list, tuple) or len(curve) != EPOCHS:
        raise InputError(
            f"{label}: {name!r} is not a curve of {EPOCHS} epochs; the file is not in NASLib's format"
        )
    if not all(type(value) in (int, float) for value in curve):
        raise InputError(f"{label}: {name!r} has values that are not numbers")
    if not math.isfinite(curve[-1]) and name == "eval_acc1es":
        raise InputError(f"{label}: its last accuracy is not finite")
    return list(curve)
