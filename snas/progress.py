"""How far a run is and when it will be done, said by the process that drives it.

Every planned file has a weight, seconds on the machine that the weights were measured on.  Jobs leave their share, and the
seconds that it took them, in a small file; so the same lines serve a laptop and a cluster.  What the jobs of a stage took
corrects the weights of all files of that stage: other images, widths and machines make trainings a thousand times as long
and searches hardly longer.  What was done since the start, against the time gone, gives the time that is left.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

REPORT_SECONDS = 20.0
TELLING_SHARE, TELLING_SECONDS = 0.02, 600.0
"""Work that must have been done since the start before it tells a speed: a share of what was left, at most so many seconds."""

TELLING_PART = 0.05
"""Part of a job that must be done before it tells how long it takes: before that it compiles and reads."""

SEARCH = "search/"
"""Of searches, what one method took says little of another: for those that have not begun, the median of the others'
corrections and of none.  Of trainings, it is the images and the network's width that make them longer, all alike."""

Plan = Mapping[str, Mapping[str, float]]
"""Stage → output file → seconds it takes on the machine of reference.  Stages that may take alike share what is before a
slash: ``training/codes``, ``training/truth``."""


class Share:
    """What a running job has done, written to ``path`` at most once a second; a progress callback for the library."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._written = 0.0
        self._said = time.monotonic()
        self._started = time.monotonic()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Take note of ``done`` of ``total`` parts."""
        now = time.monotonic()
        if now - self._written >= 1.0:
            self._written = now
            self._write(done, total)
        if now - self._said >= REPORT_SECONDS and done:
            self._said = now
            left = (now - self._started) / done * (total - done)
            self._say(f"{done} of {total} {text}".rstrip() + f", about {clock(left)} left")

    def close(self) -> None:
        """Say that all is done, and in which time."""
        self._write(1, 1)

    def _write(self, done: int, total: int) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        with contextlib.suppress(OSError):  # a full disk may be free again when the result is written
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps([done, total, seconds]), encoding="utf-8")


def share_path(logs: Path, output: str) -> Path:
    """Return where the job that makes ``output`` leaves its share."""
    return logs / "progress" / (output.replace("/", "!") + ".json")


