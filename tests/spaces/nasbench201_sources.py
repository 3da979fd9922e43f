"""Small sources of NAS-Bench-201 in its public formats, made from the real sample that lies beside the repository."""

import bz2
import io
import pickle
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snas.spaces import accuracies

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NAME = "NATS-tss-v1_0-3ffb9-simple"
SAMPLE = DATA / "nats_bench_sample" / NAME
TABLE = DATA / "nasbench201.parquet"
ARCHS = (0, 11, 284)

needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no {SAMPLE}")
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason=f"no {TABLE}")


def file_name(arch: int) -> str:
    return f"{arch:06d}.pickle.pbz2"


def record(arch: int):
    """The real record of an architecture of the sample, as Python reads it (the sample is trusted here)."""
    return pickle.loads(bz2.decompress((SAMPLE / file_name(arch)).read_bytes()))


def copy_sample(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in SAMPLE.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def tar_sample(path: Path, extra=(), names=None) -> Path:
    """The sample as a plain tar, with further (TarInfo, bytes) entries."""
    with tarfile.open(path, "w") as tar:
        for member in sorted(SAMPLE.iterdir()):
            tar.add(member, arcname=f"{NAME}/{member.name}")
        for info, content in extra:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def cells() -> list[str]:
    return [cell.name for cell in accuracies.benchmark().cells()]


def table(archs, datasets=tuple(accuracies.DATASETS)) -> pd.DataFrame:
    """A table in the documented columns with made-up accuracies that are possible."""
    names, cut = cells(), accuracies.cut_off()
    rows = []
    for dataset in datasets:
        side, classes = accuracies.DATASETS[dataset]
        macs, params = accuracies.benchmark().costs(side=side, classes=classes)
        best = {"cifar10": 0.9, "cifar100": 0.7, "imagenet16-120": 0.4}[dataset]
        for arch in archs:
            accuracy = 1 / classes if cut[arch] else best + (arch % 97) / 10_000
            rows.append(
                {
                    "dataset": dataset,
                    "arch_id": arch,
                    "arch": names[arch],
                    "test_accuracy_200": accuracy,
                    "flops_m": (macs[arch] + classes) / 1e6,
                    "params_m": params[arch] / 1e6,
                    "early_losses": [3.0 - epoch / 100 for epoch in range(50)],
                }
            )
    return pd.DataFrame(rows)


def naslib(archs, dataset="cifar10-valid", *, key=lambda cell, _: cell, number=float):
    """NASLib's dictionary from the sample's records: the curves of seed 777."""
    found = {}
    for arch in archs:
        result = record(arch)["200"]["all_results"][dataset, 777]
        names = dict.fromkeys(("eval_losses", "eval_acc1es"), "x-valid" if "valid" in dataset else "ori-test")
        found[key(result["arch_config"]["arch_str"], arch)] = {
            dataset: {
                **{
                    name: [
                        number(result[name][f"{names[name]}@{e}" if name in names else e]) for e in range(200)
                    ]
                    for name in ("train_losses", "eval_losses", "train_acc1es", "eval_acc1es")
                },
                "cost_info": {
                    "flops": result["flop"],
                    "params": result["params"],
                    "latency": result["latency"][0],
                    "train_time": result["train_times"][0],
                },
            }
        }
    return found


def analog(accuracy_of, archs=range(15_625)) -> bytes:
    """``data.anb`` as the package analog-nasbench writes it: objects of its two classes."""
    module = types.ModuleType("analognasbench.data")
    for name in ("Architecture", "DriftMeasurement"):
        setattr(module, name, type(name, (), {"__module__": module.__name__, "__qualname__": name}))
    drift = module.DriftMeasurement()
    drift.value, drift.uncertainty = 10.0, 0.5
    operations = {"skip_connect": 0, "none": 1, "nor_conv_3x3": 2, "nor_conv_1x1": 3, "avg_pool_3x3": 4}
    data = {}
    for arch in archs:
        # the arch string goes 01, 02, 12, 03, 13, 23; the package 01, 02, 03, 12, 13, 23
        a, b, c, d, e, f = accuracies.benchmark().cell(arch).operations
        key = tuple(operations[o] for o in (a, b, d, c, e, f))
        item = module.Architecture()
        item.__dict__.update(architecture=key, baseline_accuracy=accuracy_of(arch), baseline_drift_60=drift)
        data[key] = item
    before = {name: sys.modules.get(name) for name in ("analognasbench", module.__name__)}
    sys.modules["analognasbench"] = types.ModuleType("analognasbench")
    sys.modules[module.__name__] = module
    try:
        return pickle.dumps(data, 4)
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


def possible_percent(arch: int) -> float:
    """A made-up CIFAR-10 accuracy in percent: chance where nothing can be learned."""
    return 10.0 if CUT[arch] else 80 + float(np.sqrt(arch)) / 10


CUT = accuracies.cut_off()
