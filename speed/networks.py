"""Time of a training step of Tiny-NanoBench networks: plain modules one at a time against populations of many.

    python speed/networks.py            all rows, about five minutes
    python speed/networks.py --quick    fewer networks and repeats
    python speed/networks.py --json X   raw numbers of every repeat to the file X

Each row is measured in a process of its own with one thread, in processor time (other jobs of the machine disturb it
less than wall time), and rows of a table follow each other in one run.  A step is forward, backward and Adam on random
images; per network means divided by the networks of the group.  Networks are spread evenly over the space; the 22 M
network is the one whose cost is nearest to 22 M multiply-accumulates.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = {
    "truth": {"width": 8, "channels": 1, "side": 8, "batch": 32, "title": "digits truth, 8×8, batch 32"},
    "code": {"width": 8, "channels": 1, "side": 8, "batch": 16, "title": "digits code, 8×8, batch 16"},
    "cifar_code": {"width": 32, "channels": 3, "side": 32, "batch": 16, "title": "paper's code, 32×32, batch 16"},
    "cifar_truth": {"width": 32, "channels": 3, "side": 32, "batch": 128, "title": "paper's truth, 32×32, batch 128"},
}  # fmt: skip
LARGE_MACS = 22e6


def measure(size: str, kind: str, group: int, repeats: int) -> dict[str, object]:
    """Return the times of ``repeats`` steps of ``group`` networks, in ms per network, and the memory they took."""
    import torch

    from snas import networks, spaces
    from snas.networks.populations import Singles, losses

    torch.set_num_threads(1)
    options = {k: v for k, v in SIZES[size].items() if k not in ("batch", "title")}
    space = spaces.load("tiny_nanobench")
    if size.startswith("cifar"):
        archs = [int(abs(space.costs()[0] - LARGE_MACS).argmin())] * group
    else:
        archs = [len(space) * (2 * i + 1) // (2 * group) for i in range(group)]
    if kind != "plain":  # what torch and the library take themselves is not the networks'
        networks.population(space, archs[:1], compile=kind == "native", **options)(
            torch.rand(2, options["channels"], *[options["side"]] * 2)
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    if kind == "plain":
        population = Singles([networks.build(space, arch, **options) for arch in archs])
    else:
        population = networks.population(space, archs, compile=kind == "native", **options)
    built = time.process_time() - started
    adam = torch.optim.Adam([population.parameters], lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(
        SIZES[size]["batch"], options["channels"], *[options["side"]] * 2, generator=generator
    )
    targets = torch.softmax(torch.randn(len(images), 10, generator=generator), dim=1)

    def step() -> float:
        started = time.process_time()
        population.zero_grad()
        losses(population(images), targets).sum().backward()
        adam.step()
        return (time.process_time() - started) / group * 1e3

    step()
    times = [step() for _ in range(repeats)]
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / group
    return {
        "times": times,
        "build_ms": built / group * 1e3,
        "memory_mb": memory,
        "kernels": population.kernels,
    }


def fresh(*arguments: object, **environment: str) -> dict[str, object]:
    """Run this script's ``--one`` in a fresh process and return what it prints."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True, check=True
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def build_times() -> tuple[float, float]:
    """Return the seconds that the native library takes the first time and every other time."""
    code = "import time; from snas.networks import native; t = time.perf_counter(); native.load(); print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory() as folder:
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "SNAS_CACHE": folder},
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(2)
        ]
    return seconds[0], seconds[1]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=4, metavar=("SIZE", "KIND", "GROUP", "REPEATS"))
    options = parser.parse_args()
    if options.one:
        size, kind, group, repeats = options.one
        print(json.dumps(measure(size, kind, int(group), int(repeats))))
        return
    cold, warm = build_times()
    print(f"native library: built in {cold:.1f} s the first time, loaded in {warm:.2f} s after\n")
    rows = [(size, "plain", 10) for size in ("truth", "code")]
    rows += [(size, "eager", 50) for size in ("truth", "code")]
    groups = (1, 10, 50) if options.quick else (1, 10, 50, 100, 200)
    rows += [(size, "native", group) for size in ("truth", "code") for group in groups]
    rows += [(size, kind, 1) for size in ("cifar_code", "cifar_truth") for kind in ("plain", "native")]
    repeats = 3 if options.quick else 7
    raw, plain = [], {}
    print(
        "| step | kernels | networks | ms per network and step: median (min-max) | times plain | MB per network | ms to build |"
    )
    print("|---|---|---|---|---|---|---|")
    for size, kind, group in sorted(rows, key=lambda row: (list(SIZES).index(row[0]), row[1] != "plain")):
        found = fresh(size, kind, group, repeats)
        times = found["times"]
        middle = statistics.median(times)
        plain.setdefault(size, middle)
        raw.append({"size": size, "kind": kind, "group": group, **found})
        print(
            f"| {SIZES[size]['title']} | {found['kernels']} | {group} | {middle:.2f} ({min(times):.2f}-{max(times):.2f}) "
            f"| {plain[size] / middle:.1f} | {found['memory_mb']:.1f} | {found['build_ms']:.1f} |",
            flush=True,
        )
    print(f"\nn = {repeats} steps each, one thread, processor time")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"cold_s": cold, "warm_s": warm, "rows": raw}, file, indent=1)


if __name__ == "__main__":
    main()
