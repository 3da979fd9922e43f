"""Many networks as one program against the same networks as plain modules, one at a time."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch

from snas import compiler, networks
from snas.networks import kernels, native
from snas.networks.nano_population import NanoPopulation
from snas.networks.populations import Singles, losses
from snas.spaces.nanobench import TinyNanoBench, make_cell

SPACE = TinyNanoBench()
CELLS = [
    make_cell(()),
    make_cell(("dwconv3x3",)),
    make_cell(("conv1x1",)),
    make_cell(("attention",)),
    make_cell(("expand",)),
    make_cell(("split",)),
    make_cell(("expand", "split", "attention", "conv1x1", "dwconv3x3"), 4),
    make_cell(("split", "expand", "dwconv3x3", "attention", "dwconv3x3"), 2),
    make_cell(("dwconv3x3", "split", "dwconv3x3", "conv1x1", "expand", "attention"), 6),
    make_cell(("conv1x1", "expand", "attention", "split", "dwconv3x3"), 5),
]
SIZES = {
    "digits": ({"width": 8, "channels": 1, "side": 8, "classes": 10}, 16),
    "odd width, odd side, odd batch": ({"width": 5, "channels": 3, "side": 13, "classes": 4}, 7),
    "narrow": ({"width": 3, "channels": 2, "side": 6, "classes": 3}, 5),
    "large batch": ({"width": 4, "channels": 1, "side": 4, "classes": 2}, 37),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["eager", "native"])
def compile(request):
    if request.param == "native" and native.load() is None:
        pytest.skip("no C++ compiler")
    return request.param == "native"


def batch(options, images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(images, options["channels"], options["side"], options["side"], generator=generator)
    targets = torch.softmax(torch.randn(images, options["classes"], generator=generator), dim=1)
    return pixels, targets


def pair(cells, options, compile, momentum=0.1):
    """Return a population and the same networks as singles."""
    modules = [networks.build(SPACE, cell, bn_momentum=momentum, **options) for cell in cells]
    population = NanoPopulation(cells, bn_momentum=momentum, compile=compile, **options)
    population.load(modules)
    return population, Singles(copy.deepcopy(modules))


def named_gradients(population, network):
    rank = population._order.index(network)
    return {p.name: population.parameters.grad[p.slice].view(p.shape) for p in population._places[rank]}


@pytest.mark.parametrize("size", SIZES)
def test_logits_and_gradients_are_those_of_plain_modules(size, compile):
    options, images = SIZES[size]
    population, singles = pair(CELLS, options, compile)
    pixels, targets = batch(options, images)
    together, alone = population(pixels), singles(pixels)
    assert together.shape == (len(CELLS), images, options["classes"])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    losses(together, targets).sum().backward()
    losses(alone, targets).sum().backward()
    for network in range(len(CELLS)):
        gradients = named_gradients(population, network)
        plain = dict(singles.module(network).named_parameters())
        assert set(gradients) == set(plain)
        scale = max(p.grad.abs().max().item() for p in plain.values())
        for name, parameter in plain.items():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=2e-3, atol=2e-5 * scale)


def test_gradient_agrees_with_finite_differences(compile):
    """Against the loss itself, not against another backward pass."""
    options, images = {"width": 4, "channels": 1, "side": 8, "classes": 3}, 9
    population = NanoPopulation(CELLS[6:], compile=compile, **options).initialise(3)
    pixels, targets = batch(options, images)
    direction = torch.randn(population.parameters.shape, generator=torch.Generator().manual_seed(1))
    direction /= direction.norm()

    def loss():
        return losses(population(pixels), targets).double()

    loss().sum().backward()
    step = 1e-2
    slopes = torch.zeros(population.size, dtype=torch.float64)
    for sign in (1, -1):
        with torch.no_grad():
            population.parameters += sign * step * direction
            slopes += sign * loss() / (2 * step)
            population.parameters -= sign * step * direction
    for network in range(population.size):
        found = sum((population.parameters.grad[o] * direction[o]).sum() for o in population.owners(network))
        assert found.item() == pytest.approx(slopes[network].item(), rel=0.02, abs=1e-3)


def test_every_parameter_has_an_owner_and_gets_a_gradient(compile):
    options, images = SIZES["digits"]
    population, _ = pair(CELLS, options, compile)
    pixels, targets = batch(options, images)
    owned = torch.zeros_like(population.parameters, dtype=torch.int64)
    for network in range(population.size):
        for part in population.owners(network):
            owned[part] += 1
        expected = sum(p.numel() for p in population.module(network).parameters())
        assert sum(part.stop - part.start for part in population.owners(network)) == expected
    rest = int((owned == 0).sum())
    assert owned.max() == 1
    assert rest < 64  # what fills the last vector
    losses(population(pixels), targets).sum().backward()
    silent = (population.parameters.grad == 0) & (owned == 1)
    # relu6's flat ends may silence an attention; all else moves
    assert silent.float().mean() < 0.01


def train(population, options, images, steps=6, rate=1e-2):
    # eps: where BN makes a gradient exactly zero, rounding must not become a step of full size
    adam = torch.optim.Adam([population.parameters], lr=rate, eps=1e-4, fused=True)
    history = []
    for step in range(steps):
        pixels, targets = batch(options, images, seed=step)
        population.zero_grad()
        loss = losses(population(pixels), targets)
        loss.sum().backward()
        adam.step()
        history.append(loss.detach())
    return torch.stack(history, dim=1)


def test_training_equals_one_network_at_a_time(compile):
    options, images = SIZES["digits"]
    population, singles = pair(CELLS, options, compile)
    together, alone = train(population, options, images), train(singles, options, images)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    population.eval()
    singles.eval()
    pixels, _ = batch(options, 21, seed=99)
    torch.testing.assert_close(population(pixels), singles(pixels), rtol=1e-2, atol=1e-2)


def test_running_statistics_and_weights_go_to_modules_and_back(compile):
    options, images = SIZES["odd width, odd side, odd batch"]
    population, singles = pair(CELLS, options, compile)
    pixels, _ = batch(options, images)
    with torch.no_grad():
        population(pixels)
        singles(pixels)
    for network in range(len(CELLS)):
        state, plain = population.module(network).state_dict(), singles.module(network).state_dict()
        for name, value in plain.items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)
    again = NanoPopulation(CELLS, compile=compile, **options)
    again.load([population.module(network) for network in range(len(CELLS))])
    assert torch.equal(again.parameters, population.parameters)
    assert torch.equal(again.running, population.running)
    population.eval()
    module = population.module(6).eval()
    torch.testing.assert_close(population(pixels)[6], module(pixels), rtol=1e-4, atol=1e-4)


def test_initial_weights_are_those_of_the_plain_networks():
    options, _ = SIZES["digits"]
    population = networks.population(SPACE, [900, 3, 17], base_seed=5, compile=False, **options)
    for network, arch in enumerate([900, 3, 17]):
        plain = networks.build(SPACE, arch, base_seed=5, **options).state_dict()
        state = population.module(network).state_dict()
        assert all(torch.equal(state[name], plain[name]) for name in plain)


def test_nan_in_one_network_leaves_the_others_alone(compile):
    options, images = SIZES["digits"]
    sound = NanoPopulation(CELLS, compile=compile, **options).initialise(0)
    broken = NanoPopulation(CELLS, compile=compile, **options).initialise(0)
    victim = 8
    with torch.no_grad():
        broken.parameters[broken.owners(victim)[0]] = torch.nan
    expected, found = train(sound, options, images, steps=3), train(broken, options, images, steps=3)
    assert found[victim].isnan().all()
    others = [m for m in range(len(CELLS)) if m != victim]
    assert torch.equal(found[others], expected[others])
    for network in others:
        for part in sound.owners(network):
            assert torch.equal(broken.parameters[part], sound.parameters[part])


@pytest.mark.parametrize("group", [1, 3])
def test_result_does_not_depend_on_the_group(group, compile):
    """With native kernels to the last bit, so that a shard's cut changes nothing at all."""
    options, images = SIZES["digits"]
    whole = train(NanoPopulation(CELLS, compile=compile, **options).initialise(0), options, images)
    parts = [
        train(NanoPopulation(CELLS[i : i + group], compile=compile, **options).initialise(0), options, images)
        for i in range(0, len(CELLS), group)
    ]
    if compile:
        assert torch.equal(torch.cat(parts), whole)
    else:
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-3, atol=1e-3)


