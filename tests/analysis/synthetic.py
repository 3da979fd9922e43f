"""Made-up benches and search results with the schemas of the search room: for tests of statistics and figures only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from snas import tables
from snas.search.bench import BENCH
from snas.search.block import SEARCH

QUALITY = {
    "neural_predictor": 0.9,
    "siamese": 0.75,
    "siamese+nsam": 0.6,
    "siamese+nsam+bts": 0.4,
    "siamese+nsam+fts": 0.4,
    "brp_nas": 0.5,
}
"""Noise of a method's ranking at N = 30 in standard deviations of accuracy."""


def make_bench(
    path: Path,
    space: str,
    dataset: str,
    size: int,
    *,
    best: float = 0.95,
    codes: bool = True,
    select: bool = False,
    failed: int = 0,
    seed: int = 0,
) -> Path:
    rng = np.random.default_rng(seed)
    macs = np.sort(rng.gamma(4.0, 4.2e6, size)) + 6e6
    if "tiny" in space:
        macs = 6e6 + (macs - macs.min()) / (macs.max() - macs.min()) * 28.7e6
    quality = np.clip(rng.beta(5, 1.6, size) + 0.1 * macs / macs.max(), 0, 1.1)
    accuracy = best - 0.12 * (1.1 - quality) ** 1.5 - np.where(rng.random(size) < 0.02, 0.3, 0.0)
    losses = np.stack([2.3 - s * quality + rng.normal(0, 0.12, size) for s in (0.3, 0.6, 0.8)], axis=1)
    frame = pd.DataFrame({"arch": np.arange(size, dtype=np.int32)})
    frame["cell"] = [f"cell_{i}" for i in range(size)]
    frame["macs"], frame["params"] = macs.astype(np.int64), (macs / 100).astype(np.int64)
    frame["accuracy"] = accuracy
    frame["accuracy_select"] = np.clip(accuracy + rng.normal(0, 0.004, size), 0, 1) if select else np.nan
    for epoch in range(3):
        frame[f"code_{epoch + 1}"] = losses[:, epoch].astype(np.float32) if codes else np.float32("nan")
    frame["log10_synflow"] = 20 + 8 * quality + rng.normal(0, 3, size)
    frame["truth_seconds"], frame["code_seconds"] = 5.0, 0.1
    frame["status"] = "ok"
    if failed:
        frame.loc[frame.index[-failed:], "accuracy"] = np.nan
        frame.loc[frame.index[-failed:], "status"] = "diverged"
    facts = {
        "space": space,
        "dataset": dataset,
        "table": "mean" if "nasbench201" in space else "trained",
        "truth_source": "trained by this run, recipe digits_truth"
        if dataset == "digits"
        else "made-up table",
        "code_source": "made-up losses of epochs 1, 2, 3",
        "code_price": 0.003,
        "chance": 0.1,
    }
    tables.write(path, frame, BENCH, facts)
    return path


def make_search(
    path: Path, bench: Path, method: str, budget: int, runs: range, *, keep: int = 60, seed: int = 0
) -> Path:
    table = tables.read(bench, BENCH)
    accuracy = table["accuracy"].fillna(0.1).to_numpy()
    size, sd = len(accuracy), float(np.clip(accuracy, accuracy.max() - 0.15, None).std())
    rows = []
    for run in runs:
        order = np.random.default_rng([seed, run]).permutation(size)
        rng = np.random.default_rng([seed, run, budget, len(method)])
        if method == "random":
            ranking, coarse, pool = np.roll(order, -budget), np.roll(order, -budget), order[:budget]
        else:
            noise = QUALITY.get(method, 0.7) * sd * np.sqrt(30 / budget)
            ranking = np.argsort(-(accuracy + rng.normal(0, noise, size)), kind="stable")
            coarse = np.argsort(-(accuracy + rng.normal(0, 1.2 * noise, size)), kind="stable")
            pool = (
                order[:budget]
                if not method.endswith("ts")
                else rng.choice(ranking[: 4 * budget], budget, replace=False)
            )
        top = min(keep, size)
        kept = min(budget + top, size)
        coded = not method.startswith(("random", "neural", "brp"))
        rows.append(
            {
                "method": method,
                "budget": budget,
                "top": top,
                "run": run,
                "seed": run,
                "ranking": ranking[:kept].astype(np.int32).tolist(),
                "coarse_ranking": coarse[:kept].astype(np.int32).tolist(),
                "pool": pool.astype(np.int32).tolist(),
                "trainings": len(np.union1d(pool, ranking[:top])),
                "codes": budget + 60 if coded else 0,
                "price": float(budget + top),
                "spearman": np.nan if method == "random" else 0.4 + 0.002 * budget + 0.02 * rng.random(),
                "kendall": np.nan if method == "random" else 0.3 + 0.001 * budget,
                "coarse_spearman": 0.4 if coded else np.nan,
                "coarse_kendall": 0.3 if coded else np.nan,
                "seconds": 3.0,
                "train_seconds": 2.0 * (5.0 if method.endswith("fts") else 1.0) + 0.1 * rng.random(),
            }
        )
    facts = tables.metadata(bench) | {
        "score": "asked" if method == "random" else "top",
        "seconds": 12.5,
        "device": "cpu",
    }
    facts.pop("schema")
    tables.write(path, pd.DataFrame(rows), SEARCH, facts | {"peak_memory_mb": 300.0 + budget})
    return path


def make_run(
    folder: Path,
    benches: dict[str, int],
    *,
    methods: tuple[str, ...] = (
        "random",
        "neural_predictor",
        "siamese",
        "siamese+nsam",
        "siamese+nsam+bts",
    ),
    extra: dict[str, tuple[int, ...]] | None = None,
    budgets: tuple[int, ...] = (20, 30, 50, 70, 100),
    tops: tuple[int, ...] = (5, 10, 20, 30, 50, 70),
    top: int | None = None,
    runs: int = 20,
    codes: bool = True,
) -> dict[str, dict[str, Path]]:
    """Make benches ``{"space-dataset": size}`` with searches and analyse them; returns table name → path per bench."""
    from snas.analysis.statistics import SCHEMAS, analyse

    levels = {"cifar100": 0.735, "cifar10": 0.943, "imagenet16-120": 0.47}
    made: dict[str, dict[str, Path]] = {}
    for place, (name, size) in enumerate(benches.items()):
        space, _, dataset = name.partition("-")
        best = levels.get(dataset, 0.96)
        bench = make_bench(
            folder / name / "bench.parquet", space, dataset, size, best=best, codes=codes, seed=place
        )
        points = {method: budgets for method in methods} | (extra or {})
        searches = [
            make_search(folder / name / f"{m}_{n}.parquet", bench, m, n, range(runs), keep=max(tops))
            for m, ns in points.items()
            for n in ns
        ]
        made[name] = {key: folder / name / f"{key}.parquet" for key in SCHEMAS}
        analyse(bench, searches, made[name], tops=tops, top=top, resamples=1000)
        made[name]["bench"] = bench
    return made
