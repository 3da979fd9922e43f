"""The programs of :mod:`snas.networks.triton_kernels`, in Triton's language: what looks like Python here runs on a GPU.

Rows are (height, width, batch) values one after the other; ``H``, ``W`` and ``B`` are these extents, ``SIZE`` their product.
``ALIGN`` are the bytes that every row begins at a multiple of.  Arguments in capitals are known when a program is compiled.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _row(addresses, table, r, size: tl.constexpr, ALIGN: tl.constexpr):
    """Return a pointer to row r of an input: ``table`` has (tensor, row of it) for each, ``addresses`` the tensors."""
    tensor = tl.load(table + 2 * r)
    place = tl.load(table + 2 * r + 1).to(tl.int64)
    at = tl.load(addresses + tensor) + place * (size * 4)
    return tl.multiple_of(at.to(tl.pointer_type(tl.float32)), ALIGN)


@triton.jit
def _rows(addresses, table, rows, inside, size: tl.constexpr, ALIGN: tl.constexpr):
    """Return pointers to several rows of an input, as :func:`_row` does."""
    tensor = tl.load(table + 2 * rows, mask=inside, other=0)
    place = tl.load(table + 2 * rows + 1, mask=inside, other=0).to(tl.int64)
    at = tl.load(addresses + tensor) + place * (size * 4)
    return tl.multiple_of(at.to(tl.pointer_type(tl.float32)), ALIGN)


@triton.jit
def _taps(weight, r):
    """Return the nine weights of a row."""
    w = weight + 9 * r
    return (
        tl.load(w), tl.load(w + 1), tl.load(w + 2), tl.load(w + 3), tl.load(w + 4), tl.load(w + 5), tl.load(w + 6),
        tl.load(w + 7), tl.load(w + 8),
    )  # fmt: skip


@triton.jit
def _neighbour(
    x, pixel, image, i: tl.constexpr, j: tl.constexpr, H: tl.constexpr, W: tl.constexpr, B: tl.constexpr
):  # fmt: skip
    """Return x at the pixels i lines down and j columns right, (pixels, images), zero outside.

    Whether a neighbour is inside is worked out per pixel, not per value: index arithmetic would else be most of the work.
    """
    line, column = pixel // W + i, pixel % W + j
    inside = (line >= 0) & (line < H) & (column >= 0) & (column < W)
    at = (pixel + (i * W + j)) * B
    return tl.load(x + at[:, None] + image[None, :], mask=inside[:, None] & (image < B)[None, :], other=0.0)


@triton.jit
def _convolved(x, w, pixel, image, H: tl.constexpr, W: tl.constexpr, B: tl.constexpr):
    """Return the depthwise 3×3 convolution at the pixels, (pixels, images)."""
    total = w[4] * _neighbour(x, pixel, image, 0, 0, H, W, B)
    for tap in tl.static_range(9):
        if tap != 4:
            total += w[tap] * _neighbour(x, pixel, image, tap // 3 - 1, tap % 3 - 1, H, W, B)
    return total


@triton.jit
def _both(pixel, image, PIXELS: tl.constexpr, B: tl.constexpr):
    """Return what of a tile is there."""
    return (pixel < PIXELS)[:, None] & (image < B)[None, :]


@triton.jit
def _total(tile):
    return tl.sum(tl.sum(tile, 1), 0)


@triton.jit
def _mish(z):
    """Return z·n/(n + 2) with n = e(e + 2), e = eᶻ; a reciprocal square root is one instruction, a division many."""
    e = tl.exp(tl.minimum(tl.maximum(z, -80.0), 20.0))
    n = e * (e + 2)
    root = tl.rsqrt(n + 2)
    return z * (n * (root * root))


@triton.jit
def _mish_slope(z):
    e = tl.exp(tl.minimum(tl.maximum(z, -80.0), 20.0))
    n = e * (e + 2)
    root = tl.rsqrt(n + 2)
    inverse = root * root
    return (n + z * (4 * e * (e + 1)) * inverse) * inverse


@triton.jit
def _gate_of(raw):
    """Return relu6(raw + 3)/6; NaN stays."""
    shifted = raw + 3
    return tl.where(shifted < 0, 0.0, tl.where(shifted > 6, 6.0, shifted)) / 6


@triton.jit
def gather_kernel(
    out, x_addresses, x_table, plus_1, plus_2,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, PLUS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """out = x + plus_1 + plus_2 (as many as PLUS says)."""
    r = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < SIZE
    value = tl.load(_row(x_addresses, x_table, r, SIZE, ALIGN) + p, mask=inside)
    if PLUS > 0:
        value += tl.load(plus_1 + r * SIZE + p, mask=inside)
    if PLUS > 1:
        value += tl.load(plus_2 + r * SIZE + p, mask=inside)
    tl.store(out + r * SIZE + p, value, mask=inside)


@triton.jit
def depthwise_kernel(
    out, x_addresses, x_table, skip_addresses, skip_table, weight, gamma, beta, mean, variance, eps,
    H: tl.constexpr, W: tl.constexpr, B: tl.constexpr, STEP: tl.constexpr, PADDED: tl.constexpr,
    SKIP: tl.constexpr, TRAINING: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """out = mish(BN(depthwise 3×3 of x)) (+ skip), STEP pixels at a time; TRAINING: statistics are written, else read."""
    PIXELS: tl.constexpr = H * W
    SIZE: tl.constexpr = H * W * B
    r = tl.program_id(0).to(tl.int64)
    x = _row(x_addresses, x_table, r, SIZE, ALIGN)
    w = _taps(weight, r)
    image = tl.arange(0, PADDED)
    if TRAINING:
        # sums about the mean of the first pixels: as exact as two passes, and one
        pixel = tl.arange(0, STEP)
        first = tl.where(_both(pixel, image, PIXELS, B), _convolved(x, w, pixel, image, H, W, B), 0.0)
        about = _total(first) / ((STEP if STEP < PIXELS else PIXELS) * B)
        sums = tl.zeros([STEP, PADDED], tl.float32)
        squares = tl.zeros([STEP, PADDED], tl.float32)
        for start in range(0, PIXELS, STEP):
            pixel = start + tl.arange(0, STEP)
            y = _convolved(x, w, pixel, image, H, W, B) - about
            y = tl.where(_both(pixel, image, PIXELS, B), y, 0.0)
            sums += y
            squares += y * y
        off = _total(sums) / SIZE
        centre = about + off
        spread = _total(squares) / SIZE - off * off
        tl.store(mean + r, centre)
        tl.store(variance + r, spread)
    else:
        centre = tl.load(mean + r)
        spread = tl.load(variance + r)
    scale = tl.load(gamma + r) * tl.rsqrt(spread + eps)
    shift = tl.load(beta + r) - centre * scale
    if SKIP:
        skip = _row(skip_addresses, skip_table, r, SIZE, ALIGN)
    for start in range(0, PIXELS, STEP):
        pixel = start + tl.arange(0, STEP)
        at = (pixel * B)[:, None] + image[None, :]
        value = _mish(_convolved(x, w, pixel, image, H, W, B) * scale + shift)
        if SKIP:
            value += tl.load(skip + at, mask=_both(pixel, image, PIXELS, B))
        tl.store(out + r * SIZE + at, value, mask=_both(pixel, image, PIXELS, B))


@triton.jit
def _depthwise_slope(
    go, x, w, pixel, image, centre, rstd, g, b, H: tl.constexpr, W: tl.constexpr, B: tl.constexpr
):  # fmt: skip
    """Return (normalised value, gradient by BN's output) at the pixels; the latter is zero outside."""
    normal = (_convolved(x, w, pixel, image, H, W, B) - centre) * rstd
    at = (pixel * B)[:, None] + image[None, :]
    there = _both(pixel, image, H * W, B)
    gz = tl.load(go + at, mask=there, other=0.0) * _mish_slope(g * normal + b)
    return normal, tl.where(there, gz, 0.0)


@triton.jit
def depthwise_backward_kernel(
    gx, gy, go_addresses, go_table, x_addresses, x_table,
    a_addresses, a_table, b_addresses, b_table, c_addresses, c_table,
    weight, gamma, beta, mean, variance, g_weight, g_gamma, g_beta, eps,
    H: tl.constexpr, W: tl.constexpr, B: tl.constexpr, STEP: tl.constexpr, PADDED: tl.constexpr,
    PLUS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """Gradients by x (plus PLUS further inputs), weight, gamma and beta; ``gy`` is room for the one by the convolution."""
    PIXELS: tl.constexpr = H * W
    SIZE: tl.constexpr = H * W * B
    r = tl.program_id(0).to(tl.int64)
    x = _row(x_addresses, x_table, r, SIZE, ALIGN)
    go = _row(go_addresses, go_table, r, SIZE, ALIGN)
    w = _taps(weight, r)
    image = tl.arange(0, PADDED)
    centre = tl.load(mean + r)
    rstd = tl.rsqrt(tl.load(variance + r) + eps)
    g = tl.load(gamma + r)
    b = tl.load(beta + r)
    sums = tl.zeros([STEP, PADDED], tl.float32)
    products = tl.zeros([STEP, PADDED], tl.float32)
    for start in range(0, PIXELS, STEP):
        pixel = start + tl.arange(0, STEP)
        normal, gz = _depthwise_slope(go, x, w, pixel, image, centre, rstd, g, b, H, W, B)
        sums += gz
        products += gz * normal
    sum_b = _total(sums)
    sum_g = _total(products)
    tl.store(g_beta + r, sum_b)
    tl.store(g_gamma + r, sum_g)
    gy_row = gy + r * SIZE
    t0 = tl.zeros([STEP, PADDED], tl.float32)
    t1 = tl.zeros([STEP, PADDED], tl.float32)
    t2 = tl.zeros([STEP, PADDED], tl.float32)
    t3 = tl.zeros([STEP, PADDED], tl.float32)
    t4 = tl.zeros([STEP, PADDED], tl.float32)
    t5 = tl.zeros([STEP, PADDED], tl.float32)
    t6 = tl.zeros([STEP, PADDED], tl.float32)
    t7 = tl.zeros([STEP, PADDED], tl.float32)
    t8 = tl.zeros([STEP, PADDED], tl.float32)
    for start in range(0, PIXELS, STEP):
        pixel = start + tl.arange(0, STEP)
        normal, gz = _depthwise_slope(go, x, w, pixel, image, centre, rstd, g, b, H, W, B)
        value = rstd * g * (gz - sum_b / SIZE - normal * (sum_g / SIZE))
        there = _both(pixel, image, PIXELS, B)
        value = tl.where(there, value, 0.0)
        tl.store(gy_row + (pixel * B)[:, None] + image[None, :], value, mask=there)
        t0 += value * _neighbour(x, pixel, image, -1, -1, H, W, B)
        t1 += value * _neighbour(x, pixel, image, -1, 0, H, W, B)
        t2 += value * _neighbour(x, pixel, image, -1, 1, H, W, B)
        t3 += value * _neighbour(x, pixel, image, 0, -1, H, W, B)
        t4 += value * _neighbour(x, pixel, image, 0, 0, H, W, B)
        t5 += value * _neighbour(x, pixel, image, 0, 1, H, W, B)
        t6 += value * _neighbour(x, pixel, image, 1, -1, H, W, B)
        t7 += value * _neighbour(x, pixel, image, 1, 0, H, W, B)
        t8 += value * _neighbour(x, pixel, image, 1, 1, H, W, B)
    to = g_weight + 9 * r
    tl.store(to + 0, _total(t0))
    tl.store(to + 1, _total(t1))
    tl.store(to + 2, _total(t2))
    tl.store(to + 3, _total(t3))
    tl.store(to + 4, _total(t4))
    tl.store(to + 5, _total(t5))
    tl.store(to + 6, _total(t6))
    tl.store(to + 7, _total(t7))
    tl.store(to + 8, _total(t8))
    tl.debug_barrier()  # the row of gy is read at pixels that other threads have written
    if PLUS > 0:
        plus_1 = _row(a_addresses, a_table, r, SIZE, ALIGN)
    if PLUS > 1:
        plus_2 = _row(b_addresses, b_table, r, SIZE, ALIGN)
    if PLUS > 2:
        plus_3 = _row(c_addresses, c_table, r, SIZE, ALIGN)
    for start in range(0, PIXELS, STEP):
        pixel = start + tl.arange(0, STEP)
        at = (pixel * B)[:, None] + image[None, :]
        there = _both(pixel, image, PIXELS, B)
        total = w[4] * _neighbour(gy_row, pixel, image, 0, 0, H, W, B)
        for tap in tl.static_range(9):
            if tap != 4:
                total += w[tap] * _neighbour(gy_row, pixel, image, 1 - tap // 3, 1 - tap % 3, H, W, B)
        if PLUS > 0:
            total += tl.load(plus_1 + at, mask=there)
        if PLUS > 1:
            total += tl.load(plus_2 + at, mask=there)
        if PLUS > 2:
            total += tl.load(plus_3 + at, mask=there)
        tl.store(gx + r * SIZE + at, total, mask=there)


@triton.jit
def norm_kernel(
    out, y, gamma, beta, mean, variance, eps,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, MISH: tl.constexpr, TRAINING: tl.constexpr,
):  # fmt: skip
    """out = BN(y) or its mish."""
    r = tl.program_id(0).to(tl.int64)
    row = y + r * SIZE
    if TRAINING:
        p = tl.arange(0, BLOCK)
        first = tl.load(row + p, mask=p < SIZE, other=0.0)
        about = tl.sum(first, 0) / (BLOCK if BLOCK < SIZE else SIZE)
        sums = tl.zeros([BLOCK], tl.float32)
        squares = tl.zeros([BLOCK], tl.float32)
        for start in range(0, SIZE, BLOCK):
            p = start + tl.arange(0, BLOCK)
            value = tl.where(p < SIZE, tl.load(row + p, mask=p < SIZE, other=0.0) - about, 0.0)
            sums += value
            squares += value * value
        off = tl.sum(sums, 0) / SIZE
        centre = about + off
        spread = tl.sum(squares, 0) / SIZE - off * off
        tl.store(mean + r, centre)
        tl.store(variance + r, spread)
    else:
        centre = tl.load(mean + r)
        spread = tl.load(variance + r)
    scale = tl.load(gamma + r) * tl.rsqrt(spread + eps)
    shift = tl.load(beta + r) - centre * scale
    for start in range(0, SIZE, BLOCK):
        p = start + tl.arange(0, BLOCK)
        value = tl.load(row + p, mask=p < SIZE) * scale + shift
        if MISH:
            value = _mish(value)
        tl.store(out + r * SIZE + p, value, mask=p < SIZE)


@triton.jit
def _norm_slope(go, row, p, centre, rstd, g, b, SIZE: tl.constexpr, MISH: tl.constexpr):
    normal = (tl.load(row + p, mask=p < SIZE, other=0.0) - centre) * rstd
    gz = tl.load(go + p, mask=p < SIZE, other=0.0)
    if MISH:
        gz *= _mish_slope(g * normal + b)
    return normal, gz


@triton.jit
def norm_backward_kernel(
    gy, go_addresses, go_table, y, gamma, beta, mean, variance, g_gamma, g_beta, eps,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, MISH: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """Gradients by y, gamma and beta."""
    r = tl.program_id(0).to(tl.int64)
    row = y + r * SIZE
    go = _row(go_addresses, go_table, r, SIZE, ALIGN)
    centre = tl.load(mean + r)
    rstd = tl.rsqrt(tl.load(variance + r) + eps)
    g = tl.load(gamma + r)
    b = tl.load(beta + r)
    sums = tl.zeros([BLOCK], tl.float32)
    products = tl.zeros([BLOCK], tl.float32)
    for start in range(0, SIZE, BLOCK):
        p = start + tl.arange(0, BLOCK)
        normal, gz = _norm_slope(go, row, p, centre, rstd, g, b, SIZE, MISH)
        sums += tl.where(p < SIZE, gz, 0.0)
        products += tl.where(p < SIZE, gz * normal, 0.0)
    sum_b = tl.sum(sums, 0)
    sum_g = tl.sum(products, 0)
    tl.store(g_beta + r, sum_b)
    tl.store(g_gamma + r, sum_g)
    for start in range(0, SIZE, BLOCK):
        p = start + tl.arange(0, BLOCK)
        normal, gz = _norm_slope(go, row, p, centre, rstd, g, b, SIZE, MISH)
        value = rstd * g * (gz - sum_b / SIZE - normal * (sum_g / SIZE))
        tl.store(gy + r * SIZE + p, value, mask=p < SIZE)


@triton.jit
def over_pixels_kernel(
    out, x_addresses, x_table, go_addresses, go_table, raw,
    PIXELS: tl.constexpr, B: tl.constexpr, PER_BLOCK: tl.constexpr, PADDED: tl.constexpr,
    SLOPE: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """out (rows, B) = mean of x over the pixels, or with SLOPE the gradient by ``raw`` of a gate's product with x."""
    SIZE: tl.constexpr = PIXELS * B
    r = tl.program_id(0).to(tl.int64)
    x = _row(x_addresses, x_table, r, SIZE, ALIGN)
    if SLOPE:
        go = _row(go_addresses, go_table, r, SIZE, ALIGN)
    image = tl.arange(0, PADDED)
    total = tl.zeros([PER_BLOCK, PADDED], tl.float32)
    for start in range(0, PIXELS, PER_BLOCK):
        pixel = start + tl.arange(0, PER_BLOCK)
        p = pixel[:, None] * B + image[None, :]
        inside = (pixel[:, None] < PIXELS) & (image[None, :] < B)
        value = tl.load(x + p, mask=inside, other=0.0)
        if SLOPE:
            value *= tl.load(go + p, mask=inside, other=0.0)
        total += value
    result = tl.sum(total, 0)
    if SLOPE:
        at = tl.load(raw + r * B + image, mask=image < B)
        result = result * tl.where((at > -3) & (at < 3), 1.0, 0.0) / 6
    else:
        result = result / PIXELS
    tl.store(out + r * B + image, result, mask=image < B)


@triton.jit
def gate_kernel(
    out, x_addresses, x_table, raw, g_pooled,
    PIXELS: tl.constexpr, B: tl.constexpr, BLOCK: tl.constexpr, POOLED: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """out = x·relu6(raw + 3)/6, with POOLED plus g_pooled / pixels: the gate, or the gradient through it."""
    SIZE: tl.constexpr = PIXELS * B
    r = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < SIZE
    x = _row(x_addresses, x_table, r, SIZE, ALIGN)
    value = tl.load(x + p, mask=inside) * _gate_of(tl.load(raw + r * B + p % B, mask=inside))
    if POOLED:
        value += tl.load(g_pooled + r * B + p % B, mask=inside) / PIXELS
    tl.store(out + r * SIZE + p, value, mask=inside)


@triton.jit
def matmul_kernel(
    y, x_addresses, x_table, weight, tiles,
    SIZE: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, TURNED: tl.constexpr, ALIGN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """y = W x, network by network; with TURNED y = Wᵀ x.  A tile is (row of y, rows, row of x, rows, weights, row in W)."""
    tile = tiles + 6 * tl.program_id(0)
    y_row, outs = tl.load(tile), tl.load(tile + 1)
    x_row, ins = tl.load(tile + 2), tl.load(tile + 3)
    w = weight + tl.load(tile + 4)
    m = tl.load(tile + 5) + tl.arange(0, M)
    p = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * N + tl.arange(0, N)
    total = tl.zeros([M, N], tl.float32)
    for start in range(0, ins, K):
        k = start + tl.arange(0, K)
        x = tl.load(
            _rows(x_addresses, x_table, x_row + k, k < ins, SIZE, ALIGN)[:, None] + p[None, :],
            mask=(k < ins)[:, None] & (p < SIZE)[None, :], other=0.0,
        )  # fmt: skip
        at = k[None, :] * outs + m[:, None] if TURNED else m[:, None] * ins + k[None, :]
        a = tl.load(w + at, mask=(m < outs)[:, None] & (k < ins)[None, :], other=0.0)
        total = tl.dot(a, x, total, input_precision=PRECISION)
    to = y + (y_row + m).to(tl.int64)[:, None] * SIZE + p[None, :]
    tl.store(to, total, mask=(m < outs)[:, None] & (p < SIZE)[None, :])


@triton.jit
def weight_gradient_kernel(
    g_weight, gy, x_addresses, x_table, tiles, weights,
    SIZE: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SHARE: tl.constexpr, ALIGN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One share of gy xᵀ, network by network.  A tile is that of the product and, at last, the column in W."""
    tile = tiles + 7 * tl.program_id(0)
    y_row, outs = tl.load(tile), tl.load(tile + 1)
    x_row, ins = tl.load(tile + 2), tl.load(tile + 3)
    m = tl.load(tile + 5) + tl.arange(0, M)
    n = tl.load(tile + 6) + tl.arange(0, N)
    first = tl.program_id(1) * SHARE
    from_y = gy + (y_row + m).to(tl.int64)[:, None] * SIZE
    from_x = _rows(x_addresses, x_table, x_row + n, n < ins, SIZE, ALIGN)[:, None]
    total = tl.zeros([M, N], tl.float32)
    for start in range(0, SHARE, K):
        p = first + start + tl.arange(0, K)
        a = tl.load(from_y + p[None, :], mask=(m < outs)[:, None] & (p < SIZE)[None, :], other=0.0)
        b = tl.load(from_x + p[None, :], mask=(n < ins)[:, None] & (p < SIZE)[None, :], other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
    to = g_weight + tl.program_id(1).to(tl.int64) * weights + tl.load(tile + 4)
    tl.store(to + m[:, None] * ins + n[None, :], total, mask=(m < outs)[:, None] & (n < ins)[None, :])


@triton.jit
def _scores(q, k, inside):
    """Return the softmax of q kᵀ over its columns, (hidden, hidden, images)."""
    s = tl.where(inside[None, :, None], q[:, None, :] * k[None, :, :], float("-inf"))
    e = tl.exp(s - tl.max(s, 1)[:, None, :])
    return e / tl.sum(e, 1)[:, None, :]


@triton.jit
def _attending(networks):
    """Return (row, channels, hidden row, hidden, first weight) of this program's network."""
    network = networks + 4 * tl.program_id(0)
    weights = tl.load(networks + 4 * tl.num_programs(0) + tl.program_id(0))
    return tl.load(network), tl.load(network + 1), tl.load(network + 2), tl.load(network + 3), 4 * weights


@triton.jit
def attend_kernel(
    a, mixed, raw, pooled, weight, networks, B: tl.constexpr, HIDDEN: tl.constexpr, IMAGES: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """A network's attention of its pooled channels, some images at a time: a = W v, mixed = softmax(q kᵀ) v, raw = Wb mixed."""
    row, channels, hidden_row, hidden, start = _attending(networks)
    w = weight + start
    i = tl.arange(0, HIDDEN)
    image = tl.program_id(1) * IMAGES + tl.arange(0, IMAGES)
    here, seen = i < hidden, image < B
    q = tl.zeros([HIDDEN, IMAGES], tl.float32)
    k = tl.zeros([HIDDEN, IMAGES], tl.float32)
    v = tl.zeros([HIDDEN, IMAGES], tl.float32)
    for first in range(0, channels, ROWS):
        c = first + tl.arange(0, ROWS)
        inside = c < channels
        x = tl.load(
            pooled + (row + c)[:, None] * B + image[None, :], mask=inside[:, None] & seen[None, :], other=0.0
        )
        at = w + i[:, None] * channels + c[None, :]
        there = here[:, None] & inside[None, :]
        q += tl.sum(tl.load(at, mask=there, other=0.0)[:, :, None] * x[None, :, :], 1)
        k += tl.sum(tl.load(at + hidden * channels, mask=there, other=0.0)[:, :, None] * x[None, :, :], 1)
        v += tl.sum(tl.load(at + 2 * hidden * channels, mask=there, other=0.0)[:, :, None] * x[None, :, :], 1)
    both = here[:, None] & seen[None, :]
    to = a + (3 * hidden_row + i)[:, None] * B + image[None, :]
    tl.store(to, q, mask=both)
    tl.store(to + hidden * B, k, mask=both)
    tl.store(to + 2 * hidden * B, v, mask=both)
    weights = _scores(_mish(q), _mish(k), here)
    result = tl.sum(weights * _mish(v)[None, :, :], 1)
    tl.store(mixed + (hidden_row + i)[:, None] * B + image[None, :], result, mask=both)
    back = w + 3 * hidden * channels
    for first in range(0, channels, ROWS):
        channel = first + tl.arange(0, ROWS)
        wb = tl.load(
            back + channel[:, None] * hidden + i[None, :],
            mask=(channel < channels)[:, None] & here[None, :],
            other=0.0,
        )
        value = tl.sum(wb[:, :, None] * result[None, :, :], 1)
        tl.store(
            raw + (row + channel)[:, None] * B + image[None, :], value,
            mask=(channel < channels)[:, None] & seen[None, :],
        )  # fmt: skip


@triton.jit
def attend_backward_kernel(
    ga, a, g_raw, weight, networks, B: tl.constexpr, HIDDEN: tl.constexpr, IMAGES: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """The gradient by a of :func:`attend_kernel`, from the one by raw."""
    row, channels, hidden_row, hidden, start = _attending(networks)
    w = weight + start
    i = tl.arange(0, HIDDEN)
    image = tl.program_id(1) * IMAGES + tl.arange(0, IMAGES)
    here, seen = i < hidden, image < B
    both = here[:, None] & seen[None, :]
    back = w + 3 * hidden * channels
    go = tl.zeros([HIDDEN, IMAGES], tl.float32)
    for first in range(0, channels, ROWS):
        c = first + tl.arange(0, ROWS)
        inside = c < channels
        value = tl.load(
            g_raw + (row + c)[:, None] * B + image[None, :], mask=inside[:, None] & seen[None, :], other=0.0
        )
        wb = tl.load(back + c[:, None] * hidden + i[None, :], mask=inside[:, None] & here[None, :], other=0.0)
        go += tl.sum(wb[:, :, None] * value[:, None, :], 0)
    at = (3 * hidden_row + i)[:, None] * B + image[None, :]
    aq = tl.load(a + at, mask=both, other=0.0)
    ak = tl.load(a + at + hidden * B, mask=both, other=0.0)
    av = tl.load(a + at + 2 * hidden * B, mask=both, other=0.0)
    q, k, v = _mish(aq), _mish(ak), _mish(av)
    weights = _scores(q, k, here)
    mean = tl.sum(weights * v[None, :, :], 1)
    g_scores = weights * go[:, None, :] * (v[None, :, :] - mean[:, None, :])
    gq = tl.sum(g_scores * k[None, :, :], 1)
    gk = tl.sum(g_scores * q[:, None, :], 0)
    gv = tl.sum(weights * go[:, None, :], 0)
    tl.store(ga + at, gq * _mish_slope(aq), mask=both)
    tl.store(ga + at + hidden * B, gk * _mish_slope(ak), mask=both)
    tl.store(ga + at + 2 * hidden * B, gv * _mish_slope(av), mask=both)


@triton.jit
def attend_weights_kernel(
    g_weight, g_pooled, ga, g_raw, pooled, mixed, weight, networks,
    B: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Gradients by the attention's weights and its pooled channels, ROWS channels of a network at a time."""
    row, channels, hidden_row, hidden, start = _attending(networks)
    image = tl.arange(0, PADDED)
    seen = image < B
    c = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = c < channels
    both = inside[:, None] & seen[None, :]
    at = (row + c)[:, None] * B + image[None, :]
    x = tl.load(pooled + at, mask=both, other=0.0)
    value = tl.load(g_raw + at, mask=both, other=0.0)
    total = tl.zeros([ROWS, PADDED], tl.float32)
    for first in range(0, 3 * hidden, AT_ONCE):
        i = first + tl.arange(0, AT_ONCE)
        there = i < 3 * hidden
        g = tl.load(
            ga + (3 * hidden_row + i)[:, None] * B + image[None, :], mask=there[:, None] & seen[None, :], other=0.0
        )  # fmt: skip
        place = start + i[:, None] * channels + c[None, :]
        of_weights = there[:, None] & inside[None, :]
        tl.store(g_weight + place, tl.sum(g[:, None, :] * x[None, :, :], 2), mask=of_weights)
        w = tl.load(weight + place, mask=of_weights, other=0.0)
        total += tl.sum(w[:, :, None] * g[:, None, :], 0)
    tl.store(g_pooled + at, total, mask=both)
    back = g_weight + start + 3 * hidden * channels
    for first in range(0, hidden, AT_ONCE):
        i = first + tl.arange(0, AT_ONCE)
        there = i < hidden
        m = tl.load(
            mixed + (hidden_row + i)[:, None] * B + image[None, :], mask=there[:, None] & seen[None, :], other=0.0
        )  # fmt: skip
        tl.store(
            back + c[:, None] * hidden + i[None, :], tl.sum(value[:, None, :] * m[None, :, :], 2),
            mask=inside[:, None] & there[None, :],
        )  # fmt: skip
