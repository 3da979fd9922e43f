"""The network of Tiny-NanoBench, plainly: one module per operation, NCHW (paper, appendix A, figure 9).

It is the reference for the program that trains many networks at once, and what is exported.  All channel numbers come
from :func:`snas.spaces.nanobench.plan`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from snas.networks.sizes import check_size
from snas.networks.weights import Conv2d, Linear
from snas.spaces.nanobench import (
    CELLS_PER_STAGE,
    INPUT,
    STAGES,
    NodePlan,
    cell_widths,
    plan,
    stage_widths,
)
from snas.spaces.space import Cell

BN_EPS = 1e-4
SMALLEST_SIDE = 4
"""The side is halved twice."""


class ConvBN(nn.Sequential):
    """A bias-free convolution of stride 1 that keeps the side, batch norm and, where ``active``, mish."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        momentum: float,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=momentum)
        if active:
            self.act = nn.Mish()


class Expand(nn.Module):
    """Three depthwise 3×3 in a chain, each plus the block's input; their outputs concatenated: 3c channels."""

    def __init__(self, channels: int, *, momentum: float) -> None:
        super().__init__()
        self.chain = nn.ModuleList(
            ConvBN(channels, channels, 3, groups=channels, momentum=momentum) for _ in range(3)
        )

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch wide side side"]:
        """Return concat(x₁, x₂, x₃), x₁ = dw(x) + x, x₂ = dw(x₁) + x, x₃ = dw(x₂) + x."""
        outputs, x = [], images
        for depthwise in self.chain:
            x = depthwise(x) + images
            outputs.append(x)
        return torch.cat(outputs, dim=1)


class Attention(nn.Module):
    """Scales each channel by softmax(q kᵀ) v of the globally pooled image; q, k, v have c//4 channels (at least one)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.query = Conv2d(channels, hidden, 1, bias=False)
        self.key = Conv2d(channels, hidden, 1, bias=False)
        self.value = Conv2d(channels, hidden, 1, bias=False)
        self.back = Conv2d(hidden, channels, 1, bias=False)

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch channels side side"]:
        """Return the images times relu6(x + 3)/6 of the attention; q and kᵀ are a column and a row: q kᵀ is (h, h)."""
        pooled = images.mean(dim=(2, 3), keepdim=True)
        query, key, value = (F.mish(layer(pooled)).flatten(1) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query[:, :, None] * key[:, None, :], dim=-1)
        mixed = (weights @ value[:, :, None])[..., None]
        return images * (F.relu6(self.back(mixed) + 3) / 6)


def _node(node: NodePlan, momentum: float) -> nn.Module:
    """Return the module of one node; an identity where a node only hands on channels."""
    c, out = node.in_channels, node.out_channels
    if node.operation == "dwconv3x3":
        return ConvBN(c, c, 3, groups=c, momentum=momentum)
    if node.operation == "conv1x1":
        return ConvBN(c, out, 1, momentum=momentum)
    if node.operation == "expand":
        return Expand(c, momentum=momentum)
    if node.operation == "attention":
        return Attention(c, node.hidden)
    if node.projects:  # an odd split, or an output of other than the cell's width
        return ConvBN(c, out, 1, momentum=momentum, active=False)
    return nn.Identity()


class NanoCell(nn.Module):
    """One Nano Cell: its nodes in order, the last is the output; plus the input where the channels agree."""

    def __init__(self, cell: Cell, in_channels: int, width: int, *, momentum: float) -> None:
        super().__init__()
        self.plan = plan(cell, in_channels, width)
        self.nodes = nn.ModuleList(_node(node, momentum) for node in self.plan.nodes)

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch width side side"]:
        """Run the nodes in topological order."""
        outputs = {INPUT: images}
        for index, (node, module) in enumerate(zip(self.plan.nodes, self.nodes, strict=True)):
            pieces = [outputs[piece.source][:, piece.start : piece.stop] for piece in node.pieces]
            outputs[index] = module(pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1))
        result = outputs[len(self.nodes) - 1]
        return result + images if self.plan.residual else result


class NanoNetwork(nn.Module):
    """Stem, three stages of three cells with 2×2 average pooling between, global average pool, linear classifier.

    A stage's output is its first cell's output plus its third cell's.  Raises :class:`InputError` for a size that the
    network cannot have.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        width: int = 32,
        channels: int = 3,
        side: int = 32,
        classes: int = 10,
        bn_momentum: float = 0.003,
    ) -> None:
        super().__init__()
        check_size(width=width, channels=channels, side=side, classes=classes, smallest_side=SMALLEST_SIDE)
        self.stem = ConvBN(channels, width, 3, momentum=bn_momentum)
        self.cells = nn.ModuleList(
            NanoCell(cell, in_channels, f, momentum=bn_momentum) for _, in_channels, f in cell_widths(width)
        )
        self.classifier = Linear(stage_widths(width)[-1], classes)

    def forward(self, images: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = self.stem(images)
        for stage in range(STAGES):
            if stage:
                x = F.avg_pool2d(x, 2)
            start = CELLS_PER_STAGE * stage
            first, second, third = self.cells[start : start + CELLS_PER_STAGE]
            x = first(x)
            x = x + third(second(x))
        return self.classifier(x.mean(dim=(2, 3)))
