"""CIFAR-10 accuracies of all 15,625 cells from the PyPI package ``analog-nasbench``, trained independently by its authors.

The package is data for analog hardware; its ``baseline_accuracy`` is the test accuracy of each network on digital hardware,
in percent.  It needs no download beside ``pip install analog-nasbench``, and is not the official NAS-Bench-201.  The
package's pickle is read as data from where the package, its wheel or the file lies; the package is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import InputError
from snas.spaces import pickles
from snas.spaces.source_naslib import parse_key

if TYPE_CHECKING:
    import pandas as pd

NAME = "analog-nasbench"
MODULE, FILE = "analognasbench", "data.anb"
MAX_BYTES = 32 << 20
"""The file of version 0.1.3 has 5.6 MB, and 2.2 million steps."""
LIMITS = pickles.Limits(steps=8_000_000, containers=1_000_000)
NAMES: pickles.Names = {
    ("analognasbench.data", "Architecture"): pickles.record,
    ("analognasbench.data", "DriftMeasurement"): pickles.record,
}


def locate() -> Path:
    """Return the data file of the installed package; raises :class:`InputError` where it is not installed."""
    spec = importlib.util.find_spec(MODULE)  # finds a top-level package without importing it
    folders = (
        [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    )
    for folder in folders:
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    raise InputError(f"the package {NAME} is not installed here; pip install analog-nasbench brings it")


def read(source: Path, *, code_epochs: Sequence[int] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of ``data.anb``, given as that file, as the wheel, or as the installed package's folder."""
    import pandas as pd

    if code_epochs:
        raise InputError(
            f"{source}: codes of epochs {', '.join(map(str, code_epochs))} are asked for, and {NAME} records no training "
            "curves; give no code epochs and another code (nasbench201_code = trained or a proxy, as synflow)"
        )
    data = content(source)
    rows: list[dict[str, Any]] = []

    def take(key: Any, value: Any) -> None:
        cell = parse_key(key, str(source))
        accuracy: Any = value.get("baseline_accuracy") if type(value) is dict else None
        if type(accuracy) not in (int, float) or not math.isfinite(accuracy) or not 0 <= accuracy <= 100:
            raise InputError(f"{source}: {cell!r} has no baseline_accuracy from 0 to 100 percent")
        rows.append({"cell": cell, "dataset": "cifar10", "accuracy": accuracy / 100})

    value = pickles.load(data, str(source), names=NAMES, limits=LIMITS, on_item=take)
    if type(value) is not dict:
        raise InputError(f"{source}: a dictionary of architectures is expected, not a {type(value).__name__}")
    return pd.DataFrame(rows, columns=["cell", "dataset", "accuracy"]), {
        "kind": "analog_nasbench",
        "title": f"{NAME} (CIFAR-10, trained independently; not the official NAS-Bench-201)",
        "accuracy": f"baseline_accuracy of the package {NAME}: test accuracy on CIFAR-10, trained independently",
        "content_sha256": hashlib.sha256(data).hexdigest(),
        "code_epochs": None,
        "code_source": None,
        "code_price": None,
    }


def content(source: Path) -> bytes:
    """Return the package's pickle from that file, the wheel or the folder; raises :class:`InputError` where there is none."""
    path = source / FILE if source.is_dir() else source
    try:
        if zipfile.is_zipfile(path) or path.suffix.lower() == ".whl":
            with zipfile.ZipFile(path) as wheel, wheel.open(f"{MODULE}/{FILE}") as file:
                data = file.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (
        OSError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise InputError(f"{source}: no {FILE} of {NAME} can be read from it: {str(error)[:100]}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: {FILE} has more than {MAX_BYTES} bytes")
    return data
