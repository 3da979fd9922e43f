"""The same seed gives the same, whatever the cores, the order, the shards and the blocks; a diverged network comes last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snas import tables
from snas.search.bench import BENCH
from snas.search.block import SEARCH
from snas.training.schemas import CODES, TRUTH
from tests.conftest import Workflow
from tests.workflow.conftest import SMOKE, columns, same

pytestmark = pytest.mark.long
BENCH_FOLDER = "search/tiny_nanobench-digits"


def test_one_core_and_another_order_give_the_same_columns(smoke, tmp_path):
    """One job at a time, the last shards and blocks first, against two jobs at a time in Snakemake's order."""
    workflow = Workflow(tmp_path)
    first = "results/smoke/training/truth/shard_002.parquet", "results/smoke/training/codes/shard_001.parquet"
    workflow.run("--configfile", "config/smoke.yaml", "--cores", "1", "--", *first)
    block = f"results/smoke/{BENCH_FOLDER}/siamese+nsam+bts/n010/block_02-03.parquet"
    workflow.run("--configfile", "config/smoke.yaml", "--cores", "1", "--", block)
    workflow.run("--configfile", "config/smoke.yaml", "--cores", "1")
    same(columns(tmp_path / "results/smoke"), columns(smoke[0].folder / "results/smoke"))


def searches(run: Path) -> pd.DataFrame:
    """Return all searches of a run, whatever its blocks."""
    files = sorted((run / BENCH_FOLDER).rglob("block_*.parquet"))
    frame = pd.concat([tables.read(path, SEARCH) for path in files])
    return frame.sort_values(["method", "budget", "run"]).reset_index(drop=True)


def test_other_shards_and_blocks_have_the_same_draws_and_nearly_the_same_results(smoke, tmp_path, capsys):
    """What is drawn does not depend on who is in the same program; sums of floats may end otherwise in the last digits."""
    workflow = Workflow(tmp_path)
    one, other = smoke[0].folder / "results/smoke", tmp_path / "results/smoke"
    homes = sorted({path.parent for path in (one / BENCH_FOLDER).rglob("block_*.parquet")})
    # blocks of two runs there, of four here
    made = [home / f"block_00-{2 * len(list(home.glob('block_*'))) - 1:02d}.parquet" for home in homes]
    made += [one / f"training/{name}.parquet" for name in ("codes", "truth")]
    workflow.run(
        *SMOKE, "--config", "code_shards=3", "truth_shards=5", "proxy_shards=2", "block=4", "--",
        *(f"results/smoke/{path.relative_to(one)}" for path in made),
    )  # fmt: skip
    for exact in ("images/share.parquet", "spaces/tiny_nanobench.parquet"):
        same({exact: columns(one)[exact]}, {exact: columns(other)[exact]})
    differences = {}
    for name, schema, numbers in (
        ("training/codes.parquet", CODES, ["loss_1", "loss_2", "loss_3"]),
        ("training/truth.parquet", TRUTH, ["accuracy"]),
    ):
        a, b = (tables.read(run / name, schema) for run in (one, other))
        assert a[["arch", "cell", "status"]].equals(b[["arch", "cell", "status"]])
        differences[name] = float(np.abs(a[numbers].to_numpy() - b[numbers].to_numpy()).max())
    assert differences["training/codes.parquet"] < 1e-4
    assert differences["training/truth.parquet"] <= 3 / 1397, (
        "of 1,397 images at most three are told otherwise"
    )
    a, b = searches(one), searches(other)
    assert a[["method", "budget", "run", "seed"]].equals(b[["method", "budget", "run", "seed"]])
    plain = ~a["method"].str.contains("bts|fts")
    assert a[plain]["pool"].map(list).tolist() == b[plain]["pool"].map(list).tolist(), (
        "pools are drawn, not computed"
    )
    differences["spearman of the rankings"] = float((a["spearman"] - b["spearman"]).abs().max())
    equal = [list(x) == list(y) for x, y in zip(a["ranking"], b["ranking"], strict=True)]
    with capsys.disabled():
        print(f"\nlargest differences: {differences}; equal rankings: {sum(equal)} of {len(equal)}")
    assert differences["spearman of the rankings"] < 0.1


def test_diverged_networks_are_seen_in_the_tables_and_come_last(finished_run):
    """The three best networks of a run are recorded as diverged; everything after the training is made of that."""
    run = finished_run.folder / "results/smoke"
    there = tables.read(run / "training/truth.parquet", TRUTH)
    worst = set(there.nlargest(3, "accuracy")["arch"])
    for path in sorted((run / "training/truth").glob("shard_*.parquet")):
        frame, record = tables.read(path, TRUTH), tables.metadata(path)
        for row in frame.index[frame["arch"].isin(worst)]:
            frame.loc[row, ["accuracy", "correct", "status"]] = [None, 0, "diverged"]
            frame.at[row, "losses"] = np.full(len(frame.at[row, "losses"]), np.nan, dtype=np.float32)
        tables.write(path, frame, TRUTH, record)
    assert "rule truth_shard" not in finished_run.run(*SMOKE).stdout
    bench = tables.read(run / BENCH_FOLDER / "table.parquet", BENCH).set_index("arch")
    assert set(bench.index[bench["status"] == "diverged"]) == worst
    assert bench.loc[sorted(worst), "accuracy"].isna().all()
    rest = there[~there["arch"].isin(worst)].set_index("arch")["accuracy"]
    assert (bench.loc[rest.index, "accuracy"] == rest).all(), "the others are as they were"
    scores = pd.read_parquet(run / "analysis/tiny_nanobench-digits/scores.parquet")
    assert scores["score"].max() <= rest.max(), "a diverged network is nobody's best"
    assert (run / "report.html").stat().st_size > 0
