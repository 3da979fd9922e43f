"""The tables of docs/results.md on NAS-Bench-201, as Markdown, and its small images, from the analysis of finished runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snas import InputError
from snas.analysis.agreement import agreement
from snas.figures import draw, reads, style
from snas.figures.drawing import records, span
from snas.figures.sources import Source, Sources
from snas.figures.tabular import table1
from snas.tables import replacing

TOP = 30
BUDGETS = (30, 70, 120, 180)
"""K and N of the tables: N + K = 60, 100, 150, 210."""
STEPS = (
    ("neural_predictor", "random"),
    ("siamese", "neural_predictor"),
    ("siamese", "siamese (coarse ranking)"),
    ("siamese+nsam", "siamese"),
    ("siamese+nsam+bts", "siamese+nsam"),
    ("siamese+nsam+bts", "siamese+nsam+bts (coarse ranking)"),
    ("siamese+nsam+bts", "neural_predictor"),
    ("siamese+nsam+bts", "random"),
)
"""What the paper adds one after the other, and what the code adds to a ranking."""
KINDS = (("score", "pool counted"), ("score_fair", "pool not counted"))
IMAGES = ("fig4", "fig5", "fig6", "fig7", "fig8", "differences")
LARGEST = 100_000
"""Bytes of a committed image."""


def chapter(runs: Iterable[str | Path]) -> str:
    """Return the tables of all benches of NAS-Bench-201 in the folders ``results/<run>`` of finished runs, as Markdown.

    Per bench: ours beside published, paired differences and rank correlations, from the first run that has the bench;
    then of every run the fair protocol and the ablations, and the agreement with the published points and table 1, where
    the runs have them.  Raises :class:`InputError` where a folder has no analysis.
    """
    sources = Sources(_tables(runs), ("points", "differences", "comparison", "timing"))
    parts: list[str] = []
    first = _firsts(_benches(sources, "points"))
    for source in first:
        parts += [f"### {source.title}", source.sources()]
        parts += [
            *_methods(source, sources.beside("comparison", source)),
            *_steps(sources.beside("differences", source)),
            *_ranks(source),
        ]
    for source in _benches(sources, "points"):
        parts += _protocol(source)
    parts += [*_ablations(sources), *_agreement(sources), *_times(sources)]
    return "\n\n".join(parts) + "\n"


def _firsts(benches: Sequence[Source]) -> list[Source]:
    """Return each bench as the first run has it: other runs beside it (of ablations) have other methods and budgets."""
    found: dict[str, Source] = {}
    for source in benches:
        found.setdefault(source.bench, source)
    return list(found.values())


def images(run: str | Path, out: str | Path, prefix: str = "nb201_", width: int = 1100) -> list[Path]:
    """Draw figures from a run's analysis as small PNG files (``width`` and few colours, at most 100 kB) into ``out``.

    A figure whose tables the folder does not have is left out (the scatter of figures 4 and 8 holds the accuracies of the
    benchmark, and need not be kept for the others).  Figure 6 shows the benches with published curves: all of a run are too many panels for a page.
    Raises :class:`InputError` where a folder has no analysis.
    """
    from PIL import Image

    written = []
    for name in IMAGES:
        paths = _wanted(_tables([run]), name)
        if not paths:
            continue
        with tempfile.TemporaryDirectory() as folder:
            draw(name, paths, Path(folder) / name)
            target = Path(out) / f"{prefix}{name}.png"
            with Image.open(Path(folder) / f"{name}.png") as image:
                _reduce(image.convert("RGB"), target, width)
        written.append(target)
    return written


def _wanted(paths: Sequence[Path], name: str) -> list[Path]:
    """Return the tables of NAS-Bench-201's benches that the figure ``name`` is drawn from; none where one is missing."""
    folders = sorted({path.parent for path in paths if "nasbench201" in path.parent.name})
    if name == "fig6":
        compared = Sources([path for path in paths if path.parent in folders], ("comparison",))
        shown = {
            s.path.parent for s in compared.all("comparison") if s.frame["figure"].isin(["6a", "6b"]).any()
        }
        folders = [folder for folder in folders if folder in shown] or folders
    found = [folder / f"{table}.parquet" for folder in folders for table in reads(name)]
    return found if all(path.is_file() for path in found) else []


