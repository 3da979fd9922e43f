"""What a search on own images costs on this machine: a short measurement, a plan that fits the time, a forecast.

The measurement is that of the jobs themselves: as many processes as there will be jobs, each with one thread, each trains
a few networks on the user's images for a moment.  Costs between are taken as linear in the multiply-accumulates.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError, signals, spaces
from snas import device as devices
from snas.search.jobs import OwnSearch, own_search
from snas.words import counted

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SECONDS = 300.0
"""What a search takes about where the user says nothing: some minutes."""
WIDTHS = (8, 16, 32)
BUDGETS = ("128+32", "64+16", "48+12", "32+8", "24+6", "16+4")
USUAL = 3
"""Place of the budget that is tried first; the larger ones are for time that is left."""
STEPS = (40, 80, 160, 240, 320, 480, 640, 960, 1280, 1920, 2560, 3840, 5120)
"""Steps of a training that are chosen among; fewer than LEAST only where the user's time needs it."""
LEAST, WIDER = 160, 640
"""The next width is taken where it leaves at least so many steps."""
CHOICE = 4
"""And where at least so many candidates are left for each training: limits may leave a few of the wide ones."""
MEASURE_SECONDS = 1.0
"""How long each of the two sizes of networks is trained for the measurement."""
ADAM_BYTES = 16
"""Of a parameter in training: float32 weight, gradient and Adam's two moments."""
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container says how much memory it may use, by the two versions of control groups."""
NO_MEMORY = ("can't allocate memory", "OutOfMemoryError", "MemoryError", "CUDA out of memory")
"""What torch and Python say where memory is lacking."""
DEAR = 0.75
"""Where among the candidates' costs a search is expected to ask: good networks are rather the dear ones."""


@dataclass(frozen=True)
class Speed:
    """What was measured: seconds of one network at one width.

    Attributes:
        startup: of a job until it trains.
        step: (constant, per multiply-accumulate) of a training step of 32 images.
        test: the same of one plain image.
        jobs: how many were measured at the same time.
    """

    startup: float
    step: tuple[float, float]
    test: tuple[float, float]
    jobs: int

    def training(self, macs: float, steps: int, tested: int) -> float:
        """Return the seconds of a complete training of a network of ``macs``, and its test on so many images."""
        return steps * (self.step[0] + self.step[1] * macs) + tested * (self.test[0] + self.test[1] * macs)


