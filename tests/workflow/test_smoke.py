"""The smoke run: everything is made, once; a figure alone; what an edit re-runs; kills; on demand equals exhaustive."""

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from snas import config, figures, spaces, tables
from snas.analysis.fewest import PROGRESS
from snas.search.bench import BENCH
from snas.search.block import SEARCH
from snas.training.schemas import TRUTH
from tests.conftest import ROOT, Workflow
from tests.workflow.conftest import SMOKE, columns, processes, same

NOTHING = "Nothing to be done"


def test_everything_is_made_and_says_how_it_was_made(smoke):
    workflow, said = smoke
    results = workflow.folder / "results/smoke"
    page = (results / "report.html").read_text()
    for name in figures.REGISTRY:
        for suffix in figures.SUFFIXES:
            assert (results / f"figures/{name}").with_suffix(suffix).stat().st_size > 0
        assert name in page
    record = tables.metadata(results / "training/truth.parquet")
    assert record["recipe"] == "smoke_truth"
    for key in ("seed", "device", "versions", "seconds", "peak_memory_mb", "code", "width"):
        assert key in record, key
    assert "[snas]" in said
    assert "costly files" in said
    assert "open results/smoke/report.html" in said


def test_queries_are_counted_in_the_results(smoke):
    folder = smoke[0].folder / "results/smoke/search/tiny_nanobench-digits"
    frame = tables.read(folder / "siamese+nsam+bts/n010/block_00-01.parquet", SEARCH)
    assert (frame["trainings"] <= 10 + frame["top"]).all()
    assert (frame["pool"].map(len) == 10).all()
    assert (frame["codes"] > 0).all()


def test_figures_of_fewer_trainings_have_the_k_of_figure_5(smoke):
    """Not the largest K of the run, which figure 6 is for and with which every predictor is dearer than the axis goes."""
    folder = smoke[0].folder / "results/smoke"
    progress = tables.read(folder / "analysis/tiny_nanobench-digits/progress.parquet", PROGRESS)
    predictors = progress[~progress["continuous"]]
    top_k = config.load(config.read_file(ROOT / SMOKE[1])).top_k
    assert len(predictors) > 0
    assert predictors["top"].eq(top_k).all()
    drawn = pd.read_csv(folder / "figures/fewest.csv")
    assert set(drawn["method"]) == set(progress["method"])


def test_a_second_run_and_a_touch_do_nothing_and_a_figure_key_re_runs_no_training(finished_run):
    for path in finished_run.folder.glob("scripts/*.py"):
        path.touch()
    assert NOTHING in finished_run.run(*SMOKE).stdout
    dry = finished_run.run("-n", "--quiet", "rules", *SMOKE, "--config", "fig6_budget=11").stdout
    assert "figure" in dry
    assert "truth_shard" not in dry
    assert "search_block" not in dry
    dry = finished_run.run("-n", "--quiet", "rules", *SMOKE, "--config", "truth_recipe=digits_truth").stdout
    assert "truth_shard" in dry
    assert "trained_bench" in dry
    assert "code_shard" not in dry
    dry = finished_run.run("-n", "--quiet", "rules", *SMOKE, "--config", "code_share=0.3").stdout
    assert {"share", "code_shard", "trained_bench"} <= set(dry.split())
    assert not {"labels", "truth_shard", "proxy_shard"} & set(dry.split()), "what hangs on the images alone"


def test_fewer_runs_and_other_blocks_leave_the_files_that_took_hours(finished_run):
    folder = finished_run.folder / "results/smoke/search/tiny_nanobench-digits/siamese/n010"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(path.name for path in before) == ["block_00-01.parquet", "block_02-03.parquet"]
    target = f"{folder.relative_to(finished_run.folder)}/block_00-00.parquet"
    finished_run.run(target, *SMOKE, "--config", "runs=1")
    one, two = (tables.read(folder / f"block_{name}.parquet", SEARCH) for name in ("00-00", "00-01"))
    assert one["ranking"][0].tolist() == two["ranking"][0].tolist()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert NOTHING in finished_run.run(*SMOKE).stdout, "and with all runs again there is nothing to do"


def test_a_figure_alone_is_drawn_alone(finished_run):
    path = finished_run.folder / "results/smoke/figures/fig5.png"
    before = path.read_bytes()
    path.unlink()
    said = finished_run.run("fig5", *SMOKE).stdout
    assert path.read_bytes() == before, "the same data draws the same picture"
    assert said.count("rule figure:") == 1
    assert "[snas] open" not in said, "the page is older than the figure"
    assert "truth_shard" not in said


