"""The container recipe: its syntax, what it copies, and that a site's Apptainer can run what comes of it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KNOWN = {"ARG", "FROM", "RUN", "COPY", "ENV", "LABEL"}


def instructions(text):
    """Return the (instruction, argument) pairs of a Containerfile: comments out, continued lines joined."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*#", line)]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    for pair in pairs:
        if len(pair) != 2 or not re.fullmatch("[A-Z]+", pair[0]):
            raise ValueError(f"not an instruction: {' '.join(pair)!r}")
    return [(name, argument) for name, argument in pairs]


@pytest.fixture(scope="module")
def recipe():
    return instructions((ROOT / "Containerfile").read_text())


def test_the_checker_sees_a_broken_line():
    with pytest.raises(ValueError, match="not an instruction: '&& rm x'"):
        instructions("FROM a\nRUN b\n    && rm x\n")


def test_instructions_are_known_and_in_order(recipe):
    names = [name for name, _ in recipe]
    assert set(names) <= KNOWN, "USER, ENTRYPOINT, WORKDIR and the like mean nothing to Apptainer"
    assert names.index("FROM") == 1
    assert names[0] == "ARG"
    assert names.count("FROM") == 1
    image = dict(recipe)["FROM"]
    assert re.fullmatch(r"[\w./-]+/python:\$\{PYTHON\}-[\w-]+", image), (
        "a full name, which podman does not have to guess"
    )


def test_the_python_is_one_that_the_project_takes(recipe):
    version = dict(recipe)["ARG"].removeprefix("PYTHON=")
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(
        ">="
    )
    assert [int(x) for x in version.split(".")] >= [int(x) for x in least.split(".")]


def test_what_is_copied_is_in_the_repository(recipe):
    for name, argument in recipe:
        if name == "COPY":
            *sources, target = argument.split()
            assert target.startswith("/opt/snas/")
            for source in sources:
                assert (ROOT / source).exists(), source
                assert not source.startswith(("/", ".."))


def test_shell_lines_parse_and_quotes_close(recipe):
    import subprocess

    for name, argument in recipe:
        if name == "RUN":
            done = subprocess.run(["sh", "-n", "-c", argument], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_dependencies_are_pinned_and_the_code_is_the_checkouts(recipe):
    text = " ".join(argument for _, argument in recipe)
    assert "--constraint /opt/snas/constraints.txt" in text
    assert "PYTHONPATH=." in dict(recipe)["ENV"].split()
    assert "uninstall --yes snas" in text
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "slurm" in extra
