"""The configuration, checked before anything else.

``config/schema.yaml`` is the one source of names, defaults, ranges and descriptions.  :func:`load` merges defaults,
configuration files and command-line values into one frozen :class:`Config`.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snas import InputError
from snas.registry import resolve, shortened

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_PATH = ROOT / "config" / "schema.yaml"
ANALOG = "analog-nasbench"
"""Source of NAS-Bench-201 that is an installed package, not a path."""


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


def schema() -> dict[str, Any]:
    """Return the configuration's JSON schema, the one source of names, defaults and ranges."""
    import yaml

    return yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))


def defaults() -> dict[str, Any]:
    """Return the default value of every key."""
    return {key: entry["default"] for key, entry in schema()["properties"].items()}


MOST_BYTES, MOST_VALUES, LONGEST = 2**20, 10**5, 1000
"""Bytes of a configuration file, values that its aliases may make of it, characters of one value."""


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML configuration file; only plain YAML is accepted (no tags, nothing that grows or refers to itself).

    Raises :class:`InputError` with the line where the file is not a mapping of keys to values, or has a key twice.
    """
    import yaml

    try:
        text = _text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: the configuration cannot be read: {reason}") from error
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        _check_size(root, path)
        _check_once(root, path)
        loaded = yaml.safe_load(text)
    except InputError:  # a ValueError, and a sentence already
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{path}{where}: {problem}; a configuration is plain 'key: value' lines") from error
    except (ValueError, RecursionError) as error:  # 2001-99-99 is no date; thousands of brackets
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise InputError(f"{path}: {problem}; a configuration is plain 'key: value' lines") from None
    if not isinstance(loaded, dict):
        raise InputError(
            f"{path}: a configuration is a mapping of keys to values, not {type(loaded).__name__}"
        )
    if "__use_yte__" in loaded:
        raise InputError(
            f"{path}: key '__use_yte__' makes Snakemake run the file as a Python template; a configuration is plain, "
            "so remove it"
        )
    return loaded


def _text(path: Path) -> str:
    """Return the text of a plain file of bounded size."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: the configuration is not a plain file")
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise InputError(f"{path}: a configuration has at most {MOST_BYTES} bytes; this one has more")
    return raw.decode("utf-8")


def _check_size(root: Any, path: str | Path) -> None:
    """Refuse a tree of YAML nodes whose aliases multiply it or lead back to it, and values of absurd length."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        if id(node) in open_nodes:
            raise InputError(f"{path}, line {node.start_mark.line + 1}: an alias that leads back to itself")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.remove(id(node))
        if not isinstance(node.value, list) and len(node.value) > LONGEST:
            line = node.start_mark.line + 1
            raise InputError(
                f"{path}, line {line}: a value of {len(node.value)} characters; at most {LONGEST}"
            )
        return sizes[id(node)]

    if root is not None and size(root) > MOST_VALUES:
        raise InputError(f"{path}: its aliases make more than {MOST_VALUES} values of it; write them out")


def _children(node: Any) -> list[Any]:
    """Return the nodes below a YAML node: entries of a list, keys and values of a mapping."""
    if not isinstance(node.value, list):
        return []
    return [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]


def _check_once(root: Any, path: str | Path) -> None:
    """Refuse a key that stands twice in one mapping: YAML's readers keep the last one and say nothing."""
    waiting, seen = deque([(root, "")]), {id(None)}
    while waiting:
        node, name = waiting.popleft()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        lines: dict[tuple[str, str], int] = {}
        for place, item in enumerate(node.value):
            if not isinstance(item, tuple):
                waiting.append((item, f"{name}{place}."))
                continue
            key, value = item
            if isinstance(key.value, list):  # no key of a configuration; the reader refuses it by its line
                continue
            line, same = key.start_mark.line + 1, (key.tag, key.value)  # 'runs' in quotes is runs
            if same in lines:
                where = f"line {line}" if line == lines[same] else f"lines {lines[same]} and {line}"
                raise InputError(
                    f"{path}, {where}: key {shortened(name + key.value)} stands twice; leave one, as only the last would count"
                )
            lines[same] = line
            waiting.append((value, f"{name}{key.value}."))


OPTIONS = {"--config": "--config|-C", "--configfile": r"--configf\w*"}
"""Snakemake's options of the configuration as patterns: it takes abbreviated ones."""


