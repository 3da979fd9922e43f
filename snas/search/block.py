"""A block of runs of one method at one budget, from the bench table to the SEARCH table; at once, or round by round.

:func:`run_block` serves ``truth: exhaustive | table`` (every accuracy is known, the counter sees to it that a run learns
only what it pays for).  :func:`begin`, :func:`advance` and :func:`finish` serve ``truth: on_demand``: between two of
them the architectures of the ask lists are trained by other jobs.  Both do the same rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError, seeds, spaces, tables
from snas.device import torch_device
from snas.search import METHODS
from snas.search.asks import ANSWERS, ASKS, BALANCED
from snas.search.bench import FAILED, UNKNOWN, Bench
from snas.search.correlation import rank_correlations
from snas.search.counter import QueryCounter
from snas.search.kept import SPENT, Kept, Meter, as_facts
from snas.search.method import Method, Problem, Progress
from snas.search.rounds import Asks, Oracle, Rounds, load_state, save_state
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from snas.spaces.space import Encoding

SEARCH = Schema(
    name="search",
    description="One row per run of a method at a budget (metadata: space, dataset, score = what a run is judged by: the "
    "best of the top K of its ranking, or the best of all that it has asked for).",
    key=("method", "budget", "run"),
    columns={
        "method": Column("string", "Name of the method"),
        "budget": Column("int32", "N: architectures trained for the predictor", low=1),
        "top": Column("int32", "K: how many of the final ranking are trained (the largest K)", low=0),
        "run": Column("int32", "Number of the run", low=0),
        "seed": Column("int64", "Seed of the run's random order of the space, the same for all methods"),
        "ranking": Column(
            "list<int32>", "First N + K of the final ranking, best first (architecture indices)"
        ),
        "coarse_ranking": Column("list<int32>", "The same of the coarse ranking"),
        "pool": Column("list<int32>", "Architectures asked for before the final ranking, in order"),
        "trainings": Column(
            "int32", "Distinct architectures whose training the run asked for, the top K included", low=0
        ),
        "codes": Column("int32", "Distinct architectures whose code the run looked at", low=0),
        "price": Column(
            "float64", "Complete trainings plus looks and codes at their price, in complete trainings", low=0
        ),
        "spearman": Column(
            "float64", "Spearman's ρ of the whole final ranking with the true accuracies", null=True
        ),
        "kendall": Column("float64", "Kendall's τ-b of the same", null=True),
        "coarse_spearman": Column("float64", "Spearman's ρ of the coarse ranking", null=True),
        "coarse_kendall": Column("float64", "Kendall's τ-b of the coarse ranking", null=True),
        "seconds": Column("float64", "Wall time of the search: the run's share of its block", low=0),
        "train_seconds": Column(
            "float64", "Of these, training and the rankings between, without the last", low=0
        ),
    },
)


@dataclass(frozen=True)
class Settings:
    """What is searched, how; two searches of equal settings on equal benches have equal results.

    Attributes:
        method: name in ``METHODS``.
        budget: N.
        top: K (the largest of them, where there are several).
        runs: run numbers of the block.
        base_seed: seed that all draws derive from.
        rerank: c of the final Siamese-Ranking.
        labels: ``accuracy`` (the paper's protocol) or ``accuracy_select`` (the fair one: what is trained and selected on);
            on demand ``accuracy`` or ``balanced`` (balanced accuracy).
        new_only: train the first K outside the pool, instead of the first K (always so where a method's score is the best
            of everything that it asked for).
        options: of the method, for ablations.
    """

    method: str
    budget: int
    top: int
    runs: tuple[int, ...]
    base_seed: int = 0
    rerank: int = 60
    labels: str = "accuracy"
    new_only: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def resolved(self) -> Settings:
        """Return the settings with what the method has of its own (a variant's c and labels)."""
        method: Method = METHODS.load(self.method)
        return replace(
            self,
            rerank=self.rerank if method.rerank is None else method.rerank,
            labels=method.labels or self.labels,
        )


def rounds(method: str, budget: int, options: Mapping[str, Any] | None = None) -> int:
    """Return how many ask lists a search has, the top K's included: 2, with BTS 12.  Needs neither torch nor data."""
    chosen: Method = METHODS.load(method)
    return chosen.rounds(budget, options) + 1


def place(method: str, device: str, *, compile: bool) -> torch.device | None:
    """Return the device that a method computes on; None, and no import of torch, where that is the CPU."""
    chosen: Method = METHODS.load(method)
    asked = chosen.device(device, compile=compile)
    return None if asked in (None, "cpu") else torch_device(asked)


def run_block(
    bench_path: str | Path,
    settings: Settings,
    *,
    device: str = "cpu",
    compile: bool = False,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> pd.DataFrame:
    """Run all rounds with the accuracies of the bench table and return the SEARCH table.

    ``progress`` is called with (done, total, text) while predictors train, or else after each round; ``kept`` holds the
    rounds of a block that takes long, and a second start goes on from there.

    Raises ``InputError`` where the bench or the settings do not allow it, or the accuracy of an architecture that was
    asked for is not known (``truth: on_demand`` would train it).
    """
    bench, settings = Bench.read(bench_path), settings.resolved()
    search = _make(bench, settings, device, compile, progress)
    if kept is not None:
        answers = hashlib.sha256(bench.labels(settings.labels).tobytes()).hexdigest()[:16]
        kept.take_up(search, _identity(bench, settings) | {"answers": answers})
    search.run(_oracle(bench, settings), None if kept is None else kept.after_round)
    return _table(search, bench, settings)


def begin(
    bench_path: str | Path,
    settings: Settings,
    *,
    state_out: str | Path,
    asks_out: str | Path,
    device: str = "cpu",
    compile: bool = False,
) -> None:
    """Do the first round of an on-demand search: leave its state and its ask list (:data:`ASKS`)."""
    own = Meter(place(settings.method, device, compile=compile))
    bench, settings = Bench.read(bench_path), settings.resolved()
    _leave(_make(bench, settings, device, compile), bench, settings, state_out, asks_out, own)


def advance(
    bench_path: str | Path,
    settings: Settings,
    *,
    state_in: str | Path,
    answers: Sequence[str | Path],
    state_out: str | Path,
    asks_out: str | Path,
    device: str = "cpu",
    compile: bool = False,
) -> None:
    """Do one more round: take the answers (:data:`ANSWERS`, further ones are ignored), leave state and ask list."""
    own = Meter(place(settings.method, device, compile=compile))
    bench, settings = Bench.read(bench_path), settings.resolved()
    search, before = _continued(bench, settings, state_in, answers, device, compile)
    if search.done:
        raise InputError(f"{state_in}: all {search.total} rounds of this search are done")
    _leave(search, bench, settings, state_out, asks_out, own, before)


def finish(
    bench_path: str | Path,
    settings: Settings,
    *,
    state_in: str | Path,
    answers: Sequence[str | Path],
    compile: bool = False,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the SEARCH table of an on-demand search after its last round, and what all rounds took, this last step included.

    The top K must be answered.  Nothing is predicted; with ``compile`` no torch is imported for a predictor with native code.

    Correlations are missing where the bench does not know all accuracies.
    """
    own = Meter()
    bench, settings = Bench.read(bench_path), settings.resolved()
    search, before = _continued(bench, settings, state_in, answers, "cpu", compile)
    if not search.done:
        raise InputError(f"{state_in}: only {search.number} of {search.total} rounds are done")
    waiting = search.counter.waiting()
    if len(waiting):
        raise InputError(
            f"architecture {bench.archs[waiting[0]]} was asked for and is in none of the answers "
            f"({len(waiting)} are not)"
        )
    frame = _table(search, bench, settings)
    return frame, as_facts(before + own())


def metadata(bench_path: str | Path, settings: Settings) -> dict[str, Any]:
    """Return the metadata of a SEARCH file: the bench's, the settings and how the method is scored."""
    chosen: Method = METHODS.load(settings.method)
    settings = settings.resolved()
    own = {k: v for k, v in asdict(settings).items() if k not in ("runs", "method", "budget")}
    return tables.metadata(bench_path) | own | {"score": chosen.score}


def _make(
    bench: Bench, settings: Settings, device: str, compile: bool, progress: Progress | None = None
) -> Rounds:
    method: Method = METHODS.load(settings.method)
    _check(bench, settings)
    method.rounds(settings.budget, settings.options)  # says so where N is too small
    wanted = method.looks(settings.budget, settings.rerank, settings.options)
    looks = {name: bench.look(name, limit, settings.labels) for name, limit in wanted.items()}
    counter = QueryCounter(
        len(settings.runs),
        len(bench.archs),
        limit=settings.budget + settings.top,
        failed=bench.chance,
        looks=looks,
    )
    problem = Problem(
        space=bench.space,
        encoding=_encoding(bench),
        archs=bench.archs,
        budget=settings.budget,
        runs=tuple(settings.runs),
        base_seed=settings.base_seed,
        rerank=settings.rerank,
        device=str(place(settings.method, device, compile=compile) or "cpu"),
        compile=compile,
        options=settings.options,
        progress=progress,
    )
    return Rounds(
        method, problem, counter, top=settings.top, new_only=settings.new_only or method.score == "asked"
    )


def _check(bench: Bench, settings: Settings) -> None:
    size = len(bench.archs)
    if not settings.runs or len(set(settings.runs)) < len(settings.runs):
        raise InputError(f"runs {settings.runs} of a block must be distinct and at least one")
    if settings.budget < 1 or settings.top < 0:
        raise InputError(
            f"budget {settings.budget} and top {settings.top}: expected at least 1 and at least 0"
        )
    if settings.budget + settings.top > size:
        raise InputError(
            f"{bench.path}: N + K = {settings.budget} + {settings.top} is more than its {size} architectures"
        )


def _encoding(bench: Bench) -> Encoding:
    encoding = spaces.load(bench.space).encoding()
    if bench.archs.max() >= len(encoding):
        raise InputError(
            f"{bench.path}: architecture {bench.archs.max()} is not in space {bench.space!r}, "
            f"which has {len(encoding)}"
        )
    return replace(
        encoding, adjacency=encoding.adjacency[bench.archs], operations=encoding.operations[bench.archs]
    )


def _oracle(bench: Bench, settings: Settings) -> Oracle:
    values = bench.labels(settings.labels)

    def answer(archs: Int64[np.ndarray, " asks"]) -> Float[np.ndarray, " asks"]:
        unknown = archs[bench.status[archs] == UNKNOWN]
        if len(unknown):
            raise InputError(
                f"{bench.path}: the accuracy of architecture {bench.archs[unknown[0]]} is not known; train it, or "
                "search with truth: on_demand"
            )
        return values[archs]

    return answer


def _continued(
    bench: Bench,
    settings: Settings,
    state_in: str | Path,
    answers: Sequence[str | Path],
    device: str,
    compile: bool,
) -> tuple[Rounds, np.ndarray]:
    """Return the search as its last round has left it, the answers delivered, and what its rounds have spent."""
    search, state = _make(bench, settings, device, compile), load_state(state_in, _identity(bench, settings))
    search.restore(state)
    waiting = search.counter.waiting()
    known = _known(answers, set(bench.archs[waiting].tolist()), settings.labels)
    here = np.array([a for a in waiting if bench.archs[a] in known], dtype=np.int64)
    search.counter.deliver(here, np.array([known[int(a)] for a in bench.archs[here]], dtype=float))
    return search, state.get("spent", np.zeros(len(SPENT)))


def _known(answers: Sequence[str | Path], archs: set[int], labels: str) -> dict[int, float]:
    """Return the accuracies of ``archs`` in the answer files, NaN where the training failed."""
    known: dict[int, float] = {}
    schema = ANSWERS if labels == "accuracy" else BALANCED
    for path in answers:
        frame = tables.read(path, schema).rename(columns={labels: "accuracy"})
        frame = frame[frame["arch"].isin(archs)]
        for arch, accuracy, status in zip(frame["arch"], frame["accuracy"], frame["status"], strict=True):
            if status not in ("ok", *FAILED) or (status == "ok") == np.isnan(accuracy):
                raise InputError(f"{path}: architecture {arch} has status {status!r} and accuracy {accuracy}")
            if not np.array_equal(known.get(arch, accuracy), accuracy, equal_nan=True):
                raise InputError(
                    f"{path}: architecture {arch} has accuracy {accuracy}, another answer says {known[arch]}"
                )
            known[int(arch)] = float(accuracy)
    return known


def _leave(
    search: Rounds,
    bench: Bench,
    settings: Settings,
    state_out: str | Path,
    asks_out: str | Path,
    own: Meter,
    before: np.ndarray | float = 0.0,
) -> None:
    """Do the next round and write what it leaves; the ask list last, as it says that the round is done."""
    if settings.labels not in ("accuracy", "balanced"):
        raise InputError(
            "on demand, a search trains and selects on 'accuracy'; 'accuracy_select' needs a full table"
        )
    search.beliefs = True
    asks: Asks = search.next()
    save_state(state_out, search.state() | {"spent": before + own()}, _identity(bench, settings))
    tables.write(asks_out, _asks_table(asks, bench, settings), ASKS, {"round": search.number - 1})


def _asks_table(asks: Asks, bench: Bench, settings: Settings) -> pd.DataFrame:
    import pandas as pd

    runs = np.array(settings.runs, dtype=np.int32)[asks.rows]
    archs = bench.archs[asks.archs].astype(np.int32)
    return pd.DataFrame({"run": runs, "arch": archs, "predicted": asks.beliefs})


def _identity(bench: Bench, settings: Settings) -> dict[str, Any]:
    return asdict(settings) | {"options": dict(settings.options), "bench": bench.fingerprint}


def _table(search: Rounds, bench: Bench, settings: Settings) -> pd.DataFrame:
    """Return the SEARCH table; the correlations are evaluated here, when everything has been counted."""
    import pandas as pd

    assert search.rankings is not None
    final, coarse = search.rankings
    counter, count = search.counter, len(settings.runs)
    kept = min(settings.budget + settings.top, len(bench.archs))
    method: Method = METHODS.load(settings.method)
    merit = bench.merit() if method.predicts else None
    if merit is None:
        (spearman, kendall), (coarse_spearman, coarse_kendall) = np.full((2, 2, count), np.nan)
    else:
        spearman, kendall = rank_correlations(final, merit)
        coarse_spearman, coarse_kendall = rank_correlations(coarse, merit)
    return pd.DataFrame(
        {
            "method": settings.method,
            "budget": np.int32(settings.budget),
            "top": np.int32(settings.top),
            "run": np.array(settings.runs, dtype=np.int32),
            "seed": [seeds.seed(settings.base_seed, "pool", bench.space, run) for run in settings.runs],
            "ranking": list(bench.archs[final.archs[:, :kept]].astype(np.int32)),
            "coarse_ranking": list(bench.archs[coarse.archs[:, :kept]].astype(np.int32)),
            "pool": list(bench.archs[search.asked].astype(np.int32)),
            "trainings": counter.trainings().astype(np.int32),
            "codes": counter.looks("code").astype(np.int32),
            "price": counter.price(),
            "spearman": spearman,
            "kendall": kendall,
            "coarse_spearman": coarse_spearman,
            "coarse_kendall": coarse_kendall,
            "seconds": search.seconds / count,
            "train_seconds": search.search.train_seconds / count,
        }
    )
