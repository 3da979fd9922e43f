"""Which searches a configuration asks for: benches, and jobs of (bench, method, budget, block of runs).

A pure function of the configuration, without torch or pandas: the Snakefile makes its targets from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snas import InputError, training
from snas.config import ANALOG, PATTERNS, Config
from snas.images import known
from snas.proxies import REGISTRY as PROXIES
from snas.registry import resolve, shortened
from snas.search import METHODS
from snas.search.gp import GaussianMethod
from snas.spaces import sizes
from snas.training.recipes import CODE_EPOCHS


@dataclass(frozen=True)
class Bench:
    """A search space with what is known of it on one data set.

    ``trained`` says that this run trains its networks; otherwise its accuracies come from a table.
    """

    name: str
    space: str
    dataset: str
    trained: bool
    imported: bool
    """Its accuracies come from the imported NAS-Bench-201 table."""


@dataclass(frozen=True)
class SearchJob:
    """A block of runs of one method at one budget."""

    bench: str
    method: str
    budget: int
    block: int
    first: int
    stop: int
    """Runs ``first`` .. ``stop`` - 1."""

    @property
    def runs_name(self) -> str:
        """What its files are named by."""
        return runs_name(self.first, self.stop)


@dataclass(frozen=True)
class Entry:
    """A method of the study of few trainings.

    Attributes:
        method: name in the registry.
        budget: N; of a search that asks one after the other, the end of its curve.
        top: K; 0 for such a search.
        options: of the method.
        labels: what is trained and selected on (``accuracy_select``: the fair protocol).
    """

    method: str
    budget: int
    top: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: str = "accuracy"

    @property
    def stem(self) -> str:
        """Name of its files."""
        fair = [] if self.labels == "accuracy" else [self.labels]
        parts = [f"n{self.budget:03d}", f"k{self.top:03d}", *flat(self.options), *fair]
        return "_".join([self.method, *parts])


@dataclass(frozen=True)
class FewestJob:
    """A block of runs of an entry on a bench without its ``removed`` best architectures."""

    bench: str
    removed: int
    entry: Entry
    block: int
    first: int
    stop: int

    @property
    def runs_name(self) -> str:
        """What its files are named by."""
        return runs_name(self.first, self.stop)


def runs_name(first: int, stop: int) -> str:
    """Return what the file of a block of runs is named by: the runs themselves.

    So a configuration with fewer runs, or with others in a block, has files of its own, and overwrites none that took hours.

    >>> runs_name(50, 100)
    '50-99'
    """
    return f"{first:02d}-{stop - 1:02d}"


def flat(options: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return ``name=value`` of every option, sorted; those of a part with its name before: ``predictor.epochs=20``."""
    found: list[str] = []
    for name, value in sorted(options.items()):
        inner = isinstance(value, Mapping)
        found += flat(value, f"{prefix}{name}.") if inner else [f"{prefix}{name}={value}"]
    return found


def benches(config: Config) -> tuple[Bench, ...]:
    """Return the benches of a run: its own space on its images, then NAS-Bench-201 and its part below 35 M."""
    found = []
    if config.space:
        trained = config.truth != "table"
        found.append(Bench(f"{config.space}-{config.images}", config.space, config.images, trained, False))
    if config.nasbench201:
        found += [Bench(f"nasbench201-{s}", "nasbench201", s, False, True) for s in config.nasbench201_sets]
        if config.tiny_nasbench201 and "cifar10" in config.nasbench201_sets:
            found.append(Bench("tiny_nasbench201-cifar10", "tiny_nasbench201", "cifar10", False, True))
    return tuple(found)


def nasbench201_source(config: Config) -> str:
    """Return the path of the source of NAS-Bench-201 (of an installed package: its data file); empty without one."""
    if config.nasbench201 == ANALOG:
        return str(resolve("snas.spaces.source_analog:locate")())
    return str(config.nasbench201)


