"""Compiled equals eager; without a compiler the eager path serves and says so in one line."""

from __future__ import annotations

import logging

import pytest
import torch

from snas.predictors import REGISTRY, compiling
from snas.predictors.fused import Kernels
from tests.predictors import toys


def fitted(compile):
    """The torch path of the CPU, with the kernels that a GPU gets."""
    predictor = REGISTRY.load("siamese+nsam")(toys.encoding(), [0, 1], base_seed=0, budget=8, epochs=10)
    predictor.kernels = Kernels(torch.device("cpu"), compile=compile)
    ids, accuracy, codes = toys.pool(2, 12, missing=0.2)
    predictor.fit(ids, accuracy, codes, start=0, stop=3)
    return predictor


def test_compiled_equals_eager(caplog):
    if compiling.why_not(torch.device("cpu")):
        pytest.skip("no C++ compiler on this machine")
    with caplog.at_level(logging.WARNING, logger="snas"):
        compiled = fitted(True)
        coarse = compiled.coarse()
    assert not [r for r in caplog.records if r.name.startswith("snas")]
    assert compiled.kernels.pair.call is not compiled.kernels.pair.function
    torch.testing.assert_close(coarse, fitted(False).coarse(), rtol=1e-4, atol=1e-5)


def test_without_a_compiler_eager_serves_and_one_line_says_so(monkeypatch, caplog):
    def missing():
        raise RuntimeError("nothing\nfound")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", missing)
    compiling.said.cache_clear()
    with caplog.at_level(logging.WARNING, logger="snas"):
        predictor = fitted(True)
    assert [r.getMessage() for r in caplog.records] == [
        "predictors run in eager mode, several times slower: no working C++ compiler was found (RuntimeError)"
    ]
    assert torch.equal(predictor.coarse(), fitted(False).coarse())


def test_a_compiler_that_fails_at_later_shapes_leaves_the_eager_function(monkeypatch, caplog):
    """Dynamo raises when a function has been compiled too often; what was computed before stays compiled."""
    calls = []

    def compiler(function, **_):
        def compiled(x):
            calls.append(len(x))
            if len(x) > 2:
                raise torch._dynamo.exc.FailOnRecompileLimitHit("too often")
            return function(x)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(compiling, "why_not", lambda device: None)
    compiling.said.cache_clear()
    double = compiling.Compiled(lambda x: 2 * x, torch.device("cpu"), enabled=True)
    with caplog.at_level(logging.WARNING, logger="snas"):
        results = [double(torch.ones(n)).sum().item() for n in (1, 2, 3, 3)]
    assert results == [2, 4, 6, 6]
    assert calls == [1, 2, 3]
    (line,) = [r.getMessage() for r in caplog.records]
    assert "torch.compile failed (FailOnRecompileLimitHit: too often)" in line


def test_other_errors_of_a_compiled_function_are_not_hidden(monkeypatch):
    def compiler(function, **_):
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(compiling, "why_not", lambda device: None)
    negative = compiling.Compiled(lambda x: x.reshape(-1, 3), torch.device("cpu"), enabled=True)
    negative(torch.ones(3))
    with pytest.raises(RuntimeError, match="shape"):
        negative(torch.ones(4))
