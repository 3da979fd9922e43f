"""Where ours and the published numbers agree, and where not: one line per figure and method.

Levels hang on the table (the published ones come from one recorded seed per architecture, where label, selection and score
are one value), so beside the difference of the means stands what does not: the lead over the neural predictor at the same
N and K.
"""

from __future__ import annotations

import pandas as pd

BASELINE = "neural_predictor"
COLUMNS = (
    "bench", "figure", "method", "points", "n", "difference", "lowest", "highest", "lead", "published_lead",
)  # fmt: skip


def agreement(comparison: pd.DataFrame, bench: str) -> pd.DataFrame:
    """Summarise a table with the schema :data:`snas.analysis.published.COMPARISON`; points that we lack are left out.

    Columns: points that both have, n (the fewest runs behind ours), mean, lowest and highest of ours − published, and the
    mean lead over the neural predictor, ours and published, over the points of the figure where all four numbers are
    there (missing for the neural predictor itself).
    """
    both = comparison.dropna(subset=["mean", "published"])
    key = ["figure", "budget", "top"]
    base = both.loc[both["method"] == BASELINE, [*key, "mean", "published"]]
    joined = both.merge(base, on=key, how="left", suffixes=("", "_base"))
    joined["lead"] = joined["mean"] - joined["mean_base"]
    joined["published_lead"] = joined["published"] - joined["published_base"]
    joined.loc[joined["method"] == BASELINE, ["lead", "published_lead"]] = float("nan")
    rows = [
        {
            "bench": bench,
            "figure": figure,
            "method": method,
            "points": len(group),
            "n": int(group["runs"].min()),
            "difference": group["difference"].mean(),
            "lowest": group["difference"].min(),
            "highest": group["difference"].max(),
            "lead": group["lead"].mean(),
            "published_lead": group["published_lead"].mean(),
        }
        for (figure, method), group in joined.groupby(["figure", "method"], sort=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
