"""The score of every run (docs/definitions.md, section 5): the best true accuracy among the top K of its ranking, after N + K trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from snas import InputError
from snas.analysis.inputs import Bench
from snas.tables import Column, Schema

_FRACTION: dict[str, Any] = {"null": True, "low": 0, "high": 1}

SCORES = Schema(
    name="scores",
    description="One row per method, N, K and run: what the run found.",
    key=("method", "budget", "top", "run"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N, architectures trained for the predictor", low=0),
        "top": Column("int32", "K, best-ranked architectures that are trained at the end", low=1),
        "trained": Column("int32", "N + K", low=1),
        "run": Column("int32", "Number of the run; equal numbers are paired across methods", low=0),
        "score": Column("float64", "Best accuracy in the top K, pool members counted (the paper's); of a search that asks one after the other and of random search, the best of everything that it asked for: pool and the K best-ranked outside it", **_FRACTION),
        "score_fair": Column(
            "float64",
            "Best accuracy in the pool and the K best-ranked outside it: N + K distinct trainings; missing where the "
            "kept ranking holds fewer than K outside the pool or one of them is not trained",
            **_FRACTION,
        ),
        "score_protocol": Column(
            "float64",
            "Accuracy of the architecture of the top K (where all that was asked for counts in `score`, of that) that is best by "
            "the selection accuracy; with `@labels=select`, which trains on that too, the fair protocol; missing where the bench "
            "has no selection accuracy",
            **_FRACTION,
        ),
        "score_coarse": Column(
            "float64", "As `score`, with the coarse ranking (no estimation code at the end); missing where one is not trained", **_FRACTION
        ),
        "regret": Column("float64", "Optimum of the bench minus `score`; missing where the bench is known in part", **_FRACTION),
        "regret_fair": Column("float64", "Optimum of the bench minus `score_fair`", **_FRACTION),
        "pool_in_top": Column("int32", "Pool members among the top K: trainings counted twice in N + K", low=0),
        "codes": Column("int32", "Distinct estimation codes asked in the search", low=0),
        "spearman": Column("float64", "Spearman correlation, whole ranking", null=True, low=-1, high=1),
        "kendall": Column("float64", "Kendall correlation, whole ranking", null=True, low=-1, high=1),
        "coarse_spearman": Column("float64", "Spearman correlation, coarse ranking", null=True, low=-1, high=1),
        "coarse_kendall": Column("float64", "Kendall correlation, coarse ranking", null=True, low=-1, high=1),
    },
)  # fmt: skip


def score_runs(bench: Bench, search: pd.DataFrame, tops: Sequence[int]) -> pd.DataFrame:
    """Score every run of ``search`` at every K of ``tops``; returns a table with the schema :data:`SCORES`.

    A run of the fair protocol (trained on ``accuracy_select``) selects on that: its scores are the accuracies of the
    architectures that it selects, with its coarse ranking and from pool and K as well.  A network whose training failed
    counts as chance.  Where an architecture that a score needs is not trained (on demand,
    only what a search asks for is), the score is missing: a best of the others would be too low.  Raises
    :class:`InputError` where a kept ranking is shorter than the largest K although the space is not.
    """
    ks = np.array(sorted(set(int(k) for k in tops)))
    if not len(ks) or ks[0] < 1:
        raise InputError(
            f"{bench.name}: the values of K are {list(tops)}; at least one, each 1 or more, is needed"
        )
    accuracy, select = bench.by_arch("accuracy"), bench.by_arch("accuracy_select")
    optimum = bench.optimum
    blocks = []
    for row in search.itertuples(index=False):
        ranking = np.asarray(row.ranking, dtype=np.int64)
        pool = np.asarray(row.pool, dtype=np.int64)
        if len(ranking) < min(ks[-1], len(bench.table)):
            raise InputError(
                f"{bench.name}: run {row.run} of {row.method} at N = {row.budget} keeps the first {len(ranking)} of its "
                f"ranking; K = {ks[-1]} needs as many"
            )
        in_pool = np.isin(ranking, pool)
        merit = accuracy if row.labels == "accuracy" else bench.by_arch(str(row.labels))
        complete = len(ranking) == len(bench.table)
        fair = _fair(accuracy, merit, ranking, in_pool, pool, ks, complete=complete)
        drawn = bool(row.asked)  # all N + K are draws: pool and top K count together
        protocol = (
            _fair(accuracy, select, ranking, in_pool, pool, ks, complete=complete)
            if drawn
            else selected_of_top(accuracy, select, ranking, ks)
        )
        blocks.append(
            {
                "method": row.method,
                "budget": row.budget,
                "run": row.run,
                "top": ks,
                "score": fair if drawn else _best(accuracy, merit, ranking, ks),
                "score_fair": fair,
                "score_protocol": protocol,
                "score_coarse": _coarse(
                    accuracy, merit, np.asarray(row.coarse_ranking, dtype=np.int64), ks, drawn
                ),
                "pool_in_top": np.zeros_like(ks) if drawn else _at(np.cumsum(in_pool), ks),
                "codes": row.codes,
                "spearman": row.spearman,
                "kendall": row.kendall,
                "coarse_spearman": row.coarse_spearman,
                "coarse_kendall": row.coarse_kendall,
            }
        )
    frame = pd.concat([pd.DataFrame(block) for block in blocks], ignore_index=True)
    frame["bench"] = bench.name
    frame["trained"] = frame["budget"] + frame["top"]
    frame["regret"] = optimum - frame["score"]
    frame["regret_fair"] = optimum - frame["score_fair"]
    return frame[list(SCORES.columns)].sort_values(list(SCORES.key), ignore_index=True)


def best_of_top(
    accuracy: Float[np.ndarray, " archs"], ranking: Int[np.ndarray, " kept"], ks: Int[np.ndarray, " tops"]
) -> Float[np.ndarray, " tops"]:
    """Return the best accuracy among the first K of ``ranking`` for each K; NaN where one of them is not known."""
    return _at(np.maximum.accumulate(accuracy[ranking]), ks)


def selected_of_top(
    accuracy: Float[np.ndarray, " archs"],
    select: Float[np.ndarray, " archs"],
    ranking: Int[np.ndarray, " kept"],
    ks: Int[np.ndarray, " tops"],
) -> Float[np.ndarray, " tops"]:
    """Return, for each K, the ``accuracy`` of the architecture with the largest ``select`` among the first K.

    The earlier in the ranking wins a tie; NaN where no selection accuracy is known.
    """
    chosen = np.where(np.isnan(select[ranking]), -np.inf, select[ranking])
    leaders = np.maximum.accumulate(chosen)
    is_new = np.r_[True, leaders[1:] > leaders[:-1]][: len(chosen)]
    place = np.maximum.accumulate(np.where(is_new, np.arange(len(chosen)), 0))
    values = np.where(np.isfinite(leaders), accuracy[ranking[place]], np.nan)
    return _at(values, ks)


def _best(
    accuracy: Float[np.ndarray, " archs"],
    merit: Float[np.ndarray, " archs"],
    ranking: Int[np.ndarray, " kept"],
    ks: Int[np.ndarray, " tops"],
) -> Float[np.ndarray, " tops"]:
    """Return the accuracy of the best by ``merit`` among the first K."""
    if merit is accuracy:
        return best_of_top(accuracy, ranking, ks)
    return selected_of_top(accuracy, merit, ranking, ks)


def _fair(
    accuracy: Float[np.ndarray, " archs"],
    merit: Float[np.ndarray, " archs"],
    ranking: Int[np.ndarray, " kept"],
    in_pool: Bool[np.ndarray, " kept"],
    pool: Int[np.ndarray, " pool"],
    ks: Int[np.ndarray, " tops"],
    *,
    complete: bool,
) -> Float[np.ndarray, " tops"]:
    outside = ranking[~in_pool]
    best = _best(accuracy, merit, np.concatenate([pool, outside]), len(pool) + ks)
    if not complete:  # the ranking was cut: a K beyond what is kept outside the pool has no answer
        best[ks > len(outside)] = np.nan
    return best


def _coarse(
    accuracy: Float[np.ndarray, " archs"],
    merit: Float[np.ndarray, " archs"],
    ranking: Int[np.ndarray, " kept"],
    ks: Int[np.ndarray, " tops"],
    drawn: bool,
) -> Float[np.ndarray, " tops"]:
    if drawn or not len(ranking):
        return np.full(len(ks), np.nan)
    return _best(accuracy, merit, ranking, ks)


def _at(running: np.ndarray, ks: Int[np.ndarray, " tops"]) -> np.ndarray:
    """Return the running value after K places; a K beyond the end takes the last one (the whole space)."""
    return running[np.minimum(ks, len(running)) - 1]
