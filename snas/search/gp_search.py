"""The search of R runs with a Gaussian process per run (issue: fewer trainings than anyone)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from snas import spaces
from snas.predictors import REGISTRY as PREDICTORS
from snas.predictors.gaussian import GaussianProcesses, Inputs, normal_scores, spread_out
from snas.proxies import REGISTRY as PROXIES
from snas.search.counter import QueryCounter
from snas.search.gp import COARSE, GaussianMethod
from snas.search.method import Problem, Search
from snas.search.ranking import Ranking, rank, siamese_ranking
from snas.spaces.features import classes, graph_features

FIRST_STEPS = 15
"""Steps of Fisher scoring of a fit from the priors' means."""
STEPS = 3
"""Steps from the hyperparameters of the fit before."""


class GaussianSearch(Search):
    """One Gaussian process per run over the classes of functionally equal architectures; each class is asked once.

    Only where all classes are asked for and budget is left, the others follow, best class first.
    """

    def __init__(self, method: GaussianMethod, problem: Problem, counter: QueryCounter) -> None:
        self.method, self.problem, self.counter = method, problem, counter
        self.settings = method.chosen(problem.options)
        self.sizes = method.sizes(problem.budget, problem.options)
        space = spaces.load(problem.space)
        self.classes = classes(space, problem.archs)
        features = graph_features(space, problem.archs[self.classes.first])
        self.features = features.standardised()
        self.inputs = Inputs(self.features, problem.device)
        self.process = GaussianProcesses(self.inputs, len(problem.runs))
        self.ties = torch.from_numpy(problem.ties(len(self.classes), "gp")).to(problem.device)
        self.pool = np.empty((len(problem.runs), 0), dtype=np.int64)
        self.cheap = None if method.measured is None else CheapScores(self, method.measured)
        self.coarse: np.ndarray | None = None
        self.coarse_at = 0
        self.fitted, self.fitted_on = False, 0
        self.train_seconds = 0.0

    # ---- rounds

    def propose(self, number: int) -> Int64[np.ndarray, "runs new"]:
        """Return what the expected improvement says, after the start and between looks."""
        started = time.perf_counter()
        size = self.sizes[number]
        if self.cheap is not None:
            self.cheap.top_up(self.pool.shape[1], first=number == 0)
        new = self._start(size) if number == 0 else self._improve(size)
        self.pool = np.concatenate([self.pool, new], axis=1)
        self.train_seconds += time.perf_counter() - started
        return new

    def _start(self, size: int) -> Int64[np.ndarray, "runs new"]:
        """Return the start by k-means++ from the run's first architecture; with cheap scores, then the best of them."""
        first = self.classes.of[self.problem.permutations[:, 0]]
        spread = 1 if self.cheap is not None else size
        spread = min(spread, len(self.classes))
        chosen = spread_out(self.features, first, spread, self.problem.generators("gp start"))
        if self.cheap is not None and size > spread and spread < len(self.classes):
            taken = self._mask(chosen)
            more = min(size - spread, len(self.classes) - spread)
            scores = self.cheap.scores()
            places = rank(np.where(taken.cpu().numpy(), -np.inf, scores), self.ties.cpu().numpy()).archs
            chosen = np.concatenate([chosen, places[:, :more]], axis=1)
        archs = self.classes.first[chosen]
        archs[:, 0] = self.problem.permutations[:, 0]  # the common start of all methods, itself
        return self._rest(archs, size)

    def _improve(self, size: int) -> Int64[np.ndarray, "runs new"]:
        asked = self.classes.of[self.pool]
        left = len(self.classes) - self._classes_asked()
        count = min(size, left)
        archs = np.empty((len(self.pool), 0), dtype=np.int64)
        if count:
            self._fit()
            taken = self._mask(asked)
            greedy = self.settings.acquisition == "mean"
            archs = self.classes.first[
                self.process.choose(count, taken, self.ties, greedy=greedy).cpu().numpy()
            ]
        return self._rest(archs, size)

    def _rest(self, archs: np.ndarray, size: int) -> np.ndarray:
        """Return ``archs`` filled up to ``size`` by members of classes that are asked for already, the best class first."""
        missing = size - archs.shape[1]
        if missing == 0:
            return archs
        asked = np.concatenate([self.pool, archs], axis=1)
        value = np.zeros((len(asked), self.problem.size))
        if self.pool.shape[1]:
            self._fit()
            value = self._mean()[:, self.classes.of].copy()
        np.put_along_axis(value, asked, -np.inf, axis=1)
        order = rank(value, self.problem.ties(self.problem.size, "gp rest")).archs
        return np.concatenate([archs, order[:, :missing]], axis=1)

    def beliefs(self, archs: Int64[np.ndarray, "runs new"]) -> Float64[np.ndarray, "runs new"] | None:
        """Return the posterior means as accuracies; None before the first fit.

        The process sees normal scores of ranks; what stands at a score is read between the accuracies that were seen, so
        no belief lies outside of these.
        """
        if self.fitted_on == 0 or archs.shape[1] == 0:
            return None
        mean = np.take_along_axis(self._mean(), self.classes.of[archs], axis=1)
        seen = self.pool[:, : self.fitted_on]
        accuracies = self.counter.accuracies(seen)
        scores = normal_scores(accuracies)
        rows = []
        for run in range(len(archs)):
            order = np.argsort(scores[run], kind="stable")
            rows.append(np.interp(mean[run], scores[run][order], accuracies[run][order]))
        return np.stack(rows)

    def _classes_asked(self) -> int:
        """Return the classes that each run has asked for: equally many, as each is asked once while there are others."""
        return min(self.pool.shape[1], len(self.classes))

    def rank(self) -> tuple[Ranking, Ranking]:
        """Return the ranking by posterior mean (of equal ones the class's standing member first), or the combination."""
        started = time.perf_counter()
        self._fit()
        self.train_seconds += time.perf_counter() - started
        mean = self._mean()[:, self.classes.of]
        ties = self.problem.ties(self.problem.size, "final")
        ties[:, self.classes.first] -= self.problem.size  # the standing member goes first
        plain = rank(mean, ties)
        if self.method.final == "process":
            return plain, plain
        started = time.perf_counter()
        predictor = self._trained()
        self.train_seconds += time.perf_counter() - started

        def fine(archs: np.ndarray) -> np.ndarray:
            codes = torch.from_numpy(self.counter.codes(archs)).float().to(self.problem.device)
            return _numpy(predictor.fine(self._tensor(archs), codes))

        if self.method.final == "rerank":
            return siamese_ranking(mean, fine, self.problem.rerank, ties), plain
        coarse = _numpy(predictor.coarse(None))
        return siamese_ranking(coarse, fine, self.problem.rerank, ties), rank(coarse, ties)

    # ---- the process

    def _fit(self) -> None:
        targets = torch.from_numpy(normal_scores(self.counter.accuracies(self.pool))).to(self.problem.device)
        asked = self._tensor(self.classes.of[self.pool])
        steps = STEPS if self.fitted else FIRST_STEPS
        self.process.fit(asked, targets, self._score_tensor(), steps=steps)
        self.fitted, self.fitted_on = True, self.pool.shape[1]

    def _mean(self) -> Float64[np.ndarray, "runs classes"]:
        mean: np.ndarray = self.process.posterior().mean.cpu().numpy()
        return mean

    def _score_tensor(self) -> Float64[Tensor, "runs classes"] | None:
        if self.cheap is not None:
            return torch.from_numpy(self.cheap.scores()).to(self.problem.device)
        if self.method.fidelity == COARSE:
            return self._coarse_scores()
        return None

    def _coarse_scores(self) -> Float64[Tensor, "runs classes"]:
        """Return the normal scores of the predictor's coarse accuracy, trained anew after every ``refresh`` trainings."""
        due = self.pool.shape[1] // self.settings.refresh * self.settings.refresh
        shape = (len(self.pool), len(self.classes))
        if due == 0:
            return torch.zeros(shape, dtype=torch.float64, device=self.problem.device)
        if self.coarse is None or self.coarse_at != due:
            predictor = self._trained(due)
            coarse = _numpy(predictor.coarse(None))[:, self.classes.first].astype(float)
            self.coarse, self.coarse_at = normal_scores(coarse), due
        return torch.from_numpy(self.coarse).to(self.problem.device)

    def _trained(self, count: int | None = None) -> Any:
        """Return the predictor trained by its whole schedule on the first ``count`` (default: all) asked for."""
        pool = self.pool[:, :count]
        predictor = PREDICTORS.load(self.method.predictor)(
            self.problem.encoding,
            self.problem.runs,
            base_seed=self.problem.base_seed,
            budget=pool.shape[1],
            device=self.problem.device,
            compile=self.problem.compile,
            **(self.problem.options.get("predictor") or {}),
        )
        accuracy = torch.from_numpy(self.counter.accuracies(pool)).float().to(self.problem.device)
        codes = torch.from_numpy(self.counter.codes(pool)).float().to(self.problem.device)
        predictor.fit(self._tensor(pool), accuracy, codes, start=0, stop=predictor.epochs)
        return predictor

    def _mask(self, asked: Int64[np.ndarray, "runs asked"]) -> Tensor:
        taken = torch.zeros((len(asked), len(self.classes)), dtype=torch.bool, device=self.problem.device)
        return taken.scatter_(1, self._tensor(asked), True)

    def _tensor(self, archs: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(archs)).to(self.problem.device)

    # ---- going on later

    def state(self) -> dict[str, np.ndarray]:
        """Return pool, hyperparameters and looks."""
        own = {
            "pool": self.pool,
            "logs": self.process.logs.cpu().numpy(),
            "fitted": np.array(self.fitted),
            "train_seconds": np.array(self.train_seconds),
        }
        if self.coarse is not None:
            own |= {"coarse": self.coarse, "coarse_at": np.array(self.coarse_at)}
        return own | (self.cheap.state() if self.cheap is not None else {})

    def restore(self, state: Mapping[str, np.ndarray], rounds: int) -> None:
        """Take up a saved state."""
        self.pool, self.fitted = state["pool"], bool(state["fitted"])
        self.process.logs = torch.from_numpy(state["logs"]).to(self.problem.device)
        self.train_seconds = float(state["train_seconds"])
        if "coarse" in state:
            self.coarse, self.coarse_at = state["coarse"], int(state["coarse_at"])
        if self.cheap is not None:
            self.cheap.restore(state)


