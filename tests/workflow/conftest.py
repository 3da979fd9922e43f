"""One undisturbed smoke run that the tests of the workflow share."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Workflow

SMOKE = ("--configfile", "config/smoke.yaml", "--cores", "2")
TIMES = {"seconds", "train_seconds", "truth_seconds", "code_seconds", "cpu_seconds", "gpu_seconds"}


def columns(folder: Path) -> dict[str, dict[str, list]]:
    """Return the columns of every Parquet file below ``folder`` but those that measure time or memory."""
    found = {}
    for path in sorted(folder.rglob("*.parquet")):
        name = str(path.relative_to(folder))
        if path.stem not in {"costs", "timing"} and "/rounds/" not in name:
            table = pq.read_table(path)
            found[name] = {c: table[c].to_pylist() for c in table.column_names if c not in TIMES}
    return found


def same(one: dict, other: dict) -> None:
    """Fail with the file and column in which two runs differ; NaN equals NaN."""
    assert sorted(one) == sorted(other)
    for name, table in one.items():
        assert sorted(table) == sorted(other[name]), name
        for column, values in table.items():
            assert repr(values) == repr(other[name][column]), f"{name}: {column}"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> tuple[Workflow, str]:
    """A finished smoke run and what it printed, made once for all processes of the tests: they read it, or copy it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "smoke"
    folder.mkdir(exist_ok=True)
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first makes it on both cores, the others wait
        workflow, said = Workflow(folder), shared / "smoke.txt"
        if not said.exists():
            text = workflow.run(*SMOKE).stdout
            said.write_text(text)
        return workflow, said.read_text()


@pytest.fixture
def finished_run(smoke, tmp_path) -> Workflow:
    """A copy of the finished smoke run, with Snakemake's records."""
    workflow = Workflow(tmp_path)
    for name in ("results", ".snakemake"):
        shutil.copytree(smoke[0].folder / name, tmp_path / name, dirs_exist_ok=True, symlinks=True)
    return workflow
