"""The query counter: what a search pays for, counted where it cannot be got round.

A method is given this counter and never a table.  It asks (and is charged); whoever drives the search brings the
answers; and it may read the accuracies of nothing but what the same run has asked before.  The counter holds no
accuracy that nobody paid for, so there is nothing to peek at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64


class BudgetExceeded(RuntimeError):
    """A run asked for more distinct architectures than its budget allows."""


class NotAsked(LookupError):
    """A run read an accuracy that it has not asked for, or that has not been answered yet."""


@dataclass(frozen=True)
class Look:
    """A measurement that is cheaper than a complete training and known beforehand: estimation code, proxy, few epochs.

    Attributes:
        values: one row per architecture, NaN where there is none.
        price: complete trainings per look.
        limit: most distinct architectures a run may look at.
        loss: whether a smaller value is the better one.
    """

    values: Float[np.ndarray, "archs ..."]
    price: float
    limit: int
    loss: bool = False


class QueryCounter:
    """Counts, per run, the distinct architectures whose accuracy or cheap measurements a run has seen.

    It holds a search to the paper's equation (1): with N + K trainings, S₁ + S₂, it may see that many of the S₀ accuracies.

    Args:
        runs: number of runs of the block (R).
        size: number of architectures (S); architectures are numbered 0..S-1 here.
        limit: most distinct trainings per run, N + K.
        failed: label of an architecture whose training diverged or did not fit: the accuracy of chance.
        looks: the cheap measurements that may be had, by name; ``code`` is the estimation code.
    """

    def __init__(
        self, runs: int, size: int, *, limit: int, failed: float, looks: Mapping[str, Look] | None = None
    ) -> None:
        self.limit, self.failed = limit, failed
        self._asked = np.zeros((runs, size), dtype=bool)
        self._answers = np.full(size, np.nan)
        self._answered = np.zeros(size, dtype=bool)
        self._seen = {name: np.zeros((runs, size), dtype=bool) for name in looks or {}}
        self._limits = {name: (look.limit, look.price) for name, look in (looks or {}).items()}
        self._losses = {name for name, look in (looks or {}).items() if look.loss}
        # The measured values stand in a closure: no attribute of the counter leads to what was not paid for.
        self._measure = {name: _reader(look.values) for name, look in (looks or {}).items()}

    def ask(self, archs: Int64[np.ndarray, "runs asks"]) -> np.ndarray:
        """Charge each run for its row of ``archs``; return which of them the run asks for the first time.

        An architecture is charged once, however often it is asked.  Raises :class:`BudgetExceeded`, charging nothing,
        where a run would exceed N + K.
        """
        return self._charge(self._asked, archs, self.limit, "complete trainings")

    def deliver(self, archs: Int64[np.ndarray, " answers"], accuracy: Float[np.ndarray, " answers"]) -> None:
        """Take the answers to what was asked (by whichever run); NaN is a training that failed."""
        self._answers[archs] = np.where(np.isnan(accuracy), self.failed, accuracy)
        self._answered[archs] = True

    def waiting(self) -> Int64[np.ndarray, " archs"]:
        """Return the architectures that some run has asked for and that nobody has answered yet, ascending."""
        return np.flatnonzero(self._asked.any(axis=0) & ~self._answered)

    def accuracies(self, archs: Int64[np.ndarray, "runs archs"]) -> Float[np.ndarray, "runs archs"]:
        """Return the accuracies of what each run has asked for in an earlier round; a failed training has chance level.

        Raises :class:`NotAsked` for anything else.
        """
        free = ~(np.take_along_axis(self._asked, archs, axis=1) & self._answered[archs])
        if free.any():
            run, place = np.argwhere(free)[0]
            raise NotAsked(
                f"row {run} of the block read the accuracy of architecture {archs[run, place]}, which it has not asked for"
            )
        return self._answers[archs]

    def codes(self, archs: Int64[np.ndarray, "runs archs"]) -> Float[np.ndarray, "runs archs code"]:
        """Return estimation codes, NaN rows where there is none, and charge each run for them."""
        return self.look("code", archs)

    def look(self, name: str, archs: Int64[np.ndarray, "runs archs"]) -> Float[np.ndarray, "runs archs ..."]:
        """Return the cheap measurement ``name`` and charge each run for it; a failed measurement is charged too.

        Raises :class:`BudgetExceeded` where a run would exceed the limit of this measurement, :class:`NotAsked` where
        the method has not declared it.
        """
        if name not in self._measure:
            known = ", ".join(self._measure) or "none"
            raise NotAsked(f"this search has no measurement {name!r} to look at; declared: {known}")
        self._charge(self._seen[name], archs, self._limits[name][0], f"looks at {name!r}")
        return self._measure[name](archs)

    def trainings(self) -> Int64[np.ndarray, " runs"]:
        """Return the distinct architectures per run whose complete training was asked for."""
        return self._asked.sum(axis=1)

    def looks(self, name: str) -> Int64[np.ndarray, " runs"]:
        """Return the distinct architectures per run that were looked at; 0 for a measurement that was not to be had."""
        seen = self._seen.get(name)
        return np.zeros(len(self._asked), np.int64) if seen is None else seen.sum(axis=1)

    def is_loss(self, name: str) -> bool:
        """Return whether smaller values of the measurement ``name`` are the better ones."""
        return name in self._losses

    def price(self) -> Float[np.ndarray, " runs"]:
        """Return what each run has cost in complete trainings: trainings plus priced looks, codes among them."""
        looks = sum((self.looks(name) * price for name, (_, price) in self._limits.items()), start=0.0)
        return self.trainings() + looks

    def state(self) -> dict[str, np.ndarray]:
        """Return what was asked, looked at and answered, as plain arrays."""
        return {
            "asked": np.packbits(self._asked, axis=1),
            "answers": self._answers,
            "answered": self._answered,
            **{f"seen/{name}": np.packbits(seen, axis=1) for name, seen in self._seen.items()},
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a state of a counter of the same size."""
        size = self._asked.shape[1]
        self._asked = np.unpackbits(state["asked"], axis=1, count=size).astype(bool)
        self._answers, self._answered = state["answers"].copy(), state["answered"].copy()
        for name in self._seen:
            self._seen[name] = np.unpackbits(state[f"seen/{name}"], axis=1, count=size).astype(bool)

    @staticmethod
    def _charge(book: np.ndarray, archs: np.ndarray, limit: int, what: str) -> np.ndarray:
        first = ~np.take_along_axis(book, archs, axis=1)
        after = book.copy()
        np.put_along_axis(after, archs, True, axis=1)
        totals = after.sum(axis=1)
        if (totals > limit).any():
            row = int(np.argmax(totals > limit))
            raise BudgetExceeded(
                f"row {row} of the block asked for {totals[row]} {what}; its budget is {limit}"
            )
        book[...] = after
        return first


def _reader(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda archs: values[archs]
