"""Synflow (Tanaka et al., 2020) as a score of architectures (Abdelfattah et al., 2021, "Zero-cost proxies")."""

from __future__ import annotations

import torch
from torch import nn


def synflow(network: nn.Module, image: tuple[int, int, int]) -> float:
    """Return Σ |w · ∂R/∂w| over the weights w of all convolutions and linear layers, R = Σ logits.

    All weights are made absolute and the input is one image of ones, so that signals only add up and R measures the flow
    through all paths.  As in the literature's code for NAS:

    * batch norm is taken out.  In training mode it would subtract the mean of the one image and undo every scale; in
      evaluation mode, with its initial statistics, it is the identity, up to eps, anyway;
    * activations stay what they are.  ReLU is the identity on what is positive, and so, nearly, is mish on large values;
    * biases do not count (they are zero at the start).

    Float64: the score is a product over the depth, 10⁵ to 10⁶¹ in the spaces of this project, and would leave float32's
    range; float64's ends at 10³⁰⁸.  The score depends on the drawn weights, much less than on the architecture.
    The network is changed in place.

    (Tried and left out: depthwise convolutions as a product of patches, since torch runs them channel by channel in
    float64 on a CPU; the time was the same.)
    """
    network = without_norms(network).double()
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    ones = torch.ones((1, *image), dtype=torch.float64, device=weights[0].device)
    # an operation that leads nowhere gets no gradient: it carries no flow
    gradients = torch.autograd.grad(network(ones).sum(), weights, allow_unused=True)
    with torch.no_grad():
        flows = [(w * g).abs().sum() for w, g in zip(weights, gradients, strict=True) if g is not None]
    return float(torch.stack(flows).sum()) if flows else 0.0


def without_norms(network: nn.Module) -> nn.Module:
    """Replace every batch norm of ``network`` by the identity, in place, and return it."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, nn.Identity())
        else:
            without_norms(child)
    return network
