"""The report of a run: one HTML file with text, figures and tables, readable without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import snas
from snas import InputError
from snas.figures import style
from snas.figures.drawing import FEWEST_RUNS, nearest, records, span
from snas.figures.sources import Source, Sources
from snas.tables import replacing
from snas.words import counted

CAPTIONS = Path(__file__).resolve().parent.parent.parent / "report"
TEMPLATE = "report.html.jinja"
LARGEST_SVG, LARGEST_CSV = 1_500_000, 300_000
"""Bytes: a larger SVG is shown as PNG, a larger CSV is not put into the page."""
TABLE_ROWS = 80
"""Most rows of a figure's data that the page prints; the CSV has all."""
HEADINGS = {
    "headline": "Methods at equal budgets",
    "fig5": "Search results",
    "fig6": "N and K",
    "agreement": "Where our numbers and the published ones agree, and where not",
    "differences": "What each part adds",
    "ablations": "Ablations",
    "ranks": "Rank correlation",
    "fewest": "Fewer trainings",
    "needed": "Trainings until the optimum",
    "fewest_seconds": "Fewer seconds",
    "fewest_paired": "The Gaussian process against the others",
    "table1": "Training time",
    "fig1": "Estimation code",
    "fig8": "Code and proxies",
    "fig4": "Costs and accuracy",
    "fig7": "Light spaces",
    "fig9": "Networks",
    "fig10": "Counting",
    "costs": "Cost of the run",
}
"""Headings in the order of the page; figures that are not named here follow."""


@dataclass(frozen=True)
class Entry:
    """A figure of the page."""

    name: str
    heading: str
    caption: str
    image: str
    facts: list[str]
    missing: list[str]
    columns: list[tuple[str, bool]]
    """Their names, and whether they hold numbers, which stand at the right."""
    rows: list[list[str]]
    total: int
    counted: str
    """How many rows there are, with the noun."""
    csv: str | None


