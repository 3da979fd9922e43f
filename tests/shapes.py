"""The checking hook: while the tests run, what functions of ``snas`` take and return is held against their shapes.

:func:`install` has Python import the modules of ``snas`` with one more decorator, the innermost, at every function and
class; it leaves alone what states no shape.  A name stands for one size within one call: in the arguments, in the
result and, of a generator, in each thing that it yields.  What a function itself refuses with an ``InputError`` stays so.

Not checked: what runs inside ``torch.compile``, which traces the plain function, and whatever comes after a function's
first :data:`CALLS` calls in a test, so that the tests take no longer.
"""

from __future__ import annotations

import ast
import collections.abc
import contextlib
import dataclasses
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import jaxtyping
from jaxtyping import AbstractArray, jaxtyped

CALLS = 20
"""How many calls of each function are checked in each test."""

STATED: list[Shapes] = []
"""All functions of ``snas`` that state shapes, of the modules imported so far."""

DECORATOR = "__shapes_checked__"
_DTYPES = [name for name, kind in vars(jaxtyping).items() if hasattr(kind, "dtypes")]
_ARRAY = type(AbstractArray)
_SHAPE = re.compile(rf"\b(?:{'|'.join(_DTYPES)})\[")


class ShapeError(AssertionError):
    """A value does not have the shape that the signature states."""


def install() -> None:
    """Have the modules of ``snas`` checked that are imported from now on in this process."""
    sys.meta_path.insert(0, _Finder())


def begin() -> None:
    """Begin to count the calls anew."""
    for shapes in STATED:
        shapes.calls = 0


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Let wrong shapes pass meanwhile: to make what something else is to refuse."""
    global CALLS
    kept, CALLS = CALLS, 0
    try:
        yield
    finally:
        CALLS = kept


class _Finder(MetaPathFinder):
    """Finds the modules of ``snas`` where the other finders do, and has :class:`_Loader` load them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "snas":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module with the decorators, past the cache of bytecode: what runs outside the tests reads that."""

    def get_code(self, fullname: str) -> types.CodeType:
        tree = ast.parse(self.get_data(self.path), self.path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.decorator_list.append(ast.copy_location(ast.Name(DECORATOR, ast.Load()), node))
            elif isinstance(node, ast.ClassDef):  # outermost: @dataclass has made the __init__ by then
                node.decorator_list.insert(0, ast.copy_location(ast.Name(DECORATOR, ast.Load()), node))
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)[DECORATOR] = _decorate
        super().exec_module(module)


def _decorate(subject: Any) -> Any:
    """Return a function checked, or a class: its dataclass's ``__init__`` or named tuple's ``__new__`` is checked."""
    if isinstance(subject, types.FunctionType):
        return checked(subject, subject.__globals__)
    module = vars(sys.modules[subject.__module__])
    if dataclasses.is_dataclass(subject) and "__init__" in vars(subject):
        subject.__init__ = checked(subject.__init__, module)
    elif issubclass(subject, tuple) and "__new__" in vars(subject):
        subject.__new__ = staticmethod(checked(subject.__new__, module))
    return subject


def checked(function: Callable[..., Any], module: dict[str, Any]) -> Callable[..., Any]:
    """Return ``function``, checked if it states shapes; ``module``: the names that its annotations are written with."""
    shapes = Shapes(function, module)
    if not shapes.stated or hasattr(function, "__shapes__"):
        return function
    from torch.compiler import is_compiling  # here, as tests of the command line alone do without torch

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or shapes.calls >= CALLS:
            return function(*args, **kwargs)
        return shapes.call(args, kwargs)

    # torch.compile keeps its results with the code object, and gives up after a few: one for each function
    wrapper.__code__ = wrapper.__code__.replace(co_name=function.__name__, co_qualname=function.__qualname__)
    wrapper.__shapes__ = shapes  # type: ignore[attr-defined]
    STATED.append(shapes)
    return wrapper


class Shapes:
    """The shapes that a function states, and how many of its calls have been held against them."""

    def __init__(self, function: Callable[..., Any], module: dict[str, Any]) -> None:
        self.function, self.module, self.calls = function, module, 0
        # strings, as every module with shapes imports annotations from __future__; a named tuple wraps them
        texts = {
            name: str(getattr(hint, "__forward_arg__", hint))
            for name, hint in function.__annotations__.items()
        }
        self.stated = {name: text for name, text in texts.items() if _states_shape(text, module)}

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """The annotations, read at the first call: what they name can be imported by then."""
        names = self.module | only_for_types(Path(self.module["__file__"]))
        hints = {name: eval(text, names) for name, text in self.stated.items()}
        for name in hints.keys() & self.signature.parameters.keys():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                hints[name] = tuple[hints[name], ...]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                hints[name] = dict[str, hints[name]]
        if typing.get_origin(hints.get("return")) is collections.abc.Iterator:
            (hints["yield"],) = typing.get_args(hints.pop("return"))
        return hints

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function, and raise :class:`ShapeError` unless it raises an ``InputError``."""
        from snas import InputError

        self.calls += 1
        try:
            arguments = self.signature.bind(*args, **kwargs).arguments
        except TypeError:
            return self.function(*args, **kwargs)  # which raises it as well
        with jaxtyped("context"):
            fault = self.fault(arguments)
            try:
                result = self.function(*args, **kwargs)
            except InputError:
                raise
            except Exception as error:
                if fault:
                    raise ShapeError(fault) from error
                raise
            fault = fault or self.fault({"return": result})
        if fault:
            raise ShapeError(fault)
        return self.watch(arguments, result) if "yield" in self.hints else result

    def watch(self, arguments: Mapping[str, Any], results: Iterator[Any]) -> Iterator[Any]:
        """Yield the results, each checked with the arguments alone: the last batch may be smaller."""
        for result in results:
            with jaxtyped("context"):
                fault = self.fault({**arguments, "yield": result})
            if fault:
                raise ShapeError(fault)
            yield result

    def fault(self, values: Mapping[str, Any]) -> str:
        """Return a sentence about the first of the arguments or results that does not fit, or nothing."""
        for name, hint in self.hints.items():
            if name in values and not fits(values[name], hint):
                where = f"{self.module['__name__']}.{self.function.__qualname__}"
                return f"{where}: {name} is {_shown(values[name])}, not {_shown(hint)} (a name is one size per call)"
        return ""


