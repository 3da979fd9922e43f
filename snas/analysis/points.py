"""Every point of a curve: mean and spread over the runs of one method at one (N, K)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from snas.analysis.inputs import Bench
from snas.tables import Column, Schema

MEANS = ("spearman", "kendall", "coarse_spearman", "coarse_kendall")

POINTS = Schema(
    name="points",
    description="One row per method, N and K: statistics over the runs.",
    key=("bench", "method", "budget", "top"),
    columns={
        "bench": Column("string", "Name of the bench"),
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N, architectures trained for the predictor", low=0),
        "top": Column("int32", "K, best-ranked architectures that are trained at the end", low=1),
        "trained": Column("int32", "N + K", low=1),
        "runs": Column("int32", "n, runs with a score", low=0),
        "mean": Column("float64", "Mean of `score` (best accuracy in the top K)", null=True),
        "sd": Column("float64", "Standard deviation of `score` over runs (n - 1)", null=True),
        "se": Column("float64", "Standard error of the mean, sd / √n", null=True),
        "quarter_sd": Column("float64", "0.25 sd, the half width of the published bands", null=True),
        "median": Column("float64", "Median of `score`", null=True),
        "regret": Column("float64", "Mean regret to the optimum of the bench", null=True),
        "fair_mean": Column("float64", "Mean of `score_fair` (pool and K outside it)", null=True),
        "fair_sd": Column("float64", "Standard deviation of `score_fair`", null=True),
        "fair_regret": Column("float64", "Mean regret of `score_fair`", null=True),
        "protocol_mean": Column("float64", "Mean of `score_protocol` (select on one table, report another)", null=True),
        "protocol_sd": Column("float64", "Standard deviation of `score_protocol`", null=True),
        "coarse_mean": Column("float64", "Mean of `score_coarse` (coarse ranking)", null=True),
        "spearman": Column("float64", "Mean Spearman correlation of the whole ranking", null=True),
        "kendall": Column("float64", "Mean Kendall correlation of the whole ranking", null=True),
        "coarse_spearman": Column("float64", "Mean Spearman correlation of the coarse ranking", null=True),
        "coarse_kendall": Column("float64", "Mean Kendall correlation of the coarse ranking", null=True),
        "pool_in_top": Column("float64", "Mean number of pool members among the top K", low=0),
        "codes": Column("float64", "Mean number of distinct estimation codes asked", low=0),
        "code_trainings": Column("float64", "Price of these codes in complete trainings", low=0),
    },
)  # fmt: skip


def aggregate(scores: pd.DataFrame, bench: Bench) -> pd.DataFrame:
    """Return the statistics over runs of ``scores``, a table with the schema :data:`POINTS`.

    A mean is missing where a run has no value.
    """
    rows = []
    average = lambda values: float(
        values.mean(skipna=False)
    )  # the runs that have a value are no random choice
    spread = lambda values: float(values.std(ddof=1, skipna=False))
    for (method, budget, top), group in scores.groupby(["method", "budget", "top"], sort=True):
        runs = int(group["score"].notna().sum())
        sd = spread(group["score"])
        codes = average(group["codes"])
        rows.append(
            {
                "bench": bench.name,
                "method": method,
                "budget": budget,
                "top": top,
                "trained": group["trained"].iloc[0],
                "runs": runs,
                "mean": average(group["score"]),
                "sd": sd,
                "se": sd / np.sqrt(runs) if runs else np.nan,
                "quarter_sd": 0.25 * sd,
                "median": float(group["score"].median(skipna=False)),
                "regret": average(group["regret"]),
                "fair_mean": average(group["score_fair"]),
                "fair_sd": spread(group["score_fair"]),
                "fair_regret": average(group["regret_fair"]),
                "protocol_mean": average(group["score_protocol"]),
                "protocol_sd": spread(group["score_protocol"]),
                "coarse_mean": average(group["score_coarse"]),
                **{name: average(group[name]) for name in MEANS},
                "pool_in_top": average(group["pool_in_top"]),
                "codes": codes,
                "code_trainings": codes * bench.code_price,
            }
        )
    return pd.DataFrame(rows, columns=list(POINTS.columns))
