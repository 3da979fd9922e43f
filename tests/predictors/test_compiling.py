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