def check_arguments(arguments: Sequence[str]) -> None:
    """End the process in one sentence where what follows ``--configfile`` or ``--config`` cannot be a configuration.

    For Snakemake's profiles, which are read before any configuration.  Snakemake itself runs a file that says
    ``__use_yte__: true`` as a Python template, and has a traceback for a file that is not there and for an entry that is no
    ``key=value``: all before the Snakefile could say a word.  Where an option is given twice it
    takes the last one alone, without a word.
    """
    arguments = [re.sub("^-C(?=[^=])", "-C=", argument) for argument in arguments]  # -Cruns=3 is -C=runs=3
    for option, pattern in OPTIONS.items():
        if sum(_is_option(argument, pattern) for argument in arguments) > 1:
            raise SystemExit(
                f"{option} stands twice, and Snakemake would take the last one alone; write all that belongs to it behind one"
            )
    target = "if it is a target, it stands before {}, or behind '--'"
    keys: list[str] = []
    for entry in _values_of(OPTIONS["--config"], arguments):
        key, equals, _ = entry.partition("=")
        if not equals:
            raise SystemExit(f"--config {entry}: key=value is expected; {target.format('--config')}")
        if not key.isidentifier():
            raise SystemExit(
                f"--config {entry}: {key!r} is no key; keys are words, and those inside of others go through --configfile"
            )
        if key in keys:
            raise SystemExit(f"--config names {key!r} twice; once is right")
        keys.append(key)
    for file in _values_of(OPTIONS["--configfile"], arguments):
        try:
            read_file(file)
        except InputError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            raise SystemExit(f"{error}; {target.format('--configfile')}" if missing else str(error)) from None


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """Return the words that Snakemake's parser takes as the values of an option (a pattern): up to the next option."""
    found: list[str] = []
    takes = False
    for argument in arguments:
        _, given, value = argument.partition("=")
        if _is_option(argument):
            takes = _is_option(argument, option)
            if takes and given:  # --configfile=FILE takes this one alone
                found.append(value)
                takes = False
        elif takes:
            found.append(argument)
    return found


def _is_option(argument: str, pattern: str = "-.*") -> bool:
    """Return whether a word of the command line is an option that a pattern matches; with a space in it, it is a value."""
    name = argument.partition("=")[0]
    return name.startswith("-") and " " not in name and re.fullmatch(pattern, name) is not None


def load(values: Mapping[str, Any]) -> Config:
    """Check ``values`` (what the files and the command line say) against the schema; return the frozen whole.

    Values from ``--config`` arrive as strings, also in lists, and are read as the key's type.  Raises :class:`InputError`
    that names the key, what was found and what would be right; nothing is silently replaced by a default.
    """
    import jsonschema

    full = schema()
    properties = full["properties"]
    merged = dict(defaults())
    for key, value in values.items():
        if key not in properties:
            close = nearest(str(key), properties)
            hint = f"did you mean {close}?" if close else "config/README.md lists the known ones"
            raise InputError(f"configuration: unknown key {shortened(key)}; {hint}")
        empty = value is None and key in ("space", *PATHS)  # --config space=
        merged[key] = "" if empty else _from_text(value, properties[key])
        if key in PATHS and isinstance(merged[key], str) and merged[key].startswith("~"):
            merged[key] = str(Path(merged[key]).expanduser())
        _check_finite(key, merged[key])
    validator = jsonschema.Draft202012Validator(full)
    for error in sorted(validator.iter_errors(merged), key=lambda e: list(map(str, e.absolute_path))):
        raise InputError(f"configuration: {_explain(error)}")
    for key, entry in properties.items():
        _check_names(key, merged[key], entry)
    config = Config(merged)
    _check_together(config)
    return config


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the two known words that are most like ``word``, as a phrase; empty where none is.

    >>> nearest("rusn", ["run", "runs", "seed"])
    "'run' or 'runs'"
    """
    return " or ".join(map(repr, difflib.get_close_matches(word, known, n=2, cutoff=0.7)))


def _from_text(value: Any, entry: Mapping[str, Any]) -> Any:
    """Read a command-line string as the key's type; leave what does not fit, so that the schema names it.

    Snakemake reads ``--config budgets=[30,60]`` as a list of strings, so the entries of lists and objects are read likewise.
    """
    kind = entry["type"]
    if kind == "array" and isinstance(value, list):
        return [_from_text(item, entry["items"]) for item in value]
    if kind == "object" and isinstance(value, dict):
        parts = entry.get("properties")
        if parts is None:  # of a method's options no type is known here
            return {name: _as_written(item) for name, item in value.items()}
        return {
            name: _from_text(item, parts[name]) if name in parts else item for name, item in value.items()
        }
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # --config run=7
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)  # --config max_params=1e6
    if not isinstance(value, str):
        return value
    if kind == "boolean":
        return {"true": True, "false": False, "yes": True, "no": False}.get(value.lower(), value)
    if kind in ("integer", "number"):
        try:
            return int(value) if kind == "integer" else float(value)
        except ValueError:
            return value
    return value


def _as_written(value: Any) -> Any:
    """Read a text as the number or the truth value that it is written as, in objects too."""
    if isinstance(value, dict):
        return {name: _as_written(item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return {"true": True, "false": False}.get(value.lower(), value)


def _check_finite(key: str, value: Any) -> None:
    """Refuse NaN and infinity, which no comparison of the schema sees."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"configuration: key {key!r} is {value}; a finite number is expected")


