# Siamese-NAS (arXiv 2210.00546): the paper's DAG from search space to figures, and beyond.
# What is made from what stands in rules/, one file per room of the library; what is computed stands in snas/.
from snakemake.utils import min_version

min_version("9.10")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/spaces.smk"
include: "rules/images.smk"
include: "rules/training.smk"
include: "rules/proxies.smk"
include: "rules/search.smk"
include: "rules/analysis.smk"
include: "rules/figures.smk"


report: "report/workflow.rst"


# GPUs are counted per machine, not over a cluster: there SLURM counts them.
resource_scopes:
    gpu="local",


localrules:
    all,
    figures,


rule all:
    """Everything that the configuration asks for, with the report."""
    default_target: True
    input:
        rules.report.output,
        rules.figures.input,


onstart:
    PROGRESS.start()


onsuccess:
    PROGRESS.finish()
    print(f"Open {RUN}/report.html", file=sys.stderr)


onerror:
    PROGRESS.finish()
    print(f"A job failed; its log stands in {RUN}/logs/. The same command goes on from here.", file=sys.stderr)
