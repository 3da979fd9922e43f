"""Counting multiply-accumulates by running a network: knows nothing of search spaces."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def count_macs(module: nn.Module, image: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of all convolutions and linear layers for one image (channels, side, side).

    The module is run once on a blank image with a hook on each layer (in eval mode, so that it stays as it is; on torch's
    meta device the same takes nine times as long).  A bias, batch norm, activation, pooling and products of activations
    (attention's softmax(q kᵀ) v) do not count, as in the paper.
    """
    total = 0

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        total += output.numel() * (weight.numel() // weight.shape[0])  # weight.shape[0]: the layer's outputs

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    training = module.training
    try:
        some = next(module.parameters())
        module.eval()(torch.zeros((1, *image), device=some.device, dtype=some.dtype))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return total
