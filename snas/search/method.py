"""What a method is: how many rounds it takes, what it may look at, and the search of a block of runs.

A method works in rounds.  In each it proposes architectures to train, without knowing any accuracy but those that it
has asked for in earlier rounds; after the last it ranks the whole space, and the top K are trained.  The number of
rounds follows from the budget alone, so that a workflow can lay out the trainings of an on-demand search beforehand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError, seeds
from snas.search.counter import QueryCounter
from snas.search.ranking import Ranking, tie_breaks

if TYPE_CHECKING:
    from snas.spaces.space import Encoding

Progress = Callable[[int, int, str], None]
"""Called with (done, total, text)."""


@dataclass(frozen=True)
class Problem:
    """What a search knows at the start.  It holds no accuracy.

    Attributes:
        space: name of the space; part of every seed.
        encoding: of the architectures of the bench, in its order; architectures are numbered by their place here.
        archs: their indices in the space.
        budget: N.
        runs: the run numbers of the block (R).
        base_seed: seed that all draws derive from.
        rerank: c of the final Siamese-Ranking (60).
        device, compile: where and how predictors compute; they do not change what is searched.
        options: of the method (see the method), for ablations.
        progress: called with (done, total, text) while predictors train; it changes nothing.
    """

    space: str
    encoding: Encoding
    archs: Int64[np.ndarray, " archs"]
    budget: int
    runs: tuple[int, ...]
    base_seed: int = 0
    rerank: int = 60
    device: str = "cpu"
    compile: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def size(self) -> int:
        """Number of architectures (S)."""
        return len(self.archs)

    @cached_property
    def permutations(self) -> Int64[np.ndarray, "runs archs"]:
        """One random order of the space per run: a pool of N random architectures is its first N, in every method."""
        return np.stack([g.permutation(self.size) for g in self.generators("pool")])

    def generators(self, purpose: str, *ids: int | str) -> list[np.random.Generator]:
        """Return a generator per run for (base seed, purpose, space, run, ids): no method, budget or block in it."""
        return [seeds.numpy_generator(self.base_seed, purpose, self.space, run, *ids) for run in self.runs]

    def ties(self, size: int, *ids: int | str) -> Int64[np.ndarray, "runs archs"]:
        """Return the shuffle per run that breaks ties among ``size`` architectures."""
        return tie_breaks(self.base_seed, self.space, self.runs, size, *ids)


class Search(ABC):
    """The search of a block of runs.  Everything it learns comes from the problem and the counter.

    Attributes:
        train_seconds: wall time spent on training predictors and on the rankings between (table 1), without the last one.
        tells: whether it calls the problem's ``progress`` by itself; otherwise the trainings asked for are told.
    """

    train_seconds: float = 0.0
    tells: ClassVar[bool] = False

    @abstractmethod
    def propose(self, number: int) -> Int64[np.ndarray, "runs new"]:
        """Return what each run wants trained in round ``number`` (from 0): distinct, and not asked before.

        All earlier asks are answered by then.  The rows may be empty.
        """

    @abstractmethod
    def rank(self) -> tuple[Ranking, Ranking]:
        """Return the final ranking of the whole space and the coarse one (the same where there is only one)."""

    def beliefs(self, archs: Int64[np.ndarray, "runs new"]) -> Float[np.ndarray, "runs new"] | None:
        """Return the accuracies that are expected of what was just proposed, before it is trained; None: no opinion."""
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Return what is needed to go on after a round, as plain arrays."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray], rounds: int) -> None:  # noqa: B027 (a search may be stateless)
        """Take up a state that was left after ``rounds`` rounds."""


class Method(ABC):
    """A method of the registry.  An instance holds settings only; ``start`` makes the search.

    Attributes:
        score: what a run is judged by: the best of the top K of its ranking (``top``), or the best of everything that it
            has asked for (``asked``; random search, and methods whose ranking is no prediction).
        predicts: whether the ranking is a prediction of accuracy that can be correlated with the truth.
        computes: whether it computes with torch, on a device; jobs of others start without it and lease no GPU.
        native: whether native code computes it on a CPU within seconds, so that it is not given a GPU unasked.
        rerank, labels: c of the final Siamese-Ranking and what is trained and selected on, where the method has its own and
            the settings of a search are not asked (variants).
        modules: modules that its results hang on, beside this room's (for the hash of the code).
    """

    score: ClassVar[Literal["top", "asked"]] = "top"
    predicts: ClassVar[bool] = True
    computes: ClassVar[bool] = True
    rerank: int | None = None
    labels: str | None = None

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the names of the modules that results hang on beside ``snas.search.block``."""
        return (type(self).__module__,)

    @property
    def native(self) -> bool:
        """Return False: a method without native code of its own."""
        return False

    def device(self, asked: str, *, compile: bool) -> str | None:
        """Return what device is to be asked for, of ``auto``, ``cpu`` and ``cuda``; None where it computes on none.

        ``auto`` is a CPU for a method with native code (where ``compile`` allows it): a GPU, if there is one, is left to
        trainings, and jobs of searches run beside each other on all cores.
        """
        if not self.computes:
            return None
        return "cpu" if asked == "auto" and compile and self.native else asked

    @abstractmethod
    def rounds(self, budget: int, options: Mapping[str, Any] | None = None) -> int:
        """Return the number of rounds of proposals for N = ``budget``; raises ``InputError`` where N is too small."""

    def sizes(self, budget: int, options: Mapping[str, Any] | None = None) -> list[int]:
        """Return the most that each round adds; a method that says no more may ask for all N in any of them."""
        return [budget] * self.rounds(budget, options)

    @abstractmethod
    def start(self, problem: Problem, counter: QueryCounter) -> Search:
        """Return the search of a block of runs."""

    def looks(self, budget: int, rerank: int, options: Mapping[str, Any] | None = None) -> dict[str, int]:
        """Return which cheap measurements it wants (``code``, ``select``, a proxy) and the most per run of each."""
        return {}


def check_budget(budget: int, smallest: int, what: str) -> None:
    """Raise ``InputError`` where a budget is smaller than a method can serve."""
    if budget < smallest:
        raise InputError(f"budget {budget} is too small for {what}; the smallest is {smallest}")


def under(state: Mapping[str, np.ndarray], mark: str) -> dict[str, np.ndarray]:
    """Return the arrays of a state whose names begin with ``mark``, without it."""
    return {k.removeprefix(mark): v for k, v in state.items() if k.startswith(mark)}
