"""Sizes as proxies are those of the space's own table; noise knows nothing of them."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

from snas import InputError, networks, spaces
from snas.proxies.scores import score
from snas.spaces import REGISTRY as SPACES

ARCHS = [0, 3, 700, 1119]


@pytest.mark.parametrize("name", ["params", "macs"])
@pytest.mark.parametrize("space", ["tiny_nanobench", "tiny_nasbench201"])
def test_sizes_are_those_of_the_table(space, name):
    found = score(space, ARCHS, name, base_seed=0)
    assert found["score"].tolist() == spaces.load(space).table().loc[ARCHS, name].tolist()
    assert (found["status"] == "ok").all()


SMALL = {"width": 4, "channels": 1, "side": 8, "classes": 7}
COUNTS = {
    "params": lambda network: sum(p.numel() for p in network.parameters()),
    "macs": lambda network: networks.count_macs(network, (1, 8, 8)),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("space", SPACES.names())
def test_sizes_are_those_of_the_networks_at_the_size_that_is_scored_and_none_is_made_for_them(
    space, name, monkeypatch
):
    archs = [5, 8, 3]
    made = [networks.build(space, arch, **SMALL) for arch in archs]
    built = Mock(wraps=networks.build)
    monkeypatch.setattr(networks, "build", built)
    found = score(space, archs, name, base_seed=0, **SMALL)
    assert found["score"].tolist() == [COUNTS[name](network) for network in made]
    assert built.call_count == 1, "the one that says whether there can be a network of this size"
    with pytest.raises(InputError, match="a network needs at least"):
        score(space, archs, name, base_seed=0, **SMALL | {"side": 0})


def test_noise_is_spread_evenly_and_has_nothing_to_do_with_the_size():
    archs = list(range(0, 1120, 4))
    found = score("tiny_nanobench", archs, "noise", base_seed=0, width=4, side=8)
    values = found["log10"].to_numpy()
    assert ((values >= 0) & (values < 1)).all()
    counts, _ = np.histogram(values, bins=4, range=(0, 1))
    assert (np.abs(counts - 70) < 25).all()  # of 280; 25 is 3.5 standard deviations
    params = spaces.load("tiny_nanobench").table().loc[archs, "params"]
    assert abs(np.corrcoef(values, np.log(params))[0, 1]) < 0.2  # 3.3 standard deviations
