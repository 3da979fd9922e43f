"""Known accuracies of NAS-Bench-201: the schema of the imported table, its loader, and the checks on what it holds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

import snas.seeds
import snas.tables
from snas import InputError
from snas.spaces.nasbench201 import FEATURE_EDGES, NASBench201
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float, Int64

ARCHITECTURES = 15_625
DATASETS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet16-120": (16, 120)}
)
"""Data sets of the benchmark → (side of the images, number of classes)."""
TRAIN_IMAGES: Mapping[str, int] = MappingProxyType(
    {"cifar10": 50_000, "cifar100": 50_000, "imagenet16-120": 151_700}
)
"""Images of an epoch of a complete training."""
SEEDS = (777, 888, 999)
"""Seeds of the trainings of 200 epochs."""
TABLES = ("mean", "one_seed")
ROUNDING = 5e-4
"""How far a recorded mean may lie from the mean of its seeds: tables are rounded to hundredths of a percent."""


def _fraction(description: str, *, null: bool = True) -> Column:
    return Column("float64", description, null=null, low=0, high=1)


ACCURACIES = Schema(
    name="NAS-Bench-201 accuracies",
    description="What is known of each architecture of NAS-Bench-201 on each data set, from one source. The metadata "
    "say which (source, kind, title, content hash), what accuracy and code are, and how many architectures there are.",
    key=("dataset", "arch"),
    columns={
        "dataset": Column("string", f"Data set: {', '.join(DATASETS)}"),
        "arch": Column("int32", "The benchmark's index of the architecture", low=0, high=ARCHITECTURES - 1),
        "cell": Column("string", "The benchmark's string of the architecture"),
        "accuracy": _fraction(
            "Mean over the recorded seeds of the test accuracy after the complete training of 200 epochs, a fraction "
            "(CIFAR-100 and ImageNet16-120: the test half of the original test set)",
            null=False,
        ),
        **{f"accuracy_{seed}": _fraction(f"The same of the training with seed {seed}") for seed in SEEDS},
        "accuracy_12": _fraction("Test accuracy of the separate training of 12 epochs"),
        "validation": _fraction(
            "Validation accuracy after 200 epochs (CIFAR-10: of the training on half of the training set)"
        ),
        "validation_12": _fraction("Validation accuracy of the training of 12 epochs"),
        "macs": Column(
            "int64", "Multiply-accumulates at 3×32×32 and ten classes, the project's count", low=0
        ),
        "flops_m": Column(
            "float64",
            "FLOPs that the source records for this data set, millions (MACs at its size + classes)",
            null=True,
            low=0,
        ),
        "params": Column("int64", "Parameters of the network with the data set's classes", low=0),
        **{
            f"code_{place}": Column(
                "float32",
                f"Estimation code: training loss of the epoch at place {place} of `code_epochs`",
                null=True,
            )
            for place in (1, 2, 3)
        },
        "seconds_200": Column("float64", "Time of the complete training, s", null=True, low=0),
        "seconds_12": Column("float64", "Time of the training of 12 epochs, s", null=True, low=0),
    },
)

FRACTIONS = frozenset(name for name, column in ACCURACIES.columns.items() if column.high == 1)
"""Columns of accuracies."""


def code_price(said: Mapping[str, Any], dataset: str) -> float:
    """Return what one code costs in complete trainings on a data set, by the metadata of the imported table; 0 without codes.

    ``code_price`` is in trainings on CIFAR-10, whose epochs have ``code_training_images`` images; None: each data set has
    codes of its own, all at that price.  Else they are CIFAR-10's for all, and the dearer a training is, the less of it one costs.
    """
    price = float(said.get("code_price") or 0.0)
    images = said.get("code_training_images", TRAIN_IMAGES["cifar10"])
    return price if dataset == "cifar10" or images is None else price * images / TRAIN_IMAGES[dataset]


def read_accuracies(
    path: str | Path, dataset: str, table: str = "mean", base_seed: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the architectures of one data set, in order of ``arch``, and the file's metadata.

    The frame has the columns of :data:`ACCURACIES` and two more: ``accuracy_mean``, the mean over seeds, and ``seed``.
    With ``table = "mean"`` ``accuracy`` is the mean and ``seed`` 0; with ``"one_seed"`` ``accuracy`` is that of one
    recorded seed, drawn uniformly for each architecture, and ``seed`` says which.  The draw depends on ``base_seed``,
    the data set and the architecture's index only.

    Raises :class:`InputError` where the data set is not in the table, or has no values per seed for ``"one_seed"``.
    """
    if table not in TABLES:
        raise InputError(f"unknown table {table!r} of NAS-Bench-201; known: {', '.join(TABLES)}")
    frame = snas.tables.read(path, ACCURACIES)
    kept = frame["dataset"] == dataset
    if not kept.any():
        known = ", ".join(sorted(frame["dataset"].unique()))
        raise InputError(f"{path}: no row of data set {dataset!r}; it has {known}")
    frame = frame[kept].sort_values("arch").reset_index(drop=True)
    frame["accuracy_mean"] = frame["accuracy"]
    frame["seed"] = np.zeros(len(frame), dtype=np.int32)
    if table == "one_seed":
        values = frame[[f"accuracy_{seed}" for seed in SEEDS]].to_numpy(dtype=np.float64)
        recorded = ~np.isnan(values)
        if not recorded.any(axis=1).all():
            arch = int(frame["arch"][int(np.flatnonzero(~recorded.any(axis=1))[0])])
            raise InputError(
                f"{path}: table 'one_seed' needs an accuracy per seed, and architecture {arch} of {dataset} has none; "
                "its source records means only, so use table 'mean'"
            )
        draws = snas.seeds.numpy_generator(base_seed, "one_seed", dataset).random(ARCHITECTURES)
        wanted = (draws[frame["arch"].to_numpy()] * recorded.sum(axis=1)).astype(np.int64)
        # the wanted-th recorded seed: the first column whose running count passes it
        column = (np.cumsum(recorded, axis=1) > wanted[:, None]).argmax(axis=1)
        frame["accuracy"] = values[np.arange(len(frame)), column]
        frame["seed"] = np.array(SEEDS, dtype=np.int32)[column]
    return frame, snas.tables.metadata(path)


