"""Batch norm + mish in one pass, forward and backward, and the graph convolution of training on top of it.

Elementwise work, not matrix products, is what a small predictor costs in eager mode.  Here the forward pass keeps only the input and
its statistics, and a hand-written backward pass recomputes the rest, so that each direction is one kernel when compiled.  The kernels
take any shape (``dynamic=True``), so that a handful of small graphs serves every predictor, space, budget and block size: the first
process compiles them in some seconds, later ones find them in Inductor's cache on disk.  They are compiled for a GPU; on a CPU
:mod:`snas.predictors.native` is several times quicker still.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snas.predictors.compiling import Compiled

EPSILON = 1e-4  # of every batch norm, as in the networks

Rows = Float[Tensor, "runs rows features"]
PerFeature = Float[Tensor, "runs features"]
Weight = Float[Tensor, "runs rows 1"]


def mish(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return x·tanh(softplus(x)) with one exponential: with z = eˣ it is x·(z² + 2z)/(z² + 2z + 2)."""
    z = torch.exp(x.clamp(max=20.0))  # beyond 20 the quotient is 1 in single and nearly 1 in double precision
    t = z * (z + 2)
    return x * (t / (t + 2))


def mish_slope(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the derivative of :func:`mish`: with t as there, t/(t + 2) + x·4z(z + 1)/(t + 2)²."""
    z = torch.exp(x.clamp(max=20.0))
    t = z * (z + 2)
    below = 1 / (t + 2)
    return t * below + x * (4 * z * (z + 1)) * below * below


def norm_mish(
    x: Rows, scale: PerFeature, shift: PerFeature, weight: Weight
) -> tuple[Rows, PerFeature, PerFeature, PerFeature]:
    """Return mish(BN(x)) with batch statistics over the rows of weight 1, their mean, 1/deviation and unbiased variance."""
    count = weight.sum(1)
    mean = (x * weight).sum(1) / count.clamp(min=1)
    centred = x - mean[:, None]
    squares = (centred * centred * weight).sum(1)
    inverse = torch.rsqrt(squares / count.clamp(min=1) + EPSILON)
    y = mish(centred * (scale * inverse)[:, None] + shift[:, None])
    return y, mean, inverse, squares / (count - 1).clamp(min=1)


def norm_mish_backward(
    gradient: Rows,
    x: Rows,
    scale: PerFeature,
    shift: PerFeature,
    weight: Weight,
    mean: PerFeature,
    inverse: PerFeature,
) -> tuple[Rows, PerFeature, PerFeature]:
    """Return the gradients of x, scale and shift; everything but the statistics is recomputed from x."""
    normal = (x - mean[:, None]) * inverse[:, None]
    g = gradient * mish_slope(normal * scale[:, None] + shift[:, None])
    d_shift, d_scale = g.sum(1), (g * normal).sum(1)
    count = weight.sum(1).clamp(min=1)
    through_statistics = (d_shift / count)[:, None] + normal * (d_scale / count)[:, None]
    return (scale * inverse)[:, None] * (g - weight * through_statistics), d_scale, d_shift


def pair(
    out: Rows,
    into: Rows,
    scale_out: PerFeature,
    shift_out: PerFeature,
    scale_in: PerFeature,
    shift_in: PerFeature,
    weight: Weight,
) -> tuple[Tensor, ...]:
    """Return the mean of both directions' mish(BN), then mean, 1/deviation and unbiased variance of each direction."""
    a, *of_out = norm_mish(out, scale_out, shift_out, weight)
    b, *of_into = norm_mish(into, scale_in, shift_in, weight)
    return (a + b) * 0.5, *of_out, *of_into


def pair_backward(gradient: Rows, weight: Weight, *saved: Tensor) -> tuple[Tensor, ...]:
    """Return the x, scale and shift gradients of each direction.

    ``saved``: x, scale, shift, mean and 1/deviation of the one direction, then of the other.
    """
    x_out, scale_out, shift_out, mean_out, inverse_out, x_in, scale_in, shift_in, mean_in, inverse_in = saved
    half = gradient * 0.5
    return (
        *norm_mish_backward(half, x_out, scale_out, shift_out, weight, mean_out, inverse_out),
        *norm_mish_backward(half, x_in, scale_in, shift_in, weight, mean_in, inverse_in),
    )


def pair_evaluate(
    out: Rows,
    into: Rows,
    slope_out: PerFeature,
    shift_out: PerFeature,
    slope_in: PerFeature,
    shift_in: PerFeature,
) -> Rows:
    """Return the mean of mish(x·slope + shift) of both directions: batch norm with known statistics."""
    a = mish(out * slope_out[:, None] + shift_out[:, None])
    return (a + mish(into * slope_in[:, None] + shift_in[:, None])) * 0.5


class Kernels:
    """The fused passes, compiled or plain."""

    def __init__(self, device: torch.device, *, compile: bool) -> None:
        wrap = lambda function: Compiled(function, device, enabled=compile)
        self.norm_mish, self.norm_mish_backward = wrap(norm_mish), wrap(norm_mish_backward)
        self.pair, self.pair_backward = wrap(pair), wrap(pair_backward)
        self.pair_evaluate = wrap(pair_evaluate)


class NormMish(torch.autograd.Function):
    """mish(BN(x)) of training; also returns the batch's mean and unbiased variance."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor) -> Any:
        """Return y, mean, unbiased variance."""
        y, mean, inverse, variance = kernels.norm_mish(x, scale, shift, weight)
        ctx.kernels = kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, scale, shift, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Any:
        """Return the gradients of x, scale and shift."""
        dx, d_scale, d_shift = ctx.kernels.norm_mish_backward(gradient.contiguous(), *ctx.saved_tensors)
        return None, dx, d_scale, d_shift, None


class GraphConvolution(torch.autograd.Function):
    """A group GC of training: mean of mish(BN(A·X·W)) and mish(BN(Aᵀ·X·W')); A·X first, then the products with W."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        adjacency: Float[Tensor, "graphs nodes nodes"],
        x: Float[Tensor, "runs rows inputs"],
        weight: Weight,
        w_out: Tensor,
        scale_out: Tensor,
        shift_out: Tensor,
        w_in: Tensor,
        scale_in: Tensor,
        shift_in: Tensor,
    ) -> Any:
        """Return y and, per direction, the batch's mean and unbiased variance."""
        per_graph = x.view(adjacency.shape[0], adjacency.shape[1], x.shape[-1])
        ax = torch.bmm(adjacency, per_graph).view(x.shape)
        atx = torch.bmm(adjacency.transpose(1, 2), per_graph).view(x.shape)
        out, into = torch.bmm(ax, w_out), torch.bmm(atx, w_in)
        y, mean_o, inverse_o, variance_o, mean_i, inverse_i, variance_i = kernels.pair(
            out, into, scale_out, shift_out, scale_in, shift_in, weight
        )
        ctx.kernels = kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            adjacency, weight, ax, w_out, out, scale_out, shift_out, mean_o, inverse_o,
            atx, w_in, into, scale_in, shift_in, mean_i, inverse_i,
        )  # fmt: skip
        ctx.mark_non_differentiable(mean_o, variance_o, mean_i, variance_i)
        return y, mean_o, variance_o, mean_i, variance_i

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Any:
        """Return the gradients of x and of each direction's weight, scale and shift."""
        adjacency, weight, *saved = ctx.saved_tensors
        (ax, w_out, *of_out), (atx, w_in, *of_in) = saved[:7], saved[7:]
        d_out, d_scale_o, d_shift_o, d_into, d_scale_i, d_shift_i = ctx.kernels.pair_backward(
            gradient.contiguous(), weight, *of_out, *of_in
        )
        dx = None
        if ctx.needs_input_grad[2]:  # not for the one-hot input of the first
            graphs = (adjacency.shape[0], adjacency.shape[1], ax.shape[-1])
            d_ax = torch.bmm(d_out, w_out.transpose(1, 2)).view(graphs)
            d_atx = torch.bmm(d_into, w_in.transpose(1, 2)).view(graphs)
            dx = torch.bmm(adjacency.transpose(1, 2), d_ax).baddbmm_(adjacency, d_atx).view(ax.shape)
        dw_out, dw_in = torch.bmm(ax.transpose(1, 2), d_out), torch.bmm(atx.transpose(1, 2), d_into)
        return None, None, dx, None, dw_out, d_scale_o, d_shift_o, dw_in, d_scale_i, d_shift_i
