"""The hash of the code that a rule's results hang on.

It replaces Snakemake's ``code`` rerun trigger, which compares modification times and would spend GPU-days after a
fresh clone.  It covers a module and everything of this package that it imports (also inside functions, and the
``"module:attribute"`` strings by which a space names its networks), with comments and docstrings left out; registries
are left out as well, so that a new entry re-runs nothing.  Of an entry of another package, that package's modules count
as this package's do.

To read all modules takes over a second, and each start of Snakemake does it, on a cluster each job's.  So what was read of a
source is kept in the user's cache folder (:func:`snas.compiler.cache_folder`) under the hash of its text.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import NamedTuple

import snas
from snas.compiler import cache_folder
from snas.tables import replacing

PACKAGE = Path(snas.__file__).resolve().parent
TARGET = re.compile(r"^(\w+(?:\.\w+)*):\w+$")


@functools.cache
def code_hash(*modules: str, without: tuple[str, ...] = (), script: Path | None = None) -> str:
    """Return 16 hex digits of the code of ``modules``, of all package modules that they import, in any order, and of ``script``.

    Of a ``"module:attribute"`` string, as a registry has it, the attribute counts too: another line of a registry may name
    something else in the same module.

    ``without`` names modules and packages that are left out, with all that only they import: those that made the inputs,
    imported for the schema of a table (an edit of them makes the inputs anew, and that is enough).  What ``modules`` names
    is covered even so.
    """
    digest = hashlib.sha256()
    for target in sorted({name for name in modules if ":" in name}):
        digest.update(f"{target}\n".encode())
    for name in closure(*modules, without=without):
        digest.update(f"{name}\n{_parsed(name)[0]}\n".encode())
    if script is not None:
        digest.update(_kept(script.read_bytes(), "").plain.encode())
    return digest.hexdigest()[:16]


def closure(*modules: str, without: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the package modules whose code :func:`code_hash` covers, sorted."""
    found: set[str] = set()
    modules = tuple(name.partition(":")[0] for name in modules)
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        left_out = name not in modules and any(name == w or name.startswith(f"{w}.") for w in without)
        if name not in found and not left_out:
            found.add(name)
            waiting.extend(_parsed(name)[1])
    return sorted(found)


def _path(module: str) -> Path | None:
    top, *inside = module.split(".")
    places = (PACKAGE,) if top == "snas" else _places(top)
    for base in (place.joinpath(*inside) for place in places):
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


@functools.cache
def _places(top: str) -> tuple[Path, ...]:
    """Return where another package lies, or a module that is one file; it is looked for and not imported."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(map(Path, spec.submodule_search_locations))
    return (Path(spec.origin).with_suffix(""),) if spec.has_location and spec.origin else ()


class Source(NamedTuple):
    """What is read of the source of a module."""

    plain: str
    """Hash of its code without comments, docstrings and registries."""
    names: tuple[str, ...]
    """What it imports, or names as ``"module:attribute"``: modules and what else lies in them."""
    templates: bool
    """Whether it names a template."""


@functools.cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the plain code of ``module``, as hash and text, and the modules that it names of this package and of its own."""
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(f"{module}: no such module, of snas or of a package that can be imported")
    source = _kept(path.read_bytes(), module if path.name == "__init__.py" else module.rpartition(".")[0])
    own = {"snas", module.partition(".")[0]}
    inside = tuple(n for n in source.names if n.partition(".")[0] in own and _path(n) is not None)
    code = [p for suffix in (".cpp", ".cu") if (p := path.with_suffix(suffix)).is_file()]
    if source.templates:  # they include each other
        code += sorted(PACKAGE.rglob("*.jinja"))
    return source.plain + "".join(p.read_text(encoding="utf-8") for p in code), inside


def _kept(text: bytes, package: str) -> Source:
    """Return what :func:`_read` does, from the cache where this text has been read before."""
    key = hashlib.sha256(b"\0".join((_reader(), package.encode(), text))).hexdigest()
    path = cache_folder() / "code" / f"{key[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        plain, names, templates = json.loads(path.read_bytes())
        return Source(plain, tuple(names), templates)
    source = _read(text, package)
    # Where there is nowhere to keep it, the next start reads it again.
    with contextlib.suppress(OSError), replacing(path) as whole:
        whole.write_text(json.dumps(source), encoding="utf-8")
    return source


@functools.cache
def _reader() -> bytes:
    """Return what tells the ways of reading apart: this module."""
    return Path(__file__).read_bytes()


def _read(text: bytes, package: str) -> Source:
    """Read a source; ``package``: what its relative imports start from."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not _is_registry(node)]
    found: set[str] = set()
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found.add(name)
            found.update(f"{name}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    found.update(match.group(1) for word in words if (match := TARGET.match(word)))
    plain = hashlib.sha256(_plain(tree).encode()).hexdigest()
    return Source(plain, tuple(sorted(found)), any(word.endswith(".jinja") for word in words))


def _is_registry(node: ast.stmt) -> bool:
    """Tell a table of names and ``"module:attribute"`` strings: ``Registry(kind, {...})``, a subclass's too."""
    value = getattr(node, "value", None)
    if not isinstance(value, ast.Call) or len(value.args) != 2 or not isinstance(value.args[1], ast.Dict):
        return False
    targets = [getattr(target, "value", None) for target in value.args[1].values]
    return all(isinstance(target, str) and TARGET.match(target) is not None for target in targets)


class FormatStrings(ast.NodeTransformer):
    """Writes f-strings as calls: how they are quoted changed with Python 3.12, and code would seem to be new."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Return the parts as arguments."""
        self.generic_visit(node)
        return ast.Call(ast.Name("f"), node.values, [])

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        """Return (value, conversion, format)."""
        self.generic_visit(node)
        return ast.Tuple([node.value, ast.Constant(node.conversion), node.format_spec or ast.Constant(None)])


def _plain(tree: ast.Module) -> str:
    """Return the source without comments and docstrings, the same text under every version of Python."""
    tree = FormatStrings().visit(tree)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                child
                for child in body
                if not (
                    isinstance(child, ast.Expr)
                    and isinstance(child.value, ast.Constant)
                    and isinstance(child.value.value, str)
                )
            ]
    return ast.unparse(tree)
