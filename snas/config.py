"""The configuration, checked before anything else, and registries of names that can be checked without torch.

``config/schema.yaml`` is the one source of names, defaults, ranges and descriptions.  :func:`load` merges defaults,
configuration files and command-line values into one frozen :class:`Config`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snas import InputError

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_PATH = ROOT / "config" / "schema.yaml"


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
            raise InputError(f"unknown {self.kind} {name!r}{hint}; known: {', '.join(self._targets)}")
        return name

    def module(self, name: str) -> str:
        """Return the name of the module that holds ``name``, without importing it."""
        return self._targets[self.check(name)].split(":")[0]

    def load(self, name: str) -> Any:
        """Import and return the thing behind ``name``."""
        return resolve(self._targets[self.check(name)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets


def resolve(target: str) -> Any:
    """Return the attribute that a ``"module:attribute"`` string names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Config(Mapping[str, Any]):
    """A checked configuration: keys as attributes, frozen.  Lists are tuples."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        object.__setattr__(self, "_values", MappingProxyType(frozen))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"the configuration has no key {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the configuration is frozen; {name!r} cannot be set")

    def __getitem__(self, key: str) -> Any:
        return self.__dict__["_values"][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_values"])

    def __len__(self) -> int:
        return len(self.__dict__["_values"])