def test_snakemake_s_own_report_shows_every_figure_with_its_caption(finished_run):
    finished_run.run("--report", "report.html", *SMOKE)
    page = (finished_run.folder / "report.html").read_text()
    for name in figures.REGISTRY:
        caption = (ROOT / f"report/{name}.rst").read_text().strip()
        assert caption.partition("**")[2].partition("(")[0].partition("**")[0].strip() in page, name


def test_results_may_lie_in_another_folder_than_the_checkout(workflow, tmp_path_factory):
    """The checkout may be read-only, and serve several people."""
    folder = tmp_path_factory.mktemp("elsewhere")
    there = (*SMOKE, "--directory", str(folder))
    assert "report_page" in workflow.run("-n", "--quiet", "rules", *there).stdout
    default = workflow.run("fig9", "-n", "--quiet", "rules", "--directory", str(folder)).stdout
    assert "figure" in default, "the default configuration is the checkout's"
    workflow.run("fig9", *there)
    assert (folder / "results/smoke/figures/fig9.png").exists()
    assert not (workflow.folder / "results").exists()


def test_a_study_of_few_trainings_goes_on_from_the_run_s_table(smoke, tmp_path):
    workflow = Workflow(tmp_path)
    shutil.copytree(smoke[0].folder / "results", tmp_path / "results")
    entries = [
        {"method": "gp", "budgets": [12], "runs": 4, "removed": [0, 2]},
        {"method": "random", "budgets": [12], "runs": 4},
    ]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"fewest": entries, "block": 4}))
    there = "results/smoke/fewest"
    said = workflow.run(f"{there}/tables.md", *SMOKE[2:], "--configfile", SMOKE[1], "study.yaml").stdout
    assert "truth_shard" not in said
    page = (tmp_path / there / "tables.md").read_text()
    assert "## tiny_nanobench-digits, whole table" in page
    assert "## tiny_nanobench-digits, without the best 2" in page
    progress = tables.read(tmp_path / there / "progress.parquet", PROGRESS)
    assert set(zip(progress["method"], progress["removed"], strict=True)) == {
        ("gp", 0),
        ("gp", 2),
        ("random", 0),
    }
    assert progress["runs"].eq(4).all()
    file = next((tmp_path / there).rglob("gp_n012_k000/block_00-03.parquet"))
    assert tables.metadata(file)["base_seed"] == 20268


