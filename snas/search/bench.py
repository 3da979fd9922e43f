"""The bench table: everything that is known about the architectures that are searched, one row each.

It is made from what the project has trained (:func:`trained_bench`) or from a table of known accuracies
(:func:`table_bench`), checked once, and read by every search and figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from snas import InputError, tables
from snas.proxies import REGISTRY as PROXIES
from snas.registry import shortened
from snas.search.counter import Look
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

FAILED = ("diverged", "out_of_memory")
"""Status of an architecture whose training came to nothing; it counts as chance and ranks last."""
UNKNOWN = "unknown"
"""Status of an architecture that has not been trained yet (truth: on_demand)."""
CODES = ("code_1", "code_2", "code_3")
LOG10 = "log10_"
"""What the name of a proxy's column begins with: a proxy may well be called ``params``."""

_FRACTION: dict[str, Any] = {"low": 0, "high": 1}
_OPTIONAL = {
    "accuracy_select": Column(
        "float64", "Accuracy to train and select on in the fair protocol (another seed, fewer epochs, validation)",
        null=True, **_FRACTION,
    ),
    **{
        code: Column("float32", f"Entry {code[-1]} of the estimation code; missing where there is none", null=True)
        for code in CODES
    },
    "truth_seconds": Column("float64", "Seconds of the complete training", null=True, low=0),
    "code_seconds": Column("float64", "Seconds of the code", null=True, low=0),
}  # fmt: skip

BENCH = Schema(
    name="bench",
    description="What is known about every architecture that is searched (metadata: space, dataset, table, truth_source, "
    "code_source, code_price and select_price in complete trainings, chance). For each proxy that was scored there is a further "
    "column (`log10_synflow`, ...; float64): log₁₀ of its score, missing where there is none.",
    key=("arch",),
    extra=True,
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "macs": Column("int64", "Multiply-accumulates (3×32×32, ten classes, the space's own width)", low=0),
        "params": Column("int64", "Trainable parameters of the same network", low=0),
        "accuracy": Column(
            "float64", "True accuracy; missing where status is not ok", null=True, **_FRACTION
        ),
        **_OPTIONAL,
        "status": Column(
            "string", "ok; diverged or out_of_memory (counts as chance); unknown (not trained yet)"
        ),
    },
)

ACCURACIES = Schema(
    name="accuracy",
    description="A table of known accuracies of one data set, one row per architecture, as an importer leaves it. It may also "
    "have `code_1`, `code_2`, `code_3` and columns of proxies, `log10_synflow` (what methods with an estimation code look at; "
    "without codes only methods that need none can be used), `accuracy_select` (for `@labels=select`), `truth_seconds` and `code_seconds`, as in the bench "
    "table above. Its metadata (JSON under the key `snas`, all of it optional) may say `table`, `truth_source` and "
    "`code_source` (words for captions), `code_kind` (`losses`, of which less is better, or `proxy`, of which more is), `code_price` and `select_price` (complete trainings per look) and `chance`. Numbers and "
    "texts may be of other widths, as pandas writes them (int64, large_string).",
    key=("arch",),
    extra=True,
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "accuracy": Column("float64", "Accuracy, a fraction", **_FRACTION),
    },
)


