"""Graph convolution, batch norm, mish and attention as functions over parameters with a leading run axis (SPEC section 4).

Axes: ``runs`` R, ``batch`` architectures of a step, ``nodes`` n of a graph, ``features`` 64 (or 128, 192: several graph
convolutions of the same input side by side, which is the same as one after another since everything is per feature).

A *graph convolution group* GC has two directions, A·X·W + b and Aᵀ·X·W' + b'.  Their weights stand side by side in one matrix
``[W | W']``.  The biases b and b' are left out: the batch norm that follows takes the batch mean away, so their gradient is exactly
zero and they would stay at their initial zero for ever (in floating point they would collect rounding noise instead).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from snas.predictors.parameters import Initial, Layout, glorot

EPSILON = 1e-4  # of every batch norm (SPEC section 1: "BN … eps 1e-4", and section 4: "BN (as above)")
FEATURES = 64


def mish(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return x·tanh(softplus(x)) with one exponential: with z = eˣ it is x·(z² + 2z)/(z² + 2z + 2)."""
    z = torch.exp(x.clamp(max=20.0))  # beyond 20 the quotient is 1 in single and double precision
    t = z * (z + 2)
    return x * (t / (t + 2))


def huber(error: Float[Tensor, "*any"], delta: float = 0.5) -> Float[Tensor, "*any"]:
    """Return the Huber loss of each error, quadratic within ±delta."""
    size = error.abs()
    return torch.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))


class Norms:
    """The batch norms of one forward pass.

    In training they use the statistics of the batch (all rows, or those of weight 1) and collect the running ones in ``updated``
    (``running + momentum·(batch − running)``, the variance unbiased, as torch does); in evaluation they use the running ones.
    """

    def __init__(self, running: Mapping[str, Tensor], *, training: bool, momentum: float) -> None:
        self.updated = dict(running)
        self.training = training
        self.momentum = momentum

    def __call__(
        self,
        name: str,
        parameters: Mapping[str, Tensor],
        x: Float[Tensor, "runs rows features"],
        weight: Float[Tensor, "runs rows 1"] | None = None,
    ) -> Float[Tensor, "runs rows features"]:
        """Return mish(BN(x)); ``weight`` 0 keeps a row out of the statistics."""
        scale, shift = parameters[f"{name}.scale"][:, None], parameters[f"{name}.shift"][:, None]
        if not self.training:
            mean, variance = self.updated[f"{name}.mean"][:, None], self.updated[f"{name}.variance"][:, None]
            slope = scale * torch.rsqrt(variance + EPSILON)
            return mish(x * slope + (shift - mean * slope))
        if weight is None:
            count = x.new_full((1, 1, 1), x.shape[1])
            mean = x.sum(1, keepdim=True) / count
            centred = x - mean
            squares = (centred * centred).sum(1, keepdim=True)
        else:
            count = weight.sum(1, keepdim=True)
            mean = (x * weight).sum(1, keepdim=True) / count.clamp(min=1)
            centred = x - mean
            squares = (centred * centred * weight).sum(1, keepdim=True)
        variance = squares / count.clamp(min=1)
        self._update(name, mean.detach(), squares.detach() / (count - 1).clamp(min=1), (count > 0).to(x.dtype))
        return mish(centred * (scale * torch.rsqrt(variance + EPSILON)) + shift)

    def _update(self, name: str, mean: Tensor, variance: Tensor, seen: Tensor) -> None:
        """Move the running statistics of ``name`` towards the batch's; a batch without a row moves nothing."""
        step = self.momentum * seen[:, 0]
        for key, batch in (("mean", mean), ("variance", variance)):
            running = self.updated[f"{name}.{key}"]
            self.updated[f"{name}.{key}"] = running + step * (batch[:, 0] - running)


def norm_layout(name: str, features: int) -> dict[str, Initial]:
    """Return scale 1 and shift 0 of a batch norm."""
    return {f"{name}.scale": Initial((features,), value=1.0), f"{name}.shift": Initial((features,))}


def statistics_layout(parameters: Layout) -> dict[str, Initial]:
    """Return the running statistics (mean 0, variance 1) that belong to the batch norms of a parameter layout."""
    out: dict[str, Initial] = {}
    for key, entry in parameters.items():
        name, _, what = key.rpartition(".")
        if what == "scale":
            out[f"{name}.mean"] = Initial(entry.shape)
            out[f"{name}.variance"] = Initial(entry.shape, value=1.0)
    return out


def graph_convolution_layout(name: str, inputs: int, groups: int = 1) -> dict[str, Initial]:
    """Return the parameters of ``groups`` GC(64) side by side: columns ``[W | W']``, each ``groups``·64 wide."""
    width = groups * FEATURES
    return {
        f"{name}.weight": glorot((inputs, 2 * width), inputs, FEATURES),
        **norm_layout(f"{name}.out", width),
        **norm_layout(f"{name}.in", width),
    }


