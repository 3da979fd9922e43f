"""Counting multiply-accumulates by running a network: knows nothing of search spaces."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def count_macs(module: nn.Module, image: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of all convolutions and linear layers for one image (channels, side, side).

    A copy of the module is run on torch's meta device with a hook on each layer, so that only shapes are computed and the
    module itself stays as it is.  A bias, batch norm, activation, pooling and products of activations (attention's
    softmax(q kᵀ) v) do not count, as in the paper.
    """
    total = 0

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        total += output.numel() * (weight.numel() // weight.shape[0])  # weight.shape[0]: the layer's outputs

    probe = copy.deepcopy(module).to("meta").eval()
    for layer in probe.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    dtype = next(probe.parameters()).dtype
    probe(torch.empty((1, *image), device="meta", dtype=dtype))
    return total
