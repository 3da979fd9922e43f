"""Tables as figures: training times (table 1), the methods at each budget beside the published numbers, costs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snas.analysis import agreement as agreeing
from snas.analysis import published
from snas.figures import style
from snas.figures.drawing import FEWEST_RUNS, Drawing, card, free_figure, nearest, records, span
from snas.figures.sources import Source, Sources

ROW = 0.2
"""Height of a table's row in inches."""
STAGES = {"codes": "estimation codes", "truth": "complete trainings"}
FTS, BTS = "siamese+nsam+fts", "siamese+nsam+bts"


def table1(sources: Sources, *, budget: int = 100) -> Drawing:
    """Training time with Fully and with Batch Top Sampling and their ratio, beside the published ones."""
    title = "Training time with batch and with fully top sampling"
    columns = ["bench", "space", "architectures", "budget", "runs", "fts_seconds", "bts_seconds", "ratio",
               "published_fts_seconds", "published_bts_seconds", "published_ratio"]  # fmt: skip
    theirs = published.times(sources.published)
    rows, facts, missing = [], [], []
    for source in sources.all("timing"):
        row = _times(source, budget)
        if row is None:
            missing.append(_lacking(source, budget))
            continue
        rows.append({**row, **_published_times(theirs, source.space)})
        _note_budget(missing, source, budget, row["budget"])
        facts.append(source.sources())
    if not rows:
        needs = f"Search results of {FTS} and {BTS} at the same N are needed: add them to extra_searches."
        return card(f"Table 1. {title}", " ".join(missing) or needs, columns)
    frame = pd.DataFrame(rows)[columns]
    text = [
        [style.space_title(r.space), f"{r.architectures:,}", str(r.budget), str(r.runs), f"{r.fts_seconds:.2f}", f"{r.bts_seconds:.2f}", _ratio(r.ratio),
         _seconds(r.published_fts_seconds), _seconds(r.published_bts_seconds), _ratio(r.published_ratio)]
        for r in records(frame)
    ]  # fmt: skip
    heads = ["space", "size", "N", "n", "FTS (s)", "BTS (s)", "FTS/BTS", "FTS (s)", "BTS (s)", "FTS/BTS"]
    widths = [1.45, 0.55, 0.35, 0.3, 0.5, 0.5, 0.6, 0.55, 0.55, 0.6]
    figure = table_figure(heads, text, widths, spans=[(4, 7, "this run, per run"), (7, 10, "published")])
    facts.append(
        "Seconds of training siamese+nsam, without estimation codes and ground truth; a run's share of its block. The machines differ, so the ratios are compared."
    )
    return Drawing(figure, frame, title, facts, missing)


def headline(
    sources: Sources, *, top: int = 20, published_top: int = 30, budgets: Sequence[int] = (30, 70, 120, 180)
) -> Drawing:
    """All methods at a few budgets, a block per bench: mean ± sd, below it its regret, fair score and published mean."""
    title = "Methods at equal budgets"
    columns = ["bench", "method", "budget", "top", "trained", "n", "mean", "sd", "se", "median", "regret", "fair_mean",
               "protocol_mean", "spearman", "codes", "code_trainings", "published"]  # fmt: skip
    data, facts, spans_ = [], [], []
    lines: list[list[str]] = []
    one_run = False
    for source in sources.all("points"):
        theirs = sources.of_bench("comparison", source.bench)
        k, wanted = _shown(source.frame, theirs, top, published_top, budgets)
        frame = source.frame[source.frame["top"] == k]
        chosen = _choose(sorted(frame["budget"].unique()), wanted, 4)
        frame = _with_published(frame[frame["budget"].isin(chosen)], theirs)
        spans_.append(
            (
                len(lines),
                f"{source.title}, K = {k}, n = {span(frame['runs'])}"
                + (f"; optimum {source.optimum:.4f}" if source.optimum else ""),
            )
        )
        lines.append(["", *(f"N + K = {n + k}" for n in chosen), *[""] * (4 - len(chosen))])
        for method in style.order(frame["method"]):
            lines += _method_lines(frame[frame["method"] == method], method, chosen)
        one_run |= bool((frame["runs"] == 1).any())
        data.append(frame.assign(n=frame["runs"])[columns])
        facts.append(source.sources())
    if not data:
        return card(title, "Search results are needed: give methods and budgets.", columns)
    figure = _headline_figure(lines, spans_)
    shown = pd.concat(data, ignore_index=True)
    facts.append("Mean ± standard deviation of the best accuracy in the top K, pool members counted as in the paper. Below: first the regret of this mean to the optimum of the bench's own table; then the fair price (best of the pool and of K architectures outside it) and the published mean where there is one at this N and K.")  # fmt: skip
    fair = shown["method"].str.contains("labels=select", regex=False)
    if not fair.all():
        but = " (but for the fair protocol)" if fair.any() else ""
        facts.append(f"Label, selection and score are one value here{but}, so these numbers are optimistic.")
    if one_run:
        facts.append("Where n = 1 there is no standard deviation.")
    return Drawing(figure, shown, title, facts)