def trained_bench(
    architectures: pd.DataFrame,
    *,
    truth: pd.DataFrame | None,
    codes: pd.DataFrame | None,
    proxies: pd.DataFrame | None = None,
    archs: Sequence[int] | None = None,
    code: str = "losses",
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return the bench table of a trained bench.

    Args:
        architectures: the space's table.
        truth: ground truth (arch, cell, accuracy, status, seconds); None: nothing is known yet (on demand).
        codes: estimation codes (arch, cell, loss_1..loss_3, status, seconds); None: there are none.
        proxies: scores of one or several proxies (arch, cell, proxy, log10, status, seconds), if there are any.
        archs: the stated sample of the space that is searched; None: the whole space.
        code: ``losses`` (the three epochs), or a proxy of ``proxies`` (log₁₀ of its score, three times: the paper's
            comparison with synflow; an architecture whose score is not positive has no code).
        names: what to call ``truth``, ``codes`` and ``proxies`` in sentences about them (their paths).

    Raises:
        InputError: where a table misses an architecture, has one twice, has one of another space, or has an accuracy that
            is no fraction.
    """
    names = {"truth": "the truth table", "codes": "the code table", "proxies": "the proxy table"} | dict(
        names or {}
    )
    scored = (
        {} if proxies is None else {str(name): rows for name, rows in proxies.groupby("proxy", sort=False)}
    )
    if code not in ("losses", *scored):
        raise InputError(f"code source {code!r} is unknown; known: {', '.join(['losses', *scored])}")
    frame = _start(architectures, archs)
    values = np.full((len(frame), 3), np.nan, dtype=np.float32)
    if codes is not None:
        losses = _matched(codes, frame, names["codes"])
        frame["code_seconds"] = losses["seconds"].to_numpy()
        values = losses[["loss_1", "loss_2", "loss_3"]].to_numpy(dtype=np.float32)
    matches = {proxy: _matched(rows, frame, names["proxies"]) for proxy, rows in scored.items()}
    for proxy, matched in matches.items():
        frame[f"{LOG10}{proxy}"] = matched["log10"].to_numpy(dtype=float)
    if code != "losses":
        matched = matches[code]
        values = np.repeat(matched[["log10"]].to_numpy(dtype=np.float32), 3, axis=1)
        frame["code_seconds"] = matched["seconds"].to_numpy()
    frame[list(CODES)] = np.where(np.isfinite(values), values, np.nan)
    if truth is not None:
        found = _matched(truth, frame, names["truth"])
        _check_statuses(found, names["truth"])
        frame["accuracy"], frame["truth_seconds"] = (
            found["accuracy"].to_numpy(),
            found["seconds"].to_numpy(),
        )
        frame["status"] = found["status"].to_numpy()
    return frame


def table_bench(
    architectures: pd.DataFrame,
    table: pd.DataFrame,
    *,
    archs: Sequence[int] | None = None,
    name: str = "the accuracy table",
) -> pd.DataFrame:
    """Return the bench table of known accuracies (:data:`ACCURACIES`): NAS-Bench-201 and the like.

    Every architecture of the space (or of ``archs``) must be there, once, with an accuracy.  Rows are found by the name of
    the cell, and rows of other cells are left out, so that a table of NAS-Bench-201 serves its subset, too; a table of
    the whole space must have the space's indices as well.  Raises ``InputError`` otherwise.
    """
    frame = _start(architectures, archs)
    found = _matched(table, frame, name, key="cell")
    other = (found["arch"].to_numpy() != frame["arch"].to_numpy()).nonzero()[0]
    if len(table) == len(architectures) and len(other):
        row = int(other[0])
        raise InputError(
            f"{name}: cell {frame['cell'].iloc[row]!r} has index {found['arch'].iloc[row]}, "
            f"the space has it at {frame['arch'].iloc[row]}; indices and cells must agree"
        )
    _check_statuses(found.assign(status="ok"), name)
    frame["accuracy"], frame["status"] = found["accuracy"].to_numpy(dtype=float), "ok"
    plain = [proxy for proxy in PROXIES if proxy in found and proxy not in BENCH.columns]
    if plain:
        raise InputError(
            f"{name}: column {plain[0]!r} is not read; log₁₀ of a proxy's score is expected as {LOG10 + plain[0]!r}"
        )
    proxies = [f"{LOG10}{proxy}" for proxy in scored_proxies(found)]
    for column in (*_OPTIONAL, *proxies):
        if column in found:
            frame[column] = _numbers(found, column, name)
    if "accuracy_select" in found:
        _check_fractions(frame, "accuracy_select", name)
    measured = [*CODES, *proxies]  # a loss that is not finite is none, as with codes of one's own
    with np.errstate(over="ignore"):  # codes as they are written: 1e39 is infinite there
        narrow = frame[measured].astype(dict.fromkeys(CODES, np.float32))
    frame[measured] = frame[measured].where(np.isfinite(narrow.astype(float)))
    return frame


def scored_proxies(frame: pd.DataFrame) -> list[str]:
    """Return the proxies, of those that are registered, whose scores a bench table has, in the registry's order."""
    return [name for name in PROXIES if f"{LOG10}{name}" in frame]


def known_bench(frame: pd.DataFrame, answers: pd.DataFrame, name: str = "the answers") -> pd.DataFrame:
    """Return a bench table with the accuracies that an on-demand run has come to know (a ground-truth table).

    Architectures that nobody has asked for stay unknown.  Raises ``InputError`` where an answer is of another cell, occurs
    twice or makes no sense.
    """
    frame = frame.sort_values("arch").reset_index(drop=True)
    rows = frame["arch"].isin(answers["arch"]).to_numpy()
    found = _matched(answers, frame[rows].reset_index(drop=True), name)
    _check_statuses(found, name)
    for column, source in (("accuracy", "accuracy"), ("truth_seconds", "seconds"), ("status", "status")):
        frame.loc[rows, column] = found[source].to_numpy()
    return frame


def write(path: str | Path, frame: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write a bench table; ``metadata`` must say space, dataset, table, truth_source, code_source, code_price, chance."""
    missing = [key for key in METADATA if key not in metadata]
    if missing:
        raise InputError(f"{path}: metadata {missing[0]!r} of the bench is missing")
    tables.write(path, frame, BENCH, metadata)


METADATA = ("space", "dataset", "table", "truth_source", "code_source", "code_price", "chance")


@dataclass(frozen=True)
class Bench:
    """A bench table in memory; architectures are numbered by their row (0..S-1), ``archs`` are their indices.

    Attributes:
        accuracy: true accuracy, NaN where there is none.
        select: accuracy to train and select on in the fair protocol, NaN where there is none.
        codes: estimation codes, NaN rows where there is none.
        proxies: log₁₀ of the scores of each proxy that has any, NaN where an architecture has none.
        chance: accuracy of guessing, the label of an architecture whose training failed.
        code_price, select_price: complete trainings per look.
    """

    path: str
    space: str
    archs: Int64[np.ndarray, " archs"]
    accuracy: Float[np.ndarray, " archs"]
    select: Float[np.ndarray, " archs"]
    codes: Float32[np.ndarray, "archs code"]
    proxies: Mapping[str, Float[np.ndarray, " archs"]]
    status: np.ndarray
    chance: float
    code_price: float
    select_price: float | None
    metadata: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Bench:
        """Read and check a bench table."""
        frame = tables.read(path, BENCH).sort_values("arch")
        metadata = tables.metadata(path)
        for key in METADATA:
            if key not in metadata:
                raise InputError(f"{path}: metadata {key!r} is missing; make the bench table again")
        status, known = frame["status"], frame["accuracy"].notna()
        bad = frame[~status.isin(("ok", UNKNOWN, *FAILED)) | ((status == "ok") != known)]
        if len(bad):
            row = bad.iloc[0]
            raise InputError(
                f"{path}: architecture {row['arch']} has status {row['status']!r} and accuracy {row['accuracy']}; "
                "'ok' comes with an accuracy, 'diverged', 'out_of_memory' and 'unknown' without"
            )
        return cls(
            path=str(path),
            space=metadata["space"],
            archs=frame["arch"].to_numpy(dtype=np.int64),
            accuracy=frame["accuracy"].to_numpy(dtype=float),
            select=frame["accuracy_select"].to_numpy(dtype=float),
            codes=frame[list(CODES)].to_numpy(dtype=np.float32),
            proxies={
                name: frame[f"{LOG10}{name}"].to_numpy(dtype=float)
                for name in scored_proxies(frame)
                if frame[f"{LOG10}{name}"].notna().any()
            },
            status=frame["status"].to_numpy(dtype=str),
            chance=float(metadata["chance"]),
            code_price=float(metadata["code_price"]),
            select_price=metadata.get("select_price"),
            metadata=metadata,
        )

    def labels(self, column: str) -> Float[np.ndarray, " archs"]:
        """Return the accuracies to train and select on; NaN is a failed training.

        Raises ``InputError`` where the column is unknown or holds nothing.
        """
        if column not in ("accuracy", "accuracy_select"):
            raise InputError(f"label column {column!r} is unknown; known: accuracy, accuracy_select")
        values = self.accuracy if column == "accuracy" else self.select
        if np.isnan(values).all():
            count = {
                status: int((self.status == status).sum())
                for status in FAILED
                if (self.status == status).any()
            }
            why = f" (status: {', '.join(f'{n} {status}' for status, n in count.items())})" if count else ""
            raise InputError(
                f"{self.path}: column {column!r} is empty{why}; searching on it needs a bench that has it"
            )
        return values

    def merit(self) -> Float[np.ndarray, " archs"] | None:
        """Return the true accuracies with failed trainings at −∞ (they rank last); None where some are unknown."""
        if (self.status == UNKNOWN).any():
            return None
        return np.where(np.isnan(self.accuracy), -np.inf, self.accuracy)

    def look(self, name: str, limit: int, labels: str = "accuracy") -> Look:
        """Return the cheap measurement ``name``: ``code``, ``select`` or a proxy."""
        if name == "code":
            if np.isnan(self.codes).any(axis=1).all():  # one loss that is missing is no code
                raise InputError(
                    f"{self.path}: it has no estimation codes; take a source that has them, or a proxy as the code"
                )
            return Look(self.codes, self.code_price, limit, loss=self.metadata.get("code_kind") != "proxy")
        if name in PROXIES:
            if name not in self.proxies:
                raise InputError(
                    f"{self.path}: it has no {name}; add {name} to the proxies of the run, "
                    f"or the column {LOG10}{name} to a table of one's own"
                )
            return Look(self.proxies[name], 0.0, limit)
        if name != "select":
            raise InputError(f"fidelity {name!r} is unknown; known: code, select, {', '.join(PROXIES)}")
        if self.select_price is None:
            raise InputError(
                f"{self.path}: a look at 'accuracy_select' has no price; metadata 'select_price' is missing"
            )
        if labels == "accuracy_select":
            raise InputError(
                "the search is judged on 'accuracy_select', so that it cannot be a cheap look as well"
            )
        return Look(self.select, float(self.select_price), limit)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of all but the true accuracies: a saved search goes on with the same bench, known further or not."""
        digest = hashlib.sha256(repr((self.space, self.chance, self.code_price, self.select_price)).encode())
        for array in (self.archs, self.select, self.codes):
            digest.update(np.ascontiguousarray(array).tobytes())
        for name, scores in sorted(self.proxies.items()):
            digest.update(name.encode() + scores.tobytes())
        return digest.hexdigest()[:16]


def _start(architectures: pd.DataFrame, archs: Sequence[int] | None) -> pd.DataFrame:
    """Return the rows that are searched, with all columns of the bench, nothing known."""
    frame = architectures[["arch", "cell", "macs", "params"]].sort_values("arch")
    if archs is not None:
        wanted = np.asarray(sorted(archs))
        beyond = np.setdiff1d(wanted, frame["arch"])
        if len(beyond):
            raise InputError(f"architecture {beyond[0]} of the sample is not in the space")
        if (wanted[1:] == wanted[:-1]).any():
            raise InputError(
                f"architecture {wanted[1:][wanted[1:] == wanted[:-1]][0]} is in the sample twice"
            )
        frame = frame[frame["arch"].isin(wanted)]
    frame = frame.reset_index(drop=True)
    for column in ("accuracy", *_OPTIONAL):
        frame[column] = np.nan
    frame["status"] = UNKNOWN
    return frame


def _matched(table: pd.DataFrame, frame: pd.DataFrame, name: str, key: str = "arch") -> pd.DataFrame:
    """Return the rows of ``table`` in the order of ``frame``; raises where one is missing, double or another cell's."""
    for column in ("arch", "cell"):
        if column not in table:
            raise InputError(f"{name}: column {column!r} is missing; it has {', '.join(table.columns)}")
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise InputError(f"{name}: architecture {twice.iloc[0]} occurs twice; each is expected once")
    found = table.set_index(key, drop=False).reindex(frame[key])
    missing = found["arch"].isna().to_numpy()
    if missing.any():
        arch = frame[key].to_numpy()[missing][0]
        raise InputError(
            f"{name}: architecture {arch} is missing ({missing.sum()} of {len(frame)} are); all are expected"
        )
    found = found.astype({"arch": table["arch"].dtype})
    other = (found["cell"].to_numpy() != frame["cell"].to_numpy()).nonzero()[0]
    if len(other):
        row = int(other[0])
        raise InputError(
            f"{name}: architecture {frame['arch'].iloc[row]} is called {found['cell'].iloc[row]!r}, "
            f"the space calls it {frame['cell'].iloc[row]!r}; is it a table of another space?"
        )
    return found.reset_index(drop=True)


def _numbers(found: pd.DataFrame, column: str, name: str) -> Float[np.ndarray, " archs"]:
    """Return a column that nothing has checked so far as numbers, NaN where it is missing."""
    values = np.full(len(found), np.nan)
    there = found[column].notna().to_numpy()
    for row, value in zip(np.flatnonzero(there), found[column][there].tolist(), strict=True):
        if not isinstance(value, int | float):
            raise InputError(
                f"{name}: architecture {found['arch'].iloc[row]} has {column} {shortened(value)}; a number is expected"
            )
        values[row] = value
    return values


def _check_statuses(found: pd.DataFrame, name: str) -> None:
    _check_fractions(found, "accuracy", name)
    ok, known = (found["status"] == "ok").to_numpy(), found["accuracy"].notna().to_numpy()
    foreign = ~ok & ~found["status"].isin(FAILED).to_numpy()
    if foreign.any():
        row = found[foreign].iloc[0]
        raise InputError(
            f"{name}: architecture {row['arch']} has status {row['status']!r}; known: ok, {', '.join(FAILED)}"
        )
    if (ok != known).any():
        row = found[ok != known].iloc[0]
        what = (
            "no accuracy (or NaN)" if row["status"] == "ok" else f"an accuracy and status {row['status']!r}"
        )
        raise InputError(
            f"{name}: architecture {row['arch']} has {what}; 'ok' and an accuracy belong together"
        )


def _check_fractions(found: pd.DataFrame, column: str, name: str) -> None:
    if column not in found:
        raise InputError(f"{name}: column {column!r} is missing; it has {', '.join(found.columns)}")
    values = found[column].to_numpy(dtype=float)
    bad = (values < 0) | (values > 1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        hint = "; fractions are expected, not percent" if 1 < values[row] <= 100 else ""
        raise InputError(
            f"{name}: architecture {found['arch'].iloc[row]} has {column} {values[row]:g}, outside [0, 1]{hint}"
        )
