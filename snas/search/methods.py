"""The methods of the paper: random search, and a predictor with a sampler (docs/definitions.md, section 4).

This module imports no torch: a workflow asks it for the number of rounds while it is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from snas import InputError
from snas.predictors import NATIVE
from snas.predictors import REGISTRY as PREDICTORS
from snas.predictors.kinds import check_options, checked_options, options_in
from snas.search import SAMPLERS
from snas.search.counter import QueryCounter
from snas.search.method import Method, Problem, Search, check_budget
from snas.search.ranking import Ranking
from snas.search.samplers import Sampler

if TYPE_CHECKING:
    from snas.predictors.native_predictor import NativePredictor
    from snas.search.on_device import OnDevice


@dataclass(frozen=True)
class RandomMethod(Method):
    """Random search: N + K draws, no training; its score is the best of all of them."""

    score: ClassVar[Literal["top", "asked"]] = "asked"
    predicts: ClassVar[bool] = False
    computes: ClassVar[bool] = False
    labels: str | None = None

    def rounds(self, budget: int, options: Mapping[str, Any] | None = None) -> int:
        """Return 1: all N at once."""
        _no_options("random search", options)
        check_budget(budget, 1, "random search")
        return 1

    def start(self, problem: Problem, counter: QueryCounter) -> Search:
        """Return the search."""
        return RandomSearch(problem)


class RandomSearch(Search):
    """Goes along each run's random order of the space; its "ranking" is the rest of that order, then the pool."""

    def __init__(self, problem: Problem) -> None:
        self.order, self.budget = problem.permutations, problem.budget

    def propose(self, number: int) -> Int64[np.ndarray, "runs new"]:
        """Return the first N draws."""
        return self.order[:, : self.budget]

    def rank(self) -> tuple[Ranking, Ranking]:
        """Return the order after the first N draws: the top K are draws N + 1 .. N + K."""
        archs = np.roll(self.order, -self.budget, axis=1)
        ranking = Ranking(archs, np.zeros_like(archs))
        return ranking, ranking


@dataclass(frozen=True)
class PredictorMethod(Method):
    """A predictor of :data:`snas.predictors.REGISTRY` trained on what a sampler of ``snas.search.SAMPLERS`` picks.

    Options of a run (ablations): ``{"sampler": {"share": 0.5, "rerank": 10, ...}, "predictor": {...}}``, over the
    method's own ``sampler_options`` and ``predictor_options``.
    """

    predictor: str
    sampler: str
    uses_code: bool | None = None
    """Whether it looks at codes; None asks the predictor, which is imported for that where it has no native code."""
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    predictor_options: Mapping[str, Any] = field(default_factory=dict)
    code: str = "code"
    """The look that serves as code: ``code`` or a proxy (log₁₀ synflow three times, the paper's comparison)."""
    rerank: int | None = None
    labels: str | None = None
    checkpoint: int = 0
    """How many of the N the predictor is not trained on but its weights chosen by, among those after every epoch; 0: the
    last ones serve."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the predictor's, the sampler's and the search's modules."""
        return (
            __name__,
            "snas.search.predictor_search",
            *((NATIVE.target(self.predictor),) if self.native else ()),
            PREDICTORS.target(self.predictor),
            SAMPLERS.target(self.sampler),
        )

    @property
    def native(self) -> bool:
        """Whether its predictor has native code."""
        return self.predictor in NATIVE

    @property
    def looks_at_codes(self) -> bool:
        """Whether codes are looked at, and so counted."""
        if self.uses_code is not None:
            return self.uses_code
        known = NATIVE if self.native else PREDICTORS  # the former say it without an import of torch
        return bool(known.load(self.predictor).uses_code)

    def make_sampler(self, options: Mapping[str, Any] | None = None) -> Sampler:
        """Return the sampler with its options; raises ``InputError`` for one that is unknown or makes no sense."""
        chosen = {**self.sampler_options, **_part(options, "sampler")}
        kind = SAMPLERS.load(self.sampler)
        known = {name: part.default for name, part in getattr(kind, "__dataclass_fields__", {}).items()}
        checked_options(self.sampler, known, chosen, "sampler")
        sampler: Sampler = kind(**chosen)
        return sampler

    def make_predictor(self, problem: Problem) -> NativePredictor | OnDevice:
        """Return the predictor of a block of runs: native code's, without torch, where it can serve."""
        options: dict[str, Any] = {**self.predictor_options, **_part(problem.options, "predictor")}
        options |= {"base_seed": problem.base_seed, "budget": problem.budget - self.checkpoint}
        of = (problem.encoding, problem.runs)
        native = problem.compile and problem.device == "cpu" and self.native
        if native and "dtype" not in options:
            from snas.predictors.native_predictor import made

            found = made(NATIVE.load(self.predictor), *of, **options)
            if found is not None:
                return found
        from snas.search.on_device import OnDevice

        kind = PREDICTORS.load(self.predictor)
        made_there = kind(*of, device=problem.device, compile=problem.compile, **options)
        return OnDevice(made_there, problem.device)

    def rounds(self, budget: int, options: Mapping[str, Any] | None = None) -> int:
        """Return the number of the sampler's updates, its start included."""
        return len(self.sizes(budget, options))

    def sizes(self, budget: int, options: Mapping[str, Any] | None = None) -> list[int]:
        """Return how many architectures each update adds."""
        check_options(self.predictor, _part(options, "predictor"))
        sampler = self.make_sampler(options)
        aside = f", beside {self.checkpoint} to choose a checkpoint by" if self.checkpoint else ""
        check_budget(budget, sampler.smallest + self.checkpoint, f"sampler {self.sampler!r}{aside}")
        first, *later = (update.new for update in sampler.plan(budget - self.checkpoint, 1))
        return [self.checkpoint + first, *later]

    def looks(self, budget: int, rerank: int, options: Mapping[str, Any] | None = None) -> dict[str, int]:
        """Return the most codes per run: the pool, the re-ranked ones of all updates, the last ``rerank``."""
        if not self.looks_at_codes:
            return {}
        return {self.code: budget + self.make_sampler(options).codes(budget) + rerank}

    def start(self, problem: Problem, counter: QueryCounter) -> Search:
        """Return the search."""
        from snas.search.predictor_search import PredictorSearch

        return PredictorSearch(self, problem, counter)


def _part(options: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    unknown = set(options or {}) - {"sampler", "predictor"}
    if unknown:
        raise InputError(f"method option {sorted(unknown)[0]!r} is unknown; known: sampler, predictor")
    return options_in(options, name)


def _no_options(what: str, options: Mapping[str, Any] | None) -> None:
    if options:
        raise InputError(f"{what} has no option {sorted(options)[0]!r}; it has none")


RANDOM = RandomMethod()
NEURAL_PREDICTOR = PredictorMethod("neural_predictor", "random", uses_code=False)
SIAMESE = PredictorMethod("siamese", "random", uses_code=True)
SIAMESE_BTS = PredictorMethod("siamese", "bts", uses_code=True)
SIAMESE_NSAM = PredictorMethod("siamese+nsam", "random", uses_code=True)
SIAMESE_NSAM_BTS = PredictorMethod("siamese+nsam", "bts", uses_code=True)
SIAMESE_NSAM_FTS = PredictorMethod("siamese+nsam", "fts", uses_code=True)
BRP_NAS = PredictorMethod("brp_nas", "brp", uses_code=False)
