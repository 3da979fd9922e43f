"""What all tests share: the repository, real data that lies beside it, and a folder in which the workflow runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import shapes

shapes.install()  # before anything imports snas

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
# How long an example takes says nothing where others compute as well.  A change is held against the same examples as the
# one before; `pytest --hypothesis-profile=new-examples` looks for others.
EXAMPLES = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same-examples", derandomize=True, **EXAMPLES)
settings.register_profile("new-examples", **EXAMPLES)
settings.load_profile("same-examples")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the workflow first: they take longest, and what comes last is shared among all processes."""
    items.sort(key=lambda item: "tests/workflow/" not in item.nodeid)


def pytest_runtest_setup() -> None:
    """Check the shapes of the first calls of every function in each test, not in the first test alone."""
    shapes.begin()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real NAS-Bench-201 results and CIFAR-10 images; skips where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"real data is not there: {DATA}")
    return DATA


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that has a folder filled by one of the processes of the tests; the others wait, and read it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


class Workflow:
    """The workflow in a folder of its own: rules, scripts and configuration copied, the library as installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / "Snakefile").exists():
            return  # another process has made it
        for name in ("rules", "scripts", "config", "profiles", "report", "published"):
            shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
        for name in ("environment.yml", "Snakefile"):
            shutil.copy(ROOT / name, folder / name)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a run."""
        return [sys.executable, "-m", "snakemake", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a run: one thread per job."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAS_", "PYTEST_"))}
        return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def run(
        self, *arguments: str, timeout: float = 3600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the folder; output and errors come together as ``stdout``."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A fresh folder with the workflow in it."""
    return Workflow(tmp_path)
