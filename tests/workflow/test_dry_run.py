"""The DAG of every configuration, and what is refused before it is made."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from snas import tables
from snas.search.forecast import memory_bytes
from snas.training.schemas import CODES
from tests.conftest import ROOT
from tests.spaces import nasbench201_sources as sources

OVERLAYS = sorted(p.stem for p in (ROOT / "config").glob("*.yaml") if p.stem not in ("schema", "config"))


def jobs(text):
    return int(re.search(r"^total\s+(\d+)", text, re.MULTILINE).group(1))


MAIN_RULES = (
    "code_shard",
    "truth_shard",
    "proxy_shard",
    "search_block",
    "bench_analysis",
    "figure",
    "report_page",
)


@pytest.mark.parametrize("overlay", ["", *OVERLAYS])
def test_every_configuration_has_a_dag_below_5000_jobs(workflow, overlay):
    chosen = ("--configfile", f"config/{overlay}.yaml") if overlay else ()
    sources.table(range(1)).to_parquet(workflow.folder / "nasbench201.parquet")  # the import's default name
    done = workflow.run("-n", "--quiet", "rules", *chosen, check=False)
    if done.returncode and re.search("does not exist|is not installed here", done.stdout):
        pytest.skip(f"{overlay} names data that is not on this machine")
    assert done.returncode == 0, done.stdout
    assert 10 < jobs(done.stdout) < 5000
    for rule in () if overlay else MAIN_RULES:
        assert re.search(rf"^{rule}\s+\d+", done.stdout, re.MULTILINE), rule


def test_on_demand_has_a_fixed_dag(workflow):
    done = workflow.run(
        "-n", "--quiet", "rules", "--configfile", "config/smoke.yaml", "--config", "truth=on_demand"
    )
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", done.stdout, re.MULTILINE))
    assert counts["wanted"] == counts["answers"] == "12", "ten updates of BTS, the start and the top K"
    assert int(counts["truth_round_shard"]) == 12 * 3
    assert "truth_shard" not in counts


def test_the_embedded_run_reads_the_data_of_a_package_that_it_never_imports(workflow):
    package = workflow.folder / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the package was imported')\n")
    (package / "data.anb").write_bytes(sources.analog(sources.possible_percent))
    chosen = ("--configfile", "config/nasbench201_embedded.yaml")
    table = "results/nb201_embedded/spaces/nasbench201_accuracies.parquet"
    workflow.run(table, "--cores", "1", *chosen)
    assert "not the official NAS-Bench-201" in tables.metadata(workflow.folder / table)["title"]
    done = workflow.run("fig5", "-n", "--quiet", "rules", *chosen)
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", done.stdout, re.MULTILINE))
    assert counts["nasbench201_proxy_shard"] == "8"
    assert counts["search_block"] == "15"
    assert not {"import_nasbench201", "truth_shard", "code_shard"} & set(counts)


def test_codes_of_nasbench201_are_trained_in_shards_where_the_paper_s_are_wanted(workflow):
    """Three of the 15,625 networks really are, on a few images; a run has all shards before its benches."""
    package = workflow.folder / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.anb").write_bytes(sources.analog(sources.possible_percent))
    draw = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (workflow.folder / "pets" / name).mkdir(parents=True)
        for i in range(24):
            pixels = draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(workflow.folder / "pets" / name / f"{i}.png")
    chosen = workflow.folder / "trained.yaml"
    chosen.write_text(
        "run: trained\nspace: ''\nnasbench201: analog-nasbench\nnasbench201_sets: [cifar10]\nnasbench201_code: trained\n"
        "nasbench201_code_shards: 6000\ncode_recipe: smoke_code\ntruth_recipe: smoke_truth\nextra_searches: []\n"
        "images: folder\nimages_path: pets\ntrain_images: 0\ncode_share: 0.5\n"
    )
    shard = "results/trained/training/nasbench201_codes/shard_1234.parquet"
    table = "results/trained/spaces/nasbench201_accuracies.parquet"
    workflow.run(table, shard, "--cores", "1", "--configfile", str(chosen))
    made = tables.read(workflow.folder / shard, CODES)
    assert made["arch"].tolist() == [1234, 7234, 13234]
    assert made["status"].tolist() == ["ok"] * 3
    assert tables.metadata(workflow.folder / shard)["space"] == "nasbench201"
    (package / "data.anb").write_bytes(sources.analog(lambda arch: 10.0 if sources.CUT[arch] else 50.0))
    done = workflow.run(table, shard, "-n", "--quiet", "rules", "--configfile", str(chosen))
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", done.stdout, re.MULTILINE))
    assert counts == {"import_nasbench201": "1", "total": "1"}, "other accuracies re-run no training of codes"
    chosen.write_text(chosen.read_text().replace("6000", "3"))
    done = workflow.run("fig5", "-n", "--quiet", "rules", "--configfile", str(chosen))
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", done.stdout, re.MULTILINE))
    assert (counts["nasbench201_code_shard"], counts["nasbench201_codes"]) == ("3", "1")


def test_a_search_that_cannot_be_done_is_refused_before_anything_is_trained_for_it(workflow):
    few = ("--configfile", "config/smoke.yaml", "--config", "architectures=12", "--cores", "1")
    done = workflow.run(*few, check=False)
    assert done.returncode
    assert "N + K = 10 + 8 is more than the 12 architectures that are searched" in done.stdout
    assert not (workflow.folder / "results/smoke/spaces").exists(), "not even the first job has begun"
    workflow.run(*few, "--", "results/smoke/spaces/tiny_nanobench.parquet")  # what needs no search can be had


@pytest.mark.parametrize("arguments", [("-n",), ("--cores", "1")])
def test_a_source_that_is_cut_off_is_refused_before_anything_is_computed(workflow, arguments):
    path = workflow.folder / "cut.parquet"
    sources.table(range(9)).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-9])
    chosen = ("--configfile", "config/nasbench201_embedded.yaml", "--config", "nasbench201=cut.parquet")
    done = workflow.run(*arguments, *chosen, check=False)
    assert done.returncode
    assert (
        "configuration: key 'nasbench201': cut.parquet: not a readable Parquet file (truncated" in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert not (workflow.folder / "results").exists()


FEW = ("--configfile", "config/nasbench201_embedded.yaml", "--config", "nasbench201=few.csv", "run=few")


def test_a_table_that_cannot_be_imported_is_read_before_anything_is_computed_beside_it(workflow):
    """It begins as it should; that most of it is lacking shows where it is read."""
    path = workflow.folder / "few.csv"
    sources.table(range(9), ["cifar10"]).drop(columns="early_losses").to_csv(path, index=False)
    done = workflow.run("fig8", "--cores", "1", *FEW, check=False)
    assert done.returncode
    assert (
        "configuration: key 'nasbench201': few.csv: 9 architectures of cifar10, 15625 are needed"
        in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert not (workflow.folder / "results/few/spaces").exists(), "no job has begun"


def test_what_a_source_lacks_is_said_before_anything_is_computed_and_another_key_imports_nothing_anew(
    workflow,
):
    path = workflow.folder / "few.csv"
    sources.table(range(15_625), ["cifar10"]).drop(columns="early_losses").to_csv(path, index=False)
    seeds = (*FEW, "nasbench201_table=one_seed")
    done = workflow.run("fig8", "--cores", "1", *seeds, check=False)
    sentence = "key 'nasbench201_table' is 'one_seed', and few.csv has no accuracy per seed of cifar10"
    assert sentence in done.stdout.splitlines()[-1]
    assert not (workflow.folder / "results/few/spaces").exists(), "no job has begun"
    workflow.run("results/few/spaces/nasbench201_accuracies.parquet", "--cores", "1", *seeds)
    done = workflow.run("fig8", "--cores", "1", *seeds, check=False)
    assert sentence in done.stdout.splitlines()[-1]
    dry = workflow.run("fig8", "-n", "--quiet", "rules", *FEW)
    assert "import_nasbench201" not in dry.stdout
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    os.utime(path, (1, 1))  # older than what was imported, as what is moved to its place may be
    done = workflow.run("fig8", "--cores", "1", *FEW, check=False)
    assert "few.csv: 8 architectures of cifar10, 15625 are needed" in done.stdout.splitlines()[-1]


def test_an_import_is_the_first_of_all_jobs_and_fails_in_one_sentence(workflow):
    """Where it stands alone nobody has read the source before; nor is its log, which is shown, a traceback."""
    path = workflow.folder / "few.csv"
    sources.table(range(9), ["cifar10"]).drop(columns="early_losses").to_csv(path, index=False)
    wanted = [f"results/few/spaces/{name}.parquet" for name in ("nasbench201", "nasbench201_accuracies")]
    done = workflow.run(*wanted, "--cores", "1", *FEW, check=False)
    assert done.returncode
    assert "[snas] import_nasbench201: few.csv: 9 architectures of cifar10, 15625 are needed" in done.stdout
    assert "Traceback" not in done.stdout
    begun = re.split(r"^(?:local)?rule (\w+):", done.stdout, flags=re.MULTILINE)
    assert begun[1::2] == ["import_nasbench201", "space"]
    assert ["priority: 1" in said for said in begun[2::2]] == [True, False]


BUDGETS = ("--config", "budgets=[5000]", "budget=5000+8")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ((), "N + K = 5000 + 100 is more than the 1,120 architectures that are searched"),
        (("all",), "N + K = 5000 + 100 is more than the 1,120"),
        (("fig5",), "N + K = 5000 + 100 is more than the 1,120"),
        (("search",), "key 'budget' is '5000+8': N + K = 5,008 is more than the 1,120 architectures of tiny_nanobench"),
        (("fig10",), ""),  # needs no search
    ],
)  # fmt: skip
def test_a_dry_run_says_of_a_search_that_it_cannot_be_done(workflow, target, sentence):
    done = workflow.run(*target, "-n", *BUDGETS, check=False)
    assert bool(done.returncode) == bool(sentence), done.stdout
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout


def test_one_figure_has_a_target_of_its_own(workflow):
    done = workflow.run("fig10", "-n", "--quiet", "rules")
    assert jobs(done.stdout) == 3


def test_a_study_of_few_trainings_has_one_target(workflow):
    dry = ("fewest", "-n", "--quiet", "rules")
    without = workflow.run(*dry).stdout
    assert "fewest_search" not in without, "no study by default: the figures show the run's own searches"
    assert re.search(r"^figure\s+4$", without, re.MULTILINE)
    found = workflow.run(*dry, "--configfile", "config/fewest.yaml").stdout
    counts = dict(re.findall(r"^(\w+)\s+(\d+)", found, re.MULTILINE))
    assert counts["removed_bench"] == "4"
    assert int(counts["fewest_search"]) > 20
    assert counts["fewest_tables"] == "1"
    assert "bench_analysis" not in counts


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--config", "budgetss=3"],
            "configuration: unknown key 'budgetss'; did you mean 'budgets' or 'budget'?",
        ),
        (["--config", "budgets=30"], "on the command line a list is 'key=[a,b]', in quotes"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(workflow, arguments, sentence):
    """All kinds stand in tests/test_config.py; here, that the sentence is the last that is said, and no traceback."""
    done = workflow.run("-n", *arguments, check=False)
    assert done.returncode
    assert sentence in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "fgi5",
            "[snas] unknown target 'fgi5'; did you mean 'fig5'? figures and tables are fig1, fig4, fig5",
        ),
        ("everything", "[snas] unknown target 'everything'; figures and tables are fig1"),
        ("results/default/fgi5.parquet", "MissingRuleException"),
        ("share", ""),  # a rule
        ("results/default/images/share.parquet", ""),
    ],
)
def test_an_unknown_target_is_told_the_known_ones(workflow, target, sentence):
    done = workflow.run(target, "-n", check=False)
    assert bool(done.returncode) == bool(sentence), done.stdout
    assert sentence in done.stdout
    assert ("[snas]" in done.stdout.splitlines()[-1]) == ("[snas]" in sentence)


def test_parsing_imports_no_torch_and_no_pandas(workflow):
    """Not beyond what Snakemake itself has imported: its plugin for SLURM brings pandas."""
    path = workflow.folder / "Snakefile"
    heavy = "{'torch', 'pandas', 'matplotlib', 'pyarrow'} & set(sys.modules)"
    path.write_text(
        f"import sys\nBEFORE = {heavy}\n{path.read_text()}\nassert {heavy} == BEFORE, sys.modules\n"
    )
    assert workflow.run("-n", "--quiet", "rules").returncode == 0


def test_the_second_driver_is_told_who_works_here(workflow):
    import subprocess
    import time

    first = subprocess.Popen(
        workflow.command("--configfile", "config/smoke.yaml", "--cores", "1"),
        cwd=workflow.folder, env=workflow.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    lock = workflow.folder / ".snakemake/snas/smoke.lock"
    try:
        while first.poll() is None and not (lock.exists() and lock.read_text()):
            time.sleep(0.1)
        second = workflow.run("--configfile", "config/smoke.yaml", "--cores", "1", check=False)
        assert second.returncode
        assert f"results/smoke is being made by process {first.pid}" in second.stdout
        assert "Traceback" not in second.stdout
        assert workflow.run("-n", "--quiet", "all", "--configfile", "config/smoke.yaml").returncode == 0
    finally:
        first.terminate()
        first.wait(timeout=600)


@pytest.mark.parametrize("width", [8, 1024])
def test_a_start_says_that_networks_are_too_large_for_the_memory(workflow, width):
    """With ``--touch``, a start that makes nothing; jobs of 3.3 GB each, or next to nothing, until the memory is full."""
    target, jobs = "results/default/training/codes.parquet", int(memory_bytes() / 3e9) + 1
    words = f"--touch --cores {jobs} --config code_shards={jobs} width={width} -- {target}".split()
    said = re.findall(r"^\[snas\] networks of .*", workflow.run(*words).stdout, re.MULTILINE)
    assert [line.partition(" take")[0] for line in said] == [f"[snas] networks of width {width}"] * (
        width > 8
    )
    assert all(f"GB of memory to train, {jobs} at a time, and this machine has" in line for line in said)


def test_what_all_wait_for_begins_first_and_of_searches_the_longest(workflow):
    """A search of a minute and a half that begins last is waited for alone."""
    priorities = {"code_shard": [], "truth_shard": [], "proxy_shard": [], "search_block": []}
    searches = {}
    for job in re.split(r"^(?:local)?rule ", workflow.run("-n", "--forceall").stdout, flags=re.M):
        rule = job.partition(":")[0]
        if rule in priorities:
            found = re.search(r"^    priority: (\d+)$", job, re.M)
            priorities[rule].append(int(found[1]) if found else 0)
            searches[re.search(r"output: .*?(\w[^/]*/n\d+)?/[^/]*$", job, re.M)[1]] = priorities[rule][-1]
    longest = max(priorities.pop("search_block"))
    assert sum(map(len, priorities.values())) == 11
    assert min(min(found) for found in priorities.values()) > longest == searches["brp_nas/n020"]
    assert searches["siamese/n100"] > searches["siamese/n020"] > searches["random/n100"]
