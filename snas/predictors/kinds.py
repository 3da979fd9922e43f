"""The accuracy predictors apart from how they are computed: options, names and shapes of their parameters (docs/definitions.md, section 4).

No torch is imported here.  :mod:`snas.predictors.layers` computes the same names in torch, :mod:`snas.predictors.native` in
native code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snas import InputError
from snas.predictors.parameters import Initial, Layout, glorot
from snas.registry import shortened

FEATURES = 64


@dataclass(frozen=True)
class Kind:
    """An accuracy predictor: the basic branch GC(64) → GC(64) → (NSAM) → GC(64) → head, and EFM where it uses codes.

    Attributes:
        name: name in the registry.
        uses_code: whether it has an estimation branch.
        defaults: its options (see :class:`snas.predictors.accuracy.AccuracyPredictor`) and their defaults.
    """

    name: str
    uses_code: bool
    defaults: Mapping[str, Any]

    def layout(self, options: Mapping[str, Any], *, nodes: int, vocabulary: int) -> dict[str, Initial]:
        """Return names, shapes and starts of the parameters, for graphs of ``nodes`` with ``vocabulary`` operations."""
        basic = {
            **graph_convolution_layout("gc1", vocabulary),
            **graph_convolution_layout("gc2", FEATURES),
            **(nsam_layout() if options["nsam"] else {}),
            **graph_convolution_layout("gc3", FEATURES),
            **head_layout(nodes),
        }
        return basic | (efm_layout(nodes, shared_qv=options["shared_qv"]) if self.uses_code else {})


_BASIC = {"epochs": 200, "bn_momentum": 0.003, "nsam": False}
_CODED = _BASIC | {"shared_qv": False}
NEURAL = Kind("neural_predictor", False, _BASIC)
NEURAL_NSAM = Kind("neural_predictor+nsam", False, _BASIC | {"nsam": True})
SIAMESE = Kind("siamese", True, _CODED)
SIAMESE_NSAM = Kind("siamese+nsam", True, _CODED | {"nsam": True})
BRP_OPTIONS = {"hidden": 600, "dropout": 0.2, "patience": 35, "epochs_each": 50}
"""BRP-NAS's options and their defaults (see :class:`snas.predictors.brp.BRPNAS`)."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "brp_nas": BRP_OPTIONS,
    **{kind.name: kind.defaults for kind in (NEURAL, NEURAL_NSAM, SIAMESE, SIAMESE_NSAM)},
}
"""Options by predictor, where they are known without torch: a typo is found before anything is trained."""


@dataclass(frozen=True)
class Range:
    """Numbers that an option may be: from ``least`` to ``most``, these included unless said otherwise."""

    least: float
    most: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        low = f"above {self.least:g}" if self.above else f"at least {self.least:g}"
        if self.most == math.inf:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {self.most:g}"


RANGES: Mapping[str, Range] = {
    "epochs": Range(1),
    "bn_momentum": Range(0, 1, above=True),
    "hidden": Range(1),
    "dropout": Range(0, 1, below=True),
    "patience": Range(1),
    "epochs_each": Range(1),
}
"""What the options of these predictors may be."""


def check_options(predictor: str, options: Mapping[str, Any]) -> None:
    """Raise ``InputError`` for an option that a predictor is known not to have, not of that type, or out of its range."""
    if predictor in OPTIONS:
        if isinstance(options.get("dtype"), str | int | float):
            raise InputError(
                f"predictor {predictor!r}: option 'dtype' is a type of torch, which only a program can give"
            )
        checked_options(predictor, {**OPTIONS[predictor], "dtype": None}, options, ranges=RANGES)


def checked_options(
    name: str,
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    what: str = "predictor",
    ranges: Mapping[str, Range] | None = None,
) -> dict[str, Any]:
    """Return the defaults with the given options of the ``what`` called ``name``.

    Raises ``InputError`` that lists the known ones for an unknown one, and for a value of another type than the default's or
    outside of its range.
    """
    for key, value in options.items():
        if key not in defaults:
            known = ", ".join(defaults) or "none"
            raise InputError(f"{what} {name!r} has no option {key!r}; known: {known}")
        kind = type(defaults[key])
        if kind in EXPECTED and type(value) is not kind and not (kind is float and type(value) is int):
            raise InputError(
                f"{what} {name!r}: option {key!r} is {shortened(value)}; {EXPECTED[kind]} is expected"
            )
        if ranges and key in ranges and value not in ranges[key]:
            raise InputError(
                f"{what} {name!r}: option {key!r} is {shortened(value)}; {EXPECTED[kind]} {ranges[key]} is expected"
            )
    return {**defaults, **options}


EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""What options of these types are called in sentences."""


def options_in(options: Mapping[str, Any] | None, part: str) -> Mapping[str, Any]:
    """Return the options of a ``part`` of a method, none where nothing is said of it; raises ``InputError`` where they are no mapping."""
    found: Any = (options or {}).get(part)
    if found is not None and not isinstance(found, Mapping):
        raise InputError(
            f"option {part!r} is {shortened(found)}; a mapping of its options to values is expected"
        )
    return found or {}


def norm_layout(name: str, features: int) -> dict[str, Initial]:
    """Return scale 1 and shift 0 of a batch norm."""
    return {f"{name}.scale": Initial((features,), value=1.0), f"{name}.shift": Initial((features,))}


def statistics_layout(parameters: Layout) -> dict[str, Initial]:
    """Return the running statistics (mean 0, variance 1) that belong to the batch norms of a parameter layout."""
    out: dict[str, Initial] = {}
    for key, entry in parameters.items():
        name, _, what = key.rpartition(".")
        if what == "scale":
            out[f"{name}.mean"] = Initial(entry.shape)
            out[f"{name}.variance"] = Initial(entry.shape, value=1.0)
    return out


def graph_convolution_layout(name: str, inputs: int, groups: int = 1) -> dict[str, Initial]:
    """Return the parameters of ``groups`` GC(64) side by side, W and W' each ``groups``·64 wide."""
    width = groups * FEATURES
    return {
        f"{name}.out.weight": glorot((inputs, width), inputs, FEATURES),
        **norm_layout(f"{name}.out", width),
        f"{name}.in.weight": glorot((inputs, width), inputs, FEATURES),
        **norm_layout(f"{name}.in", width),
    }


def nsam_layout() -> dict[str, Initial]:
    """Return the parameters of NSAM: GC(64) for q, k and v side by side, and the closing GC(64)."""
    return graph_convolution_layout("nsam.qkv", FEATURES, 3) | graph_convolution_layout(
        "nsam.close", FEATURES
    )


def efm_layout(nodes: int, *, shared_qv: bool) -> dict[str, Initial]:
    """Return the parameters of EFM: linear 3 → n·64 with BN for the code, GC(64) for q, v (one where shared), k and the close."""
    return {
        "efm.code.weight": glorot((3, nodes * FEATURES), 3, nodes * FEATURES),
        "efm.code.bias": Initial((nodes * FEATURES,)),
        **norm_layout("efm.code", FEATURES),
        **graph_convolution_layout("efm.qv", FEATURES, 1 if shared_qv else 2),
        **graph_convolution_layout("efm.k", FEATURES),
        **graph_convolution_layout("efm.close", FEATURES),
    }


def head_layout(nodes: int) -> dict[str, Initial]:
    """Return the linear layer over nodes that both branches share."""
    return {"head.weight": glorot((nodes, 1), nodes, 1), "head.bias": Initial((1,))}
