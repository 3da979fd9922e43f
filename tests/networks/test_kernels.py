"""The hand-written gradients against autograd, and native kernels against plain torch."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F

from snas import compiler
from snas.networks import kernels, native
from snas.networks.kernels import Affine, Parts, Range, Ranges, Shapes, Slopes, TorchKernels, whole

EXTENTS = [(8, 8, 16), (4, 4, 7), (1, 1, 5), (2, 3, 20), (1, 6, 3), (9, 1, 33)]


@pytest.fixture
def fast():
    library = native.load()
    if library is None:
        pytest.skip("no C++ compiler")
    return kernels.NativeKernels(library)


def randoms(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def affine(rows, seed=5):
    gamma, beta = randoms((rows,), (rows,), seed=seed)
    return Affine(gamma, beta, torch.empty(rows), torch.empty(rows))


def slopes(weight, rows):
    return Slopes(torch.empty(weight), torch.empty(rows), torch.empty(rows))


def scattered(rows, extent, seed=3):
    """Return an input put together from pieces of two tensors, out of order."""
    first, second = randoms((rows + 2, *extent), (rows + 1, *extent), seed=seed)
    cut = rows // 2
    pieces = [Range(7, 3, 3 + rows - cut), Range(4, 1, 1 + cut)] if cut else [Range(7, 1, 1 + rows)]
    return Ranges(pieces).of({7: first, 4: second})


def copied(parts):
    return Parts(list(parts.tensors), parts.ranges)


def test_mish_and_its_slope_are_torchs():
    z = torch.linspace(-100, 100, 4001, dtype=torch.float64, requires_grad=True)
    expected = F.mish(z)
    torch.testing.assert_close(kernels._mish(z), expected, rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(kernels._mish_slope(z), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("extent", EXTENTS)
def test_depthwise_gradient_is_autograds(extent):
    rows = 5
    x, weight, go = (
        t.double().requires_grad_() for t in randoms((rows, *extent), (rows, 9), (rows, *extent))
    )
    gamma, beta = (t.double().requires_grad_() for t in randoms((rows,), (rows,), seed=1))
    y = F.conv2d(x.permute(3, 0, 1, 2), weight.view(rows, 1, 3, 3), padding=1, groups=rows)
    z = F.batch_norm(y, None, None, gamma, beta, training=True, eps=kernels.BN_EPS)
    expected = F.mish(z).permute(1, 2, 3, 0)
    out, mean, variance = kernels.depthwise_train(x, weight, gamma, beta, None)
    torch.testing.assert_close(out, expected)
    gradients = torch.autograd.grad(expected, (x, weight, gamma, beta), go)
    found = kernels.depthwise_grad(go, x, weight, gamma, beta, mean, variance)
    for a, b in zip(found, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_attention_gradient_is_autograds():
    a, go = (t.double().requires_grad_() for t in randoms((3, 12, 5), (3, 4, 5)))
    q, k, v = F.mish(a).chunk(3, dim=1)
    q, k, v = (t.transpose(1, 2)[..., None] for t in (q, k, v))  # per network and image: a column
    expected = (torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v)[..., 0].transpose(1, 2)
    torch.testing.assert_close(kernels.attend(a), expected)
    (gradient,) = torch.autograd.grad(expected, a, go)
    torch.testing.assert_close(kernels.attend_grad(go, a), gradient)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("training", [True, False])
def test_native_depthwise_is_torchs(fast, extent, training):
    rows = 6
    x, skip = scattered(rows, extent), scattered(rows, extent, seed=4)
    weight = randoms((rows * 9,), seed=8)[0]
    results = []
    for each in (TorchKernels(), fast):
        norm = affine(rows)
        norm.mean.copy_(torch.linspace(-1, 1, rows))
        norm.variance.copy_(torch.linspace(0.5, 2, rows))
        out = each.depthwise(copied(x), weight, norm, training=training, skip=copied(skip))
        results.append((out, norm.mean, norm.variance))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("added", [0, 1, 3])
def test_native_depthwise_backward_is_torchs(fast, extent, added):
    rows = 6
    x, go = scattered(rows, extent), scattered(rows, extent, seed=9)
    plus = [scattered(rows, extent, seed=20 + i) for i in range(added)]
    weight = randoms((rows * 9,), seed=8)[0]
    norm = affine(rows)
    TorchKernels().depthwise(copied(x), weight, norm, training=True, skip=None)
    results = []
    for each in (TorchKernels(), fast):
        gradients = slopes(rows * 9, rows)
        gx = each.depthwise_backward(
            copied(go), copied(x), weight, norm, gradients, [copied(part) for part in plus]
        )
        results.append((gx, *gradients))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("mish", [True, False])
def test_native_matmul_is_torchs(fast, extent, mish):
    shapes = Shapes([(3, 4), (3, 4), (5, 4), (12, 11), (1, 2)])
    assert [run.networks for run in shapes.runs()] == [2, 1, 1, 1]
    x, go = scattered(shapes.in_rows, extent), scattered(shapes.out_rows, extent, seed=9)
    weight = randoms((shapes.weights,), seed=8)[0]
    results = []
    for each in (TorchKernels(), fast):
        norm, gradients = affine(shapes.out_rows), slopes(shapes.weights, shapes.out_rows)
        out, y = each.matmul(copied(x), shapes, weight, norm, training=True, mish=mish)
        gx = each.matmul_backward(copied(go), copied(x), y, shapes, weight, norm, gradients, mish=mish)
        results.append((out, y, gx, norm.mean, norm.variance, *gradients))
    torch.testing.assert_close(results[1], results[0], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("extent", EXTENTS)
def test_native_attention_is_torchs(fast, extent):
    shapes = Shapes([(3, 1), (3, 1), (8, 2), (20, 5)])
    x, go = scattered(shapes.in_rows, extent), scattered(shapes.in_rows, extent, seed=9)
    weight = 2 * randoms((4 * shapes.weights,), seed=8)[0]
    results = []
    for each in (TorchKernels(), fast):
        g_weight = torch.empty_like(weight)
        out, kept = each.attention(copied(x), shapes, weight)
        gx = each.attention_backward(copied(go), copied(x), kept, shapes, weight, g_weight)
        results.append((out, gx, g_weight))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("more", [0, 1, 2])
def test_native_gather_is_torchs(fast, more):
    x, plus = scattered(6, (2, 3, 5)), randoms(*[(6, 2, 3, 5)] * more, seed=2)
    torch.testing.assert_close(fast.gather(copied(x), *plus), TorchKernels().gather(copied(x), *plus))


def test_nan_and_infinity_survive_native_kernels(fast):
    x = torch.randn(3, 4, 4, 16)
    x[1, 2, 2, 3] = torch.nan
    x[2, 0, 0, 0] = torch.inf
    out = fast.depthwise(whole(x), torch.randn(27), affine(3), training=True, skip=None)
    assert out[0].isfinite().all()
    assert out[1].isnan().all()
    assert not out[2].isfinite().any()


@pytest.mark.skipif(not compiler.found(), reason="compiles")
def test_nan_is_defined_behaviour_in_native_code(tmp_path):
    """No number is converted to an integer that cannot hold it, and none is shifted out of its sign."""
    program = tmp_path / "program.cpp"
    program.write_text(
        f'#include "{native.SOURCE}"\n'
        "int main() {\n"
        "    float x[16], w[9], one[1] = {1}, mean[1], variance[1], out[16];\n"
        "    for (float& v : x) v = 1;\n"
        "    for (float& v : w) v = NAN;\n"
        "    depthwise_forward(reinterpret_cast<const float* const*>(x), nullptr, 0, nullptr, nullptr, 0, w, one, one,\n"
        "                      out, mean, variance, 1, 4, 4, 1, 1, 1e-4f);\n"
        "    for (float v : out) if (v == v) return 1;\n"
        "}\n"
    )
    checks = ["-fsanitize=undefined,float-cast-overflow", "-fsanitize-undefined-trap-on-error"]
    command = [compiler.found(), "-std=c++17", *checks, "-o", str(tmp_path / "program"), str(program)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a compiler without these checks")
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept with glibc only")
def test_freed_memory_is_kept_for_the_next_step():
    """What is freed and taken again is soon not mapped anew: no page of it is touched for the first time."""
    program = """
        import resource, torch
        from snas.networks import native
        native.keep_memory()
        faults = []
        for _ in range(20):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24).sum()  # 64 MB
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        print(*faults[-3:])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert max(map(int, done.stdout.split())) < 2**26 / resource.getpagesize() / 10
