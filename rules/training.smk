# Estimation codes and complete trainings, in shards: tens of architectures are one job, one program, one file.
localrules:
    codes,
    nasbench201_codes,
    truth,


rule code_shard:
    """Estimation codes of a share of the architectures (section 3.1)."""
    input:
        architectures=space_table(CONFIG.space),
        labels=rules.labels.output.labels,
        share=rules.share.output.share,
    output:
        shard=f"{RUN}/training/codes/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/training/codes_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/training/codes_{{shard}}.jsonl"
    priority: AHEAD
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **GROUPS,
        **IMAGES_AT,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **named(
            **TRAINING,
            shards=CONFIG.code_shards,
            recipe=CONFIG.code_recipe,
        ),
        code=code_of("codes.py", "snas.training.codes", *TRAINS, CODE_RECIPE),
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
        schema="snas.training.schemas:CODES",
    script:
        "../scripts/join.py"


# ---- NAS-Bench-201: its own network, on this run's images, for every data set of the benchmark (section 4)
use rule code_shard as nasbench201_code_shard with:
    input:
        architectures=space_table("nasbench201"),
        labels=rules.labels.output.labels,
        share=rules.share.output.share,
    output:
        shard=f"{RUN}/training/nasbench201_codes/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/training/nasbench201_codes_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/training/nasbench201_codes_{{shard}}.jsonl"
    params:
        **named(
            **{**TRAINING, "space": "nasbench201", "width": 0},
            shards=CONFIG.nasbench201_code_shards,
            recipe=CONFIG.code_recipe,
        ),
        code=code_of(
            "codes.py",
            "snas.training.codes",
            IMAGE_SETS.target(CONFIG.images),
            CODE_RECIPE,
            SPACES.target("nasbench201"),
        ),


use rule codes as nasbench201_codes with:
    input:
        shards=shards(
            f"{RUN}/training/nasbench201_codes/shard_{{shard}}.parquet",
            CONFIG.nasbench201_code_shards,
        ),
    output:
        table=f"{RUN}/training/nasbench201_codes.parquet",
    log:
        f"{LOGS}/training/nasbench201_codes.log",


rule truth_shard:
    """Complete training of a share of the architectures (sections 3.1, 4.1); what a killed job had trained is kept beside."""
    input:
        architectures=space_table(CONFIG.space),
        labels=rules.labels.output.labels,
    output:
        shard=f"{RUN}/training/truth/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/training/truth_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/training/truth_{{shard}}.jsonl"
    priority: AHEAD
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **GROUPS,
        **IMAGES_AT,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(1440),
    params:
        **named(
            **TRAINING,
            shards=CONFIG.truth_shards,
            recipe=CONFIG.truth_recipe,
            # A folder of the job's own: no other job reads or removes what it has kept when it is killed.
            kept=f"{RUN}/training/kept/{{shard}}",
            forget=True,
        ),
        code=code_of("truth.py", "snas.training.shard", *TRAINS, RECIPE, without=KEEPS),
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
        schema="snas.training.schemas:TRUTH",
    script:
        "../scripts/join.py"
