# Names and targets; no logic.
import functools
import logging
import math
import os
import re
import signal
import sys
from pathlib import Path

import snas.code_hash
import snas.config
import snas.device
import snas.fingerprint
import snas.machine
import snas.progress
import snas.provenance
import snas.search.expected
import snas.search.forecast
import snas.signals
from snakemake.cli import get_argument_parser
from snas import InputError
from snas.figures import reads as figure_reads
from snas.figures import REGISTRY as FIGURES
from snas.images import FILTER as IMAGE_FILTER
from snas.images import REGISTRY as IMAGE_SETS
from snas.images.known import own_files
from snas.proxies import REGISTRY as PROXIES
from snas.search import METHODS, jobs
from snas.spaces import REGISTRY as SPACES
from snas.training import REGISTRY as RECIPES

try:
    for path in workflow.configfiles:
        snas.config.read_file(path)
    CONFIG = snas.config.load(config)
    NASBENCH201 = jobs.nasbench201_source(CONFIG)
    if workflow.is_main_process:
        jobs.check_nasbench201(CONFIG)
    # The reader of a dry run neither waits for a driver nor becomes one; jobs parse this file too, as part of theirs.
    DRIVER = workflow.is_main_process and snas.provenance.hold_run(
        Path.cwd(), CONFIG.run, reads_only=snas.provenance.only_reads(sys.argv)
    )
except InputError as error:
    # The sentence is enough, also where Snakemake's own log is on a full disk.
    logging.raiseExceptions = False
    # To an exception, Snakemake would add the line of this file.
    raise SystemExit(str(error)) from None

RUN = f"results/{CONFIG.run}"
LOGS = f"{RUN}/logs"
BENCHMARKS = f"{RUN}/benchmarks"
BEST = f"{RUN}/best"
WINNER = f"{RUN}/export/winner"
ON_DEMAND = CONFIG.truth == "on_demand"
# Where a proxy stands in for the code, nobody looks at trained ones.
CODES_TRAINED = CONFIG.code == "trained"

BENCHES = {bench.name: bench for bench in jobs.benches(CONFIG)}
OWN = next((b.name for b in BENCHES.values() if not b.imported), "")
TRAINED = bool(OWN) and BENCHES[OWN].trained
SEARCHES = jobs.search_jobs(CONFIG)
SEARCH_AT = {(job.bench, job.method, job.budget, job.runs_name): job for job in SEARCHES}
FEWEST = jobs.fewest_jobs(CONFIG)
ROUND = f"{RUN}/search/{{bench}}/rounds/{{round}}"
ROUNDS = max((jobs.rounds(job) for job in SEARCHES if job.bench == OWN), default=0) if ON_DEMAND else 0

# The one search on own images, and where it stands.
OWN_SEARCH = jobs.configured_search(CONFIG)
OWN_FOLDER = f"{RUN}/search/own"
OWN_PLAN = f"{OWN_FOLDER}/{OWN_SEARCH.name}"
PAID = f"{RUN}/training/paid"
# Snakemake goes back from the last round to the first in a recursion, two functions deep at each.
sys.setrecursionlimit(1000 + 4 * max(ROUNDS, OWN_SEARCH.rounds))
FORECAST = f"{OWN_FOLDER}/forecast.json"

ANALYSES = [
    "scores",
    "points",
    "differences",
    "scatter",
    "correlations",
    "comparison",
    "timing",
    "progress",
    "needed",
]
FEWEST_TABLES = ["progress", "needed", "paired"]
FEWEST_FIGURES = ["fewest", "fewest_seconds", "needed", "fewest_paired"]
# Files of the checkout, as seen from the folder that results go to: another one with --directory, or with --snakefile.
CHECKOUT = "" if Path.cwd().samefile(workflow.basedir) else f"{workflow.basedir}/"
PUBLISHED = [f"{CHECKOUT}published/curves.csv", f"{CHECKOUT}published/table1.csv"]
FIGURE_OPTIONS = dict(
    fig5=dict(top=CONFIG.top_k),
    fig6=dict(budget=CONFIG.fig6_budget, top=CONFIG.fig6_top),
    fig7=dict(tops=CONFIG.fig7_tops),
    differences=dict(top=CONFIG.top_k),
    ablations=dict(top=CONFIG.fig6_top),
    headline=dict(top=CONFIG.top_k, published_top=CONFIG.fig6_top),
)

