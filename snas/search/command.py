"""``snas search``: find the network for one's own images.  A thin command over ``snakemake search``.

It looks at the images, measures this machine, writes down the configuration that follows, says what it will cost, starts
the workflow, and says in the end how good the forecast was.  The same command again goes on; with a larger budget too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import InputError, config, device, machine, provenance, signals, tables
from snas.images import REGISTRY as IMAGE_SETS
from snas.progress import clock
from snas.search import forecast as forecasts
from snas.search.forecast import Plan, Speed, Work, paid_in_words
from snas.tables import replacing
from snas.words import counted

if TYPE_CHECKING:
    import numpy as np

EMBEDDED = tuple(name for name in IMAGE_SETS if name not in ("folder", "parquet"))
LIMITS = ("max_macs", "max_params")
"""Keys of what the device of the user takes; 0 is no limit."""
FIXED = ("images", "images_path", "image_side", "image_channels", "validation_share", "test_share", "seed", "width",
         "truth_recipe", "code_recipe", "space")  # fmt: skip
"""What a run keeps: another value would throw away all that is paid for."""
MOST_STEPS = 9_999_992
"""Of a complete training: what the names of recipes hold."""
LARGEST = {"cpu": 32, "cuda": 64}
"""Side that larger images are resized to where the user names none."""
SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def add_parser(commands: Any) -> None:
    """Add ``search`` to the commands of ``snas``."""
    parser = commands.add_parser(
        "search",
        help="find the best small network for your own images",
        description="Find the best small network for your own images. The command measures this machine and says what the "
        "search will cost before it starts. The same command continues a search that was stopped; with a larger --budget "
        "it keeps what is trained already.",
    )
    add = parser.add_argument
    add_images(parser, required=True)
    add("--run", help="name of the run; default: made from the name of the images")
    add(
        "--directory",
        type=Path,
        help="folder that results/ is made in; default: the project's folder (name one if that is read-only)",
    )
    budgets = parser.add_mutually_exclusive_group()
    budgets.add_argument(
        "--budget",
        metavar="N+K",
        help="N networks to train and learn from + the K highest-ranked to train then; the best of all is taken",
    )
    budgets.add_argument(
        "--hours", type=float, help="time it may take here, in place of a budget; default: some minutes"
    )
    budgets.add_argument("--gpu-hours", type=float, help="the same, in hours of one GPU")
    add(
        "--max-macs",
        type=limit,
        default=None,
        metavar="MACS",
        help="at most this many multiply-accumulates per image, for example 5M; a run that continues keeps its limits, 0 "
        "lifts one",
    )
    add(
        "--max-params",
        type=limit,
        default=None,
        metavar="PARAMS",
        help="at most this many parameters, for example 100k",
    )
    add(
        "--method",
        help="search method; default: that of a run that continues, otherwise gp, which needs the fewest trainings",
    )
    add("--width", type=int, help="channels of the first stage; default: as the available time allows")
    add("--steps", type=int, help="steps of a complete training; default: as the available time allows")
    add(
        "--balanced",
        action="store_true",
        default=None,
        help="draw every class equally often and choose by balanced accuracy",
    )
    add(
        "--cores",
        type=int,
        default=machine.cores(),
        help="CPU cores to use; default: %(default)s",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="where it computes; default: as the run was begun, otherwise auto",
    )
    add("--seed", type=int, help="base seed; default: 0")
    add("--plan", action="store_true", help="only say what the search would cost")
    parser.set_defaults(command=run)


def add_images(parser: Any, **settings: Any) -> None:
    """Add the words that images are named by, the same for every command that takes some."""
    add = parser.add_argument
    add(
        "--images",
        help=f"folder with one folder per class, Parquet file, or one of {', '.join(EMBEDDED)}",
        **settings,
    )
    add("--path", help="folder or file with the data of a named image set (cifar10, ...)")
    add("--side", type=int, help="resize images to this many pixels (8 to 128)")
    add("--channels", type=int, help="channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA")


def number(text: str) -> int:
    """Return a number with k, M or G behind it.

    >>> number("5M"), number("1.5k"), number("700")
    (5000000, 1500, 700)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text)
    found = 0 if match is None else round(float(match[1]) * SUFFIXES[match[2]])
    if found < 1:  # 0.4 would become 0, which is no limit at all
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1, as in 700, 100k or 5M")
    return found


