"""One undisturbed smoke run that the tests of the workflow share."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import psutil
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


def processes(session: int) -> dict[int, str]:
    """Return the living processes of a session and their command lines."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == session:
                found[process.pid] = " ".join(process.cmdline())
    return found


@pytest.fixture(scope="session")
def smoke(made_once) -> tuple[Workflow, str]:
    """A finished smoke run and what it printed, made once for all processes of the tests: they read it, or copy it."""
    said = "said.txt"
    folder = made_once("smoke", lambda f: (f / said).write_text(Workflow(f).run(*SMOKE).stdout))
    return Workflow(folder), (folder / said).read_text()


@pytest.fixture
def finished_run(smoke, tmp_path) -> Workflow:
    """A copy of the finished smoke run, with Snakemake's records."""
    workflow = Workflow(tmp_path)
    for name in ("results", ".snakemake"):
        shutil.copytree(smoke[0].folder / name, tmp_path / name, dirs_exist_ok=True, symlinks=True)
    return workflow
