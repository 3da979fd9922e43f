"""The operations of a population, in tensors of (rows, height, width, batch): a row is a channel of one network.

Depthwise convolution, batch norm, mish and gates act on each row by itself, so rows of networks of any width stand side
by side in one call; 1×1 convolutions and attention say which rows are one network's.  Three implementations of one
interface, equal within float tolerance:

* :class:`TorchKernels`: plain torch, the definition and the fall-back.
* :class:`NativeKernels`: ``native.cpp`` on a CPU.  Each row goes through the cache once, and inputs are read from where
  they lie.
* ``TritonKernels`` (:mod:`snas.networks.triton_kernels`): the same on a GPU.

Gradients are written out by hand.  What a backward pass needs again is computed again (depthwise convolution, normalised
values, mish) where that is cheaper than a trip to memory: only inputs and row statistics are kept.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from snas.compiler import why_not
from snas.networks import native
from snas.networks.nano_layout import Range

LOG = logging.getLogger(__name__)
BN_EPS = 1e-4

Rows = Float[Tensor, "rows height width batch"]
PerRow = Float[Tensor, " rows"]
PerImage = Float[Tensor, "rows batch"]
Taps = Float[Tensor, "rows 9"]
Flat = Float[Tensor, " parameters"]
Windows = Float[Tensor, "taps height width batch"]
SomeRows = Float[Tensor, "_ height width batch"]
"""One of several tensors that each have a number of rows of their own."""
Inputs = Float[Tensor, "inputs height width batch"]
"""The rows of a step's input, beside a result with another number of rows."""
Halved = Float[Tensor, "rows half_height half_width batch"]


class Ranges:
    """Row ranges of numbered tensors: a recipe for an input."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self.ranges = list(ranges)
        self.rows = sum(part.stop - part.start for part in ranges)
        self.sources = sorted({part.of for part in ranges})
        place = {of: index for index, of in enumerate(self.sources)}
        self.table = torch.tensor(
            [(place[part.of], part.start, part.stop - part.start) for part in ranges], dtype=torch.int64
        )

    def of(self, tensors: Mapping[int, SomeRows]) -> Parts:
        """Return the input that lies in the given tensors."""
        return Parts([tensors[number] for number in self.sources], self)


class Parts:
    """An input of many rows that need not lie together: row ranges of one or several tensors."""

    def __init__(self, tensors: list[SomeRows], ranges: Ranges | None) -> None:
        self.tensors, self.ranges = tensors, ranges
        self.place: tuple[Tensor, Tensor] | None = None
        """Where the rows lie, as kernels on a GPU are told; found once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, height, width, batch)."""
        first = self.tensors[0].shape
        return (self.ranges.rows if self.ranges else first[0], *first[1:])

    def together(self) -> Rows:
        """Return the rows as one tensor, and remember it in place of what it was made of."""
        if self.ranges is not None:
            by_number = dict(zip(self.ranges.sources, self.tensors, strict=True))
            pieces = [by_number[part.of][part.start : part.stop] for part in self.ranges.ranges]
            self.tensors, self.ranges = [pieces[0] if len(pieces) == 1 else torch.cat(pieces)], None
            self.place = None
        return self.tensors[0]


def whole(tensor: Rows) -> Parts:
    """Return a tensor as an input."""
    return Parts([tensor], None)


class Shapes:
    """(channels in, channels out or hidden) of each network of a step, networks of equal shapes side by side."""

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.table = torch.tensor(shapes, dtype=torch.int64)
        self.networks = len(shapes)
        self.in_rows, self.out_rows = (int(total) for total in self.table.sum(0))
        self.weights = int(self.table.prod(1).sum())
        self._shapes = list(shapes)

    def runs(self) -> Iterator[Run]:
        """Yield the runs of equal shapes."""
        start = in_row = out_row = weight = 0
        for index in range(1, self.networks + 1):
            if index < self.networks and self._shapes[index] == self._shapes[start]:
                continue
            count, (c, out) = index - start, self._shapes[start]
            yield Run(
                count, c, out, slice(in_row, in_row + count * c), slice(out_row, out_row + count * out),
                slice(weight, weight + count * c * out),
            )  # fmt: skip
            start, in_row, out_row, weight = (
                index,
                in_row + count * c,
                out_row + count * out,
                weight + count * c * out,
            )


class Run(NamedTuple):
    """Networks of equal shapes: how many, channels, and where their rows and weights lie."""

    networks: int
    channels: int
    out: int
    in_rows: slice
    out_rows: slice
    weights: slice


class Affine(NamedTuple):
    """A BN's scale and shift with the statistics of each row (variance: biased)."""

    gamma: PerRow
    beta: PerRow
    mean: PerRow
    variance: PerRow


