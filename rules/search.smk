# Benches (what is known of a space on a data set) and the searches on them, in blocks of runs.
localrules:
    trained_bench,
    table_bench,
    imported_bench,
    wanted,
    answers,
    search_finish,
    known_bench,
    own_candidates,
    own_bench,
    own_finish,
    own_choice,


rule trained_bench:
    """What this run has measured of its own space (on demand: without accuracies)."""
    input:
        architectures=space_table(CONFIG.space),
        labels=rules.labels.output.labels,
        codes=rules.codes.output.table if CODES_TRAINED else [],
        proxies=expand(rules.proxy.output.table, proxy=CONFIG.proxies),
        truth=[] if ON_DEMAND else rules.truth.output.table,
    output:
        table=f"{RUN}/search/{{bench}}/table.parquet",
    log:
        f"{LOGS}/search/{{bench}}/trained_bench.log",
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if b.trained),
    conda:
        "../environment.yml"
    params:
        **named(
            code_source=CONFIG.code,
            truth_recipe=CONFIG.truth_recipe,
            space=CONFIG.space,
            width=CONFIG.width,
            seed=CONFIG.seed,
        ),
        code=code_of("trained_bench.py", "snas.search.benches", RECIPE, without=MADE_BEFORE),
    script:
        "../scripts/trained_bench.py"


rule table_bench:
    """The accuracies of the user's own table."""
    input:
        architectures=space_table(CONFIG.space),
        table=CONFIG.table or [],
    output:
        table=f"{RUN}/search/{{bench}}/table.parquet",
    log:
        f"{LOGS}/search/{{bench}}/table_bench.log",
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if not b.trained and not b.imported),
    conda:
        "../environment.yml"
    params:
        **named(
            space=CONFIG.space,
            dataset=CONFIG.images,
            files=lambda wildcards: fingerprint(CONFIG.table),
        ),
        code=code_of("table_bench.py", "snas.search.benches", without=MADE_BEFORE),
    script:
        "../scripts/table_bench.py"


rule imported_bench:
    """The published accuracies of NAS-Bench-201, or of its part below 35 M, on one data set."""
    input:
        architectures=lambda wildcards: space_table(BENCHES[wildcards.bench].space),
        accuracies=rules.import_nasbench201.output.table,
        proxies=expand(rules.nasbench201_proxy.output.table, proxy=CONFIG.nasbench201_proxies),
        codes=rules.nasbench201_codes.output.table if CONFIG.nasbench201_code == "trained" else [],
    output:
        table=f"{RUN}/search/{{bench}}/table.parquet",
    log:
        f"{LOGS}/search/{{bench}}/imported_bench.log",
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if b.imported),
    conda:
        "../environment.yml"
    params:
        **named(
            space=lambda wildcards: BENCHES[wildcards.bench].space,
            dataset=lambda wildcards: BENCHES[wildcards.bench].dataset,
            table=CONFIG.nasbench201_table,
            select=CONFIG.nasbench201_select,
            code_source=CONFIG.nasbench201_code,
            seed=CONFIG.seed,
        ),
        code=code_of("imported_bench.py", "snas.search.benches", without=MADE_BEFORE),
    script:
        "../scripts/imported_bench.py"


rule search_block:
    """A block of runs of one method at one budget (algorithms 1 and 2)."""
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
    output:
        runs=f"{RUN}/search/{{bench}}/{{method}}/n{{budget}}/block_{{block}}.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{method}}_n{{budget}}_{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/search/{{bench}}/{{method}}_n{{budget}}_{{block}}.jsonl"
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if not (ON_DEMAND and b.trained)),
    priority: longest_first
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **PLACE,
        gpu=search_gpu,
        mem_mb=memory(4000),
        runtime=search_minutes,
    params:
        compile=CONFIG.compile,
        settings=search_settings,
        code=search_code("search.py"),
    script:
        "../scripts/search.py"


