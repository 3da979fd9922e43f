"""Graph-count features of a cell, for predictors of few observations (a Gaussian process): any space has them.

They are read off the graph that every space gives (:meth:`snas.spaces.space.Space.computing`), so that a new space needs no
line for them.  The idea, and most of the features, are those of neural graph features (GRAF; Kadlecová et al., 2024):
counts, path lengths and degrees, each under every restriction of the operations that may be passed.

Axes: ``archs`` the architectures, ``nodes`` the nodes of a graph padded to the largest (input first, output last),
``subsets`` the subsets of operations, ``features`` the columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from snas import InputError
from snas.spaces.space import Graph, Space

MOST_SUBSETS = 64
"""Most subsets of operations: 2⁶.  A space with more than six operations has them up to the size that fits."""
NO_PATH = -1
"""Operations on the longest path where there is no path (a direct edge from input to output has 0)."""


@dataclass(frozen=True)
class Features:
    """Feature values of a whole space: ``values[a, f]`` belongs to architecture a and the count ``names[f]``."""

    values: Float64[np.ndarray, "archs features"]
    names: tuple[str, ...]

    def standardised(self) -> Float64[np.ndarray, "archs features"]:
        """Return the columns that vary, each with mean 0 and variance 1 over the space.

        A column that never varies says nothing and would divide by zero; a space of one architecture has none left.
        """
        spread = self.values.std(axis=0)
        varies = spread > 1e-12 * np.maximum(np.abs(self.values).max(axis=0, initial=0), 1)
        kept = self.values[:, varies]
        return (kept - kept.mean(axis=0)) / spread[varies]


@dataclass(frozen=True)
class Classes:
    """Architectures sorted into classes of functionally equal ones (:meth:`snas.spaces.space.Space.function`).

    Attributes:
        of: the class of each architecture.
        first: of each class the member that stands for it: the one with the fewest MACs, then with the fewest computing
            operations, then the first.
    """

    of: Int64[np.ndarray, " archs"]
    first: Int64[np.ndarray, " classes"]

    def __len__(self) -> int:
        return len(self.first)


def classes(space: Space, archs: Sequence[int] | np.ndarray | None = None) -> Classes:
    """Return the classes of ``archs`` (default: all of the space), numbered by their place in ``archs``.

    A class is numbered by its standing member, so that the order of classes is that of the architectures.
    """
    chosen = range(len(space)) if archs is None else archs
    cells = [space.cells()[int(arch)] for arch in chosen]
    macs = space.costs()[0][list(map(int, chosen))]
    size = np.array([len(space.computing(cell).operations) for cell in cells])
    keys = [space.function(cell) for cell in cells]
    standing: dict[Hashable, int] = {}
    for place in np.lexsort((np.arange(len(cells)), size, macs)):
        standing.setdefault(keys[place], int(place))
    first = np.array(sorted(standing.values()), dtype=np.int64)
    return Classes(np.searchsorted(first, [standing[key] for key in keys]), first)


def graph_features(space: Space, archs: Sequence[int] | np.ndarray | None = None) -> Features:
    """Return the graph-count features of ``archs`` (default: all of the space), a row each.

    Of the part of each cell that computes something: how often each operation occurs, and for every subset of the
    operations (:func:`subsets`)

    * the fewest and the most operations on a path from input to output that passes operations of the subset alone
      (without such a path: one more than the largest cell has, and :data:`NO_PATH`),
    * how many operations of the subset read the input, and how many the output reads,
    * how many operations of the subset an operation reads, and how many read it, on average over the cell.

    Raises :class:`InputError` where no cell has a path from input to output: there is nothing to tell apart.
    """
    chosen = range(len(space)) if archs is None else archs
    graphs = [space.computing(space.cells()[int(arch)]) for arch in chosen]
    if graphs and not any(graph.edges for graph in graphs):
        raise InputError(
            f"space {space.name!r}: none of its {len(graphs)} cells has a path from input to output; a search needs cells "
            "that compute something"
        )
    return count_features(graphs)


def count_features(graphs: Sequence[Graph]) -> Features:
    """Return the features of ``graphs`` (see :func:`graph_features`), over the operations that occur in them."""
    vocabulary = sorted({operation for graph in graphs for operation in graph.operations[1:-1]})
    adjacency, kinds = padded(graphs, vocabulary)
    of_kind = kinds[:, :, None] == np.arange(len(vocabulary))
    link = adjacency.astype(np.float64)
    columns: list[np.ndarray] = [of_kind.sum(axis=1)]
    names = [f"count {operation}" for operation in vocabulary]
    inner = np.maximum((kinds >= 0).sum(axis=1), 1)
    for subset in subsets(len(vocabulary)):
        allowed = np.isin(kinds, subset)
        shortest, longest = path_lengths(adjacency, allowed)
        one = allowed.astype(np.float64)
        within = np.einsum("ax,axy->ay", one, link) * (kinds >= 0)
        readers = np.einsum("axy,ay->ax", link, one) * (kinds >= 0)
        values = {
            "shortest path": shortest,
            "longest path": longest,
            "read by the output": np.einsum("ax,ax->a", one, link[:, :, -1]),
            "readers of the input": np.einsum("ay,ay->a", link[:, 0], one),
            "mean in-degree": within.sum(axis=1) / inner,
            "mean out-degree": readers.sum(axis=1) / inner,
        }
        columns += [value[:, None] for value in values.values()]
        label = "+".join(vocabulary[k] for k in subset) or "nothing"
        names += [f"{name} through {label}" for name in values]
    return Features(np.concatenate(columns, axis=1).astype(np.float64), tuple(names))


def subsets(operations: int) -> list[tuple[int, ...]]:
    """Return the subsets of ``operations`` operations from the empty one up, whole sizes while they fit in
    :data:`MOST_SUBSETS`, and the full one in any case."""
    found: list[tuple[int, ...]] = [()]
    for size in range(1, operations):
        more = list(combinations(range(operations), size))
        if len(found) + len(more) + 1 > MOST_SUBSETS:
            break
        found += more
    return [*found, tuple(range(operations))] if operations else found


def padded(
    graphs: Sequence[Graph], vocabulary: Sequence[str]
) -> tuple[Bool[np.ndarray, "archs nodes nodes"], Int64[np.ndarray, "archs nodes"]]:
    """Return adjacency and the place of each node's operation in ``vocabulary`` (-1: input, output, padding).

    The output is the last node of all; padding stands before it and has no edges.
    """
    place = {operation: k for k, operation in enumerate(vocabulary)}
    most = max((len(graph.operations) for graph in graphs), default=2)
    adjacency = np.zeros((len(graphs), most, most), dtype=bool)
    kinds = np.full((len(graphs), most), -1, dtype=np.int64)
    for a, graph in enumerate(graphs):
        last = len(graph.operations) - 1
        kinds[a, 1:last] = [place[operation] for operation in graph.operations[1:-1]]
        for source, target in graph.edges:
            adjacency[a, source, most - 1 if target == last else target] = True
    return adjacency, kinds


def path_lengths(
    adjacency: Bool[np.ndarray, "archs nodes nodes"], allowed: Bool[np.ndarray, "archs nodes"]
) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
    """Return the fewest and the most inner nodes on a path from the first to the last node through ``allowed`` ones.

    Nodes are in topological order.  Without a path: the number of inner nodes + 1, and :data:`NO_PATH`.
    """
    archs, nodes = allowed.shape
    far = nodes - 1
    fewest = np.full((archs, nodes), far, dtype=np.int64)
    most = np.full((archs, nodes), -nodes, dtype=np.int64)
    fewest[:, 0] = most[:, 0] = 0
    for node in range(1, nodes):
        step = 0 if node == nodes - 1 else 1
        passable = adjacency[:, :node, node] & (allowed[:, node, None] | (step == 0))
        fewest[:, node] = np.where(passable, fewest[:, :node] + step, far).min(axis=1)
        most[:, node] = np.where(passable, most[:, :node] + step, -nodes).max(axis=1)
    return np.minimum(fewest[:, -1], far), np.where(most[:, -1] < 0, NO_PATH, most[:, -1])
