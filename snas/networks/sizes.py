"""Which sizes a network can have."""

from __future__ import annotations

from snas import InputError


def check_size(*, width: int, channels: int, side: int, classes: int, smallest_side: int = 1) -> None:
    """Raise :class:`InputError` where a network of these sizes is impossible; ``smallest_side`` is what its strides leave."""
    for what, value, least in (
        ("width", width, 1),
        ("channels", channels, 1),
        ("side", side, smallest_side),
        ("classes", classes, 2),
    ):
        if value < least:
            raise InputError(f"{what} = {value}: a network needs at least {least}")