def _reduce(image: Any, target: Path, width: int) -> None:
    """Write ``image`` at most ``width`` wide with few colours, and narrower until it has at most :data:`LARGEST` bytes."""
    from PIL import Image

    for colours, share in ((128, 1.0), (96, 1.0), (96, 0.9), (96, 0.8), (96, 0.7), (96, 0.6), (96, 0.5)):
        wide = min(round(width * share), image.width)
        small = image.resize((wide, round(image.height * wide / image.width)), Image.Resampling.LANCZOS)
        with replacing(target) as temporary:
            small.quantize(colours, kmeans=3).save(temporary, format="PNG", optimize=True)
        if target.stat().st_size <= LARGEST:
            return


def _tables(runs: Iterable[str | Path]) -> list[Path]:
    found: list[Path] = []
    for run in runs:
        here = sorted((Path(run) / "analysis").glob("*/*.parquet"))
        if not here:
            raise InputError(
                f"{run}: no analysis in it; a folder results/<run> of a finished run is expected"
            )
        found += here
    return found


def _benches(sources: Sources, name: str) -> list[Source]:
    return [source for source in sources.all(name) if "nasbench201" in source.space]


def _methods(source: Source, theirs: pd.DataFrame | None) -> list[str]:
    frame = style.plain(source.frame)
    frame = frame[(frame["top"] == TOP) & frame["budget"].isin(BUDGETS)]
    if frame.empty:
        return []
    published: dict[tuple[str, int], float] = {}
    if theirs is not None:
        rows_ = theirs[(theirs["figure"] == "6b") & (theirs["top"] == TOP)]
        published = {(row.method, row.budget): row.published for row in records(rows_)}
    lines = []
    for method in style.order(frame["method"]):
        for row in records(frame[frame["method"] == method].sort_values("budget")):
            said = published.get((method, row.budget))
            lines.append(
                [style.method_title(method), row.budget + TOP, _codes(row), row.runs, f"{_f(row.mean)} ± {_f(row.sd)}",
                 _f(row.regret), _f(row.fair_mean), _f(row.fair_regret), _f(said), _signed(None if said is None else row.mean - said)]
            )  # fmt: skip
    heads = [
        "method",
        "N + K",
        "codes (price)",
        "n",
        "ours ± sd",
        "regret",
        "pool not counted",
        "its regret",
        "published",
        "ours − published",
    ]
    return [
        f"Best accuracy in the top K = {TOP}; optimum of the table {_f(source.optimum)}. Pool counted: trained members of the pool "
        "may be in the top K, as in the paper. Pool not counted: K others are taken, and the best of them and of the pool is the "
        "score. Codes: mean number per run, and their price in complete trainings, beside N + K.",
        _markdown(heads, lines),
    ]


def _steps(frame: pd.DataFrame | None, pairs: Sequence[tuple[str, str]] = STEPS) -> list[str]:
    if frame is None:
        return []
    frame = frame[(frame["top"] == TOP) & frame["budget"].isin(BUDGETS)]
    cells = {(r.method, r.reference, r.budget, r.kind): r for r in records(frame)}
    budgets = [n for n in BUDGETS if (frame["budget"] == n).any()]
    lines = []
    for method, reference in pairs:
        for kind, name in KINDS:
            found = [cells.get((method, reference, n, kind)) for n in budgets]
            if any(row is not None for row in found):
                lines.append([_pair(method, reference), name, *map(_interval, found)])
    if not lines:
        return []
    heads = ["difference", "score", *(f"N + K = {n + TOP}" for n in budgets)]
    return [
        "Paired differences in percentage points with 95 % bootstrap intervals over runs.",
        _markdown(heads, lines),
    ]


def _ranks(source: Source) -> list[str]:
    frame = style.plain(source.frame).dropna(subset=["spearman"])
    frame = frame[frame["budget"].isin(BUDGETS)].drop_duplicates(["method", "budget"])
    if frame.empty:
        return []
    lines = [
        [style.method_title(method), row.budget, _r(row.spearman), _r(row.coarse_spearman), _r(row.kendall), _r(row.coarse_kendall)]
        for method in style.order(frame["method"])
        for row in records(frame[frame["method"] == method].sort_values("budget"))
    ]  # fmt: skip
    heads = ["method", "N", "Spearman", "of the coarse ranking", "Kendall", "of the coarse ranking"]
    return ["Rank correlation of the whole space with accuracy, mean over runs.", _markdown(heads, lines)]


