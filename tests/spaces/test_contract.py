"""What every registered space promises."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from snas import InputError, tables
from snas.spaces import REGISTRY, load, sizes
from snas.spaces.space import ARCHITECTURES


@pytest.fixture(scope="module", params=REGISTRY.names())
def space(request):
    return load(request.param)


def test_name_is_the_registry_s(space):
    assert REGISTRY.load(space.name) is type(space)
    assert space.title


def test_its_size_is_known_before_it_is_enumerated(space, monkeypatch):
    assert sizes.size(space.name) == len(space)
    monkeypatch.setattr(sizes, "SIZES", {})
    assert sizes.size(space.name) == len(space), "or it is enumerated"


def test_cells_are_distinct_graphs_in_topological_order(space):
    cells = space.cells()
    assert len({cell.name for cell in cells}) == len(cells) == len(space)
    assert len({(cell.operations, cell.edges) for cell in cells}) == len(cells)
    for cell in cells:
        assert all(0 <= source < target <= cell.output for source, target in cell.edges)


def test_every_node_lies_between_input_and_output(space):
    for cell in space.cells():
        graph = cell.graph()
        reach = np.linalg.matrix_power(
            graph.adjacency().astype(np.int64) + np.eye(len(graph.operations), dtype=np.int64), 8
        )
        assert (reach[0] > 0).all()
        assert (reach[:, -1] > 0).all()


def test_encoding_is_a_graph_with_identity(space):
    encoding = space.encoding()
    n = encoding.nodes
    assert len(encoding) == len(space)
    assert encoding.adjacency.shape == (len(space), n, n)
    assert encoding.adjacency.dtype == np.float32
    assert encoding.operations.dtype == np.int64
    assert set(np.unique(encoding.adjacency)) <= {0.0, 1.0}
    assert (np.diagonal(encoding.adjacency, axis1=1, axis2=2) == 1).all()
    assert (np.tril(encoding.adjacency, -1) == 0).all(), "edges go forward: no cycles"
    assert encoding.operations.min() >= 0
    assert encoding.operations.max() < len(encoding.vocabulary)
    assert len(set(encoding.vocabulary)) == len(encoding.vocabulary)


def test_encodings_tell_architectures_apart(space):
    encoding = space.encoding()
    together = np.concatenate([encoding.adjacency.reshape(len(space), -1), encoding.operations], axis=1)
    assert len(np.unique(together, axis=0)) == len(space)


def test_index_and_name_find_the_same_cell(space):
    for arch in (0, len(space) // 2, len(space) - 1):
        cell = space.cell(arch)
        assert space.index(cell.name) == arch
        assert space.cell(cell.name) is cell
        assert space.cell(cell) is cell


@pytest.mark.parametrize("arch", [-1, 10**6, "no such cell"])
def test_unknown_architectures_are_refused(space, arch):
    with pytest.raises(InputError, match="has no architecture"):
        space.cell(arch)


def test_table_is_written_and_read_back(space, tmp_path):
    table = space.table()
    tables.write(tmp_path / "space.parquet", table, ARCHITECTURES, {"space": space.name})
    again = tables.read(tmp_path / "space.parquet", ARCHITECTURES, {"space": space.name})
    encoding = space.encoding()
    n = encoding.nodes
    assert again.arch.tolist() == list(range(len(space)))
    assert again.cell.tolist() == [cell.name for cell in space.cells()]
    assert np.array_equal(np.stack(again.encoding), encoding.operations)
    adjacency = np.stack(again.adjacency).reshape(-1, n, n)
    assert np.array_equal(adjacency + np.eye(n), encoding.adjacency)
    macs, params = space.costs()
    assert np.array_equal(again.macs, macs)
    assert np.array_equal(again.params, params)
    middle = len(space) // 2
    edges = again.edges[middle].reshape(-1, 2)
    assert tuple(map(tuple, edges.tolist())) == space.cells()[middle].edges


def test_two_loads_make_the_same_space(space):
    again = load(space.name)
    assert again.cells() == space.cells()


def test_costs_of_another_size_are_smaller(space):
    macs, params = space.costs()
    small, few = space.costs(width=space.default_width // 2, channels=1, side=8, classes=10)
    assert (small < macs).all()
    assert (few < params).all()


def test_room_imports_neither_torch_nor_pandas():
    code = (
        "import sys, snas.spaces as s; s.load('tiny_nanobench').cells(); assert 'torch' not in sys.modules; "
    )
    lazy = "import sys, snas.spaces, snas.networks, snas.proxies; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    for program in (code, lazy):
        subprocess.run([sys.executable, "-c", program], check=True)


def test_the_table_in_parts_is_the_table(space):
    table = space.table()
    parts = list(space.table_parts(rows=700))
    assert len(parts) == -(-len(space) // 700)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), table)
    wanted = np.array([3, 8, len(space) - 1])
    some = pd.concat(space.table_parts(wanted, rows=2), ignore_index=True)
    pd.testing.assert_frame_equal(some, table.iloc[wanted].reset_index(drop=True))
