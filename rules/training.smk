# Estimation codes and complete trainings, in shards: tens of architectures are one job, one program, one file.
localrules:
    codes,
    truth,


rule code_shard:
    """Estimation codes of a share of the architectures (section 3.1)."""
    input:
        architectures=space_table(CONFIG.space),
        share=rules.share.output.share,
    output:
        shard=f"{RUN}/training/codes/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/training/codes_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/training/codes_{{shard}}.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **TRAINING,
        shards=CONFIG.code_shards,
        recipe=CONFIG.code_recipe,
        truth_recipe=CONFIG.truth_recipe,
        code=TRAINING_CODE,
    script:
        "../scripts/codes.py"


rule codes:
    """Join the shards of the estimation codes."""
    input:
        shards=shards(f"{RUN}/training/codes/shard_{{shard}}.parquet", CONFIG.code_shards),
    output:
        table=f"{RUN}/training/codes.parquet",
    log:
        f"{LOGS}/training/codes.log",
    conda:
        "../environment.yml"
    params:
        schema="snas.training.codes:CODES",
    script:
        "../scripts/join.py"


rule truth_shard:
    """Complete training of a share of the architectures (section 4)."""
    input:
        architectures=space_table(CONFIG.space),
        share=rules.share.output.share,
    output:
        shard=f"{RUN}/training/truth/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/training/truth_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/training/truth_{{shard}}.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(1440),
    params:
        **TRAINING,
        shards=CONFIG.truth_shards,
        recipe=CONFIG.truth_recipe,
        code=TRAINING_CODE,
    script:
        "../scripts/truth.py"


rule truth:
    """Join the shards of the complete trainings."""
    input:
        shards=shards(f"{RUN}/training/truth/shard_{{shard}}.parquet", CONFIG.truth_shards),
    output:
        table=f"{RUN}/training/truth.parquet",
    log:
        f"{LOGS}/training/truth.log",
    conda:
        "../environment.yml"
    params:
        schema="snas.training.truth:TRUTH",
    script:
        "../scripts/join.py"
