"""The tables of fewer trainings as a page of Markdown, in regret points and complete trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snas import tables
from snas.analysis.fewest import EQUAL, NEEDED, PAIRED, PROGRESS, is_curve
from snas.tables import replacing

PRICES = (20, 30, 40, 50, 64, 80, 100, 120)
"""Prices of the columns, in complete trainings."""


def write(path: str | Path, sources: Mapping[str, str | Path]) -> None:
    """Write the page; ``sources`` are the files of ``progress``, ``needed`` and ``paired``."""
    progress = tables.read(sources["progress"], PROGRESS)
    needed = tables.read(sources["needed"], NEEDED)
    paired = tables.read(sources["paired"], PAIRED)
    with replacing(path) as temporary:
        Path(temporary).write_text(page(progress, needed, paired), encoding="utf-8")


def page(progress: pd.DataFrame, needed: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Return the page: per bench and variant regret at a price, price until the optimum, paired differences."""
    lines = [
        "# Fewer trainings",
        "",
        "Regret in percentage points with the 95 % interval of its mean, at a price in complete trainings (looks and codes",
        "counted). A predictor is a search of its own for every N: it stands below the first price that pays for all of it.",
    ]
    for bench, removed in _variants(progress):
        which = f"{bench}, without the best {removed}" if removed else f"{bench}, whole table"
        lines += [
            "",
            f"## {which}",
            "",
            "### Regret at a price",
            "",
            *regrets(_part(progress, bench, removed)),
        ]
        for title, frame, make in (
            ("Price until the optimum is trained", needed, until),
            ("More regret than `gp` at the same price, run by run", paired, differences),
        ):
            part = _part(frame, bench, removed)
            lines += ["", f"### {title}", "", *make(part)] if len(part) else []
    return "\n".join(lines) + "\n"


def regrets(progress: pd.DataFrame, prices: Sequence[int] = PRICES) -> list[str]:
    """Return a table of mean regrets, a row per method, of one bench."""
    rows = []
    for (method, runs), frame in progress.groupby(["method", "runs"], sort=False):
        if frame["continuous"].all():
            cells = [_last(frame, price) for price in prices]
        else:
            cells = [_own(frame, low, price) for low, price in zip((0, *prices), prices, strict=False)]
        rows.append([str(method), str(runs), *cells])
    return _table(["method", "runs", *map(str, prices)], rows)


def _last(frame: pd.DataFrame, price: float) -> str:
    """Return the regret of the last training that ``price`` pays for; nothing where the search has ended long before."""
    paid = frame[frame["price"] <= price + EQUAL]
    ended = len(paid) == len(frame) and frame["price"].max() < price - 1
    return "" if ended else _dearest(paid)


def _own(frame: pd.DataFrame, low: float, high: float) -> str:
    """Return the regret of the dearest search of its own between two prices."""
    return _dearest(frame[(frame["price"] > low + EQUAL) & (frame["price"] <= high + EQUAL)])


def until(needed: pd.DataFrame) -> list[str]:
    """Return a table of the prices until the optimum, a row per method."""
    rows = [
        [
            str(row["method"]), str(row["runs"]), f"{row['found']:.0%}",
            *(_price(row[f"price_{name}"]) for name in ("low", "median", "high", "worst")),
        ]
        for row in needed.to_dict("records")
    ]  # fmt: skip
    return _table(["method", "runs", "found", "10 %", "median", "90 %", "worst"], rows)


def differences(paired: pd.DataFrame, prices: Sequence[int] = PRICES) -> list[str]:
    """Return a table of paired differences to the reference, a row per method and (of a predictor) per price."""
    rows = []
    for method, frame in paired.groupby("method", sort=False):
        whole = frame[np.isclose(frame["price"] % 1, 0) & frame["price"].round().isin(prices)]
        chosen = whole if is_curve(frame) else frame  # a curve has every whole price, a predictor a few
        rows += [
            [
                str(method), str(row["runs"]), f"{row['price']:.1f}".removesuffix(".0"), _points(row["regret"]),
                _points(row["reference_regret"]),
                _with_interval(row["difference"], row),
            ]
            for row in chosen.to_dict("records")
        ]  # fmt: skip
    return _table(["method", "runs", "price", "regret", "`gp`", "difference"], rows)


def _variants(progress: pd.DataFrame) -> list[tuple[str, int]]:
    return [
        (str(b), int(r)) for b, r in dict.fromkeys(zip(progress["bench"], progress["removed"], strict=True))
    ]


def _part(frame: pd.DataFrame, bench: str, removed: int) -> pd.DataFrame:
    return frame[(frame["bench"] == bench) & (frame["removed"] == removed)]


def _dearest(frame: pd.DataFrame) -> str:
    """Return regret and interval of the row with the highest price; nothing of no rows."""
    if not len(frame):
        return ""
    row = frame.sort_values("price").to_dict("records")[-1]
    return _with_interval(row["regret"], row)


def _with_interval(value: float, row: Mapping[Any, Any]) -> str:
    """Return a mean with its interval, in points; one run has none."""
    if row["runs"] < 2:
        return _points(value)
    return f"{_points(value)} [{_points(row['low'])}, {_points(row['high'])}]"


def _points(value: float) -> str:
    """Return a fraction in percentage points: ``.123``, ``0`` only where it is 0."""
    text = f"{100 * value:.3f}"
    return "0" if abs(value) <= EQUAL else text.replace("0.", ".", 1) if abs(100 * value) < 1 else text


def _price(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if np.isfinite(value) else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
