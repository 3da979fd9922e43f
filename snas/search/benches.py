"""Bench tables from files: what the workflow calls to say what is known of a space on a data set, and from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import snas.search.bench as bench  # from its package, the hash of this code would cover every method
from snas import InputError, tables, training
from snas.proxies.scores import PROXIES
from snas.registry import shortened
from snas.search.code_price import code_price
from snas.spaces import accuracies
from snas.spaces.space import ARCHITECTURES
from snas.training import recipes
from snas.training.schemas import CODES, TRUTH


def make_trained(
    out: str | Path,
    *,
    architectures: str | Path,
    labels: str | Path,
    codes: str | Path | None,
    proxies: Sequence[str | Path],
    truth: str | Path | None,
    truth_recipe: str,
    space: str,
    width: int,
    base_seed: int,
    code: str = "trained",
    facts: Mapping[str, Any],
) -> None:
    """Write the bench of what this run has measured; ``truth`` None: no accuracy is known yet (on demand).

    ``code`` is ``trained`` (``codes`` has them), or the proxy that stands in for the code.  The metadata of the
    ``labels`` say of which images all is.  The price of a code is its image passes over those of a complete training by
    ``truth_recipe``.  ``facts`` (``measured`` by the caller) go into the metadata.
    """
    if code == "trained" and codes is None:
        raise ValueError("trained codes are asked for without a table of them")
    names = {"codes": str(codes), "truth": str(truth), "proxies": ", ".join(map(str, proxies))}
    scores = [tables.read(path, PROXIES) for path in proxies]
    seen = tables.metadata(labels)
    of = recipes.facts(
        space, training.recipe(truth_recipe), images=seen["image_set"], image_digest=seen["image_digest"],
        train_images=seen["train_images"], classes=seen["classes"], base_seed=base_seed, width=width,
    )  # fmt: skip
    coded = None if codes is None else tables.metadata(codes)
    if truth is not None:
        trained = tables.metadata(truth)
        _check_of_one_run(codes or labels, coded or of, truth, trained)
        if trained.get("recipe", truth_recipe) != truth_recipe:
            raise InputError(
                f"{truth}: trained by the recipe {trained['recipe']!r}, and {truth_recipe!r} is asked for; it is of another "
                "configuration: remove it and start again"
            )
    frame = bench.trained_bench(
        tables.read(architectures, ARCHITECTURES),
        truth=None if truth is None else tables.read(truth, TRUTH),
        codes=None if codes is None else tables.read(codes, CODES),
        proxies=pd.concat(scores, ignore_index=True) if scores else None,
        code="losses" if code == "trained" else code,
        names=names,
    )
    by_proxy = {"source": f"{code} of the untrained network, three times", "price": 0.0, "kind": "proxy"}
    said = _trained_code(coded, truth_recipe) if coded and code == "trained" else by_proxy
    metadata = {
        "space": of["space"],
        "dataset": of["images"],
        "table": "trained",
        "truth_source": f"trained on {of['train_images']:,} images of {of['images']}, recipe "
        f"{truth_recipe}, width {of['width']}",
        **{f"code_{key}": value for key, value in said.items()},
        "chance": 1 / of["classes"],
        "classes": of["classes"],
        "width": of["width"],
    }
    bench.write(out, frame, {**facts, **metadata})


def _trained_code(coded: Mapping[str, Any], truth_recipe: str) -> dict[str, Any]:
    source = f"trained on {coded['code_images']:,} images of {coded['images']}, recipe {coded['recipe']}"
    return {"source": source, "price": code_price(coded, truth_recipe), "kind": "losses"}


def _check_of_one_run(
    other: str | Path, said: Mapping[str, Any], truth: str | Path, trained: Mapping[str, Any]
) -> None:
    """Refuse codes and accuracies of different networks or images, of which the bench's one sentence would be false."""
    for fact in ("width", "seed", "images", "image_digest"):
        if fact in said and fact in trained and said[fact] != trained[fact]:
            raise InputError(
                f"{truth}: trained with {fact} = {trained[fact]!r}, and {other} is for {said[fact]!r}; one of them is of "
                "another configuration: remove it and start again"
            )


