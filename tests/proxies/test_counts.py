"""Sizes as proxies are those of the space's own table."""

from __future__ import annotations

import pytest

from snas import spaces
from snas.proxies.scores import score

ARCHS = [0, 3, 700, 1119]


@pytest.mark.parametrize("name", ["params", "macs"])
@pytest.mark.parametrize("space", ["tiny_nanobench", "tiny_nasbench201"])
def test_sizes_are_those_of_the_table(space, name):
    found = score(space, ARCHS, name, base_seed=0)
    assert found["score"].tolist() == spaces.load(space).table().loc[ARCHS, name].tolist()
    assert (found["status"] == "ok").all()
