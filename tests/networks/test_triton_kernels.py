"""The Triton kernels against plain torch: on a GPU where there is one, else in Triton's interpreter on the CPU.

The interpreter has to be chosen before Triton is imported, so on a CPU these tests run in a process of their own, which
``test_on_a_cpu_they_run_in_tritons_interpreter`` starts.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from snas.networks import kernels
from snas.networks.kernels import Affine, Parts, Shapes, Slopes, TorchKernels
from snas.networks.nano_population import NanoPopulation
from snas.networks.populations import losses
from snas.spaces import load
from tests.networks.test_kernels import affine, copied, randoms, scattered, slopes

pytest.importorskip("triton", reason="Triton is not installed")
CUDA = torch.cuda.is_available()
HERE = CUDA or os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if CUDA else "cpu"
EXTENTS = [(4, 4, 16), (2, 3, 5)]
inside = pytest.mark.skipif(not HERE, reason="runs in the process that Triton's interpreter is chosen for")


def test_on_a_cpu_they_run_in_tritons_interpreter():
    if HERE:
        pytest.skip("this is that process, or there is a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" passed, {1 + len(PROGRAMS)} skipped, 1 deselected" in done.stdout


SIDE = {"H": 32, "W": 32, "B": 16, "PADDED": 16, "ALIGN": 16}
ROW = {"SIZE": 16384, "BLOCK": 1024}
PRODUCT = {"SIZE": 16384, "M": 64, "N": 64, "K": 32, "ALIGN": 16}
HEAD = {"B": 16, "ROWS": 16}
PROGRAMS = {
    "gather_kernel": ROW | {"PLUS": 2, "ALIGN": 16},
    "depthwise_kernel": SIDE | {"STEP": 64, "SKIP": True, "TRAINING": True},
    "depthwise_backward_kernel": SIDE | {"STEP": 32, "PLUS": 3},
    "norm_kernel": ROW | {"MISH": True, "TRAINING": True},
    "norm_backward_kernel": ROW | {"MISH": True, "ALIGN": 16},
    "over_pixels_kernel": {
        "PIXELS": 1024,
        "B": 16,
        "PER_BLOCK": 64,
        "PADDED": 16,
        "SLOPE": True,
        "ALIGN": 16,
    },
    "gate_kernel": {"PIXELS": 1024, "B": 16, "BLOCK": 1024, "POOLED": True, "ALIGN": 16},
    "matmul_kernel": PRODUCT | {"TURNED": False},
    "weight_gradient_kernel": PRODUCT | {"SHARE": 1024},
    "attend_kernel": HEAD | {"HIDDEN": 32, "IMAGES": 2},
    "attend_backward_kernel": HEAD | {"HIDDEN": 32, "IMAGES": 2},
    "attend_weights_kernel": HEAD | {"PADDED": 16, "AT_ONCE": 8},
}


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreter compiles nothing")
@pytest.mark.parametrize("name", PROGRAMS)
def test_they_compile_for_gpus_that_are_not_here(name):
    """The interpreter is lenient where the compiler is not.  7.5: no TF32; 9.0: an H100."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snas.networks import triton_code

    program = getattr(triton_code, name)
    kinds = {"eps": "fp32", "weights": "i32", "tiles": "*i32", "networks": "*i32"}
    for capability, precision in ((75, "ieee"), (90, "tf32x3")):
        known = PROGRAMS[name] | ({"PRECISION": precision} if "PRECISION" in program.arg_names else {})
        signature = {
            argument: "constexpr" if argument in known
            else "*i32" if argument.endswith("table")
            else "*i64" if argument.endswith("addresses")
            else kinds.get(argument, "*fp32")
            for argument in program.arg_names
        }  # fmt: skip
        places = {(program.arg_names.index(argument),): value for argument, value in known.items()}
        made = compile(
            ASTSource(fn=program, signature=signature, constexprs=places),
            target=GPUTarget("cuda", capability, 32),
        )
        assert made.asm["cubin"]


