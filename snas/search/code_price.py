"""What an estimation code costs, in complete trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snas import training


def code_price(coded: Mapping[str, Any], truth_recipe: str) -> float:
    """Return the price of a code by the metadata of its table, in complete trainings by ``truth_recipe``.

    Tables of earlier versions do not say how many images went through a network; their recipe does.
    """
    passes = coded.get("code_passes")
    if passes is None:
        passes = training.recipe(coded["recipe"]).passes(coded["code_images"])
    return training.recipe(truth_recipe).price(passes, coded["train_images"])