PATHS = ("table", "nasbench201", "images_path")
"""Keys that name a file or folder; ``~`` is the home folder."""

PATTERNS = {"budget": "N+K, as in 32+8"}
"""What a key with a pattern of its own is to look like, in words."""


def _explain(error: Any) -> str:
    """Return one sentence for a jsonschema error: key, found, allowed."""
    path = ".".join(str(p) for p in error.absolute_path)
    found, rule, limit = error.instance, error.validator, error.validator_value
    shown = shortened(found)
    if rule == "additionalProperties":
        unknown = sorted(set(map(str, found)) - set(error.schema.get("properties", {})))
        return f"key {path!r} has the unknown key {shortened(unknown[0])}; known: {', '.join(error.schema['properties'])}"
    if rule == "required":
        missing = [k for k in limit if k not in found]
        return f"key {path!r} lacks {missing[0]!r}; it needs {', '.join(limit)}"
    if rule == "type" and "propertyNames" in error.absolute_schema_path:
        return f"key {path!r} has the name {shown} ({type(found).__name__}); {limit} is expected"
    if rule == "type":
        through = "; on the command line a list is 'key=[a,b]', in quotes" if limit == "array" else ""
        return f"key {path!r} is {shown} ({type(found).__name__}); {limit} is expected{through}"
    allowed = {
        "enum": lambda: f"one of {', '.join(map(str, limit))}",
        "minimum": lambda: f"at least {limit}",
        "exclusiveMinimum": lambda: f"more than {limit}",
        "maximum": lambda: f"at most {limit}",
        "pattern": lambda: PATTERNS.get(
            path, "letters, digits, '_', '.' and '-', the first one a letter or digit, 100 at most"
        ),
        "uniqueItems": lambda: "every entry once",
        "minItems": lambda: f"at least {limit} entries",
        "maxItems": lambda: f"at most {limit} entries",
    }.get(rule, lambda: f"{rule} {limit}")()
    return f"key {path!r} is {shown}; allowed: {allowed}"


def _check_names(key: str, value: Any, entry: Mapping[str, Any]) -> None:
    """Look every registered name up in its room, without importing what it stands for."""
    if "x-registry" in entry and value != "":
        registry = resolve(entry["x-registry"])
        try:
            registry.check(value)
        except InputError as error:
            raise InputError(f"configuration: key {key!r}: {error}") from None
    if entry["type"] == "array":
        for index, item in enumerate(value):
            _check_names(f"{key}.{index}", item, entry["items"])
    if entry["type"] == "object":
        for name, part in entry.get("properties", {}).items():
            if name in value:
                _check_names(f"{key}.{name}", value[name], part)


MOST_JOBS = 100_000
"""Search jobs of a run: far beyond what Snakemake handles well (5,000), far below what fills a memory."""