@dataclass(frozen=True)
class Plan:
    """What will be done: the search, the size of the networks, their recipe."""

    search: OwnSearch
    width: int
    steps: int
    balanced: bool = False

    @property
    def recipe(self) -> str:
        """Name of the complete training."""
        return f"own_{self.steps}" + ("_balanced" if self.balanced else "")

    @property
    def code_steps(self) -> int:
        """Steps of an estimation code: a twentieth of a training, at least three epochs of six."""
        return max(18, self.steps // 20 // 3 * 3)

    @property
    def code_recipe(self) -> str:
        """Name of the estimation code's recipe."""
        return f"own_code_{self.code_steps}" + ("_balanced" if self.balanced else "")


@dataclass(frozen=True)
class Work:
    """What a plan is done on.

    Attributes:
        macs: costs of the candidates, by width.
        validation: images to choose by.
        jobs: at a time.
        coded: candidates whose estimation code is there already.
        code_shards: jobs that the codes are cut into; 0 for as many as there are at a time.
    """

    macs: dict[int, np.ndarray]
    validation: int
    jobs: int
    coded: int = 0
    code_shards: int = 0

    def seconds(self, plan: Plan, speed: Speed, paid: int = 0) -> float:
        """Return the forecast of a plan: every round is a job of its own and the trainings that it asks for.

        ``paid`` trainings are there already; they are the first ones.
        """
        macs = self.macs[plan.width]
        mean, dear = float(macs.mean()), float(np.quantile(macs, DEAR))
        total = 3 * speed.startup  # the workflow itself, the split, the choice
        uncoded = max(len(macs) - self.coded, 0)
        if plan.search.needs_codes and uncoded:
            each = speed.training(mean, plan.code_steps // 2, 0)  # half as many images a step
            total += speed.startup + uncoded * each / min(self.jobs, self.code_shards or self.jobs)
        for number, size in enumerate(sizes(plan.search)):
            new = max(size - paid, 0)
            paid = max(paid - size, 0)
            each = speed.training(dear if number else mean, plan.steps, self.validation)
            total += 2 * speed.startup + -(-new // self.jobs) * each
        # the winner's own training and tests, its ONNX file, card and page
        return total + 3 * speed.startup + speed.training(dear, plan.steps, self.validation)


def sizes(search: OwnSearch) -> list[int]:
    """Return how many networks each round asks for, the last one the top K."""
    if sum(search.asks) == search.trainings:
        return list(search.asks)
    middle = search.rounds - 1
    each = [search.budget // middle] * middle
    each[0] += search.budget - sum(each)
    return [*each, search.top]


def choose_plan(
    work: Work,
    speed: Speed,
    seconds: float,
    *,
    method: str,
    ask_batch: int,
    budget: str = "",
    width: int = 0,
    steps: int = 0,
    balanced: bool = False,
    paid: int = 0,
    strict: bool = True,
) -> Plan:
    """Return the plan whose forecast is nearest to ``seconds`` from below; what is given stays as it is.

    N + K = 32 + 8 trainings, of as many steps as there is time for; then wider networks, then more trainings; where not
    even trainings of :data:`LEAST` steps fit, fewer of them, then (``strict``: the user has named the time) shorter ones.
    The smallest plan may take longer than asked for.
    """

    def plan(budget: str, width: int, steps: int) -> Plan:
        return Plan(own_search(method, budget, ask_batch), width, steps, balanced)

    def fits(one: Plan) -> bool:
        most = len(work.macs[one.width])
        return one.search.trainings <= most and work.seconds(one, speed, paid) <= seconds

    def chosen_among(steps: int, budget: str, width: int) -> bool:
        return len(work.macs[width]) >= CHOICE * plan(budget, width, steps).search.trainings

    widths = (width,) if width else tuple(w for w in WIDTHS if w in work.macs)
    choices = (steps,) if steps else STEPS
    for least in (LEAST, 0) if strict else (LEAST,):
        for wanted in (budget,) if budget else BUDGETS[USUAL:]:
            for size in reversed(widths):
                narrowest = size == widths[0]
                # what the user says holds at the narrowest width, whatever it is
                floor = (0 if steps else least) if narrowest else max(least, WIDER)
                found = [s for s in choices if s >= floor and fits(plan(wanted, size, s))]
                if found and (narrowest or chosen_among(found[-1], wanted, size)):
                    return _more_trainings(plan(wanted, size, found[-1]), fits, plan, fixed=bool(budget))
    smallest, shortest = (BUDGETS[-1], STEPS[0]) if strict else (BUDGETS[-2], LEAST)
    return plan(budget or smallest, widths[0], steps or shortest)


def _more_trainings(one: Plan, fits: Any, plan: Any, *, fixed: bool) -> Plan:
    """Spend what time is left on more trainings, where these are as long as they get (or as long as the user says)."""
    if fixed or one.search.trainings < 40:
        return one
    larger = [plan(budget, one.width, one.steps) for budget in BUDGETS[:USUAL]]
    return next((other for other in larger if fits(other)), one)


SMALLER = "a smaller --width or --side, fewer --cores, or limits (--max-params, --max-macs)"
"""What makes a search on own images take less memory."""


def check_memory(
    space: str, candidates: pd.DataFrame, *, width: int, side: int, jobs: int, smaller: str = SMALLER
) -> None:
    """Raise :class:`InputError` where ``jobs`` trainings of the candidates at a time do not fit into this machine's memory.

    ``smaller`` says what would be right.  Asking for it would tell nothing: Linux promises memory that it has not, and ends
    processes later.
    """
    needed = training_bytes(space, candidates, width=width, side=side)
    there = memory_bytes()
    if max(needed.max(), jobs * needed.mean()) > there:
        raise InputError(
            f"networks of width {width} take about {needed.mean() / 1e9:.1f} GB of memory to train, the dearest "
            f"{needed.max() / 1e9:.1f} GB, {jobs} at a time, and this machine has {there / 1e9:.1f} GB; {smaller} "
            "would be right"
        )


def memory_in_words(space: str, width: int, jobs: int) -> str:
    """Return what is to be said where ``jobs`` trainings at a time do not fit into this machine's memory; empty where they may.

    Told by what is sure without torch: the weights of the mean network, in training.  It is said and not refused, as less
    may run at a time than there are cores (``--resources mem_mb=...``).
    """
    chosen = spaces.load(space)
    width = width or chosen.default_width
    _, params = chosen.costs(width=width, channels=1, side=8, classes=2)
    each, there = ADAM_BYTES * float(params.mean()), memory_bytes()
    if jobs * each <= there:
        return ""
    return (
        f"networks of width {width} take more than {each / 1e9:.1f} GB of memory to train, {jobs} at a time, and this machine has "
        f"{there / 1e9:.1f} GB; a smaller width, or fewer --cores, would be right"
    )


def training_bytes(space: str, candidates: pd.DataFrame, *, width: int, side: int) -> np.ndarray:
    """Return about how much memory a few of the candidates take in a step of 32 images, from the cheapest to the dearest."""
    from snas import networks

    chosen = spaces.load(space)
    few = candidates.sort_values("macs").iloc[np.linspace(0, len(candidates) - 1, 9).astype(int)]
    kept = [
        networks.activation_bytes(chosen, int(arch), width=width, side=side, batch=32) or 0
        for arch in few["arch"]
    ]
    return ADAM_BYTES * few["params"].to_numpy(dtype=float) + np.array(kept, dtype=float)


def memory_bytes() -> float:
    """Return the memory of this machine, or of the container that this is."""
    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for path in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(float(int(path.read_text())))
    return min(found)


def measure(selection: str | Path, space: str, *, width: int, jobs: int, device: str, compile: bool) -> Speed:
    """Return the speed of networks of ``width`` on the images of a ``selection.parquet``, ``jobs`` processes at a time.

    Raises :class:`InputError` where a process fails, with the last line of what it said, or what it lacked.
    """
    task = json.dumps(
        {"selection": str(selection), "space": space, "width": width, "device": device, "compile": compile}
    )
    started = time.time()
    workers: list[subprocess.Popen[str]] = []
    found = []
    try:
        for environment in _environments(device, jobs):
            with signals.postponed():
                worker = subprocess.Popen(
                    [sys.executable, "-m", "snas.search.forecast", task],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                workers.append(worker)
        for worker in workers:
            said, errors = worker.communicate()
            if worker.returncode == -signal.SIGKILL or any(words in errors for words in NO_MEMORY):
                raise InputError(
                    f"networks of width {width}, {jobs} at a time, do not fit into the memory that there is; a smaller "
                    "--width or --side, or fewer --cores, would be right"
                )
            if worker.returncode:
                last = (errors.strip().splitlines() or ["no message"])[-1]
                raise InputError(f"the measurement of this machine failed: {last}")
            found.append(json.loads(said.strip().splitlines()[-1]))
    except BaseException:
        with signals.postponed():
            for worker in workers:  # they would go on for nobody
                with worker:
                    worker.kill()
        raise

    def mean(name: str) -> np.ndarray:
        return np.mean([one[name] for one in found], axis=0)

    startup = float(np.mean([one["ready"] - started for one in found]))
    line = lambda name: _line(mean("macs"), mean(name))
    return Speed(startup, line("step"), line("test"), jobs)


def _environments(device: str, jobs: int) -> list[dict[str, str]]:
    """Return the environment of each of so many processes: one thread, and a GPU of its own where they compute on GPUs.

    No GPU is leased as a job would do it: a plan does not wait for other runs to end.
    """
    gpus = devices.visible_devices() if devices.wanted(device) else ()
    common = os.environ | {"OMP_NUM_THREADS": "1"}
    return [common | ({"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {}) for job in range(jobs)]


def _line(macs: Sequence[float] | np.ndarray, seconds: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return (constant, slope) of the line through two points, neither below 0."""
    slope = max((seconds[1] - seconds[0]) / max(macs[1] - macs[0], 1.0), 0.0)
    constant = float(seconds[0] - slope * macs[0])
    if constant < 0:  # through the origin then, and the dearer point
        return 0.0, float(seconds[1] / max(macs[1], 1.0))
    return constant, float(slope)


def work_seconds(task: dict[str, Any]) -> dict[str, Any]:
    """Train and test four cheap and four dear networks for a moment; what a process of :func:`measure` does.

    Fewer at a time where they are so large that jobs would not train four together either.
    """
    import torch

    from snas import networks, training
    from snas.device import torch_device
    from snas.images.augment import plain_batches
    from snas.images.split import read_selection
    from snas.networks.populations import losses
    from snas.training.adam import Adam
    from snas.training.groups import group_size
    from snas.training.loop import make_batches

    images, recipe = read_selection(task["selection"]), training.recipe("own_40")
    ready, place = time.time(), torch_device(task["device"])
    space = spaces.load(task["space"])
    size = {"width": task["width"], **images.size}
    macs, _ = space.costs(**size)
    order = np.argsort(macs, kind="stable")
    batches = make_batches(
        images.train_images, images.train_labels, recipe,
        classes=len(images.classes), flip=images.flip, base_seed=0, device=place,
    )  # fmt: skip
    tested = images.test_images[:64]
    found: dict[str, Any] = {"ready": ready, "macs": [], "step": [], "test": []}
    for share in (0.2, 0.8):
        archs = [int(order[int((share + offset) * len(order))]) for offset in (-0.1, -0.03, 0.03, 0.1)]
        together = group_size(
            space, archs, width=size["width"], side=images.side, batch=recipe.batch, device=place
        )
        archs = archs[:together]
        population = networks.population(
            space, archs, bn_momentum=recipe.bn_momentum, device=place, compile=task["compile"], **size
        )
        adam = Adam(population.parameters, 1e-3, recipe.adam_eps)

        def step(pair: tuple[Any, Any], population: Any = population, adam: Any = adam) -> None:
            population.zero_grad()
            losses(population(pair[0]), pair[1]).sum().backward()
            adam.step()

        def test(part: Any, population: Any = population) -> None:
            with torch.no_grad():
                population(part)

        population.train()
        found["step"].append(_timed(step, lambda: batches.epoch(0), place) / len(archs))
        population.eval()
        each = _timed(test, lambda: plain_batches(tested, 64, place), place)
        found["test"].append(each / len(archs) / len(tested))
        found["macs"].append(float(np.mean(macs[archs])))
    return found


def _timed(call: Any, items: Any, place: Any) -> float:
    """Return the seconds per item of ``call`` on what ``items()`` yields, making the items included, after one to warm up."""
    import torch

    call(next(iter(items())))
    done, started = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - started < MEASURE_SECONDS:
        for item in items():
            call(item)
            done += 1
    if place.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / done


def paid_in_words(paid: int) -> str:
    """Return how many trainings are paid for already.

    >>> paid_in_words(1), paid_in_words(12)
    ('1 training is paid for already', '12 trainings are paid for already')
    """
    return f"{counted(paid, 'training')} {'is' if paid == 1 else 'are'} paid for already"


def in_words(
    plan: Plan, speed: Speed, seconds: float, now: float, paid: int = 0, uncoded: int = 0
) -> list[str]:
    """Return the plan and its forecast as sentences; so many estimation codes are trained before."""
    from snas.progress import clock

    n, k, many = plan.search.budget, plan.search.top, sizes(plan.search)
    how = f", {many[1]} at a time" if len(many) > 3 and many[1] > 1 else ""
    last = (
        f", then {'the one' if k == 1 else f'the {k}'} that it ranks highest {'is' if k == 1 else 'are'} trained"
        if k
        else ""
    )
    said = [
        f"plan: {plan.search.method} asks for {n} networks in {counted(len(many) - 1, 'round')}{how}{last}: {n + k} complete trainings of {plan.steps} steps at width {plan.width} ({plan.recipe})"
    ]
    if paid:
        again = "is not done again" if paid == 1 else "are not done again"
        said.append(f"of these, {paid_in_words(paid)} and {again}")
    if uncoded:
        said.append(
            f"before the trainings, {counted(uncoded, 'estimation code')} of {plan.code_steps} steps {'is' if uncoded == 1 else 'are'} trained, "
            f"one of each network within the limits ({plan.code_recipe})"
        )
    done = time.strftime("%H:%M", time.localtime(now + seconds))
    said.append(
        f"measured on this machine, {counted(speed.jobs, 'job')} at a time: {speed.startup:.1f} s until a job trains; "
        f"forecast: {clock(seconds)}, done at about {done}"
    )
    return said


def facts(plan: Plan, speed: Speed, seconds: float, now: float, paid: int) -> dict[str, Any]:
    """Return the forecast as JSON types, for the file that it is compared with later."""
    return {
        "at": now,
        "seconds": round(seconds, 1),
        "trainings": plan.search.trainings,
        "paid_before": paid,
        "recipe": plan.recipe,
        "width": plan.width,
        "speed": asdict(speed),
    }


if __name__ == "__main__":
    print(json.dumps(work_seconds(json.loads(sys.argv[1]))))
