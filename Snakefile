# Siamese-NAS (arXiv 2210.00546), from search space to figures and beyond: rules/ says what is made from what, snas/ computes.
from snakemake.utils import min_version

min_version("9.10")


configfile: f"{workflow.basedir}/config/config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/spaces.smk"
include: "rules/images.smk"
include: "rules/training.smk"
include: "rules/proxies.smk"
include: "rules/search.smk"
include: "rules/analysis.smk"
include: "rules/figures.smk"
include: "rules/fewest.smk"
include: "rules/export.smk"


# GPUs are counted on each machine; over a cluster SLURM counts them.
resource_scopes:
    gpu="local",


localrules:
    all,


rule all:
    """Everything that the configuration asks for, and the page that shows it."""
    default_target: True
    input:
        rules.report_page.output.page,
        rules.report_page.input.figures,


# One short target per figure and table: snakemake fig5; all figures of fewer trainings: snakemake fewest
for name in [figure for figure in FIGURES if figure != "fewest"]:

    rule:
        name:
            name
        input:
            expand(rules.figure.output, figure=name),
        localrule: True


check_targets()


onstart:
    begin(needed())


onsuccess:
    PROGRESS.finish()
    snas.provenance.clear_leftovers(Path(RUN))
    if REPORT in MADE:
        print(f"[snas] open {REPORT}", file=sys.stderr)


onerror:
    PROGRESS.finish()
    print(f"[snas] not all is made; logs stand in {LOGS}/{hint_after_failure()}", file=sys.stderr)
