"""The fused operations of a population, in tensors of (rows, height, width, batch): a row is a channel of one network.

Depthwise convolution, batch norm, mish and gates act on each row by itself, so rows of networks of any width stand side
by side in one call.  Three implementations of one interface, equal within float tolerance:

* :class:`TorchKernels` - plain torch, eager.  The definition, and the fall-back.
* :class:`TorchKernels` with ``compile`` - the same through ``torch.compile`` (Inductor; Triton on a GPU).
* :class:`NativeKernels` - ``native.cpp`` on a CPU: each row once through the cache.

Gradients are written out by hand.  What a backward pass needs again is computed again (convolution, normalised values,
mish) where that is cheaper than a trip to memory: only inputs and row statistics are kept.
"""

from __future__ import annotations

import ctypes
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from snas.networks import native

LOG = logging.getLogger(__name__)
BN_EPS = 1e-4

Rows = Float[Tensor, "rows height width batch"]
PerRow = Float[Tensor, " rows"]


class Kernels(ABC):
    """The operations; ``mean`` and ``variance`` are written when ``training``, and read otherwise.

    Arguments named ``g_...`` that are passed in are written, activations and their gradients are returned.
    """

    name: str

    @abstractmethod
    def depthwise(
        self,
        x: Rows,
        weight: Float[Tensor, "rows 9"],
        gamma: PerRow,
        beta: PerRow,
        mean: PerRow,
        variance: PerRow,
        *,
        training: bool,
        skip: bool,
    ) -> Rows:
        """Return mish(BN(depthwise 3×3 of x)), plus x where ``skip``."""

    @abstractmethod
    def depthwise_backward(
        self,
        go: Rows,
        x: Rows,
        weight: Float[Tensor, "rows 9"],
        gamma: PerRow,
        beta: PerRow,
        mean: PerRow,
        variance: PerRow,
        g_weight: Float[Tensor, "rows 9"],
        g_gamma: PerRow,
        g_beta: PerRow,
        *,
        skip: bool,
    ) -> Rows:
        """Return the gradient by x of a training pass."""

    @abstractmethod
    def norm(
        self,
        y: Rows,
        gamma: PerRow,
        beta: PerRow,
        mean: PerRow,
        variance: PerRow,
        *,
        training: bool,
        mish: bool,
    ) -> Rows:
        """Return BN(y), or mish of it."""

    @abstractmethod
    def norm_backward(
        self,
        go: Rows,
        y: Rows,
        gamma: PerRow,
        beta: PerRow,
        mean: PerRow,
        variance: PerRow,
        g_gamma: PerRow,
        g_beta: PerRow,
        *,
        mish: bool,
    ) -> Rows:
        """Return the gradient by y of a training pass."""

    @abstractmethod
    def attend(self, a: Float[Tensor, "networks qkv batch"]) -> Float[Tensor, "networks hidden batch"]:
        """Return softmax(q kᵀ) v per image; ``a`` holds q, k and v before their mish, one below the other."""

    @abstractmethod
    def attend_backward(
        self, go: Float[Tensor, "networks hidden batch"], a: Float[Tensor, "networks qkv batch"]
    ) -> Float[Tensor, "networks qkv batch"]:
        """Return the gradient by ``a``."""

    @abstractmethod
    def gate(self, x: Rows, gate: Float[Tensor, "rows batch"]) -> Rows:
        """Return x times one gate per row and image."""

    @abstractmethod
    def gate_slope(self, go: Rows, x: Rows) -> Float[Tensor, "rows batch"]:
        """Return the gradient by the gate: the sum of go·x over the pixels."""

    @abstractmethod
    def gate_backward(
        self, go: Rows, gate: Float[Tensor, "rows batch"], g_pooled: Float[Tensor, "rows batch"]
    ) -> Rows:
        """Return the gradient by x, through the product and through the average pool that the gate was made of."""


def choose(device: torch.device, compile: bool) -> Kernels:
    """Return the fastest kernels that work here; says in one line where compiled ones were asked for in vain."""
    if not compile:
        return TorchKernels()
    if device.type != "cpu":
        return TorchKernels(compile=True)
    library = native.load()
    if library is not None:
        return NativeKernels(library)
    LOG.warning("no working C++ compiler was found: networks are trained by plain torch, several times slower")
    return TorchKernels()


# --- plain torch -----------------------------------------------------------------------------------------------------


def _column(values: PerRow) -> Float[Tensor, "rows 1 1 1"]:
    return values[:, None, None, None]


