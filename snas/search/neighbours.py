"""Baselines that walk from neighbour to neighbour: regularised evolution and local search, one training at a time.

Two architectures are neighbours where the predictors' encodings differ in few places (a node's operation, an edge): in as
few as connect the whole space (one in NAS-Bench-201, where every cell has 24 neighbours).  So any space has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from snas import InputError
from snas.search.counter import QueryCounter
from snas.search.method import Method, Problem, Search, check_budget
from snas.search.ranking import Ranking
from snas.spaces.space import Encoding

ROWS = 512
"""Architectures whose differences from all others are counted at once."""


class Neighbourhood:
    """The neighbours of the architectures of an encoding.

    Attributes:
        radius: most differences between neighbours: the smallest with which there is a way between any two
            architectures (or the one at which all are neighbours).
    """

    def __init__(self, encoding: Encoding) -> None:
        size = len(encoding)
        one_hot = encoding.operations[:, :, None] == np.arange(len(encoding.vocabulary))
        upper = np.triu_indices(encoding.nodes, 1)
        edges = encoding.adjacency[:, upper[0], upper[1]]
        # An edge counts once: 1 where equal is a·b + (1−a)·(1−b).
        self._marks = np.concatenate([one_hot.reshape(size, -1), edges, 1 - edges], axis=1).astype(np.float32)
        self._places = encoding.nodes + edges.shape[1]
        self._known: dict[int, np.ndarray] = {}

    def differences(self, archs: Int64[np.ndarray, " some"]) -> np.ndarray:
        """Return in how many places each of ``archs`` differs from every architecture."""
        return np.rint(self._places - self._marks[archs] @ self._marks.T).astype(np.int64)

    @cached_property
    def radius(self) -> int:
        """Grow a tree over all architectures, always by the shortest link; its longest link is the radius."""
        size = len(self._marks)
        nearest = self.differences(np.array([0]))[0]
        inside = np.zeros(size, dtype=bool)
        inside[0] = True
        longest = 0
        while not inside.all():
            distance = np.where(inside, self._places + 1, nearest)
            new = np.flatnonzero(distance == distance.min())[:ROWS]
            longest = max(longest, int(distance.min()))
            inside[new] = True
            nearest = np.minimum(nearest, self.differences(new).min(axis=0))
        return longest

    def of(self, arch: int) -> Int64[np.ndarray, " neighbours"]:
        """Return the neighbours of one architecture, ascending."""
        if arch not in self._known:
            near = self.differences(np.array([arch]))[0] <= self.radius
            near[arch] = False
            self._known[arch] = np.flatnonzero(near)
        return self._known[arch]


@dataclass(frozen=True)
class WalkSettings:
    """Options of a run.

    Attributes:
        population: of evolution; the oldest one dies (Real et al., 2019).
        sample: of the population, whose best one has the next child.
    """

    population: int = 10
    sample: int = 5

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"option {part.name!r} is {value!r}; expected an integer of at least 1")


@dataclass(frozen=True)
class WalkMethod(Method):
    """Regularised evolution (Real et al., 2019) or local search (White et al., 2020); options: :class:`WalkSettings`."""

    kind: Literal["evolution", "local"]
    score: ClassVar[Literal["top", "asked"]] = "asked"
    predicts: ClassVar[bool] = False
    computes: ClassVar[bool] = False

    def chosen(self, options: Mapping[str, Any] | None) -> WalkSettings:
        """Return the settings; raises :class:`InputError` for an unknown option."""
        known = [part.name for part in fields(WalkSettings)] if self.kind == "evolution" else []
        for name in options or {}:
            if name not in known:
                raise InputError(f"{self.kind} has no option {name!r}; known: {', '.join(known) or 'none'}")
        return replace(WalkSettings(), **(options or {}))

    def sizes(self, budget: int, options: Mapping[str, Any] | None = None) -> list[int]:
        """Return how many trainings each round adds: the first population (evolution), then one each."""
        check_budget(budget, 1, f"{self.kind} search")
        first = min(self.chosen(options).population, budget) if self.kind == "evolution" else 1
        return [first, *[1] * (budget - first)]

    def rounds(self, budget: int, options: Mapping[str, Any] | None = None) -> int:
        """Return the rounds: the first population, then one per training."""
        return len(self.sizes(budget, options))

    def start(self, problem: Problem, counter: QueryCounter) -> Search:
        """Return the search."""
        chosen = self.chosen(problem.options)
        return (
            Evolution(problem, counter, chosen) if self.kind == "evolution" else LocalSearch(problem, counter)
        )


class Walk(Search):
    """What both share: the order of what was asked, seeded draws per round, and the run's random order to fall back on."""

    def __init__(self, problem: Problem, counter: QueryCounter) -> None:
        self.problem, self.counter = problem, counter
        self.near = Neighbourhood(problem.encoding)
        self.pool = np.empty((len(problem.runs), 0), dtype=np.int64)

    def propose(self, number: int) -> Int64[np.ndarray, "runs new"]:
        """Return the first architectures of the run's random order, then one step each."""
        if number == 0:
            new = self.problem.permutations[:, : self.first()]
        else:
            accuracy = self.counter.accuracies(self.pool)
            draws = self.problem.generators(type(self).__name__, number)
            new = np.array(
                [[self.step(row, accuracy[row], draw)] for row, draw in enumerate(draws)], dtype=np.int64
            )
        self.pool = np.concatenate([self.pool, new], axis=1)
        return new

    def first(self) -> int:
        """Return how many random architectures come first."""
        return 1

    def step(self, row: int, accuracy: np.ndarray, draw: np.random.Generator) -> int:
        """Return an architecture that row ``row`` has not asked for."""
        raise NotImplementedError

    def random(self, row: int) -> int:
        """Return the next architecture of the run's random order that it has not asked for."""
        order = self.problem.permutations[row]
        return int(order[~np.isin(order, self.pool[row])][0])

    def rank(self) -> tuple[Ranking, Ranking]:
        """Return the rest of the random order, then what was asked: the top K are K more random draws."""
        order = self.problem.permutations
        asked = np.zeros(order.shape, dtype=bool)
        np.put_along_axis(asked, self.pool, True, axis=1)
        last = np.take_along_axis(asked, order, axis=1)
        archs = np.take_along_axis(order, np.argsort(last, axis=1, kind="stable"), axis=1)
        ranking = Ranking(archs, np.zeros_like(archs))
        return ranking, ranking

    def state(self) -> dict[str, np.ndarray]:
        """Return what was asked, in order."""
        return {"pool": self.pool}

    def restore(self, state: Mapping[str, np.ndarray], rounds: int) -> None:
        """Take up a saved state."""
        self.pool = state["pool"]


