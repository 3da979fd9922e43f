"""What an estimation code costs, in complete trainings; apart from what reads benches, so that no search hangs on recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snas import training


def code_price(coded: Mapping[str, Any], truth_recipe: str) -> float:
    """Return the price of a code by the metadata of its table, in complete trainings by ``truth_recipe``.

    Its image passes over theirs (docs/definitions.md, section 2); the paper's is 3 × 4,992 of 100 × 49,920, 0.3 %.
    """
    passes = training.recipe(coded["recipe"]).passes(coded["code_images"])
    return passes / training.recipe(truth_recipe).passes(coded["train_images"])
