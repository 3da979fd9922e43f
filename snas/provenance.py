"""Where a file comes from: the hash of the code that made it, versions, device, seconds, peak memory.

The hash replaces Snakemake's ``code`` rerun trigger, which compares modification times and would spend GPU-days after a
fresh clone.  It covers a module and everything of this package that it imports (also inside functions, and the
``"module:attribute"`` strings by which a space names its networks), with comments and docstrings left out; registries
are left out as well, so that a new entry re-runs nothing.  Of an entry of another package, that package's modules count
as this package's do.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import snas

if TYPE_CHECKING:
    import torch

PACKAGE = Path(snas.__file__).resolve().parent
DRIVER = "SNAS_DRIVER"
"""Variable that tells jobs who drives them, as host:process."""
TARGET = re.compile(r"^(\w+(?:\.\w+)*):\w+$")


@functools.cache
def code_hash(*modules: str, without: tuple[str, ...] = (), script: Path | None = None) -> str:
    """Return 16 hex digits of the code of ``modules``, of all package modules that they import, in any order, and of ``script``.

    ``without`` names modules and packages that are left out, with all that only they import: those that made the inputs,
    imported for the schema of a table (an edit of them makes the inputs anew, and that is enough).
    """
    digest = hashlib.sha256()
    for name in closure(*modules, without=without):
        digest.update(f"{name}\n{_parsed(name)[0]}\n".encode())
    if script is not None:
        digest.update(_plain(ast.parse(script.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:16]


def closure(*modules: str, without: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the package modules whose code :func:`code_hash` covers, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and not any(name == w or name.startswith(f"{w}.") for w in without):
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


@functools.cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the plain source of ``module`` and the modules that it names of this package and of its own."""
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(f"{module}: no such module, of snas or of a package that can be imported")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _is_registry(node)]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found.add(name)
            found.update(f"{name}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (match := TARGET.match(node.value))
        ):
            found.add(match.group(1))
    own = {"snas", module.partition(".")[0]}
    inside = sorted(n for n in found if n.partition(".")[0] in own and _path(n) is not None)
    code = [p for suffix in (".cpp", ".cu") if (p := path.with_suffix(suffix)).is_file()]
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    if any(word.endswith(".jinja") for word in words):  # templates include each other
        code += sorted(PACKAGE.rglob("*.jinja"))
    beside = "".join(p.read_text(encoding="utf-8") for p in code)
    return _plain(tree) + beside, tuple(inside)


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


