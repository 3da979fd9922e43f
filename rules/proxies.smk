# Zero-cost proxies of the untrained networks (section 4.3).
localrules:
    proxy,


rule proxy_shard:
    """Score a share of the architectures with a proxy."""
    input:
        architectures=space_table(CONFIG.space),
    output:
        shard=f"{RUN}/proxies/{{proxy}}/shard_{{shard}}.parquet",
    params:
        count=CONFIG.proxy_shards,
        **TRAINING,
        code=lambda wildcards: snas.provenance.code_hash("snas.proxies.scores", PROXIES.module(wildcards.proxy), *NETWORKS),
    log:
        f"{LOGS}/proxies/{{proxy}}_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/proxies/{{proxy}}_{{shard}}.jsonl"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    conda:
        "../environment.yml"
    script:
        "../scripts/proxy.py"


rule proxy:
    """Join the shards of a proxy."""
    input:
        shards=shards(f"{RUN}/proxies/{{{{proxy}}}}/shard_{{shard}}.parquet", CONFIG.proxy_shards),
    output:
        table=f"{RUN}/proxies/{{proxy}}.parquet",
    params:
        schema="snas.proxies.scores:PROXIES",
    log:
        f"{LOGS}/proxies/{{proxy}}.log",
    conda:
        "../environment.yml"
    script:
        "../scripts/join.py"