def limit(text: str) -> int:
    """Return a number as :func:`number` reads it, or 0: no limit."""
    return 0 if text == "0" else number(text)


def run(options: argparse.Namespace) -> int:
    """Plan, start and judge one search; return the exit status of the workflow."""
    project = workflow_folder()
    place = (options.directory or project).absolute()
    given = asked(options)
    name = options.run or run_name(given)
    folder = place / "results" / name
    provenance.check_free(place, name)
    stored = config.read_file(folder / "search.yaml") if (folder / "search.yaml").is_file() else {}
    values = merged(given, stored, name)
    if place != Path.cwd():
        say(f"results go to {folder}")
    kept = [key for key in LIMITS if values[key] and key not in given]
    if kept:
        words = ", ".join(f"{key} {values[key]:,}" for key in kept)
        say(f"as it was last said: {words} (--{kept[0].replace('_', '-')} 0 would lift it)")
    values.setdefault("image_side", side_of(values, values["device"]))
    jobs = jobs_at_a_time(options, values)
    # a run keeps these whatever computes it: more networks at a time are another search, other shards make all codes anew
    values.setdefault("ask_batch", min(16, max(8, jobs)))
    values.setdefault("code_shards", jobs)
    config.load(
        {k: v for k, v in values.items() if k != "truth_recipe"}
    )  # a wrong value is a sentence, before any work
    check_folder(folder)
    workflow = Workflow(project, place, options.cores, jobs if device.wanted(values["device"]) else 0)
    if is_done(options, values, stored, folder):
        say(
            f"this search is done, with {stored['budget']} trainings; --budget N+K with a larger N goes on from there"
        )
        done = 0 if options.plan else workflow.start(folder / "search.yaml", "search")
        if not done:
            say(*outcome(folder))
        return done
    if not stored and not (folder / "training").is_dir():
        forget_changed_images(values, folder)
    write_yaml(folder / "images.yaml", values)
    done = workflow.start(folder / "images.yaml", f"results/{name}/images/selection.parquet")
    if done:
        return done
    say(*images_in_words(folder, balanced=steps_of(options, values, stored)[1]))
    plan, speed, seconds, paid, uncoded = planned(options, values, stored, folder, jobs)
    values |= plan_values(plan, jobs)
    config.load(values)
    now = time.time()
    say(*forecasts.in_words(plan, speed, seconds, now, paid, uncoded))
    if options.plan:
        return 0
    provenance.check_free(place, name)  # what another one has begun meanwhile is not to be overwritten
    write_yaml(folder / "search.yaml", values)
    write_json(folder / "search" / "own" / "forecast.json", forecasts.facts(plan, speed, seconds, now, paid))
    say(f"the same again: {again(project, place, name)}", f"everything it makes stands in {folder}")
    done = workflow.start(folder / "search.yaml", "search")
    if not done:
        say(*outcome(folder), judged(folder, seconds, time.time() - now))
    return done


def is_done(
    options: argparse.Namespace, values: Mapping[str, Any], stored: Mapping[str, Any], folder: Path
) -> bool:
    """Return whether the run has ended with just what is asked for: a new forecast would make its account anew.

    A smaller budget leaves a choice and a page, too: they must be those of this search, made after its forecast in turn.
    """
    steps_of(options, values, stored)  # others than the run was begun with are refused
    timed = (options.hours, options.gpu_hours) != (None, None)
    choice = folder / "search/own/choice.json"
    made = [folder / "search/own/forecast.json", choice, folder / "best/page.html"]
    if timed or dict(values) != dict(stored) or not all(path.is_file() for path in made):
        return False
    times = [path.stat().st_mtime for path in made]
    said = json.loads(choice.read_text(encoding="utf-8"))
    chosen = {"method": said["method"], "budget": f"{said['budget']}+{said['top']}"} | said["limits"]
    return times == sorted(times) and all(chosen[key] == values[key] for key in ("method", "budget", *LIMITS))


WORKFLOW = ("Snakefile", "rules/common.smk", "config/schema.yaml")
"""By these files the folder of the workflow is known."""