# What the library's functions take, by name.
IMAGES = dict(
    name=CONFIG.images,
    train_images=CONFIG.train_images,
    base_seed=CONFIG.seed,
)
# Only where they are set: a key that a run does not use is none of its parameters.
if CONFIG.image_side:
    IMAGES["side"] = CONFIG.image_side
if CONFIG.image_channels:
    IMAGES["channels"] = CONFIG.image_channels
# What lies at a path, looked at once a start, and only where a rule is asked for that reads it.
fingerprint = functools.cache(snas.fingerprint.fingerprint)
# Of images of one's own it is a parameter, too: a folder has no time that tells, and a file that is moved keeps its own.
OWN_FILES = {}
if own_files(CONFIG):
    OWN_FILES["files"] = lambda wildcards: fingerprint(CONFIG.images_path)
TRAINING = dict(
    space=CONFIG.space,
    images=IMAGES,
    width=CONFIG.width,
    seed=CONFIG.seed,
    compile=CONFIG.compile,
)
# Where a job computes, and how much at once, is no parameter of what it computes: days of trainings are not done again for
# a run that goes on on another machine, or in smaller groups. What was used stands in the results' metadata.
PLACE = dict(device=CONFIG.device)
# Nor is where the images lie: `labels` says which they are, and a job that finds others refuses them.
IMAGES_AT = dict(images_path=CONFIG.images_path) if CONFIG.images_path else {}
if CONFIG.images_download:
    IMAGES_AT["images_download"] = "yes"
GROUPS = dict(**PLACE, group_size=CONFIG.group)

# The code that results hang on, as a hash: what Snakemake's `code` trigger is replaced by.
NETWORKS = [SPACES.target(CONFIG.space)] if CONFIG.space else []
RECIPE = RECIPES.target(CONFIG.truth_recipe)
CODE_RECIPE = RECIPES.target(CONFIG.code_recipe)
TRAINS = [IMAGE_SETS.target(CONFIG.images), *NETWORKS]


def named(**values):
    """Return params, and one more that says them with their names: Snakemake compares the set of their values.

    Without names it would not notice that two of them have changed places, or that one has become what another is.  A
    function says so: in a text, Snakemake would take braces (of a path, say) for wildcards.
    """

    def said(wildcards):
        found = {key: value(wildcards) if callable(value) else value for key, value in values.items()}
        return ", ".join(f"{key}={value!r}" for key, value in found.items())

    return {**values, "named": said}


def code_of(script, *modules, without=()):
    """Return the hash of a rule's script and of all that its modules import."""
    path = Path(workflow.basedir, "scripts", script)
    return snas.code_hash.code_hash(*modules, without=without, script=path)


OWN_CODE = code_of("own_truth.py", "snas.training.truth", "snas.images.split", RECIPE, *NETWORKS)
# A space names its networks; who only reads its cells, or what was measured of them, makes none.
NAMED_ONLY = ("snas.networks",)
# What is kept of a job that is killed, and in which groups it trained, is no part of what it computes; nor is what its
# metadata say of the machine, or who drives the run; which images are drawn for codes is nothing to a complete training.
KEEPS = ("snas.training.paid", "snas.provenance", "snas.images.share")
# What trained and scored, and how searches go, is in these modules' closure for the sake of schemas alone.
MADE_BEFORE = ("snas.networks", "snas.training", "snas.proxies", "snas.search.block")

# A job that can use a GPU asks for one, where jobs may find one; `nodes` is set where a cluster runs them.
ELSEWHERE = workflow.resource_settings.nodes is not None
GPU = int(snas.device.wanted(CONFIG.device, elsewhere=ELSEWHERE))


