"""What a search space is: a finite list of cells with a graph, a cost, an encoding and a network.

A new space is one file with a subclass of :class:`Space` and one line in the registry of this room.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from snas import InputError, seeds
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

ARCHITECTURES = Schema(
    name="architectures",
    description="Every architecture of a search space, one row each, in the order of its index.",
    key=("arch",),
    columns={
        "arch": Column("int32", "Index of the architecture in its space, from 0", low=0),
        "cell": Column("string", "Name of the cell: a stable, readable id, unique in its space"),
        "operations": Column("list<string>", "Operation of each node of the cell, in topological order"),
        "edges": Column(
            "list<int32>",
            "Edges of the cell's graph, source and target in turn; the output is the node after the last "
            "operation, and a node without an incoming edge reads the cell's input",
        ),
        "macs": Column(
            "int64",
            "Multiply-accumulates of all convolutions and linear layers for one image of 3×32×32 and ten "
            "classes at the space's own width",
            low=0,
        ),
        "params": Column("int64", "Trainable parameters of the same network", low=0),
        "adjacency": Column(
            "list<int8>",
            "Predictor encoding: directed adjacency without the identity, n·n values, row by row (row = source)",
        ),
        "encoding": Column(
            "list<int8>", "Predictor encoding: index of each node's operation in the vocabulary"
        ),
    },
)


@dataclass(frozen=True)
class Cell:
    """One cell as a directed acyclic graph with operations on its nodes.

    Nodes are 0..L-1 with ``operations[i]`` on node i, the output is node L.  Every edge goes from a smaller to a
    larger node.  A node without an incoming edge reads the cell's input.  ``name`` is a stable id, unique in the space.
    """

    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    name: str

    @property
    def output(self) -> int:
        """The node that is the cell's output."""
        return len(self.operations)

    def sources(self, node: int) -> tuple[int, ...]:
        """Return the nodes that feed ``node``, ascending; empty where it reads the cell's input."""
        return tuple(sorted(source for source, target in self.edges if target == node))

    def graph(self) -> Graph:
        """Return the cell with its input and output as nodes of their own."""
        fed = {target for _, target in self.edges}
        starts = [(0, node + 1) for node in range(self.output + 1) if node not in fed]
        inner = [(source + 1, target + 1) for source, target in self.edges]
        return Graph(("input", *self.operations, "output"), tuple(sorted(starts + inner)))


@dataclass(frozen=True)
class Graph:
    """A cell's graph with explicit ends: node 0 is ``input``, the last node is ``output``.

    The same reading for every space (path lengths, degrees and counts can be taken from it without knowing the space).
    """

    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def adjacency(self) -> np.ndarray:
        """Return the boolean adjacency, ``(nodes, nodes)``, row = source."""
        matrix = np.zeros((len(self.operations),) * 2, dtype=bool)
        for source, target in self.edges:
            matrix[source, target] = True
        return matrix

    def live(self, dead: Collection[str] = ()) -> Graph:
        """Return the part that computes something: nodes on a path from input to output past all ``dead`` operations.

        Where there is no such path, input and output are left, without an edge.
        """
        last = len(self.operations) - 1
        reached, needed = {0}, {last}
        edges = sorted(
            (a, b) for a, b in self.edges if not {self.operations[a], self.operations[b]} & set(dead)
        )
        for source, target in edges:  # sources in topological order: what leads to a source has been seen
            if source in reached:
                reached.add(target)
        for source, target in reversed(edges):
            if target in needed:
                needed.add(source)
        alive = reached & needed
        kept = sorted(alive | {0, last})
        place = {node: number for number, node in enumerate(kept)}
        return Graph(
            tuple(self.operations[node] for node in kept),
            tuple((place[a], place[b]) for a, b in edges if a in alive and b in alive),
        )


@dataclass(frozen=True)
class Encoding:
    """What a predictor sees of a whole space (docs/definitions.md, section 1): one graph of n nodes per architecture.

    ``adjacency`` is directed (row = source) and has the identity added, ``operations`` are indices into ``vocabulary``.
    """

    adjacency: Float32[np.ndarray, "archs nodes nodes"]
    operations: Int64[np.ndarray, "archs nodes"]
    vocabulary: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """Number of nodes of every graph."""
        return int(self.operations.shape[1])

    def __len__(self) -> int:
        return int(self.operations.shape[0])


