"""Toy registrations and benches for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from snas import predictors, search, spaces
from snas.search import bench as bench_module

from . import toys


@pytest.fixture(autouse=True)
def registered_toys() -> Iterator[None]:
    """Register the toy space, predictor and methods for one test."""
    spaces.REGISTRY.register("toy", f"{toys.__name__}:ToySpace")
    predictors.REGISTRY.register("linear", f"{toys.__name__}:LinearPredictor")
    for name in toys.TOYS:
        search.METHODS.register(name, f"{toys.__name__}:{name.upper()}")
    yield
    spaces.REGISTRY.unregister("toy")
    predictors.REGISTRY.unregister("linear")
    for name in toys.TOYS:
        search.METHODS.unregister(name)


@pytest.fixture
def toy() -> pd.DataFrame:
    """A complete bench of the toy space."""
    return toys.toy_frame()


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Path]:
    """Write a bench, ``change(frame)`` applied to it, and return its path."""

    def make(
        change: Callable[[pd.DataFrame], Any] = lambda frame: None, name: str = "bench", **metadata: Any
    ) -> Path:
        frame = toys.toy_frame()
        changed = change(frame)
        path = tmp_path / f"{name}.parquet"
        bench_module.write(path, frame if changed is None else changed, toys.METADATA | metadata)
        return path

    return make