class Evolution(Walk):
    """The child of the best of a random sample of the youngest ``population``; the oldest die."""

    def __init__(self, problem: Problem, counter: QueryCounter, settings: WalkSettings) -> None:
        super().__init__(problem, counter)
        self.settings = settings

    def first(self) -> int:
        """Return the first population."""
        return min(self.settings.population, self.problem.budget)

    def step(self, row: int, accuracy: np.ndarray, draw: np.random.Generator) -> int:
        """Return a random neighbour of the parent that is not trained yet; where there is none, of another parent."""
        living = np.arange(max(len(accuracy) - self.settings.population, 0), len(accuracy))
        for _ in range(100):
            sample = draw.choice(living, min(self.settings.sample, len(living)), replace=False)
            parent = self.pool[row, sample[np.argmax(accuracy[sample])]]
            children = np.setdiff1d(self.near.of(int(parent)), self.pool[row])
            if len(children):
                return int(draw.choice(children))
        return self.random(row)


class LocalSearch(Walk):
    """Train the neighbours of the best so far in random order; where one is better go on from there.

    With all neighbours trained and none better, start again from the next random architecture.  The walk is read off the
    order of what was asked: nothing else is kept.
    """

    def step(self, row: int, accuracy: np.ndarray, draw: np.random.Generator) -> int:
        """Return an untrained neighbour of where the walk stands, or a new start."""
        here = self._stands(row, accuracy)
        left = np.setdiff1d(self.near.of(int(self.pool[row, here])), self.pool[row])
        return int(draw.choice(left)) if len(left) else self.random(row)

    def _stands(self, row: int, accuracy: np.ndarray) -> int:
        here = 0
        trained: set[int] = set()
        for place, arch in enumerate(self.pool[row]):
            centre = int(self.pool[row, here])
            if place and not set(self.near.of(centre).tolist()) - trained:
                here = place  # a new start
            elif accuracy[place] > accuracy[here]:
                here = place
            trained.add(int(arch))
        return here


EVOLUTION = WalkMethod("evolution")
LOCAL_SEARCH = WalkMethod("local")