def check_nasbench201(
    config: Config, *, whole: bool = False, imported: str = ""
) -> Mapping[str, Sequence[str]] | None:
    """Raise :class:`InputError` where the source of NAS-Bench-201 is none by its first and last bytes, or is cut off.

    ``whole`` reads all of it where that takes seconds, in a process of its own, and returns what it has of each data set,
    None where that is not known (:func:`snas.spaces.heads.check_whole`).  ``imported`` is read in the place of the source.
    """
    if not config.nasbench201:
        return None
    source = imported or nasbench201_source(config)
    try:
        if whole:
            epochs = None if imported else config.nasbench201_code_epochs or None
            found: Mapping[str, Sequence[str]] | None = resolve("snas.spaces.heads:check_whole")(
                Path(source), epochs
            )
            return found
        resolve("snas.spaces.heads:check")(Path(source))
    except InputError as error:
        raise InputError(f"configuration: key 'nasbench201': {error}") from None
    except OSError as error:
        raise InputError(
            f"configuration: key 'nasbench201': {source} cannot be read: {error.strerror}"
        ) from None
    return None


def check_offers(
    config: Config,
    offers: Mapping[str, Sequence[str]] | None,
    names: Iterable[str],
    searches: Iterable[SearchJob],
    fewest: Iterable[FewestJob] = (),
) -> None:
    """Raise :class:`InputError` where the benches ``names`` or these searches on them need what NAS-Bench-201's source lacks.

    ``offers`` is what it has of each data set, as :func:`check_nasbench201` returns it; None: nobody knows before the import.
    """
    if offers is None:
        return
    asked = set(names)
    datasets = {b.name: b.dataset for b in benches(config) if b.imported and b.name in asked}
    for dataset in datasets.values():
        _check_keys(config, dataset, offers)
    wanted: list[tuple[str, str, int, int, Mapping[str, Any], str]] = [
        (job.bench, job.method, job.budget, tops(config, job.bench)[-1], {}, "") for job in searches
    ]
    wanted += [
        (few.bench, few.entry.method, few.entry.budget, few.entry.top, few.entry.options, few.entry.labels)
        for few in fewest
    ]
    for bench, name, budget, top, options, labels in wanted:
        if bench in datasets:
            method = METHODS.load(name)
            looks = set(method.looks(budget, top, options))
            if "accuracy_select" in (labels, getattr(method, "labels", None)):
                looks.add("select")
            where = f"configuration: method {name!r} on {bench}"
            _check_looks(config, looks, offers[datasets[bench]], where)


def _check_keys(config: Config, dataset: str, offers: Mapping[str, Sequence[str]]) -> None:
    """Refuse keys that ask for what the source of NAS-Bench-201 does not have of a data set."""
    source = config.nasbench201
    if dataset not in offers:
        raise InputError(
            f"configuration: key 'nasbench201_sets' has {dataset}, which {source} has not; it has {', '.join(offers)}"
        )
    has = offers[dataset]
    if config.nasbench201_table == "one_seed" and "one_seed" not in has:
        raise InputError(
            f"configuration: key 'nasbench201_table' is 'one_seed', and {source} has no accuracy per seed of {dataset}; "
            "nasbench201_table = mean is right"
        )
    select = config.nasbench201_select
    if select != "epochs_12" and select not in has:
        raise InputError(
            f"configuration: key 'nasbench201_select' is {select!r}, which {source} has not of {dataset}; {_selections(has)}"
        )


def _check_looks(config: Config, looks: Iterable[str], has: Sequence[str], where: str) -> None:
    """Refuse a search that looks at what the source of NAS-Bench-201 has not recorded."""
    if "code" in looks and config.nasbench201_code == "recorded" and "code" not in has:
        raise InputError(
            f"{where}: it looks at estimation codes, and {config.nasbench201} records none; nasbench201_code = trained, or one "
            "of the key 'nasbench201_proxies', is right"
        )
    if "select" in looks and config.nasbench201_select not in has:
        raise InputError(
            f"{where}: it selects on the accuracies of nasbench201_select = {config.nasbench201_select}, which "
            f"{config.nasbench201} has not; {_selections(has)}"
        )


def _selections(has: Sequence[str]) -> str:
    """Return which values of ``nasbench201_select`` would be right."""
    right = [name for name in ("epochs_12", "validation", "one_seed") if name in has]
    return f"{' or '.join(right)} is right" if right else "it has nothing else to select on"


