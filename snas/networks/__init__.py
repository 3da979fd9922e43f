"""Networks: the torch modules that a cell becomes.

Importing this package does not import torch; its functions do when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from snas.spaces.space import Cell, Space


def build(
    space: str | Space,
    arch: int | str | Cell,
    *,
    width: int | None = None,
    channels: int = 3,
    side: int = 32,
    classes: int = 10,
    bn_momentum: float = 0.003,
    base_seed: int = 0,
    **options: bool,
) -> nn.Module:
    """Return the plain network of an architecture: images ``(batch, channels, side, side)`` → logits ``(batch, classes)``.

    ``width`` are the stem's channels (the space's own where None); ``options`` go to the space's builder.  The initial
    weights follow (base seed, name of the cell), so that they are the same in any shard; see :func:`initialise`.

    Raises ``InputError`` for an unknown space or architecture, or a size that the network cannot have.
    """
    from snas import seeds, spaces
    from snas.config import resolve

    space = spaces.load(space) if isinstance(space, str) else space
    cell = space.cell(arch)
    module: nn.Module = resolve(space.network)(
        cell,
        width=width or space.default_width,
        channels=channels,
        side=side,
        classes=classes,
        bn_momentum=bn_momentum,
        **options,
    )
    return initialise(module, seeds.generator(base_seed, "weights", cell.name))


def initialise(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Give ``module`` its initial weights: Glorot uniform, biases 0, BN 1 and 0; see :mod:`snas.networks.weights`."""
    from snas.networks.weights import initialise

    return initialise(module, generator)


def count_macs(module: nn.Module, image: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of ``module`` for one image ``(channels, side, side)``; see :mod:`.counting`."""
    from snas.networks.counting import count_macs

    return count_macs(module, image)