@lru_cache(maxsize=1)
def benchmark() -> NASBench201:
    """Return the space, enumerated once."""
    return NASBench201()


def cut_off() -> Bool[np.ndarray, " archs"]:
    """Return which architectures have no path from input to output: they learn nothing and stay at chance."""
    return np.array([not _connected(cell.operations) for cell in benchmark().cells()])


def _connected(operations: tuple[str, ...]) -> bool:
    reached = {0}
    for (source, target), operation in zip(FEATURE_EDGES, operations, strict=True):  # ascending in the target
        if source in reached and operation != "none":
            reached.add(target)
    return FEATURE_EDGES[-1][1] in reached


def complete(frame: pd.DataFrame, source: str, *, allow_partial: bool = False) -> pd.DataFrame:
    """Return a source's rows as a checked table: all columns of :data:`ACCURACIES`, sorted, costs added.

    ``frame`` has ``dataset``, ``accuracy`` and ``arch`` or ``cell`` or both, and what else the source records
    (``params_m`` is compared with the project's count).  Raises :class:`InputError` for the first thing that is wrong.
    """
    frame = frame.reset_index(drop=True)
    _identify(frame, source)
    _count(frame, source, allow_partial)
    missing = np.flatnonzero(frame["accuracy"].isna())
    if len(missing):
        row = int(missing[0])
        raise InputError(f"{source}: row {row} has no accuracy (architecture {frame['arch'][row]})")
    for column in [name for name in ACCURACIES.columns if name in FRACTIONS and name in frame]:
        check_fractions(frame[column].to_numpy(dtype=np.float64), column, source)
    _seeds(frame, source)
    _costs(frame, source)
    _levels(frame, source)
    _agree(frame, source)
    for name in ACCURACIES.columns:
        if name not in frame:
            frame[name] = np.nan
    order = {name: place for place, name in enumerate(DATASETS)}
    frame = frame.sort_values(["dataset", "arch"], key=lambda c: c.map(order) if c.name == "dataset" else c)
    return frame[list(ACCURACIES.columns)].reset_index(drop=True)