def fits(value: Any, hint: Any) -> bool:
    """Say whether a value has the shapes of a hint, in the sizes that the surrounding context has seen so far."""
    if isinstance(hint, _ARRAY):
        return isinstance(value, hint)
    kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if hint in (None, types.NoneType):
        return value is None
    if not has_shape(hint):  # not checked, but in a union an array of a wrong shape must not pass for it
        return not hasattr(value, "shape") or not isinstance(kind, type) or isinstance(value, kind)
    if not isinstance(value, kind):
        return False
    if kind is tuple and ... not in parts:
        return len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(value, Mapping):
        return all(fits(part, parts[1]) for part in value.values())
    if isinstance(value, Sequence):
        return all(fits(part, parts[0]) for part in value)
    return True


def has_shape(hint: Any) -> bool:
    """Say whether a hint is an array's shape, or has one in it."""
    parts = hint if isinstance(hint, list) else typing.get_args(hint)  # a list: the arguments of a callable
    return isinstance(hint, _ARRAY) or any(map(has_shape, parts))


def _states_shape(text: str, module: Mapping[str, Any]) -> bool:
    """Say whether an annotation has a shape in it, written out or by an alias that the module has by now."""
    return bool(_SHAPE.search(text)) or any(has_shape(module.get(word)) for word in re.findall(r"\w+", text))


@functools.cache
def only_for_types(source: Path) -> dict[str, Any]:
    """Return what a module imports under ``if TYPE_CHECKING``: ``Tensor``, say, where it works without torch."""
    names: dict[str, Any] = {}
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), source, "exec"), names)
    return names


def _shown(value: Any) -> str:
    """Return a value in an error's words: an array by its type and shape, what is made of arrays by the first ones."""
    if typing.get_args(value):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {_shown(list(value.values()))}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_shown, value[:4]))}{', …' * (len(value) > 4)})"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return f"a {type(value).__name__}"
