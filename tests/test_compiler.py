"""Building native code with compilers of other habits than this machine's."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_library_that_lost_its_end_is_built_again(source, tmp_path, monkeypatch, share):
    """In a process of its own: to load it would end the process with SIGBUS."""
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    compiler.library(source, (), {"twice": "p i"})
    (kept,) = (tmp_path / "cache").glob("room-*.so")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[: int(share * len(whole))])
    program = (
        "import pathlib, sys; from snas import compiler;"
        "print(compiler.library(pathlib.Path(sys.argv[1]), (), {'twice': 'p i'})._name)"
    )
    done = subprocess.run([sys.executable, "-c", program, source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(kept)
    assert kept.stat().st_size == len(whole)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cpu\t\t: POWER8 (raw), altivec supported", "cpu\t\t: POWER9 (raw), altivec supported"),
        ("isa\t\t: rv64imafdc", "isa\t\t: rv64imafdcv"),
        ("features\t: esan3 zarch vx", "features\t: esan3 zarch vx vxe2"),
        ("flags\t\t: fpu avx2", "flags\t\t: fpu avx2 avx512f"),
        ("Features\t: fp asimd", "Features\t: fp asimd sve"),
    ],
)
def test_processors_that_share_a_home_are_told_apart(monkeypatch, one, other):
    told = []
    for line, clock in ((one, 2000), (one, 3000), (other, 2000)):
        text = f"processor\t: 0\n{line}\ncpu MHz\t\t: {clock}\nclock\t\t: {clock}.0MHz\n"
        monkeypatch.setattr(Path, "read_bytes", lambda path, text=text: text.encode())
        told.append(compiler._processor())
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_a_compiler_that_fails_without_a_word_leaves_nothing_behind(source, tmp_path, monkeypatch, caplog):
    silent = tmp_path / "silent"
    silent.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho >&2\nexit 1\n')
    silent.chmod(0o755)
    monkeypatch.setenv("CXX", str(silent))
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path / "temporary"))
    assert compiler.library(source, (), {"twice": "p i"}) is None
    assert "returned non-zero exit status 1" in caplog.text
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == [f"snas-cache-{os.getuid()}"]


def test_a_library_serves_where_no_folder_can_keep_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "_writable", lambda folder: folder.name.startswith("snas-own"))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    made = compiler.tempfile.TemporaryDirectory
    monkeypatch.setattr(
        compiler.tempfile,
        "TemporaryDirectory",
        lambda prefix="snas-", **options: made(prefix="snas-own" if prefix == "snas-" else prefix, **options),
    )
    loaded = compiler.library(source, (), {"twice": "p i"})
    values = (ctypes.c_float * 2)(1, 2)
    loaded.twice(ctypes.addressof(values), 2)
    assert list(values) == [2, 4]
    assert not list(tmp_path.glob("snas-own*"))


@pytest.mark.parametrize("cache", ["", "."])
def test_a_cache_in_the_current_folder_or_without_a_name(source, tmp_path, monkeypatch, cache):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("SNAS_CACHE", cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    kept = Path(compiler.library(source, (), {"twice": "p i"})._name)
    assert kept.parent == (here if cache else tmp_path / "home" / "snas")
    assert bool(list(here.iterdir())) == bool(cache)
    assert compiler.library(source, (), {"twice": "p i"})._name == str(kept)


def test_a_compiler_whose_path_is_not_text(source, tmp_path, monkeypatch):
    path = os.fsencode(tmp_path) + b"/g\xff++"
    os.symlink(os.fsencode(compiler.found()), path)
    monkeypatch.setenv("CXX", os.fsdecode(path))
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    assert compiler.library(source, (), {"twice": "p i"}) is not None
