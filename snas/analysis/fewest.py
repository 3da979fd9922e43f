"""Fewer trainings: how far a method is after how much, and how much it needs until it has the best architecture.

A search that asks one after the other (random, evolution, local search, a Gaussian process) is a whole curve: what it has
found after t trainings does not hang on its budget.  A predictor of N architectures is a point: N and K trainings, the best
of pool and top K.  The price counts complete trainings, looks and codes (docs/definitions.md, section 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from snas import InputError, seeds, tables
from snas.analysis.inputs import Bench, read_bench, read_search
from snas.proxies import REGISTRY as PROXIES
from snas.search import METHODS
from snas.search.jobs import flat
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
        "top": Column("int32", "K of a search of its own, trained at the end outside its pool of N; 0 in a curve", low=0),
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

PAIRED = Schema(
    name="paired",
    description="How much farther from the optimum a method is than the reference at the same price, run by run.",
    key=("bench", "removed", "method", "price"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "removed": Column("int32", "How many of the best architectures were taken away before the search", low=0),
        "reference": Column("string", "The method that the others are compared with"),
        "method": Column("string", "Name of the other method, with its options where it has some"),
        "price": Column("float64", "Price, in complete trainings; of a search of its own, its mean price", low=0),
        "runs": Column("int32", "Runs that both have: equal number, equal first architectures", low=1),
        "regret": Column("float64", "Mean regret of the method, a fraction", low=0, high=1),
        "reference_regret": Column("float64", "Mean regret of the reference", low=0, high=1),
        "difference": Column("float64", "Mean of the method's regret less the reference's: above 0, the reference is better", low=-1, high=1),
        "low": Column("float64", "Lower end of the 95 % interval of the difference (bootstrap over runs)", low=-1, high=1),
        "high": Column("float64", "Upper end", low=-1, high=1),
    },
)  # fmt: skip

SCHEMAS = {schema.name: schema for schema in (PROGRESS, NEEDED, PAIRED)}
REFERENCE = "gp"
"""The method that :func:`paired` compares the others with."""


def analyse(
    benches: Mapping[str | Path, Sequence[str | Path]],
    outputs: Mapping[str, str | Path],
    *,
    resamples: int = 2000,
    base_seed: int = 0,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tables of :data:`SCHEMAS`: ``benches`` maps each bench table to its search results."""
    unknown = [key for key in outputs if key not in SCHEMAS]
    if unknown:
        raise InputError(f"unknown table {unknown[0]!r} of the analysis; known: {', '.join(SCHEMAS)}")
    made: dict[str, list[pd.DataFrame]] = {key: [] for key in SCHEMAS}
    for path, paths in benches.items():
        bench = read_bench(path)
        for key, frame in zip(SCHEMAS, fewest(bench, paths, resamples, base_seed), strict=False):
            made[key].append(frame)
        made["paired"].append(paired(bench, paths, resamples, base_seed))
    for key, path in outputs.items():
        frame = pd.concat(made[key], ignore_index=True) if made[key] else _empty(SCHEMAS[key])
        tables.write(path, frame, SCHEMAS[key], {"resamples": resamples, **(metadata or {})})