class Space(ABC):
    """A finite search space.  The index of an architecture is its place in :meth:`cells`."""

    name: ClassVar[str]
    """Name in the registry."""
    title: ClassVar[str]
    """Name in figures and texts."""
    default_width: ClassVar[int]
    """Channels of the stem at the space's own size."""
    network: ClassVar[str]
    """``module:function`` of the builder ``(cell, *, width, channels, side, classes, bn_momentum, **options)``."""
    population: ClassVar[str | None] = None
    """``module:class`` of the program that runs many networks at once; None where there is only one at a time."""
    residual: ClassVar[bool] = False
    """Whether a cell adds its input to its output, where they have the same number of channels."""

    @abstractmethod
    def enumerate(self) -> list[Cell]:
        """Make all cells in their order."""

    @abstractmethod
    def encoding(self) -> Encoding:
        """Return the predictors' encoding of all cells, in order."""

    @abstractmethod
    def costs(
        self, *, width: int | None = None, channels: int = 3, side: int = 32, classes: int = 10
    ) -> tuple[Int64[np.ndarray, " archs"], Int64[np.ndarray, " archs"]]:
        """Return (MACs, trainable parameters) of all architectures as networks of the given size."""

    def computing(self, cell: Cell) -> Graph:
        """Return the part of a cell's graph that computes something, for the graph-count features.

        By default the nodes on a path from input to output.  A space with an operation that gives zeros leaves it out.
        """
        return cell.graph().live()

    def function(self, cell: Cell) -> Hashable:
        """Return a key that cells share where they compute the same, whatever their weights are.

        By default the computing part of the graph.  A space that knows more of its operations says more.
        """
        return self.computing(cell)

    @cached_property
    def _cells(self) -> tuple[Cell, ...]:
        return tuple(self.enumerate())

    @cached_property
    def _index(self) -> dict[str, int]:
        return {cell.name: arch for arch, cell in enumerate(self._cells)}

    def cells(self) -> tuple[Cell, ...]:
        """Return all cells; the place of a cell is its architecture index."""
        return self._cells

    def __len__(self) -> int:
        return len(self._cells)

    def cell(self, arch: int | str | Cell) -> Cell:
        """Return a cell by index or name; raises :class:`InputError` where there is none."""
        if isinstance(arch, Cell):
            return arch
        return self._cells[self.index(arch)]

    def index(self, arch: int | str) -> int:
        """Return the index of a cell's name (or of a valid index itself); raises :class:`InputError` otherwise."""
        if isinstance(arch, str):
            if arch not in self._index:
                raise InputError(
                    f"{self.title} has no architecture {arch!r}; names look like {self._cells[-1].name!r}"
                )
            return self._index[arch]
        if not 0 <= arch < len(self):
            raise InputError(f"{self.title} has no architecture {arch}; indices are 0 to {len(self) - 1}")
        return int(arch)

    def sample(self, count: int, base_seed: int) -> Int64[np.ndarray, " archs"]:
        """Return ``count`` architectures drawn without replacement, ascending; 0, or all of them, is the whole space.

        A smaller sample of the same seed is a part of a larger one.
        """
        if not 0 < count < len(self):
            return np.arange(len(self))
        order = seeds.numpy_generator(base_seed, "sample", self.name).permutation(len(self))
        return np.sort(order[:count])

    def table(self) -> pd.DataFrame:
        """Return all architectures as a table with the schema :data:`ARCHITECTURES`."""
        return next(self.table_parts(rows=len(self)))

    def table_parts(
        self, archs: Int64[np.ndarray, " wanted"] | None = None, *, rows: int = 50_000
    ) -> Iterator[pd.DataFrame]:
        """Return the table of ``archs`` (all where None) in parts of ``rows``: the lists of a million cells take gigabytes."""
        cells, encoding, costs = self.cells(), self.encoding(), self.costs()
        wanted = np.arange(len(cells)) if archs is None else archs
        starts = range(0, max(len(wanted), 1), rows)
        return (_rows(wanted[start : start + rows], cells, encoding, costs) for start in starts)


def _rows(
    archs: Int64[np.ndarray, " archs"],
    cells: Sequence[Cell],
    encoding: Encoding,
    costs: tuple[Int64[np.ndarray, " space"], Int64[np.ndarray, " space"]],
) -> pd.DataFrame:
    """Return the rows of ``archs`` in the table of a space."""
    import pandas as pd

    chosen = [cells[arch] for arch in archs]
    without_identity = (encoding.adjacency[archs] - np.eye(encoding.nodes, dtype=np.float32)).astype(np.int8)
    return pd.DataFrame(
        {
            "arch": archs.astype(np.int32),
            "cell": [cell.name for cell in chosen],
            "operations": [list(cell.operations) for cell in chosen],
            "edges": [[node for edge in cell.edges for node in edge] for cell in chosen],
            "macs": costs[0][archs],
            "params": costs[1][archs],
            "adjacency": list(without_identity.reshape(len(archs), -1)),
            "encoding": list(encoding.operations[archs].astype(np.int8)),
        }
    )
