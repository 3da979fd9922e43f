"""One list of dependencies; no addresses in committed files; the layout of the house."""

import json
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal"}


def tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_environment_yml_agrees_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {f"python {project['requires-python']}"}
    for entry in project["dependencies"]:
        name, bounds = re.match(r"([\w-]+)(.*)", entry).groups()
        wanted.add(f"{CONDA.get(name, name)} {bounds}".strip())
    assert set(yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]) == wanted


def test_constraints_pin_every_dependency_without_an_address():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.match(r"[\w-]+", entry)[0].lower().replace("_", "-") for entry in project["dependencies"]}
    assert named <= {pin.split("==")[0].lower().replace("_", "-") for pin in pins}


def test_no_index_address_in_any_committed_file():
    hosts = re.compile(
        "|".join(
            ["py" + r"pi\.org", "python" + r"hosted\.org", "download" + r"\.pytorch\.org", "--" + "index-url"]
        )
    )
    for path in tracked():
        if path.suffix not in {".png", ".parquet", ".pdf"} and path.is_file():
            assert not hosts.search(path.read_text(errors="ignore")), path


def test_rooms_and_rules_have_the_same_names_and_scripts_are_short():
    rooms = {p.parent.name for p in (ROOT / "snas").glob("*/__init__.py")}
    assert rooms == {
        "spaces",
        "networks",
        "images",
        "training",
        "proxies",
        "predictors",
        "search",
        "analysis",
        "figures",
        "export",
    }
    assert {p.stem for p in (ROOT / "rules").glob("*.smk")} - {"common", "fewest"} <= rooms
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 70
    for script in (ROOT / "scripts").glob("[!_]*.py"):
        assert len(script.read_text().splitlines()) <= 30, script
    for path in (ROOT / "snas").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) snakemake", path.read_text(), re.MULTILINE), path


ORDER = [
    "spaces", "networks", "images", "training", "proxies", "predictors", "search", "analysis", "figures", "export",
]  # fmt: skip


def test_data_flows_one_way():
    """No room imports a room that comes after it."""
    pattern = re.compile(r"^\s*(?:from|import) snas\.(\w+)", re.MULTILINE)
    for room in ORDER:
        for path in (ROOT / "snas" / room).glob("*.py"):
            for found in pattern.findall(path.read_text()):
                if found in ORDER:
                    assert ORDER.index(found) <= ORDER.index(room), f"{path} imports snas.{found}"


def test_no_arithmetic_within_the_f_strings_of_rules():
    """snakefmt writes ``{n - 1}`` there with the spaces under Python 3.11 and without them under later ones."""
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        if path.name != "common.smk":  # plain functions, which it formats alike
            assert not re.findall(r"\bf\".*(?<!{){[^{}\"]* [-+*/%] [^{}\"]*}.*\"", path.read_text()), (
                path.name
            )


def test_no_name_is_undefined():
    """The check of shapes needs strings as annotations, whose names ruff would take for undefined: only they may be."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "json",
         *(str(ROOT / name) for name in ("snas", "scripts", "speed", "tests"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {}
    for fault in json.loads(done.stdout):
        place = fault["location"]["row"], fault["location"]["column"] - 1
        found.setdefault(Path(fault["filename"]), []).append((place, fault["message"]))
    assert found, "shapes are strings"
    for path, faults in found.items():
        with path.open("rb") as file:
            names = {token.start for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}
        wrong = [message for place, message in faults if place in names]
        assert set(wrong) <= {"Undefined name `snakemake`"}, f"{path}: {wrong}"