def _window(x: Rows) -> list[Rows]:
    """Return the nine neighbours of every pixel, zero outside, in the order of a 3×3 kernel's weights."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _convolve(x: Rows, weight: Float[Tensor, "rows 9"]) -> Rows:
    if not torch.compiler.is_compiling():  # one library call; inside a fused kernel nine shifted products are faster
        images = x.permute(3, 0, 1, 2)
        return F.conv2d(images, weight.view(-1, 1, 3, 3), padding=1, groups=len(x)).permute(1, 2, 3, 0)
    total = torch.zeros_like(x)
    for tap, neighbour in enumerate(_window(x)):
        total = total + weight[:, tap, None, None, None] * neighbour
    return total


def _mish_slope(z: Tensor) -> Tensor:
    """Derivative of mish: with e = eᶻ, n = e(e + 2), mish = z·n/(n + 2)."""
    e = torch.exp(z.clamp(-80.0, 20.0))
    n = e * (e + 2)
    d = n + 2
    return n / d + z * (4 * e * (e + 1)) / (d * d)


def _mish(z: Tensor) -> Tensor:
    e = torch.exp(z.clamp(-80.0, 20.0))
    n = e * (e + 2)
    return z * (n / (n + 2))


def _moments(y: Rows) -> tuple[PerRow, PerRow]:
    mean = y.mean(dim=(1, 2, 3))
    return mean, (y - _column(mean)).square().mean(dim=(1, 2, 3))


def _affine(y: Rows, gamma: PerRow, beta: PerRow, mean: PerRow, variance: PerRow) -> Rows:
    scale = gamma * torch.rsqrt(variance + BN_EPS)
    return y * _column(scale) + _column(beta - mean * scale)


def norm_train(y: Rows, gamma: PerRow, beta: PerRow, mish: bool) -> tuple[Rows, PerRow, PerRow]:
    """Return BN(y) or its mish, with the mean and the biased variance of each row."""
    mean, variance = _moments(y)
    return norm_eval(y, gamma, beta, mean, variance, mish), mean, variance


def norm_eval(y: Rows, gamma: PerRow, beta: PerRow, mean: PerRow, variance: PerRow, mish: bool) -> Rows:
    """Return BN(y) or its mish by the given statistics."""
    z = _affine(y, gamma, beta, mean, variance)
    return _mish(z) if mish else z


def norm_grad(
    go: Rows, y: Rows, gamma: PerRow, beta: PerRow, mean: PerRow, variance: PerRow, mish: bool
) -> tuple[Rows, PerRow, PerRow]:
    """Return the gradients by y, gamma and beta."""
    rstd = torch.rsqrt(variance + BN_EPS)
    normal = (y - _column(mean)) * _column(rstd)
    gz = go * _mish_slope(_column(gamma) * normal + _column(beta)) if mish else go
    g_beta, g_gamma = gz.sum(dim=(1, 2, 3)), (gz * normal).sum(dim=(1, 2, 3))
    size = y[0].numel()
    gy = _column(rstd * gamma) * (gz - _column(g_beta / size) - normal * _column(g_gamma / size))
    return gy, g_gamma, g_beta


def depthwise_train(
    x: Rows, weight: Float[Tensor, "rows 9"], gamma: PerRow, beta: PerRow, skip: bool
) -> tuple[Rows, PerRow, PerRow]:
    """Return mish(BN(depthwise x)) (+ x), with the mean and the biased variance of each row."""
    out, mean, variance = norm_train(_convolve(x, weight), gamma, beta, True)
    return (out + x if skip else out), mean, variance


def depthwise_eval(
    x: Rows,
    weight: Float[Tensor, "rows 9"],
    gamma: PerRow,
    beta: PerRow,
    mean: PerRow,
    variance: PerRow,
    skip: bool,
) -> Rows:
    """Return mish(BN(depthwise x)) (+ x) by the given statistics."""
    out = norm_eval(_convolve(x, weight), gamma, beta, mean, variance, True)
    return out + x if skip else out


def depthwise_grad(
    go: Rows,
    x: Rows,
    weight: Float[Tensor, "rows 9"],
    gamma: PerRow,
    beta: PerRow,
    mean: PerRow,
    variance: PerRow,
    skip: bool,
) -> tuple[Rows, Float[Tensor, "rows 9"], PerRow, PerRow]:
    """Return the gradients by x, weight, gamma and beta."""
    gy, g_gamma, g_beta = norm_grad(go, _convolve(x, weight), gamma, beta, mean, variance, True)
    gx = _convolve(gy, weight.flip(1))
    g_weight = torch.stack([(neighbour * gy).sum(dim=(1, 2, 3)) for neighbour in _window(x)], dim=1)
    return (gx + go if skip else gx), g_weight, g_gamma, g_beta


def attend(a: Float[Tensor, "networks qkv batch"]) -> Float[Tensor, "networks hidden batch"]:
    """Return softmax(q kᵀ) v of q, k, v = mish(a)."""
    q, k, v = _mish(a).chunk(3, dim=1)
    weights = torch.softmax(q[:, :, None] * k[:, None], dim=2)
    return (weights * v[:, None]).sum(dim=2)


def attend_grad(
    go: Float[Tensor, "networks hidden batch"], a: Float[Tensor, "networks qkv batch"]
) -> Float[Tensor, "networks qkv batch"]:
    """Return the gradient of :func:`attend` by ``a``."""
    q, k, v = _mish(a).chunk(3, dim=1)
    weights = torch.softmax(q[:, :, None] * k[:, None], dim=2)
    mean = (weights * v[:, None]).sum(dim=2, keepdim=True)
    g_scores = weights * go[:, :, None] * (v[:, None] - mean)
    gq, gk = (g_scores * k[:, None]).sum(dim=2), (g_scores * q[:, :, None]).sum(dim=1)
    gv = (weights * go[:, :, None]).sum(dim=1)
    return torch.cat([gq, gk, gv], dim=1) * _mish_slope(a)


def gate(x: Rows, gate: Float[Tensor, "rows batch"]) -> Rows:
    """Return x times its row's and image's gate."""
    return x * gate[:, None, None]


def gate_slope(go: Rows, x: Rows) -> Float[Tensor, "rows batch"]:
    """Return the gradient of :func:`gate` by the gate."""
    return (go * x).sum(dim=(1, 2))


def gate_grad(
    go: Rows, gate: Float[Tensor, "rows batch"], g_pooled: Float[Tensor, "rows batch"]
) -> Rows:
    """Return the gradient by x of ``gate(x, f(average pool of x))``."""
    pixels = go.shape[1] * go.shape[2]
    return go * gate[:, None, None] + (g_pooled / pixels)[:, None, None]


class TorchKernels(Kernels):
    """Plain torch, on any device; with ``compile`` through Inductor, once for all shapes."""

    def __init__(self, compile: bool = False) -> None:
        self.name = "compiled torch" if compile else "eager torch"

        def made(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=True) if compile else function

        self._depthwise_train, self._depthwise_eval = made(depthwise_train), made(depthwise_eval)
        self._depthwise_grad = made(depthwise_grad)
        self._norm_train, self._norm_eval, self._norm_grad = made(norm_train), made(norm_eval), made(norm_grad)
        self._attend, self._attend_grad = made(attend), made(attend_grad)
        self._gate, self._gate_slope, self._gate_grad = made(gate), made(gate_slope), made(gate_grad)

    def depthwise(self, x, weight, gamma, beta, mean, variance, *, training, skip):  # type: ignore[no-untyped-def]  # noqa: D102
        if not training:
            return self._depthwise_eval(x, weight, gamma, beta, mean, variance, skip).contiguous()
        out, batch_mean, batch_variance = self._depthwise_train(x, weight, gamma, beta, skip)
        mean.copy_(batch_mean)
        variance.copy_(batch_variance)
        return out.contiguous()

    def depthwise_backward(  # type: ignore[no-untyped-def]  # noqa: D102
        self, go, x, weight, gamma, beta, mean, variance, g_weight, g_gamma, g_beta, *, skip
    ):
        gx, *gradients = self._depthwise_grad(go, x, weight, gamma, beta, mean, variance, skip)
        for target, value in zip((g_weight, g_gamma, g_beta), gradients, strict=True):
            target.copy_(value)
        return gx.contiguous()

    def norm(self, y, gamma, beta, mean, variance, *, training, mish):  # type: ignore[no-untyped-def]  # noqa: D102
        if not training:
            return self._norm_eval(y, gamma, beta, mean, variance, mish)
        out, batch_mean, batch_variance = self._norm_train(y, gamma, beta, mish)
        mean.copy_(batch_mean)
        variance.copy_(batch_variance)
        return out

    def norm_backward(self, go, y, gamma, beta, mean, variance, g_gamma, g_beta, *, mish):  # type: ignore[no-untyped-def]  # noqa: D102
        gy, by_gamma, by_beta = self._norm_grad(go, y, gamma, beta, mean, variance, mish)
        g_gamma.copy_(by_gamma)
        g_beta.copy_(by_beta)
        return gy

    def attend(self, a):  # type: ignore[no-untyped-def]  # noqa: D102
        return self._attend(a)

    def attend_backward(self, go, a):  # type: ignore[no-untyped-def]  # noqa: D102
        return self._attend_grad(go, a)

    def gate(self, x, gate):  # type: ignore[no-untyped-def]  # noqa: D102
        return self._gate(x, gate)

    def gate_slope(self, go, x):  # type: ignore[no-untyped-def]  # noqa: D102
        return self._gate_slope(go, x)

    def gate_backward(self, go, gate, g_pooled):  # type: ignore[no-untyped-def]  # noqa: D102
        return self._gate_grad(go, gate, g_pooled)


# --- native.cpp ------------------------------------------------------------------------------------------------------


class NativeKernels(Kernels):
    """The functions of ``native.cpp`` on contiguous float32 tensors in the CPU's memory."""

    name = "native"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def depthwise(self, x, weight, gamma, beta, mean, variance, *, training, skip):  # type: ignore[no-untyped-def]  # noqa: D102
        out = torch.empty_like(x)
        pointers = _pointers(x, weight, gamma, beta, out, mean, variance)
        self._library.depthwise_forward(*pointers, *x.shape, training, skip, BN_EPS)
        return out

    def depthwise_backward(  # type: ignore[no-untyped-def]  # noqa: D102
        self, go, x, weight, gamma, beta, mean, variance, g_weight, g_gamma, g_beta, *, skip
    ):
        gx = torch.empty_like(x)
        pointers = _pointers(go, x, weight, gamma, beta, mean, variance, gx, g_weight, g_gamma, g_beta)
        self._library.depthwise_backward(*pointers, *x.shape, skip, BN_EPS)
        return gx

    def norm(self, y, gamma, beta, mean, variance, *, training, mish):  # type: ignore[no-untyped-def]  # noqa: D102
        out = torch.empty_like(y)
        pointers = _pointers(y, gamma, beta, out, mean, variance)
        self._library.norm_forward(*pointers, len(y), y[0].numel(), training, mish, BN_EPS)
        return out

    def norm_backward(self, go, y, gamma, beta, mean, variance, g_gamma, g_beta, *, mish):  # type: ignore[no-untyped-def]  # noqa: D102
        gy = torch.empty_like(y)
        pointers = _pointers(go, y, gamma, beta, mean, variance, gy, g_gamma, g_beta)
        self._library.norm_backward(*pointers, len(y), y[0].numel(), mish, BN_EPS)
        return gy

    def attend(self, a):  # type: ignore[no-untyped-def]  # noqa: D102
        networks, qkv, batch = a.shape
        out = a.new_empty(networks, qkv // 3, batch)
        self._library.attention_forward(*_pointers(a, out), networks, qkv // 3, batch)
        return out

    def attend_backward(self, go, a):  # type: ignore[no-untyped-def]  # noqa: D102
        networks, qkv, batch = a.shape
        ga = torch.empty_like(a)
        self._library.attention_backward(*_pointers(go, a, ga), networks, qkv // 3, batch)
        return ga

    def gate(self, x, gate):  # type: ignore[no-untyped-def]  # noqa: D102
        out = torch.empty_like(x)
        self._library.gate_forward(*_pointers(x, gate, out), *_extent(x))
        return out

    def gate_slope(self, go, x):  # type: ignore[no-untyped-def]  # noqa: D102
        slope = x.new_empty(len(x), x.shape[-1])
        self._library.gate_slope(*_pointers(go, x, slope), *_extent(x))
        return slope

    def gate_backward(self, go, gate, g_pooled):  # type: ignore[no-untyped-def]  # noqa: D102
        gx = torch.empty_like(go)
        self._library.gate_backward(*_pointers(go, gate, g_pooled, gx), *_extent(go))
        return gx


def _extent(x: Rows) -> tuple[int, int, int]:
    """Return (rows, pixels, batch)."""
    rows, height, width, batch = x.shape
    return rows, height * width, batch


def _pointers(*tensors: Tensor) -> list[int]:
    """Return the addresses; a tensor that the library would misread is refused."""
    for tensor in tensors:
        if not tensor.is_contiguous() or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"contiguous float32 in the CPU's memory is needed, not {tensor.dtype} of strides "
                f"{tensor.stride()} on {tensor.device}"
            )
    return [tensor.data_ptr() for tensor in tensors]
