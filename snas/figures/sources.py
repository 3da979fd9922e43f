"""The data of a figure: tables of the analysis, told apart by the name of their schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from snas import InputError, tables
from snas.analysis.costs import COSTS
from snas.analysis.counting import COUNTS
from snas.analysis.fewest import PAIRED
from snas.analysis.published import FOLDER
from snas.analysis.statistics import SCHEMAS
from snas.figures import style
from snas.spaces.space import ARCHITECTURES
from snas.tables import Schema
from snas.words import percent

KNOWN: dict[str, Schema] = {**SCHEMAS, **{s.name: s for s in (COSTS, COUNTS, ARCHITECTURES, PAIRED)}}


@dataclass(frozen=True)
class Source:
    """One table with its metadata."""

    frame: pd.DataFrame
    facts: Mapping[str, Any]
    path: Path

    @property
    def bench(self) -> str:
        """Name of the bench."""
        return str(self.facts.get("bench", self.path.parent.name))

    @property
    def space(self) -> str:
        """Name of the search space."""
        return str(self.facts.get("space", self.bench.partition("-")[0]))

    @property
    def dataset(self) -> str:
        """Name of the image set."""
        return str(self.facts.get("dataset", self.bench.partition("-")[2]))

    @property
    def optimum(self) -> float | None:
        """Best accuracy of the bench; None where some are not known."""
        value = self.facts.get("optimum")
        return None if value is None else float(value)

    @property
    def title(self) -> str:
        """Space and image set as figures print them; metadata ``label`` follows (numbers of another source, say)."""
        return f"{self._name} ({self.facts['label']})" if self.facts.get("label") else self._name

    def heading(self, text: str = "") -> str:
        """Return the title for a panel beside another: ``label`` and ``text`` on a second line."""
        second = ", ".join(part for part in (self.facts.get("label"), text) if part)
        return f"{self._name}\n{second}" if second else self._name

    def _seconds(self) -> str:
        """Return the seconds of a code and of a training where a training's are known; a code's by its price if not measured."""
        code, truth = self.facts.get("code_seconds"), self.facts.get("truth_seconds")
        if truth is None:
            return ""
        if code is None:
            about = float(self.facts["code_price"]) * float(truth)
            return f" (about {about:,.3g} s of {float(truth):,.0f} s, mean of the networks)" if about else ""
        return f" ({float(code):.3g} s beside {float(truth):.3g} s, mean of the networks)"

    @property
    def _name(self) -> str:
        return " · ".join(filter(None, (style.space_title(self.space), style.dataset_title(self.dataset))))

    def sources(self) -> str:
        """Return one sentence on where the numbers of the bench come from."""
        parts = [f"{self.title}: {int(self.facts.get('architectures', len(self.frame))):,} architectures"]
        if self.facts.get("truth_source"):
            parts.append(f"accuracy: {self.facts['truth_source']}")
        if self.facts.get("table"):
            parts.append(f"table: {self.facts['table']}")
        if self.facts.get("code_source"):
            parts.append(f"code: {self.facts['code_source']}")
        if self.facts.get("code_price") is not None:
            parts.append(
                f"one code costs {percent(float(self.facts['code_price']))} of a complete training{self._seconds()}"
            )
        known, of = (self.facts.get(key) for key in ("known_accuracies", "architectures"))
        if known is not None and of is not None and known < of and self.optimum is None:
            parts.append(
                f"accuracies known of {known:,}, which a search asked for: the optimum, and so regret, is not known"
            )
        return "; ".join(parts) + "."


class Sources:
    """Tables given to a figure.  ``wanted`` are the schema names that are read; None reads all."""

    def __init__(self, paths: Iterable[str | Path], wanted: Sequence[str] | None = None) -> None:
        self.published = FOLDER
        self._tables: dict[str, list[Source]] = {}
        for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
            if path.suffix == ".csv":
                self.published = path.parent
                continue
            if not path.is_file():
                raise InputError(f"{path}: no such file; expected a table of the analysis (Parquet)")
            facts = tables.metadata(path)
            name = str(facts.get("schema", ""))
            if name not in KNOWN:
                raise InputError(
                    f"{path}: table {name!r} is none that figures read; known: {', '.join(sorted(KNOWN))}"
                )
            if wanted is None or name in wanted:
                self._tables.setdefault(name, []).append(Source(tables.read(path, KNOWN[name]), facts, path))

    def all(self, name: str) -> list[Source]:
        """Return the tables of schema ``name`` that hold a row, in the order given."""
        return [source for source in self._tables.get(name, []) if len(source.frame)]

    def empty(self, name: str) -> list[Source]:
        """Return the tables of schema ``name`` that hold no row, in the order given."""
        return [source for source in self._tables.get(name, []) if not len(source.frame)]

    def of_bench(self, name: str, bench: str) -> pd.DataFrame | None:
        """Return the table of schema ``name`` of a bench, or None."""
        return next((source.frame for source in self.all(name) if source.bench == bench), None)

    def beside(self, name: str, source: Source) -> pd.DataFrame | None:
        """Return the table of schema ``name`` from the folder of ``source``, the same bench of the same run, or None."""
        folder = source.path.parent
        return next((other.frame for other in self.all(name) if other.path.parent == folder), None)

    def first(self, name: str, space: str, datasets: Sequence[str] = ()) -> Source | None:
        """Return the table of a space, of the earliest of ``datasets`` that is there, else of any; None without."""
        found = [source for source in self.all(name) if source.space == space]
        for dataset in datasets:
            for source in found:
                if source.dataset == dataset:
                    return source
        return found[0] if found else None