def test_every_program_is_compiled_here():
    from snas.networks import triton_code

    assert {name for name in vars(triton_code) if name.endswith("_kernel")} == set(PROGRAMS)


@pytest.fixture
def fast(monkeypatch):
    """The kernels with small blocks, so that small rows are more than one block, tile, share and layer of the grid."""
    from snas.networks import triton_kernels

    small = {"BLOCK": 64, "BACKWARD_BLOCK": 64, "TILE": 16, "COLUMNS": 64, "SHARE": 128, "MOST_PROGRAMS": 3}
    for name, value in small.items():
        monkeypatch.setattr(triton_kernels, name, value)
    return triton_kernels.TritonKernels()


def sides(fast):
    return ((TorchKernels(), "cpu"), (fast, DEVICE))


def moved(parts: Parts, device: str) -> Parts:
    return Parts([tensor.to(device) for tensor in parts.tensors], parts.ranges)


def norm_on(rows: int, device: str) -> Affine:
    return Affine(*(part.to(device) for part in affine(rows)))


def slopes_on(weights: int, rows: int, device: str) -> Slopes:
    return Slopes(*(part.to(device) for part in slopes(weights, rows)))


def compare(results, rtol=1e-3, atol=1e-4):
    plain, found = ([value.cpu() for value in side] for side in results)
    torch.testing.assert_close(found, plain, rtol=rtol, atol=atol)


@inside
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("training", [True, False])
def test_depthwise(fast, extent, training):
    rows = 3
    x, skip = scattered(rows, extent), scattered(rows, extent, seed=4)
    weight = randoms((rows * 9,), seed=8)[0]
    results = []
    for each, device in sides(fast):
        norm = norm_on(rows, device)
        norm.mean.copy_(torch.linspace(-1, 1, rows))
        norm.variance.copy_(torch.linspace(0.5, 2, rows))
        arguments = moved(x, device), weight.to(device), norm
        alone = each.depthwise(*arguments, training=training, skip=None)
        out = each.depthwise(*arguments, training=training, skip=moved(skip, device))
        results.append((out, alone, norm.mean, norm.variance))
    compare(results)


@inside
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("added", [0, 3])
def test_depthwise_backward(fast, extent, added):
    rows = 3
    x, go = scattered(rows, extent), scattered(rows, extent, seed=9)
    plus = [scattered(rows, extent, seed=20 + i) for i in range(added)]
    weight = randoms((rows * 9,), seed=8)[0]
    norm = affine(rows)
    TorchKernels().depthwise(copied(x), weight, norm, training=True, skip=None)
    results = []
    for each, device in sides(fast):
        gradients = slopes_on(rows * 9, rows, device)
        gx = each.depthwise_backward(
            moved(go, device), moved(x, device), weight.to(device), Affine(*(part.to(device) for part in norm)),
            gradients, [moved(part, device) for part in plus],
        )  # fmt: skip
        results.append((gx, *gradients))
    compare(results)


@inside
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("mish", [True, False])
def test_matmul(fast, extent, mish):
    shapes = Shapes([(3, 4), (3, 4), (5, 20), (37, 3)])
    x, go = scattered(shapes.in_rows, extent), scattered(shapes.out_rows, extent, seed=9)
    weight = randoms((shapes.weights,), seed=8)[0]
    results = []
    for each, device in sides(fast):
        norm = norm_on(shapes.out_rows, device)
        gradients = slopes_on(shapes.weights, shapes.out_rows, device)
        inputs, w = moved(x, device), weight.to(device)
        out, y = each.matmul(inputs, shapes, w, norm, training=True, mish=mish)
        gx = each.matmul_backward(moved(go, device), inputs, y, shapes, w, norm, gradients, mish=mish)
        results.append((out, y, gx, norm.mean, norm.variance, *gradients))
    compare(results, rtol=2e-3, atol=2e-4)