def ablations(sources: Sources, *, top: int = 30, budgets: Sequence[int] = (30, 70, 100, 170)) -> Drawing:
    """Paired differences of what is taken away or set otherwise, with 95 % intervals, at a few N: a row per pair."""
    title = "Ablations"
    columns = ["bench", "method", "reference", "budget", "top", "kind", "runs", "difference", "low", "high"]
    blocks, data, facts = [], [], []
    for source in sources.all("differences"):
        frame = source.frame[source.frame["top"] == nearest(source.frame["top"], top)]
        changed = frame["method"].str.contains("@|neural_predictor\\+", regex=True)
        if not changed.any():
            continue
        chosen = _choose(sorted(frame.loc[changed, "budget"].unique()), budgets, 4)
        frame = frame[frame["budget"].isin(chosen)]
        heading = f"{source.title}, K = {span(frame['top'])}, n = {span(frame['runs'])}"
        blocks.append((heading, chosen, frame))
        data.append(frame[columns])
        facts.append(source.sources())
        if source.facts.get("select_source"):
            facts.append(f"Fair protocol: trained and selected on {source.facts['select_source']}.")
    if not blocks:
        text = "Variants of methods are needed: add siamese@c=10 or neural_predictor+nsam+bts to methods, as config/nasbench201_ablations.yaml does."
        return card(title, text, columns)
    facts.append(
        "Means over runs with the same seed and 95 % percentile bootstrap intervals over runs, in percentage points of the best "
        "accuracy in the top K, pool members counted (the CSV has the other score, too); bold: the interval leaves out zero, of "
        f"{FEWEST_RUNS} runs or more. One run has no interval."
    )
    return Drawing(_ablation_figure(blocks), pd.concat(data, ignore_index=True), title, facts)


def _ablation_figure(blocks: Sequence[tuple[str, Sequence[int], pd.DataFrame]]) -> Figure:
    """Draw the differences of the primary score."""
    blocks = [(heading, chosen, frame[frame["kind"] == "score"]) for heading, chosen, frame in blocks]
    width = 1.45
    names = [_pair_text(row.method, row.reference) for _, _, frame in blocks for row in records(frame)]
    first = max(2.9, *map(_inches, names))
    most = max(len(chosen) for _, chosen, _ in blocks)
    rows = sum(len(frame.groupby(["method", "reference"])) + 2 for _, _, frame in blocks)
    figure = free_figure(figsize=(first + most * width + 0.2, ROW * rows + 0.3))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-0.1, first + most * width + 0.1)
    ax.set_ylim(ROW * rows + 0.3, 0)
    right, y = first + most * width, 0.12
    for heading, chosen, frame in blocks:
        ax.plot([0, right], [y, y], color="black", lw=1)
        ax.text(0, y + ROW / 2, heading, va="center", fontsize=8, fontweight="bold")
        ax.text(0, y + 1.5 * ROW, "difference (percentage points)", va="center", fontsize=7.5)
        for place, budget in enumerate(chosen):
            ax.text(
                first + (place + 1) * width,
                y + 1.5 * ROW,
                f"N = {budget}",
                ha="right",
                va="center",
                fontsize=7.5,
            )
        y += 2 * ROW
        ax.plot([0, right], [y, y], color="black", lw=0.6)
        pairs = {(row.method, row.reference) for row in records(frame)}
        for method, reference in sorted(pairs, key=lambda pair: _pair_key(*pair)):
            rows_ = frame[(frame["method"] == method) & (frame["reference"] == reference)]
            ax.text(0, y + ROW / 2, _pair_text(method, reference), va="center", fontsize=7)
            for row in records(rows_):
                shown = row.runs >= FEWEST_RUNS and (row.low > 0 or row.high < 0)
                interval = f" [{100 * row.low:+.3f}, {100 * row.high:+.3f}]" if row.runs > 1 else ""
                ax.text(
                    first + (list(chosen).index(row.budget) + 1) * width, y + ROW / 2,
                    f"{100 * row.difference:+.3f}{interval}".replace("-", "−"),
                    ha="right", va="center", fontsize=7, fontweight="bold" if shown else "normal",
                )  # fmt: skip
            y += ROW
    ax.plot([0, right], [y, y], color="black", lw=1)
    return figure


