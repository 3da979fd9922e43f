"""The official network of NAS-Bench-201 (Dong & Yang, 2020): 16 channels, five cells a stage, ReLU–convolution–BN.

Option ``authors_residual`` (docs/from-paper-to-code.md): the network of the paper's authors, who add a residual around every cell and
each stage's first cell's output to its last one's.  (They leave the stride-2 shortcut without BN; so does the official one.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from snas.networks.nano import SMALLEST_SIDE
from snas.networks.sizes import check_size
from snas.networks.weights import Conv2d, Linear
from snas.spaces.nasbench201 import CELLS_PER_STAGE, FEATURE_EDGES, STAGES
from snas.spaces.space import Cell

BN_EPS = 1e-5


class ReLUConvBN(nn.Sequential):
    """ReLU, bias-free convolution, batch norm."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, momentum: float, stride: int = 1
    ) -> None:
        super().__init__(
            nn.ReLU(),
            Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=momentum),
        )


def _operation(name: str, channels: int, momentum: float) -> nn.Module | None:
    """Return the module of an operation; None for the zero operation, which adds nothing."""
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReLUConvBN(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name], momentum=momentum)


class SearchedCell(nn.Module):
    """Four feature nodes; node j is the sum over i < j of the operation i→j of node i, zero where nothing arrives."""

    def __init__(self, cell: Cell, channels: int, *, momentum: float, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.operations = nn.ModuleDict(
            {
                f"{source}{target}": module
                for (source, target), name in zip(FEATURE_EDGES, cell.operations, strict=True)
                if (module := _operation(name, channels, momentum)) is not None
            }
        )

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch channels side side"]:
        """Return feature node 3."""
        features = [images]
        for node in (1, 2, 3):
            arriving = [
                self.operations[f"{source}{node}"](features[source])
                for source in range(node)
                if f"{source}{node}" in self.operations
            ]
            features.append(torch.stack(arriving).sum(0) if arriving else torch.zeros_like(images))
        return features[3] + images if self.residual else features[3]


class ReductionBlock(nn.Module):
    """Residual block of stride 2 that doubles the channels; its shortcut is a 2×2 average pool and a 1×1 convolution."""

    def __init__(self, in_channels: int, channels: int, *, momentum: float) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(in_channels, channels, 3, stride=2, momentum=momentum)
        self.conv_b = ReLUConvBN(channels, channels, 3, momentum=momentum)
        # ceil_mode only matters for an odd side, which the official block refuses.  There is no padding to be counted, but
        # where it is said to be, ONNX Runtime (1.20 to 1.23, tried) divides the windows at an odd side's end by four.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
            Conv2d(in_channels, channels, 1, bias=False),
        )

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch wide half half"]:
        """Return the block's output, half the side (rounded up)."""
        return self.conv_b(self.conv_a(images)) + self.shortcut(images)


class NASBench201Network(nn.Module):
    """Stem (3×3 convolution, BN), three stages of five cells with reduction blocks between, BN, ReLU, pool, linear."""

    def __init__(
        self,
        cell: Cell,
        *,
        width: int = 16,
        channels: int = 3,
        side: int = 32,
        classes: int = 10,
        bn_momentum: float = 0.1,
        authors_residual: bool = False,
    ) -> None:
        super().__init__()
        check_size(width=width, channels=channels, side=side, classes=classes, smallest_side=SMALLEST_SIDE)
        self.authors_residual = authors_residual
        widths = [width * 2**stage for stage in range(STAGES)]
        self.stem = nn.Sequential(
            Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, eps=BN_EPS, momentum=bn_momentum),
        )
        self.cells = nn.ModuleList(
            SearchedCell(cell, c, momentum=bn_momentum, residual=authors_residual)
            for c in widths
            for _ in range(CELLS_PER_STAGE)
        )
        self.reductions = nn.ModuleList(ReductionBlock(c, 2 * c, momentum=bn_momentum) for c in widths[:-1])
        self.norm = nn.BatchNorm2d(widths[-1], eps=BN_EPS, momentum=bn_momentum)
        self.classifier = Linear(widths[-1], classes)

    def forward(self, images: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        x = self.stem(images)
        for stage in range(STAGES):
            if stage:
                x = self.reductions[stage - 1](x)
            start = CELLS_PER_STAGE * stage
            first = x = self.cells[start](x)
            for cell in self.cells[start + 1 : start + CELLS_PER_STAGE]:
                x = cell(x)
            if self.authors_residual:
                x = x + first
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))