def _protocol(source: Source) -> list[str]:
    """Return the fair protocol: what was trained and selected on another table, beside the paper's protocol."""
    frame = source.frame[source.frame["top"] == TOP]
    fair = frame[frame["method"].str.endswith("labels=select")]
    if fair.empty:
        return []
    own = {(row.method, row.budget): row for row in records(frame)}
    lines = []
    for method in style.order(fair["method"].str.partition("@")[0]):
        for row in records(fair[fair["method"] == f"{method}@labels=select"].sort_values("budget")):
            paper = own.get((method, row.budget))
            lines.append(
                [style.method_title(method), row.budget + TOP, row.runs, f"{_f(row.mean)} ± {_f(row.sd)}", _f(row.regret),
                 "–" if paper is None else f"{_f(paper.mean)} ± {_f(paper.sd)}", "–" if paper is None else _f(paper.regret)]
            )  # fmt: skip
    heads = ["method", "N + K", "n", "fair protocol", "regret", "paper's protocol", "regret"]
    text = (
        f"{source.sources()} K = {TOP}. Trained and selected on {source.facts.get('select_source', 'another table')}, the mean "
        "after 200 epochs reported."
    )
    return [f"### The fair protocol on {source.title}", text, _markdown(heads, lines)]


def _ablations(sources: Sources) -> list[str]:
    parts: list[str] = []
    for source in _benches(sources, "differences"):
        frame = source.frame[source.frame["top"] == TOP]
        changed = pd.Series(False, index=frame.index)
        for column in ("method", "reference"):
            changed |= frame[column].str.contains(r"@|neural_predictor\+|siamese\+bts", regex=True)
        chosen = frame[changed]
        if chosen.empty:
            continue
        budgets = sorted(chosen["budget"].unique())
        cells = {(r.method, r.reference, r.kind, r.budget): r for r in records(chosen)}
        pairs = sorted({(m, r) for m, r, _, _ in cells}, key=lambda pair: ("@" in pair[0], pair))
        lines = [
            [_pair(m, r), name, *(_interval(cells.get((m, r, kind, n))) for n in budgets)]
            for m, r in pairs
            for kind, name in KINDS
            if any((m, r, kind, n) in cells for n in budgets)
        ]
        parts += [
            f"### Ablations on {source.title}",
            f"{source.sources()} K = {TOP}, n = {span(chosen['runs'])}; percentage points, 95 % bootstrap intervals.",
            _markdown(["difference", "score", *(f"N = {n}" for n in budgets)], lines),
        ]
    return parts


def _agreement(sources: Sources) -> list[str]:
    found = [
        agreement(s.frame, s.bench).assign(title=s.title) for s in _firsts(_benches(sources, "comparison"))
    ]
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    if frame.empty:
        return []
    lines = [
        [r.figure, r.title, style.method_title(r.method), r.points, r.n, _signed(r.difference), f"{_signed(r.lowest)} to {_signed(r.highest)}",
         _signed(r.lead), _signed(r.published_lead)]
        for r in records(frame)
    ]  # fmt: skip
    heads = [
        "figure",
        "bench",
        "method",
        "points",
        "n",
        "ours − published, mean",
        "range",
        "our lead over the neural predictor",
        "published lead",
    ]
    return ["### Where our numbers and the published ones agree", _markdown(heads, lines)]


def _times(sources: Sources) -> list[str]:
    with style.styled():
        frame = table1(sources).data
    if frame.empty:
        return []
    lines = [
        [style.space_title(r.space), r.budget, r.runs, f"{r.fts_seconds:.1f}", f"{r.bts_seconds:.1f}", f"{r.ratio:.2f}×", f"{r.published_ratio:.2f}×"]
        for r in records(frame)
    ]  # fmt: skip
    return [
        "### Table 1",
        _markdown(["space", "N", "n", "FTS, s a run", "BTS, s a run", "FTS/BTS", "published"], lines),
    ]


def _markdown(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    return "\n".join([line(heads), line(["---"] * len(heads)), *map(line, rows)])


def _pair(method: str, reference: str) -> str:
    if reference.startswith(f"{method} ("):
        return f"{style.method_title(method)} − its coarse ranking"
    return f"{style.method_title(method)} − {style.method_title(reference)}"


def _interval(row: object) -> str:
    if row is None:
        return "–"
    difference, low, high, runs = (getattr(row, name) for name in ("difference", "low", "high", "runs"))
    return _signed(difference) + (f" [{_signed(low)}, {_signed(high)}]" if runs > 1 else "")


def _codes(row: Any) -> str:
    return f"{row.codes:.0f} ({row.code_trainings:.1f})" if row.codes else "–"


def _f(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.4f}"


def _r(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}".replace("-", "−")


def _signed(value: float | None) -> str:
    """Return a difference of fractions in percentage points.

    >>> _signed(0.00123), _signed(-0.1), _signed(None)
    ('+0.12', '−10.00', '–')
    """
    return "–" if value is None or pd.isna(value) else f"{100 * value:+.2f}".replace("-", "−")