def test_an_edit_re_runs_what_hangs_on_it_and_no_more(smoke, tmp_path):
    workflow = smoke[0]
    for name in ("snas", "config"):  # the library reads the schema that lies beside it
        shutil.copytree(ROOT / name, tmp_path / name)

    def dry_run() -> str:
        done = subprocess.run(
            workflow.command("-n", "--quiet", "rules", *SMOKE), capture_output=True, text=True, check=False,
            cwd=workflow.folder, env=workflow.environment | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        return done.stdout + done.stderr

    assert NOTHING in dry_run(), "a copy of the same code elsewhere re-runs nothing"
    for edited, reruns, stays in (
        (tmp_path / "snas/figures/style.py", "figure", "truth_shard"),
        (tmp_path / "snas/networks/nano_population.py", "truth_shard", "space"),
        (tmp_path / "snas/predictors/siamese.py", "search_block", "truth_shard"),
        (workflow.folder / "scripts/search.py", "search_block", "truth_shard"),
        (workflow.folder / "scripts/truth.py", "truth_shard", "code_shard"),
        (tmp_path / "snas/training/truth.py", "truth_shard", "code_shard"),
        (tmp_path / "snas/training/codes.py", "code_shard", "truth_shard"),
        (tmp_path / "snas/images/share.py", "code_shard", "truth_shard"),
        (tmp_path / "snas/provenance.py", None, "truth_shard"),
    ):
        path = edited
        before = path.read_text()
        path.write_text(before + "\n\nEDITED = 1\n")
        said = dry_run()
        path.write_text(before)
        assert reruns is None or f"\n{reruns} " in said, said
        assert stays is None or f"\n{stays} " not in said, said


def test_values_that_change_places_are_a_change(workflow):
    """Snakemake compares the values of params without their names."""
    target = "results/x/spaces/tiny_nanobench.parquet"
    workflow.run(target, "--cores", "1", "--config", "run=x", "architectures=3", "seed=5")
    again = lambda *keys: workflow.run(target, "-n", "--quiet", "rules", "--config", "run=x", *keys).stdout
    assert NOTHING in again("architectures=3", "seed=5")
    assert re.search(r"^space +1$", again("architectures=5", "seed=3"), re.MULTILINE)


def png(grey):
    """Return the bytes of a picture."""
    file = io.BytesIO()
    Image.new("L", (8, 8), grey).save(file, "png")
    return file.getvalue()


def test_what_is_moved_into_the_place_of_a_source_is_noticed_though_it_is_older(workflow):
    """A file that is moved, copied with its times or unpacked is older than the results that were made of another."""
    folder = workflow.folder
    cells = [cell.name for cell in spaces.load("tiny_nanobench").cells()]
    for number, name in enumerate(("live", "other")):
        accuracies = np.linspace(0.1 + number / 10, 0.9, len(cells))
        frame = pd.DataFrame({"arch": range(len(cells)), "cell": cells, "accuracy": accuracies})
        frame.to_parquet(folder / f"{name}.parquet")
        files = [{"bytes": png(7 * n + number), "path": None} for n in range(18)]
        pd.DataFrame({"img": files, "label": [0, 1, 2] * 6}).to_parquet(folder / f"{name}_images.parquet")
    keys = [
        "--config",
        "run=x",
        "truth=table",
        "table=live.parquet",
        "images=parquet",
        "images_path=live_images.parquet",
        "train_images=0",
    ]
    targets = ["results/x/search/tiny_nanobench-parquet/table.parquet", "results/x/images/labels.parquet"]
    workflow.run(*targets, "--cores", "2", *keys)
    assert NOTHING in workflow.run(*targets, "-n", *keys).stdout
    for name in ("", "_images"):
        os.utime(folder / f"other{name}.parquet", (1, 1))
        (folder / f"other{name}.parquet").replace(folder / f"live{name}.parquet")
    said = workflow.run(*targets, "-n", "--quiet", "rules", *keys).stdout
    assert {"table_bench", "labels"} <= set(said.split()), said


def test_images_that_lie_elsewhere_now_train_nothing_again(workflow):
    """Days of trainings do not hang on where a folder lies, nor on how its place is written."""
    for number, name in enumerate(("cat", "dog")):
        (workflow.folder / "pets" / name).mkdir(parents=True)
        for n in range(40):
            (workflow.folder / "pets" / name / f"{n}.png").write_bytes(png(6 * n + number))
    keys = [
        "run=x",
        "images=folder",
        "train_images=64",
        "architectures=2",
        "width=4",
        "truth_shards=1",
        "code_shards=1",
    ]
    keys += ["code_share=0.5", "truth_recipe=smoke_truth", "code_recipe=smoke_code"]
    targets = ["results/x/training/codes.parquet", "results/x/training/truth.parquet"]
    workflow.run(*targets, "--cores", "2", "--config", "images_path=pets", *keys)
    made = tables.metadata(workflow.folder / targets[0])
    assert (made["images"], made["code_images"]) == ("folder", 32)
    assert NOTHING in workflow.run(*targets, "-n", "--config", "images_path=./pets/", *keys).stdout
    (workflow.folder / "pets").rename(workflow.folder / "animals")
    assert NOTHING in workflow.run(*targets, "-n", "--config", "images_path=animals", *keys).stdout
    (workflow.folder / "animals/cat/0.png").write_bytes(png(255))
    said = workflow.run(*targets, "-n", "--quiet", "rules", "--config", "images_path=animals", *keys).stdout
    assert {"labels", "code_shard", "truth_shard"} <= set(said.split()), said


def test_braces_in_a_path_are_no_wildcards(workflow):
    images = workflow.folder / "{a}" / "{shard}"
    keys = ("--config", "run=x", "images=folder", f"images_path={images}", "image_side=8")
    for name in ("cat", "dog"):
        (images / name).mkdir(parents=True)
    targets = [
        f"results/x/{name}"
        for name in (
            "images/split.parquet",
            "training/codes/shard_000.parquet",
            "training/truth/shard_000.parquet",
        )
    ]
    workflow.run(*targets, "-n", "--quiet", "rules", *keys)


def test_an_edit_of_a_recipe_of_one_s_own_trains_again(workflow):
    """A recipe in a package beside the project, as docs/adding.md has it."""
    for name in ("snas", "config"):
        shutil.copytree(ROOT / name, workflow.folder / "copy" / name)
    registry = workflow.folder / "copy/snas/training/__init__.py"
    line = '"smoke_code": "snas.training.recipes:SMOKE_CODE",'
    assert line in registry.read_text()
    registry.write_text(registry.read_text().replace(line, line + ' "quick": "quick:QUICK",'))
    module = workflow.folder / "copy/quick.py"
    module.write_text(
        "from dataclasses import replace\nfrom snas.training.recipes import SMOKE_TRUTH\n"
        "QUICK = replace(SMOKE_TRUTH, name='quick', phases=((1e-2, 1),))\n"
    )
    shards = ["results/q/training/truth/shard_000.parquet", "results/q/training/codes/shard_000.parquet"]
    bench = "results/q/search/tiny_nanobench-digits/table.parquet"
    keys = [
        "run=q",
        "architectures=2",
        "truth_shards=1",
        "code_shards=1",
        "width=4",
        "truth_recipe=quick",
        "code_recipe=smoke_code",
    ]

    def run(*words: str) -> str:
        return subprocess.run(
            workflow.command(*words, "--config", *keys), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=True, cwd=workflow.folder, env=workflow.environment | {"PYTHONPATH": str(workflow.folder / "copy")},
        ).stdout  # fmt: skip

    run(*shards, "--cores", "1")
    assert tables.metadata(workflow.folder / shards[0])["recipe"] == "quick"
    assert NOTHING in run(*shards, "-n", "--quiet", "rules")
    keys.append("truth=on_demand")  # the bench of such a run has no accuracies that would be made anew
    run(bench, "--cores", "1")
    price = tables.metadata(workflow.folder / bench)["code_price"]
    module.write_text(module.read_text().replace("(1e-2, 1)", "(1e-2, 2)"))
    said = run(*shards, bench, "-n", "--quiet", "rules")
    assert "\ntruth_shard " in said
    assert "\ncode_shard " not in said
    run(bench, "--cores", "1")
    assert tables.metadata(workflow.folder / bench)["code_price"] == price / 2


@pytest.mark.parametrize("missing", ["report/fig5.rst", "published/table1.csv"])
def test_a_file_that_is_missing_in_the_checkout_is_no_reason_to_make_nothing(workflow, missing):
    (workflow.folder / missing).unlink()
    done = workflow.run("-n", *SMOKE, check=False)
    assert done.returncode == 1
    assert f"{missing}: no such file; the figures need it" in done.stdout


def test_params_that_could_change_places_are_named():
    """Every rule with more than one plain param passes them through ``named``."""
    seen = 0
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for rule, params in re.findall(
            r"\nrule (\w+):\n.*?\n    params:\n(.*?)(?=\n    \S|\n\n)", path.read_text(), re.DOTALL
        ):
            plain = set(re.findall(r"^        (\w+)=", params, re.MULTILINE)) - {"code"}
            assert len(plain) <= 1 or plain in (
                {"compile", "settings"},
                {"options", "caption"},
                {"run", "figures"},
            ), (rule, plain)
            seen += "**named(" in params
    assert seen >= 13


def test_another_device_or_group_re_runs_no_training_and_no_search(smoke):
    said = smoke[0].run("-n", "--quiet", "rules", *SMOKE, "--config", "device=cpu", "group=3").stdout
    counts = re.search(r"^job +count\n-+ +-+\n(.*?)\n\n", said, re.MULTILINE | re.DOTALL)[1]
    assert {line.split()[0] for line in counts.splitlines()} <= {"all", "report_page", "total"}, counts


def kill_sometime(workflow, *arguments, after, how):
    """Start a run in a session of its own and end it ``after`` seconds in one of the ways people and machines do; wait until
    nothing of it lives: jobs see within a second that their driver is gone."""
    driver = subprocess.Popen(
        workflow.command(*arguments), cwd=workflow.folder, env=workflow.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(after)
    if how == "terminate":
        driver.terminate()
    elif how == "kill":
        driver.kill()
    else:
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(timeout=600)
    while processes(driver.pid):
        time.sleep(0.1)


def test_kills_lose_nothing_and_need_no_unlock(smoke, tmp_path):
    """Two kills of the part that trains; the whole run and twenty kills stand among the long tests."""
    workflow = Workflow(tmp_path)
    draw = random.Random(0)
    target = "results/smoke/training/truth.parquet"
    trained = (*SMOKE, "--", "results/smoke/training/codes.parquet", target)
    for how in ("kill", "group"):
        kill_sometime(workflow, *trained, after=draw.uniform(5, 12), how=how)
        leftovers = [
            p for p in (tmp_path / "results").rglob(".*") if p.is_file() and ".snakemake" not in p.parts
        ]
        for path in (tmp_path / "results").rglob("*.parquet"):
            if not path.name.startswith("."):
                tables.metadata(path)  # whole, or not there
        assert len(leftovers) <= 4, "at most what was in flight"
    said = workflow.run(*trained).stdout
    assert "--unlock" not in said
    there = columns(smoke[0].folder / "results/smoke/training")
    same(columns(tmp_path / "results/smoke/training"), there)
    assert len(there) == 2 + 2 + 3, "two tables, their shards"


FEW = {
    "methods": ["siamese"],
    "runs": 2,
    "extra_searches": [],
    "proxies": [],
    "truth_shards": 1,
}
FEW_BLOCKS = ("siamese/n010/block_00-01.parquet",)


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.long)])
def test_on_demand_gives_what_exhaustive_gives(smoke, tmp_path, few):
    """The same seed finds the same, whether all is trained before or only what is asked for.

    Among the quick tests a method of two rounds; all methods, BTS with its twelve rounds among them, are long.
    """
    workflow = Workflow(tmp_path)
    (tmp_path / "given.yaml").write_text(json.dumps({"truth": "on_demand"} | (FEW if few else {})))
    there = smoke[0].folder / "results/smoke"
    bench = "search/tiny_nanobench-digits"
    files = sorted((there / bench).rglob("block_*.parquet"))
    if few:
        files = [there / bench / name for name in FEW_BLOCKS]
    assert files
    made = [f"results/smoke/{path.relative_to(there)}" for path in files] if few else []
    known = [f"results/smoke/{bench}/known.parquet"] if few else []
    workflow.run(*SMOKE[:2], "given.yaml", *SMOKE[2:], "--", *made, *known)
    top = 5
    for path in files:
        one, other = (
            tables.read(base / path.relative_to(there), SEARCH)
            for base in (there, tmp_path / "results/smoke")
        )
        for column in ("method", "budget", "run", "seed", "pool", "codes"):
            assert one[column].astype(str).tolist() == other[column].astype(str).tolist(), f"{path}: {column}"
        for a, b in zip(one["ranking"], other["ranking"], strict=True):
            assert list(a)[: len(b)] == list(b)[: len(a)]
            assert len(b) >= top
    trained = tables.read(tmp_path / "results/smoke" / bench / "known.parquet", BENCH)
    known_ok = trained[trained["status"] == "ok"]
    every = tables.read(there / bench / "table.parquet", BENCH)
    assert 10 <= len(known_ok) <= len(every)
    merged = known_ok.merge(every, on="arch", suffixes=("", "_all"))
    assert (merged["accuracy"] == merged["accuracy_all"]).all(), (
        "an accuracy does not hang on who asked for it"
    )


