"""Initial weights of a network."""

from __future__ import annotations

import torch
from torch import nn


class Conv2d(nn.Conv2d):
    """A convolution whose weights are zero until :func:`initialise` draws them.

    Torch's own draw would come from the global generator, and takes half of the time of making a small network.
    """

    def reset_parameters(self) -> None:
        """Set all weights to zero."""
        _zero(self)


class Linear(nn.Linear):
    """A linear layer whose weights are zero until :func:`initialise` draws them."""

    def reset_parameters(self) -> None:
        """Set all weights to zero."""
        _zero(self)


@torch.no_grad()
def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters(recurse=False):
        parameter.zero_()


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw all weights of ``module`` in place from ``generator`` (on the CPU) and return it.

    Convolutions and linear layers: Glorot uniform, U(−a, a) with a = √(6 / (fan in + fan out)), biases 0.  Batch norm:
    weight 1, bias 0, running mean 0, running variance 1.  Draws follow the order of the module's parameters.

    Keras and torch count the fans of a depthwise kernel the other way round; their sum, and so a, is the same.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = torch.empty(layer.weight.shape)
            layer.weight.copy_(nn.init.xavier_uniform_(weight, generator=generator))
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no rule for the initial weights of {type(layer).__name__}")
    return module
