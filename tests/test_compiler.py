"""Building native code with compilers of other habits than this machine's."""

import ctypes
import platform

import pytest

from snas import compiler

SOURCE = 'extern "C" void twice(float* x, int64_t n) { for (int64_t i = 0; i < n; ++i) x[i] *= 2; }\n'


@pytest.fixture
def source(tmp_path):
    if compiler.found() is None:
        pytest.skip("no C++ compiler")
    path = tmp_path / "room" / "native.cpp"
    path.parent.mkdir()
    path.write_text("#include <cstdint>\n" + SOURCE)
    return path


def wrapped(folder, refused):
    """Return a compiler that refuses these flags as Clang does, keeps its command lines, and else is this machine's."""
    path = folder / "compiler"
    tests = "".join(f'for a in "$@"; do test "$a" = {flag} && exit 1; done\n' for flag in refused)
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/lines\n{tests}exec {compiler.found()} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("machine", "refused", "taken"),
    [
        ("x86_64", (), "-march=native"),
        ("riscv64", ("-mcpu=native",), "-march=native"),
        ("arm64", (), "-mcpu=native"),
        ("ppc64le", ("-march=native",), "-mcpu=native"),
        ("x86_64", compiler.NATIVE, None),
    ],
)
def test_the_processor_is_named_as_the_compiler_knows_it(
    source, tmp_path, monkeypatch, machine, refused, taken
):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(wrapped(tmp_path, refused)))
    loaded = compiler.library(source, (), {"twice": "p i"})
    built = (tmp_path / "lines").read_text().splitlines()[-1].split()
    assert [flag for flag in compiler.NATIVE if flag in built] == ([taken] if taken else [])
    values = (ctypes.c_float * 5)(1, 2, 3, 4, 5)
    loaded.twice(ctypes.addressof(values), 5)
    assert list(values) == [2, 4, 6, 8, 10]
    compiler.library(source, (), {"twice": "p i"})
    assert (tmp_path / "lines").read_text().splitlines()[-1] == "--version", "what is built is loaded"


def test_machines_of_different_kinds_keep_different_libraries(source, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    compiler.library(source, (), {"twice": "p i"})
    monkeypatch.setattr(platform, "machine", lambda: "another")
    compiler.library(source, (), {"twice": "p i"})
    assert len(list((tmp_path / "cache").glob("room-*.so"))) == 2