def test_on_demand_more_runs_train_only_what_nobody_asked_for(tmp_path):
    """Rounds are made again with the asks of the new runs; of the trainings, only the new ones are."""
    workflow = Workflow(tmp_path)
    few = FEW | {"methods": ["random"], "truth": "on_demand", "architectures": 12, "budgets": [6], "block": 1}
    few["code_shards"] = 1
    (tmp_path / "given.yaml").write_text(json.dumps(few))
    shards = "results/smoke/search/tiny_nanobench-digits/rounds/*/truth/shard_000.parquet"

    def search(runs: int) -> list[pd.DataFrame]:
        made = [
            f"results/smoke/search/tiny_nanobench-digits/random/n006/block_{i:02d}-{i:02d}.parquet"
            for i in range(runs)
        ]
        workflow.run(*SMOKE[:2], "given.yaml", "--config", f"runs={runs}", *SMOKE[2:], "--", *made)
        return [tables.read(path, TRUTH) for path in sorted(tmp_path.glob(shards))]

    def paid() -> dict[str, int]:
        return {
            path.name: path.stat().st_mtime_ns
            for path in tmp_path.glob("results/smoke/training/on_demand/*/*")
        }

    first, before = search(1), paid()
    more, after = search(2), paid()
    assert before.items() < after.items(), "what was trained stays, and nothing of it was trained again"
    asked, kept = (
        pd.concat(more),
        [tables.read(p, TRUTH) for p in tmp_path.glob("results/smoke/training/on_demand/*/*")],
    )
    assert sorted(asked["arch"]) == sorted(pd.concat(kept)["arch"])
    both = pd.concat(first).merge(asked, on="arch", suffixes=("", "_again"))
    assert len(both) == len(pd.concat(first)) < len(asked)
    assert (both["accuracy"] == both["accuracy_again"]).all()
    seconds = [tables.metadata(path)["seconds"] for path in sorted(tmp_path.glob(shards))]
    spent = [
        tables.metadata(path)["seconds"] for path in tmp_path.glob("results/smoke/training/on_demand/*/*")
    ]
    assert sum(seconds) == pytest.approx(sum(spent), abs=0.01), (
        "a shard says what its trainings took, whenever that was"
    )