class Slopes(NamedTuple):
    """Where the gradients of a step's weight, gamma and beta are written."""

    weight: Flat
    gamma: PerRow
    beta: PerRow


class Kernels(ABC):
    """The operations.  ``affine.mean`` and ``.variance`` are written when ``training``, and read otherwise.

    Results are new tensors; gradients of parameters are written to ``slopes``.
    """

    name: str

    def settle(self) -> None:  # noqa: B027 (most have nothing to finish)
        """Finish what could not be done while a CUDA graph was recorded; called before it is first replayed."""

    @abstractmethod
    def gather(self, x: Parts, *plus: Rows) -> Rows:
        """Return the rows of x as one tensor, plus up to two more tensors."""

    @abstractmethod
    def depthwise(
        self, x: Parts, weight: Flat, affine: Affine, *, training: bool, skip: Parts | None
    ) -> Rows:
        """Return mish(BN(depthwise 3×3 of x)), plus ``skip``."""

    @abstractmethod
    def depthwise_backward(
        self, go: Parts, x: Parts, weight: Flat, affine: Affine, slopes: Slopes, plus: Sequence[Parts]
    ) -> Rows:
        """Return the gradient by x (without that of ``skip``), plus up to three more inputs."""

    @abstractmethod
    def stem(
        self, windows: Windows, networks: int, weight: Flat, affine: Affine, *, training: bool
    ) -> tuple[Rows, Rows]:
        """Return mish(BN(W x)) and W x for the same ``windows`` in every network."""

    @abstractmethod
    def stem_backward(
        self, go: Rows, windows: Windows, y: Rows, networks: int, weight: Flat, affine: Affine, slopes: Slopes
    ) -> None:
        """Write the gradients of the stem's parameters; ``y`` is W x."""

    @abstractmethod
    def matmul(
        self, x: Parts, shapes: Shapes, weight: Flat, affine: Affine, *, training: bool, mish: bool
    ) -> tuple[Rows, Rows]:
        """Return BN(W x) or its mish, network by network, and W x."""

    @abstractmethod
    def matmul_backward(
        self,
        go: Parts,
        x: Parts,
        y: Rows,
        shapes: Shapes,
        weight: Flat,
        affine: Affine,
        slopes: Slopes,
        *,
        mish: bool,
    ) -> Inputs:
        """Return the gradient by x; ``y`` is W x."""

    @abstractmethod
    def attention(self, x: Parts, shapes: Shapes, weight: Flat) -> tuple[Rows, Any]:
        """Return x·relu6(r + 3)/6, r = Wb·softmax(q kᵀ) v, q, k, v = mish(W·average pool of x), and what to keep.

        ``shapes`` are (channels, hidden); a network's weights are W (3 hidden, channels) and Wb (channels, hidden).
        """

    @abstractmethod
    def attention_backward(
        self, go: Parts, x: Parts, kept: Any, shapes: Shapes, weight: Flat, g_weight: Flat
    ) -> Rows:
        """Return the gradient by x."""


def choose(device: torch.device, compile: bool) -> Kernels:
    """Return the fastest kernels that work here; says in one line where compiled ones were asked for in vain."""
    if not compile:
        return TorchKernels()
    if device.type == "cuda":
        reason = why_not(device)
        if reason is None:
            from snas.networks.triton_kernels import TritonKernels

            kernels = TritonKernels()
            try:
                kernels.try_out(device)
                return kernels
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # Triton's errors have no class in common
                lines = str(error).strip().splitlines() or ["no reason given"]
                reason = f"Triton does not work here ({type(error).__name__}: {lines[0]})"
    elif device.type == "cpu":
        library = native.load()
        if library is not None:
            return NativeKernels(library)
        reason = "no working C++ compiler was found"
    else:
        reason = f"there are no kernels for {device.type!r}"
    said(reason)
    return TorchKernels()


