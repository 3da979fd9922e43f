"""A predictor that is trained on what a sampler picks: algorithm 2 of the paper with any predictor and sampler.

Everything here is for R runs at once; nothing is done per architecture in Python.  It speaks to predictors in arrays, and
imports no torch: those with native code need none (``PredictorMethod.make_predictor``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError
from snas.search.bench import CODES
from snas.search.counter import QueryCounter
from snas.search.method import Problem, Search, under
from snas.search.methods import PredictorMethod
from snas.search.ranking import Ranking, rank, siamese_ranking

CHECKPOINT = ("weights", "statistics")
"""What of a predictor's state predicts; the rest is the optimiser's."""
DELTA = 0.5
"""Of the Huber loss (docs/definitions.md, section 4)."""


class PredictorSearch(Search):
    """The search of a block of runs with one predictor per run.

    With ``method.checkpoint`` the first of each run's random order are held out of its training, and the last ranking is
    that of the weights whose loss on them, after any epoch, was the smallest; samplers ask the predictor as it is.
    """

    tells: ClassVar[bool] = True

    def __init__(self, method: PredictorMethod, problem: Problem, counter: QueryCounter) -> None:
        self.problem, self.counter = problem, counter
        self.size = problem.size
        self.uses_code, self.code = method.looks_at_codes, method.code
        self.sampler = method.make_sampler(problem.options)
        self.predictor = method.make_predictor(problem)
        self.held = method.checkpoint
        self.plan = self.sampler.plan(problem.budget - self.held, self.predictor.epochs)
        if any(update.new and update.epoch < 1 for update in self.plan[1:]):
            raise InputError(
                f"predictor {method.predictor!r} has a schedule of {self.predictor.epochs} epoch(s), so that sampler "
                f"{method.sampler!r} would add architectures by its ranking before it has learnt; more epochs are needed"
            )
        self.pool = np.empty((len(problem.runs), 0), dtype=np.int64)
        self.epoch = 0
        self.train_seconds = 0.0
        self.least = np.full(len(problem.runs), np.inf)
        self.kept: dict[str, np.ndarray] = {}

    def propose(self, number: int) -> Int64[np.ndarray, "runs new"]:
        """Train up to the update's epoch and return what the sampler adds to the pool."""
        update = self.plan[number]
        if number == 0:
            new = self.problem.permutations[:, : self.held + update.new]
        elif update.new == 0:
            new = self.pool[
                :, :0
            ]  # nothing to add: nothing to rank, no codes to spend; training goes on later
        else:
            with self._clock():
                self._fit(update.epoch)
                new = self.sampler.choose(number, update.new, self.pool, self)
        self.pool = np.concatenate([self.pool, new], axis=1)
        return new

    def rank(self) -> tuple[Ranking, Ranking]:
        """Train to the end and Siamese-Rank the whole space (algorithm 1 with c = ``problem.rerank``)."""
        with self._clock():
            self._fit(self.predictor.epochs)
            if self.kept:
                self.predictor.load_state_dict({**self.predictor.state_dict(), **self.kept})
        coarse = self.predictor.coarse(None)
        ties = self.problem.ties(self.size, "final")
        plain = rank(coarse, ties)
        if not self.uses_code:
            return plain, plain
        return siamese_ranking(coarse, self._fine, self.problem.rerank, ties), plain

    def rank_candidates(
        self, candidates: Int64[np.ndarray, "runs archs"], *, codes: int, update: int
    ) -> Ranking:
        """Siamese-Rank a part of the space with the predictor as it is, the first ``codes`` of it by the fine accuracy."""
        count = candidates.shape[1]
        # Predicting the whole space lets a predictor share work among its architectures; a part is then only picked out.
        if 2 * count > self.size:
            coarse = np.take_along_axis(self.predictor.coarse(None), candidates, axis=1)
        else:
            coarse = self.predictor.coarse(candidates)
        ties = self.problem.ties(count, update)
        if not self.uses_code:
            return rank(coarse, ties).take(candidates)
        fine = lambda columns: self._fine(np.take_along_axis(candidates, columns, axis=1))
        return siamese_ranking(coarse, fine, codes, ties).take(candidates)

    def beliefs(self, archs: Int64[np.ndarray, "runs new"]) -> Float[np.ndarray, "runs new"] | None:
        """Return the coarse accuracies by the predictor as it is; None before its first training."""
        if self.epoch == 0 or archs.shape[1] == 0:
            return None
        return self.predictor.coarse(archs)

    def generators(self, purpose: str, *ids: int | str) -> list[np.random.Generator]:
        """Return the problem's generators, one per run."""
        return self.problem.generators(purpose, *ids)

    def state(self) -> dict[str, np.ndarray]:
        """Return pool, schedule place, time and the predictor's state."""
        own = {
            "pool": self.pool,
            "epoch": np.array(self.epoch),
            "train_seconds": np.array(self.train_seconds),
        }
        if self.held:
            own |= {"least": self.least} | {f"kept/{k}": v for k, v in self.kept.items()}
        return own | {f"predictor/{k}": v for k, v in self.predictor.state_dict().items()}

    def restore(self, state: Mapping[str, np.ndarray], rounds: int) -> None:
        """Take up a saved state."""
        self.pool, self.epoch = state["pool"], int(state["epoch"])
        self.train_seconds = float(state["train_seconds"])
        self.least = state.get("least", self.least)
        self.kept = under(state, "kept/")
        self.predictor.load_state_dict(under(state, "predictor/"))

    def _fit(self, stop: int) -> None:
        if stop == self.epoch:
            return
        accuracy = self.counter.accuracies(self.pool).astype(np.float32)
        codes = self._codes(self.pool) if self.uses_code else None
        taught = slice(self.held, None)
        pool, known = self.pool[:, taught], None if codes is None else codes[:, taught]
        # where a checkpoint is chosen, after every epoch
        for reached in range(self.epoch + 1, stop + 1) if self.held else [stop]:
            self.predictor.tell = self._teller(reached)
            self.predictor.fit(pool, accuracy[:, taught], known, start=self.epoch, stop=reached)
            self.epoch = reached
            if self.held:
                self._keep(accuracy, codes)

    def _keep(
        self, accuracy: Float[np.ndarray, "runs pool"], codes: Float[np.ndarray, "runs pool code"] | None
    ) -> None:
        """Keep the weights of the runs whose loss on the architectures held out is smaller than after any epoch before."""
        from scipy.special import huber  # its import takes longer than most searches that need none of it

        held = slice(self.held)
        archs, true = self.pool[:, held], accuracy[:, held]
        loss = huber(DELTA, self.predictor.coarse(archs) - true).mean(axis=1)
        if codes is not None:  # the mean over those with a code, as in training
            fine = huber(DELTA, self.predictor.fine(archs, codes[:, held]) - true)
            without = np.isnan(fine)
            loss = loss + np.where(without, 0.0, fine).sum(axis=1) / np.maximum((~without).sum(axis=1), 1)
        state = self.predictor.state_dict()
        better = loss < self.least
        for name in CHECKPOINT:
            kept = self.kept.setdefault(name, state[name].copy())
            kept[better] = state[name][better]
        self.least = np.where(better, loss, self.least)

    def _teller(self, stop: int) -> Callable[[float], None] | None:
        """Return what turns the share of the coming ``fit`` into the share of the whole training, for who asks."""
        progress = self.problem.progress
        if progress is None:
            return None
        before, then = self.predictor.work(self.epoch), self.predictor.work(stop)
        return lambda share: progress(
            round(100 * (before + (then - before) * share)), 100, "% of the training"
        )

    def _fine(self, archs: Int64[np.ndarray, "runs top"]) -> Float[np.ndarray, "runs top"]:
        return self.predictor.fine(archs, self._codes(archs))

    def _codes(self, archs: Int64[np.ndarray, "runs archs"]) -> Float[np.ndarray, "runs archs code"]:
        """Return the codes of ``archs``; a proxy is one number, and stands three times."""
        values = self.counter.look(self.code, archs)
        codes = values if values.ndim == 3 else np.repeat(values[..., None], len(CODES), axis=-1)
        return codes.astype(np.float32)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.predictor.synchronize()  # on a GPU training is asynchronous; its time belongs to it
        self.train_seconds += time.perf_counter() - started