def _identify(frame: pd.DataFrame, source: str) -> None:
    """Complete ``arch`` and ``cell`` from each other, or check that they agree; normalise the data sets' names."""
    names = frame["dataset"].astype(str).str.lower()
    unknown = ~names.isin(list(DATASETS))
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise InputError(
            f"{source}: row {row}: unknown data set {names[row][:40]!r}; known: {', '.join(DATASETS)}"
        )
    frame["dataset"] = names
    cells = np.array([cell.name for cell in benchmark().cells()], dtype=object)
    if "arch" in frame:
        arch = frame["arch"].to_numpy()
        bad = (arch < 0) | (arch >= ARCHITECTURES)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{source}: row {row}: architecture {arch[row]}; indices are 0 to {ARCHITECTURES - 1}"
            )
        wanted = cells[arch]
        if "cell" in frame:
            differ = frame["cell"].to_numpy(dtype=object) != wanted
            if differ.any():
                row = int(np.flatnonzero(differ)[0])
                raise InputError(
                    f"{source}: row {row}: architecture {arch[row]} is {str(frame['cell'][row])[:100]!r}, but the "
                    f"benchmark's index has {wanted[row]!r} there"
                )
        frame["cell"] = wanted
    else:
        index = {cell: place for place, cell in enumerate(cells)}
        place = frame["cell"].map(index)
        if place.isna().any():
            row = int(np.flatnonzero(place.isna())[0])
            raise InputError(
                f"{source}: row {row}: {str(frame['cell'][row])[:100]!r} is not an architecture of NAS-Bench-201; "
                f"expected such as {cells[0]!r}"
            )
        frame["arch"] = place.to_numpy(dtype=np.int64)


def _count(frame: pd.DataFrame, source: str, allow_partial: bool) -> None:
    twice = frame.duplicated(["dataset", "arch"]).to_numpy()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise InputError(
            f"{source}: row {row}: architecture {frame['arch'][row]} of {frame['dataset'][row]} occurs twice"
        )
    if len(frame) == 0:
        raise InputError(f"{source}: no architecture in it")
    for dataset, group in frame.groupby("dataset", sort=False):
        if len(group) != ARCHITECTURES and not allow_partial:
            lacking = np.setdiff1d(np.arange(ARCHITECTURES), group["arch"].to_numpy())
            raise InputError(
                f"{source}: {len(group)} architectures of {dataset}, {ARCHITECTURES} are needed (the first that lacks "
                f"is {lacking[0]}); --allow-partial takes what there is"
            )


