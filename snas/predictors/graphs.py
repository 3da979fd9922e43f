"""A search space as tensors on a device, for predictors: adjacency, one-hot operations, distinct rows of the first convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from snas import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from snas.spaces.space import Encoding


class Graphs:
    """The A architectures of a space with n nodes and V operations.

    Attributes:
        adjacency: ``(archs, nodes, nodes)``, directed, with the identity.
        operations: ``(archs, nodes)`` indices into the vocabulary.
        rows: ``(archs, nodes)``: which of the distinct rows a node has in the first graph convolution.
        out, into: ``(distinct, V)``: those rows of A·X and Aᵀ·X for one-hot X.  There are few: 0.3 % of the nodes of
            NAS-Bench-201, so that the ranking does the first convolution once per distinct row.
    """

    def __init__(self, encoding: Encoding, *, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        adjacency, operations = checked(encoding)
        self.size, self.nodes = operations.shape
        self.vocabulary = len(encoding.vocabulary)
        distinct, rows = _distinct_rows(adjacency, operations, self.vocabulary)
        self.adjacency: Float[Tensor, "space nodes nodes"] = torch.as_tensor(adjacency).to(device, dtype)
        self.operations: Int64[Tensor, "space nodes"] = torch.as_tensor(operations).to(device, torch.int64)
        self.rows: Int64[Tensor, "space nodes"] = torch.as_tensor(rows.reshape(operations.shape)).to(
            device, torch.int64
        )
        distinct_rows = torch.as_tensor(distinct).to(device, dtype)
        self.out: Float[Tensor, "distinct vocabulary"] = distinct_rows[:, : self.vocabulary].contiguous()
        self.into: Float[Tensor, "distinct vocabulary"] = distinct_rows[:, self.vocabulary :].contiguous()
        self.eye: Float[Tensor, "vocabulary vocabulary"] = torch.eye(
            self.vocabulary, device=device, dtype=dtype
        )

    def one_hot(self, archs: Int64[Tensor, "*any"]) -> Float[Tensor, "*any nodes vocabulary"]:
        """Return the one-hot operations of ``archs``."""
        return self.eye[self.operations[archs]]


def _distinct_rows(
    adjacency: np.ndarray, operations: np.ndarray, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows (distinct, 2V) of A·X beside Aᵀ·X for one-hot X, and which one each node has.

    The entries are small counts.  Column by column they are joined into one integer key per node, which is numbered afresh before
    it could overflow: sorting integers is far cheaper than sorting rows.
    """
    key = np.zeros(operations.size, dtype=np.int64)
    largest = 1
    base = operations.shape[1] + 1
    for matrix in (adjacency, adjacency.transpose(0, 2, 1)):
        for symbol in range(vocabulary):
            count = np.einsum("aij,aj->ai", matrix, (operations == symbol).astype(np.float32))
            key = key * base + count.astype(np.int64).ravel()
            largest *= base
            if largest > 2**62 // base:
                key = np.unique(key, return_inverse=True)[1]
                largest = operations.size
    _, first, rows = np.unique(key, return_index=True, return_inverse=True)
    arch, node = np.divmod(first, operations.shape[1])
    one_hot = np.eye(vocabulary, dtype=np.float32)[operations[arch]]
    out = np.einsum("dj,djv->dv", adjacency[arch, node], one_hot)
    into = np.einsum("dj,djv->dv", adjacency[arch, :, node], one_hot)
    return np.concatenate([out, into], 1), rows


def checked(
    encoding: Encoding,
) -> tuple[Float[np.ndarray, "space nodes nodes"], Int64[np.ndarray, "space nodes"]]:
    """Return adjacency and operations of a space; raises ``InputError`` where no predictor can read them."""
    adjacency, operations = np.asarray(encoding.adjacency), np.asarray(encoding.operations)
    vocabulary = len(encoding.vocabulary)
    if operations.ndim != 2 or adjacency.shape != (*operations.shape, operations.shape[1]):
        raise InputError(
            f"encoding: adjacency {adjacency.shape} and operations {operations.shape} do not fit;"
            " (A, n, n) and (A, n) would be right"
        )
    if operations.size and not (operations.min() >= 0 and operations.max() < vocabulary):
        raise InputError(
            f"encoding: operations run from {operations.min()} to {operations.max()}; 0 to {vocabulary - 1} would be right"
        )
    if not (np.einsum("aii->ai", adjacency) == 1).all():
        raise InputError(
            "encoding: the adjacency lacks the identity; a 1 on every diagonal entry would be right"
        )
    return adjacency, operations
