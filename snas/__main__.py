"""The command ``snas``: what stands beside the workflow.

``snas search --images FOLDER`` finds the network for one's own images (:mod:`snas.search.command`),
``snas import-nasbench201 SOURCE`` makes one small table of any public form of NAS-Bench-201, ``snas config-table`` and
``snas tables`` print the documentation that is made from the schemas, ``snas predict`` applies the network that a search found to image files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snas import InputError, __version__
from snas.device import NAMES
from snas.signals import Terminated
from snas.words import percent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; wrong input is one sentence on standard error and exit status 2.

    Where the reader of the output has gone (``| head``), it ends without a word, as other commands do; Ctrl-C and SIGTERM are no
    errors.
    """
    # a name or label that the terminal has no letters for is no error, either
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _written(), _stopping():
            return _run(arguments)
    except Terminated:
        print("snas: stopped", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("snas: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _refused(error)


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Raise :class:`snas.signals.Terminated` on SIGTERM, where nobody else handles it."""

    def stop(*_: object) -> None:
        # Another one would stop what takes the processes with it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Write out what was printed; the interpreter would do so at its end, and complain of a closed pipe in lines of its own."""
    try:
        yield
    finally:
        try:
            print(end="", flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        return _refused(error)
    return status


def _refused(error: Exception) -> int:
    print(f"snas: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="snas",
        description="Siamese-NAS: search for a light, accurate CNN for your own images, apply it, and prepare and check the "
        "inputs of the Snakemake workflow. 'snas COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"snas {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    from snas.search import command

    command.add_parser(commands)
    predicted = _command(commands, "predict", "classify images with the network that a search found")
    predicted.add_argument("folder", type=Path, help="folder results/<run>/best of the search")
    predicted.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="image file (PNG, JPEG, ...), or a folder of them",
    )
    predicted.add_argument(
        "--top",
        type=int,
        default=1,
        help="number of labels per image, the most probable first; default: %(default)s",
    )
    predicted.add_argument(
        "--runtime", default="auto", help="auto (ONNX Runtime where it is installed), onnxruntime or torch"
    )
    predicted.set_defaults(command=_predict)
    compared = _command(
        commands,
        "compare",
        "compare a search's winner with hand-made networks and random search, over several seeds",
    )
    command.add_images(compared, default="digits")
    compared.add_argument(
        "--train-images",
        type=int,
        default=0,
        help="use only this many training images of a source with a test part of its own",
    )
    compared.add_argument("--seeds", type=int, default=5, help="number of repetitions; default: %(default)s")
    compared.add_argument("--method", default="gp", help="search method; default: %(default)s")
    compared.add_argument(
        "--budget",
        default="16+4",
        help="N networks to learn from + K of the highest ranks; default: %(default)s",
    )
    compared.add_argument(
        "--recipe", default="digits_truth", help="recipe of all trainings; default: %(default)s"
    )
    compared.add_argument(
        "--width",
        type=int,
        default=8,
        help="channels of the searched networks' first stage; default: %(default)s",
    )
    compared.add_argument(
        "--device", choices=NAMES, default="cpu", help="where it computes; default: %(default)s"
    )
    compared.add_argument(
        "--out",
        type=Path,
        default=Path("results/compare"),
        help="folder of the results; default: %(default)s",
    )
    compared.set_defaults(command=_compare)
    imported = _command(
        commands, "import-nasbench201", "make one small table from any public form of NAS-Bench-201"
    )
    imported.add_argument(
        "source",
        type=Path,
        help="folder or tar of NATS-tss-v1_0-3ffb9-simple; a table (.parquet, .csv, .tsv; its columns are listed in "
        "docs/nasbench201.md); NASLib's nb201_*_full_training.pickle or a folder of them; analog-nasbench (the "
        "installed package)",
    )
    imported.add_argument(
        "--out", type=Path, default=Path("nasbench201.parquet"), help="file to write; default: %(default)s"
    )
    imported.add_argument(
        "--code-epochs",
        type=int,
        nargs=3,
        metavar="EPOCH",
        help="three epochs whose training losses are the estimation code; default: the source's usual ones",
    )
    imported.add_argument(
        "--allow-partial",
        action="store_true",
        help="accept a source with fewer than all 15,625 architectures",
    )
    imported.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing table that was made from another source or with other epochs",
    )
    imported.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that read the source; default: %(default)s",
    )
    imported.set_defaults(command=_import_nasbench201)
    checked = _command(commands, "config-check", "check configuration files without running anything in them")
    checked.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="configuration file; later ones override earlier ones",
    )
    checked.set_defaults(command=_config_check)
    chapter = _command(
        commands,
        "nasbench201-chapter",
        "print the tables on NAS-Bench-201 in docs/results.md, from finished runs",
    )
    chapter.add_argument("runs", type=Path, nargs="+", metavar="results/RUN", help="folder of a finished run")
    chapter.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="also write small PNG files of the first run's figures to this folder",
    )
    chapter.set_defaults(command=_chapter)
    table = _command(commands, "config-table", "print config/README.md, made from config/schema.yaml")
    table.set_defaults(command=_config_table)
    documented = _command(commands, "tables", "print docs/tables.md, made from the schemas of all files")
    documented.set_defaults(command=_tables)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command that is described by one phrase, in the list of commands and in its own help."""
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    return added


def _import_nasbench201(options: argparse.Namespace) -> int:
    from snas.spaces.nasbench201_import import import_nasbench201

    if options.out.suffix != ".parquet":
        raise InputError(f"--out {options.out}: a Parquet file is made, so its name has to end with .parquet")
    if options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}: at least 1 is expected")
    started = time.monotonic()
    found = import_nasbench201(
        options.source,
        options.out,
        code_epochs=options.code_epochs,
        allow_partial=options.allow_partial,
        overwrite=options.overwrite,
        jobs=options.jobs,
        progress=_Line(started),
    )
    print(f"{options.out} is made ({time.monotonic() - started:.0f} s): {_contents(found)}")
    return 0


def _contents(found: dict[str, Any]) -> str:
    """Return what an imported table holds, from its metadata."""
    counts = ", ".join(f"{name} {count:,}" for name, count in found["datasets"].items())
    seeds = "accuracies per seed" if found["per_seed"] else "means over seeds only"
    codes = (
        f"codes from epochs {', '.join(map(str, found['code_epochs']))} ({percent(found['code_price'])} of a complete training each)"
        if found["code_epochs"]
        else "no codes (it records no curves)"
    )
    return f"{found['title']}; architectures: {counts}; {seeds}; {codes}"


class _Line:
    """Says now and then how far a long command is and how long it takes yet."""

    def __init__(self, started: float) -> None:
        self._started = self._said = started

    def __call__(self, done: int, total: int, text: str = "") -> None:
        from snas.progress import clock

        now = time.monotonic()
        if done and now - self._said >= 5:
            self._said = now
            left = (now - self._started) / done * (total - done)
            print(f"{done} of {total} {text}, about {clock(left)} left", file=sys.stderr)


def _chapter(options: argparse.Namespace) -> int:
    from snas.figures import chapter

    print(chapter.chapter(options.runs), end="")
    if options.images:
        for path in chapter.images(options.runs[0], options.images):
            print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from snas.export.predict import predict

    status = 0
    for line, good in predict(options.folder, options.images, top=options.top, runtime=options.runtime):
        if good:
            print(line)
        else:
            print(f"snas: {line}", file=sys.stderr)
            status = 2
    return status


def _compare(options: argparse.Namespace) -> int:
    from snas import config, device, images
    from snas.export import compare
    from snas.images.split import LEAST
    from snas.search import command, forecast, own

    values = command.named(options)
    values.setdefault("image_side", command.side_of(values, options.device))
    # a wrong value is a sentence, before the images are read
    config.load(values | {"method": options.method, "budget": options.budget, "truth_recipe": options.recipe})
    contest = compare.Contest(
        options.method, options.budget, options.recipe, width=options.width, device=options.device
    )
    drawn = images.load(
        values["images"],
        path=values["images_path"],
        side=values["image_side"],
        channels=values.get("image_channels"),
        train_images=options.train_images,
        least=LEAST,
    )
    if options.train_images and not drawn.own_test:
        raise InputError(
            f"--train-images {options.train_images}: {values['images']} has no test part of its own, so that all of its images "
            "are divided; leave it out"
        )
    if not device.wanted(options.device):
        searched, _ = own.candidates(contest.space, width=contest.width, **drawn.size)
        forecast.check_memory(
            contest.space,
            searched,
            width=contest.width,
            side=drawn.side,
            jobs=1,
            smaller="a smaller --width or --side",
        )
    frame = compare.run(
        contest, drawn, range(options.seeds), options.out, lambda text: print(text, file=sys.stderr)
    )
    print(compare.markdown(frame))
    return 0


def _config_check(options: argparse.Namespace) -> int:
    from snas import config
    from snas.search import jobs

    values: dict[str, Any] = {}
    for path in options.files:
        values.update(config.read_file(path))
    checked = config.load(values)
    own = "budget" in values and bool(checked.space)  # else nobody speaks of a search on own images
    searches, fewest = jobs.search_jobs(checked), jobs.fewest_jobs(checked)
    jobs.check_asked(checked, searches, fewest, own)
    offers = jobs.check_nasbench201(checked, whole=True)
    jobs.check_offers(checked, offers, [bench.name for bench in jobs.benches(checked)], searches, fewest)
    print(f"{', '.join(map(str, options.files))}: a valid configuration")
    return 0


def _config_table(options: argparse.Namespace) -> int:
    from snas import config

    print(config.table(), end="")
    return 0


SCHEMAS = (
    ("spaces/<space>.parquet", "snas.spaces.space:ARCHITECTURES"),
    ("spaces/nasbench201_accuracies.parquet", "snas.spaces.accuracies:ACCURACIES"),
    ("images/labels.parquet", "snas.images.labels:LABELS"),
    ("images/share.parquet", "snas.images.share:TENTH"),
    ("images/split.parquet (a search on own images)", "snas.images.split:SPLIT"),
    ("images/selection.parquet and held_out.parquet", "snas.images.split:PIXELS"),
    ("training/codes.parquet and its shards", "snas.training.schemas:CODES"),
    ("training/truth.parquet and its shards", "snas.training.schemas:TRUTH"),
    ("proxies/<proxy>.parquet and its shards", "snas.proxies.scores:PROXIES"),
    ("search/<bench>/table.parquet", "snas.search.bench:BENCH"),
    ("a table of your own (truth: table)", "snas.search.bench:ACCURACIES"),
    ("search/<bench>/<method>/n<N>/block_<first run>-<last run>.parquet", "snas.search.block:SEARCH"),
    ("search/<bench>/rounds/<r>/….asks.parquet", "snas.search.asks:ASKS"),
    ("search/own/candidates.parquet", "snas.search.own:CANDIDATES"),
    ("search/own/trained.parquet", "snas.search.own:TRAINED"),
    ("analysis/<bench>/scores.parquet", "snas.analysis.scores:SCORES"),
    ("analysis/<bench>/points.parquet", "snas.analysis.points:POINTS"),
    ("analysis/<bench>/differences.parquet", "snas.analysis.differences:DIFFERENCES"),
    ("analysis/<bench>/scatter.parquet", "snas.analysis.correlations:SCATTER"),
    ("analysis/<bench>/correlations.parquet", "snas.analysis.correlations:CORRELATIONS"),
    ("analysis/<bench>/comparison.parquet", "snas.analysis.published:COMPARISON"),
    ("analysis/<bench>/timing.parquet", "snas.analysis.timing:TIMING"),
    ("analysis/<bench>/progress.parquet", "snas.analysis.fewest:PROGRESS"),
    ("analysis/<bench>/needed.parquet", "snas.analysis.fewest:NEEDED"),
    ("fewest/paired.parquet (progress and needed stand beside)", "snas.analysis.fewest:PAIRED"),
    ("export/tested.parquet", "snas.export.complete:TESTED"),
    ("analysis/counts.parquet", "snas.analysis.counting:COUNTS"),
    ("analysis/costs.parquet", "snas.analysis.costs:COSTS"),
)
"""Every file of a run below ``results/<run>/`` and its schema."""


def _tables(options: argparse.Namespace) -> int:
    print(tables_page(), end="")
    return 0


def tables_page() -> str:
    """Return docs/tables.md: every file of a run with its columns."""
    from snas.registry import resolve

    lines = [
        "# Files of a run",
        "",
        "Every file that a run writes, with its columns. Paths are below `results/<run>/`. This page is made by `snas tables` from",
        "the schemas; a test compares the two.",
        "",
        "**Metadata.** The footer of every file holds a JSON object under the key `snas`. It says how the file was made: recipe,",
        "seed, code hash and more. `identity` names these keys; shards that differ in one of them are never mixed. Then follow",
        "seconds, cpu_seconds, gpu_seconds, peak_memory_mb, device, host and versions.",
    ]
    for path, target in SCHEMAS:
        schema = resolve(target)
        lines += ["", f"## {path}", "", schema.description, ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for name, column in schema.columns.items():
            missing = " (may be missing)" if column.null else ""
            lines.append(f"| `{name}` | {column.type} | {column.description}{missing} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
