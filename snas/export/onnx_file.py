"""The network as an ONNX file, and how long ONNX Runtime takes for one image."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from snas import InputError, machine, seeds
from snas.export.description import INPUT, ONNX, OPSET, OUTPUT, Description
from snas.tables import replacing

RUNS, WARM_UP = 300, 30
"""Images that are timed one by one, and those before them that are not."""


def write_onnx(path: str | Path, module: nn.Module, description: Description) -> None:
    """Write ``module`` in eval mode with a free batch axis; labels and preprocessing stand in the file's metadata.

    Torch's exporter from TorchScript is used: the networks have no control flow that depends on data, and the newer one
    needs a further package.
    """
    import onnx

    example = torch.zeros(2, *description.image)
    with replacing(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notice that there is a newer one
            torch.onnx.export(
                module.eval(), (example,), str(temporary), dynamo=False, opset_version=OPSET,
                input_names=[INPUT], output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            )  # fmt: skip
        model = onnx.load(str(temporary))
        said = {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in description.as_json().items()
        }
        onnx.helper.set_model_props(model, said)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(temporary))


def session(folder: str | Path, *, threads: int = 0) -> Any:
    """Return an ONNX Runtime session of the file in ``folder`` on the CPU; 0 threads: one per core.

    Raises :class:`InputError` where the file is missing or no network, and ``ModuleNotFoundError`` without ONNX Runtime.
    """
    import onnxruntime

    path = Path(folder) / ONNX
    if not path.is_file():
        raise InputError(f"{path}: no such file; the network as ONNX is expected there")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        raise InputError(
            f"{path}: not a network that ONNX Runtime can run ({str(error).splitlines()[0]})"
        ) from error


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image: median and quartiles of ``runs`` single images, and what they were measured on."""

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    threads: int
    runtime: str
    processor: str

    def write(self, path: str | Path) -> None:
        """Write the measurement as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    @classmethod
    def read(cls, path: str | Path) -> Latency:
        """Return a measurement that was written."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


def measure(folder: str | Path, description: Description, *, runs: int = RUNS, threads: int = 1) -> Latency:
    """Time ``runs`` images one by one (batch 1, pixels already in memory) with ``threads`` threads."""
    import onnxruntime

    network = session(folder, threads=threads)
    draw = seeds.numpy_generator(0, "latency")
    images = draw.random((16, 1, *description.image), dtype=np.float32)
    seconds = []
    for run in range(-WARM_UP, runs):
        started = time.perf_counter()
        network.run([OUTPUT], {INPUT: images[run % len(images)]})
        if run >= 0:
            seconds.append(time.perf_counter() - started)
    low, median, high = np.percentile(np.array(seconds) * 1e3, [25, 50, 75]).round(4).tolist()
    return Latency(
        median, low, high, runs, threads, f"ONNX Runtime {onnxruntime.__version__}, CPU", machine.processor()
    )