def search_jobs(config: Config) -> tuple[SearchJob, ...]:
    """Return every search job once; where two entries ask for the same point, the larger number of runs counts.

    Raises ``InputError`` where an entry names a bench that the run does not have.
    """
    known = benches(config)
    _check_benches(config, [bench.name for bench in known])
    return tuple(
        SearchJob(bench.name, method, budget, block, first, min(first + size, count))
        for bench in known
        for (method, budget), (count, size) in _points(config, bench.name).items()
        for block, first in enumerate(range(0, count, size))
    )


def _points(config: Config, bench: str) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the number of runs of every (method, N) that is searched on a bench, and how many are one job."""
    own = {entry["bench"]: entry["budgets"] for entry in config.bench_budgets}
    everywhere = (config.runs, config.block)
    found = {(method, n): everywhere for method in config.methods for n in own.get(bench, config.budgets)}
    for extra in config.extra_searches:
        if bench in extra.get("benches", (bench,)):
            for budget in extra["budgets"]:
                key = (extra["method"], budget)
                wanted = (extra.get("runs", config.runs), extra.get("block", config.block))
                before = found.get(key, wanted)
                # of as many runs, the entry that says how many are one job
                found[key] = wanted if (wanted[0], "block" in extra) > (before[0], False) else before
    return found


def _check_benches(config: Config, known: list[str]) -> None:
    named = [(f"bench_budgets.{i}.bench", entry["bench"]) for i, entry in enumerate(config.bench_budgets)]
    named += [
        (f"extra_searches.{i}.benches.{j}", bench)
        for i, entry in enumerate(config.extra_searches)
        for j, bench in enumerate(entry.get("benches", ()))
    ]
    for key, bench in named:
        if bench not in known:
            raise InputError(
                f"configuration: key {key!r} is {bench!r}, which is no bench of this run; it has {', '.join(known)}"
            )
    twice = [entry["bench"] for entry in config.bench_budgets]
    for bench in twice:
        if twice.count(bench) > 1:
            raise InputError(f"configuration: key 'bench_budgets' names {bench!r} twice; once is allowed")


def fewest_jobs(config: Config) -> tuple[FewestJob, ...]:
    """Return every job of the study of few trainings once; of two that are the same but for the runs, that with the more.

    Raises :class:`InputError` where a method does not know an option or its N is too small.
    """
    jobs: dict[tuple[str, int, str, int], FewestJob] = {}
    for place, said in enumerate(config.fewest):
        for bench in benches(config):
            if said.get("spaces") and bench.space not in said["spaces"]:
                continue
            for entry in _entries(said, place):
                for removed in said.get("removed", [0]):
                    for block, first in enumerate(range(0, said.get("runs", 100), config.block)):
                        stop = min(first + config.block, said.get("runs", 100))
                        key = (bench.name, removed, entry.stem, block)
                        if key not in jobs or jobs[key].stop < stop:
                            jobs[key] = FewestJob(bench.name, removed, entry, block, first, stop)
    return tuple(jobs.values())


def _entries(said: Mapping[str, Any], place: int) -> Iterator[Entry]:
    options = said.get("options", {})
    for budget in said["budgets"]:
        try:
            METHODS.load(said["method"]).rounds(budget, options)
        except InputError as error:
            raise InputError(f"configuration: key 'fewest.{place}': {error}") from None
        yield Entry(said["method"], budget, said.get("top", 0), options, said.get("labels", "accuracy"))


def tops(config: Config, bench: str | None = None) -> tuple[int, ...]:
    """Return every K that a figure shows, ascending; of a bench whose truths are trained on demand, those up to top_k."""
    found = sorted({config.top_k, config.fig6_top, *config.fig6_tops, *config.fig7_tops})
    on_demand = config.truth == "on_demand" and any(b.name == bench and b.trained for b in benches(config))
    return tuple(k for k in found if not on_demand or k <= config.top_k)


def rounds(job: SearchJob) -> int:
    """Return how many ask lists the search of a job has, the top K's included; raises where its N is too small."""
    return int(METHODS.load(job.method).rounds(job.budget)) + 1


