"""One search on own images: which networks may be chosen, what is known of them, and which one is taken.

The rounds are those of any search on demand (:mod:`snas.search.block`).  A raised budget, another method or other limits
ask again for networks that are paid for; the table of what was trained holds them all, in the order of the asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import snas.search.bench as bench  # from its package, the hash of this code would cover every method
from snas import InputError, spaces, tables
from snas.search.asks import ASKS
from snas.search.code_price import code_price
from snas.tables import Column, Schema, replacing
from snas.training.schemas import CODES

if TYPE_CHECKING:
    import pandas as pd

PLAN = re.compile(r"(.+)_n(\d+)_k(\d+)(?:_b(\d+))?(?:_m(\d+))?(?:_p(\d+))?")
"""Name of a plan's folder (:attr:`snas.search.jobs.OwnSearch.name`)."""

LOST = "a plan whose files are gone"
"""What is said of who asked for a training, where that is not known any more."""

CANDIDATES = Schema(
    name="candidates",
    description="Networks that a search on own images may choose, within the user's limits (metadata: the size that they are "
    "counted at, the limits, how many the space has).",
    key=("arch",),
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "macs": Column("int64", "Multiply-accumulates for one image, at the images' own side, channels and the width", low=0),
        "params": Column("int64", "Trainable parameters of the same network", low=0),
    },
)  # fmt: skip
TRAINED = Schema(
    name="trained",
    description="Every network that a search on own images has trained: who was asked for when, and what was believed of it.",
    key=("arch",),
    columns={
        **CANDIDATES.columns,
        "order": Column("int32", "1, 2, ...: order of the asks", low=1),
        "plan": Column("string", "Method and budget that asked for it first"),
        "round": Column("int32", "Round of that plan, from 0", low=0),
        "accuracy": Column(
            "float64",
            "Accuracy on the validation images; missing where status is not ok",
            null=True,
            low=0,
            high=1,
        ),
        "balanced": Column("float64", "Balanced accuracy on the same", null=True, low=0, high=1),
        "status": Column("string", "ok, diverged or out_of_memory"),
        "seconds": Column("float64", "Its share of the time of its group", low=0),
        "predicted": Column(
            "float64",
            "Accuracy that the method expected before the training; missing where it had no opinion",
            null=True,
        ),
    },
)


