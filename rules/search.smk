# Benches (what is known of a space on a data set) and the searches on them, in blocks of runs.
localrules:
    trained_bench,
    table_bench,
    imported_bench,
    wanted,
    answers,
    search_finish,
    known_bench,


rule trained_bench:
    """What this run has measured of its own space (on demand: without accuracies)."""
    input:
        architectures=space_table(CONFIG.space),
        codes=rules.codes.output.table,
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
        code_source=CONFIG.code,
        width=CONFIG.width,
        code=BENCH_CODE,
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
        space=CONFIG.space,
        dataset=CONFIG.images,
        code=BENCH_CODE,
    script:
        "../scripts/table_bench.py"


rule imported_bench:
    """The published accuracies of NAS-Bench-201, or of its part below 35 M, on one data set."""
    input:
        architectures=lambda wildcards: space_table(BENCHES[wildcards.bench].space),
        accuracies=rules.import_nasbench201.output.table,
        proxies=expand(rules.nasbench201_proxy.output.table, proxy=CONFIG.nasbench201_proxies),
    output:
        table=f"{RUN}/search/{{bench}}/table.parquet",
    log:
        f"{LOGS}/search/{{bench}}/imported_bench.log",
    wildcard_constraints:
        bench=one_of(b.name for b in BENCHES.values() if b.imported),
    conda:
        "../environment.yml"
    params:
        space=lambda wildcards: BENCHES[wildcards.bench].space,
        dataset=lambda wildcards: BENCHES[wildcards.bench].dataset,
        table=CONFIG.nasbench201_table,
        select=CONFIG.nasbench201_select,
        code_source=CONFIG.nasbench201_code,
        seed=CONFIG.seed,
        code=BENCH_CODE,
    script:
        "../scripts/imported_bench.py"


rule search:
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
    conda:
        "../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **COMPUTE,
        settings=search_settings,
        code=search_code,
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
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **COMPUTE,
        settings=search_settings,
        code=search_code,
    script:
        "../scripts/search_round.py"


use rule search_begin as search_round with:
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
        state=lambda wildcards: round_file(wildcards, "state.npz", -1),
        answers=lambda wildcards: answers_before(wildcards.bench, int(wildcards.round)),
    wildcard_constraints:
        round=r"(?!00)\d\d",


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
        code=BENCH_CODE,
    script:
        "../scripts/wanted.py"


use rule truth_shard as truth_round_shard with:
    input:
        architectures=f"{ROUND}/wanted.parquet",
        share=rules.share.output.share,
    output:
        shard=f"{ROUND}/truth/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_truth_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/search/{{bench}}/{{round}}_truth_{{shard}}.jsonl"


rule answers:
    """Join the shards of a round."""
    input:
        shards=lambda wildcards: shards(
            f"{ROUND}/truth/shard_{{shard}}.parquet", CONFIG.truth_shards, **wildcards
        ),
    output:
        table=f"{ROUND}/answers.parquet",
    log:
        f"{LOGS}/search/{{bench}}/{{round}}_answers.log",
    conda:
        "../environment.yml"
    params:
        schema="snas.training.truth:TRUTH",
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
        code=search_code,
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
        code=BENCH_CODE,
    script:
        "../scripts/known_bench.py"