def one_of(names):
    """Return a wildcard constraint that allows just ``names``."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    bench=one_of(BENCHES),
    space=one_of(SPACES),
    method=one_of(dict.fromkeys(job.method for job in SEARCHES)),
    proxy=one_of(PROXIES),
    shard=r"\d+",
    round=r"\d\d+",
    budget=r"\d+",
    block=r"\d+-\d+",
    removed=r"\d+",
    entry=one_of(dict.fromkeys(job.entry.stem for job in FEWEST)),


def shards(pattern, count, **wildcards):
    """Return the files of all shards of ``pattern``."""
    return expand(pattern, shard=[f"{i:03d}" for i in range(count)], **wildcards)


def space_table(space):
    """Return the file of a space's architectures."""
    return f"{RUN}/spaces/{space}.parquet"


def result(job, folder="{RUN}/search/{bench}", suffix="parquet"):
    """Return a file of a search job."""
    base = folder.format(RUN=RUN, bench=job.bench)
    return f"{base}/{job.method}/n{job.budget:03d}/block_{job.runs_name}.{suffix}"


def results(bench):
    """Return the search results of a bench."""
    return [result(job) for job in SEARCHES if job.bench == bench]


def search_job(wildcards):
    """Return the search job that the wildcards name."""
    return SEARCH_AT[wildcards.bench, wildcards.method, int(wildcards.budget), wildcards.block]


def search_settings(wildcards):
    """Return the settings of a search job, as the library takes them."""
    job = search_job(wildcards)
    top = jobs.tops(CONFIG, job.bench)[-1]
    runs = list(range(job.first, job.stop))
    return dict(method=job.method, budget=job.budget, top=top, runs=runs, base_seed=CONFIG.seed)


def search_code(script):
    """Return what gives the hash of the code that a method's results hang on."""

    def found(wildcards):
        space = SPACES.target(BENCHES[wildcards.bench].space)
        modules = jobs.modules(wildcards.method)
        return code_of(script, "snas.search.block", space, *modules, without=NAMED_ONLY)

    return found


def fewest_job(wildcards):
    """Return the job of the study of few trainings that the wildcards name."""
    key = (wildcards.bench, int(wildcards.removed), wildcards.entry, wildcards.block)
    return next(j for j in FEWEST if (j.bench, j.removed, j.entry.stem, j.runs_name) == key)


def fewest_settings(wildcards):
    """Return its settings, as the library takes them; a predictor trains its K outside the pool."""
    job = fewest_job(wildcards)
    own = {key: getattr(job.entry, key) for key in ("method", "budget", "top", "labels")}
    runs = list(range(job.first, job.stop))
    return dict(
        own,
        runs=runs,
        base_seed=CONFIG.fewest_seed,
        options=dict(job.entry.options),
        new_only=job.entry.top > 0,
    )


def fewest_code(wildcards):
    """Return the hash of the code that its results hang on."""
    space = SPACES.target(BENCHES[wildcards.bench].space)
    modules = jobs.modules(fewest_job(wildcards).entry.method)
    return code_of("search.py", "snas.search.block", space, *modules, without=NAMED_ONLY)


def fewest_searches():
    """Return the benches of the study and the searches on each, numbered: bench_0, runs_0, ..."""
    found = {}
    for job in FEWEST:
        home = f"{RUN}/fewest/{job.bench}/removed_{job.removed}"
        found.setdefault(home, []).append(fewest_result(job))
    inputs = {}
    for place, (home, files) in enumerate(found.items()):
        inputs |= {f"bench_{place}": f"{home}/table.parquet", f"runs_{place}": files}
    return inputs


def round_file(wildcards, suffix, step):
    """Return a file of the same search, ``step`` rounds away."""
    folder = f"{RUN}/search/{wildcards.bench}/rounds/{int(wildcards.round) + step:02d}"
    return f"{folder}/{wildcards.method}/n{wildcards.budget}/block_{wildcards.block}.{suffix}"


def round_asks(wildcards):
    """Return the ask lists of all searches that have this round."""
    folder = f"{RUN}/search/{wildcards.bench}/rounds/{wildcards.round}"
    found = [j for j in SEARCHES if j.bench == wildcards.bench and jobs.rounds(j) > int(wildcards.round)]
    return [result(job, folder, "asks.parquet") for job in found]


def last_state(wildcards):
    """Return the state that a search leaves after its last round."""
    job = search_job(wildcards)
    folder = f"{RUN}/search/{wildcards.bench}/rounds/{jobs.rounds(job) - 1:02d}"
    return result(job, folder, "state.npz")


