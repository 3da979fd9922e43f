"""The siamese predictor (section 3.2, figure 2): a basic branch and, through EFM, an estimation branch with one shared head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas.predictors.accuracy import AccuracyPredictor
from snas.predictors.kinds import SIAMESE, SIAMESE_NSAM
from snas.predictors.layers import Norms, efm, head, huber
from snas.predictors.native_predictor import check_shapes


class Siamese(AccuracyPredictor):
    """The basic branch gives the coarse accuracy; EFM of its node features and the code, the same head, the fine one.

    Options beside those of :class:`AccuracyPredictor`:
        shared_qv: one GC for EFM's q and v, as the authors' code has it (default: two, as figure 3).
    """

    kind = SIAMESE

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
        """Return Huber(coarse) + Huber(fine), unweighted, no gradient stopped; the fine mean is over rows with a code."""
        x = self._features(p, norms, adjacency, one_hot)
        fine = head(p, efm(p, norms, adjacency, x, code, has_code))
        loss = huber(fine - accuracy)
        fine_loss = (
            loss.mean(1) if has_code is None else (loss * has_code).sum(1) / has_code.sum(1).clamp(min=1)
        )
        return self._coarse_loss(p, x, accuracy) + fine_loss

    @torch.no_grad()
    def fine(
        self, archs: Int64[Tensor, "runs archs"], codes: Float[Tensor, "runs archs code"]
    ) -> Float[Tensor, "runs archs"]:
        """Predict accuracies with the estimation branch and running BN statistics; NaN where the code has a NaN."""
        if self.native is not None:
            return torch.from_numpy(self.native.fine(archs.cpu().numpy(), codes.cpu().numpy()))
        check_shapes(len(self.runs), archs, codes=codes)
        p, norms = self.leaves, Norms(self.kernels, self.running, training=False)

        def predict(adjacency: Tensor, one_hot: Tensor, code: Tensor) -> Tensor:
            return head(p, efm(p, norms, adjacency, self._features(p, norms, adjacency, one_hot), code))

        inputs = lambda ids: (self.graphs.adjacency[ids], self.graphs.one_hot(ids))
        return self._chunks(predict, archs, inputs, codes)


class SiameseNSAM(Siamese):
    """The siamese predictor with NSAM between the second and the third GC of the basic branch (figure 2b)."""

    kind = SIAMESE_NSAM
