import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def synthetic():
    """The maker of made-up benches and searches."""
    path = Path(__file__).parent.parent / "analysis" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("snas_tests_synthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
