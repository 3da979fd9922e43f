"""Networks: the torch modules that a cell becomes.

Importing this package does not import torch; its functions do when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from snas.networks.populations import Population
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
    from snas.networks.sizes import check_size
    from snas.registry import resolve

    space = spaces.load(space) if isinstance(space, str) else space
    cell = space.cell(arch)
    size = {"width": width or space.default_width, "channels": channels, "side": side, "classes": classes}
    check_size(**size)
    module: nn.Module = resolve(space.network)(cell, bn_momentum=bn_momentum, **size, **options)
    return initialise(module, seeds.generator(base_seed, "weights", cell.name))


def initialise(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Give ``module`` its initial weights: Glorot uniform, biases 0, BN 1 and 0; see :mod:`snas.networks.weights`."""
    from snas.networks.weights import initialise

    return initialise(module, generator)


def count_macs(module: nn.Module, image: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of ``module`` for one image ``(channels, side, side)``; see :mod:`.counting`."""
    from snas.networks.counting import count_macs

    return count_macs(module, image)


def population(
    space: str | Space,
    archs: Sequence[int | str | Cell],
    *,
    base_seed: int = 0,
    width: int | None = None,
    channels: int = 3,
    side: int = 32,
    classes: int = 10,
    bn_momentum: float = 0.003,
    device: torch.device | str = "cpu",
    compile: bool = True,
) -> Population:
    """Return the networks of ``archs`` as one thing to train: the space's program, or one module after another.

    Initial weights are those of :func:`build`.  ``compile``: use native kernels on a CPU, Triton on a GPU; without a
    C++ compiler plain torch serves, and says so.
    """
    from snas import spaces
    from snas.registry import resolve

    space = spaces.load(space) if isinstance(space, str) else space
    options: dict[str, Any] = {
        "width": width or space.default_width,
        "channels": channels,
        "side": side,
        "classes": classes,
        "bn_momentum": bn_momentum,
    }
    if space.population is None:
        from snas.networks.populations import Singles

        modules = [build(space, arch, base_seed=base_seed, **options) for arch in archs]
        return Singles(modules, device=device)
    program = resolve(space.population)
    cells = [space.cell(arch) for arch in archs]
    made: Population = program(cells, device=device, compile=compile, **options).initialise(base_seed)
    return made


def activation_bytes(
    space: Space, arch: int | str | Cell, *, width: int, side: int, batch: int
) -> int | None:
    """Return about how much memory a network takes in a training step; None where it is trained alone anyway."""
    from snas.registry import resolve

    if space.population is None:
        return None
    needed: int = resolve(space.population).activation_bytes(
        space.cell(arch), width=width, side=side, batch=batch
    )
    return needed