def check(config: Config) -> None:
    """Raise :class:`InputError` where a search of a configuration cannot be done: before anything is trained for it.

    Sees to the names of benches, an N that is too small for its method, measurements that a bench does not have, and the
    one search on own images; :func:`check_sizes` to the rest.
    """
    _check_names(config)
    _check_sample(config)
    _check_code_recipe(config)
    _check_tables(config)
    known = {bench.name: bench for bench in benches(config)}
    for job in search_jobs(config):
        if job.block == 0:
            where = f"configuration: method {job.method!r} at N = {job.budget} on {job.bench}"
            top = tops(config, job.bench)[-1]
            _check_search(config, known[job.bench], METHODS.load(job.method), job.budget, top, {}, where)
    tops_of: dict[tuple[Any, ...], int] = {}
    trained_with: dict[tuple[Any, ...], int] = {}
    for few in fewest_jobs(config):
        if few.block == 0:
            entry = few.entry
            same = (few.bench, few.removed, entry.method, entry.budget, entry.labels, *flat(entry.options))
            if tops_of.setdefault(same, entry.top) != entry.top:
                raise InputError(
                    f"configuration: key 'fewest' has method {entry.method!r} at N = {entry.budget} with K = "
                    f"{tops_of[same]} and with K = {entry.top}; figures tell methods and budgets apart, so one K is possible"
                )
            total = (
                few.bench,
                few.removed,
                entry.method,
                entry.labels,
                *flat(entry.options),
                entry.budget + entry.top,
            )
            if entry.top and trained_with.setdefault(total, entry.budget) != entry.budget:
                raise InputError(
                    f"configuration: key 'fewest' has method {entry.method!r} with N + K = {total[-1]} at N = "
                    f"{trained_with[total]} and at N = {entry.budget}; figures tell them apart by N + K, so one N is possible"
                )
            where = (
                f"configuration: key 'fewest', method {entry.method!r} at N = {entry.budget} on {few.bench}"
            )
            method = METHODS.load(entry.method)
            _check_search(
                config, known[few.bench], method, entry.budget, entry.top, entry.options, where, entry.labels
            )
    spaces = sorted({space for said in config.fewest for space in said.get("spaces", ())})
    if spaces and not fewest_jobs(config):
        raise InputError(
            f"configuration: key 'fewest' has no search for this run; its entries name the spaces {', '.join(spaces)}, and the "
            f"benches are {', '.join(known) or 'none'}"
        )
    configured_search(config)


def _check_names(config: Config) -> None:
    """Raise :class:`InputError` where two benches of a run have one name: their files would be the same."""
    names = [bench.name for bench in benches(config)]
    if names and names.count(names[0]) > 1:
        raise InputError(
            f"configuration: space = {config.space} on images = {config.images} and the key 'nasbench201' both make the bench "
            f"{names[0]!r}; leave one of them out, or give them runs of their own"
        )


def _check_sample(config: Config) -> None:
    """Raise :class:`InputError` where a sample of the space is larger than the space: its name would say what was not done.

    And where accuracies of the whole space are imported beside it: both read the space's table, which would be the sample.
    """
    imported = {bench.space for bench in benches(config) if bench.imported}
    if config.architectures and config.space in imported:
        raise InputError(
            f"configuration: key 'architectures' is {config.architectures}, a part of {config.space}, and the key 'nasbench201' "
            "needs all of it; architectures = 0, or another run for one of them, is right"
        )
    if config.space and config.architectures > sizes.size(config.space):
        raise InputError(
            f"configuration: key 'architectures' is {config.architectures}; {config.space} has "
            f"{sizes.size(config.space):,}, and 0 takes them all"
        )


def _check_code_recipe(config: Config) -> None:
    """Raise :class:`InputError` where codes are trained by a recipe of another length: complete trainings begin beside them.

    A proxy in the place of the code asks for no training; the one search on own images may look at trained codes all the same.
    """
    trains = config.space and config.truth != "table"
    looked_at = config.code == "trained" or configured_search(config).needs_codes
    if (trains and looked_at) or (config.nasbench201 and config.nasbench201_code == "trained"):
        epochs = training.recipe(config.code_recipe).epochs
        if epochs != CODE_EPOCHS:
            raise InputError(
                f"configuration: key 'code_recipe' is {config.code_recipe!r}, which has {epochs} epochs; an estimation code "
                f"has {CODE_EPOCHS}"
            )


