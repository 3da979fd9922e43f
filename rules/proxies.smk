# Zero-cost proxies of the untrained networks (section 4.3).
localrules:
    proxy,
    nasbench201_proxy,


rule proxy_shard:
    """Score a share of the architectures with a proxy."""
    input:
        architectures=space_table(CONFIG.space),
        labels=rules.labels.output.labels,
    output:
        shard=f"{RUN}/proxies/{{proxy}}/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/proxies/{{proxy}}_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/proxies/{{proxy}}_{{shard}}.jsonl"
    priority: AHEAD
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **PLACE,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        **named(
            space=CONFIG.space,
            width=CONFIG.width,
            size={},
            seed=CONFIG.seed,
            shards=CONFIG.proxy_shards,
        ),
        code=lambda wildcards: code_of(
            "proxy.py", "snas.proxies.scores", PROXIES.target(wildcards.proxy), *NETWORKS
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


# ---- NAS-Bench-201: its own network and image size, whatever this run trains
use rule proxy_shard as nasbench201_proxy_shard with:
    input:
        architectures=space_table("nasbench201"),
    output:
        shard=f"{RUN}/proxies/nasbench201/{{proxy}}/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/proxies/nasbench201_{{proxy}}_{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/proxies/nasbench201_{{proxy}}_{{shard}}.jsonl"
    params:
        **named(
            space="nasbench201",
            width=0,
            size=dict(channels=3, side=CONFIG.nasbench201_proxy_side, classes=10),
            seed=CONFIG.seed,
            shards=CONFIG.proxy_shards,
        ),
        code=lambda wildcards: code_of(
            "proxy.py",
            "snas.proxies.scores",
            PROXIES.target(wildcards.proxy),
            SPACES.target("nasbench201"),
        ),


use rule proxy as nasbench201_proxy with:
    input:
        shards=shards(
            f"{RUN}/proxies/nasbench201/{{{{proxy}}}}/shard_{{shard}}.parquet",
            CONFIG.proxy_shards,
        ),
    output:
        table=f"{RUN}/proxies/nasbench201/{{proxy}}.parquet",
    log:
        f"{LOGS}/proxies/nasbench201_{{proxy}}.log",
