"""Scoring architectures with a proxy into a table: one network after another, or by the costs of all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snas import networks, spaces
from snas.device import out_of_memory, torch_device
from snas.proxies import REGISTRY
from snas.proxies.counted import Counted
from snas.tables import Column, Schema

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from snas.spaces.space import Space

PROXIES = Schema(
    name="proxies",
    description="Zero-cost proxies of untrained networks; a larger score is better.",
    key=("arch", "proxy"),
    columns={
        "arch": Column("int32", "Index of the architecture in its space", low=0),
        "cell": Column("string", "Name of the cell"),
        "proxy": Column("string", "Name of the proxy in the registry"),
        "score": Column("float64", "The score; missing where status is not ok", null=True),
        "log10": Column(
            "float64",
            "Decimal logarithm of the score; missing where the score is missing or not positive "
            "(synflow is zero where no path leads through the network)",
            null=True,
        ),
        "status": Column("string", "ok | diverged (not finite) | out_of_memory"),
        "seconds": Column("float64", "Time to build and score the network", low=0),
    },
)


def score(
    space: str | Space,
    archs: Sequence[int | str],
    name: str,
    *,
    base_seed: int,
    width: int | None = None,
    channels: int = 3,
    side: int = 32,
    classes: int = 10,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Return the scores of ``archs``, indices or names, by the proxy ``name`` with the schema :data:`PROXIES`, in the order of ``archs``.

    The networks have the initial weights that training starts from (base seed, cell), so a score does not depend on the
    shard.  ``progress(done, total)`` is called after each network.  Raises ``InputError`` for an unknown space, proxy,
    architecture or device.
    """
    import pandas as pd

    proxy = REGISTRY.load(name)
    space = spaces.load(space) if isinstance(space, str) else space
    chosen = [space.index(arch) for arch in archs]
    size = {"channels": channels, "side": side, "classes": classes, "width": width or space.default_width}
    place = torch_device(device)
    if isinstance(proxy, Counted):
        values = _counted(proxy, space, chosen, size)
    else:
        values = _measured(proxy, space, chosen, size, base_seed, place)
    rows = []
    for done, arch in enumerate(chosen, start=1):
        started = time.perf_counter()
        value, status = next(values)
        if status == "ok" and not math.isfinite(value):
            value, status = math.nan, "diverged"
        log10 = math.log10(value) if value > 0 else math.nan
        rows.append((arch, space.cell(arch).name, name, value, log10, status, time.perf_counter() - started))
        if progress is not None:
            progress(done, len(chosen))
    return pd.DataFrame(rows, columns=list(PROXIES.columns)).astype(
        {"arch": "int32", "score": "float64", "log10": "float64", "seconds": "float64"}
    )


def _counted(
    proxy: Counted, space: Space, chosen: Sequence[int], size: Mapping[str, Any]
) -> Iterator[tuple[float, str]]:
    """Return score and status of the architectures by their costs."""
    for arch in chosen[:1]:  # as for every other proxy, a size that no network can have is refused
        networks.build(space, arch, **size)
    scores = proxy.score(*space.costs(**size))
    return ((float(scores[arch]), "ok") for arch in chosen)


def _measured(
    proxy: Callable[[nn.Module, tuple[int, int, int]], float],
    space: Space,
    chosen: Sequence[int],
    size: Mapping[str, Any],
    base_seed: int,
    place: torch.device,
) -> Iterator[tuple[float, str]]:
    """Return score and status of the architectures by their networks, one after the other."""
    image = (size["channels"], size["side"], size["side"])
    for arch in chosen:
        try:
            network = networks.build(space, arch, base_seed=base_seed, **size)
            found = float(proxy(network.to(place), image)), "ok"
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            found = math.nan, "out_of_memory"
        yield found
