"""Tiny-NanoBench: counts, the edge of the limit, the channel book and the costs against plain versions."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from snas.spaces import load
from snas.spaces.nanobench import (
    INPUT,
    MACS_LIMIT,
    VOCABULARY,
    Piece,
    all_cells,
    make_cell,
    network_costs,
    plan,
)


@pytest.fixture(scope="module")
def space():
    return load("tiny_nanobench")


def test_counts_and_edges_of_the_limit(space):
    cells = all_cells()
    macs, _ = network_costs(cells)
    assert len(cells) == 2083
    assert len(space) == 1120
    assert macs[macs <= MACS_LIMIT].max() == 34_788_608
    assert macs[macs > MACS_LIMIT].min() == 35_005_696
    assert [cell.name for cell in space.cells()] == [
        cell.name for cell, cost in zip(cells, macs, strict=True) if cost <= MACS_LIMIT
    ]


def test_enumeration_agrees_with_a_plain_one_from_the_words_of_the_rule():
    found = set()
    bag = ["dwconv3x3", "dwconv3x3", "conv1x1", "attention", "expand", "split"]
    for length in range(7):
        for chosen in set(permutations(bag, length)):  # every ordered draw from the bag
            chain = {(i, i + 1) for i in range(length)}
            second = [None]
            if "split" in chosen and chosen.index("split") < length - 1:
                i = chosen.index("split")
                second = [j for j in range(length + 1) if j >= i + 2]
            for j in second:
                edges = chain if j is None else chain | {(chosen.index("split"), j)}
                found.add((chosen, tuple(sorted(edges))))
    cells = [(cell.operations, cell.edges) for cell in all_cells()]
    assert len(cells) == len(set(cells))
    assert set(cells) == found


def test_order_is_stable(space):
    """The index is part of the files: a change of the order would mix architectures up."""
    names = [cell.name for cell in space.cells()]
    assert names[:7] == [
        "identity",
        "dwconv3x3",
        "conv1x1",
        "attention",
        "expand",
        "split",
        "dwconv3x3,dwconv3x3",
    ]
    assert names[-1] == "split>6,expand,attention,conv1x1,dwconv3x3,dwconv3x3"
    lengths = Counter(len(cell.operations) for cell in all_cells())
    assert lengths == {0: 1, 1: 5, 2: 21, 3: 85, 4: 291, 5: 720, 6: 960}


def test_names_say_the_split():
    assert make_cell(()).name == "identity"
    assert make_cell(("dwconv3x3", "split")).name == "dwconv3x3,split"
    cell = make_cell(("dwconv3x3", "split", "attention", "conv1x1"), 4)
    assert cell.name == "dwconv3x3,split>4,attention,conv1x1"
    assert cell.edges == ((0, 1), (1, 2), (1, 4), (2, 3), (3, 4))


def test_plan_of_a_hand_made_cell():
    """The split's first half goes on, its second half to the output, where it comes first (by source node)."""
    book = plan(make_cell(("expand", "split", "attention", "conv1x1"), 4), 8, 16)
    expand, split, attention, conv, output = book.nodes
    assert (expand.in_channels, expand.out_channels) == (8, 24)
    assert expand.pieces == (Piece(INPUT, 0, 8),)
    assert (split.in_channels, split.out_channels, split.projects) == (24, 24, False)
    assert attention.pieces == (Piece(1, 0, 12),)
    assert (attention.out_channels, attention.hidden) == (12, 3)
    assert (conv.in_channels, conv.out_channels) == (12, 16)
    assert output.pieces == (Piece(1, 12, 24), Piece(3, 0, 16))
    assert (output.in_channels, output.out_channels, output.projects) == (28, 16, True)
    assert not book.residual


def test_plan_of_odd_channels_and_of_a_split_at_the_end():
    book = plan(make_cell(("split", "dwconv3x3"), 2), 5, 5)
    assert book.nodes[0].projects
    assert book.nodes[0].out_channels == 6
    assert [piece.channels for piece in book.nodes[2].pieces] == [3, 3]
    assert book.residual
    last = plan(make_cell(("conv1x1", "split")), 4, 8)
    assert last.nodes[2].pieces == (Piece(1, 0, 8),)
    assert not last.nodes[2].projects


def test_plan_of_the_empty_cell():
    book = plan(make_cell(()), 8, 16)
    assert [node.operation for node in book.nodes] == ["output"]
    assert book.nodes[0].pieces == (Piece(INPUT, 0, 8),)
    assert book.nodes[0].projects


def _slow_macs(operations, edges, *, width, channels, side, classes):
    """The table of operations, read line by line, one network at a time."""
    total = 9 * channels * width * side * side
    before = width
    for stage in range(3):
        f, h = width * 2**stage, side // 2**stage
        for _ in range(3):
            arriving = {node: [] for node in range(len(operations) + 1)}
            arriving[0].append(before)
            for node, operation in enumerate(operations):
                c = sum(arriving[node])
                targets = sorted(b for a, b in edges if a == node)
                parts = None
                if operation == "dwconv3x3":
                    total += 9 * c * h * h
                elif operation == "conv1x1":
                    total += c * f * h * h
                    c = f
                elif operation == "attention":
                    total += 4 * c * (c // 4)
                elif operation == "expand":
                    total += 27 * c * h * h
                    c = 3 * c
                elif operation == "split":
                    if c % 2:
                        total += c * (c + 1) * h * h
                        c += 1
                    parts = [c // 2, c // 2] if len(targets) == 2 else [c]
                for target, part in zip(targets, parts or [c], strict=True):
                    arriving[target].append(part)
            c = sum(arriving[len(operations)])
            total += 0 if c == f else c * f * h * h
            before = f
    return total + before * classes


@pytest.mark.parametrize("size", [(32, 3, 32, 10), (8, 1, 8, 10), (9, 2, 12, 7), (24, 4, 17, 3)])
def test_macs_agree_with_the_table_read_line_by_line(size):
    sizes = dict(zip(("width", "channels", "side", "classes"), size, strict=True))
    cells = all_cells()
    macs, _ = network_costs(cells, **sizes)
    assert macs.tolist() == [_slow_macs(cell.operations, cell.edges, **sizes) for cell in cells]


def test_encoding_of_hand_written_cells(space):
    encoding = space.encoding()
    assert VOCABULARY == ("dwconv3x3", "conv1x1", "attention", "expand", "split", "output", "none")
    assert encoding.vocabulary == VOCABULARY
    row = space.index("split>2,dwconv3x3,conv1x1")
    assert encoding.operations[row].tolist() == [4, 0, 1, 5, 6, 6, 6]
    assert encoding.adjacency[row].tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    empty = space.index("identity")
    assert encoding.operations[empty].tolist() == [5, 6, 6, 6, 6, 6, 6]
    assert np.array_equal(encoding.adjacency[empty], np.eye(7))


def test_graph_of_a_cell(space):
    graph = space.cell("split>3,dwconv3x3,conv1x1").graph()
    assert graph.operations == ("input", "split", "dwconv3x3", "conv1x1", "output")
    assert graph.edges == ((0, 1), (1, 2), (1, 4), (2, 3), (3, 4))
    assert space.cell("identity").graph().edges == ((0, 1),)
