"""Python 3.11 to 3.14: the syntax of every file, and the modules without torch, under each that is on this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
COMPILE = """
import sys, warnings
warnings.simplefilter("error")
for path in sys.argv[1:]:
    compile(open(path, encoding="utf-8").read(), path, "exec", dont_inherit=True)
print(len(sys.argv) - 1)
"""
IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
from snas import code_hash, config, device, progress, provenance, seeds, tables
from snas import spaces, networks, images, training, proxies, predictors, search, analysis, figures
print(code_hash.code_hash("snas.training.truth"), "torch" in sys.modules)
"""


def interpreter(version):
    """Return a Python of this version that starts, or None."""
    names = [
        shutil.which(f"python{version}"),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ]
    for name in filter(None, names):
        done = subprocess.run(
            [name, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
        )
        if done.stdout.startswith(f"{version}."):
            return name
    return None


@pytest.fixture(scope="module", params=VERSIONS)
def python(request):
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} on this machine")
    return found


def run(python, code, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [python, "-S", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_every_file_compiles_without_a_warning(python):
    files = [
        p for folder in ("snas", "scripts", "tests", "speed") for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    done = run(python, COMPILE, *files)
    assert done.stdout.strip() == str(len(files)), done.stderr[-2000:]


def test_registries_and_hashes_need_no_package_at_all(python):
    """What the Snakefile imports, without any installed package; a hash of code is the same under every Python."""
    done = run(python, IMPORT, ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    digest, torch = done.stdout.split()
    assert torch == "False"
    here = subprocess.run(
        [sys.executable, "-c", IMPORT, str(ROOT)], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert digest == here
