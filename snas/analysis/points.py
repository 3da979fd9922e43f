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
    """Return the statistics over runs of ``scores``, a table with the schema :data:`POINTS`."""
    rows = []
    for (method, budget, top), group in scores.groupby(["method", "budget", "top"], sort=True):
        runs = int(group["score"].notna().sum())
        sd = float(group["score"].std(ddof=1))
        codes = float(group["codes"].mean())
        rows.append(
            {
                "bench": bench.name,
                "method": method,
                "budget": budget,
                "top": top,
                "trained": group["trained"].iloc[0],
                "runs": runs,
                "mean": group["score"].mean(),
                "sd": sd,
                "se": sd / np.sqrt(runs) if runs else np.nan,
                "quarter_sd": 0.25 * sd,
                "median": group["score"].median(),
                "regret": group["regret"].mean(),
                "fair_mean": group["score_fair"].mean(),
                "fair_sd": group["score_fair"].std(ddof=1),
                "fair_regret": group["regret_fair"].mean(),
                "protocol_mean": group["score_protocol"].mean(),
                "protocol_sd": group["score_protocol"].std(ddof=1),
                "coarse_mean": group["score_coarse"].mean(),
                **{name: group[name].mean() for name in MEANS},
                "pool_in_top": group["pool_in_top"].mean(),
                "codes": codes,
                "code_trainings": codes * bench.code_price,
            }
        )
    return pd.DataFrame(rows, columns=list(POINTS.columns))