def _check_tables(config: Config) -> None:
    """Raise :class:`InputError` where a search on NAS-Bench-201 could look at the very accuracies that it reports.

    And where another code is asked for than that of the user's own table, which brings its own.
    """
    if config.space and config.truth == "table" and config.code != "trained":
        raise InputError(
            f"configuration: key 'code' is {config.code!r}, and truth = table takes codes from the table, columns code_1 to "
            "code_3; leave it out, and write there what is to be the code (of a proxy, with code_kind in the table's metadata: "
            "docs/tables.md)"
        )
    if config.nasbench201 and config.nasbench201_table == config.nasbench201_select == "one_seed":
        raise InputError(
            "configuration: nasbench201_table and nasbench201_select are both one_seed, which is the same seed; "
            "nasbench201_table = mean reports the mean of what the seed has selected"
        )


def check_sizes(config: Config, searches: Iterable[SearchJob], fewest: Iterable[FewestJob] = ()) -> None:
    """Raise :class:`InputError` where N + K of one of these jobs is more than the architectures that are searched.

    A run may have fewer of them than its searches need, as long as nobody asks for these: for codes alone, say.
    """
    most = {bench.name: architectures(config, bench) for bench in benches(config)}
    asked = [(job.bench, job.method, job.budget, tops(config, job.bench)[-1], 0) for job in searches]
    asked += [(few.bench, few.entry.method, few.entry.budget, few.entry.top, few.removed) for few in fewest]
    for bench, method, budget, top, removed in asked:
        if budget + top > most[bench] - removed:
            limited = ", or more architectures" if config.architectures else ""
            raise InputError(
                f"configuration: method {method!r} at N = {budget} on {bench}: N + K = {budget} + {top} is more than the "
                f"{most[bench] - removed:,} architectures that are searched; smaller budgets, top_k, fig6_tops (or K of fewest) "
                f"are needed{limited}"
            )


def check_asked(
    config: Config, searches: Iterable[SearchJob], fewest: Iterable[FewestJob], own: bool
) -> None:
    """Raise :class:`InputError` where one of these jobs, or with ``own`` the one search on own images, cannot be done."""
    check_sizes(config, searches, fewest)
    if own:
        check_own(config)


def check_own(config: Config) -> None:
    """Raise :class:`InputError` where the one search on own images cannot be done, as far as no image need be read for that.

    Apart from :func:`check`: a run that nobody asks for it need not have a space as large, or one at all.
    """
    if not config.space:
        raise InputError("configuration: a search on own images needs the key 'space', as in tiny_nanobench")
    known.check_source(config)
    _check_rerank(
        METHODS.load(config.method), config.space, f"configuration: key 'method' is {config.method!r}"
    )
    trainings, most = configured_search(config).trainings, sizes.size(config.space)
    if trainings > most:
        raise InputError(
            f"configuration: key 'budget' is {config.budget!r}: N + K = {trainings:,} is more than the {most:,} architectures "
            f"of {config.space}; a smaller budget is needed"
        )


def architectures(config: Config, bench: Bench) -> int:
    """Return how many architectures of a bench are searched; the key ``architectures`` is about the run's own space."""
    size = sizes.size(bench.space)
    return size if bench.imported else config.architectures or size


def _check_search(
    config: Config,
    bench: Bench,
    method: Any,
    budget: int,
    top: int,
    options: Mapping[str, Any],
    where: str,
    labels: str = "accuracy",
) -> None:
    """Check that the method can be begun with N = ``budget`` and that the bench has what it looks at."""
    try:
        method.rounds(budget, options)
        wanted = set(method.looks(budget, top, options))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    _check_rerank(method, bench.space, where)
    fair = "accuracy_select" in (labels, getattr(method, "labels", None))
    if bench.trained and (fair or "select" in wanted):
        raise InputError(
            f"{where}: it needs accuracies of fewer epochs or of one seed, which this run does not train; "
            "NAS-Bench-201 and a table of one's own may have them"
        )
    if fair and "select" in wanted:
        raise InputError(
            f"{where}: it looks at the very accuracies that it is to be trained and selected on; labels = accuracy, or a method "
            "without these looks, is right"
        )
    if bench.imported and fair and config.nasbench201_table != "mean":
        raise InputError(
            f"{where}: the fair protocol reports the mean accuracy of what it selects, and nasbench201_table = "
            f"{config.nasbench201_table} has none; use nasbench201_table = mean"
        )
    key = "nasbench201_proxies" if bench.imported else "proxies"
    missing = [name for name in PROXIES if name in wanted and name not in config[key]]
    if missing and (bench.trained or bench.imported):
        raise InputError(f"{where}: it looks at {missing[0]}, which is not in the key {key!r}; add it there")


