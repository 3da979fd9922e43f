"""What a search has left about the network that it found, read once for the card, the figures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64
from scipy.stats import spearmanr

from snas import networks, spaces, tables
from snas.export import description as described
from snas.export.complete import TESTED
from snas.export.description import Description
from snas.export.measures import Accuracy, accuracy, confusion, expected_best
from snas.export.onnx_file import Latency
from snas.search.own import LOST, TRAINED
from snas.spaces.space import Cell


@dataclass(frozen=True)
class Found:
    """The found network with everything that was measured on the way to it.

    ``choice`` is the search's own account (``choice.json``), ``trained`` the networks that it has trained in order,
    ``tested`` the test images with what the network says of them, ``facts`` how it was trained, ``split`` what the
    metadata of the split says of the images.
    """

    description: Description
    choice: Mapping[str, Any]
    trained: pd.DataFrame
    tested: pd.DataFrame
    facts: Mapping[str, Any]
    latency: Latency
    split: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The cell's name."""
        return self.description.cell

    @cached_property
    def cell(self) -> Cell:
        """The cell as a graph."""
        return spaces.load(self.description.space).cell(self.description.cell)

    @cached_property
    def costs(self) -> tuple[int, int]:
        """(Multiply-accumulates for one image, trainable parameters), counted on the network itself."""
        module = self.description.build()
        macs = networks.count_macs(module, self.description.image)
        return macs, sum(weight.numel() for weight in module.parameters())

    @cached_property
    def matrix(self) -> Int64[np.ndarray, "classes classes"]:
        """Confusion matrix of the test images, row = class."""
        labels, predicted = (self.tested[c].to_numpy() for c in ("label", "predicted"))
        return confusion(labels, predicted, len(self.description.labels))

    @cached_property
    def accuracy(self) -> Accuracy:
        """Accuracy on the test images."""
        return accuracy(self.matrix)

    @property
    def known(self) -> pd.DataFrame:
        """The trained networks that have an accuracy, in order."""
        return self.trained[self.trained["status"] == "ok"]

    @cached_property
    def asked(self) -> pd.Series:
        """Number of the ask that each trained network came by, from 0, over all budgets and methods of the run."""
        before = self.trained[["plan", "round"]].shift()
        return (self.trained[["plan", "round"]] != before).any(axis=1).cumsum() - 1

    @cached_property
    def within(self) -> pd.Series:
        """Whether each trained network is within the limits of the search; an earlier budget may have had others."""
        limits, inside = self.choice.get("limits") or {}, pd.Series(True, index=self.trained.index)
        for key, column in (("max_macs", "macs"), ("max_params", "params")):
            if limits.get(key):
                inside &= self.trained[column] <= limits[key]
        return inside

    @cached_property
    def begun(self) -> pd.Series:
        """Whether each trained network is of a start: what a budget or method asked for before it had learnt anything."""
        return (self.asked == 0) | ((self.trained["round"] == 0) & (self.trained["plan"] != LOST))

    @property
    def codes(self) -> int:
        """Estimation codes that were trained: those of all candidates, where the method looks at any."""
        return max(int(self.choice.get("codes_trained", 0)), int(self.choice.get("codes", 0)))

    @cached_property
    def cost(self) -> float:
        """Price of the search in complete trainings: those that were made, and the estimation codes at their price."""
        trainings, looked_at = len(self.trained), int(self.choice.get("codes", 0))
        beside = float(self.choice["price"]) - min(self.choice["budget"] + self.choice["top"], trainings)
        return trainings + max(beside, 0.0) * (self.codes / looked_at if looked_at else 1)

    @cached_property
    def chance(self) -> float:
        """Accuracy by guessing: what a failed training counts as."""
        return 1 / len(self.description.labels)

    @property
    def by(self) -> str:
        """Column of ``trained`` that the search has learnt from and chosen by: ``accuracy`` or ``balanced``."""
        return "balanced" if str(self.choice["chosen_by"]).startswith("balanced") else "accuracy"

    @property
    def accuracies(self) -> np.ndarray:
        """Validation accuracies of the trained networks within the limits in order, chance where a training failed."""
        return self.trained.loc[self.within, self.by].fillna(self.chance).to_numpy(dtype=float)

    @property
    def start(self) -> np.ndarray:
        """Those of them that were trained before anything was learnt; all where there is none."""
        begun = self.begun[self.within].to_numpy()
        return self.accuracies[begun] if begun.any() else self.accuracies

    def random_search(self) -> pd.DataFrame:
        """Return what random search would be expected to have after 1, 2, … trainings, up to this search's price.

        ``start`` draws from the accuracies of the start, ``all`` from those of everything that was trained.
        """
        draws = np.arange(1, max(int(self.cost), len(self.trained)) + 1)
        return pd.DataFrame(
            {
                "trainings": draws,
                "start": expected_best(self.start, draws),
                "all": expected_best(self.accuracies, draws),
            }
        )

    @cached_property
    def belief(self) -> tuple[float, int]:
        """(Spearman's correlation, n) of what was predicted and what came out; NaN below three networks."""
        pairs = self.known.dropna(subset=["predicted"])
        if len(pairs) < 3 or pairs["predicted"].nunique() < 2 or pairs[self.by].nunique() < 2:
            return float("nan"), len(pairs)
        return float(spearmanr(pairs["predicted"], pairs[self.by]).statistic), len(pairs)


def read_found(
    best: str | Path,
    *,
    choice: str | Path,
    trained: str | Path,
    tested: str | Path,
    latency: str | Path,
    split: str | Path,
) -> Found:
    """Read what the search and the complete training have left."""
    return Found(
        description=described.read(best),
        choice=json.loads(Path(choice).read_text(encoding="utf-8")),
        trained=tables.read(trained, TRAINED).sort_values("order", ignore_index=True),
        tested=tables.read(tested, TESTED),
        facts=tables.metadata(tested),
        latency=Latency.read(latency),
        split=tables.metadata(split),
    )
