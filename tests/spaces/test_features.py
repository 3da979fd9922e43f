"""Graph-count features against an enumeration of all paths; functionally equal cells against real networks."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from snas import InputError, spaces
from snas.spaces.features import (
    MOST_SUBSETS,
    NO_PATH,
    classes,
    count_features,
    graph_features,
    padded,
    path_lengths,
    subsets,
)
from snas.spaces.nasbench201 import FEATURE_EDGES, OPERATIONS, expression
from snas.spaces.space import Cell, Encoding, Graph, Space

SPACES = spaces.REGISTRY.names()  # at import: without the toys of other tests


def paths(graph: Graph) -> list[tuple[int, ...]]:
    """All paths from input to output, by walking."""
    last = len(graph.operations) - 1

    def walk(node: int) -> list[tuple[int, ...]]:
        if node == last:
            return [(node,)]
        return [(node, *rest) for a, b in graph.edges if a == node for rest in walk(b)]

    return walk(0)


def slow_features(graph: Graph, vocabulary: list[str], largest: int) -> dict[str, float]:
    """Every feature of one graph by enumeration, in plain Python."""
    last = len(graph.operations) - 1
    inner = range(1, last)
    found: dict[str, float] = {f"count {o}": graph.operations[1:-1].count(o) for o in vocabulary}
    for size in range(len(vocabulary) + 1):
        for chosen in itertools.combinations(vocabulary, size):
            label = "+".join(chosen) or "nothing"
            through = [p for p in paths(graph) if all(graph.operations[n] in chosen for n in p[1:-1])]
            lengths = [len(p) - 2 for p in through]
            found[f"shortest path through {label}"] = min(lengths, default=largest + 1)
            found[f"longest path through {label}"] = max(lengths, default=-1)
            named = [n for n in inner if graph.operations[n] in chosen]
            found[f"read by the output through {label}"] = sum((n, last) in graph.edges for n in named)
            found[f"readers of the input through {label}"] = sum((0, n) in graph.edges for n in named)
            into = sum((a, b) in graph.edges for a in named for b in inner)
            out = sum((a, b) in graph.edges for a in inner for b in named)
            found[f"mean in-degree through {label}"] = into / max(len(inner), 1)
            found[f"mean out-degree through {label}"] = out / max(len(inner), 1)
    return found


@pytest.mark.parametrize("name", SPACES)
def test_features_are_those_of_an_enumeration_of_all_paths(name):
    space = spaces.load(name)
    features = graph_features(space)
    assert features.values.shape == (len(space), len(features.names))
    assert len(set(features.names)) == len(features.names)
    graphs = [space.computing(cell) for cell in space.cells()]
    vocabulary = sorted({o for g in graphs for o in g.operations[1:-1]})
    largest = max(len(g.operations) for g in graphs) - 2
    for arch in random.Random(0).sample(range(len(space)), min(60, len(space))):
        slow = slow_features(graphs[arch], vocabulary, largest)
        fast = dict(zip(features.names, features.values[arch], strict=True))
        assert fast == pytest.approx(slow)


def test_features_of_random_graphs():
    rng = np.random.default_rng(0)
    graphs = []
    for _ in range(40):
        nodes = int(rng.integers(2, 8))
        upper = np.triu(rng.random((nodes, nodes)) < 0.4, 1)
        operations = ("input", *rng.choice(["a", "b", "c"], nodes - 2), "output")
        graphs.append(Graph(operations, tuple(zip(*map(np.ndarray.tolist, upper.nonzero()), strict=True))))
    features = count_features(graphs)
    vocabulary = sorted({o for g in graphs for o in g.operations[1:-1]})
    largest = max(len(g.operations) for g in graphs) - 2
    for graph, values in zip(graphs, features.values, strict=True):
        assert dict(zip(features.names, values, strict=True)) == pytest.approx(
            slow_features(graph, vocabulary, largest)
        )


def test_live_part_by_enumeration():
    """Nodes on a path from input to output that passes no dead operation, by walking all paths."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        nodes = int(rng.integers(2, 8))
        upper = np.triu(rng.random((nodes, nodes)) < 0.4, 1)
        operations = ("input", *map(str, rng.choice(["a", "zero"], nodes - 2)), "output")
        graph = Graph(operations, tuple(zip(*map(np.ndarray.tolist, upper.nonzero()), strict=True)))
        good = [p for p in paths(graph) if "zero" not in [operations[n] for n in p]]
        kept = sorted({n for p in good for n in p} | {0, nodes - 1})
        live = graph.live(dead=("zero",))
        assert live.operations == tuple(operations[n] for n in kept)
        edges = {(kept.index(a), kept.index(b)) for p in good for a, b in itertools.pairwise(p)}
        assert set(live.edges) == edges


def test_a_direct_path_has_no_operations_and_no_path_is_said():
    direct, cut = Graph(("input", "output"), ((0, 1),)), Graph(("input", "a", "output"), ((0, 1),))
    adjacency, kinds = padded([direct, cut], ["a"])
    fewest, most = path_lengths(adjacency, kinds >= 0)
    assert fewest.tolist() == [0, 2]
    assert most.tolist() == [0, NO_PATH]


def test_many_operations_have_bounded_subsets():
    assert len(subsets(6)) == 64 == MOST_SUBSETS
    assert subsets(0) == [()]
    assert subsets(1) == [(), (0,)]
    for operations in (7, 20, 200):
        found = subsets(operations)
        assert len(found) <= MOST_SUBSETS + 1
        assert len(set(found)) == len(found)
        assert found[-1] == tuple(range(operations))


