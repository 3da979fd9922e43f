"""What every registered proxy and its table promise."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from snas import InputError, tables
from snas.proxies import REGISTRY
from snas.proxies.scores import PROXIES, score
from snas.spaces import REGISTRY as SPACES

SIZE = {"width": 4, "channels": 1, "side": 8, "classes": 10}
ARCHS = [5, 8, 3]
"""Of a small space, too: a new one may have few cells."""


@pytest.fixture(scope="module", params=REGISTRY.names())
def proxy(request):
    return request.param


@pytest.mark.parametrize("space", SPACES.names())
def test_table_is_written_and_read_back(space, proxy, tmp_path):
    calls = []
    table = score(space, ARCHS, proxy, base_seed=0, progress=lambda *state: calls.append(state), **SIZE)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    tables.write(tmp_path / "scores.parquet", table, PROXIES)
    again = tables.read(tmp_path / "scores.parquet", PROXIES)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    assert again.arch.tolist() == ARCHS
    assert again.status.tolist() == ["ok"] * 3
    for row in again.itertuples():
        expected = math.log10(row.score) if row.score > 0 else math.nan
        assert row.log10 == pytest.approx(expected, nan_ok=True)


def test_score_does_not_depend_on_the_shard(proxy):
    together = score("tiny_nanobench", ARCHS, proxy, base_seed=3, **SIZE)
    torch.manual_seed(5)
    for place, arch in enumerate(ARCHS):
        alone = score("tiny_nanobench", [arch], proxy, base_seed=3, **SIZE)
        assert alone.score[0] == together.score[place]


def test_a_proxy_sees_the_weights_that_training_starts_from():
    """By one that reads them: a count of parameters is the same for every seed."""
    of_a_seed = lambda seed: score("tiny_nanobench", ARCHS, "synflow", base_seed=seed, **SIZE).score
    assert (of_a_seed(3) == of_a_seed(3)).all()
    assert (of_a_seed(3) != of_a_seed(4)).all()


def test_its_name_is_free_for_a_look_and_a_code(proxy):
    assert proxy not in {"code", "select", "coarse", "losses", "trained", "recorded"}


def test_nothing_to_score_is_an_empty_table(proxy, tmp_path):
    table = score("tiny_nanobench", [], proxy, base_seed=0, **SIZE)
    tables.write(tmp_path / "scores.parquet", table, PROXIES)
    assert len(tables.read(tmp_path / "scores.parquet", PROXIES)) == 0


def infinite(network, image):
    return math.inf


def exhausted(network, image):
    raise torch.OutOfMemoryError("no memory")


def exhausted_on_a_cpu(network, image):
    return float(torch.empty(10**15).sum())  # the error that torch really raises there


def wrong(network, image):
    raise RuntimeError("something else")


@pytest.fixture
def registered(request):
    """Register the function of this module that a test is given by name."""
    REGISTRY.register("a_test's", f"{__name__}:{request.param.__name__}")
    yield "a_test's"
    REGISTRY.unregister("a_test's")


@pytest.mark.parametrize(
    ("registered", "status"),
    [(infinite, "diverged"), (exhausted, "out_of_memory"), (exhausted_on_a_cpu, "out_of_memory")],
    indirect=["registered"],
)
def test_infinite_scores_and_exhausted_memory_are_recorded(registered, status):
    table = score("tiny_nanobench", [0, 1], registered, base_seed=0, **SIZE)
    assert table.status.tolist() == [status] * 2
    assert table.score.isna().all()
    assert table.log10.isna().all()


@pytest.mark.parametrize("registered", [wrong], indirect=True)
def test_other_errors_of_a_proxy_are_not_taken_for_a_lack_of_memory(registered):
    with pytest.raises(RuntimeError, match="something else"):
        score("tiny_nanobench", [0], registered, base_seed=0, **SIZE)


def test_bad_names_are_refused():
    with pytest.raises(InputError, match=r"unknown proxy 'snip'; known: synflow"):
        score("tiny_nanobench", [0], "snip", base_seed=0)
    with pytest.raises(InputError, match="has no architecture 1120"):
        score("tiny_nanobench", [1120], "synflow", base_seed=0)
    with pytest.raises(InputError, match="device 'tpu'"):
        score("tiny_nanobench", [0], "synflow", base_seed=0, device="tpu")
