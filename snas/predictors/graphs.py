"""A search space as tensors on a device, for predictors: adjacency, one-hot operations, distinct rows of the first convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas import InputError

if TYPE_CHECKING:
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
        adjacency, operations = np.asarray(encoding.adjacency), np.asarray(encoding.operations)
        _check(adjacency, operations, len(encoding.vocabulary))
        self.size, self.nodes = operations.shape
        self.vocabulary = len(encoding.vocabulary)
        one_hot = np.eye(self.vocabulary, dtype=np.float32)[operations]
        both = np.concatenate([adjacency @ one_hot, adjacency.transpose(0, 2, 1) @ one_hot], -1)
        distinct, rows = np.unique(both.reshape(-1, 2 * self.vocabulary), axis=0, return_inverse=True)
        self.adjacency: Float[Tensor, "space nodes nodes"] = torch.as_tensor(adjacency).to(device, dtype)
        self.operations: Int64[Tensor, "space nodes"] = torch.as_tensor(operations).to(device, torch.int64)
        self.rows: Int64[Tensor, "space nodes"] = torch.as_tensor(rows.reshape(operations.shape)).to(device, torch.int64)
        distinct_rows = torch.as_tensor(distinct).to(device, dtype)
        self.out: Float[Tensor, "distinct vocabulary"] = distinct_rows[:, : self.vocabulary].contiguous()
        self.into: Float[Tensor, "distinct vocabulary"] = distinct_rows[:, self.vocabulary :].contiguous()
        self.eye: Float[Tensor, "vocabulary vocabulary"] = torch.eye(self.vocabulary, device=device, dtype=dtype)

    def one_hot(self, archs: Int64[Tensor, "*any"]) -> Float[Tensor, "*any nodes vocabulary"]:
        """Return the one-hot operations of ``archs``."""
        return self.eye[self.operations[archs]]


def _check(adjacency: np.ndarray, operations: np.ndarray, vocabulary: int) -> None:
    if operations.ndim != 2 or adjacency.shape != (*operations.shape, operations.shape[1]):
        raise InputError(
            f"encoding: adjacency {adjacency.shape} and operations {operations.shape} do not fit;"
            " (A, n, n) and (A, n) would be right"
        )
    if operations.size and not (0 <= operations.min() and operations.max() < vocabulary):
        raise InputError(
            f"encoding: operations run from {operations.min()} to {operations.max()}; 0 to {vocabulary - 1} would be right"
        )
    if not (np.einsum("aii->ai", adjacency) == 1).all():
        raise InputError("encoding: the adjacency lacks the identity; a 1 on every diagonal entry would be right")
