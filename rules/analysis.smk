# Statistics over runs, correlations, the comparison with the published numbers, and what everything cost.
localrules:
    bench_analysis,
    counts,
    stage_costs,


rule bench_analysis:
    """All small tables of a bench: scores, points, paired differences, correlations, published numbers beside."""
    input:
        bench=bench_known,
        runs=lambda wildcards: results(wildcards.bench),
        published=PUBLISHED,
    output:
        **{table: f"{RUN}/analysis/{{bench}}/{table}.parquet" for table in ANALYSES},
    log:
        f"{LOGS}/analysis/{{bench}}.log",
    benchmark:
        f"{BENCHMARKS}/analysis/{{bench}}.jsonl"
    conda:
        "../environment.yml"
    params:
        **named(
            tops=lambda wildcards: jobs.tops(CONFIG, wildcards.bench),
            top=CONFIG.top_k,
            seed=CONFIG.seed,
        ),
        code=code_of("bench_analysis.py", "snas.analysis.statistics"),
    script:
        "../scripts/bench_analysis.py"


rule counts:
    """Count the Nano Cells (figure 10)."""
    output:
        table=f"{RUN}/analysis/counts.parquet",
    log:
        f"{LOGS}/analysis/counts.log",
    conda:
        "../environment.yml"
    params:
        code=code_of("counts.py", "snas.analysis.counting"),
    script:
        "../scripts/counts.py"


rule stage_costs:
    """Trainings, codes, seconds and GPU-seconds of every stage, from the metadata of its files."""
    input:
        **STAGES,
    output:
        table=f"{RUN}/analysis/costs.parquet",
    log:
        f"{LOGS}/analysis/costs.log",
    conda:
        "../environment.yml"
    params:
        code=code_of("costs.py", "snas.analysis.costs"),
    script:
        "../scripts/costs.py"
