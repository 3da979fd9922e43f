"""NAS-Bench-201: the official order, the recorded costs, the encoding."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snas import InputError
from snas.spaces import load
from snas.spaces.nasbench201 import OPERATIONS, VOCABULARY, parse_arch_string

RECORDS = Path(__file__).resolve().parents[3] / "shared" / "data" / "nasbench201.parquet"
SIZES = {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet16-120": (16, 120)}


@pytest.fixture(scope="module")
def space():
    return load("nasbench201")


@pytest.fixture(scope="module")
def records():
    if not RECORDS.is_file():
        pytest.skip(f"{RECORDS} is not here")
    columns = ["arch_id", "arch", "dataset", "flops_m", "params_m"]
    return pd.read_parquet(RECORDS, columns=columns).sort_values("arch_id")


def test_order_of_the_benchmark(space):
    """The order rests on Python's ``random``: the whole list is pinned, so that a change of it cannot pass."""
    names = [cell.name for cell in space.cells()]
    assert len(set(names)) == 15625
    assert (
        names[0]
        == "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == ORDER


ORDER = "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"


def test_order_agrees_with_the_records(space, records):
    arch = records[records.dataset == "cifar10"]
    assert arch.arch_id.tolist() == list(range(15625))
    assert arch.arch.tolist() == [cell.name for cell in space.cells()]


@pytest.mark.parametrize("dataset", SIZES)
def test_costs_agree_with_every_record(space, records, dataset):
    """Recorded FLOPs = MACs + classes, and recorded parameters, exactly, on every architecture with a record."""
    side, classes = SIZES[dataset]
    rows = records[(records.dataset == dataset) & records.flops_m.notna()]
    assert len(rows) == 15614
    macs, params = space.costs(side=side, classes=classes)
    arch = rows.arch_id.to_numpy()
    assert np.array_equal(np.rint(rows.flops_m.to_numpy() * 1e6).astype(np.int64), macs[arch] + classes)
    assert np.array_equal(np.rint(rows.params_m.to_numpy() * 1e6).astype(np.int64), params[arch])


def test_tiny_space_is_what_lies_below_35_million(space):
    tiny = load("tiny_nasbench201")
    macs, _ = space.costs()
    assert len(tiny) == 4096
    assert np.array_equal(tiny.official_index, np.flatnonzero(macs < 35e6))
    assert tiny.costs()[0].max() == 31_376_000
    assert macs[macs >= 35e6].min() == 43_172_480
    assert [cell.name for cell in tiny.cells()] == [space.cells()[i].name for i in tiny.official_index]
    assert np.array_equal(tiny.encoding().operations, space.encoding().operations[tiny.official_index])


def test_encoding_of_a_hand_written_cell(space):
    encoding = space.encoding()
    assert VOCABULARY[:5] == ("zero", *OPERATIONS[1:])
    row = space.index("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|")
    words = [encoding.vocabulary[code] for code in encoding.operations[row]]
    assert words == [
        "split_3",
        "nor_conv_3x3",
        "split_2",
        "zero",
        "skip_connect",
        "none",
        "avg_pool_3x3",
        "nor_conv_1x1",
        "zero",
        "output",
    ]
    edges = {(0, 1), (0, 3), (0, 6), (1, 2), (2, 4), (2, 7), (3, 5), (4, 5), (5, 8), (6, 9), (7, 9), (8, 9)}
    adjacency = encoding.adjacency[row]
    assert np.array_equal(np.diag(adjacency), np.ones(10))
    assert {(int(a), int(b)) for a, b in np.argwhere(adjacency) if a != b} == edges


def test_graph_of_operations_has_the_paths_of_the_feature_graph(space):
    """A path input → output of the operation graph is a path 0 → 3 of the feature graph."""
    graph = space.cells()[0].graph()
    edges = ["01", "02", "12", "03", "13", "23"]

    def paths(node):
        if node == 7:
            return [[]]
        return [[target, *rest] for source, target in graph.edges if source == node for rest in paths(target)]

    found = {" ".join(edges[node - 1] for node in path[:-1]) for path in paths(0)}
    assert found == {"03", "01 13", "02 23", "01 12 23"}


@pytest.mark.parametrize("text", ["", "|none~0|", "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
def test_foreign_arch_strings_are_refused(text):
    with pytest.raises(InputError, match="not an architecture of NAS-Bench-201"):
        parse_arch_string(text)


def test_arch_strings_are_read_back(space):
    assert all(parse_arch_string(cell.name) == cell.operations for cell in space.cells())