# ---- on demand: every round is a fixed step; what it asks for is trained in shards, once, whichever runs asked for it
rule search_begin:
    """The first round of an on-demand search: the pool that every run starts with."""
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
    output:
        asks=f"{ROUND}/{{method}}/n{{budget}}/block_{{block}}.asks.parquet",
        state=f"{ROUND}/{{method}}/n{{budget}}/block_{{block}}.state.npz",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_{{method}}_n{{budget}}_{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/search/{{bench}}/{{round}}_{{method}}_n{{budget}}_{{block}}.jsonl"
    wildcard_constraints:
        round="00",
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **PLACE,
        gpu=search_gpu,
        mem_mb=memory(4000),
        runtime=search_minutes,
    params:
        compile=CONFIG.compile,
        settings=search_settings,
        code=search_code("search_round.py"),
    script:
        "../scripts/search_round.py"


use rule search_begin as search_round with:
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
        state=lambda wildcards: round_file(wildcards, "state.npz", -1),
        answers=lambda wildcards: answers_before(wildcards.bench, int(wildcards.round)),
    wildcard_constraints:
        round=r"(?!00)\d\d+",


rule wanted:
    """The architectures that a round asks for and that are not trained yet."""
    input:
        asks=round_asks,
        known=lambda wildcards: answers_before(wildcards.bench, int(wildcards.round)),
    output:
        table=f"{ROUND}/wanted.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_wanted.log",
    conda:
        "../environment.yml"
    params:
        code=code_of("wanted.py", "snas.search.asks", "snas.spaces.shards"),
    script:
        "../scripts/wanted.py"


use rule truth_shard as truth_round_shard with:
    input:
        architectures=f"{ROUND}/wanted.parquet",
        labels=rules.labels.output.labels,
    output:
        shard=f"{ROUND}/truth/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_truth_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/search/{{bench}}/{{round}}_truth_{{shard}}.jsonl"
    params:
        **named(
            **TRAINING,
            shards=CONFIG.truth_shards,
            recipe=CONFIG.truth_recipe,
            # All rounds' own, and for good: more runs or budgets ask for some of it again.
            kept=f"{RUN}/training/on_demand",
            forget=False,
        ),
        code=code_of("truth.py", "snas.training.shard", *TRAINS, RECIPE, without=KEEPS),


rule answers:
    """Join the shards of a round with the answers before, so that whoever asks next reads one file."""
    input:
        shards=lambda wildcards: answers_before(wildcards.bench, int(wildcards.round))
        + shards(f"{ROUND}/truth/shard_{{shard}}.parquet", CONFIG.truth_shards, **wildcards),
    output:
        table=f"{ROUND}/answers.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_answers.log",
    conda:
        "../environment.yml"
    params:
        schema="snas.training.schemas:TRUTH",
    script:
        "../scripts/join.py"


rule search_finish:
    """The result of an on-demand search, when its top K are trained."""
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
        state=last_state,
        answers=lambda wildcards: answers_before(wildcards.bench, jobs.rounds(search_job(wildcards))),
    output:
        runs=f"{RUN}/search/{{bench}}/{{method}}/n{{budget}}/block_{{block}}.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{method}}_n{{budget}}_{{block}}.log",
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if ON_DEMAND and b.trained),
    conda:
        "../environment.yml"
    params:
        settings=search_settings,
        compile=CONFIG.compile,
        code=search_code("search_finish.py"),
    script:
        "../scripts/search_finish.py"


rule known_bench:
    """What an on-demand run has come to know of its space: accuracies of what was asked for."""
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
        answers=lambda wildcards: answers_before(wildcards.bench, ROUNDS),
    output:
        table=f"{RUN}/search/{{bench}}/known.parquet",
    log:
        f"{LOGS}/search/{{bench}}/known_bench.log",
    conda:
        "../environment.yml"
    params:
        code=code_of("known_bench.py", "snas.search.benches", without=MADE_BEFORE),
    script:
        "../scripts/known_bench.py"


# ---- one search on own images: the rounds of a search on demand; what is trained is kept beside the plan and never trained twice
rule own_candidates:
    """The networks within the user's limits, counted at the size of the user's images."""
    input:
        selection=rules.split.output.selection,
    output:
        table=f"{OWN_FOLDER}/candidates.parquet",
    log:
        f"{LOGS}/search/own/candidates.log",
    conda:
        "../environment.yml"
    params:
        **named(
            space=CONFIG.space,
            width=CONFIG.width,
            max_macs=CONFIG.max_macs,
            max_params=CONFIG.max_params,
        ),
        code=code_of("own_candidates.py", "snas.search.own", *NETWORKS, without=MADE_BEFORE),
    script:
        "../scripts/own_candidates.py"


rule own_code_shard:
    """Estimation codes of a share of the candidates, where the method looks at them."""
    input:
        candidates=rules.own_candidates.output.table,
        selection=rules.split.output.selection,
    output:
        shard=f"{OWN_FOLDER}/codes/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/search/own/codes_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/search/own/codes_{{shard}}.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **GROUPS,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **named(
            **OWN_TRAINING,
            shards=CONFIG.code_shards,
            share=CONFIG.code_share,
            recipe=CONFIG.code_recipe,
        ),
        code=code_of("own_codes.py", "snas.training.codes", "snas.images.split", CODE_RECIPE, *NETWORKS),
    script:
        "../scripts/own_codes.py"