def write_report(
    out: str | Path,
    stems: Iterable[str | Path],
    data_paths: Iterable[str | Path] = (),
    *,
    run: str,
    configuration: Mapping[str, Any] | None = None,
    captions: str | Path = CAPTIONS,
) -> Path:
    """Write the report of a run to ``out``; returns its path.

    ``stems`` are those that :func:`snas.figures.draw` wrote to (a figure's name is its stem's); ``data_paths`` the
    tables of the analysis (points, differences, costs, ...), which the text is made from; ``configuration`` all keys of
    the run.  Raises :class:`InputError` where a figure's file or caption is missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    order = list(HEADINGS)
    entries = sorted(
        (_entry(Path(stem), Path(captions)) for stem in stems),
        key=lambda e: (order.index(e.name) if e.name in order else len(order), e.name),
    )
    sources = Sources(data_paths, ("points", "scatter", "differences", "costs", "timing"))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        run=run,
        version=snas.__version__,
        about=rst(Path(captions) / "workflow.rst"),
        benches=_benches(sources),
        findings=_findings(sources),
        protocol=_protocol(sources, configuration or {}),
        figures=entries,
        absent=[(entry.heading, text) for entry in entries for text in entry.missing],
        configuration={key: _plain(value) for key, value in (configuration or {}).items()},
    )
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(out)


def rst(path: Path) -> str:
    """Return the HTML of a caption in reStructuredText; files and raw HTML cannot be taken in."""
    from docutils.core import publish_parts  # type: ignore[import-untyped]

    if not path.is_file():
        raise InputError(f"{path}: no such file; every figure needs a caption of that name")
    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "halt_level": 2,
        "report_level": 5,
        "_disable_config": True,
    }
    parts = publish_parts(
        path.read_text(encoding="utf-8"), writer="html5", settings_overrides=settings
    )  # fmt: skip
    return str(parts["body"])


def _entry(stem: Path, captions: Path) -> Entry:
    name = stem.name
    paths = {suffix: stem.with_name(name + suffix) for suffix in (".svg", ".png", ".csv", ".json")}
    for path in paths.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file; draw the figure {name} first")
    notes = json.loads(paths[".json"].read_text(encoding="utf-8"))
    data = pd.read_csv(paths[".csv"], dtype=str, keep_default_na=False)
    raw = paths[".csv"].read_bytes()
    return Entry(
        name=name,
        heading=HEADINGS.get(name, notes["title"]),
        caption=rst(captions / f"{name}.rst"),
        image=_image(paths[".svg"], paths[".png"]),
        facts=notes["facts"],
        missing=notes["missing"],
        columns=[(column, _numeric(data[column])) for column in data.columns],
        rows=[[_short(value) for value in row] for row in data.head(TABLE_ROWS).to_numpy().tolist()],
        total=len(data),
        counted=counted(len(data), "row"),
        csv=_uri(raw, "text/csv") if len(raw) <= LARGEST_CSV else None,
    )


def _image(svg: Path, png: Path) -> str:
    """Return a figure as a data URI: as an image of its own, so that ids of two SVGs cannot meet."""
    if svg.stat().st_size <= LARGEST_SVG:
        return _uri(svg.read_bytes(), "image/svg+xml")
    return _uri(png.read_bytes(), "image/png")


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _short(text: str) -> str:
    """Return a number with at most six significant digits; other texts as they are.

    >>> _short("0.123456789"), _short("siamese"), _short("1120")
    ('0.123457', 'siamese', '1120')
    """
    try:
        return f"{float(text):.6g}" if "." in text else text
    except ValueError:
        return text


def _numeric(texts: pd.Series) -> bool:
    """Return whether all that stands in a column of a CSV are numbers, and there are some."""
    there = texts[texts != ""]
    return bool(len(there)) and bool(pd.to_numeric(there, errors="coerce").notna().all())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, default=list)
    return str(value)


def _benches(sources: Sources) -> list[str]:
    """Return one sentence per bench, from whichever table there is."""
    found: dict[str, Source] = {}
    for name in ("points", "scatter"):
        for source in sources.all(name):
            found.setdefault(source.bench, source)
    return [source.sources() for source in found.values()]


def _protocol(sources: Sources, configuration: Mapping[str, Any]) -> list[str]:
    """Return how the run was made, as a methods section says it."""
    lines = []
    for source in sources.all("points"):
        frame = source.frame
        budgets = frame["budget"].nunique()
        several = f" ({budgets} budgets)" if budgets > 1 else ""
        lines.append(
            f"{source.title}: N = {span(frame['budget'])}{several}, K = {span(frame['top'])}, "
            f"n = {span(frame['runs'])} runs per point; methods: {', '.join(map(style.method_title, style.order(frame['method'])))}."
        )
    seeds = {str(s.facts["base_seed"]) for s in sources.all("points") if "base_seed" in s.facts}
    if not seeds and "seed" in configuration:
        seeds = {str(configuration["seed"])}
    if seeds:
        lines.append(
            f"Base seed {', '.join(sorted(seeds))}; run r has the same seed in every method, so differences are paired."
        )
    for source in sources.all("costs"):
        devices = dict.fromkeys(d for text in source.frame["device"] for d in str(text).split(", ") if d)
        if devices:
            lines.append(f"Computed on: {', '.join(devices)}.")
    lines.append(
        "A run's score is the best true accuracy among the top K of its ranking; pool members count, as in the paper. The fair price leaves them out of the K and takes the best of both. "
        "Correlations use average ranks; intervals are 95 % percentile bootstrap intervals over runs."
    )
    return lines


def verdict(low: float, high: float, runs: int) -> str:
    """Return in words what an interval of a difference says.

    >>> verdict(0.01, 0.02, 100), verdict(-0.02, -0.01, 10), verdict(-0.01, 0.02, 100), verdict(0.01, 0.02, 9)
    ('better', 'worse', 'no difference is shown', 'too few runs to tell')
    """
    if low <= 0 <= high:
        return "no difference is shown"
    if runs < FEWEST_RUNS:
        return "too few runs to tell"
    return "better" if low > 0 else "worse"


def _points(value: float) -> str:
    """Return a difference of accuracies in percentage points, as figures print it.

    >>> _points(-0.0123456), _points(0.02), _points(0.0)
    ('−1.235', '+2.000', '0')
    """
    return f"{100 * value:+.3f}".replace("-", "−") if round(100 * value, 3) else "0"


def _findings(sources: Sources) -> list[str]:
    """Return what the differences say at the largest N of each bench, K nearest to 20."""
    lines = []
    for source in sources.all("differences"):
        frame = source.frame[source.frame["kind"] == "score"]
        frame = frame[frame["top"] == nearest(frame["top"], 20)]
        for keys, group in frame.groupby(["method", "reference"], sort=False):
            method, reference = map(str, keys)
            row = next(iter(records(group.sort_values("budget").tail(1))))
            name = style.method_title(method)
            against = (
                "its own coarse ranking"
                if reference.startswith(f"{method} (")
                else style.method_title(reference)
            )
            lines.append(
                f"{source.title}, N = {row.budget}, K = {row.top}: {name} against {against}: {_points(row.difference)} points "
                f"(95 % interval {_points(row.low)} to {_points(row.high)}, n = {row.runs}): "
                f"{verdict(row.low, row.high, row.runs)}."
            )
    return lines
