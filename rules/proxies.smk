# Zero-cost proxies of the untrained networks (section 4.3).
localrules:
    proxy,


rule proxy_shard:
    """Score a share of the architectures with a proxy."""
    input:
        architectures=space_table(CONFIG.space),
    output:
        shard=f"{RUN}/proxies/{{proxy}}/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/proxies/{{proxy}}_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/proxies/{{proxy}}_{{shard}}.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **TRAINING,
        shards=CONFIG.proxy_shards,
        code=lambda wildcards: snas.provenance.code_hash(
            "snas.proxies.scores",
            PROXIES.module(wildcards.proxy),
            IMAGE_SETS.module(CONFIG.images),
            *NETWORKS,
        ),
    script:
        "../scripts/proxy.py"


rule proxy:
    """Join the shards of a proxy."""
    input:
        shards=shards(f"{RUN}/proxies/{{{{proxy}}}}/shard_{{shard}}.parquet", CONFIG.proxy_shards),
    output:
        table=f"{RUN}/proxies/{{proxy}}.parquet",
    log:
        f"{LOGS}/proxies/{{proxy}}.log",
    conda:
        "../environment.yml"
    params:
        schema="snas.proxies.scores:PROXIES",
    script:
        "../scripts/join.py"