def _pair_key(method: str, reference: str) -> tuple[bool, str, str, str]:
    base, _, settings = method.partition("@")
    return bool(settings), base, settings, reference


def _pair_text(method: str, reference: str) -> str:
    if reference.startswith(f"{method} ("):
        return f"{style.method_title(method)} − its coarse ranking"
    return f"{style.method_title(method)} − {style.method_title(reference)}"


def agreement(sources: Sources) -> Drawing:
    """Ours minus published per figure and method, and the lead over the neural predictor, ours and published."""
    title = "Ours and the published numbers"
    found = [agreeing.agreement(s.frame, s.bench) for s in sources.all("comparison")]
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(agreeing.COLUMNS))
    if frame.empty:
        text = "Points at the published N and K of figures 6 and 7 are needed: run config/nasbench201.yaml."
        return card(title, text, list(agreeing.COLUMNS))
    order = {method: place for place, method in enumerate(style.order(frame["method"]))}
    frame = frame.sort_values(["figure", "method"], key=lambda c: c.map(order) if c.name == "method" else c)
    benches = {source.bench: source for source in sources.all("comparison")}
    points = lambda value: "–" if pd.isna(value) else f"{100 * value:+.2f}".replace("-", "−")
    text_rows = [
        [f"{r.figure}  {benches[r.bench].heading().splitlines()[0]}", style.method_title(r.method), str(r.points), str(r.n), points(r.difference),
         f"{points(r.lowest)} to {points(r.highest)}", points(r.lead), points(r.published_lead)]
        for r in records(frame)
    ]  # fmt: skip
    heads = ["figure", "method", "points", "n", "mean", "range", "ours", "published"]
    widths = [2.2, 1.45, 0.5, 0.35, 0.55, 1.1, 0.85, 0.95]
    unit = "\n(percentage points)"
    spans_ = [(4, 6, f"ours − published{unit}"), (6, 8, f"lead over the neural predictor{unit}")]
    facts = [source.sources() for source in benches.values() if source.bench in set(frame["bench"])]
    facts.append(
        "Percentage points of the mean best accuracy, at equal N and K; n: the fewest runs behind our points. Published numbers are "
        "read off plots to ±0.1 points. They come from a one-seed table, so levels are not comparable with a table of means; the lead "
        "over the neural predictor is."
    )
    return Drawing(table_figure(heads, text_rows, widths, spans=spans_), frame, title, facts)


def costs(sources: Sources) -> Drawing:
    """Trainings, codes and seconds of every stage of the run."""
    title = "Cost of the run"
    columns = [
        "stage",
        "files",
        "rows",
        "trainings",
        "codes",
        "seconds",
        "cpu_seconds",
        "gpu_seconds",
        "peak_memory_mb",
        "unmeasured",
        "device",
    ]
    found = sources.all("costs")
    if not found:
        return card(title, "The table of costs is needed: run the target of this table.", columns)
    frame = found[0].frame[columns]
    text = [
        [_stage(r.stage), f"{r.files:,}", f"{r.trainings:,}" if r.trainings else "–", f"{r.codes:,}" if r.codes else "–", _duration(r.seconds),
         _duration(r.gpu_seconds) if r.gpu_seconds else "–", "–" if pd.isna(r.peak_memory_mb) else f"{r.peak_memory_mb:,.0f}"]
        for r in records(frame)
    ]  # fmt: skip
    heads = ["stage", "files", "trainings", "codes", "time of all jobs", "on a GPU", "peak (MiB)"]
    figure = table_figure(heads, text, [1.8, 0.5, 0.75, 0.6, 1.05, 0.75, 0.75], total=True)
    devices = ", ".join(dict.fromkeys(d for d in frame["device"] if d))
    facts = [
        f"Devices: {devices or 'not recorded'}.",
        "Seconds of jobs that ran beside each other are added up; peak is the largest of a job.",
    ]
    return Drawing(figure, frame, title, facts)


def _inches(text: str) -> float:
    """Return about how wide a text of a table is, with room to the next column."""
    return 0.064 * len(text) + 0.1


