"""Fewer trainings: how far a method is after how much, and how much it needs until it has the best architecture.

A search that asks one after the other (random, evolution, local search, a Gaussian process) is a whole curve: what it has
found after t trainings does not hang on its budget.  A predictor of N architectures is a point: N and K trainings, the best
of pool and top K.  The price counts complete trainings, looks and codes (SPEC section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from snas import InputError, tables
from snas.analysis.inputs import Bench, read_bench, read_search
from snas.search import METHODS
from snas.tables import Column, Schema

QUANTILES = (0.1, 0.5, 0.9)
EQUAL = 1e-9
"""Accuracies that differ by less are the same (means over seeds differ by rounding)."""

PROGRESS = Schema(
    name="progress",
    description="How far a method is after t trainings: statistics over the runs.",
    key=("bench", "removed", "method", "trained"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "removed": Column("int32", "How many of the best architectures were taken away before the search", low=0),
        "method": Column("string", "Name of the method, with its options where it has some"),
        "trained": Column("int32", "Complete trainings", low=1),
        "price": Column("float64", "Mean price of a run: trainings, looks and codes, in complete trainings", low=0),
        "seconds": Column("float64", "Mean seconds of these trainings, looks and codes on the source's machine", null=True, low=0),
        "runs": Column("int32", "Runs", low=1),
        "regret": Column("float64", "Mean regret to the optimum of the bench, a fraction", low=0, high=1),
        "low": Column("float64", "Lower end of the 95 % interval of the mean (bootstrap over runs)", low=0, high=1),
        "high": Column("float64", "Upper end", low=0, high=1),
        "worst": Column("float64", "Largest regret of a run", low=0, high=1),
        "found": Column("float64", "Share of the runs that have the optimum", low=0, high=1),
        "continuous": Column("bool", "Part of a curve (one search, read off after t trainings), or a search of its own"),
    },
)  # fmt: skip

NEEDED = Schema(
    name="needed",
    description="Price until a run has the best architecture of the bench: statistics over the runs of a continuous search.",
    key=("bench", "removed", "method"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "removed": Column("int32", "How many of the best architectures were taken away before the search", low=0),
        "method": Column("string", "Name of the method, with its options where it has some"),
        "runs": Column("int32", "Runs", low=1),
        "budget": Column("int32", "Complete trainings after which a run was ended", low=1),
        "price_end": Column("float64", "Mean price of a run when it was ended", low=0),
        "found": Column("float64", "Share of the runs that had the optimum by then", low=0, high=1),
        **{
            f"{kind}_{name}": Column("float64", f"{text} until the optimum is trained: {which}; missing where the run in this place has not found it", null=True, low=0)
            for kind, text in (("trained", "Trainings"), ("price", "Price"))
            for name, which in (("low", "10 % quantile"), ("median", "median"), ("high", "90 % quantile"), ("worst", "largest"))
        },
    },
)  # fmt: skip

SCHEMAS = {schema.name: schema for schema in (PROGRESS, NEEDED)}


def analyse(
    benches: Mapping[str | Path, Sequence[str | Path]],
    outputs: Mapping[str, str | Path],
    *,
    resamples: int = 2000,
    base_seed: int = 0,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the tables of :data:`SCHEMAS`: ``benches`` maps each bench table to its search results."""
    unknown = [key for key in outputs if key not in SCHEMAS]
    if unknown:
        raise InputError(f"unknown table {unknown[0]!r} of the analysis; known: {', '.join(SCHEMAS)}")
    parts = [fewest(read_bench(bench), paths, resamples, base_seed) for bench, paths in benches.items()]
    made = {
        "progress": pd.concat([progress for progress, _ in parts], ignore_index=True),
        "needed": pd.concat([needed for _, needed in parts], ignore_index=True),
    }
    for key, path in outputs.items():
        tables.write(path, made[key], SCHEMAS[key], {"resamples": resamples, **(metadata or {})})