use rule codes as own_codes with:
    input:
        shards=shards(f"{OWN_FOLDER}/codes/shard_{{shard}}.parquet", CONFIG.code_shards),
    output:
        table=f"{OWN_FOLDER}/codes.parquet",
    log:
        f"{LOGS}/search/own/codes.log",


rule own_bench:
    """What is known of the candidates before anything is trained."""
    input:
        candidates=rules.own_candidates.output.table,
        codes=rules.own_codes.output.table if OWN_SEARCH.needs_codes else [],
    output:
        table=f"{OWN_FOLDER}/table.parquet",
    log:
        f"{LOGS}/search/own/bench.log",
    conda:
        "../environment.yml"
    params:
        **named(
            images=CONFIG.images,
            truth_recipe=CONFIG.truth_recipe,
        ),
        code=code_of("own_bench.py", "snas.search.own", RECIPE, without=MADE_BEFORE),
    script:
        "../scripts/own_bench.py"


use rule search_begin as own_begin with:
    input:
        bench=rules.own_bench.output.table,
    output:
        asks=f"{OWN_PLAN}/{{round}}/asks.parquet",
        state=f"{OWN_PLAN}/{{round}}/state.npz",
    log:
        f"{LOGS}/search/own/{OWN_SEARCH.name}_{{round}}.log",
    benchmark:
        f"{BENCHMARKS}/search/own/{OWN_SEARCH.name}_{{round}}.jsonl"
    params:
        compile=CONFIG.compile,
        settings=OWN_SETTINGS,
        code=code_of("search_round.py", *OWN_SEARCH_MODULES, without=NAMED_ONLY),


use rule own_begin as own_round with:
    input:
        bench=rules.own_bench.output.table,
        state=lambda wildcards: own_state(int(wildcards.round) - 1),
        # Answers to earlier rounds stand in the state: with all of them the inputs would grow with the square of the rounds.
        answers=lambda wildcards: own_shards(int(wildcards.round) - 1),
    wildcard_constraints:
        round=r"(?!00)\d\d+",


rule own_truth:
    """Complete training of a share of what a round asks for; what is paid for already is taken from there."""
    input:
        asks=f"{OWN_PLAN}/{{round}}/asks.parquet",
        selection=rules.split.output.selection,
    output:
        shard=f"{OWN_PLAN}/{{round}}/truth_{{shard}}.parquet",
    log:
        f"{LOGS}/search/own/{OWN_SEARCH.name}_{{round}}_truth_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/search/own/{OWN_SEARCH.name}_{{round}}_truth_{{shard}}.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **GROUPS,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(1440),
    params:
        **named(
            **OWN_TRAINING,
            paid=PAID,
            shards=lambda wildcards: len(own_shards(int(wildcards.round))),
            recipe=CONFIG.truth_recipe,
        ),
        code=OWN_CODE,
    script:
        "../scripts/own_truth.py"


use rule search_finish as own_finish with:
    input:
        bench=rules.own_bench.output.table,
        state=own_state(OWN_SEARCH.rounds - 1),
        answers=own_shards(OWN_SEARCH.rounds - 1),
    output:
        runs=f"{OWN_PLAN}/runs.parquet",
    log:
        f"{LOGS}/search/own/{OWN_SEARCH.name}_finish.log",
    params:
        settings=OWN_SETTINGS,
        compile=CONFIG.compile,
        code=code_of("search_finish.py", *OWN_SEARCH_MODULES, without=NAMED_ONLY),


rule own_choice:
    """Every network that was trained, in the order of the asks, and the one that is chosen by the validation images."""
    input:
        runs=rules.own_finish.output.runs,
        candidates=rules.own_candidates.output.table,
        codes=rules.own_codes.output.table if OWN_SEARCH.needs_codes else [],
        selection=rules.split.output.selection,
        forecast=FORECAST if Path(FORECAST).exists() else [],
    output:
        choice=f"{OWN_FOLDER}/choice.json",
        trained=f"{OWN_FOLDER}/trained.parquet",
    log:
        f"{LOGS}/search/own/choice.log",
    conda:
        "../environment.yml"
    params:
        **named(
            space=CONFIG.space,
            seed=CONFIG.seed,
            width=CONFIG.width,
            paid=PAID,
            recipe=CONFIG.truth_recipe,
            facts=dict(recipe=CONFIG.truth_recipe, seed=CONFIG.seed),
            trained=OWN_CODE,
        ),
        code=code_of("own_choice.py", "snas.search.own", without=MADE_BEFORE),
    script:
        "../scripts/own_choice.py"