def workflow_folder() -> Path:
    """Return the folder with the Snakefile: this one, else that of the library's checkout."""
    for place in (Path.cwd(), config.ROOT):
        if all((place / part).is_file() for part in WORKFLOW):  # and no other project's
            return place
    raise InputError(
        f"no Snakefile in {Path.cwd()} or {config.ROOT}; start snas search in the project's folder"
    )


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keys of the configuration that the command line names."""
    values = named(options)
    pairs = {
        "method": options.method, "budget": options.budget, "max_macs": options.max_macs, "max_params": options.max_params,
        "seed": options.seed,
    }  # fmt: skip
    values |= {key: value for key, value in pairs.items() if value is not None}
    for what, hours in (("--hours", options.hours), ("--gpu-hours", options.gpu_hours)):
        if hours is not None and not 0 < hours < 10_000:
            raise InputError(f"{what} {hours:g}: a time above 0 and below 10000 is expected, in hours")
    if options.cores < 1:
        raise InputError(f"--cores {options.cores}: at least 1 is expected")
    there = os.cpu_count() or 1
    if options.cores > there:  # as many processes measure it and train: hundreds would fill its memory
        raise InputError(f"--cores {options.cores}: this machine has {there}")
    if options.steps is not None and (not 40 <= options.steps <= MOST_STEPS or options.steps % 8):
        raise InputError(
            f"--steps {options.steps}: a multiple of 8, at least 40 and at most {MOST_STEPS}, is expected"
        )
    return values


def named(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that say on what images networks of which width are trained, and where: what a comparison takes, too."""
    values: dict[str, Any] = image_source(options.images, options.path)
    pairs = {
        "image_side": options.side, "image_channels": options.channels, "width": options.width, "device": options.device,
    }  # fmt: skip
    values |= {key: value for key, value in pairs.items() if value is not None}
    if options.width is not None and options.width < 4:
        raise InputError(f"--width {options.width}: at least 4 is expected")
    if options.device == "cuda":  # where there is none, this says so before the images are read for nothing
        device.torch_device(options.device)
    return values


def image_source(images: str, path: str | None) -> dict[str, Any]:
    """Return the keys ``images`` and ``images_path`` for a folder, a Parquet file or a named image set."""
    place = Path(images).expanduser()
    if (images in EMBEDDED and not place.is_dir()) or (path and images in IMAGE_SETS):
        return {"images": images, "images_path": str(Path(path).expanduser().resolve()) if path else ""}
    if path:
        raise InputError(
            f"--path goes with a named image set ({', '.join(EMBEDDED)}), not with --images {images}"
        )
    if place.is_file():
        return {"images": "parquet", "images_path": str(place.resolve())}
    if place.is_dir():
        tables_there = [*place.glob("train*.parquet"), *place.glob("data/train*.parquet")]
        return {"images": "parquet" if tables_there else "folder", "images_path": str(place.resolve())}
    raise InputError(
        f"--images {images}: no such folder or file, and no image set of that name; known: {', '.join(EMBEDDED)}"
    )


def run_name(values: Mapping[str, Any]) -> str:
    """Return a name for a run that has none: that of the folder or file, or of the image set."""
    stem = Path(values["images_path"]).stem if values["images"] not in EMBEDDED else values["images"]
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return "own-" + (re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)[:90].strip("-.") or "images")


