"""What the costly files of a run are expected to take: a stage's seconds are shared among its files."""

import pytest

from snas import config
from snas.progress import search_seconds, training_seconds
from snas.search.expected import plan
from snas.spaces.sizes import size


def test_the_seconds_of_a_stage_are_shared_by_its_files():
    checked = config.load(
        {"architectures": 100, "width": 8}
    )  # 400 digits: 96 steps of 32 a training, 18 of 16 a code
    files = {
        "training/codes": ["c0", "c1"],
        "training/truth": ["t0", "t1", "t2", "t3"],
        "proxies/synflow": ["p"],
    }
    found = plan(checked, files, {})
    assert {stage: list(seconds) for stage, seconds in found.items()} == files
    each = training_seconds(96 * 32, 8, 8)
    assert found["training/truth"] == pytest.approx(
        dict.fromkeys(files["training/truth"], 25 * each), rel=0.05
    )
    assert sum(found["training/codes"].values()) < sum(found["training/truth"].values()) / 5
    assert found["proxies/synflow"] == pytest.approx({"p": 3.0})
    wider = plan(config.load({"architectures": 100, "width": 16}), files, {})
    assert wider["training/codes"]["c0"] == pytest.approx(2 * found["training/codes"]["c0"])
    whole = plan(config.load({"architectures": 0}), files, {})
    assert whole["training/truth"]["t0"] == pytest.approx(11.2 * found["training/truth"]["t0"])


def test_a_share_smaller_than_a_batch_trains_one_batch_an_epoch():
    few, batch = (
        plan(config.load({"code_share": share}), {"training/codes": ["c"]}, {})["training/codes"]["c"]
        for share in (0.01, 16 / 400)
    )
    assert few == batch > 0


def test_what_goes_over_nasbench201_knows_nothing_of_the_run_s_own_space():
    stages = {"training/codes_201": ["a", "b"], "proxies/synflow_201": ["c"], "proxies/macs_201": ["d", "e"]}
    found = [
        plan(config.load({"architectures": architectures, "width": width}), stages, {})
        for architectures, width in ((100, 8), (0, 64))
    ]
    assert found[0] == found[1]
    assert found[0]["proxies/synflow_201"] == pytest.approx({"c": 0.034 * size("nasbench201")})
    assert found[0]["proxies/macs_201"] == {"d": 0.5, "e": 0.5}, "no network is made for it"


def test_searches_stand_by_method_and_a_stage_may_have_no_file():
    found = plan(
        config.load({}),
        {"own": ["split"], "own/truth": ["t"], "own/best": ["n"], "training/truth": []},
        {"x": ("siamese", 50, 20, 9), "y": ("siamese", 100, 20, 9), "z": ("random", 50, 20, 9)},
    )
    assert found["training/truth"] == {}
    assert (found["own"], found["own/truth"], found["own/best"]) == ({"split": 5.0}, {"t": 20.0}, {"n": 30.0})
    assert found["search/siamese"] == {
        "x": search_seconds("siamese", 50, 20),
        "y": search_seconds("siamese", 100, 20),
    }
    assert found["search/random"] == {"z": 1.0}
