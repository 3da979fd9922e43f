"""Paired differences between methods at the same (N, K), with bootstrap confidence intervals over runs.

The runs of two methods with the same number share their seed (the start pool is a prefix of one permutation), so the
difference is taken run by run, and runs are resampled whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from snas import seeds
from snas.analysis.inputs import Bench
from snas.search.variants import MARK
from snas.tables import Column, Schema

SERIES_AT_ONCE = 256
"""Series of one matrix product: 10,000 resamples of so many are 20 MB, however many points a run has."""
COARSE = " (coarse ranking)"
"""Ending of the reference's name where a method is compared with its own coarse ranking."""

PAIRS: tuple[tuple[str, str], ...] = (
    ("neural_predictor", "random"),
    ("siamese", "neural_predictor"),
    ("siamese+nsam", "siamese"),
    ("siamese+nsam+bts", "siamese+nsam"),
    ("siamese+nsam+bts", "siamese+bts"),
    ("siamese+bts", "siamese"),
    ("siamese+nsam+bts", "neural_predictor"),
    ("siamese+nsam+bts", "random"),
    ("siamese+nsam+bts", "siamese+nsam+fts"),
    ("siamese+nsam+bts", "brp_nas"),
    ("neural_predictor+nsam", "neural_predictor"),
    ("siamese+nsam", "neural_predictor+nsam"),
    ("neural_predictor+bts", "neural_predictor"),
    ("siamese+bts", "neural_predictor+bts"),
    ("neural_predictor+nsam+bts", "neural_predictor+nsam"),
    ("siamese+nsam+bts", "neural_predictor+nsam+bts"),
)
"""(method, reference): what each part of the method adds, with and without the other parts, and the whole against others."""


def pairs_of(methods: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return :data:`PAIRS`, and those of the variants among ``methods``: against their method, and as their methods pair.

    >>> pairs_of(["siamese", "siamese@c=10"])[-2:]
    (('siamese@c=10', 'siamese'), ('siamese@c=10', 'neural_predictor@c=10'))

    A variant of another code is compared with the method without a code, too.
    """
    found = dict.fromkeys(PAIRS)
    variants = sorted(method for method in set(methods) if MARK in method)
    for method in variants:
        base, _, settings = method.partition(MARK)
        found[method, base] = None
        for one, other in PAIRS:
            if one == base:
                found[method, f"{other}{MARK}{settings}"] = None
                if "code=" in settings and other.replace("neural_predictor", "siamese") == base:
                    found[method, other] = None
    return tuple(found)


DIFFERENCES = Schema(
    name="differences",
    description="One row per pair of methods, N, K and kind of score: mean paired difference with its interval.",
    key=("bench", "method", "reference", "budget", "top", "kind"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "method": Column("string", "Name of the method"),
        "reference": Column("string", "What it is compared with: another method, or its own coarse ranking"),
        "budget": Column("int32", "N", low=0),
        "top": Column("int32", "K", low=1),
        "kind": Column("string", "score (pool members count in the top K) or score_fair"),
        "runs": Column("int32", "n, paired runs", low=1),
        "difference": Column("float64", "Mean of method minus reference over the paired runs"),
        "low": Column("float64", "Lower end of the percentile bootstrap interval"),
        "high": Column("float64", "Upper end of the percentile bootstrap interval"),
        "better": Column("float64", "Share of runs in which the method is better", low=0, high=1),
        "equal": Column("float64", "Share of runs in which both are equal", low=0, high=1),
    },
)


def bootstrap_means(
    values: Float[np.ndarray, "runs series"], resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[Float[np.ndarray, " series"], Float[np.ndarray, " series"]]:
    """Return the ends of the percentile bootstrap interval of the mean of each series, runs resampled whole.

    A resample is a multinomial count per run, so all series of one length share one draw and one matrix product.
    """
    runs = values.shape[0]
    counts = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples)
    tail = 100 * (1 - level) / 2
    ends = [
        np.percentile(counts @ values[:, first : first + SERIES_AT_ONCE] / runs, [tail, 100 - tail], axis=0)
        for first in range(0, values.shape[1], SERIES_AT_ONCE)
    ]
    low, high = np.concatenate(ends, axis=1)
    return low, high


def paired(
    scores: pd.DataFrame,
    bench: Bench,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    resamples: int = 10_000,
    base_seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the paired differences of all ``pairs`` (None: :func:`pairs_of`) that ``scores`` has, a table with the schema :data:`DIFFERENCES`.

    Every method that has codes is also compared with its own coarse ranking.  The resamples are seeded by
    ``(base_seed, "bootstrap", n)``, so the same scores give the same interval in any company.
    """
    rows, series = [], []
    for keys, difference in _differences(scores, pairs or pairs_of(scores["method"])):
        rows.append({"bench": bench.name, **keys, "runs": len(difference)})
        series.append(difference)
    if not rows:
        return pd.DataFrame(columns=list(DIFFERENCES.columns)).astype(
            {"runs": "int32", "budget": "int32", "top": "int32"}
        )
    frame = pd.DataFrame(rows)
    lengths = frame["runs"].to_numpy()
    for runs in np.unique(lengths):
        here = np.flatnonzero(lengths == runs)
        rng = seeds.numpy_generator(base_seed, "bootstrap", int(runs))
        values = np.stack([series[i] for i in here], axis=1)
        low, high = bootstrap_means(values, resamples, rng, level)
        frame.loc[here, "low"], frame.loc[here, "high"] = low, high
        frame.loc[here, "difference"] = values.mean(axis=0)
        frame.loc[here, "better"] = (values > 0).mean(axis=0)
        frame.loc[here, "equal"] = (values == 0).mean(axis=0)
    return frame[list(DIFFERENCES.columns)].sort_values(list(DIFFERENCES.key), ignore_index=True)  # fmt: skip


def _differences(
    scores: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> list[tuple[dict[str, object], Float[np.ndarray, " _"]]]:
    """Return (keys, differences of the paired runs) for every pair, N, K and kind that has runs of both.

    A pair of which a run has no score is left out: the others are no random choice of runs.
    """
    found: list[tuple[dict[str, object], np.ndarray]] = []
    cells = {
        key: group.set_index("run").sort_index() for key, group in scores.groupby(["method", "budget", "top"])
    }
    for (method, budget, top), ours in cells.items():
        for kind in ("score", "score_fair"):
            others = [
                (reference, cells[reference, budget, top][kind])
                for name, reference in pairs
                if name == method and (reference, budget, top) in cells
            ]
            if kind == "score" and (ours["codes"].max() > 0 or "code=" in str(method)):
                others.append((f"{method}{COARSE}", ours["score_coarse"]))
            for reference, theirs in others:
                common = ours.index.intersection(theirs.index)
                difference = (ours.loc[common, kind] - theirs.loc[common]).to_numpy()
                if len(difference) and not np.isnan(difference).any():
                    keys = {
                        "method": method,
                        "reference": reference,
                        "budget": budget,
                        "top": top,
                        "kind": kind,
                    }
                    found.append((keys, difference))
    return found