class Progress:
    """Prints a line whenever something has been done and every :data:`REPORT_SECONDS` at most.

    Args:
        plan: called at the start; returns the planned output files.
        logs: folder of the run's logs.
        say: where a line goes (default: standard error).
    """

    def __init__(
        self,
        plan: Callable[[], Plan],
        logs: Path,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._plan = plan
        self._weights: dict[str, float] = {}
        self._stage: dict[str, str] = {}
        self._logs = logs
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self._there: frozenset[str] = frozenset()
        self._old: dict[str, int] = {}
        self._ended: dict[str, float] = {}
        self._first = math.inf
        self._wall = 0.0

    def start(self, needed: Collection[str] | None = None) -> None:
        """Begin to watch, in a thread of this process; ``needed`` are the files that this start is to make, if known."""
        shutil.rmtree(self._logs / "progress", ignore_errors=True)  # shares of jobs that were killed
        for stage, files in self._plan().items():
            for path, weight in files.items():
                if needed is None or path in needed or Path(path).exists():
                    self._weights[path], self._stage[path] = weight, stage
        self._started, self._wall = time.monotonic(), time.time()
        found = {path: at for path in self._weights if (at := _changed(path))}
        self._old = {path: at for path, at in found.items() if needed is not None and path in needed}
        self._there = frozenset(found.keys() - self._old.keys())
        before, total = sum(self._weights[path] for path in self._there), sum(self._weights.values()) or 1.0
        self._say(
            f"[snas] {len(self._weights)} costly {'file' if len(self._weights) == 1 else 'files'}, {len(self._there)} there already ({before / total:.0%} of the work)"
        )
        if self._old:
            others = f"{len(self._old)} others are" if len(self._old) > 1 else "another one is"
            self._say(
                f"[snas] {others} there and made again (snakemake -n says why); another name for the run keeps what is there"
            )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stop watching and say the time it took."""
        self._stop.set()
        self._say(f"[snas] {clock(time.monotonic() - self._started)} in all")

    def line(self) -> str:
        """Return the present state in one line."""
        running = self._running()
        weights = self._corrected(running)
        made = [path for path in weights if path not in running and self._made(path)]
        since = sum(weights[path] for path in made)
        since += sum(weights[path] * share for path, (share, _, _) in running.items())
        before = sum(weights[path] for path in self._there)
        total = sum(weights.values()) or 1.0
        gone = time.monotonic() - self._started
        worked = gone - self._before_work(gone, running, made)
        if weights and len(self._there) + len(made) == len(weights):
            return f"[snas] all costly files are there, {clock(gone)} gone; tables, figures and pages are made of them"
        text = f"[snas] {len(self._there) + len(made)} of {len(weights)} files, {(before + since) / total:.0%} of the work, {clock(gone)} gone"
        if gone > 5 and since >= min(TELLING_SECONDS, TELLING_SHARE * (total - before)) > 0:
            text += f", about {clock(worked / since * (total - before - since))} left"
        names = [
            f"{'/'.join(Path(p).with_suffix('').parts[2:])} {told}" for p, (_, _, told) in running.items()
        ]
        return (
            text
            + (f"; in work: {', '.join(names[:4])}" if names else "")
            + (" ..." if len(names) > 4 else "")
        )

    def _before_work(
        self, gone: float, running: Mapping[str, tuple[float, float, str]], made: Iterable[str]
    ) -> float:
        """Return the seconds until the first costly file was begun: to start is no measure of what is left.

        A file began as long before it was made, or before now, as its job says; where a job says nothing, at the start.
        """
        begun = [gone - seconds for _, seconds, _ in running.values()]
        for path in made:
            at = _changed(path) / 1e9 - self._wall
            begun.append(at - self._ended[path] if path in self._ended else 0.0)
        self._first = max(min([self._first, *begun]), 0.0)
        return self._first if self._first < gone else 0.0

    def _watch(self) -> None:
        while not self._stop.wait(REPORT_SECONDS):
            self._say(self.line())

    def _running(self) -> dict[str, tuple[float, float, str]]:
        """Return share, seconds and words of the files in work; takes note of the seconds of those that have ended."""
        running = {}
        for path in self._weights:
            if path in self._ended or path in self._there:
                continue
            try:
                done, whole, seconds = json.loads(share_path(self._logs, path).read_text(encoding="utf-8"))
                share = done / max(whole, 1)
            except (OSError, ValueError):
                continue
            if self._made(path):
                self._ended[path] = seconds
            else:
                running[path] = share, seconds, f"{done}/{whole}"
        return running

    def _made(self, path: str) -> bool:
        """Return whether a file was made since the start; one that is to be made again stands there until its job begins."""
        return path not in self._there and _changed(path) not in (0, self._old.get(path))

    def _corrected(self, running: Mapping[str, tuple[float, float, str]]) -> dict[str, float]:
        """Return the weights as what has been done says: by its own stage where that has begun, else by those akin to it."""
        expected: dict[str, float] = {}
        taken: dict[str, float] = {}
        seen = {path: (1.0, seconds) for path, seconds in self._ended.items()}
        begun = {path: told for path, told in running.items() if told[0] >= TELLING_PART}
        seen |= {path: (share, seconds) for path, (share, seconds, _) in begun.items()}
        for path, (share, seconds) in seen.items():
            for stage in {self._stage[path], _kin(self._stage[path])}:
                expected[stage] = expected.get(stage, 0.0) + share * self._weights[path]
                taken[stage] = taken.get(stage, 0.0) + seconds
        factor = {
            stage: taken[stage] / expected[stage] for stage in taken if taken[stage] * expected[stage] > 0
        }
        methods = [value for stage, value in factor.items() if stage.startswith(SEARCH) and stage != SEARCH]
        factor |= {SEARCH: statistics.median([1.0, *methods])} if methods else {}
        return {
            path: weight * factor.get(self._stage[path], factor.get(_kin(self._stage[path]), 1.0))
            for path, weight in self._weights.items()
        }


def _changed(path: str) -> int:
    """Return when a file was written, in ns; 0 where there is none."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _kin(stage: str) -> str:
    """Return what a stage is akin to: what stands before the slash."""
    return stage.partition("/")[0] + "/"


def clock(seconds: float) -> str:
    """Return a duration as people say it.

    >>> clock(59), clock(125), clock(7300)
    ('59 s', '2 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


ASKING = {
    "evolution": 0.001,
    "local_search": 0.001,
    **dict.fromkeys(("gp", "gp+fidelity", "gp+select", "gp+synflow"), 0.006),
    "gp+rerank": 0.03,
    "gp+coarse": 0.15,
}
"""Seconds per training of searches that ask one after the other; of the last two, the predictor's above all."""


def _brp_seconds(budget: int) -> float:
    """Return the seconds of a run of BRP-NAS: iteration i takes 50·i epochs over all ordered pairs of N·i/5 architectures in
    batches of 12·i, and a step as long as the architectures that occur in it, 0.8 ms each; early stopping would save some."""
    total = 0.0
    for number in range(1, 6):
        pool = budget * number // 5
        steps = 50 * number * -(-pool * (pool - 1) // (12 * number))
        total += steps * pool * (1 - (1 - 2 / max(pool, 2)) ** (12 * number)) * 0.0008
    return total


STEPS = {
    "neural_predictor": 0.00013,
    "neural_predictor+bts": 0.00013,
    "neural_predictor+nsam": 0.00037,
    "neural_predictor+nsam+bts": 0.00037,
    "siamese": 0.00038,
    "siamese+bts": 0.00038,
}
"""Seconds of a step of a run by native code (docs/scale.md), with what is ranked between; siamese+nsam's where it is not here."""
FTS = 0.00016
"""Seconds of Fully Top Sampling's rankings, of a run and an architecture: 2.5 s of NAS-Bench-201."""


def search_seconds(method: str, budget: int, runs: int, architectures: int = 15625) -> float:
    """Return about how long a block of a search of so many architectures takes on one core.

    That is its start-up, the steps that grow with N, and the rankings of the whole space where these count beside them.
    """
    method = method.partition("@")[0]  # a variant takes about as long as its method
    if method == "random":
        return 1.0
    if method == "brp_nas":
        return 6.0 + runs * _brp_seconds(budget)
    if method in ASKING:
        return 6.0 + runs * budget * ASKING[method]
    rankings = FTS * architectures if method.endswith("+fts") else 0.0
    steps = 200 * max(budget // 8, 1) * STEPS.get(method.removesuffix("+fts"), 0.00065)
    return 3.0 + runs * (steps + rankings)


def training_seconds(passes: int, side: int, width: int) -> float:
    """Return about how long a network trains on one core: ``passes`` images of ``side``² pixels, its first stage ``width`` wide.

    Right within a third for the mean network of Tiny-NanoBench at 8×8 with 8 channels in a large group, and at 32×32 with 32
    alone; of other spaces, :data:`snas.spaces.sizes.HEAVIER` times as long.
    """
    return 1.2e-7 * passes * side**2 * width
