"""A search as a fixed number of rounds: ask, be answered, ask again.

The rounds are the same whether the answers come from a table in memory at once or from trainings that other jobs do
between two rounds; only who delivers them differs.  A search on demand is saved after each round as an ``.npz`` of plain
arrays (nothing is pickled) and goes on from there.
"""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError
from snas.search.counter import QueryCounter
from snas.search.method import Method, Problem, under
from snas.search.ranking import Ranking
from snas.tables import replacing

Oracle = Callable[[Int64[np.ndarray, " asks"]], Float[np.ndarray, " asks"]]


@dataclass(frozen=True)
class Asks:
    """Architectures asked for in one round: row ``archs[i]`` by the block's run number ``row[i]``, each pair once.

    ``beliefs`` are the accuracies that the search expected before it knew them, NaN where it had no opinion.
    """

    rows: Int64[np.ndarray, " asks"]
    archs: Int64[np.ndarray, " asks"]
    beliefs: Float[np.ndarray, " asks"]


class Rounds:
    """The rounds of a block of runs: the proposals of the method, then the top K of its final ranking.

    Args:
        method: from the registry.
        problem: what is searched.
        counter: through which everything is paid.
        top: K, how many of the final ranking are trained.
        new_only: the K are the first ones outside the pool (N + K distinct trainings), instead of the first ones of the
            ranking (pool members among them are trained already and cost nothing more).

    Attributes:
        number: rounds done.
        total: rounds in all.
        rankings: (final, coarse) once all rounds are done.
        asked: what each run has asked for before the last round, in order.
        seconds: wall time of all rounds, without waiting for answers.
        beliefs: whether to say what is expected of the asks (on demand, where they are written down).
    """

    def __init__(
        self, method: Method, problem: Problem, counter: QueryCounter, *, top: int, new_only: bool = False
    ) -> None:
        self.problem, self.counter, self.top, self.new_only = problem, counter, top, new_only
        started = time.perf_counter()
        self.search = method.start(problem, counter)
        self.total = method.rounds(problem.budget, problem.options) + 1
        self.number = 0
        self.asked = np.empty((len(problem.runs), 0), dtype=np.int64)
        self.rankings: tuple[Ranking, Ranking] | None = None
        self.seconds = time.perf_counter() - started
        self.beliefs = False

    @property
    def done(self) -> bool:
        """Whether the last round has asked."""
        return self.number == self.total

    def next(self) -> Asks:
        """Do the next round and return what is asked for the first time; everything asked before must be answered."""
        if self.done:
            raise RuntimeError(f"all {self.total} rounds are done")
        waiting = self.counter.waiting()
        if len(waiting):
            raise InputError(
                f"architecture {self.problem.archs[waiting[0]]} was asked for in an earlier round and is not answered "
                f"({len(waiting)} are not); deliver the answers to round {self.number - 1} first"
            )
        started = time.perf_counter()
        if self.number < self.total - 1:
            archs = self.search.propose(self.number)
            self.asked = np.concatenate([self.asked, archs], axis=1)
        else:
            self.rankings = self.search.rank()
            archs = self._top(self.rankings[0].archs)
        first = self.counter.ask(archs)
        self.number += 1
        self.seconds += time.perf_counter() - started
        rows = np.broadcast_to(np.arange(len(archs))[:, None], archs.shape)
        expected = self.search.beliefs(archs) if first.any() and self.beliefs else None
        beliefs = np.full(archs.shape, np.nan) if expected is None else expected.astype(float)
        return Asks(rows[first], archs[first], beliefs[first])

    def run(self, oracle: Oracle, after: Callable[[Rounds], None] | None = None) -> None:
        """Do all remaining rounds with the answers of ``oracle`` (NaN: the training failed); ``after`` each, when answered."""
        while not self.done:
            self.next()
            waiting = self.counter.waiting()
            self.counter.deliver(waiting, oracle(waiting))
            self._tell()
            if after is not None:
                after(self)

    def _tell(self) -> None:
        """Say how many trainings of the budget are asked for; a search that trains one predictor says more by itself."""
        if self.problem.progress is not None and not self.search.tells and not self.done:
            self.problem.progress(self.asked.shape[1], self.problem.budget, "trainings")

    def _top(self, ranked: Int64[np.ndarray, "runs places"]) -> Int64[np.ndarray, "runs top"]:
        if not self.new_only:
            return ranked[:, : self.top]
        from snas.search.samplers import outside

        return outside(self.asked, ranked)[:, : self.top]

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that is needed to go on, as plain arrays."""
        state = {"number": np.array(self.number), "seconds": np.array(self.seconds), "pool_asked": self.asked}
        state |= {f"counter/{k}": v for k, v in self.counter.state().items()}
        if self.rankings is None:
            return state | {f"search/{k}": v for k, v in self.search.state().items()}
        state["train_seconds"] = np.array(self.search.train_seconds)
        for name, ranking in zip(("final", "coarse"), self.rankings, strict=True):
            state |= {f"{name}/archs": ranking.archs, f"{name}/levels": ranking.levels}
        return state

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a saved state of the same search."""
        self.number, self.asked = int(state["number"]), state["pool_asked"]
        self.seconds = float(state["seconds"])
        self.counter.restore(under(state, "counter/"))
        if "final/archs" not in state:
            self.search.restore(under(state, "search/"), self.number)
            return
        self.search.train_seconds = float(state["train_seconds"])
        self.rankings = (
            Ranking(state["final/archs"], state["final/levels"]),
            Ranking(state["coarse/archs"], state["coarse/levels"]),
        )


def save_state(path: str | Path, state: Mapping[str, np.ndarray], identity: Mapping[str, Any]) -> None:
    """Write a state with the identity of its search (JSON) to ``path``, under a temporary name first."""
    text = np.frombuffer(json.dumps(identity, sort_keys=True).encode(), dtype=np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, identity=text, **{f"state/{k}": v for k, v in state.items()}
        )


def load_state(path: str | Path, identity: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read a state; raises ``InputError`` where the file is damaged or belongs to another search."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = json.loads(file["identity"].tobytes())
            state = {k.removeprefix("state/"): file[k] for k in file.files if k != "identity"}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the state of a search") from None
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(
            f"{path}: not a readable state of a search (truncated or foreign): {error}"
        ) from error
    for key, value in json.loads(json.dumps(identity)).items():
        if found.get(key) != value:
            raise InputError(
                f"{path}: made with {key} = {found.get(key)!r}, expected {value!r}; delete the file and run again"
            )
    return state
