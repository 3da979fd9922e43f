"""The neural predictor (baseline; Wen et al. 2020 with batch norm and mish): the basic branch alone."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from snas.predictors.accuracy import AccuracyPredictor
from snas.predictors.kinds import NEURAL, NEURAL_NSAM
from snas.predictors.layers import Norms


class NeuralPredictor(AccuracyPredictor):
    """GC(64) → GC(64) → GC(64) → mean over features → linear over nodes → sigmoid; option ``nsam=True`` adds NSAM."""

    kind = NEURAL

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

    kind = NEURAL_NSAM