@contextlib.contextmanager
def measured(device: torch.device | None = None, **facts: Any) -> Iterator[dict[str, Any]]:
    """Yield a dictionary that is complete when the block ends: ``facts``, seconds, peak memory, device, versions.

    The facts (recipe, seed, code, ...) say what a file is; ``identity`` lists their keys, and :func:`snas.tables.join`
    refuses to mix shards that differ in one of them.  The rest says what it cost:
    ``seconds`` is wall time, ``cpu_seconds`` processor time of this process, ``gpu_seconds`` wall time on a GPU
    (0 on a CPU), ``peak_memory_mb`` the process's largest resident size, ``peak_gpu_memory_mb`` torch's on the GPU.
    """
    record: dict[str, Any] = {**facts, "identity": sorted(facts)}
    on_gpu = device is not None and device.type == "cuda"
    started, cpu = time.monotonic(), time.process_time()
    yield record
    seconds = time.monotonic() - started  # a clock that jumps does not touch the monotonic one
    record.update(
        seconds=round(seconds, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        gpu_seconds=round(seconds, 3) if on_gpu else 0.0,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        device=_device_name(device),
        host=socket.gethostname(),
        versions=versions(),
    )
    if on_gpu:
        import torch

        record["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that shape results."""
    found = {"python": platform.python_version(), "snas": snas.__version__}
    for package in ("torch", "numpy", "pandas", "pyarrow"):
        if package in sys.modules:
            found[package] = importlib.metadata.version(package)
    return found


def _device_name(device: torch.device | None) -> str:
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return "cpu"


def only_reads(arguments: Sequence[str]) -> bool:
    """Return whether a Snakemake command line makes nothing: a dry run, a summary, a lint, a drawing of the DAG."""
    words = {
        "--dry-run", "--dryrun", "--lint", "--summary", "-S", "-D", "--detailed-summary", "--list", "-l", "--list-rules",
        "--list-target-rules", "--lt", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--report", "--unlock",
        "--list-changes", "--list-input-changes", "--list-params-changes", "--list-code-changes", "--lc",
    }  # fmt: skip
    return any(
        a.partition("=")[0] in words or re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", a) is not None
        for a in arguments[1:]
    )


def hold_run(folder: Path, run: str, *, reads_only: bool) -> IO[str] | None:
    """Make this process the one driver of ``run`` in ``folder``; take away what a killed driver left locked.

    The lock is a ``flock`` on ``.snakemake/snas/<run>.lock``, freed by the kernel however the process ends; keep the
    returned file open for the life of the driver.  ``reads_only`` (a dry run, a summary) neither holds nor refuses.
    Raises :class:`InputError` that says who holds the run.
    """
    path = folder / ".snakemake" / "snas" / f"{run}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        if not reads_only:
            _check_writable(path.parent)
            _check_writable(folder / "results" / run)
    except OSError as error:
        if reads_only:
            return None
        raise snas.InputError(unwritable(error, str(folder))) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        if reads_only:
            return None
        raise snas.InputError(
            f"results/{run} is being made by {holder}; wait for it, stop it, or choose another name (--config run=NAME)"
        ) from None
    except OSError as error:
        # Lustre without flock, NFS without its lock service. Snakemake's own locks hold there; nobody knows which are stale.
        file.close()
        if not reads_only:
            print(
                f"[snas] {path.parent}: this file system has no locks ({os.strerror(error.errno or 0).lower()}); see to it that "
                f"one process at a time makes results/{run}. After a kill: snakemake --unlock",
                file=sys.stderr,
            )
            os.environ[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"
        return None
    if _last_host(file) == socket.gethostname():
        # Elsewhere the driver may live: some cluster file systems hold locks on one machine only.
        _clear_stale_locks(folder / ".snakemake" / "locks", run)
    if reads_only:
        file.close()
        return None
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
        _sign(file)
    os.environ[DRIVER] = f"{socket.gethostname()}:{os.getpid()}"  # jobs of this machine end when it is gone
    return file


def _last_host(file: IO[str]) -> str:
    """Return the machine of the driver that held the run last; this one where nobody did."""
    file.seek(0)
    match = re.fullmatch(r"process \d+ on (\S+) since .*", file.read().strip())
    return match[1] if match else socket.gethostname()


def _sign(file: IO[str]) -> None:
    """Say in the lock who holds it."""
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()


def unwritable(error: OSError, path: str) -> str:
    """Return what to do about a file that cannot be written, in one sentence; other errors in their own words.

    >>> unwritable(OSError(28, "No space left on device"), "results/a")
    'results/a cannot be written: no space left on the device; free some and start the same command again, it goes on'
    """
    path, again = str(error.filename or path), "start the same command again, it goes on"
    text = str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return f"{path} cannot be written: no space left on the device; free some and {again}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{path} cannot be written: {os.strerror(error.errno).lower()}; make the folder writable and {again}"
    return text


def _check_writable(folder: Path) -> None:
    """Raise OSError, with the folder's name, where no file of some size can be made in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(BOOKKEEPING))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


BOOKKEEPING = 2**16
"""Bytes that a driver needs for its own locks and logs before it starts."""

LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+)?")
"""Name of a file that a writer (:func:`snas.tables.replacing`) was killed before it could rename or remove."""


def clear_leftovers(folder: Path) -> None:
    """Remove what killed writers left below ``folder``; for a driver whose jobs are all done."""
    for path in folder.rglob(".*"):
        if LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _clear_stale_locks(locks: Path, run: str) -> None:
    """Remove Snakemake's locks on files of ``run``: their owner no longer holds the run, so it is dead."""
    for lock in sorted(locks.glob("*.lock")):
        with contextlib.suppress(OSError):
            if any(
                line.startswith(f"results/{run}/") for line in lock.read_text(encoding="utf-8").splitlines()
            ):
                lock.unlink()