def _check_together(config: Config) -> None:
    """Refuse keys that contradict each other, or that together ask for absurdly many jobs."""
    points = [(len(config.methods) * len(config.budgets), config.runs, config.block)]
    points += [
        (len(e["budgets"]), e.get("runs", config.runs), e.get("block", config.block))
        for e in config.extra_searches
    ]
    points += [
        (len(e["budgets"]) * len(e.get("removed", [0])), e.get("runs", 100), config.block)
        for e in config.fewest
    ]
    count = sum(times * math.ceil(runs / block) for times, runs, block in points)
    if count > MOST_JOBS:
        raise InputError(
            f"configuration: methods × budgets × runs / block, with those of fewest, are {count} search jobs; at most "
            f"{MOST_JOBS}"
        )
    if config.code != "trained" and config.code not in config.proxies:
        raise InputError(
            f"configuration: key 'code' is {config.code!r}; allowed: trained, or one of the key 'proxies' "
            f"({', '.join(config.proxies) or 'none'})"
        )
    if config.truth == "table" and config.space and not config.table:
        raise InputError(
            "configuration: truth = table needs the key 'table', the Parquet file with the accuracies"
        )
    if config.table and config.truth != "table":
        raise InputError(
            f"configuration: key 'table' is set, but truth is {config.truth!r}; allowed: truth = table"
        )
    if config.fewest and config.space and config.truth == "on_demand":
        raise InputError(
            "configuration: key 'fewest' measures regret, which needs all accuracies; allowed: truth = exhaustive or table"
        )
    if not config.space and not config.nasbench201:
        raise InputError("configuration: nothing to search; set 'space', or 'nasbench201' to a table")
    own = ("recorded", "trained", *config.nasbench201_proxies)
    if config.nasbench201_code not in own:
        raise InputError(
            f"configuration: key 'nasbench201_code' is {config.nasbench201_code!r}; allowed: recorded, trained, or one of "
            f"the key 'nasbench201_proxies' ({', '.join(config.nasbench201_proxies) or 'none'})"
        )
    epochs = config.nasbench201_code_epochs
    if epochs and (len(epochs) != 3 or list(epochs) != sorted(set(epochs))):
        raise InputError(
            f"configuration: key 'nasbench201_code_epochs' is {list(epochs)}; allowed: three ascending epochs, or none"
        )
    if config.nasbench201 == ANALOG:
        try:
            resolve("snas.spaces.source_analog:locate")()
        except InputError as error:
            raise InputError(f"configuration: key 'nasbench201': {error}") from None
    if config.validation_share + config.test_share >= 0.95:
        raise InputError(
            f"configuration: validation_share {config.validation_share} and test_share {config.test_share} leave too few "
            "images to train on; together below 0.95"
        )
    if 0 < config.image_side < 8:
        raise InputError(
            f"configuration: key 'image_side' is {config.image_side}; allowed: 8 to 128, or 0 to keep images as they are"
        )
    for key in PATHS:
        fetched = key == "images_path" and config.images_download
        if config[key] and config[key] != ANALOG and not fetched and not Path(config[key]).exists():
            hint = (
                "; snas import-nasbench201 SOURCE makes it, or name a source itself"
                if key == "nasbench201"
                else ""
            )
            # A line's end in it, as \x1e is, too, would make two sentences.
            path = config[key] if config[key].isprintable() else repr(config[key])
            raise InputError(f"configuration: key {key!r}: {path} does not exist{hint}")
    resolve("snas.images.known:check")(config)
    resolve("snas.search.jobs:check")(config)


def table() -> str:
    """Return config/README.md: the table of keys, made from the schema."""
    lines = [
        "# Keys of the configuration",
        "",
        "`config.yaml` is the default run. The other files are overlays, which name only what they change:",
        "`snakemake --configfile config/smoke.yaml`. Keys can also be set on the command line:",
        "`snakemake --config runs=100 run=mine`, with lists in quotes: `--config 'budgets=[30,60]'`.",
        "`snas config-check FILE` checks a file without running anything. In the table, N is the number of complete",
        "trainings that a method learns from, K the number of its highest ranks that are trained afterwards.",
        "",
        "This page is made from `schema.yaml` by `snas config-table`; a test compares the two.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for key, entry in schema()["properties"].items():
        kind = " \\| ".join(map(str, entry["enum"])) if "enum" in entry else entry["type"]
        value = entry["default"]
        shown = (
            ", ".join(map(str, value))
            if isinstance(value, list)
            else str(value).lower()
            if value in (True, False) and isinstance(value, bool)
            else str(value)
        )
        lines.append(f"| `{key}` | {kind} | {f'`{shown}`' if shown else ''} | {entry['description']} |")
    return "\n".join(lines) + "\n"
