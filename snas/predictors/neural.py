"""The neural predictor (baseline; Wen et al. 2020 with batch norm and mish): the basic branch alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from snas.predictors.accuracy import AccuracyPredictor
from snas.predictors.layers import Norms


class NeuralPredictor(AccuracyPredictor):
    """GC(64) → GC(64) → GC(64) → mean over features → linear over nodes → sigmoid; option ``nsam=True`` adds NSAM."""

    name: ClassVar[str] = "neural_predictor"
    uses_code: ClassVar[bool] = False

    def _loss(
        self,
        p: Mapping[str, Tensor],
        norms: Norms,
        adjacency: Float[Tensor, "runs batch nodes nodes"],
        one_hot: Float[Tensor, "runs batch nodes vocabulary"],
        accuracy: Float[Tensor, "runs batch"],
        code: Float[Tensor, "runs batch code"],
        has_code: Float[Tensor, "runs batch"] | None,
    ) -> Float[Tensor, " runs"]:
        """Return the Huber loss of the accuracy; codes play no part."""
        return self._coarse_loss(p, self._features(p, norms, adjacency, one_hot), accuracy)


class NeuralNSAM(NeuralPredictor):
    """The basic branch with NSAM: what the siamese predictor with NSAM is without its estimation branch (ablation)."""

    name: ClassVar[str] = "neural_predictor+nsam"
    defaults: ClassVar[Mapping[str, Any]] = {**NeuralPredictor.defaults, "nsam": True}