def make_known(
    out: str | Path, *, table: str | Path, answers: Sequence[str | Path], facts: Mapping[str, Any]
) -> None:
    """Write the bench with the accuracies that the rounds of an on-demand run have brought."""
    frame = tables.read(table, bench.BENCH)
    if answers:  # none where nothing is searched on the run's own space
        found = pd.concat([tables.read(path, TRUTH) for path in answers], ignore_index=True)
        frame = bench.known_bench(frame, found, ", ".join(map(str, answers)))
    bench.write(out, frame, {**tables.metadata(table), **facts})


CODE_KINDS = ("losses", "proxy")
"""What a code may be: losses, of which less is better, or a zero-cost proxy, of which more is."""


def make_from_table(
    out: str | Path,
    *,
    architectures: str | Path,
    table: str | Path,
    space: str,
    dataset: str,
    facts: Mapping[str, Any],
) -> None:
    """Write the bench of a user's own table (:data:`snas.search.bench.ACCURACIES`).

    Its metadata may say ``table``, ``truth_source``, ``code_source``, ``code_kind`` (``losses``: less is better, or ``proxy``:
    more is), ``code_price``, ``select_price`` and ``chance``; without them the file's name is the source, a code is of losses
    and costs nothing, a look at the selection accuracy has no price (and methods that pay for one cannot be used), and
    chance is the lowest accuracy.

    Raises :class:`InputError` where the table is none of this space, a price or the chance is no number, or a source no text.
    """
    found = tables.read(table, bench.ACCURACIES, convert=True)
    frame = bench.table_bench(tables.read(architectures, ARCHITECTURES), found, name=str(table))
    said = {key: value for key, value in tables.metadata(table).items() if value is not None}
    for key, most in (("code_price", np.inf), ("select_price", np.inf), ("chance", 1.0)):
        _check_number(table, said, key, most)
    for key in ("table", "truth_source", "code_source"):
        if not isinstance(said.get(key, ""), str):
            raise InputError(f"{table}: metadata {key!r} is {shortened(said[key])}; a text is expected")
    if (kind := said.get("code_kind", "losses")) not in CODE_KINDS:
        raise InputError(
            f"{table}: metadata 'code_kind' is {shortened(kind)}; known: {', '.join(CODE_KINDS)}"
        )
    metadata = {
        "space": space,
        "dataset": dataset,
        "table": said.get("table", "as given"),
        "truth_source": said.get("truth_source", Path(table).name),
        "code_source": said.get("code_source", Path(table).name),
        "code_price": said.get("code_price", 0.0),
        "code_kind": kind,
        "chance": said.get("chance", float(np.nanmin(frame["accuracy"]))),
    }
    if "select_price" in said:
        metadata["select_price"] = said["select_price"]
    bench.write(out, frame, {**facts, **metadata})


def _check_number(table: str | Path, said: Mapping[str, Any], key: str, most: float) -> None:
    """Refuse metadata that is no number from 0 to ``most``."""
    value = said.get(key, 0)
    if type(value) not in (int, float) or not np.isfinite(value) or not 0 <= value <= most:
        upto = f"from 0 to {most:g}" if np.isfinite(most) else "of at least 0"
        raise InputError(f"{table}: metadata {key!r} is {shortened(value)}; a number {upto} is expected")


CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120}
SELECT = ("epochs_12", "one_seed", "validation")
EPOCHS = 200
"""Epochs of a complete training of the benchmark."""


