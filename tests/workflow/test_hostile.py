"""Names and files that mean harm, through the whole workflow: nothing of them runs, nothing is lost by them."""

from __future__ import annotations

import ast
import json
import re

import numpy as np
import pytest
from PIL import Image

from snas import config, tables
from snas.__main__ import main
from snas.training.schemas import CODES
from tests.conftest import ROOT, Workflow

NAME = "-a \"b\" 'c' $(touch harm) `touch harm` é叶; touch harm #"
CLASSES = ("-rf", "$(touch harm)", "it's é", '"; touch harm')
SMALL = {
    "run": "smoke", "images": "folder", "images_path": NAME, "train_images": 0, "code_share": 0.5, "architectures": 4,
    "code_shards": 1, "truth_shards": 1, "width": 4, "code_recipe": "smoke_code", "truth_recipe": "smoke_truth",
    "compile": False,
}  # fmt: skip


def test_folders_and_files_of_any_name(tmp_path):
    """A workflow in a folder, on images in folders, with a configuration, whose names would be commands in a shell."""
    folder = tmp_path / NAME
    folder.mkdir()
    workflow = Workflow(folder)
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (folder / NAME / name).mkdir(parents=True)
        for i in range(24):
            pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / NAME / name / f"-{i} '\".png")
    (folder / "-over lay.yaml").write_text(json.dumps(SMALL, ensure_ascii=False))
    target = "results/smoke/training/codes.parquet"
    workflow.run("--configfile", "./-over lay.yaml", "--cores", "1", "--", target)
    frame = tables.read(folder / target, CODES)
    assert len(frame) == 4
    assert (frame["status"] == "ok").all()
    assert not list(tmp_path.rglob("harm"))


