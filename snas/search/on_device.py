"""A predictor in torch as a search sees it: arrays go in and come out, whatever device it computes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas.predictors.predictor import Predictor


class OnDevice:
    """The methods of :class:`snas.predictors.native_predictor.NativePredictor`, by a predictor on ``device``."""

    def __init__(self, predictor: Predictor, device: str) -> None:
        self.predictor, self.device = predictor, torch.device(device)
        self.epochs = predictor.epochs

    @property
    def tell(self) -> Callable[[float], None] | None:
        """Who is told how far ``fit`` is."""
        return self.predictor.tell

    @tell.setter
    def tell(self, who: Callable[[float], None] | None) -> None:
        self.predictor.tell = who

    def work(self, stop: int) -> float:
        """Return which share of the whole training is done at schedule unit ``stop``."""
        return self.predictor.work(stop)

    def fit(
        self,
        pool: Int64[np.ndarray, "runs pool"],
        accuracy: Float[np.ndarray, "runs pool"],
        codes: Float[np.ndarray, "runs pool code"] | None,
        *,
        start: int,
        stop: int,
    ) -> None:
        """Train schedule units ``start`` .. ``stop`` - 1."""
        moved = None if codes is None else self._tensor(codes)
        self.predictor.fit(self._tensor(pool), self._tensor(accuracy), moved, start=start, stop=stop)

    def coarse(self, archs: Int64[np.ndarray, "runs archs"] | None = None) -> Float[np.ndarray, "runs archs"]:
        """Predict without codes; ``None`` asks about the whole space."""
        return _numpy(self.predictor.coarse(None if archs is None else self._tensor(archs)))

    def fine(
        self, archs: Int64[np.ndarray, "runs archs"], codes: Float[np.ndarray, "runs archs code"]
    ) -> Float[np.ndarray, "runs archs"]:
        """Predict with codes."""
        return _numpy(self.predictor.fine(self._tensor(archs), self._tensor(codes)))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on."""
        return {name: _numpy(part) for name, part in self.predictor.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a saved state."""
        self.predictor.load_state_dict({name: torch.from_numpy(part) for name, part in state.items()})

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _numpy(values: Tensor) -> Any:
    return values.detach().cpu().numpy()
