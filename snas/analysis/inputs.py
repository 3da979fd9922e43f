"""What the analysis reads: the columns that it needs of a bench's table and of the search results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from snas import InputError, tables
from snas.search.bench import FAILED, UNKNOWN
from snas.tables import Column, Schema

CODE = ("code_1", "code_2", "code_3")


BENCH = Schema(
    name="bench table, as the analysis reads it",
    key=("arch",),
    extra=True,
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "macs": Column("int64", "Multiply-accumulates at 3×32×32 and ten classes", low=0),
        "accuracy": Column("float64", "Accuracy that a search is scored on", null=True, low=0, high=1),
        "accuracy_select": Column(
            "float64", "Accuracy to select on (fair protocol)", null=True, low=0, high=1
        ),
        "code_1": Column("float32", "Estimation code, epoch 1", null=True),
        "code_2": Column("float32", "Estimation code, epoch 2", null=True),
        "code_3": Column("float32", "Estimation code, epoch 3", null=True),
        "status": Column("string", "ok; diverged or out_of_memory (counts as chance); unknown (not trained)"),
    },
)

ASKED, LABELS = "asked", "labels"

SEARCH = Schema(
    name="search results, as the analysis reads them",
    key=("method", "budget", "run"),
    extra=True,
    columns={
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N, architectures trained for the predictor", low=0),
        "run": Column("int32", "Number of the run; the same number is the same seed for every method", low=0),
        "ranking": Column("list<int32>", "First architectures of the final ranking, best first"),
        "coarse_ranking": Column("list<int32>", "The same of the coarse accuracy"),
        "pool": Column("list<int32>", "Architectures trained for the predictor, in the order asked"),
        "codes": Column("int32", "Distinct estimation codes asked", low=0),
        "spearman": Column("float64", "Spearman correlation of the whole ranking with accuracy", null=True),
        "kendall": Column("float64", "Kendall correlation of the same", null=True),
        "coarse_spearman": Column("float64", "Spearman correlation of the coarse ranking", null=True),
        "coarse_kendall": Column("float64", "Kendall correlation of the coarse ranking", null=True),
        "train_seconds": Column(
            "float64", "Training of the predictor without codes and truths", null=True, low=0
        ),
    },
)


@dataclass(frozen=True)
class Bench:
    """A bench: its name, the table of its architectures and where the table's numbers come from."""

    name: str
    table: pd.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> str:
        """Name of the search space."""
        return str(self.facts.get("space", self.name.partition("-")[0]))

    @property
    def dataset(self) -> str:
        """Name of the image set that the accuracies belong to."""
        return str(self.facts.get("dataset", self.name.partition("-")[2]))

    @property
    def code_price(self) -> float:
        """Price of one estimation code in complete trainings."""
        return float(self.facts.get("code_price") or 0.0)

    def by_arch(self, column: str) -> Float[np.ndarray, " archs"]:
        """Return ``column`` as an array indexed by architecture, NaN where the table has no value.

        An accuracy of a network whose training failed is chance, as it is for the search; so is a selection accuracy that is
        not recorded, where others are.
        """
        arch = self.table["arch"].to_numpy()
        values = np.full(int(arch.max()) + 1 if len(arch) else 0, np.nan)
        values[arch] = self.table[column].to_numpy(dtype=float)
        chance = self.facts.get("chance")
        counts = {
            "accuracy": self.table["status"].isin(FAILED).to_numpy(),
            "accuracy_select": np.full(len(arch), np.isfinite(values).any()),
        }
        if column in counts and chance is not None:
            those = arch[counts[column]]
            values[those] = np.where(np.isnan(values[those]), float(chance), values[those])
        return values

    @property
    def optimum(self) -> float:
        """The best accuracy of the table; NaN where some are not known (on demand): one of those could be better.

        A failed training counts as chance here as everywhere, which is best where no network that trained got beyond it.
        """
        values = self.by_arch("accuracy")
        if not np.isfinite(values).any() or (self.table["status"] == UNKNOWN).any():
            return float("nan")
        return float(np.nanmax(values))

    def seconds(self, kind: str) -> float | None:
        """Return the mean seconds of a ``code`` or of a complete training (``truth``); None where they are not known."""
        column = f"{kind}_seconds"
        if column not in self.table or self.table[column].isna().all():
            return None
        return float(self.table[column].mean())

    def metadata(self) -> dict[str, Any]:
        """Return what every table of the analysis carries in its Parquet metadata about the bench."""
        optimum = self.optimum
        named = (
            "label",
            "published",
            "select_source",
            "table",
            "truth_source",
            "code_source",
            "code_price",
            "chance",
            "recipe",
            "base_seed",
        )
        known = int(self.table["accuracy"].notna().sum())
        return {
            "bench": self.name,
            "space": self.space,
            "dataset": self.dataset,
            "optimum": optimum if np.isfinite(optimum) else None,
            "architectures": len(self.table),
            "known_accuracies": known,
            "code_seconds": self.seconds("code"),
            "truth_seconds": self.seconds("truth"),
            **{key: self.facts[key] for key in named if key in self.facts},
        }


def read_bench(path: str | Path, name: str | None = None) -> Bench:
    """Read a bench's table; ``name`` is ``<space>-<dataset>`` of its metadata where it is not given."""
    frame = tables.read(path, BENCH)
    facts = tables.metadata(path)
    given = name or "-".join(str(facts[key]) for key in ("space", "dataset") if key in facts)
    return Bench(given or Path(path).parent.name, frame, facts)


def read_search(paths: Sequence[str | Path], bench: Bench) -> pd.DataFrame:
    """Read the search results of one bench (one file per block of runs) as one table, sorted by method, N, run.

    Its further column :data:`ASKED` is true where the metadata says that a run is judged by the best of all that it has
    asked for (random search), not by the top K of its ranking; :data:`LABELS` is the column of the bench that it was trained
    and selected on (``accuracy``; ``accuracy_select`` in the fair protocol).

    Raises :class:`InputError` where a block is given twice, or a ranking holds an architecture that ``bench`` lacks.
    """
    if not paths:
        raise InputError(f"{bench.name}: no search results; at least one block of runs is needed")
    known = set(bench.table["arch"].tolist())
    frames: list[pd.DataFrame] = []
    seen: dict[tuple[str, int, int], str | Path] = {}
    for path in paths:
        frame = tables.read(path, SEARCH)[list(SEARCH.columns)]
        facts = tables.metadata(path)
        frame[ASKED], frame[LABELS] = facts.get("score") == "asked", facts.get("labels", "accuracy")
        for row, (method, budget, run) in enumerate(
            zip(frame["method"], frame["budget"], frame["run"], strict=True)
        ):
            if (method, budget, run) in seen:
                raise InputError(
                    f"{path}: row {row}: run {run} of {method} at N = {budget} is also in {seen[method, budget, run]}"
                )
            seen[method, budget, run] = path
        for column in ("ranking", "coarse_ranking", "pool"):
            for row, archs in enumerate(frame[column]):
                foreign = [int(arch) for arch in archs if int(arch) not in known]
                if foreign:
                    raise InputError(
                        f"{path}: column {column!r}, row {row}: architecture {foreign[0]} is not in the table of {bench.name}"
                    )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True).sort_values(["method", "budget", "run"], ignore_index=True)
