# Figures and tables: one script for all, each from small aggregated files, each with an alias (snakemake fig5).
localrules:
    figure,
    report_page,


rule figure:
    """Draw a figure or a table: vector, PNG, and a CSV of what it shows."""
    input:
        data=figure_data,
        published=PUBLISHED,
    output:
        png=report(
            f"{RUN}/figures/{{figure}}.png",
            caption="../report/snakemake/figure.rst",
            category="Figures and tables",
            labels={"figure": "{figure}"},
        ),
        pdf=f"{RUN}/figures/{{figure}}.pdf",
        svg=f"{RUN}/figures/{{figure}}.svg",
        csv=f"{RUN}/figures/{{figure}}.csv",
        facts=f"{RUN}/figures/{{figure}}.json",
    log:
        f"{LOGS}/figures/{{figure}}.log",
    conda:
        "../environment.yml"
    params:
        options=lambda wildcards: FIGURE_OPTIONS.get(wildcards.figure, {}),
        # For snakemake --report, which knows no wildcards in the name of a caption file: this one shows it.
        caption=lambda wildcards: Path(caption(wildcards.figure)).read_text(encoding="utf-8"),
        code=lambda wildcards: code_of("figure.py", "snas.figures.drawing", FIGURES.target(wildcards.figure)),
    script:
        "../scripts/figure.py"


rule report_page:
    """One page with all figures, tables and captions; it needs no network."""
    input:
        figures=expand(rules.figure.output.png, figure=FIGURES),
        data=[f"{RUN}/analysis/{b}/{t}.parquet" for b in BENCHES for t in ANALYSES if t != "scores"]
        + [f"{RUN}/analysis/costs.parquet"],
        captions=[caption(name) for name in ("workflow", *FIGURES)],
    output:
        page=f"{RUN}/report.html",
    log:
        f"{LOGS}/figures/report.log",
    conda:
        "../environment.yml"
    params:
        config=dict(CONFIG),
        code=code_of("report.py", "snas.figures.report"),
    script:
        "../scripts/report.py"
