# Search spaces: every architecture with its graph, costs and encoding; known accuracies of NAS-Bench-201.
localrules:
    space,


rule space:
    """Enumerate a search space (appendix A; figure 10)."""
    output:
        table=f"{RUN}/spaces/{{space}}.parquet",
    log:
        f"{LOGS}/spaces/{{space}}.log",
    benchmark:
        f"{BENCHMARKS}/spaces/{{space}}.jsonl"
    conda:
        "../environment.yml"
    params:
        **named(
            sample=lambda wildcards: (CONFIG.architectures if wildcards.space == CONFIG.space else 0),
            seed=CONFIG.seed,
        ),
        code=lambda wildcards: code_of("space.py", SPACES.target(wildcards.space), without=NAMED_ONLY),
    script:
        "../scripts/space.py"


rule import_nasbench201:
    """Import NAS-Bench-201 from any of its public forms."""
    input:
        source=NASBENCH201 or [],
    output:
        table=f"{RUN}/spaces/nasbench201_accuracies.parquet",
    log:
        f"{LOGS}/spaces/import_nasbench201.log",
    benchmark:
        f"{BENCHMARKS}/spaces/import_nasbench201.jsonl"
    # What is wrong with a source is to be said first.  What is computed beside it does not depend on it: another
    # table, or another importer, would re-run days of trainings (and `ancient` hides that their own code has changed).
    priority: 1
    conda:
        "../environment.yml"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
    params:
        **named(
            code_epochs=CONFIG.nasbench201_code_epochs,
            files=lambda wildcards: fingerprint(NASBENCH201),
        ),
        code=code_of("import_nasbench201.py", "snas.spaces.nasbench201_import", without=NAMED_ONLY),
    script:
        "../scripts/import_nasbench201.py"