def test_order_of_the_networks_is_the_callers():
    options, images = SIZES["digits"]
    pixels, _ = batch(options, images)
    shuffled = [7, 2, 9, 0, 5]
    population = NanoPopulation(CELLS, compile=False, **options).initialise(0)
    other = NanoPopulation([CELLS[i] for i in shuffled], compile=False, **options).initialise(0)
    torch.testing.assert_close(other(pixels), population(pixels)[shuffled], rtol=1e-5, atol=1e-5)


def test_without_a_compiler_plain_torch_serves_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(native, "load", lambda: None)
    kernels.said.cache_clear()
    for _ in range(2):  # groups of a shard: one line for all
        chosen = kernels.choose(torch.device("cpu"), compile=True)
        assert chosen.name == "eager torch"
    assert "no working C++ compiler" in caplog.text
    assert len(caplog.records) == 1


SLOWER = "networks are trained by plain torch, several times slower"


@pytest.mark.parametrize(
    ("triton", "trial", "message"),
    [
        (True, lambda self, device: None, None),
        (False, None, f"Triton is not installed: {SLOWER}"),
        (
            True,
            lambda self, device: exec("raise RuntimeError('Failed to find C compiler\\nmore')"),
            f"Triton does not work here (RuntimeError: Failed to find C compiler): {SLOWER}",
        ),
    ],
)
def test_on_a_gpu_triton_serves_where_it_works(monkeypatch, caplog, triton, trial, message):
    triton_kernels = pytest.importorskip("snas.networks.triton_kernels")
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: triton)
    monkeypatch.setattr(triton_kernels.TritonKernels, "try_out", trial)
    kernels.said.cache_clear()
    chosen = kernels.choose(torch.device("cuda"), compile=True)
    assert chosen.name == ("eager torch" if message else "Triton")
    assert caplog.messages == ([message] if message else [])


