# Fewer trainings (snakemake fewest): searches on every bench, whole and without its best architectures, and their prices.
localrules:
    removed_bench,
    fewest,


rule removed_bench:
    """A bench without its best architectures: one table has one optimum, and luck with it."""
    input:
        bench=f"{RUN}/search/{{bench}}/table.parquet",
    output:
        table=f"{RUN}/fewest/{{bench}}/removed_{{removed}}/table.parquet",
    log:
        f"{LOGS}/fewest/{{bench}}/removed_{{removed}}.log",
    conda:
        "../environment.yml"
    params:
        code=code_of("removed_bench.py", "snas.search.removed"),
    script:
        "../scripts/removed_bench.py"


use rule search_block as fewest_search with:
    input:
        bench=f"{RUN}/fewest/{{bench}}/removed_{{removed}}/table.parquet",
    output:
        runs=f"{RUN}/fewest/{{bench}}/removed_{{removed}}/{{entry}}/block_{{block}}.parquet",
    log:
        f"{LOGS}/fewest/{{bench}}/removed_{{removed}}/{{entry}}_{{block}}.log",
    benchmark:
        f"{BENCHMARKS}/fewest/{{bench}}/removed_{{removed}}/{{entry}}_{{block}}.jsonl"
    params:
        compile=CONFIG.compile,
        settings=fewest_settings,
        code=fewest_code,


rule fewest_tables:
    """Regret against price, price until the optimum, the Gaussian process against each other method at equal price."""
    input:
        **fewest_searches(),
    output:
        **{table: f"{RUN}/fewest/{table}.parquet" for table in FEWEST_TABLES},
        page=f"{RUN}/fewest/tables.md",
    log:
        f"{LOGS}/fewest/tables.log",
    benchmark:
        f"{BENCHMARKS}/fewest/tables.jsonl"
    conda:
        "../environment.yml"
    params:
        seed=CONFIG.seed,
        code=code_of("fewest_tables.py", "snas.analysis.fewest_page"),
    script:
        "../scripts/fewest_tables.py"


rule fewest:
    """All figures of fewer trainings; with a study in the configuration (config/fewest.yaml), its tables."""
    input:
        expand(rules.figure.output, figure=FEWEST_FIGURES),
        rules.fewest_tables.output if CONFIG.fewest else [],
