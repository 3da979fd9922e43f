"""Graph convolution, batch norm, mish and attention as functions over parameters with a leading run axis.

Axes: ``runs`` R, ``batch`` architectures of a step, ``nodes`` n of a graph, ``features`` 64 (or 128, 192: several graph
convolutions of the same input side by side, which is the same as one after another since everything is per feature).

A *graph convolution group* GC has two directions, ``out`` A·X·W + b and ``in`` Aᵀ·X·W' + b'.  The biases b and b' are left out: the batch norm that follows takes the batch mean away, so their gradient is exactly
zero and they would stay at their initial zero for ever (in floating point they would collect rounding noise instead).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from snas.predictors.fused import EPSILON, GraphConvolution, Kernels, NormMish, mish
from snas.predictors.kinds import FEATURES


def huber(error: Float[Tensor, "*any"], delta: float = 0.5) -> Float[Tensor, "*any"]:
    """Return the Huber loss of each error, quadratic within ±delta."""
    size = error.abs()
    return torch.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))


class Norms:
    """The batch norms of one forward pass, each followed by mish.

    In training they use the statistics of the batch (all rows, or those of weight 1) and collect them in ``batch``, with the variance
    unbiased as in torch, for who moves the running ones; in evaluation they use these.
    """

    def __init__(self, kernels: Kernels, running: Mapping[str, Tensor], *, training: bool) -> None:
        self.kernels = kernels
        self.running = running
        self.training = training
        self.batch: dict[str, Tensor] = {}
        self.ones: dict[tuple[int, int], Tensor] = {}

    def weight(self, x: Float[Tensor, "runs rows features"]) -> Float[Tensor, "runs rows 1"]:
        """Return weight 1 for every row."""
        key = (x.shape[0], x.shape[1])
        if key not in self.ones:
            self.ones[key] = x.new_ones(*key, 1)
        return self.ones[key]

    def note(self, name: str, mean: Tensor, variance: Tensor, weight: Tensor | None) -> None:
        """Note the batch's statistics; a batch without a row notes the running ones, so that nothing moves."""
        for key, value in ((f"{name}.mean", mean), (f"{name}.variance", variance)):
            self.batch[key] = (
                value if weight is None else torch.where(weight.sum(1) > 0, value, self.running[key])
            )

    def affine(
        self, name: str, p: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "runs features"], Float[Tensor, "runs features"]]:
        """Return slope and shift of a batch norm in evaluation."""
        slope = p[f"{name}.scale"] * torch.rsqrt(self.running[f"{name}.variance"] + EPSILON)
        return slope, p[f"{name}.shift"] - self.running[f"{name}.mean"] * slope

    def __call__(
        self,
        name: str,
        p: Mapping[str, Tensor],
        x: Float[Tensor, "runs rows features"],
        weight: Float[Tensor, "runs rows 1"] | None = None,
    ) -> Float[Tensor, "runs rows features"]:
        """Return mish(BN(x)); ``weight`` 0 keeps a row out of the statistics."""
        if not self.training:
            slope, shift = self.affine(name, p)
            return mish(x * slope[:, None] + shift[:, None])
        used = self.weight(x) if weight is None else weight
        y, mean, variance = NormMish.apply(self.kernels, x, p[f"{name}.scale"], p[f"{name}.shift"], used)
        self.note(name, mean, variance, weight)
        return y


def product(
    x: Float[Tensor, "runs *rows inputs"], weight: Float[Tensor, "runs inputs outputs"]
) -> Float[Tensor, "runs *rows outputs"]:
    """Return x·W of every run: one batched product whatever stands between runs and features."""
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    return torch.bmm(rows, weight).view(*x.shape[:-1], weight.shape[-1])


def graph_convolution(
    name: str,
    p: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    x: Float[Tensor, "runs batch nodes inputs"],
    weight: Float[Tensor, "runs rows 1"] | None = None,
) -> Float[Tensor, "runs batch nodes features"]:
    """Return GC(x) (paper section 6.1; A has the identity and is not normalised)."""
    if not norms.training:
        products = product(x, p[f"{name}.out.weight"]), product(x, p[f"{name}.in.weight"])
        return evaluate_products(name, p, norms, adjacency, *products)
    runs, batch, nodes, _ = x.shape
    rows = x.reshape(runs, batch * nodes, -1)
    y, mean_out, variance_out, mean_in, variance_in = GraphConvolution.apply(
        norms.kernels,
        adjacency.reshape(runs * batch, nodes, nodes),
        rows,
        norms.weight(rows) if weight is None else weight,
        *(
            p[f"{name}.{direction}.{what}"]
            for direction in ("out", "in")
            for what in ("weight", "scale", "shift")
        ),
    )
    norms.note(f"{name}.out", mean_out, variance_out, weight)
    norms.note(f"{name}.in", mean_in, variance_in, weight)
    return y.view(runs, batch, nodes, -1)


