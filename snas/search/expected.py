"""What the costly files of a run are expected to take: the weights of :mod:`snas.progress`, on the machine of reference.

Without torch: the process that drives a run asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snas import spaces, training
from snas.config import Config
from snas.images import known
from snas.progress import search_seconds, training_seconds
from snas.spaces.sizes import HEAVIER, size

OF_NASBENCH201 = "_201"
"""What the names of stages end with that go over all of NAS-Bench-201."""
PROXY, PROXY_201 = 0.03, 0.034
"""Seconds of a proxy of one network."""
COUNTED = ("params", "macs")
"""Proxies that make no networks; a space is counted within a second."""
OWN: Mapping[str, float] = {"own": 5.0, "own/truth": 20.0, "own/best": 30.0}
"""Seconds of one file of a search on own images, whatever they are: the first files correct it."""


def plan(
    config: Config, files: Mapping[str, Sequence[str]], searches: Mapping[str, tuple[str, int, int, int]]
) -> dict[str, dict[str, float]]:
    """Return stage → file → its seconds on one core.

    Args:
        files: stage → its files: ``training/codes``, ``training/truth`` and ``proxies/...``, with ``_201`` those of
            NAS-Bench-201, and the stages of :data:`OWN`.
        searches: file → (method, N, number of runs, architectures that are searched).
    """
    found: dict[str, dict[str, float]] = {}
    for stage, paths in files.items():
        each = OWN[stage] if stage in OWN else _stage_seconds(config, stage) / max(len(paths), 1)
        found[stage] = dict.fromkeys(paths, each)
    for path, (method, *sizes) in searches.items():
        found.setdefault(f"search/{method}", {})[path] = search_seconds(method, *sizes)
    return found


def _stage_seconds(config: Config, stage: str) -> float:
    """Return the seconds of all networks of a stage; searches on demand train as many as there are, at the most."""
    imported = stage.endswith(OF_NASBENCH201)
    space, width = ("nasbench201", 0) if imported else (config.space, config.width)
    whole = size(space)
    networks = whole if imported else config.architectures or whole
    if stage.removesuffix(OF_NASBENCH201) in [f"proxies/{name}" for name in COUNTED]:
        return 1.0
    if stage.startswith("proxies/"):
        return networks * (PROXY_201 if imported else PROXY)
    codes = stage.startswith("training/codes")
    recipe, share = (config.code_recipe, config.code_share) if codes else (config.truth_recipe, 1.0)
    return networks * one_training(config, recipe, share, space, width)


def one_training(config: Config, recipe: str, share: float, space: str, width: int) -> float:
    """Return the seconds that a network is expected to train by a recipe on a share of the images."""
    images, side = known.expected(config)
    made = training.recipe(recipe)
    passes = made.passes(max(round(share * images), made.batch))
    seconds = training_seconds(passes, side, width or spaces.load(space).default_width)
    return HEAVIER.get(space, 1.0) * seconds
