"""Training: one network and many networks at once with one loop; estimation codes; ground truth.

Importing this package imports neither torch nor pandas, so that a workflow can check a recipe's name while it is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snas.config import Registry

if TYPE_CHECKING:
    from snas.training.recipes import Recipe

REGISTRY = Registry(
    "recipe",
    {
        "paper_truth": "snas.training.recipes:PAPER_TRUTH",
        "paper_code": "snas.training.recipes:PAPER_CODE",
        "digits_truth": "snas.training.recipes:DIGITS_TRUTH",
        "digits_code": "snas.training.recipes:DIGITS_CODE",
        "smoke_truth": "snas.training.recipes:SMOKE_TRUTH",
        "smoke_code": "snas.training.recipes:SMOKE_CODE",
    },
)


def recipe(name: str) -> Recipe:
    """Return the recipe of a registered name; raises ``InputError`` that lists the known ones."""
    found: Recipe = REGISTRY.load(name)
    return found