CONFIGURATIONS = {
    "a tag": (
        "runs: !!python/object/apply:os.system ['touch harm']\n",
        "could not determine a constructor for the tag",
        "line 1",
    ),
    "a tag at the root": (
        "!!python/object/apply:os.system ['touch harm']\n",
        "could not determine a constructor for the tag",
        "line 1",
    ),
    "a name with a command": (
        "run: '$(touch harm)'\n",
        "key 'run' is '$(touch harm)'; allowed: letters, digits",
        "",
    ),
    "a run outside": ("run: ../../elsewhere\n", "key 'run' is '../../elsewhere'; allowed: letters", ""),
    "a run that is an option": ("run: --delete-all-output\n", "allowed: letters, digits", ""),
    "a key that stands twice": (
        "block: 1\nruns: 3\nruns: 5\n",
        "key 'runs' stands twice; leave one",
        "lines 2 and 3",
    ),
    "aliases that multiply": (
        "runs: &a [1, 1]\nblock: &b [*a, *a]\nwidth: [*b, *b]\n",
        "key 'block' is [[1, 1], [1, 1]] (list); integer is expected",
        "",
    ),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_configurations_that_mean_harm(tmp_path, what, capsys):
    content, said, where = CONFIGURATIONS[what]
    path = tmp_path / "given.yaml"
    path.write_text(content)
    assert main(["config-check", str(path)]) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert where in sentence
    if what in (
        "a tag",
        "a name with a command",
        "a key that stands twice",
    ):  # refused by the profile, and by the Snakefile
        workflow = Workflow(tmp_path)
        done = workflow.run("-n", "--configfile", "given.yaml", check=False)
        assert done.returncode
        assert said in done.stdout
        assert "Traceback" not in done.stdout
    assert not list(tmp_path.rglob("harm"))


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_a_configuration_that_is_a_python_template_is_refused_before_it_runs(workflow, profile, capsys):
    """Snakemake itself would evaluate it; both profiles refuse it before Snakemake reads it."""
    path = workflow.folder / "given.yaml"
    path.write_text("__use_yte__: true\n__definitions__:\n  - open('harm', 'w')\nruns: ?2 + 1\n")
    sentence = "given.yaml: key '__use_yte__' makes Snakemake run the file as a Python template"
    assert main(["config-check", str(path)]) == 2
    assert sentence in capsys.readouterr().err
    by = ("--workflow-profile", f"profiles/{profile}", "--configfile", "config/smoke.yaml", "given.yaml")
    done = workflow.run("-n", *by, check=False)
    assert done.returncode
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert not (workflow.folder / "harm").exists()


@pytest.mark.parametrize("profile", ["default", "slurm"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--configfile", "config/smoke.yaml", "nothere.yaml"),
            "nothere.yaml: the configuration cannot be read: No such file or directory; if it is a target, it stands "
            "before --configfile, or behind '--'",
        ),
        (
            ("--config", "runs=3", "fig5"),
            "--config fig5: key=value is expected; if it is a target, it stands before --config, or behind '--'",
        ),
        (
            ("--config", "fewest.runs=3"),
            "--config fewest.runs=3: 'fewest.runs' is no key; keys are words, and those inside",
        ),
        (("--config", "runs=2", "runs=3"), "--config names 'runs' twice; once is right"),
        (
            ("--config", "run=mine", "-C", "runs=3"),
            "--config stands twice, and Snakemake would take the last one",
        ),
    ],
)
def test_words_that_snakemake_has_a_traceback_for_are_one_sentence(workflow, profile, arguments, sentence):
    done = workflow.run("-n", "--workflow-profile", f"profiles/{profile}", *arguments, check=False)
    assert done.returncode
    assert [line for line in done.stdout.splitlines() if sentence in line]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["fig5", "-n", "--configfile", "given.yaml", "--config", "runs=3", "--", "fig5"],
        ["-n", "--configfile=given.yaml", "fig5"],
        ["-C", "runs=3", "budgets=[30, 60]", "-n", "--configfile", "given.yaml", "-odd name.yaml"],
        ["--configfile", "given.yaml", "--cores", "2", "fig5"],
        ["--config", "--cores", "2"],
    ],
)
def test_words_are_taken_as_snakemake_takes_them(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("given.yaml", "-odd name.yaml"):
        (tmp_path / name).write_text("runs: 3\n")
    config.check_arguments(arguments)
    for name in ("given.yaml", "-odd name.yaml"):
        (tmp_path / name).write_text("runs: [\n")
    taken = [a.split("=")[-1] for a in arguments if a.endswith(".yaml")]
    if taken:
        with pytest.raises(SystemExit, match=f"^{taken[0]}, line 2: "):
            config.check_arguments(arguments)


def test_a_name_with_a_space_in_it_is_a_file_although_it_begins_as_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.yaml").write_text("runs: 3\n")
    (tmp_path / "-odd name.yaml").write_text("runs: [\n")
    with pytest.raises(SystemExit, match=r"^-odd name\.yaml, line 2: "):
        config.check_arguments(["--configfile", "given.yaml", "-odd name.yaml", "-n"])


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--config", "run=mine", "fig5=1", "-C", "runs=3"], "--config"),
        (["--configfile", "given.yaml", "-n", "--configfiles=given.yaml"], "--configfile"),
    ],
)
def test_an_option_of_the_configuration_stands_once(tmp_path, monkeypatch, arguments, option):
    """Else the name of a run is lost without a word, and another run of that name with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.yaml").write_text("runs: 3\n")
    with pytest.raises(SystemExit, match=f"^{option} stands twice, and"):
        config.check_arguments(arguments)


def test_a_configuration_in_another_encoding_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "given.yaml"
    path.write_bytes("run: schön\n".encode("latin-1"))
    assert main(["config-check", str(path)]) == 2
    assert "given.yaml: the configuration cannot be read: 'utf-8' codec" in capsys.readouterr().err


def test_a_valid_configuration_is_said_to_be_one(capsys):
    assert main(["config-check", str(ROOT / "config/smoke.yaml")]) == 0
    assert "a valid configuration" in capsys.readouterr().out


FORBIDDEN = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "torch.load",
    "yaml.load",
    "__import__",
}


def dotted(node: ast.expr) -> str:
    """Return a call's name as it is written."""
    return ast.unparse(node)


def test_nothing_is_run_that_somebody_else_wrote():
    """No shell string, no evaluated text, no pickle beside the reader with an allow-list."""
    files = [*(ROOT / "snas").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    assert len(files) > 50
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            assert name not in FORBIDDEN, f"{path}:{node.lineno}: {name}"
            shell = [k for k in node.keywords if k.arg == "shell"]
            assert not shell, f"{path}:{node.lineno}: a shell"
            if name == "np.load":
                plain = [k for k in node.keywords if k.arg == "allow_pickle"]
                assert not plain or ast.unparse(plain[0].value) == "False", f"{path}:{node.lineno}"
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        assert not re.search(r"^\s*(shell|run|onerror_shell)\s*:", path.read_text(), re.MULTILINE), path


def test_the_configuration_reader_makes_plain_values_only():
    kinds = (str, int, float, bool, list, dict, type(None))
    for path in sorted((ROOT / "config").glob("*.yaml")):
        waiting = [config.read_file(path)]
        while waiting:
            value = waiting.pop()
            assert isinstance(value, kinds), path
            waiting += (
                list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
            )
