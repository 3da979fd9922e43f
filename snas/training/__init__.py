"""Training: one network and many networks at once with one loop; estimation codes; ground truth.

Importing this package imports neither torch nor pandas, so that a workflow can check a recipe's name while it is parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from snas import InputError
from snas.registry import Registry

if TYPE_CHECKING:
    from snas.training.recipes import Recipe

OWN = re.compile(r"own_(code_)?([1-9]\d{0,6})(_balanced)?")
"""Names of the recipes for own images: own_320, own_320_balanced, own_code_18, ...: so many steps."""


class Recipes(Registry):
    """The recipes by name, and ``own_<steps>``, ``own_code_<steps>`` for own images, each with ``_balanced`` or without."""

    def check(self, name: str) -> str:
        """Return ``name``, or raise :class:`InputError` that lists the known ones or says which steps are possible."""
        match = None if name in self else OWN.fullmatch(str(name))
        if match is None:
            return super().check(name)
        least, unit = (3, 3) if match[1] else (40, 8)
        steps = int(match[2])
        if steps < least or steps % unit:
            raise InputError(f"recipe {name!r}: steps are multiples of {unit}, at least {least}")
        return name

    def target(self, name: str) -> str:
        """Return the module that holds the recipe, and where in it a registered one is."""
        return super().target(name) if name in self else "snas.training.recipes"

    def load(self, name: str) -> Any:
        """Return the recipe."""
        match = None if name in self else OWN.fullmatch(self.check(name))
        if match is None:
            return super().load(name)
        from snas.training import recipes

        make = recipes.own_code if match[1] else recipes.own_truth
        return make(int(match[2]), balanced=bool(match[3]))


REGISTRY = Recipes(
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