def fewest(
    bench: Bench,
    search_paths: Sequence[str | Path],
    resamples: int = 2000,
    base_seed: int = 0,
    top: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (:data:`PROGRESS`, :data:`NEEDED`) of one bench; its metadata ``removed`` says which variant it is.

    ``top`` is the K of searches of their own; None takes all that they have kept, which a study has chosen for itself, and
    an ordinary run for its dearest figure.  Both tables are empty where no accuracy is known: there is no optimum to be found.
    """
    progress, needed = [_empty(PROGRESS).assign(budget=0)], []
    for name, runs in searches(bench, search_paths, top):
        progress.append(runs.progress(resamples, base_seed).assign(method=name, budget=runs.budget))
        if runs.continuous:
            needed.append({**runs.needed(), "method": name, "budget": runs.budget})
    common: dict[str, Any] = {"bench": bench.name, "removed": int(bench.facts.get("removed", 0))}
    left = pd.concat(progress[1:] or progress, ignore_index=True).assign(**common)
    left = _once(left, ["method", "trained"])
    right = pd.DataFrame(needed, columns=[c for c in NEEDED.columns if c not in common]).assign(**common)
    right = _once(right, ["method"])
    return left[list(PROGRESS.columns)], right[list(NEEDED.columns)]


def paired(
    bench: Bench, search_paths: Sequence[str | Path], resamples: int = 2000, base_seed: int = 0
) -> pd.DataFrame:
    """Return :data:`PAIRED` of one bench: :data:`REFERENCE` against every other method, at every whole price of a curve.

    A search of its own is compared at its price, run by run; where the reference has ended before, at its end.
    """
    found = list(searches(bench, search_paths))
    references = [runs for name, runs in found if name == REFERENCE]
    rows = [
        {**row, "method": name, "reference": REFERENCE, "budget": runs.budget}
        for name, runs in found
        if references and name != REFERENCE
        for row in _against(_nearest(references, runs), runs, resamples, base_seed)
    ]
    frame = pd.DataFrame(rows, columns=[*PAIRED.columns, "budget"])
    frame = frame.assign(bench=bench.name, removed=int(bench.facts.get("removed", 0)))
    return _once(frame, ["method", "price"])[list(PAIRED.columns)]


def _once(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return one row per ``key`` where a method has several budgets: that of the most runs, of as many that of the largest N."""
    ordered = frame.sort_values(["runs", "budget"], kind="stable")
    return frame.loc[ordered.drop_duplicates(key, keep="last").index.sort_values()]


def _nearest(references: Sequence[Runs], other: Runs) -> Runs:
    """Return the reference that has the most runs of ``other``, of as many that of the largest N."""
    return max(references, key=lambda r: (len(np.intersect1d(r.runs, other.runs)), r.budget))


def is_curve(rows: pd.DataFrame) -> bool:
    """Return whether the rows of a method in :data:`PAIRED` are one search read off as it goes on: at every whole price."""
    prices = np.sort(rows["price"])
    return len(rows) > 1 and bool(np.allclose(prices, np.round(prices)) and np.allclose(np.diff(prices), 1))


def _against(reference: Runs, other: Runs, resamples: int, base_seed: int) -> Iterator[dict[str, Any]]:
    both, mine, theirs = np.intersect1d(reference.runs, other.runs, return_indices=True)
    if not len(both):
        return
    price = other.price()[theirs]
    if other.continuous:
        first = int(np.ceil(max(price[:, 0].max(), reference.price()[:, 0].max())))
        last = int(np.floor(min(price[:, -1].min(), reference.price()[:, -1].min()) + EQUAL))
        each = [np.full(len(both), float(at)) for at in range(first, last + 1)]
    else:
        each = [price[:, -1]]
    if not each:
        return
    here = np.stack([other.regret_at(theirs, at) for at in each], axis=1)
    there = np.stack([reference.regret_at(mine, at) for at in each], axis=1)
    means = _resampled(len(both), resamples, base_seed) @ (here - there)
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    for k, at in enumerate(each):
        yield {
            "price": float(at.mean()),
            "runs": len(both),
            "regret": float(here[:, k].mean()),
            "reference_regret": float(there[:, k].mean()),
            "difference": float((here - there)[:, k].mean()),
            "low": float(low[k]),
            "high": float(high[k]),
        }


def _resampled(count: int, resamples: int, base_seed: int) -> Float[np.ndarray, "resamples runs"]:
    """Return the share of each run in each bootstrap sample."""
    draws = seeds.numpy_generator(base_seed, "bootstrap fewest").integers(count, size=(resamples, count))
    return np.stack([np.bincount(draw, minlength=count) for draw in draws]) / count


def _empty(schema: Schema) -> pd.DataFrame:
    return pd.DataFrame(columns=list(schema.columns))


def searches(
    bench: Bench, search_paths: Sequence[str | Path], top: int | None = None
) -> Iterator[tuple[str, Runs]]:
    """Yield (label, runs) of every method and budget; nothing where no accuracy is known: there is no optimum to be found."""
    groups: dict[tuple[str, str], list[str | Path]] = {}
    for path in search_paths if np.isfinite(bench.optimum) else ():
        facts = tables.metadata(path)
        groups.setdefault((label(path), str(facts.get("labels", "accuracy"))), []).append(path)
    for (name, labels), paths in groups.items():
        searched = read_search(paths, bench)
        options = tables.metadata(paths[0]).get("options") or {}
        for _, rows in searched.groupby(["method", "budget"]):
            yield name, Runs(bench, rows, options, labels, top)


def label(path: str | Path) -> str:
    """Return a method's name with its options, ``gp batch=4``; ``(fair)`` where it was selected on another table."""
    facts = tables.metadata(path)
    names = pd.read_parquet(path, columns=["method"])["method"].unique()  # one per file
    options = flat(facts.get("options") or {})
    fair = ["(fair)"] if facts.get("labels", "accuracy") != "accuracy" else []
    return " ".join([*map(str, names), *options, *fair])


class Runs:
    """The runs of one method at one budget on a bench: what they have found after t trainings, and at what price."""

    def __init__(
        self,
        bench: Bench,
        rows: pd.DataFrame,
        options: Mapping[str, Any],
        labels: str,
        top: int | None = None,
    ) -> None:
        self.bench, self.options = bench, options
        self.runs = rows["run"].to_numpy(dtype=np.int64)
        self.method = METHODS.load(str(rows["method"].iloc[0]))
        self.continuous = (
            self.method.score == "asked" and getattr(self.method, "final", "process") == "process"
        )
        self.budget, self.codes = int(rows["budget"].iloc[0]), rows["codes"].to_numpy(dtype=float)
        asked = np.stack(rows["pool"].to_list()).astype(np.int64)
        self.top = 0
        if not self.continuous:
            last = _outside(rows, asked, top)
            asked, self.top = np.concatenate([asked, last], axis=1), last.shape[1]
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

    def regret_at(
        self, rows: Int64[np.ndarray, " some"], price: Float[np.ndarray, " some"]
    ) -> Float[np.ndarray, " some"]:
        """Return the regret of some runs at a price each: of the last training that it pays for."""
        paid = (self.price()[rows] <= price[:, None] + EQUAL).sum(axis=1)
        found: Float[np.ndarray, " some"] = self.regret[rows, np.maximum(paid, 1) - 1]
        return found

    def _looks(self) -> np.ndarray:
        """Return what looks and codes have cost by the t-th training, in complete trainings."""
        measured = getattr(self.method, "measured", None)
        if measured is None:
            trained = np.arange(1, self.asked.shape[1] + 1)
            # A curve's codes are those of what is trained; a search of its own has all its codes before its last trainings.
            codes = np.minimum(self.codes[:, None], trained) if self.continuous else self.codes[:, None]
            return codes * self.bench.code_price
        if measured in PROXIES:
            return np.zeros(self.asked.shape[1])
        unit = self.bench.code_price if measured == "code" else float(self.bench.facts["select_price"])
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
        chosen = np.arange(self.asked.shape[1]) if self.continuous else np.array([self.asked.shape[1] - 1])
        regret = self.regret[:, chosen]
        means = _resampled(len(regret), resamples, base_seed) @ regret
        seconds = self.seconds()
        return pd.DataFrame(
            {
                "trained": chosen + 1,
                "top": self.top,
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


def _outside(
    rows: pd.DataFrame, pool: Int64[np.ndarray, "runs pool"], most: int | None
) -> Int64[np.ndarray, "runs top"]:
    """Return the first K of each ranking that are not in the pool (the fair count: N + K distinct trainings)."""
    found = []
    for ranking, asked in zip(rows["ranking"], pool, strict=True):
        ranked = np.asarray(ranking, dtype=np.int64)
        kept = max(len(ranked) - len(asked), 0)  # a search keeps the first N + K
        top = kept if most is None else min(kept, most)
        found.append(ranked[~np.isin(ranked, asked)][:top])
    least = min(map(len, found))
    return np.stack([archs[:least] for archs in found])


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else float("nan")