@functools.cache
def said(reason: str) -> None:
    """Say once per process why networks are trained by plain torch."""
    LOG.warning("%s: networks are trained by plain torch, several times slower", reason)


# --- plain torch -----------------------------------------------------------------------------------------------------


def _column(values: PerRow) -> Float[Tensor, "rows 1 1 1"]:
    return values[:, None, None, None]


def _window(x: Rows) -> list[Rows]:
    """Return the nine neighbours of every pixel, zero outside, in the order of a 3×3 kernel's weights."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _convolve(x: Rows, weight: Taps) -> Rows:
    images = x.permute(3, 0, 1, 2)
    return F.conv2d(images, weight.view(-1, 1, 3, 3), padding=1, groups=len(x)).permute(1, 2, 3, 0)


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
    x: Rows, weight: Taps, gamma: PerRow, beta: PerRow, skip: Rows | None
) -> tuple[Rows, PerRow, PerRow]:
    """Return mish(BN(depthwise x)) plus ``skip``, with the mean and the biased variance of each row."""
    out, mean, variance = norm_train(_convolve(x, weight), gamma, beta, True)
    return (out if skip is None else out + skip), mean, variance


def depthwise_eval(
    x: Rows,
    weight: Taps,
    gamma: PerRow,
    beta: PerRow,
    mean: PerRow,
    variance: PerRow,
    skip: Rows | None,
) -> Rows:
    """Return mish(BN(depthwise x)) plus ``skip`` by the given statistics."""
    out = norm_eval(_convolve(x, weight), gamma, beta, mean, variance, True)
    return out if skip is None else out + skip


def depthwise_grad(
    go: Rows,
    x: Rows,
    weight: Taps,
    gamma: PerRow,
    beta: PerRow,
    mean: PerRow,
    variance: PerRow,
) -> tuple[Rows, Taps, PerRow, PerRow]:
    """Return the gradients by x, weight, gamma and beta."""
    gy, g_gamma, g_beta = norm_grad(go, _convolve(x, weight), gamma, beta, mean, variance, True)
    gx = _convolve(gy, weight.flip(1))
    g_weight = torch.stack([(neighbour * gy).sum(dim=(1, 2, 3)) for neighbour in _window(x)], dim=1)
    return gx, g_weight, g_gamma, g_beta


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


def gate(x: Rows, raw: PerImage) -> Rows:
    """Return x·relu6(raw + 3)/6."""
    return x * (F.relu6(raw + 3) / 6)[:, None, None]


def gate_slope(go: Rows, x: Rows, raw: PerImage) -> PerImage:
    """Return the gradient of :func:`gate` by ``raw``."""
    return (go * x).sum(dim=(1, 2)) * ((raw > -3) & (raw < 3)) / 6


def gate_grad(go: Rows, raw: PerImage, g_pooled: PerImage) -> Rows:
    """Return the gradient by x through the gate's product and through the average pool that the gate is made of."""
    pixels = go.shape[1] * go.shape[2]
    return go * (F.relu6(raw + 3) / 6)[:, None, None] + (g_pooled / pixels)[:, None, None]


