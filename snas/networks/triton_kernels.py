"""The operations of a population on a GPU, in Triton: each row goes through device memory once where it can.

Every kernel works on one row per program.  A row of 16 images of 32×32 is 64 KB: the first pass brings it into the
caches, further passes (statistics, then values) read it from there.  What a backward pass needs again is computed again.
Inputs are read from where they lie: a table says of each row which tensor and which row of it, and a second, short one
the tensors' addresses, so that nothing is put together in memory before depthwise convolutions, norms and gates.
No atomics: the same input gives the same bits.

The products of a step, of networks of any shape, are one call.  They are computed by the tensor cores from three TF32
products each ("tf32x3"), which is as exact as float32.  Gradients by weights are sums over many pixels and few channels:
the pixels are shared out to several programs, whose sums are added up in a fixed order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from snas.networks import triton_code as code
from snas.networks.kernels import (
    BN_EPS,
    Affine,
    Flat,
    Inputs,
    Kernels,
    Parts,
    PerImage,
    Ranges,
    Rows,
    Shapes,
    Slopes,
    SomeRows,
    Windows,
    whole,
)
from snas.networks.nano_layout import Range

BLOCK = 1024
"""Values of a row that a program works on at a time."""
BACKWARD_BLOCK = 512
"""The same for the backward pass of depthwise convolutions, which has nine sums besides."""
WARPS = 4
IMAGES = 2
"""Images that a program of the attention over channels works on."""
TILE = 64
"""Largest tile of a product's channels."""
COLUMNS = 64
"""Values of a row that a program of a product works on."""
SHARE = 1024
"""Values of a row that one program sums up of a gradient by weights."""
MOST_PROGRAMS = 65_535
"""Largest second and third dimension of a CUDA grid."""
MOST_NUMBERS = 2**20
"""Largest tensor of a Triton program."""
MOST_ADDRESSES = 20_000
"""Lists of addresses that are remembered; in the steady state of a training there are some hundreds."""
ROOM = 2**18
"""Addresses that recorded graphs may need."""


