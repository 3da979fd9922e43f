"""A method with one thing changed, named by it: ``siamese@c=10``, ``siamese+nsam+bts@lambda=0.5``, ``siamese@code=synflow``.

What a name says after ``@`` is all there is to a variant (several settings are joined by commas), so every ablation has a
name of its own in results, tables and figures.  Nothing is registered; :data:`snas.search.METHODS` reads the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from snas import InputError
from snas.predictors.kinds import OPTIONS, check_options
from snas.proxies import REGISTRY as PROXIES
from snas.search import SAMPLERS
from snas.search.method import Method

MARK = "@"
LABELS = {"select": "accuracy_select"}


def parse(name: str) -> tuple[str, dict[str, str]]:
    """Return the method's own name and the settings of a variant's name.

    >>> parse("siamese+bts@c=10,lambda=0.5")
    ('siamese+bts', {'c': '10', 'lambda': '0.5'})

    Raises ``InputError`` where a setting is unknown, given twice or has no value.
    """
    base, _, text = name.partition(MARK)
    settings: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key not in SETTINGS or not equals or not value or key in settings:
            raise InputError(
                f"method {name!r}: {part!r} is no setting of a variant; known, each once: "
                + ", ".join(f"{k}=… ({meaning})" for k, (meaning, _) in SETTINGS.items())
            )
        settings[key] = value
    return base, settings


def variant(method: Method, settings: Mapping[str, str], name: str) -> Method:
    """Return ``method`` with the settings; raises ``InputError`` where it has no such thing or the value makes no sense."""
    for key, value in settings.items():
        method = SETTINGS[key][1](method, value, name)
    return method


def _replace(method: Any, name: str, key: str, **change: Any) -> Any:
    if not {f.name for f in fields(method)} >= set(change):
        raise InputError(f"method {name!r}: {name.partition(MARK)[0]!r} has no setting {key!r}")
    return replace(method, **change)


def _with_codes(method: Any, name: str, key: str) -> None:
    if getattr(method, "uses_code", False) is False:
        raise InputError(
            f"method {name!r}: {name.partition(MARK)[0]!r} has no predictor that looks at codes, so {key!r} changes nothing"
        )


def _rerank(method: Any, value: str, name: str) -> Any:
    _with_codes(method, name, "c")
    if not value.isdecimal():
        raise InputError(f"method {name!r}: c is {value!r}; a whole number is expected")
    return _replace(method, name, "c", rerank=int(value))


def _number(value: str, name: str, key: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"method {name!r}: {key} is {value!r}; a number is expected") from None


def _share(method: Any, value: str, name: str) -> Any:
    share = _number(value, name, "lambda")
    sampler = getattr(method, "sampler", None)
    if sampler is not None and "share" not in getattr(SAMPLERS.load(sampler), "__dataclass_fields__", {}):
        raise InputError(
            f"method {name!r}: sampler {sampler!r} has no lambda, the share of N to start on at random; 'bts' and 'fts' have one"
        )
    options = {**getattr(method, "sampler_options", {}), "share": share}
    changed = _replace(method, name, "lambda", sampler_options=options)
    try:
        changed.make_sampler()
    except InputError as error:
        raise InputError(f"method {name!r}: {error}") from None
    return changed


def _code(method: Any, value: str, name: str) -> Any:
    _with_codes(method, name, "code")
    if value not in PROXIES:
        raise InputError(f"method {name!r}: code is {value!r}; known: {', '.join(PROXIES)}")
    return _replace(method, name, "code", code=value)


def _labels(method: Any, value: str, name: str) -> Any:
    if value not in LABELS:
        raise InputError(f"method {name!r}: labels is {value!r}; known: {', '.join(LABELS)}")
    return _replace(method, name, "labels", labels=LABELS[value])


def _momentum(method: Any, value: str, name: str) -> Any:
    return _predictor_option(method, name, "momentum", bn_momentum=_number(value, name, "momentum"))


def _shared(method: Any, value: str, name: str) -> Any:
    if value != "shared":
        raise InputError(f"method {name!r}: qv is {value!r}; known: shared")
    return _predictor_option(method, name, "qv", shared_qv=True)


def _checkpoint(method: Any, value: str, name: str) -> Any:
    if not value.isdecimal() or not int(value):
        raise InputError(f"method {name!r}: checkpoint is {value!r}; a whole number of 1 or more is expected")
    # what has batch norms predicts accuracies; BRP-NAS's scores could be compared with none
    _has_option(method, name, "checkpoint", "bn_momentum")
    return _replace(method, name, "checkpoint", checkpoint=int(value))


def _predictor_option(method: Any, name: str, key: str, **option: Any) -> Any:
    """Return ``method`` with an option of its predictor, which must be one that has it."""
    _has_option(method, name, key, *option)
    options = {**method.predictor_options, **option}
    try:
        check_options(method.predictor, options)
    except InputError as error:
        raise InputError(f"method {name!r}: {error}") from None
    return _replace(method, name, key, predictor_options=options)


def _has_option(method: Any, name: str, key: str, option: str) -> None:
    if not hasattr(method, "predictor_options") or option not in OPTIONS.get(method.predictor, {}):
        raise InputError(f"method {name!r}: {name.partition(MARK)[0]!r} has no setting {key!r}")


SETTINGS: Mapping[str, tuple[str, Callable[[Any, str, str], Any]]] = {
    "c": ("how many the last Siamese-Ranking re-ranks", _rerank),
    "lambda": ("share of N that a sampler starts on at random", _share),
    "code": ("a proxy that serves as the estimation code, as synflow", _code),
    "momentum": ("of the running statistics of the predictor's batch norms, in place of 0.003", _momentum),
    "qv": ("shared: one layer for EFM's q and v, as the authors' code has it", _shared),
    "checkpoint": (
        "how many of the N the predictor's weights are chosen by, in place of the last ones",
        _checkpoint,
    ),
    "labels": ("select: the fair protocol, train and select on the bench's selection accuracy", _labels),
}
"""Setting → (meaning, function that makes the variant)."""
