"""Methods with a Gaussian process: as few complete trainings as possible, one (or a batch) at a time.

This module imports no torch: a workflow asks it for the number of rounds while it is parsed.  The search itself is
:class:`snas.search.gp_search.GaussianSearch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np

from snas import InputError
from snas.predictors import REGISTRY as PREDICTORS
from snas.predictors.kinds import check_options, options_in
from snas.proxies import REGISTRY as PROXIES
from snas.search.counter import QueryCounter
from snas.search.method import Method, Problem, Search, check_budget

COARSE = "coarse"
"""The Siamese predictor's coarse accuracy as the cheap score: a prediction, so nobody looks and nothing is paid."""
EVERYTHING = 2**31 - 1
"""Limit of looks that cost nothing."""


@dataclass(frozen=True)
class Settings:
    """Settings of a search with a Gaussian process; each is an option of a run.

    Chosen on NAS-Bench-201's CIFAR-10 alone (docs/fewer-trainings.md).

    Attributes:
        start: trainings before the first fit (k-means++ over the features).
        batch: trainings per round after that: 1, or as many as train in parallel.
        acquisition: ``ei`` (expected improvement over the best posterior mean), or ``mean`` (greedy).
        looks: cheap measurements before the first training.
        looks_every, looks_more: after every ``looks_every`` trainings, ``looks_more`` further looks.
        looks_start: trainings before the first fit where there are cheap looks, the first by k-means++, the rest the best
            by the smoothed score.
        refresh: with the coarse accuracy as score, trainings between two trainings of the predictor.
    """

    start: int = 6
    batch: int = 1
    acquisition: Literal["ei", "mean"] = "ei"
    looks: int = 60
    looks_every: int = 4
    looks_more: int = 4
    looks_start: int = 6
    refresh: int = 10

    def __post_init__(self) -> None:
        for part in fields(self):
            value, least = getattr(self, part.name), 0 if part.name in ("looks", "looks_more") else 1
            if part.name == "acquisition":
                if value not in ("ei", "mean"):
                    raise InputError(f"option 'acquisition' is {value!r}; known: ei, mean")
            elif not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(
                    f"option {part.name!r} is {value!r}; expected an integer of at least {least}"
                )


@dataclass(frozen=True)
class GaussianMethod(Method):
    """A Gaussian process on graph-count features decides what is trained.

    Options of a run (ablations): those of :class:`Settings`, and ``predictor`` (a mapping) where a predictor takes part.

    Attributes:
        fidelity: a cheap measurement (``code``, ``select``, a proxy), :data:`COARSE`, or None.
        final: whose ranking stands at the end: the process's posterior mean; ``rerank``: of its first c, the Siamese
            predictor's fine accuracy (algorithm 1 with the process for the coarse one); ``predictor``: the Siamese
            predictor's alone, trained on what the process has asked for (in the place of BTS's pool).
        predictor: name of the predictor, where one takes part.
        settings: over the defaults.
    """

    fidelity: str | None = None
    final: Literal["process", "rerank", "predictor"] = "process"
    predictor: str = "siamese+nsam"
    settings: Settings = field(default_factory=Settings)
    score: ClassVar[Literal["top", "asked"]] = "asked"

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the modules that its results hang on."""
        own = (__name__, "snas.search.gp_search")
        return (*own, PREDICTORS.target(self.predictor)) if self.learns else own

    @property
    def learns(self) -> bool:
        """Whether a predictor takes part."""
        return self.final != "process" or self.fidelity == COARSE

    @property
    def uses_code(self) -> bool:
        """Whether the predictor's codes are looked at."""
        return self.learns

    @property
    def measured(self) -> str | None:
        """Name of the cheap measurement that is looked at, if there is one."""
        return None if self.fidelity == COARSE else self.fidelity

    def chosen(self, options: Mapping[str, Any] | None) -> Settings:
        """Return the settings with a run's options; raises :class:`InputError` for one that is unknown or out of range."""
        given = {name: value for name, value in (options or {}).items() if name != "predictor"}
        known = [part.name for part in fields(Settings)]
        for name in given:
            if name not in known:
                raise InputError(
                    f"the Gaussian process has no option {name!r}; known: {', '.join([*known, 'predictor'])}"
                )
        check_options(self.predictor, options_in(options, "predictor"))
        return replace(self.settings, **given)

    def sizes(self, budget: int, options: Mapping[str, Any] | None = None) -> list[int]:
        """Return how many trainings each round adds; the first rounds are the same for every larger budget."""
        check_budget(budget, 2, "a Gaussian process")
        settings = self.chosen(options)
        start = min(budget, settings.start if self.measured is None else settings.looks_start)
        left = budget - start
        full, rest = divmod(left, settings.batch)
        return [start, *[settings.batch] * full, *([rest] if rest else [])]

    def rounds(self, budget: int, options: Mapping[str, Any] | None = None) -> int:
        """Return the rounds: the start, then one per training (or batch)."""
        return len(self.sizes(budget, options))

    def looks_after(self, budget: int, options: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return how many looks a run has made when it asks for its 1st, 2nd, ... training, by its schedule.

        For the price of a part of a run; where there are fewer architectures to look at, it has made fewer.
        """
        settings, sizes = self.chosen(options), self.sizes(budget, options)
        counts, made, due = [], settings.looks, sizes[0]
        done = 0
        for number, size in enumerate(sizes):
            if number and done >= due:
                made += settings.looks_more * (1 + (done - due) // settings.looks_every)
                due += settings.looks_every * (1 + (done - due) // settings.looks_every)
            counts += [made] * size
            done += size
        return np.array(counts, dtype=np.int64) if self.measured else np.zeros(budget, dtype=np.int64)

    def looks(self, budget: int, rerank: int, options: Mapping[str, Any] | None = None) -> dict[str, int]:
        """Return the most looks per run: the schedule's, the predictor's codes; all where a look is free."""
        limits: dict[str, int] = {}
        if self.measured:
            free = self.measured in PROXIES
            limits[self.measured] = EVERYTHING if free else int(self.looks_after(budget, options)[-1])
        if self.uses_code:
            limits["code"] = limits.get("code", 0) + budget + (rerank if self.final != "process" else 0)
        return limits

    def start(self, problem: Problem, counter: QueryCounter) -> Search:
        """Return the search."""
        from snas.search.gp_search import GaussianSearch

        return GaussianSearch(self, problem, counter)


GP = GaussianMethod()
GP_CODE = GaussianMethod("code")
GP_SELECT = GaussianMethod("select")
GP_SYNFLOW = GaussianMethod("synflow")
GP_COARSE = GaussianMethod(COARSE)
GP_RERANK = GaussianMethod(final="rerank")
SIAMESE_NSAM_GP = GaussianMethod(final="predictor")