def answers_before(bench, count):
    """Return the answers of the first ``count`` rounds: each round's file holds those of the rounds before as well."""
    return [f"{RUN}/search/{bench}/rounds/{count - 1:02d}/answers.parquet"] if count else []


def own_state(number):
    """Return the state that round ``number`` of the search on own images leaves."""
    return f"{OWN_PLAN}/{number:02d}/state.npz"


def own_shards(number):
    """Return the trainings that round ``number`` of the search on own images asks for: no job would have none to do."""
    count = max(min(CONFIG.truth_shards, OWN_SEARCH.asks[number]), 1)
    return shards(f"{OWN_PLAN}/{number:02d}/truth_{{shard}}.parquet", count)


def bench_known(wildcards):
    """Return the table of what is known of a bench in the end."""
    known = ON_DEMAND and BENCHES[wildcards.bench].trained
    return f"{RUN}/search/{wildcards.bench}/{'known' if known else 'table'}.parquet"


def figure_data(wildcards):
    """Return the small tables that a figure reads, of all benches."""
    reads = figure_reads(wildcards.figure)
    if CONFIG.fewest and wildcards.figure in FEWEST_FIGURES:
        return [f"{RUN}/fewest/{table}.parquet" for table in reads]
    found = [f"{RUN}/analysis/{b}/{t}.parquet" for b in BENCHES for t in reads if t in ANALYSES]
    found += [f"{RUN}/analysis/{t}.parquet" for t in reads if t in ("counts", "costs")]
    return found + ([space_table("tiny_nanobench")] if "architectures" in reads else [])


def caption(figure):
    """Return the file of a figure's caption."""
    return f"{CHECKOUT}report/{figure}.rst"


def stages():
    """Return the files of every stage, for the table of costs."""
    found = {}
    if TRAINED:
        if CODES_TRAINED:
            found["codes"] = shards(f"{RUN}/training/codes/shard_{{shard}}.parquet", CONFIG.code_shards)
        rounds = [f"{RUN}/search/{OWN}/rounds/{i:02d}/truth" for i in range(ROUNDS)]
        folders = rounds if ON_DEMAND else [f"{RUN}/training/truth"]
        found["truth"] = [
            f for d in folders for f in shards(f"{d}/shard_{{shard}}.parquet", CONFIG.truth_shards)
        ]
        for proxy in CONFIG.proxies:
            found[proxy] = shards(f"{RUN}/proxies/{proxy}/shard_{{shard}}.parquet", CONFIG.proxy_shards)
    for proxy in CONFIG.nasbench201_proxies if CONFIG.nasbench201 else ():
        folder = f"{RUN}/proxies/nasbench201/{proxy}"
        found[f"nasbench201_{proxy}"] = shards(f"{folder}/shard_{{shard}}.parquet", CONFIG.proxy_shards)
    if CONFIG.nasbench201 and CONFIG.nasbench201_code == "trained":
        folder = f"{RUN}/training/nasbench201_codes"
        found["nasbench201_codes"] = shards(
            f"{folder}/shard_{{shard}}.parquet", CONFIG.nasbench201_code_shards
        )
    for method in dict.fromkeys(job.method for job in SEARCHES):
        found[re.sub(r"\W", "_", f"search_{method}")] = [
            result(job) for job in SEARCHES if job.method == method
        ]
    return found


STAGES = stages()
COSTLY = dict(codes="training/codes", truth="training/truth", nasbench201_codes="training/codes_201")
COSTLY |= {proxy: f"proxies/{proxy}" for proxy in CONFIG.proxies}
COSTLY |= {f"nasbench201_{proxy}": f"proxies/{proxy}_201" for proxy in CONFIG.nasbench201_proxies}


