"""What a predictor is: R runs that train, predict and are saved as one program.

Axes, each named once: ``runs`` the predictors of a block (R), ``pool`` the trained architectures that a run learns from, ``archs``
the architectures that are asked about, ``code`` the three entries of an estimation code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas.predictors.parameters import Layout

if TYPE_CHECKING:
    from snas.spaces.space import Encoding


class Predictor(ABC):
    """R predictors of one kind, one per run; run r is the same alone and in any block of runs.

    Attributes:
        name: name in the registry.
        uses_code: whether ``fine`` exists and ``fit`` learns from estimation codes.
        defaults: the options and their defaults.
        layout: names, shapes and starts of the parameters of one run; ``state_dict()["weights"]`` is their flat buffer.
        epochs: length of the training schedule in its own unit (200 epochs; 5 iterations for BRP-NAS).
        runs: the run numbers of the block, in order of the leading axis.
        budget: N, the number of architectures that the pool holds at the end; it sets the steps per epoch.
        tell: called during ``fit`` with the share of that call's work that is done, 0 to 1; None: nobody asks.
    """

    name: ClassVar[str]
    uses_code: ClassVar[bool]
    defaults: ClassVar[Mapping[str, Any]]
    layout: Layout
    epochs: int
    tell: Callable[[float], None] | None = None

    @abstractmethod
    def __init__(
        self,
        encoding: Encoding,
        runs: Sequence[int],
        *,
        base_seed: int,
        budget: int,
        device: str | torch.device = "cpu",
        compile: bool = False,
        **options: Any,
    ) -> None:
        """Lay the initial weights of each run, from ``seeds.generator(base_seed, "predictor", run, layer)``.

        Args:
            encoding: adjacency with identity, operations and vocabulary of the whole space; architectures are its rows.
            runs: run numbers (R of them).
            base_seed: seed that all generators of the runs are derived from.
            budget: N.
            device: where the block computes; draws are made on the CPU and moved.
            compile: train and rank by native code on a CPU, with ``torch.compile`` on a GPU (BRP-NAS: on both); without a
                C++ compiler one line says so and eager mode serves.
            options: of the kind of predictor (documented at the class); an unknown one raises ``InputError``.
        """

    @abstractmethod
    def fit(
        self,
        pool: Int64[Tensor, "runs pool"],
        accuracy: Float[Tensor, "runs pool"],
        codes: Float[Tensor, "runs pool code"] | None,
        *,
        start: int,
        stop: int,
    ) -> None:
        """Train schedule units ``start`` .. ``stop`` - 1 of ``epochs`` on the pool.

        Args:
            pool: architecture ids (rows of the encoding) per run.
            accuracy: their accuracies, fractions in [0, 1].
            codes: their estimation codes; a row with NaN has no code and takes no part in the fine loss.  ``None``: no codes.
            start: first schedule unit; must be the one at which the previous call stopped.
            stop: one past the last.
        """

    def work(self, stop: int) -> float:
        """Return which share of the whole training is done at schedule unit ``stop`` (about, for saying how far it is)."""
        return stop / self.epochs

    @abstractmethod
    def coarse(self, archs: Int64[Tensor, "runs archs"] | None = None) -> Float[Tensor, "runs archs"]:
        """Predict without codes, in evaluation mode; ``None`` asks about the whole space.  Higher is better.

        A fraction in [0, 1] for the accuracy predictors; for BRP-NAS a score whose order is the ranking.
        """

    def fine(
        self, archs: Int64[Tensor, "runs archs"], codes: Float[Tensor, "runs archs code"]
    ) -> Float[Tensor, "runs archs"]:
        """Predict with codes (estimation branch), in evaluation mode; NaN where a code is NaN."""
        raise NotImplementedError(f"{self.name} has no estimation branch (uses_code is False)")

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to go on: weights, running statistics, optimiser moments, the schedule unit reached."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up a saved state; training then goes on bit-equal to training without the break."""