@inside
@pytest.mark.parametrize("extent", [(2, 8, 16)])
def test_stem(fast, extent):
    networks, width = 2, 20
    windows, go = randoms((27, *extent), (networks * width, *extent))
    weight = randoms((networks * width * 27,), seed=3)[0]
    results = []
    for each, device in sides(fast):
        norm, x, w = norm_on(networks * width, device), windows.to(device), weight.to(device)
        gradients = slopes_on(len(weight), networks * width, device)
        out, y = each.stem(x, networks, w, norm, training=True)
        each.stem_backward(go.to(device), x, y, networks, w, norm, gradients)
        results.append((out, y, *gradients))
    compare(results)


@inside
@pytest.mark.parametrize("most", [2**20, 2**6])  # of wide networks a program takes fewer images
@pytest.mark.parametrize("extent", EXTENTS)
def test_attention(fast, extent, most, monkeypatch):
    monkeypatch.setattr("snas.networks.triton_kernels.MOST_NUMBERS", most)
    shapes = Shapes([(3, 1), (3, 1), (20, 5)])
    x, go = scattered(shapes.in_rows, extent), scattered(shapes.in_rows, extent, seed=9)
    weight = 2 * randoms((4 * shapes.weights,), seed=8)[0]
    results = []
    for each, device in sides(fast):
        inputs, w = moved(x, device), weight.to(device)
        g_weight = torch.empty_like(w)
        out, kept = each.attention(inputs, shapes, w)
        gx = each.attention_backward(moved(go, device), inputs, kept, shapes, w, g_weight)
        results.append((out, gx, g_weight))
    compare(results)


@inside
@pytest.mark.parametrize("more", [0, 1, 2])
def test_gather(fast, more):
    x, plus = scattered(6, (2, 3, 5)), randoms(*[(6, 2, 3, 5)] * more, seed=2)
    found = fast.gather(moved(x, DEVICE), *(tensor.to(DEVICE) for tensor in plus))
    torch.testing.assert_close(found.cpu(), TorchKernels().gather(copied(x), *plus))


@inside
def test_the_trial_runs(fast):
    fast.try_out(torch.device(DEVICE))


@inside
def test_nan_and_infinity_stay_in_their_row(fast):
    x = torch.randn(3, 4, 4, 16)
    x[1, 2, 2, 3] = torch.nan
    x[2, 0, 0, 0] = torch.inf
    norm, weight = norm_on(3, DEVICE), torch.randn(27).to(DEVICE)
    out = fast.depthwise(Parts([x.to(DEVICE)], None), weight, norm, training=True, skip=None)
    assert out[0].isfinite().all()
    assert out[1].isnan().all()
    assert not out[2].isfinite().any()


@pytest.mark.long
@inside
def test_a_population_has_the_gradients_of_plain_torch(monkeypatch):
    from snas.networks.triton_kernels import TritonKernels

    space = load("tiny_nanobench")
    cells = [space.cell(arch) for arch in (3, 1100)]
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.softmax(torch.rand(2, 10, generator=torch.Generator().manual_seed(1)), 1)
    found = []
    for each, device in sides(TritonKernels()):
        monkeypatch.setattr(kernels, "choose", lambda device, compile, each=each: each)
        population = NanoPopulation(cells, width=8, side=8, device=device).initialise(0)
        logits = population(images.to(device))
        losses(logits, targets.to(device)).sum().backward()
        used = torch.cat(
            [population.parameters.grad[place] for m in range(2) for place in population.owners(m)]
        )
        found.append((logits.detach(), used, population.running))
    compare(found, rtol=1e-2, atol=1e-4)


@inside
def test_what_is_not_contiguous_float32_is_refused():
    from snas.networks.triton_kernels import TritonKernels

    x = Parts([torch.zeros(2, 3, 4, 5, dtype=torch.float64, device=DEVICE)], None)
    with pytest.raises(ValueError, match=r"contiguous float32 is needed, not torch\.float64"):
        TritonKernels().gather(x, torch.zeros(2, 3, 4, 5, device=DEVICE))