def test_a_broken_compiler_is_reported_and_survived(monkeypatch, tmp_path, caplog):
    compiler = tmp_path / "broken"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "out of order" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    assert native.load.__wrapped__() is None
    assert "out of order" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(
    os.getuid() != 0 or not compiler.found(), reason="gives folders to another user, and compiles"
)
def test_nothing_is_loaded_from_a_folder_of_another_user(monkeypatch, tmp_path):
    source = tmp_path / "room/one.cpp"
    source.parent.mkdir()
    source.write_text('extern "C" void one() {}\n')
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    monkeypatch.setenv("SNAS_CACHE", str(cache))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(temporary))
    temporary.mkdir()
    build = [compiler.found(), "-shared", "-fPIC"]
    kept = Path(compiler._load(source, build)._name)
    assert kept.parent == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    os.chown(kept, 4711, -1)
    os.chown(cache, 4711, -1)
    own = Path(compiler._load(source, build)._name)
    assert own.parent == temporary / "snas-cache-0"
    assert Path(compiler._load(source, build)._name) == own, "and it is kept there"


@pytest.mark.skipif(not compiler.found(), reason="compiles")
def test_a_cache_whose_files_may_not_run_gives_way_to_the_next_folder(monkeypatch, tmp_path):
    """A home that is mounted noexec: what is built there does not load."""
    source = tmp_path / "room/one.cpp"
    source.parent.mkdir()
    source.write_text('extern "C" void one() {}\n')
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    load = compiler.ctypes.CDLL

    def mounted_noexec(path):
        if path.startswith(str(tmp_path / "cache")):
            raise OSError(f"{path}: failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(compiler.ctypes, "CDLL", mounted_noexec)
    assert compiler.library(source, ["-shared"], {"one": ""}) is not None
    assert len(list((tmp_path / f"snas-cache-{os.getuid()}").glob("room-*.so"))) == 1

    def refused(path):
        raise OSError("not here either")

    monkeypatch.setattr(compiler.ctypes, "CDLL", refused)
    assert compiler.library(source, ["-shared"], {"one": ""}) is None


@pytest.mark.skipif(not compiler.found(), reason="compiles")
def test_a_cache_on_a_full_disk_gives_way_to_the_next_folder(monkeypatch, tmp_path):
    """It is the linker that meets it there, and says no more than that it has failed."""
    source, full = tmp_path / "room/one.cpp", tmp_path / "full"
    source.parent.mkdir()
    source.write_text('extern "C" void one() {}\n')
    full.write_text(
        f'#!/bin/sh\ncase "$*" in *{tmp_path}/cache*) exit 1;; esac\nexec {compiler.found()} "$@"\n'
    )
    full.chmod(0o755)
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(full))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    assert compiler.library(source, [], {"one": ""}) is not None
    assert len(list((tmp_path / f"snas-cache-{os.getuid()}").glob("room-*.so"))) == 1


@pytest.mark.parametrize("shape", [(5, 2, 8, 8), (5, 1, 12, 12)])
def test_images_of_another_shape_are_refused_and_not_read_beyond_their_end(shape, compile):
    options, _ = SIZES["digits"]
    population = NanoPopulation(CELLS[:2], compile=compile, **options).initialise(0)
    with pytest.raises(ValueError, match=r"\(any number, 1, 8, 8\) is expected"):
        population(torch.zeros(shape))


def test_native_kernels_refuse_what_they_would_misread():
    with pytest.raises(ValueError, match="contiguous float32"):
        kernels._addresses(torch.zeros(3, 4).t())
    with pytest.raises(ValueError, match="contiguous float32"):
        kernels._addresses(torch.zeros(3, dtype=torch.float64))