def make_imported(
    out: str | Path,
    *,
    architectures: str | Path,
    imported: str | Path,
    proxies: Sequence[str | Path] = (),
    codes: str | Path | None = None,
    space: str,
    dataset: str,
    table: str,
    select: str = "epochs_12",
    code: str = "recorded",
    base_seed: int,
    facts: Mapping[str, Any],
) -> None:
    """Write the bench of NAS-Bench-201's published accuracies on one data set.

    ``table`` is ``mean`` or ``one_seed``.  ``select`` is what the fair protocol trains and selects on: the accuracy after
    12 epochs where the source has it, at 12/200 of a training, one recorded seed, or the validation accuracy.  ``code`` is
    ``recorded``, ``trained`` (the losses of the table ``codes``, whose image passes are priced in trainings of 200 epochs), or
    the proxy that stands in for the code; ``proxies`` are tables of scores of the whole NAS-Bench-201.

    Raises ``InputError`` where the source has no values per seed, no validation accuracies or no code and they are asked for.
    """
    found, said = accuracies.read_accuracies(imported, dataset, table, base_seed)
    found = found.assign(truth_seconds=found["seconds_200"])
    selected = _selection(imported, found, dataset, table, select, base_seed)
    found["accuracy_select"] = selected["accuracy_select"]
    code_source, code_price = said.get("code_source") or "none", accuracies.code_price(said, dataset)
    if proxies:
        scores = pd.concat([tables.read(path, PROXIES) for path in proxies], ignore_index=True)
        for proxy, rows in scores.groupby("proxy", sort=False):
            found[f"{bench.LOG10}{proxy}"] = found["cell"].map(rows.set_index("cell")["log10"])
    if code == "trained":
        if codes is None:
            raise InputError(f"{out}: trained codes are asked for, but there is no table of them")
        found, code_source, code_price = _with_codes(found, codes, dataset)
    elif code != "recorded":
        if f"{bench.LOG10}{code}" not in found:
            raise InputError(f"{out}: {code} is to be the code, but there is no table of its scores")
        for column in bench.CODES:
            found[column] = found[f"{bench.LOG10}{code}"]
        code_source, code_price = f"{code} of the untrained network, three times", 0.0
    frame = bench.table_bench(tables.read(architectures, ARCHITECTURES), found, name=str(imported))
    analog = said.get("kind") == "analog_nasbench"
    metadata = {
        "space": space,
        "dataset": dataset,
        "table": table,
        "label": "analog-nasbench" if analog else TABLE_TITLES[table],
        "published": not analog,
        "truth_source": said.get("title") or said.get("source") or Path(imported).name,
        "code_source": code_source,
        "code_price": code_price,
        "code_kind": "losses" if code in ("recorded", "trained") else "proxy",
        "chance": 1 / CLASSES[dataset],
    }
    if found["accuracy_select"].notna().any():
        metadata["select_price"] = selected["price"]
        metadata["select_source"] = selected["source"]
    bench.write(out, frame, {**facts, **metadata})


def _with_codes(found: pd.DataFrame, path: str | Path, dataset: str) -> tuple[pd.DataFrame, str, float]:
    """Return the table with the losses of trained codes, what they are, and the price of one in complete trainings."""
    coded, table = tables.metadata(path), tables.read(path, CODES).set_index("cell")
    missing = set(found["cell"]) - set(table.index)
    if missing:
        raise InputError(f"{path}: no code of cell {sorted(missing)[0]!r}; all {len(found):,} are needed")
    ours = table.loc[found["cell"]]
    columns = {f"code_{place}": ours[f"loss_{place}"].to_numpy() for place in (1, 2, 3)}
    source = f"trained on {coded['code_images']:,} images of {coded['images']}, recipe {coded['recipe']}"
    price = len(bench.CODES) * coded["code_images"] / (EPOCHS * accuracies.TRAIN_IMAGES[dataset])
    return found.assign(**columns, code_seconds=ours["seconds"].to_numpy()), source, price


TABLE_TITLES = {"mean": "mean over seeds", "one_seed": "one seed"}


def _selection(
    imported: str | Path, found: pd.DataFrame, dataset: str, table: str, select: str, base_seed: int
) -> dict[str, Any]:
    """Return the selection accuracy of the fair protocol, its price in complete trainings and its name."""
    if select not in SELECT:
        raise InputError(f"selection accuracy {select!r} is unknown; known: {', '.join(SELECT)}")
    if select == "epochs_12":
        return {
            "accuracy_select": found["accuracy_12"],
            "price": 12 / EPOCHS,
            "source": "accuracy after 12 epochs",
        }
    if select == "validation":
        if found["validation"].isna().all():
            raise InputError(
                f"{imported}: it has no validation accuracies of {dataset}; use another selection accuracy"
            )
        return {
            "accuracy_select": found["validation"],
            "price": 1.0,
            "source": "validation accuracy after 200 epochs",
        }
    if table == "one_seed":
        raise InputError(
            "nasbench201_select = one_seed reports the mean, and nasbench201_table = one_seed would report the same "
            "seed; use nasbench201_table = mean"
        )
    drawn, _ = accuracies.read_accuracies(imported, dataset, "one_seed", base_seed)
    return {"accuracy_select": drawn["accuracy"], "price": 1.0, "source": "one recorded seed"}
