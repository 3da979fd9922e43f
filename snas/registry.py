"""Registries: names that are checked without importing what they stand for.

Apart from the configuration, so that a room which registers names does not hang on what the configuration checks.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from snas import InputError


class Registry:
    """A table of names → ``"module:attribute"`` strings of one kind of thing.

    >>> registry = Registry("space", {"tiny_nanobench": "snas.spaces.nanobench:TinyNanoBench"})
    >>> registry.names()
    ('tiny_nanobench',)
    """

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self._targets: dict[str, str] = {}
        for name, target in targets.items():
            self.register(name, target)

    def register(self, name: str, target: str) -> None:
        """Add ``name``; raises ``ValueError`` where the name is taken or the target is not ``module:attribute``."""
        if name in self._targets:
            raise ValueError(f"{self.kind} {name!r} is registered twice: {self._targets[name]} and {target}")
        if target.count(":") != 1:
            raise ValueError(f"{self.kind} {name!r}: target {target!r} is not of the form module:attribute")
        self._targets[name] = target

    def unregister(self, name: str) -> None:
        """Take ``name`` out again (tests that add an entry)."""
        del self._targets[self.check(name)]

    def names(self) -> tuple[str, ...]:
        """Return the known names in order of registration."""
        return tuple(self._targets)

    def check(self, name: str) -> str:
        """Return ``name``, or raise :class:`InputError` that lists the known names.  Imports nothing."""
        if name not in self._targets:
            close = difflib.get_close_matches(str(name), self._targets, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(
                f"unknown {self.kind} {shortened(name)}{hint}; known: {', '.join(self._targets)}"
            )
        return name

    def target(self, name: str) -> str:
        """Return the ``"module:attribute"`` string of ``name``, without importing it: what its results hang on."""
        return self._targets[self.check(name)]

    def module(self, name: str) -> str:
        """Return the name of the module that holds ``name``, without importing it."""
        return self.target(name).partition(":")[0]

    def load(self, name: str) -> Any:
        """Import and return the thing behind ``name``; raises :class:`InputError` where its line leads nowhere."""
        target = self._targets[self.check(name)]
        module, _, attribute = target.partition(":")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # it is there, and lacks something itself
            raise InputError(
                f"{self.kind} {name!r} is registered as {target!r}, but there is no module {error.name!r}; "
                "a module of another package must be importable where jobs run"
            ) from None
        if not hasattr(found, attribute):
            raise InputError(
                f"{self.kind} {name!r} is registered as {target!r}, but {module!r} has no {attribute!r}"
            )
        return getattr(found, attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets


def resolve(target: str) -> Any:
    """Return the attribute that a ``"module:attribute"`` string names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def shortened(value: Any) -> str:
    """Return how a value is written, cut where it is long.

    >>> shortened("x" * 1000)[-20:]
    "xxxxxxxxxxxxxxxxxx…'"
    """
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:197]}…{text[-1]}"
