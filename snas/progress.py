"""How far a run is and when it will be done, said by the process that drives it.

Every planned file has a weight, seconds on the machine that the weights were measured on.  What has appeared since the
start, against the time gone, gives this machine's speed and with it the time that is left.  Jobs that run for long leave
their share in a small file; so the same lines serve a laptop and a cluster.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

REPORT_SECONDS = 20.0
TELLING_SHARE, TELLING_SECONDS = 0.02, 600.0
"""Work that must have been done since the start before it tells a speed: a share of what was left, at most so many seconds."""


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
            with contextlib.suppress(OSError):  # a full disk may be free again when the result is written
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(json.dumps([done, total]), encoding="utf-8")
        if now - self._said >= REPORT_SECONDS and done:
            self._said = now
            left = (now - self._started) / done * (total - done)
            self._say(f"{done} of {total} {text}".rstrip() + f", about {clock(left)} left")

    def close(self) -> None:
        """Remove the file; the job's output speaks from now on."""
        self._path.unlink(missing_ok=True)


def share_path(logs: Path, output: str) -> Path:
    """Return where the job that makes ``output`` leaves its share."""
    return logs / "progress" / (output.replace("/", "!") + ".json")


class Progress:
    """Prints a line whenever something has been done and every :data:`REPORT_SECONDS` at most.

    Args:
        plan: called at the start; returns planned output file → seconds it takes on the machine of reference.
        logs: folder of the run's logs.
        say: where a line goes (default: standard error).
    """

    def __init__(
        self,
        plan: Callable[[], Mapping[str, float]],
        logs: Path,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._plan = plan
        self._weights: dict[str, float] = {}
        self._logs = logs
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self._before = 0.0

    def start(self, needed: Collection[str] | None = None) -> None:
        """Begin to watch, in a thread of this process; ``needed`` are the files that this start is to make, if known."""
        shutil.rmtree(self._logs / "progress", ignore_errors=True)  # shares of jobs that were killed
        plan = self._plan()
        self._weights = {p: w for p, w in plan.items() if needed is None or p in needed or Path(p).exists()}
        self._started = time.monotonic()
        self._before = self._done()[0]
        total = sum(self._weights.values()) or 1.0
        known = sum(1 for path in self._weights if Path(path).exists())
        self._say(
            f"[snas] {len(self._weights)} costly files, {known} there already ({self._before / total:.0%} of the work)"
        )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stop watching and say the time it took."""
        self._stop.set()
        self._say(f"[snas] {clock(time.monotonic() - self._started)} in all")

    def line(self) -> str:
        """Return the present state in one line."""
        done, files, running = self._done()
        total = sum(self._weights.values()) or 1.0
        gone = time.monotonic() - self._started
        text = f"[snas] {files} of {len(self._weights)} files, {done / total:.0%} of the work, {clock(gone)} gone"
        since = done - self._before
        if gone > 5 and since >= min(TELLING_SECONDS, TELLING_SHARE * (total - self._before)) > 0:
            text += f", about {clock(gone / since * (total - done))} left"
        return text + (f"; in work: {running}" if running else "")

    def _watch(self) -> None:
        while not self._stop.wait(REPORT_SECONDS):
            self._say(self.line())

    def _done(self) -> tuple[float, int, str]:
        """Return the weight that is done, the number of files, and the shares in work as text."""
        done, files, running = 0.0, 0, []
        for path, weight in self._weights.items():
            if Path(path).exists():
                done += weight
                files += 1
                continue
            try:
                part, whole = json.loads(share_path(self._logs, path).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            done += weight * part / max(whole, 1)
            running.append(f"{'/'.join(Path(path).with_suffix('').parts[2:])} {part}/{whole}")
        return done, files, ", ".join(running[:4]) + (" ..." if len(running) > 4 else "")


def clock(seconds: float) -> str:
    """Return a duration as people say it.

    >>> clock(59), clock(125), clock(7300)
    ('59 s', '2 min 05 s', '2 h 02 min')
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


def search_seconds(method: str, budget: int, runs: int) -> float:
    """Return about how long a block of a search takes on one core: start-up, and the steps that grow with N."""
    method = method.partition("@")[0]  # a variant takes about as long as its method
    if method == "brp_nas":
        return 6.0 + runs * _brp_seconds(budget)
    if method in ASKING:
        return 6.0 + runs * budget * ASKING[method]
    steps = 200 * max(budget // 8, 1)
    cheap = {"random": 0.0, "neural_predictor": 0.0006, "neural_predictor+bts": 0.0006}
    each = {**cheap, "neural_predictor+nsam": 0.0009, "siamese": 0.001, "siamese+bts": 0.001}.get(
        method, 0.0013
    )
    return 6.0 + runs * steps * each
