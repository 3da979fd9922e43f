"""Hand-made networks of a given cost, to hold a searched one against: MobileNetV2-like and ResNet-like.

Both have the frame of the searched networks (3×3 stem, three stages of widths b, 2b, 4b, each at half the side of the
one before, global average pool, linear classifier) and, unless told otherwise, three blocks a stage, which makes the ResNet-like one the
ResNet-20 of CIFAR-10 (He et al. 2016, section 4.2) with 1×1 convolutions as shortcuts, and the other one of inverted
residuals with expansion 6 and ReLU6 (Sandler et al. 2018).  They are plain modules without weights of their own kind, so
that :class:`snas.networks.populations.Singles` trains them with the loop and the recipes of all others.

**Scaled to a cost**: b is a multiple of 1/4, widths are round(b), round(2b), round(4b) (halves up), and of all b the one is taken
whose multiply-accumulates are nearest to those asked for (ratio; of two equally near ones the smaller).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from snas import InputError, seeds
from snas.networks.counting import count_macs
from snas.networks.nano import SMALLEST_SIDE
from snas.networks.sizes import check_size
from snas.networks.weights import Conv2d, Linear, initialise

BLOCKS = 3
"""Blocks of a stage by default: as many as a searched network has cells."""
EXPANSION = 6
"""Of an inverted residual: channels of its depthwise convolution over those of its input."""
STEP = 4
"""The stem's width b is a multiple of 1/STEP."""

Activation = Callable[[], nn.Module]


class ConvBN(nn.Sequential):
    """A bias-free convolution that keeps the side (or halves it, stride 2), batch norm and, if given, an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        momentum: float,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(
            Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels, momentum=momentum),
            *([activation()] if activation else []),
        )


class InvertedResidual(nn.Module):
    """1×1 convolution to six times the channels, depthwise 3×3, linear 1×1; plus the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, momentum: float) -> None:
        super().__init__()
        wide = EXPANSION * in_channels
        conv = partial(ConvBN, momentum=momentum)
        self.layers = nn.Sequential(
            conv(in_channels, wide, 1, activation=nn.ReLU6),
            conv(wide, wide, 3, stride=stride, groups=wide, activation=nn.ReLU6),
            conv(wide, out_channels, 1),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch wide half half"]:
        """Return the block's output."""
        made: Tensor = self.layers(images)
        return made + images if self.residual else made


class BasicBlock(nn.Module):
    """Two 3×3 convolutions plus the input (through a 1×1 convolution where shapes differ), then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, momentum: float) -> None:
        super().__init__()
        conv = partial(ConvBN, momentum=momentum)
        self.layers = nn.Sequential(
            conv(in_channels, out_channels, 3, stride=stride, activation=nn.ReLU),
            conv(out_channels, out_channels, 3),
        )
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv(in_channels, out_channels, 1, stride=stride)

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "batch wide half half"]:
        """Return the block's output."""
        return F.relu(self.layers(images) + self.shortcut(images))


class HandmadeNetwork(nn.Module):
    """Stem, three stages of ``blocks`` blocks each, global average pool, linear classifier."""

    def __init__(
        self,
        block: Callable[..., nn.Module],
        activation: Activation,
        *,
        widths: tuple[int, int, int],
        blocks: int,
        channels: int,
        side: int,
        classes: int,
        bn_momentum: float,
    ) -> None:
        super().__init__()
        check_size(
            width=min(widths), channels=channels, side=side, classes=classes, smallest_side=SMALLEST_SIDE
        )
        self.widths = widths
        self.stem = ConvBN(channels, widths[0], 3, momentum=bn_momentum, activation=activation)
        layers, arriving = [], widths[0]
        for stage, width in enumerate(widths):
            for place in range(blocks):
                stride = 2 if stage and not place else 1
                layers.append(block(arriving, width, stride=stride, momentum=bn_momentum))
                arriving = width
        self.blocks = nn.Sequential(*layers)
        self.classifier = Linear(arriving, classes)

    def forward(self, images: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        logits: Tensor = self.classifier(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


FAMILIES: Mapping[str, tuple[type[nn.Module], Activation]] = MappingProxyType(
    {"mobilenet": (InvertedResidual, nn.ReLU6), "resnet": (BasicBlock, nn.ReLU)}
)
"""The hand-made families: their block, and the stem's activation."""
TITLES = MappingProxyType({"mobilenet": "MobileNetV2-like", "resnet": "ResNet-like"})


def build(
    family: str,
    macs: int,
    *,
    blocks: int = BLOCKS,
    channels: int,
    side: int,
    classes: int,
    bn_momentum: float,
    base_seed: int = 0,
) -> HandmadeNetwork:
    """Return the network of ``family`` (a key of :data:`FAMILIES`) whose cost is nearest to ``macs``, initialised.

    The initial weights follow (base seed, family).  Raises :class:`InputError` for an unknown family or fewer than one
    multiply-accumulate.
    """
    if family not in FAMILIES:
        raise InputError(f"unknown hand-made network {family!r}; known: {', '.join(FAMILIES)}")
    if macs < 1 or blocks < 1:
        raise InputError(
            f"a hand-made network of {macs} multiply-accumulates and {blocks} blocks a stage; at least 1 of both is expected"
        )

    def made(quarters: int) -> HandmadeNetwork:
        return HandmadeNetwork(
            *FAMILIES[family], widths=widths(quarters / STEP), blocks=blocks,
            channels=channels, side=side, classes=classes, bn_momentum=bn_momentum,
        )  # fmt: skip

    def distance(quarters: int) -> float:
        return abs(math.log(count_macs(made(quarters), (channels, side, side)) / macs))

    # Costs grow with b: double it until they are too high, then halve the interval.
    low, high = STEP, STEP
    while count_macs(made(high), (channels, side, side)) < macs:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if count_macs(made(middle), (channels, side, side)) < macs else (low, middle)
        )
    network = made(min((low, high), key=distance))
    initialise(network, seeds.generator(base_seed, "weights", family))
    return network


def widths(b: float) -> tuple[int, int, int]:
    """Return the widths of the three stages, rounded.

    >>> widths(4.25), widths(2.5)
    ((4, 9, 17), (3, 5, 10))
    """
    one, two, three = (math.floor(b * 2**stage + 0.5) for stage in range(3))
    return one, two, three