def check_fractions(values: Float[np.ndarray, " rows"], column: str, source: str) -> None:
    """Raise :class:`InputError` where an accuracy lies outside 0 to 1 (NaN: not recorded); ``column`` is the source's name."""
    bad = (values < 0) | (values > 1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        hint = "; it looks like percent" if values[row] > 1 and np.nanmax(values) <= 100 else ""
        raise InputError(
            f"{source}: column {column!r}, row {row}: {values[row]:g} is not an accuracy; fractions from 0 to 1 are "
            f"expected{hint}"
        )


def _seeds(frame: pd.DataFrame, source: str) -> None:
    """Compare the mean with the values per seed where the source has a column for every seed."""
    names = [f"accuracy_{seed}" for seed in SEEDS]
    if not set(names) <= set(frame):
        return
    values = frame[names].to_numpy(dtype=np.float64)
    recorded = np.flatnonzero(~np.isnan(values).all(axis=1))
    accuracy = frame["accuracy"].to_numpy(dtype=np.float64)[recorded]
    differ = recorded[np.abs(np.nanmean(values[recorded], axis=1) - accuracy) > ROUNDING]
    if len(differ):
        row = int(differ[0])
        shown = ", ".join(f"{value:g}" for value in values[row] if not np.isnan(value))
        raise InputError(
            f"{source}: row {row}: architecture {frame['arch'][row]} on {frame['dataset'][row]} has the mean accuracy "
            f"{frame['accuracy'][row]:g}, but its seeds have {shown}; the mean of the recorded seeds is expected"
        )


AGREEING = {
    **dict.fromkeys(
        ("accuracy_12", "validation", "validation_12", *(f"accuracy_{seed}" for seed in SEEDS)), 0.3
    ),
    **dict.fromkeys(("code_1", "code_2", "code_3"), -0.1),
}
"""What else is measured of an architecture, and the rank correlation with its accuracy that is the least to be expected.  In
the official tables it is .81 to .87 after 12 epochs and −.35 to −.86 for losses of epochs 1 to 50, with rows in another order 0."""
ENOUGH = 1000
"""Architectures that say whether two columns agree."""


def _agree(frame: pd.DataFrame, source: str) -> None:
    """Notice a column whose rows belong to other architectures than those of the accuracy."""
    for name in filter(frame.__contains__, AGREEING):
        for dataset, rows in frame.groupby("dataset"):
            pair = rows[[name, "accuracy"]].dropna()
            found = float(pair[name].rank().corr(pair["accuracy"].rank())) if len(pair) >= ENOUGH else np.nan
            least = AGREEING[name]
            if found * np.sign(least) < abs(least):
                raise InputError(
                    f"{source}: column {name!r} on {dataset} has the rank correlation {found:.2f} with the accuracy after 200 "
                    f"epochs; {'at least' if least > 0 else 'at most'} {least:g} is expected of the same architectures, so its "
                    "rows may be in another order"
                )


def _costs(frame: pd.DataFrame, source: str) -> None:
    """Add the project's MACs and parameters; compare what the source records (docs/definitions.md, section 1: FLOPs = MACs + classes)."""
    expected = {d: benchmark().costs(side=side, classes=classes) for d, (side, classes) in DATASETS.items()}
    arch = frame["arch"].to_numpy()
    frame["macs"] = expected["cifar10"][0][arch]
    params = np.zeros(len(frame), dtype=np.int64)
    for dataset, (_, classes) in DATASETS.items():
        rows = np.flatnonzero(frame["dataset"] == dataset)
        params[rows] = expected[dataset][1][arch[rows]]
        for column, count in (
            ("flops_m", expected[dataset][0] + classes),
            ("params_m", expected[dataset][1]),
        ):
            if column in frame:
                values = frame[column].to_numpy(dtype=np.float64)[rows]
                _same_cost(values, count[arch[rows]], column, rows, frame, expected, source)
    frame["params"] = params


def _same_cost(
    values: np.ndarray,
    wanted: Int64[np.ndarray, " rows"],
    column: str,
    rows: Int64[np.ndarray, " rows"],
    frame: pd.DataFrame,
    expected: Mapping[str, tuple[np.ndarray, np.ndarray]],
    source: str,
) -> None:
    known = ~np.isnan(values)
    differ = known & ~(np.abs(values * 1e6 - wanted) < 5)  # records have five or six places of a million
    if not differ.any():
        return
    at = int(np.flatnonzero(differ)[0])
    row, arch, dataset = int(rows[at]), int(frame["arch"][rows[at]]), frame["dataset"][rows[at]]
    place, what = (0, "FLOPs (MACs + classes)") if column == "flops_m" else (1, "parameters")
    others = [
        other
        for other, costs in expected.items()
        if abs(values[at] * 1e6 - costs[place][arch] - (0 if place else DATASETS[other][1])) < 5
    ]
    hint = f"; it is that of {others[0]}, so the data sets are swapped" if others else ""
    raise InputError(
        f"{source}: column {column!r}, row {row}: architecture {arch} on {dataset} has {values[at]:g} million, "
        f"but its {what} are {wanted[at] / 1e6:g} million{hint}"
    )


def _levels(frame: pd.DataFrame, source: str) -> None:
    """Notice accuracies that belong to another data set or to other architectures.

    A cell without a path from input to output learns nothing, so its accuracy is exactly one of so many classes; and
    on an architecture that learns, CIFAR-10 is easier than CIFAR-100, and that than ImageNet16-120 (in the official
    tables for all and for 99.7 % of the architectures), which is asked of the median.
    """
    nothing = cut_off()[frame["arch"].to_numpy()]
    accuracy = frame["accuracy"].to_numpy(dtype=np.float64)
    for dataset, (_, classes) in DATASETS.items():
        rows = np.flatnonzero(nothing & (frame["dataset"] == dataset).to_numpy())
        wrong = rows[np.abs(accuracy[rows] * classes - 1) > 0.05]
        if len(wrong):
            row = int(wrong[0])
            likely = [d for d, (_, n) in DATASETS.items() if abs(accuracy[row] * n - 1) < 0.05]
            hint = (
                f"that is chance on {likely[0]}, so the data sets are swapped"
                if likely
                else "so accuracies belong to other architectures or scales"
            )
            raise InputError(
                f"{source}: row {row}: architecture {frame['arch'][row]} on {dataset} has no path from input to output "
                f"and accuracy {accuracy[row]:g}; chance is {1 / classes:.4g}; {hint}"
            )
    easy = {d: frame[(frame["dataset"] == d) & ~nothing].set_index("arch")["accuracy"] for d in DATASETS}
    names = [d for d in DATASETS if len(easy[d])]
    for easier, harder in itertools.pairwise(names):
        margin = (easy[easier] - easy[harder]).dropna()
        if len(margin) and margin.median() <= 0:
            raise InputError(
                f"{source}: most architectures are no better on {easier} than on {harder}: the data sets are swapped, or have the "
                "same numbers"
            )