class CheapScores:
    """A cheap measurement of some architectures, and a Gaussian process of its own that smooths it and says where to look.

    Everything goes through the counter.  A proxy, which costs nothing, is had of all at once and taken as it is.  A
    constant one has score 0 everywhere, which leaves the expensive process as it would be without.
    """

    def __init__(self, search: GaussianSearch, name: str) -> None:
        self.search, self.name = search, name
        self.process = GaussianProcesses(search.inputs, len(search.problem.runs))
        self.seen = np.empty((len(search.problem.runs), 0), dtype=np.int64)
        self.values: np.ndarray | None = None
        self.fitted = False
        self.free, self.loss = name in PROXIES, search.counter.is_loss(name)
        self._scores: np.ndarray | None = None
        self.due = search.sizes[0]

    def top_up(self, trainings: int, *, first: bool) -> None:
        """Look where the process of the looks expects an improvement, as many times as the schedule says."""
        settings, size = self.search.settings, len(self.search.classes)
        if self.free:
            if self.values is None:
                self._look(np.broadcast_to(np.arange(size), (len(self.seen), size)))
            return
        if first:
            self._spread(min(max(settings.looks // 3, 1), settings.looks, size))
            self._improve(min(settings.looks, size) - self.seen.shape[1])
        elif trainings >= self.due:
            times = 1 + (trainings - self.due) // settings.looks_every
            self.due += times * settings.looks_every
            self._improve(min(times * settings.looks_more, size - self.seen.shape[1]))

    def _spread(self, count: int) -> None:
        """Look by k-means++ from the run's first architecture."""
        if count > 0:
            first = self.search.classes.of[self.search.problem.permutations[:, 0]]
            draws = self.search.problem.generators("gp looks")
            self._look(spread_out(self.search.features, first, count, draws))

    def _improve(self, more: int) -> None:
        if (
            self.values is None
        ):  # none before the first training: there is nothing to expect an improvement of
            self._spread(more)
            return
        while more > 0:
            count = min(more, 10)
            self._fit()
            taken = self.search._mask(self.seen)
            self._look(self.process.choose(count, taken, self.search.ties).cpu().numpy())
            more -= count

    def _look(self, chosen: Int64[np.ndarray, "runs looks"]) -> None:
        values = self.search.counter.look(self.name, self.search.classes.first[chosen])
        values = np.asarray(values, dtype=float)
        if self.loss:
            values = -values
        values = values.reshape(*chosen.shape, -1)
        self.seen = np.concatenate([self.seen, chosen], axis=1)
        self.values = values if self.values is None else np.concatenate([self.values, values], axis=1)
        self._scores = None

    def targets(self) -> Float64[np.ndarray, "runs looks"]:
        """Return the normal scores of what was seen; of an estimation code, the mean over its entries."""
        assert self.values is not None
        return np.mean([normal_scores(self.values[..., k]) for k in range(self.values.shape[2])], axis=0)

    def scores(self) -> Float64[np.ndarray, "runs classes"]:
        """Return the smoothed score of every class: the posterior mean."""
        if self._scores is None:
            if self.values is None:
                self._scores = np.zeros((len(self.seen), len(self.search.classes)))
            elif self.free:
                self._scores = np.empty((len(self.seen), len(self.search.classes)))
                np.put_along_axis(self._scores, self.seen, self.targets(), axis=1)
            else:
                self._fit()
                self._scores = self.process.posterior().mean.cpu().numpy()
        return self._scores

    def _fit(self) -> None:
        device = self.search.problem.device
        targets = torch.from_numpy(self.targets()).to(device)
        steps = STEPS if self.fitted else FIRST_STEPS
        self.process.fit(self.search._tensor(self.seen), targets, steps=steps)
        self.fitted = True

    def state(self) -> dict[str, np.ndarray]:
        """Return looks and hyperparameters."""
        own = {
            "cheap/seen": self.seen,
            "cheap/logs": self.process.logs.cpu().numpy(),
            "cheap/fitted": np.array(self.fitted),
            "cheap/due": np.array(self.due),
        }
        if self._scores is not None:
            own["cheap/scores"] = self._scores
        return own if self.values is None else own | {"cheap/values": self.values}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a saved state."""
        self.seen, self.fitted, self.due = (
            state["cheap/seen"],
            bool(state["cheap/fitted"]),
            int(state["cheap/due"]),
        )
        self.process.logs = torch.from_numpy(state["cheap/logs"]).to(self.search.problem.device)
        self.values, self._scores = state.get("cheap/values"), state.get("cheap/scores")


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy()
    return array
