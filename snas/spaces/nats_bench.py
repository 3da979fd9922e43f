"""One architecture of the official NATS-Bench files (``NATS-tss-v1_0-3ffb9-simple``), read without its package.

A file ``000000.pickle.pbz2`` is a bz2 of a pickle with two trainings, ``"12"`` and ``"200"`` epochs, each with the results
of every (data set, seed).  Numbers are those of the official API: ``get_more_info(index, dataset, hp=..., is_random=False)``
averages the recorded seeds, in their recorded order.

The module is also a program that answers requests (:mod:`snas.spaces.apart`): the importer shares its work among such
processes.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from snas import InputError
from snas.spaces import pickles
from snas.spaces.apart import serve
from snas.spaces.archives import Member, decompress

TESTS = {
    "cifar10": ("cifar10", "ori-test", "cifar10-valid"),
    "cifar100": ("cifar100", "x-test", "cifar100"),
    "imagenet16-120": ("ImageNet16-120", "x-test", "ImageNet16-120"),
}
"""Data set → (its name in the files, its test set, the training whose ``x-valid`` is the validation accuracy)."""
SEEDS = (777, 888, 999)
FULL, SHORT = 200, 12
MAX_COMPRESSED = 2 << 20
MAX_PLAIN = 4 << 20
"""Real files have 85 kB, 326 kB plain."""
LIMITS = pickles.Limits(steps=500_000, containers=20_000)
"""Real files have 48,000 steps and 500 containers."""

Row = dict[str, Any]


def read_architecture(member: Member, index: int, code_epochs: Sequence[int]) -> tuple[list[Row], str]:
    """Return the rows of one architecture (one per data set) and the SHA-256 of its file.

    Codes are the training losses of ``code_epochs`` (1 is the first) of one complete training on CIFAR-10, that of the
    lowest recorded seed, for every data set.

    Raises :class:`InputError` where the file is truncated, hostile, or not in the format.
    """
    content = member.read(MAX_COMPRESSED)
    plain = decompress(content, member.label, MAX_PLAIN)
    record = pickles.load(plain, member.label, limits=LIMITS)
    return _Record(record, member.label).rows(index, code_epochs), hashlib.sha256(content).hexdigest()


class _Record:
    """The content of a file, with sentences for what is not where the format has it."""

    def __init__(self, record: Any, label: str) -> None:
        self.record, self.label = record, label

    def rows(self, index: int, code_epochs: Sequence[int]) -> list[Row]:
        full, short = self.get(self.record, str(FULL)), self.get(self.record, str(SHORT))
        cell = self.get(full, "arch_str")
        if self.get(full, "arch_index") != index or self.get(short, "arch_index") != index:
            raise InputError(f"{self.label} is named {index:06d} but holds another architecture")
        if not isinstance(cell, str) or self.get(short, "arch_str") != cell:
            raise InputError(f"{self.label}: its two trainings are of different architectures")
        code = self.code(full, code_epochs)
        return [{"arch": index, "cell": cell, **self.row(full, short, d), **code} for d in TESTS]

    def row(self, full: Any, short: Any, dataset: str) -> Row:
        name, test, training = TESTS[dataset]
        seeds, results = self.results(full, name)
        accuracies = [self.evaluation(r, test, FULL) for r in results]
        unknown = set(seeds) - set(SEEDS)
        if unknown:
            raise InputError(
                f"{self.label}: seed {min(unknown)} of {name}; {', '.join(map(str, SEEDS))} are known"
            )
        per_seed = dict(zip(seeds, accuracies, strict=True))
        _, quick = self.results(short, name)
        return {
            "dataset": dataset,
            "accuracy": _mean(accuracies),
            **{f"accuracy_{seed}": per_seed.get(seed) for seed in SEEDS},
            "accuracy_12": _mean([self.evaluation(r, test, SHORT) for r in quick]),
            "validation": self.validation(full, training, FULL),
            "validation_12": self.validation(short, training, SHORT),
            "flops_m": self.cost(seeds, results, "flop"),
            "params_m": self.cost(seeds, results, "params"),
            "seconds_200": _mean([self.seconds(r, FULL) for r in results]),
            "seconds_12": _mean([self.seconds(r, SHORT) for r in quick]),
        }

    def results(self, training: Any, name: str) -> tuple[list[int], list[Any]]:
        """Return the recorded seeds and the results of each."""
        seeds = self.get(self.get(training, "dataset_seed"), name)
        if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
            raise InputError(f"{self.label}: no seeds of {name}; the file is not in the format of NATS-Bench")
        if len(set(seeds)) != len(seeds) or len(seeds) > 10:
            raise InputError(f"{self.label}: a seed of {name} occurs twice")
        everything = self.get(training, "all_results")
        return seeds, [self.get(everything, (name, seed)) for seed in seeds]

    def validation(self, training: Any, name: str, epochs: int) -> float:
        return _mean([self.evaluation(r, "x-valid", epochs) for r in self.results(training, name)[1]])

    def evaluation(self, result: Any, which: str, epochs: int) -> float:
        """Return the accuracy after the last epoch in percent, as recorded."""
        percent = self.number(self.get(result, "eval_acc1es"), f"{which}@{epochs - 1}")
        if not 0 <= percent <= 100:
            raise InputError(f"{self.label}: accuracy {percent:g} on {which}; 0 to 100 percent are expected")
        return percent

    def cost(self, seeds: list[int], results: list[Any], what: str) -> float:
        """Return FLOPs or parameters in millions; where seeds disagree, seed 888's (a repair of the official API)."""
        values = [self.number(r, what) for r in results]
        if len({f"{value:.5f}" for value in values}) > 1 and 888 in seeds:
            return values[seeds.index(888)]
        return _mean(values)

    def seconds(self, result: Any, epochs: int) -> float:
        times = self.get(result, "train_times")
        return _total([self.number(times, epoch) for epoch in range(epochs)])

    def code(self, full: Any, epochs: Sequence[int]) -> Row:
        if not epochs:
            return {}
        seeds, results = self.results(full, TESTS["cifar10"][0])
        losses = self.get(results[seeds.index(min(seeds))], "train_losses")
        return {f"code_{i}": self.number(losses, epoch - 1) for i, epoch in enumerate(epochs, start=1)}

    def get(self, mapping: Any, key: Any) -> Any:
        if type(mapping) is not dict or key not in mapping:
            raise InputError(f"{self.label}: no {key!r} where the format of NATS-Bench has it")
        return mapping[key]

    def number(self, mapping: Any, key: Any) -> float:
        value = self.get(mapping, key)
        if type(value) not in (float, int) or not math.isfinite(value):
            raise InputError(f"{self.label}: {key!r} is not a finite number")
        return float(value)


def _total(values: list[float]) -> float:
    """Add from left to right, as the official numbers were: since Python 3.12 ``sum`` carries what rounding loses."""
    return reduce(operator.add, values)


def _mean(values: list[float]) -> float:
    """The official API's mean."""
    return _total(values) / len(values)


def fractions(row: Row) -> Row:
    """Return a row with its accuracies as fractions (the mean is taken in percent, as the official API does)."""
    return {
        key: value / 100 if value is not None and key.startswith(("accuracy", "validation")) else value
        for key, value in row.items()
    }


def read_part(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"rows": ..., "digests": ...}`` of the requested members."""
    rows: list[Row] = []
    digests: dict[str, str] = {}
    for index, name, path, offset, size, stamp in request["members"]:
        member = Member(name, Path(path), offset, size, stamp)
        found, digests[name] = read_architecture(member, index, request["code_epochs"])
        rows.extend(map(fractions, found))
    return {"rows": rows, "digests": digests}


if __name__ == "__main__":
    serve(read_part)