def fewest(
    bench: Bench, search_paths: Sequence[str | Path], resamples: int = 2000, base_seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (:data:`PROGRESS`, :data:`NEEDED`) of one bench; its metadata ``removed`` says which variant it is.

    Both are empty where no accuracy is known: there is no optimum to be found.
    """
    progress, needed = [pd.DataFrame(columns=list(PROGRESS.columns))], []
    groups: dict[tuple[str, str], list[str | Path]] = {}
    for path in search_paths if np.isfinite(bench.optimum) else ():
        facts = tables.metadata(path)
        groups.setdefault((label(path), str(facts.get("labels", "accuracy"))), []).append(path)
    for (name, labels), paths in groups.items():
        searched = read_search(paths, bench)
        options = tables.metadata(paths[0]).get("options") or {}
        for (_, budget), rows in searched.groupby(["method", "budget"]):
            runs = _Runs(bench, rows, options, labels)
            progress.append(runs.progress(resamples, base_seed).assign(method=name))
            if runs.continuous:
                needed.append({**runs.needed(), "method": name, "budget": budget})
    common: dict[str, Any] = {"bench": bench.name, "removed": int(bench.facts.get("removed", 0))}
    left = pd.concat(progress[1:] or progress, ignore_index=True)
    # one method at several budgets: of equal trainings, the search that was meant for the most counts
    left = left.drop_duplicates(["method", "trained"], keep="last").assign(**common)
    right = pd.DataFrame(needed, columns=[c for c in NEEDED.columns if c not in common]).assign(**common)
    right = right.drop_duplicates("method", keep="last")
    return left[list(PROGRESS.columns)], right[list(NEEDED.columns)]


def label(path: str | Path) -> str:
    """Return a method's name with its options, ``gp batch=4``; ``(fair)`` where it was selected on another table."""
    facts = tables.metadata(path)
    names = pd.read_parquet(path, columns=["method"])["method"].unique()  # one per file
    options = [f"{key}={value}" for key, value in sorted((facts.get("options") or {}).items())]
    fair = ["(fair)"] if facts.get("labels", "accuracy") != "accuracy" else []
    return " ".join([*map(str, names), *options, *fair])


class _Runs:
    """The runs of one method at one budget on a bench: what they have found after t trainings, and at what price."""

    def __init__(self, bench: Bench, rows: pd.DataFrame, options: Mapping[str, Any], labels: str) -> None:
        self.bench, self.options = bench, options
        self.method = METHODS.load(str(rows["method"].iloc[0]))
        self.continuous = (
            self.method.score == "asked" and getattr(self.method, "final", "process") == "process"
        )
        self.budget, self.codes = int(rows["budget"].iloc[0]), rows["codes"].to_numpy(dtype=float)
        asked = np.stack(rows["pool"].to_list()).astype(np.int64)
        if not self.continuous:
            asked = np.concatenate([asked, _outside(rows, asked)], axis=1)
        self.asked = asked
        accuracy = np.nan_to_num(bench.by_arch("accuracy"), nan=-np.inf)
        found = accuracy[asked]
        if labels == "accuracy":
            best = np.maximum.accumulate(found, axis=1)
        else:  # selected on another table, reported on this one
            select = np.nan_to_num(bench.by_arch(labels), nan=-np.inf)[asked]
            leaders = np.maximum.accumulate(select, axis=1)
            new = np.concatenate([np.full((len(select), 1), True), leaders[:, 1:] > leaders[:, :-1]], axis=1)
            place = np.maximum.accumulate(np.where(new, np.arange(select.shape[1]), 0), axis=1)
            best = np.take_along_axis(found, place, axis=1)
        self.regret: Float[np.ndarray, "runs trained"] = np.minimum(bench.optimum - best, 1.0)

    def price(self) -> Float[np.ndarray, "runs trained"]:
        """Return the price of a run up to its t-th training."""
        trained = np.arange(1, self.asked.shape[1] + 1, dtype=float)
        return trained + np.broadcast_to(self._looks(), self.asked.shape)

    def _looks(self) -> np.ndarray:
        """Return what looks and codes have cost by the t-th training, in complete trainings."""
        measured = getattr(self.method, "measured", None)
        if measured is None:
            trained = np.arange(1, self.asked.shape[1] + 1)
            # A curve's codes are those of what is trained; a search of its own has all its codes before its last trainings.
            codes = np.minimum(self.codes[:, None], trained) if self.continuous else self.codes[:, None]
            return codes * self.bench.code_price
        unit = {"code": self.bench.code_price, "synflow": 0.0}.get(measured)
        if unit is None:
            unit = float(self.bench.facts["select_price"])
        looks = self.method.looks_after(self.budget, self.options)
        return np.minimum(looks, len(self.bench.table)) * unit

    def seconds(self) -> Float[np.ndarray, "runs trained"] | None:
        """Return the seconds of trainings and looks where the source has times; a look takes its price's share of a mean
        training."""
        if "truth_seconds" not in self.bench.table or self.bench.table["truth_seconds"].isna().all():
            return None
        times = self.bench.by_arch("truth_seconds")
        mean = float(np.nanmean(times))
        each = np.where(np.isnan(times), mean, times)[self.asked]
        return np.cumsum(each, axis=1) + np.broadcast_to(self._looks() * mean, self.asked.shape)

    def progress(self, resamples: int, base_seed: int) -> pd.DataFrame:
        """Return the rows of :data:`PROGRESS`: all t of a continuous search, the end of another."""
        from snas import seeds

        chosen = np.arange(self.asked.shape[1]) if self.continuous else np.array([self.asked.shape[1] - 1])
        regret = self.regret[:, chosen]
        draws = seeds.numpy_generator(base_seed, "bootstrap fewest").integers(
            len(regret), size=(resamples, len(regret))
        )
        shares = np.stack([np.bincount(draw, minlength=len(regret)) for draw in draws]) / len(regret)
        means = shares @ regret
        seconds = self.seconds()
        return pd.DataFrame(
            {
                "trained": chosen + 1,
                "price": self.price()[:, chosen].mean(axis=0),
                "seconds": np.nan if seconds is None else seconds[:, chosen].mean(axis=0),
                "runs": len(regret),
                "regret": regret.mean(axis=0),
                "low": np.quantile(means, 0.025, axis=0),
                "high": np.quantile(means, 0.975, axis=0),
                "worst": regret.max(axis=0),
                "found": (regret <= EQUAL).mean(axis=0),
                "continuous": self.continuous,
            }
        )

    def needed(self) -> dict[str, Any]:
        """Return the row of :data:`NEEDED`; a run that never has the optimum counts as later than every other."""
        hit: np.ndarray = np.less_equal(self.regret, EQUAL)
        has: np.ndarray = np.any(hit, axis=1)
        first = hit.argmax(axis=1)
        trained = np.where(has, first + 1.0, np.inf)
        price = np.where(has, np.take_along_axis(self.price(), first[:, None], axis=1)[:, 0], np.inf)
        row: dict[str, Any] = {
            "runs": len(has),
            "found": float(has.mean()),
            "price_end": float(self.price()[:, -1].mean()),
        }
        for kind, values in (("trained", trained), ("price", price)):
            at = np.quantile(values, QUANTILES, method="inverted_cdf")
            row |= {
                f"{kind}_{name}": _finite(v) for name, v in zip(("low", "median", "high"), at, strict=True)
            }
            row[f"{kind}_worst"] = _finite(values.max())
        return row


def _outside(rows: pd.DataFrame, pool: Int64[np.ndarray, "runs pool"]) -> Int64[np.ndarray, "runs top"]:
    """Return the first K of each ranking that are not in the pool (the fair count: N + K distinct trainings)."""
    found = []
    for ranking, asked in zip(rows["ranking"], pool, strict=True):
        ranked = np.asarray(ranking, dtype=np.int64)
        top = max(len(ranked) - len(asked), 0)  # a search keeps the first N + K
        found.append(ranked[~np.isin(ranked, asked)][:top])
    least = min(map(len, found))
    return np.stack([archs[:least] for archs in found])


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("nan")