class TritonKernels(Kernels):
    """The operations in Triton."""

    name = "Triton"

    def __init__(self) -> None:
        self._addresses: dict[tuple[int, ...], Tensor] = {}
        self._room: Tensor | None = None
        self._used = 0
        self._waiting: list[tuple[Tensor, tuple[int, ...]]] = []
        self._tables: dict[Any, Any] = {}

    def try_out(self, device: torch.device) -> None:
        """Compile and run one small kernel, so that what is missing (a C compiler, say) is known before a training begins."""
        x = torch.ones(2, 1, 1, 4, device=device)
        assert bool((self.gather(whole(x), x) == 2).all()), "a sum was wrong"

    def settle(self) -> None:
        """Write the addresses that a recorded CUDA graph reads: while it was recorded, nothing could be copied."""
        for room, addresses in self._waiting:
            room.copy_(torch.tensor(addresses))
        self._waiting = []

    def gather(self, x: Parts, *plus: Rows) -> Rows:
        """See :class:`Kernels`."""
        if not plus and (x.ranges is None or len(x.ranges.ranges) == 1):
            return x.together()
        out = _room(x)
        size = out[0].numel()
        one, two = (*plus, out, out)[:2]
        block = _block(size, BLOCK)
        code.gather_kernel[len(out), triton.cdiv(size, block)](
            out, *self._source(x), one, two, SIZE=size, BLOCK=block, PLUS=len(plus), ALIGN=_align(size),
            num_warps=WARPS,
        )  # fmt: skip
        return out

    def depthwise(
        self, x: Parts, weight: Flat, affine: Affine, *, training: bool, skip: Parts | None
    ) -> Rows:
        """See :class:`Kernels`."""
        out = _room(x)
        rows, height, width, batch = out.shape
        source = self._source(x)
        code.depthwise_kernel[rows,](
            out, *source, *(source if skip is None else self._source(skip)), weight, *affine, BN_EPS,
            H=height, W=width, B=batch, **_tile(height * width, batch, BLOCK), SKIP=skip is not None,
            TRAINING=training, ALIGN=_align(out[0].numel()), num_warps=WARPS,
        )  # fmt: skip
        return out

    def depthwise_backward(
        self, go: Parts, x: Parts, weight: Flat, affine: Affine, slopes: Slopes, plus: Sequence[Parts]
    ) -> Rows:
        """See :class:`Kernels`."""
        gx, gy = _room(x), _room(x)
        rows, height, width, batch = gx.shape
        source = self._source(x)
        added = [value for part in plus for value in self._source(part)]
        code.depthwise_backward_kernel[rows,](
            gx, gy, *self._source(go), *source, *added, *source * (3 - len(plus)), weight, *affine, *slopes, BN_EPS,
            H=height, W=width, B=batch, **_tile(height * width, batch, BACKWARD_BLOCK), PLUS=len(plus),
            ALIGN=_align(gx[0].numel()), num_warps=WARPS,
        )  # fmt: skip
        return gx

    def stem(
        self, windows: Windows, networks: int, weight: Flat, affine: Affine, *, training: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        shapes = self._stem_shapes(windows, networks, weight)
        y = self._product(whole(windows), shapes, weight, shared=True)
        return self._norm(y, affine, training=training, mish=True), y

    def stem_backward(
        self, go: Rows, windows: Windows, y: Rows, networks: int, weight: Flat, affine: Affine, slopes: Slopes
    ) -> None:
        """See :class:`Kernels`."""
        gy = self._norm_backward(whole(go), y, affine, slopes, mish=True)
        shapes = self._stem_shapes(windows, networks, weight)
        self._weight_gradient(gy, whole(windows), shapes, slopes.weight, shared=True)

    def matmul(
        self, x: Parts, shapes: Shapes, weight: Flat, affine: Affine, *, training: bool, mish: bool
    ) -> tuple[Rows, Rows]:
        """See :class:`Kernels`."""
        y = self._product(x, shapes, weight)
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
        gy = self._norm_backward(go, y, affine, slopes, mish=mish)
        self._weight_gradient(gy, x, shapes, slopes.weight)
        return self._product(whole(gy), shapes, weight, turned=True)

    def attention(self, x: Parts, shapes: Shapes, weight: Flat) -> tuple[Rows, Any]:
        """See :class:`Kernels`."""
        pooled = self._over_pixels(x, None, None)
        batch = pooled.shape[1]
        a, mixed = pooled.new_empty(3 * shapes.out_rows, batch), pooled.new_empty(shapes.out_rows, batch)
        raw = torch.empty_like(pooled)
        table, hidden, _ = self._attending(shapes, pooled.device)
        images = min(IMAGES, _power(batch), max(1, MOST_NUMBERS // hidden**2))
        code.attend_kernel[shapes.networks, triton.cdiv(batch, images)](
            a, mixed, raw, pooled, weight, table, B=batch, HIDDEN=hidden, IMAGES=images, ROWS=16, num_warps=WARPS
        )  # fmt: skip
        return self._gate(x, raw, None), (pooled, a, mixed, raw)

    def attention_backward(
        self, go: Parts, x: Parts, kept: Any, shapes: Shapes, weight: Flat, g_weight: Flat
    ) -> Rows:
        """See :class:`Kernels`."""
        pooled, a, mixed, raw = kept
        g_raw, ga, g_pooled = self._over_pixels(x, go, raw), torch.empty_like(a), torch.empty_like(pooled)
        batch = pooled.shape[1]
        table, hidden, channels = self._attending(shapes, pooled.device)
        images, rows = min(IMAGES, _power(batch), max(1, MOST_NUMBERS // hidden**2)), 16
        code.attend_backward_kernel[shapes.networks, triton.cdiv(batch, images)](
            ga, a, g_raw, weight, table, B=batch, HIDDEN=hidden, IMAGES=images, ROWS=16, num_warps=WARPS
        )  # fmt: skip
        code.attend_weights_kernel[shapes.networks, triton.cdiv(channels, rows)](
            g_weight, g_pooled, ga, g_raw, pooled, mixed, weight, table, B=batch, PADDED=_power(batch), ROWS=rows,
            AT_ONCE=max(1, 128 // _power(batch)), num_warps=WARPS,
        )  # fmt: skip
        return self._gate(go, raw, g_pooled)

    def _norm(self, y: Rows, affine: Affine, *, training: bool, mish: bool) -> Rows:
        out = torch.empty_like(y)
        size = y[0].numel()
        code.norm_kernel[len(y),](
            out, y, *affine, BN_EPS, SIZE=size, BLOCK=_block(size, BLOCK), MISH=mish, TRAINING=training,
            num_warps=WARPS,
        )  # fmt: skip
        return out

    def _norm_backward(self, go: Parts, y: Rows, affine: Affine, slopes: Slopes, *, mish: bool) -> Rows:
        gy = torch.empty_like(y)
        size = y[0].numel()
        code.norm_backward_kernel[len(y),](
            gy, *self._source(go), y, *affine, slopes.gamma, slopes.beta, BN_EPS, SIZE=size,
            BLOCK=_block(size, BLOCK), MISH=mish, ALIGN=_align(size), num_warps=WARPS,
        )  # fmt: skip
        return gy

    def _product(
        self, x: Parts, shapes: Shapes, weight: Flat, *, turned: bool = False, shared: bool = False
    ) -> Rows:
        """Return W x of every network, ``turned``: Wᵀ x; ``shared``: x is one and the same for all networks."""
        rows = shapes.in_rows if turned else shapes.out_rows
        y = x.tensors[0].new_empty(rows, *x.shape[1:])
        size = y[0].numel()
        tiles, (m, k) = self._tiles(shapes, y.device, turned=turned, shared=shared, both=False)
        columns = triton.cdiv(size, COLUMNS)
        layers = triton.cdiv(columns, MOST_PROGRAMS)
        code.matmul_kernel[len(tiles), triton.cdiv(columns, layers), layers](
            y, *self._source(x), weight, tiles, SIZE=size, M=m, N=COLUMNS, K=min(k, 32), TURNED=turned,
            ALIGN=_align(size), PRECISION=_precision(), num_warps=WARPS,
        )  # fmt: skip
        return y

    def _weight_gradient(
        self, gy: Rows, x: Parts, shapes: Shapes, g_weight: Flat, *, shared: bool = False
    ) -> None:
        size = gy[0].numel()
        shares = triton.cdiv(size, SHARE)
        tiles, (m, n) = self._tiles(shapes, gy.device, turned=False, shared=shared, both=True)
        sums = g_weight if shares == 1 else g_weight.new_empty(shares, len(g_weight))
        code.weight_gradient_kernel[len(tiles), shares](
            sums, gy, *self._source(x), tiles, len(g_weight), SIZE=size, M=m, N=n, K=32, SHARE=SHARE,
            ALIGN=_align(size), PRECISION=_precision(), num_warps=WARPS,
        )  # fmt: skip
        if shares > 1:
            torch.sum(sums, 0, out=g_weight)

    def _tiles(
        self, shapes: Shapes, device: torch.device, *, turned: bool, shared: bool, both: bool
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return the tiles of the products of a step, and the tile's channels out and in; kept for the next call."""
        key = (id(shapes), turned, shared, both)
        kept = self._tables.get(key)
        if kept is None:
            table = shapes.table.flip(1) if turned else shapes.table
            starts = table.cumsum(0) - table
            weights = table.prod(1).cumsum(0) - table.prod(1)
            ins, outs = table.unbind(1)
            if shared:
                starts[:, 0] = 0
            m, n = (min(max(_power(int(c.max())), 16), TILE) for c in (outs, ins))
            columns = [starts[:, 1], outs, starts[:, 0], ins, weights]
            tiles = _split(torch.stack(columns, 1), outs, m)
            if both:
                tiles = _split(tiles, tiles[:, 3], n)
            kept = self._tables[key] = (shapes, tiles.to(torch.int32).contiguous().to(device), (m, n))
        return kept[1], kept[2]

    def _attending(self, shapes: Shapes, device: torch.device) -> tuple[Tensor, int, int]:
        """Return (row, channels, hidden row, hidden) and then the place of the weights of each network; most of both sizes."""
        key = (id(shapes), "attention")
        kept = self._tables.get(key)
        if kept is None:
            starts = shapes.table.cumsum(0) - shapes.table
            weights = shapes.table.prod(1).cumsum(0) - shapes.table.prod(1)
            table = torch.stack([starts[:, 0], shapes.table[:, 0], starts[:, 1], shapes.table[:, 1]], 1)
            channels, hidden = (int(most) for most in shapes.table.max(0).values)
            table = torch.cat([table.flatten(), weights]).to(torch.int32).to(device)
            kept = self._tables[key] = (shapes, table, _power(hidden), channels)
        return kept[1], kept[2], kept[3]

    def _stem_shapes(self, windows: Windows, networks: int, weight: Flat) -> Shapes:
        key = ("stem", networks, len(windows))
        if key not in self._tables:
            taps = len(windows)
            self._tables[key] = Shapes([(taps, len(weight) // (networks * taps))] * networks)
        return self._tables[key]

    def _gate(self, x: Parts, raw: PerImage, g_pooled: PerImage | None) -> Rows:
        """Return x times the gates of ``raw``, plus ``g_pooled`` / pixels."""
        out = _room(x)
        rows, height, width, batch = out.shape
        size = height * width * batch
        block = _block(size, BLOCK)
        code.gate_kernel[rows, triton.cdiv(size, block)](
            out, *self._source(x), raw, raw if g_pooled is None else g_pooled, PIXELS=height * width, B=batch,
            BLOCK=block, POOLED=g_pooled is not None, ALIGN=_align(size), num_warps=WARPS,
        )  # fmt: skip
        return out

    def _over_pixels(self, x: Parts, go: Parts | None, raw: PerImage | None) -> PerImage:
        rows, height, width, batch = x.shape
        out = x.tensors[0].new_empty(rows, batch)
        padded = _power(batch)
        source = self._source(x)
        code.over_pixels_kernel[rows,](
            out, *source, *(source if go is None else self._source(go)), out if raw is None else raw,
            PIXELS=height * width, B=batch, PER_BLOCK=max(1, BLOCK // padded), PADDED=padded, SLOPE=go is not None,
            ALIGN=_align(height * width * batch), num_warps=WARPS,
        )  # fmt: skip
        return out

    def _source(self, x: Parts) -> tuple[Tensor, Tensor]:
        """Return (addresses of the tensors, table of the rows) of an input, on the device."""
        if x.place is None:
            x.place = self._pointers(x.tensors), self._table(x)
        return x.place

    def _pointers(self, tensors: list[SomeRows]) -> Tensor:
        """Return the addresses on the device; the allocator gives the same ones step after step."""
        addresses = tuple([tensor.data_ptr() for tensor in tensors])
        found = self._addresses.get(addresses)
        if found is not None:
            return found
        for tensor in tensors:
            if not tensor.is_contiguous() or tensor.dtype != torch.float32:
                raise ValueError(
                    f"contiguous float32 is needed, not {tensor.dtype} of strides {tensor.stride()}"
                )
        device = tensors[0].device
        if (
            len(self._addresses) >= MOST_ADDRESSES and not self._used
        ):  # a recorded graph reads lists that it does not own
            self._addresses.clear()
        if self._room is None:
            self._room = torch.empty(ROOM, dtype=torch.int64, device=device)
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            # Memory that is taken during a recording may have served, and on replay will serve, something earlier in it.
            if self._used + len(addresses) > ROOM:
                raise RuntimeError(f"more than {ROOM} addresses")
            found = self._room[self._used : self._used + len(addresses)]
            self._used += -(-len(addresses) // 16) * 16  # every list begins at a multiple of 128 bytes
            self._waiting.append((found, addresses))
        else:
            found = torch.tensor(addresses, device=device)
        self._addresses[addresses] = found
        return found

    def _table(self, x: Parts) -> Tensor:
        """Return (tensor, row of it) of every row; kept, since the program's ranges never change."""
        rows = x.shape[0]
        key = rows if x.ranges is None else id(x.ranges)
        kept = self._tables.get(key)
        if kept is None:
            ranges = x.ranges or Ranges([Range(0, 0, rows)])
            starts, counts = ranges.table[:, 1], ranges.table[:, 2]
            inside = torch.arange(rows) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
            table = torch.stack(
                [
                    torch.repeat_interleave(ranges.table[:, 0], counts),
                    torch.repeat_interleave(starts, counts) + inside,
                ],
                dim=1,
            )
            # the ranges are kept beside, so that their identity is not given to others
            kept = self._tables[key] = (x.ranges, table.to(torch.int32).contiguous().to(x.tensors[0].device))
        table_of_rows: Tensor = kept[1]
        return table_of_rows


@functools.cache
def _precision() -> str:
    """Return how products are computed: TF32 three times where tensor cores have it, else plain float32."""
    if torch.version.hip is None and torch.cuda.is_available():
        return "tf32x3" if torch.cuda.get_device_capability()[0] >= 8 else "ieee"
    return "ieee"


def _split(tiles: Tensor, channels: Tensor, size: int) -> Tensor:
    """Return each tile once for every ``size`` of its channels, with the place of the first in a last column."""
    counts = (channels + size - 1) // size
    first = torch.arange(int(counts.sum())) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    return torch.cat([torch.repeat_interleave(tiles, counts, 0), first[:, None] * size], 1)


def _power(count: int) -> int:
    return int(triton.next_power_of_2(count))


def _room(x: Parts) -> Rows:
    return x.tensors[0].new_empty(x.shape)


def _block(size: int, most: int) -> int:
    return min(_power(size), most)


def _tile(pixels: int, batch: int, most: int) -> dict[str, int]:
    """Return the pixels and images that a program works on at a time."""
    padded = _power(batch)
    return {"STEP": min(_power(pixels), max(most // padded, 1)), "PADDED": padded}


def _align(size: int) -> int:
    """Return the bytes that every row begins at a multiple of."""
    return 16 if size % 4 == 0 else 4