def merged(given: Mapping[str, Any], stored: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the values of a run that is begun or goes on.

    What the command leaves out is as the run was begun, its limits too: they belong to a device.  Raises
    :class:`InputError` where the command says something else than what the run was begun with, and all that is paid for
    would be lost.
    """
    for key in FIXED:
        if key in given and key in stored and given[key] != stored[key]:
            raise InputError(
                f"run {name!r} was begun with {key} = {stored[key]!r}, not {given[key]!r}; what it has trained would not "
                "count any more: leave it as it was, or choose another name (--run NAME)"
            )
    start = {"run": name, "seed": 0, "method": "gp", "device": "auto"}
    return {**start, **dict.fromkeys(LIMITS, 0), **stored, **given}


def side_of(values: Mapping[str, Any], wanted: str) -> int:
    """Return the side that the images are brought to where the user names none."""
    if values["images"] in EMBEDDED:
        return 0
    from snas.images.sizes import fitting_side, image_sizes

    largest = LARGEST["cuda" if device.wanted(wanted) else "cpu"]
    return fitting_side(image_sizes(values["images"], Path(values["images_path"])), largest)


def jobs_at_a_time(options: argparse.Namespace, values: Mapping[str, Any]) -> int:
    """Return how many jobs train at a time: one per GPU, or one per core."""
    gpus = len(device.visible_devices()) if device.wanted(values["device"]) else 0
    if options.gpu_hours is not None and not gpus:
        raise InputError("--gpu-hours: no GPU is to be seen here; --hours or --budget would be right")
    return gpus or options.cores


def forget_changed_images(values: Mapping[str, Any], folder: Path) -> None:
    """Remove the split of a run that is not begun, where the user's images have changed since a plan has made it.

    Nothing rests on it yet, and a run is begun with the images that are there then.  Of files that were copied or moved
    to where they are, the time of the change tells; that of the writing may be kept.
    """
    made = [folder / "images" / f"{name}.parquet" for name in ("split", "selection", "held_out")]
    since = [path.stat().st_mtime for path in (folder / "images.yaml", made[0]) if path.is_file()]
    if values["images"] in EMBEDDED or len(since) < 2:
        return
    place = Path(values["images_path"])
    every = (path.lstat() for path in (place, *(place.rglob("*") if place.is_dir() else ())))
    if any(max(one.st_mtime, one.st_ctime) >= min(since) for one in every):
        for path in made:
            path.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse a run whose folder cannot be made or written to."""
    try:
        provenance.check_writable(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({str(error.strerror).lower()}); make it writable, or name another place by --directory"
        ) from None


COUNTS = re.compile(
    r"\[snas\] (\d+ costly files?, .*|\d+ of \d+ files, .*|all costly files are there, .*|.* in all)"
)
"""What the driver says of its progress."""
AGAIN = re.compile(r"\[snas\] (\d+ others are|another one is) there and made again .*")
"""What sounds as if trainings were done again: here it is lists and tables, as trainings are kept beside."""


class Workflow:
    """Snakemake with the ``project``'s Snakefile, in the folder that results go to."""

    def __init__(self, project: Path, folder: Path, cores: int, gpus: int) -> None:
        self.folder, self.cores, self.gpus = folder, cores, gpus
        self.snakefile = snakefile(project, folder)

    def start(self, file: Path, target: str) -> int:
        """Make ``target`` with a configuration file; return Snakemake's exit status.

        Of what Snakemake says, the product's own lines are passed on; where it fails without one of them, its last words.
        Of the images, which one short job reads, no count of files and no time is told: these are those of the search.
        """
        words = [
            "--configfile",
            str(file),
            "--cores",
            str(self.cores),
            "--quiet",
            "rules",
            "progress",
            "reason",
            "host",
        ]
        words += ["--resources", f"gpu={self.gpus}"] if self.gpus > 1 else []
        last: deque[str] = deque(maxlen=12)
        said = False
        before = signal.getsignal(signal.SIGTERM)
        started: list[subprocess.Popen[str]] = []
        with contextlib.ExitStack() as until_it_ends:
            try:
                signal.signal(signal.SIGTERM, partial(_terminated, started))
                with signals.postponed():
                    process = subprocess.Popen(
                        [sys.executable, "-m", "snakemake", target, *self.snakefile, *words], cwd=self.folder, text=True,
                        errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                        env=os.environ | {"PYTHONUNBUFFERED": "1"},
                    )  # fmt: skip
                    started.append(until_it_ends.enter_context(process))
                for line in process.stdout or ():
                    if line.startswith("[snas]"):
                        said = said or "log: " in line
                        told = line.rstrip()
                        if not AGAIN.fullmatch(told) and (target == "search" or not COUNTS.fullmatch(told)):
                            print(line, end="", flush=True)
                    elif line.strip():
                        last.append(line)
            except KeyboardInterrupt as told:
                # the driver lets what runs end; a second signal would leave it behind, holding the run
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                for process in started:
                    process.wait()
                say("stopped; the same command goes on from here")
                return 128 + (signal.SIGTERM if isinstance(told, signals.Terminated) else signal.SIGINT)
            except BrokenPipeError:
                # nobody reads what is said: stop as other commands do, and leave no job behind
                process.terminate()
                deque(process.stdout or (), maxlen=0)
                raise
            finally:
                signal.signal(signal.SIGTERM, before)
        if process.returncode and not said:
            print(*last, sep="", end="", flush=True)
        return process.returncode


def _terminated(started: list[subprocess.Popen[str]], *_: object) -> None:
    """Stop the workflow where this command alone is told to end (``kill``, a service, a container): it would go on without it.

    Ctrl-C reaches both by itself.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one could come before this one is seen to
    for process in started:
        process.terminate()
    raise signals.Terminated


def images_in_words(folder: Path, *, balanced: bool = False) -> list[str]:
    """Return what the split says: how many images of what, in which part, how they were resized, and copies."""
    import numpy as np

    from snas.images.split import SPLIT, copies_in_words

    path = folder / "images" / "split.parquet"
    said, frame = tables.metadata(path), tables.read(path, SPLIT)
    names = said["class_names"]
    counts = np.bincount(frame["label"].to_numpy(), minlength=len(names))
    side, few, many = said["side"], int(counts.min()), int(counts.max())
    lines = [
        f"{len(frame):,} images of {counted(len(names), 'class', 'classes')} ({said['image_source']}), "
        + (f"{few:,}" if few == many else f"{few:,} to {many:,}")
        + f" per class; {side}×{side} pixels, {counted(said['channels'], 'channel')}, resized: {said['resize']}",
        f"{said['train_images']:,} to train on, {said['validation_images']:,} to choose by, {said['test_images']:,} kept "
        "apart until the network is chosen" + (" (the source's own test part)" if said["own_test"] else ""),
        *copies_in_words(frame, names),
    ]
    if many > 3 * few and not balanced:
        lines.append(
            f"classes are of unequal size ({names[counts.argmin()]}: {few:,}, {names[counts.argmax()]}: {many:,}); "
            "--balanced would draw them equally often"
        )
    return lines


def planned(
    options: argparse.Namespace, values: Mapping[str, Any], stored: Mapping[str, Any], folder: Path, jobs: int
) -> tuple[Plan, Speed, float, int, int]:
    """Measure this machine and return the plan, the speed, the forecast in seconds, the trainings that are paid for, and the
    estimation codes that are to be trained."""
    selection = folder / "images" / "selection.parquet"
    space, width = values.get("space", config.defaults()["space"]), int(values.get("width", 0))
    steps, balanced = steps_of(options, values, stored)
    macs, told = possible(selection, space, (width,) if width else forecasts.WIDTHS, values, jobs)
    measure = partial(
        forecasts.measure, selection, space,
        jobs=jobs, device=values["device"], compile=bool(values.get("compile", True)),
    )  # fmt: skip
    least = next(iter(macs))
    say("measuring this machine ...")
    speed = measure(width=least)
    validation, coded = tables.metadata(selection)["validation_images"], coded_for(folder, limits_of(values))
    work = Work(macs, int(validation), jobs, coded=coded, code_shards=values["code_shards"])
    hours = options.hours if options.hours is not None else options.gpu_hours and options.gpu_hours / jobs
    # a run that goes on keeps its budget unless the user names another budget or time
    budget = str(given_budget(options, values))
    paid = counted_on(folder, values, stored, budget)
    plan = forecasts.choose_plan(
        work, speed, 3600 * hours if hours else forecasts.DEFAULT_SECONDS,
        method=values["method"], ask_batch=values["ask_batch"], budget=budget, width=width, steps=steps,
        balanced=balanced, paid=paid, strict=bool(hours),
    )  # fmt: skip
    if f"{plan.search.budget}+{plan.search.top}" != stored.get("budget"):
        paid = min(paid, plan.search.budget)  # of a smaller one, no more than its N; its last K may be others
    say(told[plan.width])  # not before: what counts is the width that the plan has come to
    least_seconds = work.seconds(plan, speed, paid)  # by the speed that the plan was chosen by
    if plan.width != least:
        speed = measure(width=plan.width)
    most = len(macs[plan.width])
    if plan.search.trainings > most:
        raise InputError(
            f"N + K = {plan.search.budget}+{plan.search.top} is more than the {most} networks within the limits; a smaller "
            "--budget or larger limits would be right"
        )
    if hours and least_seconds > 3600 * hours:
        begun = bool(stored) and not (folder / "best/page.html").is_file()
        too_short(options, plan, least_seconds, jobs, begun=begun)
    uncoded = max(most - coded, 0) if plan.search.needs_codes else 0
    return plan, speed, work.seconds(plan, speed, paid), paid, uncoded


def limits_of(values: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits of a run, 0 for none."""
    return {key: values[key] for key in LIMITS}


def steps_of(
    options: argparse.Namespace, values: Mapping[str, Any], stored: Mapping[str, Any]
) -> tuple[int, bool]:
    """Return the steps of a training (0: by the time there is) and whether it is balanced: as asked for, or as the run was begun.

    Raises :class:`InputError` where both are said and differ.
    """
    recipe = re.match(r"own_(\d+)(_balanced)?", str(stored.get("truth_recipe", "")))
    if recipe is None:
        return options.steps or 0, bool(options.balanced)
    if options.steps not in (None, int(recipe[1])) or (options.balanced and not recipe[2]):
        raise InputError(
            f"run {values['run']!r} was begun with the recipe {stored['truth_recipe']}; leave --steps and --balanced as they "
            "were, or choose another name (--run NAME)"
        )
    return int(recipe[1]), bool(recipe[2])


def possible(
    selection: Path, space: str, widths: Sequence[int], values: Mapping[str, Any], jobs: int
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Return the candidates' multiply-accumulates, and what is to be said of them, by the widths that are possible.

    The limits, or the memory of this machine, may allow narrow networks only.  Raises :class:`InputError` where they allow
    none: why the first width is not possible.
    """
    from snas.search.own import candidates

    said = tables.metadata(selection)
    size = {"channels": said["channels"], "side": said["side"], "classes": len(said["class_names"])}
    macs: dict[int, np.ndarray] = {}
    told: dict[int, str] = {}
    refused: InputError | None = None
    for width in widths:
        try:
            frame, facts = candidates(space, width=width, **size, **limits_of(values))
            if not device.wanted(values["device"]):
                forecasts.check_memory(space, frame, width=width, side=size["side"], jobs=jobs)
        except InputError as error:
            refused = refused or error
            continue
        macs[width] = frame["macs"].to_numpy(dtype=float)
        told[width] = (
            f"candidates: {len(frame):,} of {facts['of']:,} networks, {macs_in_words(frame['macs'].min())} to "
            f"{macs_in_words(frame['macs'].max())} MACs and {frame['params'].min():,} to {frame['params'].max():,} parameters "
            f"on these images at width {width}"
        )
    if not macs:
        raise refused or InputError("no network is within the limits")
    return macs, told


def counted_on(folder: Path, values: Mapping[str, Any], stored: Mapping[str, Any], budget: str) -> int:
    """Return how many trainings are paid for that this search asks for again; what others have asked for may be no part of it.

    Another budget than the run's asks for its N again, and then for what it ranks highest with more.
    """
    paid = paid_for(folder)
    if paid and any(stored.get(key, values[key]) != values[key] for key in ("method", *LIMITS)):
        say(
            f"{paid_in_words(paid)}, by another method or within other limits; what is asked for again is not "
            "done again, and the forecast counts on none of it"
        )
        return 0
    before = str(stored.get("budget", ""))
    if not before:
        return paid
    n, k = map(int, before.split("+"))
    return min(paid, n + k if budget == before else n)


def too_short(options: argparse.Namespace, plan: Plan, seconds: float, jobs: int, *, begun: bool) -> None:
    """Say that the least plan, of so many seconds, takes longer than the user's time.

    Raises :class:`InputError` where nothing is begun, or a search has ended: a time that is named is a limit.  A run that was
    stopped goes on, as the machine may only be slower for a moment.
    """
    word, given, each = "--hours", options.hours, 1
    if given is None:
        word, given, each = "--gpu-hours", options.gpu_hours, jobs
    said = (
        f"{word} {given:g}: no plan is that short; the least, {plan.search.trainings} trainings of {plan.steps} steps at "
        f"width {plan.width}, takes about {clock(seconds)} here"
    )
    if begun:
        say(f"{said}, and this run goes on with it")
        return
    needed = 1.2 * seconds / 3600 * each  # no measurement is like the one before
    digits = 1 - math.floor(math.log10(needed))
    enough = math.ceil(needed * 10**digits) / 10**digits
    raise InputError(f"{said}; {word} {enough:g}, or a --budget N+K that is smaller, would be right")


def given_budget(options: argparse.Namespace, values: Mapping[str, Any]) -> str:
    """Return the budget that is fixed: the user's, or that of the run where neither budget nor time is named."""
    timed = options.hours is not None or options.gpu_hours is not None
    return "" if timed else str(values.get("budget", ""))


def paid_for(folder: Path) -> int:
    """Return how many different networks the run has trained."""
    return different((folder / "training" / "paid").glob("*/[!.]*.parquet"))


def coded_for(folder: Path, limits: Mapping[str, int]) -> int:
    """Return how many candidates have their estimation code; other limits are other candidates, whose codes are made anew."""
    own = folder / "search" / "own"
    candidates = own / "candidates.parquet"
    said = tables.metadata(candidates) if candidates.is_file() else {}
    if any(said.get(key) != limit for key, limit in limits.items()):
        return 0
    since = candidates.stat().st_mtime
    return different(path for path in own.glob("codes/[!.]*.parquet") if path.stat().st_mtime >= since)


def different(files: Iterable[Path]) -> int:
    """Return how many different networks the tables are about."""
    import pyarrow.parquet as pq

    archs: set[int] = set()
    for path in files:
        archs.update(pq.read_table(path, columns=["arch"])["arch"].to_pylist())
    return len(archs)


def plan_values(plan: Plan, jobs: int) -> dict[str, Any]:
    """Return the configuration that a plan is."""
    return {
        "method": plan.search.method,
        "budget": f"{plan.search.budget}+{plan.search.top}",
        "width": plan.width,
        "truth_recipe": plan.recipe,
        "code_recipe": plan.code_recipe,
        "truth_shards": jobs,
    }


def macs_in_words(macs: float) -> str:
    """Return multiply-accumulates as the limits are written, to three digits or four: of small images they are thousands.

    >>> macs_in_words(34_788_600), macs_in_words(60_640), macs_in_words(1_930)
    ('34.79 M', '60.6 k', '1.9 k')
    """
    return f"{macs / 1e6:.2f} M" if macs >= 999_950 else f"{macs / 1e3:.1f} k"


def outcome(folder: Path) -> list[str]:
    """Return what was found, and where it is."""
    choice = json.loads((folder / "search/own/choice.json").read_text(encoding="utf-8"))
    return [
        f"found: {choice['cell']}, {choice['accuracy']:.1%} of the validation images ({choice['balanced']:.1%} balanced), "
        f"{macs_in_words(choice['macs'])} MACs, {choice['params']:,} parameters, after {choice['trainings']} trainings",
        f"use it: snas predict {shlex.quote(str(folder / 'best'))} IMAGE...; what it is worth on the test images: {folder / 'best/README.md'}",
        f"how it was found: {folder / 'best/page.html'}; every training: {folder / 'search/own/trained.parquet'}",
    ]


def judged(folder: Path, forecast: float, seconds: float) -> str:
    """Return how good a start's forecast (seconds) was, and keep it in ``search/own/starts.json``."""
    choice = json.loads((folder / "search/own/choice.json").read_text(encoding="utf-8"))
    path = folder / "search/own/starts.json"
    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    starts.append(
        {
            "at": time.strftime("%Y-%m-%d %H:%M:%S"), "forecast_seconds": round(forecast, 1), "seconds": round(seconds, 1),
            "ratio": round(seconds / forecast, 3), "trainings": choice["trainings"],
        }
    )  # fmt: skip
    write_json(path, starts)
    part = abs(seconds / forecast - 1)
    said = f"{part:.0%} {'longer' if seconds > forecast else 'shorter'} than forecast"
    return f"took {clock(seconds)}, forecast {clock(forecast)}: {said}"


def snakefile(project: Path, folder: Path) -> list[str]:
    """Return the words that name the Snakefile where it does not stand in ``folder``."""
    return [] if project.samefile(folder) else ["--snakefile", str(project / "Snakefile")]


def again(project: Path, place: Path, name: str) -> str:
    """Return the command that does the same without this one."""
    words = ["snakemake", "search", *snakefile(project, place), "--configfile", f"results/{name}/search.yaml"]
    return f"cd {shlex.quote(str(place))} && {shlex.join(words)}"


def say(*lines: str) -> None:
    """Print lines marked as the product's own."""
    for line in lines:
        print(f"[snas] {line}", flush=True)


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a configuration file, under a temporary name first."""
    import yaml

    head = "# Made by snas search; snakemake search --configfile with this file does the same again.\n"
    with replacing(path) as temporary:
        temporary.write_text(
            head + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True), encoding="utf-8"
        )


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, under a temporary name first."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