def evaluate_products(
    name: str,
    p: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    out: Float[Tensor, "runs batch nodes features"],
    into: Float[Tensor, "runs batch nodes features"],
) -> Float[Tensor, "runs batch nodes features"]:
    """Return the GC of evaluation whose products X·W and X·W' are given."""
    runs, batch, nodes, width = out.shape
    graphs, per_graph = adjacency.reshape(-1, nodes, nodes), (runs * batch, nodes, width)
    a = torch.bmm(graphs, out.reshape(per_graph)).view(runs, batch * nodes, width)
    b = torch.bmm(graphs.transpose(1, 2), into.reshape(per_graph)).view(runs, batch * nodes, width)
    affine = *norms.affine(f"{name}.out", p), *norms.affine(f"{name}.in", p)
    return norms.kernels.pair_evaluate(a, b, *affine).view(runs, batch, nodes, width)


def attend(
    x: Float[Tensor, "runs batch nodes features"],
    q: Float[Tensor, "runs batch nodes features"],
    k: Float[Tensor, "runs batch nodes features"],
    v: Float[Tensor, "runs batch nodes features"],
    adjacency: Float[Tensor, "runs batch nodes nodes"],
) -> Float[Tensor, "runs batch nodes features"]:
    """Return X + softmax(S∘A)·v + softmax(S∘Aᵀ)·v with S = q·kᵀ (figure 3).

    S is not scaled, and the non-edges stand at 0 in the softmax, not at −∞.
    """
    scores = q @ k.transpose(2, 3)
    out, into = torch.softmax(scores * adjacency, -1), torch.softmax(scores * adjacency.transpose(2, 3), -1)
    return x + (out + into) @ v


def nsam(
    p: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    x: Float[Tensor, "runs batch nodes features"],
) -> Float[Tensor, "runs batch nodes features"]:
    """Return the Nodes self-Attention Module of x (section 3.2.2, figure 3b), the closing GC included."""
    q, k, v = graph_convolution("nsam.qkv", p, norms, adjacency, x).split(FEATURES, -1)
    return graph_convolution("nsam.close", p, norms, adjacency, attend(x, q, k, v, adjacency))


def efm(
    p: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    x: Float[Tensor, "runs batch nodes features"],
    code: Float[Tensor, "runs batch code"],
    has_code: Float[Tensor, "runs batch"] | None = None,
) -> Float[Tensor, "runs batch nodes features"]:
    """Return the Estimation Fusion Module of node features and raw codes (section 3.2.1, figure 3a).

    Rows whose ``has_code`` is 0 stay out of every batch statistic of the module.
    """
    runs, batch, nodes, _ = x.shape
    weight = None
    if has_code is not None:
        weight = has_code[:, :, None].expand(runs, batch, nodes).reshape(runs, batch * nodes, 1)
    lifted = product(code, p["efm.code.weight"]) + p["efm.code.bias"][:, None]
    lifted = norms("efm.code", p, lifted.view(runs, batch * nodes, FEATURES), weight)
    k = graph_convolution("efm.k", p, norms, adjacency, lifted.view(runs, batch, nodes, FEATURES), weight)
    qv = graph_convolution("efm.qv", p, norms, adjacency, x, weight)
    fused = attend(x, qv[..., :FEATURES], k, qv[..., -FEATURES:], adjacency)  # a shared layer is both q and v
    return graph_convolution("efm.close", p, norms, adjacency, fused, weight)


def head(
    p: Mapping[str, Tensor], x: Float[Tensor, "runs batch nodes features"]
) -> Float[Tensor, "runs batch"]:
    """Return sigmoid(linear(mean over features)): an accuracy per architecture."""
    return torch.sigmoid(product(x.mean(-1), p["head.weight"])[..., 0] + p["head.bias"])