def _stage(name: str) -> str:
    """Return a stage's name in words; a search's is made of its method, and one of a user's method stays as it is.

    >>> _stage("search_siamese_nsam_bts"), _stage("truth"), _stage("search_my_own")
    ('search: Siamese + NSAM + BTS', 'complete trainings', 'search_my_own')
    """
    searches = {re.sub(r"\W", "_", f"search_{method}"): method for method in style.METHODS}
    return f"search: {style.method_title(searches[name])}" if name in searches else STAGES.get(name, name)


def table_figure(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    *,
    spans: Sequence[tuple[int, int, str]] = (),
    total: bool = False,
) -> Figure:
    """Return a table with rules above, below the head and at the end; the first column left, others right aligned.

    ``spans`` are (first column, end, text of a line or more) above the heads; ``total`` draws a rule above the last row.
    """
    widths = [max(widths[0], *(_inches(row[0]) for row in rows)), *widths[1:]]
    above = ROW * max((text.count("\n") + 1 for *_, text in spans), default=0)
    height = ROW * (len(rows) + 1) + above + 0.25
    figure = free_figure(figsize=(sum(widths) + 0.2, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-0.1, sum(widths) + 0.1)
    ax.set_ylim(height, 0)
    ends = pd.Series(widths).cumsum().tolist()
    y = 0.12
    ax.plot([0, ends[-1]], [y, y], color="black", lw=1)
    if spans:
        for first, end, text in spans:
            left, right = ends[first] - widths[first] + 0.1, ends[end - 1]
            ax.text((left + right) / 2, y + above / 2, text, ha="center", va="center", fontsize=7.5)
            ax.plot([left, right], [y + above, y + above], color="black", lw=0.5)
        y += above
    _table_row(ax, heads, ends, widths, y, weight="bold")
    y += ROW
    ax.plot([0, ends[-1]], [y, y], color="black", lw=0.6)
    for place, row in enumerate(rows):
        if total and place == len(rows) - 1:
            ax.plot([0, ends[-1]], [y, y], color="black", lw=0.6)
        _table_row(ax, row, ends, widths, y)
        y += ROW
    ax.plot([0, ends[-1]], [y, y], color="black", lw=1)
    return figure


def _table_row(
    ax: Axes,
    row: Sequence[str],
    ends: Sequence[float],
    widths: Sequence[float],
    y: float,
    weight: str = "normal",
) -> None:
    for column, text in enumerate(row):
        x, align = (ends[column] - widths[column], "left") if column == 0 else (ends[column], "right")
        ax.text(x, y + ROW / 2, text, ha=align, va="center", fontsize=7.5, fontweight=weight)


def _headline_figure(lines: list[list[str]], blocks: list[tuple[int, str]]) -> Figure:
    """Draw the lines of the headline table; a line that begins with a tab is small and grey."""
    first, width = max(1.6, *(_inches(line[0]) for line in lines)), 1.25
    starts = dict(blocks)
    # as many columns as there are budgets, but room for the heading of a block
    across = max(3, *(sum(bool(text) for text in line[1:]) for line in lines))
    height = ROW * (len(lines) + len(blocks)) + 0.3
    figure = free_figure(figsize=(first + across * width + 0.2, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_xlim(-0.1, first + across * width + 0.1)
    ax.set_ylim(height, 0)
    right, y = first + across * width, 0.12
    for place, line in enumerate(lines):
        if place in starts:
            ax.plot([0, right], [y, y], color="black", lw=1)
            ax.text(0, y + ROW / 2, starts[place], va="center", fontsize=8, fontweight="bold")
            y += ROW
        small, head = line[0].startswith("\t"), place in starts
        for column, text in enumerate(line):
            x, align = (0, "left") if column == 0 else (first + column * width, "right")
            ax.text(
                x,
                y + ROW / 2 - (0.03 if small else 0),
                text.strip(),
                ha=align,
                va="center",
                fontsize=6.5 if small else 7.5,
                color="#606060" if small else "black",
            )
        y += ROW
        if head:
            ax.plot([0, right], [y, y], color="black", lw=0.6)
    ax.plot([0, right], [y, y], color="black", lw=1)
    return figure


def _method_lines(frame: pd.DataFrame, method: str, chosen: Sequence[int]) -> list[list[str]]:
    """Return the line of a method, and below it, two in a line, the regret of its mean, fair score and published mean.

    The regret comes first, next to the mean that it belongs to: behind the fair score it would be taken for that one's.
    """
    by_budget = {row.budget: row for row in records(frame)}
    main = [style.method_title(method)]
    below: list[list[str]] = []
    for budget in chosen:
        row = by_budget.get(budget)
        if row is None:
            main.append("–")
            below.append([])
            continue
        spread = "" if pd.isna(row.sd) else f" ± {row.sd:.4f}"
        main.append("–" if pd.isna(row.mean) else f"{row.mean:.4f}{spread}")
        values = {"regret": row.regret, "fair": row.fair_mean, "publ.": row.published}
        below.append([f"{name} {_bare(value)}" for name, value in values.items() if not pd.isna(value)])
    lines = [main]
    for at in range(0, max(map(len, below)), 2):
        lines.append(["\t", *("; ".join(parts[at : at + 2]) for parts in below)])
    return [[*line, *[""] * (4 - len(chosen))] for line in lines]


def _with_published(frame: pd.DataFrame, theirs: pd.DataFrame | None) -> pd.DataFrame:
    if theirs is None:
        return frame.assign(published=float("nan"))
    points = theirs.drop_duplicates(["method", "budget", "top"], keep="last")[
        ["method", "budget", "top", "published"]
    ]
    return frame.merge(points, on=["method", "budget", "top"], how="left")


def _shown(
    frame: pd.DataFrame, theirs: pd.DataFrame | None, top: int, published_top: int, budgets: Sequence[int]
) -> tuple[int, Sequence[int]]:
    """Return K and the budgets wanted: where published numbers lie if they and we have such a K, else ``top``."""
    have = set(frame["top"])
    common = [] if theirs is None else sorted(have & set(theirs["top"]))
    if theirs is None or not common:
        return nearest(have, top), ()
    if published_top in common:
        return published_top, budgets
    k = int(common[-1])
    return k, sorted(theirs.loc[theirs["top"] == k, "budget"].unique())


def _choose(have: Sequence[int], wanted: Sequence[int], most: int) -> list[int]:
    """Return at most ``most`` budgets, spread over those wanted that are there, or over all that are there."""
    picked = [int(b) for b in have if b in wanted] or [int(b) for b in have]
    if len(picked) <= most:
        return picked
    return [picked[round(i * (len(picked) - 1) / (most - 1))] for i in range(most)]


def _times(source: Source, budget: int) -> dict[str, object] | None:
    """Return the seconds of FTS and BTS at the N nearest to ``budget`` that both have."""
    by = {(row.method, row.budget): row for row in records(source.frame)}
    both = sorted({b for m, b in by if m == FTS} & {b for m, b in by if m == BTS})
    if not both:
        return None
    n = nearest(both, budget)
    fts, bts = by[FTS, n], by[BTS, n]
    return {
        "bench": source.bench, "space": source.space, "architectures": int(fts.architectures), "budget": n,
        "runs": int(min(fts.runs, bts.runs)), "fts_seconds": float(fts.mean), "bts_seconds": float(bts.mean),
        "ratio": float(fts.mean / bts.mean) if bts.mean else float("nan"),
    }  # fmt: skip


def _lacking(source: Source, budget: int) -> str:
    """Return what a bench that has not both FTS and BTS at one N needs, at the N nearest to ``budget`` that one of them has."""
    for absent, there in ((BTS, FTS), (FTS, BTS)):
        have = source.frame.loc[source.frame["method"] == there, "budget"]
        if len(have):
            n = nearest(have, budget)
            return f"{source.title}: add {absent} at N = {n}, where {there} is, to extra_searches."
    return f"{source.title}: add {FTS} and {BTS}, both at N = {budget}, to extra_searches."


def _published_times(theirs: pd.DataFrame, space: str) -> dict[str, float]:
    seconds = theirs[theirs["space"] == space].set_index("method")["training_time_s"]
    fts, bts = float(seconds.get("FTS", float("nan"))), float(seconds.get("BTS", float("nan")))
    return {"published_fts_seconds": fts, "published_bts_seconds": bts, "published_ratio": fts / bts}


def _note_budget(missing: list[str], source: Source, wanted: int, used: object) -> None:
    if used != wanted:
        missing.append(f"{source.title}: the run has not both at N = {wanted}; N = {used} is shown.")


def _bare(value: float) -> str:
    """Return a fraction without its zero."""
    return f"{value:.4f}".removeprefix("0")


def _ratio(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}×"


def _seconds(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> _duration(7.25), _duration(754), _duration(9000)
    ('7.2 s', '12 min 34 s', '2 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