def candidates(
    space: str, *, width: int, channels: int, side: int, classes: int, max_macs: int = 0, max_params: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the networks of ``space`` within the limits (0: none) with the schema :data:`CANDIDATES`, and the metadata.

    Costs are those of networks of this size.  Raises :class:`InputError` where no network is within the limits.
    """
    import pandas as pd

    chosen = spaces.load(space)
    width = width or chosen.default_width
    size = {"width": width, "channels": channels, "side": side, "classes": classes}
    macs, params = chosen.costs(**size)
    within = np.ones(len(chosen), dtype=bool)
    for name, limit, values in (("max_macs", max_macs, macs), ("max_params", max_params, params)):
        within &= (values <= limit) if limit else True
        if not within.any():
            raise InputError(
                f"{name} = {limit:,} allows no network: on images of {channels}×{side}×{side}, {classes} classes and width "
                f"{width} they take {values.min():,} to {values.max():,}; a larger limit, or a smaller width or side, is needed"
            )
    archs = np.flatnonzero(within)
    cells = chosen.cells()
    frame = pd.DataFrame(
        {
            "arch": archs.astype(np.int32),
            "cell": [cells[a].name for a in archs],
            "macs": macs[archs],
            "params": params[archs],
        }
    )
    return frame, {"space": space, **size, "max_macs": max_macs, "max_params": max_params, "of": len(chosen)}


def write_bench(
    out: str | Path,
    *,
    candidates: str | Path,
    codes: str | Path | None,
    images: str,
    truth_recipe: str,
    facts: Mapping[str, Any],
) -> None:
    """Write the bench of the candidates: no accuracy is known, codes where the method needs them.

    What a code costs is counted in complete trainings by ``truth_recipe``.
    """
    frame = tables.read(candidates, CANDIDATES)
    said = tables.metadata(candidates)
    coded = tables.metadata(codes) if codes else {}
    made = bench.trained_bench(frame, truth=None, codes=tables.read(codes, CODES) if codes else None)
    metadata = {
        "space": said["space"],
        "dataset": images,
        "table": "trained",
        "truth_source": "trained on demand, validation accuracy",
        "code_source": f"trained on {coded['code_images']:,} images, recipe {coded['recipe']}"
        if codes
        else "none",
        "code_price": code_price(coded, truth_recipe) if codes else 0.0,
        "chance": 1 / said["classes"],
        "size": {key: said[key] for key in ("width", "channels", "side", "classes")},
    }
    bench.write(out, made, {**facts, **metadata})


def trained_table(
    plans: Mapping[str, Sequence[str | Path]], paid: pd.DataFrame, space: str, size: Mapping[str, int]
) -> pd.DataFrame:
    """Return every network that is paid for with the schema :data:`TRAINED`.

    Args:
        plans: method and budget → its ask lists, round by round.  They count in the order in which the first rounds were
            trained, and of equal ones as given: the ask list itself is made anew where limits change back.
        paid: what was trained (``snas.training.paid.Paid.read``).
        space, size: to count costs by.
    """
    import pandas as pd

    known = paid.set_index("arch")
    rows: list[tuple[int, str, int, float]] = []
    for plan, files in sorted(plans.items(), key=lambda item: _trained_at(item[1][0], known)):
        seen = {arch for arch, *_ in rows}
        for number, file in enumerate(files):
            asks = tables.read(file, ASKS)
            rows += [
                (int(arch), plan, number, float(predicted))
                for arch, predicted in zip(asks["arch"], asks["predicted"], strict=True)
                if arch in known.index and int(arch) not in seen
            ]
    # the files of a plan may be gone; what it has trained is paid for, and was asked for before
    logged = {arch for arch, *_ in rows}
    lost = [(int(a), LOST, 0, np.nan) for a in known.index if int(a) not in logged]
    frame = pd.DataFrame([*lost, *rows], columns=["arch", "plan", "round", "predicted"])
    frame["order"] = np.arange(1, len(frame) + 1)
    for column in ("cell", "accuracy", "balanced", "status", "seconds"):
        frame[column] = known.loc[frame["arch"], column].to_numpy()
    macs, params = spaces.load(space).costs(**size)
    frame["macs"], frame["params"] = macs[frame["arch"]], params[frame["arch"]]
    types = {"arch": "int32", "order": "int32", "round": "int32"} | dict.fromkeys(
        ("accuracy", "balanced", "seconds", "predicted"), "float64"
    )
    return frame[list(TRAINED.columns)].astype(types)


def _trained_at(asks: str | Path, known: pd.DataFrame) -> str:
    """Return when the last network of a plan's first round was trained, as text that sorts; the latest where it was not yet."""
    archs = tables.read(asks, ASKS)["arch"]
    if "finished" not in known or not archs.isin(known.index).all():
        return "later"
    return str(max(known.loc[archs, "finished"], default="later"))


def plans_below(folder: str | Path) -> dict[str, list[Path]]:
    """Return "method N+K" → ask lists of every plan that was begun below ``folder``, in the order of their beginning.

    An earlier, smaller budget is a plan of its own; what it asked for stays in the log.
    """
    found = []
    for first in Path(folder).glob("*/00/asks.parquet"):
        files: list[Path] = []
        while (path := first.parent.parent / f"{len(files):02d}" / "asks.parquet").is_file():
            files.append(path)
        if match := PLAN.fullmatch(first.parent.parent.name):
            method, budget, top, batch, macs, params = match.groups()
            name = f"{method} {int(budget)}+{int(top)}" + (f", {batch} at a time" if batch else "")
            name += (f", at most {macs} MACs" if macs else "") + (
                f", at most {params} parameters" if params else ""
            )
            found.append((first.stat().st_mtime, int(budget), name, files))
    return {name: files for _, _, name, files in sorted(found, key=lambda plan: plan[:3])}


def choose(trained: pd.DataFrame, allowed: Sequence[int], *, by: str = "accuracy") -> int:
    """Return the architecture of the highest validation accuracy among ``allowed``; of equal ones the cheapest.

    ``by``: ``accuracy`` or ``balanced``.  Raises :class:`InputError` where no training ended well.
    """
    ok = trained[(trained["status"] == "ok") & trained["arch"].isin(allowed)]
    if not len(ok):
        statuses = ", ".join(sorted(set(trained["status"]))) or "none"
        raise InputError(
            f"none of the {len(trained)} trained networks came out well (status: {statuses}); another recipe, a smaller "
            "width or side would be right"
        )
    best = ok.sort_values([by, "macs", "arch"], ascending=[False, True, True], kind="stable")
    return int(best["arch"].iloc[0])


def finish(
    *,
    choice: str | Path,
    trained: str | Path,
    candidates: str | Path,
    runs: pd.DataFrame,
    plans: Mapping[str, Sequence[str | Path]],
    paid: pd.DataFrame,
    forecast: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
    codes: str | Path | None = None,
    by: str = "accuracy",
) -> int:
    """Write the table of all trainings and the choice (JSON), and return the chosen architecture.

    ``runs`` is the SEARCH table of the finished search, ``codes`` the CODES table where it looked at some: all candidates' are
    trained, whatever part of them it looked at.  ``facts`` (recipe, seed, images, ...) go into both files.
    """
    allowed = tables.read(candidates, CANDIDATES)
    said = tables.metadata(candidates)
    size = {key: int(said[key]) for key in ("width", "channels", "side", "classes")}
    frame = trained_table(plans, paid, said["space"], size)
    arch = choose(frame, allowed["arch"].tolist(), by=by)
    row = frame[frame["arch"] == arch].to_dict("records")[0]
    run = runs.to_dict("records")[0]
    coded = None if codes is None else tables.read(codes, CODES)
    account = {
        "arch": arch,
        "cell": row["cell"],
        "space": said["space"],
        "width": size["width"],
        "method": run["method"],
        "budget": int(run["budget"]),
        "top": int(run["top"]),
        "trainings": len(frame),
        "codes": int(run["codes"]),
        "codes_trained": 0 if coded is None else len(coded),
        "price": float(run["price"]),
        "code_price": (float(run["price"]) - int(run["trainings"])) / max(int(run["codes"]), 1),
        "bench": "own",
        "chosen_by": f"{by} on the validation images",
        "accuracy": float(row["accuracy"]),
        "balanced": float(row["balanced"]),
        "macs": int(row["macs"]),
        "params": int(row["params"]),
        "limits": {key: said[key] for key in ("max_macs", "max_params")}
        | {"within": len(allowed), "of": said["of"]},
        "forecast": dict(forecast or {}),
        "measured": {
            "training_seconds": float(frame["seconds"].sum()),
            "code_seconds": 0.0 if coded is None else float(coded["seconds"].sum()),
            "search_seconds": float(run["seconds"]),
        },
        **facts,
    }
    tables.write(trained, frame, TRAINED, {**facts, "space": said["space"], "size": size})
    with replacing(choice) as temporary:
        temporary.write_text(json.dumps(account, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return arch
