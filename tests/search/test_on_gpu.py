"""Searches on a GPU that is not there (:mod:`tests.pretend_cuda`) end as those on the CPU."""

import numpy as np
import pytest

from snas.search import METHODS
from snas.search.block import Settings, run_block
from tests.pretend_cuda import pretended

SEARCHES = [name for name in METHODS.names() if METHODS.load(name).computes]
SHORT = {"brp_nas": {"hidden": 16, "epochs_each": 2}}


def options(method):
    """Return options with which it trains for a moment."""
    predictor = getattr(METHODS.load(method), "predictor", None)
    return {} if predictor is None else {"predictor": SHORT.get(predictor, {"epochs": 12})}


@pytest.mark.parametrize("method", SEARCHES)
def test_a_search_is_that_of_the_cpu(bench, method):
    settings = Settings(method, 20, 6, (0, 1), options=options(method))
    expected = run_block(bench(), settings, device="cpu", compile=False)
    with pretended() as operations:
        found = run_block(bench(), settings, device="cuda", compile=False)
        assert operations() > 100, "it computed elsewhere"
    for column in ("spearman", "coarse_spearman"):
        np.testing.assert_allclose(found[column], expected[column], atol=0.01)
    assert found["trainings"].tolist() == expected["trainings"].tolist()