class TorchKernels(Kernels):
    """Plain torch, on any device."""

    name = "eager torch"

    def gather(self, x: Parts, *plus: Rows) -> Rows:
        """See :class:`Kernels`."""
        return sum(plus, start=x.together())

    def depthwise(
        self, x: Parts, weight: Flat, affine: Affine, *, training: bool, skip: Parts | None
    ) -> Rows:
        """See :class:`Kernels`."""
        added = None if skip is None else skip.together()
        if not training:
            return depthwise_eval(x.together(), weight.view(-1, 9), *affine, added).contiguous()
        out, mean, variance = depthwise_train(
            x.together(), weight.view(-1, 9), affine.gamma, affine.beta, added
        )
        affine.mean.copy_(mean)
        affine.variance.copy_(variance)
        return out.contiguous()

    def depthwise_backward(
        self, go: Parts, x: Parts, weight: Flat, affine: Affine, slopes: Slopes, plus: Sequence[Parts]
    ) -> Rows:
        """See :class:`Kernels`."""
        gx, g_weight, g_gamma, g_beta = depthwise_grad(
            go.together(), x.together(), weight.view(-1, 9), *affine
        )
        slopes.weight.view(-1, 9).copy_(g_weight)
        slopes.gamma.copy_(g_gamma)
        slopes.beta.copy_(g_beta)
        return sum((part.together() for part in plus), start=gx).contiguous()

    def _norm(self, y: Rows, affine: Affine, *, training: bool, mish: bool) -> Rows:
        if not training:
            return norm_eval(y, *affine, mish)
        out, mean, variance = norm_train(y, affine.gamma, affine.beta, mish)
        affine.mean.copy_(mean)
        affine.variance.copy_(variance)
        return out

    def _norm_backward(self, go: Rows, y: Rows, affine: Affine, slopes: Slopes, *, mish: bool) -> Rows:
        gy, g_gamma, g_beta = norm_grad(go, y, *affine, mish)
        slopes.gamma.copy_(g_gamma)
        slopes.beta.copy_(g_beta)
        return gy

    def stem(
        self, windows: Windows, networks: int, weight: Flat, affine: Affine, *, training: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        columns = windows.flatten(1).expand(networks, -1, -1)
        y = torch.bmm(weight.view(networks, -1, len(windows)), columns).view(-1, *windows.shape[1:])
        return self._norm(y, affine, training=training, mish=True), y

    def stem_backward(
        self, go: Rows, windows: Windows, y: Rows, networks: int, weight: Flat, affine: Affine, slopes: Slopes
    ) -> None:
        """See :class:`Kernels`."""
        gy = self._norm_backward(go, y, affine, slopes, mish=True).view(networks, -1, windows[0].numel())
        columns = windows.flatten(1).t().expand(networks, -1, -1)
        torch.bmm(gy, columns, out=slopes.weight.view(networks, -1, len(windows)))

    def matmul(
        self, x: Parts, shapes: Shapes, weight: Flat, affine: Affine, *, training: bool, mish: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        inputs = x.together()
        y = inputs.new_empty(shapes.out_rows, *inputs.shape[1:])
        for run in shapes.runs():
            torch.bmm(_weights(run, weight), _in(run, inputs), out=_out(run, y))
        return self._norm(y, affine, training=training, mish=mish), y

    def matmul_backward(
        self,
        go: Parts,
        x: Parts,
        y: Rows,
        shapes: Shapes,
        weight: Flat,
        affine: Affine,
        slopes: Slopes,
        *,
        mish: bool,
    ) -> Inputs:
        """See :class:`Kernels`."""
        inputs = x.together()
        gy = self._norm_backward(go.together(), y, affine, slopes, mish=mish)
        gx = torch.empty_like(inputs)
        for run in shapes.runs():
            torch.bmm(_out(run, gy), _in(run, inputs).transpose(1, 2), out=_weights(run, slopes.weight))
            torch.bmm(_weights(run, weight).transpose(1, 2), _out(run, gy), out=_in(run, gx))
        return gx

    def attention(self, x: Parts, shapes: Shapes, weight: Flat) -> tuple[Rows, Any]:
        """See :class:`Kernels`."""
        inputs = x.together()
        pooled = inputs.mean(dim=(1, 2))
        raw = torch.empty_like(pooled)
        inner = []
        for run in shapes.runs():
            qkv, back = _attention_weights(run, weight)
            a = torch.bmm(qkv, _in(run, pooled))
            mixed = attend(a)
            _in(run, raw).copy_(torch.bmm(back, mixed))
            inner.append((a, mixed))
        return gate(inputs, raw), (pooled, raw, inner)

    def attention_backward(
        self, go: Parts, x: Parts, kept: Any, shapes: Shapes, weight: Flat, g_weight: Flat
    ) -> Rows:
        """See :class:`Kernels`."""
        pooled, raw, inner = kept
        g_out = go.together()
        g_raw = gate_slope(g_out, x.together(), raw)
        g_pooled = torch.empty_like(pooled)
        for run, (a, mixed) in zip(shapes.runs(), inner, strict=True):
            qkv, back = _attention_weights(run, weight)
            g_qkv, g_back = _attention_weights(run, g_weight)
            g_back.copy_(torch.bmm(_in(run, g_raw), mixed.transpose(1, 2)))
            ga = attend_grad(torch.bmm(back.transpose(1, 2), _in(run, g_raw)), a)
            g_qkv.copy_(torch.bmm(ga, _in(run, pooled).transpose(1, 2)))
            _in(run, g_pooled).copy_(torch.bmm(qkv.transpose(1, 2), ga))
        return gate_grad(g_out, raw, g_pooled)


def _weights(run: Run, flat: Flat) -> Float[Tensor, "networks out channels"]:
    return flat[run.weights].view(run.networks, run.out, run.channels)


def _in(run: Run, rows: Tensor) -> Float[Tensor, "networks channels columns"]:
    return rows[run.in_rows].view(run.networks, run.channels, -1)


def _out(run: Run, rows: Tensor) -> Float[Tensor, "networks out columns"]:
    return rows[run.out_rows].view(run.networks, run.out, -1)


def _attention_weights(
    run: Run, flat: Flat
) -> tuple[Float[Tensor, "networks qkv channels"], Float[Tensor, "networks channels hidden"]]:
    """Return views of W and Wb; an attention has four times ``channels·hidden`` weights."""
    start, size = 4 * run.weights.start, run.channels * run.out
    weights = flat[start : start + 4 * run.networks * size].view(run.networks, 4 * size)
    qkv = weights[:, : 3 * size].unflatten(1, (3 * run.out, run.channels))
    return qkv, weights[:, 3 * size :].unflatten(1, (run.channels, run.out))


# --- native.cpp ------------------------------------------------------------------------------------------------------

NOTHING = (None, None, 0)


class NativeKernels(Kernels):
    """The functions of ``native.cpp`` on contiguous float32 tensors in the CPU's memory."""

    name = "native"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def gather(self, x: Parts, *plus: Rows) -> Rows:
        """See :class:`Kernels`."""
        if not plus and (x.ranges is None or len(x.ranges.ranges) == 1):
            return x.together()
        out = x.tensors[0].new_empty(x.shape)
        added = (*_addresses(*plus), None, None)[:2]
        self._library.gather_rows(*_parts(x), *added, out.data_ptr(), len(out), out[0].numel())
        return out

    def depthwise(
        self, x: Parts, weight: Flat, affine: Affine, *, training: bool, skip: Parts | None
    ) -> Rows:
        """See :class:`Kernels`."""
        out = x.tensors[0].new_empty(x.shape)
        skipped = NOTHING if skip is None else _parts(skip)
        addresses = _addresses(weight, affine.gamma, affine.beta, out, affine.mean, affine.variance)
        self._library.depthwise_forward(*_parts(x), *skipped, *addresses, *x.shape, training, BN_EPS)
        return out

    def depthwise_backward(
        self, go: Parts, x: Parts, weight: Flat, affine: Affine, slopes: Slopes, plus: Sequence[Parts]
    ) -> Rows:
        """See :class:`Kernels`."""
        gx = x.tensors[0].new_empty(x.shape)
        added = [*map(_parts, plus), NOTHING, NOTHING, NOTHING][:3]
        self._library.depthwise_backward(
            *_parts(go), *_parts(x), *added[0], *added[1], *added[2], *_addresses(weight, *affine, gx, *slopes),
            *x.shape, BN_EPS,
        )  # fmt: skip
        return gx

    def stem(
        self, windows: Windows, networks: int, weight: Flat, affine: Affine, *, training: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        x, shapes = _repeated(windows, networks, weight)
        return self.matmul(x, shapes, weight, affine, training=training, mish=True)

    def stem_backward(
        self, go: Rows, windows: Windows, y: Rows, networks: int, weight: Flat, affine: Affine, slopes: Slopes
    ) -> None:
        """See :class:`Kernels`."""
        x, shapes = _repeated(windows, networks, weight)
        self._matmul_backward(whole(go), x, y, None, shapes, weight, affine, slopes, mish=True)

    def matmul(
        self, x: Parts, shapes: Shapes, weight: Flat, affine: Affine, *, training: bool, mish: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        y = x.tensors[0].new_empty(shapes.out_rows, *x.shape[1:])
        out = torch.empty_like(y)
        addresses = _addresses(weight, affine.gamma, affine.beta, y, out, affine.mean, affine.variance)
        self._library.matmul_forward(
            *_parts(x),
            shapes.table.data_ptr(),
            *addresses,
            shapes.networks,
            y[0].numel(),
            training,
            mish,
            BN_EPS,
        )
        return out, y

    def matmul_backward(
        self,
        go: Parts,
        x: Parts,
        y: Rows,
        shapes: Shapes,
        weight: Flat,
        affine: Affine,
        slopes: Slopes,
        *,
        mish: bool,
    ) -> Inputs:
        """See :class:`Kernels`."""
        gx = y.new_empty(x.shape)
        self._matmul_backward(go, x, y, gx, shapes, weight, affine, slopes, mish=mish)
        return gx

    def _matmul_backward(
        self, go: Parts, x: Parts, y: Rows, gx: Inputs | None, shapes: Shapes, weight: Flat, affine: Affine,
        slopes: Slopes, *, mish: bool,
    ) -> None:  # fmt: skip
        self._library.matmul_backward(
            *_parts(go), *_parts(x), shapes.table.data_ptr(), *_addresses(weight, *affine, y),
            None if gx is None else _addresses(gx)[0], *_addresses(*slopes), shapes.networks, y[0].numel(), mish, BN_EPS,
        )  # fmt: skip

    def attention(self, x: Parts, shapes: Shapes, weight: Flat) -> tuple[Rows, Any]:
        """See :class:`Kernels`."""
        rows, height, width, batch = x.shape
        out = x.tensors[0].new_empty(x.shape)
        pooled, raw = out.new_empty(rows, batch), out.new_empty(rows, batch)
        a, mixed = out.new_empty(3 * shapes.out_rows, batch), out.new_empty(shapes.out_rows, batch)
        self._library.attention_forward(
            *_parts(x), shapes.table.data_ptr(), *_addresses(weight, pooled, a, mixed, raw, out),
            shapes.networks, height * width, batch,
        )  # fmt: skip
        return out, (pooled, a, mixed, raw)

    def attention_backward(
        self, go: Parts, x: Parts, kept: Any, shapes: Shapes, weight: Flat, g_weight: Flat
    ) -> Rows:
        """See :class:`Kernels`."""
        _, height, width, batch = x.shape
        gx = x.tensors[0].new_empty(x.shape)
        self._library.attention_backward(
            *_parts(go), *_parts(x), shapes.table.data_ptr(), *_addresses(weight, *kept, gx, g_weight),
            shapes.networks, height * width, batch,
        )  # fmt: skip
        return gx


def _repeated(windows: Windows, networks: int, weight: Flat) -> tuple[Parts, Shapes]:
    """Return the same windows as the input of every network, and the shapes of the products."""
    taps = len(windows)
    ranges = Ranges([Range(0, 0, taps)] * networks)
    return Parts([windows], ranges), Shapes([(taps, weight.numel() // (networks * taps))] * networks)


def _parts(x: Parts) -> tuple[Any, int | None, int]:
    """Return (addresses of the sources, table of ranges, number of ranges); of one whole tensor its address alone."""
    if x.ranges is None:
        return _addresses(x.tensors[0])[0], None, 0
    sources = (ctypes.c_void_p * len(x.tensors))(*_addresses(*x.tensors))
    return sources, x.ranges.table.data_ptr(), len(x.ranges.table)


def _addresses(*tensors: Tensor) -> list[int]:
    """Return the addresses; a tensor that the library would misread is refused."""
    for tensor in tensors:
        if not tensor.is_contiguous() or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"contiguous float32 in the CPU's memory is needed, not {tensor.dtype} of strides "
                f"{tensor.stride()} on {tensor.device}"
            )
    return [tensor.data_ptr() for tensor in tensors]