def memory(base):
    """Return a function of the attempt: ``base`` MB, doubled at each further try."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)


def minutes(base):
    """Return a function of the attempt: ``base`` minutes, doubled at each further try."""
    return lambda wildcards, attempt: base * 2 ** (attempt - 1)


def searched(wildcards):
    """Return what a search job searches with (method, budget) and its number of runs."""
    if "block" not in wildcards.keys():
        return OWN_SEARCH, 1
    job = fewest_job(wildcards) if "entry" in wildcards.keys() else search_job(wildcards)
    return getattr(job, "entry", job), job.stop - job.first


def search_gpu(wildcards):
    """Return 1 where a GPU is to be leased for a search: not for methods that compute on a CPU, or nothing at all."""
    method = METHODS.load(searched(wildcards)[0].method)
    return int(GPU and method.device(CONFIG.device, compile=CONFIG.compile) not in (None, "cpu"))


def searched_size(bench):
    """Return how many architectures are searched on a bench."""
    return jobs.architectures(CONFIG, BENCHES[bench])


def search_seconds(wildcards):
    """Return about how long a search job takes on one core."""
    what, runs = searched(wildcards)
    bench = (searched_size(wildcards.bench),) if "bench" in wildcards.keys() else ()
    return snas.progress.search_seconds(what.method, what.budget, runs, *bench)


def search_minutes(wildcards, attempt):
    """Return the minutes of a search job at an attempt: twice what is expected on a core, and 4 h at least."""
    return max(240, round(search_seconds(wildcards) / 30)) * 2 ** (attempt - 1)


# Priorities: what is trained and scored goes before searches, which wait for it or keep GPUs waiting.
AHEAD = 100


def longest_first(wildcards):
    """Return the priority of a search: ten more for each factor of ten in time, as all would wait for a long one begun last."""
    return round(10 * math.log10(search_seconds(wildcards)))


OWN_TRAINING = {key: value for key, value in TRAINING.items() if key != "images"}
OWN_SETTINGS = dict(
    method=OWN_SEARCH.method,
    budget=OWN_SEARCH.budget,
    top=OWN_SEARCH.top,
    runs=[0],
    base_seed=CONFIG.seed,
    new_only=True,
    options=dict(OWN_SEARCH.options),
)
# Where every class is drawn equally often, every class counts equally.
if CONFIG.truth_recipe.endswith("_balanced"):
    OWN_SETTINGS["labels"] = "balanced"
OWN_SEARCH_MODULES = ["snas.search.block", *NETWORKS, *jobs.modules(OWN_SEARCH.method)]


def planned():
    """Return every costly file by stage, with its seconds on one core of the machine that they were measured on."""
    files = {stage: STAGES[name] for name, stage in COSTLY.items() if name in STAGES}
    own = [shard for number in range(OWN_SEARCH.rounds) for shard in own_shards(number)]
    asks = [f"{OWN_PLAN}/{number:02d}/asks.parquet" for number in range(OWN_SEARCH.rounds)]
    files |= {
        "own": [f"{RUN}/images/split.parquet", *asks],
        "own/truth": own,
        "own/best": [f"{WINNER}/network.json"],
    }
    found = [(result(job), job, job) for job in SEARCHES] + [
        (fewest_result(job), job.entry, job) for job in FEWEST
    ]
    searches = {
        path: (what.method, what.budget, job.stop - job.first, searched_size(job.bench))
        for path, what, job in found
    }
    return snas.search.expected.plan(CONFIG, files, searches)


def needed():
    """Return the files that this start is to make, so that time left is said of them alone; None where unknown."""
    dag = getattr(workflow.persistence, "dag", None)
    return {str(file) for job in dag.needrun_jobs() for file in job.output} if dag else None


def check_gpu():
    """Refuse device = cuda where a job of this start is to have a GPU of this machine, which has none."""
    dag = None if ELSEWHERE or workflow.touch else getattr(workflow.persistence, "dag", None)
    if dag and any(job.resources.get("gpu") for job in dag.needrun_jobs()):
        snas.machine.check_gpu(CONFIG.device)


def fewest_result(job):
    """Return the file of a search of the study of few trainings."""
    home = f"{RUN}/fewest/{job.bench}/removed_{job.removed}"
    return f"{home}/{job.entry.stem}/block_{job.runs_name}.parquet"


def asked():
    """Return the targets that the command line names, all of them where it names none."""
    return set(get_argument_parser().parse_known_args(sys.argv[1:])[0].targets) or {"all"}


def check_targets():
    """Refuse a target that is no rule, and by its looks no file of a run: Snakemake would not say which there are."""
    rules_ = [rule.name for rule in workflow.rules]
    for target in sorted(asked()) if workflow.is_main_process else ():
        if re.fullmatch(r"[\w-]+", target) and target not in rules_:
            close = snas.config.nearest(target, rules_)
            hint = f"did you mean {close}? " if close else ""
            raise SystemExit(
                f"[snas] unknown target {target!r}; {hint}figures and tables are {', '.join(FIGURES)}"
            )


def check_asked():
    """Refuse searches that the named targets ask for and that cannot be done: a dry run, which has no start, says so too."""
    # To Snakemake, a file that is there and whose rule lacks an input is up to date.
    for file in (*PUBLISHED, *map(caption, FIGURES)):
        if not Path(file).is_file():
            raise InputError(
                f"{file}: no such file; the figures need it, and nothing would be made again without it"
            )
    drawn = {f for f in FIGURES if set(figure_reads(f)) & set(ANALYSES)}
    checks = [
        ({"all"} | drawn.difference(FEWEST_FIGURES if FEWEST else ()), SEARCHES, [], False),
        ({"all", "fewest"}, [], FEWEST, False),
        ({"search"}, [], [], True),
    ]
    for targets, *what in checks:
        try:
            jobs.check_asked(CONFIG, *what)
        except InputError:
            if targets & asked():  # dear to find out
                raise


def check_needed(files):
    """Refuse a search or an import that this start is to make and that cannot be done: before anything is computed for it."""
    wanted = {file for file in files or () if file.startswith((f"{RUN}/search/", f"{RUN}/fewest/"))}
    searches = [job for job in SEARCHES if result(job) in wanted]
    fewest = [job for job in FEWEST if fewest_result(job) in wanted]
    own = any(file.startswith(f"{OWN_PLAN}/") for file in wanted)
    jobs.check_asked(CONFIG, searches, fewest, own)
    beside = (f"{RUN}/proxies/nasbench201/", f"{RUN}/training/nasbench201_codes/")
    table = f"{RUN}/spaces/nasbench201_accuracies.parquet"
    imports = table in (files or ())
    made = [
        b.name for b in BENCHES.values() if b.imported and f"{RUN}/search/{b.name}/table.parquet" in wanted
    ]
    # Neither the import nor what is computed beside it depends on the keys that say what is taken of it: another value
    # of theirs re-runs none of that, and is looked at here.
    if imports or made:
        whole = bool(made) or any(file.startswith(beside) for file in files)
        offers = jobs.check_nasbench201(CONFIG, whole=whole, imported="" if imports else table)
        jobs.check_offers(CONFIG, offers, made, searches, fewest)


def say_memory(files):
    """Say where the networks that this start trains on this machine's cores are too large for its memory."""
    trained = [f for f in files or () if re.match(f"{RUN}/training/(codes|truth)/shard", f)]
    if trained and not (GPU or ELSEWHERE):
        said = snas.search.forecast.memory_in_words(
            CONFIG.space, CONFIG.width, min(workflow.cores, len(trained))
        )
        if said:
            print(f"[snas] {said}", file=sys.stderr)


PROGRESS = snas.progress.Progress(planned, Path(LOGS))
# A job that refuses what it was given leaves this file.
REFUSED = Path(LOGS, "refused")
# What this start is to make: a page that was there before may be older than what is made beside it.
MADE = set()
REPORT = f"{RUN}/report.html"


def begin(files):
    """Check what this start is to make, then say how far it is."""
    snas.signals.handle_beside(signal.SIGTERM)
    try:
        check_needed(files)
        check_gpu()
    except InputError as error:
        raise SystemExit(str(error)) from None
    REFUSED.unlink(missing_ok=True)
    MADE.update(files or ())
    say_memory(files)
    PROGRESS.start(files)


def hint_after_failure():
    """Return that the same command goes on, unless a job refused what it was given: it would refuse it again."""
    return "" if REFUSED.exists() else ", and the same command goes on from here"


if workflow.is_main_process:
    try:
        check_asked()
    except InputError as error:
        raise SystemExit(str(error)) from None