def product(
    x: Float[Tensor, "runs *rows inputs"], weight: Float[Tensor, "runs inputs outputs"]
) -> Float[Tensor, "runs *rows outputs"]:
    """Return x·W of every run: one batched product whatever stands between runs and features."""
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    return torch.bmm(rows, weight).view(*x.shape[:-1], weight.shape[-1])


def convolve(
    name: str,
    parameters: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    products: Float[Tensor, "runs batch nodes both"],
    weight: Float[Tensor, "runs rows 1"] | None = None,
) -> Float[Tensor, "runs batch nodes features"]:
    """Return the GC whose products X·[W | W'] are given: the mean of mish(BN(A·X·W)) and mish(BN(Aᵀ·X·W'))."""
    runs, batch, nodes, both = products.shape
    width = both // 2
    out, into = adjacency @ products[..., :width], adjacency.transpose(2, 3) @ products[..., width:]
    a = norms(f"{name}.out", parameters, out.reshape(runs, batch * nodes, width), weight)
    b = norms(f"{name}.in", parameters, into.reshape(runs, batch * nodes, width), weight)
    return ((a + b) * 0.5).view(runs, batch, nodes, width)


def graph_convolution(
    name: str,
    parameters: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    x: Float[Tensor, "runs batch nodes inputs"],
    weight: Float[Tensor, "runs rows 1"] | None = None,
) -> Float[Tensor, "runs batch nodes features"]:
    """Return GC(x) (paper section 6.1; A has the identity and is not normalised)."""
    return convolve(name, parameters, norms, adjacency, product(x, parameters[f"{name}.weight"]), weight)


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


def nsam_layout() -> dict[str, Initial]:
    """Return the parameters of NSAM: GC(64) for q, k and v side by side, and the closing GC(64)."""
    return graph_convolution_layout("nsam.qkv", FEATURES, 3) | graph_convolution_layout("nsam.close", FEATURES)


def nsam(
    parameters: Mapping[str, Tensor],
    norms: Norms,
    adjacency: Float[Tensor, "runs batch nodes nodes"],
    x: Float[Tensor, "runs batch nodes features"],
) -> Float[Tensor, "runs batch nodes features"]:
    """Return the Nodes self-Attention Module of x (section 3.2.2, figure 3b), the closing GC included."""
    q, k, v = graph_convolution("nsam.qkv", parameters, norms, adjacency, x).split(FEATURES, -1)
    return graph_convolution("nsam.close", parameters, norms, adjacency, attend(x, q, k, v, adjacency))


def efm_layout(nodes: int, *, shared_qv: bool) -> dict[str, Initial]:
    """Return the parameters of EFM: linear 3 → n·64 with BN for the code, GC(64) for q, v (one where shared), k and the close."""
    return {
        "efm.code.weight": glorot((3, nodes * FEATURES), 3, nodes * FEATURES),
        "efm.code.bias": Initial((nodes * FEATURES,)),
        **norm_layout("efm.code", FEATURES),
        **graph_convolution_layout("efm.qv", FEATURES, 1 if shared_qv else 2),
        **graph_convolution_layout("efm.k", FEATURES),
        **graph_convolution_layout("efm.close", FEATURES),
    }


def efm(
    parameters: Mapping[str, Tensor],
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
    lifted = product(code, parameters["efm.code.weight"]) + parameters["efm.code.bias"][:, None]
    lifted = norms("efm.code", parameters, lifted.view(runs, batch * nodes, FEATURES), weight)
    k = graph_convolution("efm.k", parameters, norms, adjacency, lifted.view(runs, batch, nodes, FEATURES), weight)
    qv = graph_convolution("efm.qv", parameters, norms, adjacency, x, weight)
    fused = attend(x, qv[..., :FEATURES], k, qv[..., -FEATURES:], adjacency)  # a shared layer is both q and v
    return graph_convolution("efm.close", parameters, norms, adjacency, fused, weight)


def head_layout(nodes: int) -> dict[str, Initial]:
    """Return the linear layer over nodes that both branches share."""
    return {"head.weight": glorot((nodes, 1), nodes, 1), "head.bias": Initial((1,))}


def head(
    parameters: Mapping[str, Tensor], x: Float[Tensor, "runs batch nodes features"]
) -> Float[Tensor, "runs batch"]:
    """Return sigmoid(linear(mean over features)): an accuracy per architecture."""
    return torch.sigmoid(product(x.mean(-1), parameters["head.weight"])[..., 0] + parameters["head.bias"])