def test_standardised_features_vary_and_have_unit_variance():
    values = graph_features(spaces.load("tiny_nanobench")).standardised()
    assert np.allclose(values.mean(axis=0), 0)
    assert np.allclose(values.std(axis=0), 1)
    alone = count_features([Graph(("input", "a", "output"), ((0, 1), (1, 2)))])
    assert alone.standardised().shape == (1, 0)


class Blind(Space):
    """A space of cells that are cut in the middle."""

    name, title, default_width, network = "blind", "Blind", 1, "none:none"

    def enumerate(self):
        return [Cell((operation,), ((0, 1),), operation) for operation in "ab"]

    def computing(self, cell):
        return cell.graph().live(dead=("a", "b"))

    def encoding(self):
        return Encoding(np.zeros((2, 1, 1), np.float32), np.zeros((2, 1), np.int64), ("a",))

    def costs(self, **size):
        return np.zeros(2, np.int64), np.zeros(2, np.int64)


def test_a_space_without_paths_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="none of its 2 cells has a path from input to output"):
        graph_features(Blind())


# ---- functionally equal cells


@pytest.mark.parametrize(
    ("name", "count"), [("nasbench201", 4450), ("tiny_nasbench201", 714), ("tiny_nanobench", 1120)]
)
def test_number_of_classes_and_their_standing_members(name, count):
    space = spaces.load(name)
    found = classes(space)
    assert len(found) == count == found.of.max() + 1
    assert found.of[found.first].tolist() == list(range(count))
    macs = space.costs()[0]
    cheapest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(cheapest, found.of, macs)
    assert (macs[found.first] == cheapest).all()


def test_classes_of_a_part_are_numbered_by_their_place_in_it():
    space = spaces.load("nasbench201")
    archs = np.random.default_rng(0).choice(len(space), 400, replace=False)
    whole, part = classes(space), classes(space, archs)
    same = whole.of[archs][:, None] == whole.of[archs]
    assert (same == (part.of[:, None] == part.of)).all()
    assert part.first.max() < 400


class NamedCell(nn.Module):
    """A NAS-Bench-201 cell in plain torch whose convolutions have the weights of their expression."""

    def __init__(self, operations: tuple[str, ...], channels: int = 6) -> None:
        super().__init__()
        self.operations, self.channels = operations, channels

    def conv(self, x: torch.Tensor, operation: str, key: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(int.from_bytes(key.encode(), "big") % 2**62)
        size = 3 if operation == "nor_conv_3x3" else 1
        weight = torch.randn(
            (self.channels, self.channels, size, size), generator=generator, dtype=torch.float64
        )
        out = nn.functional.conv2d(x.relu(), weight, padding=size // 2)
        return nn.functional.batch_norm(out, None, None, training=True, eps=1e-30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x]
        for node in (1, 2, 3):
            total = torch.zeros_like(x)
            for k, ((source, target), operation) in enumerate(
                zip(FEATURE_EDGES, self.operations, strict=True)
            ):
                if target != node or operation == "none":
                    continue
                value = nodes[source]
                if operation == "avg_pool_3x3":
                    value = nn.functional.avg_pool2d(value, 3, stride=1, padding=1, count_include_pad=False)
                elif operation != "skip_connect":
                    if not value.any():
                        continue  # BN of nothing is its bias
                    value = self.conv(value, operation, self.key(k, source))
                total = total + value
            nodes.append(total)
        return nodes[3]

    def key(self, k: int, source: int) -> str:
        """A name for what a convolution reads: the expression of its source, blind to a common factor."""
        upto = [
            o if b <= source else "none" for (_, b), o in zip(FEATURE_EDGES, self.operations, strict=True)
        ]
        # bring the source's sum to the output: a convolution's expression is inside that of a cell that ends with it
        moved = ["none"] * 6
        if source == 0:
            moved[3] = self.operations[k]
        elif source == 1:
            moved[0], moved[4] = upto[0], self.operations[k]
        else:
            moved[:3], moved[5] = upto[:3], self.operations[k]
        return repr(expression(moved))


def outputs(cells: list[tuple[str, ...]]) -> list[torch.Tensor]:
    x = torch.randn((4, 6, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [NamedCell(cell)(x) for cell in cells]


def test_cells_of_a_class_are_the_same_function_of_the_same_weights():
    space = spaces.load("nasbench201")
    found = classes(space)
    sizes = np.bincount(found.of)
    rng = np.random.default_rng(0)
    chosen = rng.choice(np.flatnonzero(sizes > 1), 60, replace=False)
    for number in chosen:
        members = rng.permutation(np.flatnonzero(found.of == number))[:4]
        first, *others = outputs([space.cell(int(m)).operations for m in members])
        for other in others:
            assert torch.allclose(first, other, atol=1e-8)


def test_cells_of_different_classes_are_different_functions():
    """Random cells, and each with the neighbours that differ in one operation."""
    rng = np.random.default_rng(1)
    pairs = 0
    for _ in range(40):
        cell = tuple(rng.choice(OPERATIONS, 6))
        place = int(rng.integers(6))
        near = [(*cell[:place], o, *cell[place + 1 :]) for o in OPERATIONS]
        values = outputs(near)
        for (a, x), (b, y) in itertools.combinations(zip(near, values, strict=True), 2):
            equal = torch.allclose(x, y, atol=1e-8)
            assert equal == (expression(a) == expression(b)), (a, b)
            pairs += 1
    assert pairs == 400