def _check_rerank(method: Any, space: str, where: str) -> None:
    """Refuse a variant's c above the size of the space, which would name results after what was not done."""
    most = sizes.size(space)
    if (getattr(method, "rerank", None) or 0) > most:
        raise InputError(
            f"{where}: c is {method.rerank:,}, more than the {most:,} architectures of {space}; a smaller c is right, and "
            f"c={most} re-ranks them all"
        )


def modules(method: str) -> tuple[str, ...]:
    """Return the modules that a method's results hang on beside the search of a block (for the hash of the code)."""
    return (METHODS.target(method), *METHODS.load(method).modules)


BUDGET = re.compile(r"([1-9][0-9]{0,4})\+([0-9]{1,4})")
"""N+K, as the configuration's schema has it."""
START = 6
"""Networks that a Gaussian process begins with, where it does not ask for more at a time (docs/fewer-trainings.md)."""


@dataclass(frozen=True)
class OwnSearch:
    """The one search of a run on own images.

    Attributes:
        method, budget, top: N + K trainings of the method.
        asks: the most networks that each round asks for, the top K last.
        options: of the method.
        needs_codes: whether it looks at estimation codes.
        limits: what marks the plan beside, by letter: ``b`` networks at a time, ``m`` most MACs, ``p`` most parameters.
    """

    method: str
    budget: int
    top: int
    asks: tuple[int, ...]
    options: Mapping[str, Any]
    needs_codes: bool
    limits: Mapping[str, int]

    @property
    def name(self) -> str:
        """Folder of its rounds: another plan has another one, so that the log of the earlier one stays."""
        marks = "".join(f"_{letter}{value}" for letter, value in self.limits.items() if value)
        return f"{self.method}_n{self.budget:03d}_k{self.top:03d}{marks}"

    @property
    def rounds(self) -> int:
        """How often it asks, the top K included."""
        return len(self.asks)

    @property
    def trainings(self) -> int:
        """Networks that it trains at most."""
        return self.budget + self.top


def configured_search(config: Config) -> OwnSearch:
    """Return the one search on own images of a configuration; raises as :func:`own_search`."""
    limits = {"max_macs": config.max_macs, "max_params": config.max_params}
    return own_search(config.method, config.budget, config.ask_batch, **limits)


def own_search(
    method: str, budget: str, ask_batch: int = 8, *, max_macs: int = 0, max_params: int = 0
) -> OwnSearch:
    """Return the search of a configuration, without torch or pandas; ``budget`` is ``"N+K"``.

    Raises :class:`InputError` where the budget is none, N is too small for the method, or the method needs what a search
    on own images has not (accuracies of fewer epochs, proxies).
    """
    chosen, match = METHODS.load(method), BUDGET.fullmatch(budget)
    if match is None:
        raise InputError(f"budget is {shortened(budget)}; allowed: {PATTERNS['budget']}")
    n, k = map(int, match.groups())
    options: dict[str, Any] = {}
    if isinstance(chosen, GaussianMethod):
        options = {"batch": ask_batch, "start": max(START, ask_batch), "looks_start": max(START, ask_batch)}
    looks = chosen.looks(n, 60, options)
    beyond = sorted(set(looks) - {"code"})
    if getattr(chosen, "labels", None) == "accuracy_select":
        beyond.append("select")
    if beyond:
        raise InputError(
            f"method {method!r} looks at {beyond[0]!r}, which a search on own images does not measure; "
            "gp, gp+fidelity, siamese+nsam+bts and random are possible, among others"
        )
    limits = {"b": ask_batch if options else 0, "m": max_macs, "p": max_params}
    return OwnSearch(method, n, k, (*chosen.sizes(n, options), k), options, "code" in looks, limits)
