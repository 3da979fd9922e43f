"""The paper's own numbers beside ours, at equal axes, N and K."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from snas import InputError
from snas.analysis.inputs import Bench
from snas.tables import Column, Schema

FOLDER = Path(__file__).resolve().parent.parent.parent / "published"
CURVE_COLUMNS = (
    "figure", "space", "dataset", "method", "fixed", "fixed_value", "trained_samples", "mean_best_accuracy",
    "band_half_width",
)  # fmt: skip
TIME_COLUMNS = ("method", "space", "architectures", "batch_samples", "training_time_s")

COMPARISON = Schema(
    name="comparison",
    description="One row per published point: the published mean and ours at the same method, N and K.",
    key=("figure", "space", "dataset", "method", "budget", "top"),
    columns={
        "figure": Column("string", "Figure of the paper"),
        "space": Column("string", "Search space"),
        "dataset": Column("string", "Image set"),
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N", low=0),
        "top": Column("int32", "K", low=1),
        "trained": Column("int32", "N + K", low=1),
        "published": Column("float64", "Published mean, read off the plot to ±0.001", low=0, high=1),
        "published_quarter_sd": Column("float64", "Published half width of the band (0.25 sd)", null=True),
        "runs": Column("float64", "n of ours; missing where the run has no such point", null=True),
        "mean": Column("float64", "Ours", null=True, low=0, high=1),
        "sd": Column("float64", "Standard deviation of ours over runs", null=True),
        "se": Column("float64", "Standard error of our mean", null=True),
        "fair_mean": Column("float64", "Ours by the fair price (pool not counted among the K)", null=True),
        "regret": Column("float64", "Our mean regret to the optimum of our table", null=True),
        "difference": Column("float64", "Ours minus published", null=True),
    },
)  # fmt: skip


def curves(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Return the published curves, one row per point, with N (``budget``), K (``top``) and N + K (``trained``).

    Raises :class:`InputError` where the file or a column is missing, or an axis is neither N nor K.
    """
    frame = _csv(Path(folder) / "curves.csv", CURVE_COLUMNS)
    foreign = ~frame["fixed"].isin(["N", "K"])
    if foreign.any():
        row = int(foreign.to_numpy().argmax())
        raise InputError(
            f"{Path(folder) / 'curves.csv'}: column 'fixed', row {row}: {frame['fixed'][row]!r}, expected N or K"
        )
    other = frame["trained_samples"] - frame["fixed_value"]
    by_n = frame["fixed"] == "N"
    frame["budget"] = frame["fixed_value"].where(by_n, other)
    frame["top"] = other.where(by_n, frame["fixed_value"])
    return frame.rename(
        columns={
            "trained_samples": "trained",
            "mean_best_accuracy": "published",
            "band_half_width": "published_quarter_sd",
        }
    )  # fmt: skip


def times(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Return table 1 of the paper: training time in seconds with FTS and BTS on both spaces."""
    return _csv(Path(folder) / "table1.csv", TIME_COLUMNS)


def compare(points: pd.DataFrame, bench: Bench, folder: str | Path = FOLDER) -> pd.DataFrame:
    """Return the published points of the bench's space and image set with ours beside, schema :data:`COMPARISON`.

    Only equal method, N and K are joined; where the run has no such point, our columns are missing.  A bench whose
    metadata say ``published: false`` is another benchmark with the same architectures, and is not compared.
    """
    theirs = curves(folder)
    if bench.facts.get("published") is False:
        theirs = theirs.head(0)
    theirs = theirs[(theirs["space"] == bench.space) & (theirs["dataset"] == bench.dataset)]
    ours = points[["method", "budget", "top", "runs", "mean", "sd", "se", "fair_mean", "regret"]]
    joined = theirs.merge(ours, on=["method", "budget", "top"], how="left")
    joined["difference"] = joined["mean"] - joined["published"]
    return joined[list(COMPARISON.columns)]


def _csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; it belongs to the repository")
    frame = pd.read_csv(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]!r} is missing; it has {', '.join(frame.columns)}")
    return frame
