"""Make all tables of a bench's analysis."""

from _job import begin
from snas.analysis.statistics import analyse

job = begin(snakemake)
analyse(
    snakemake.input.bench,
    snakemake.input.runs,
    dict(snakemake.output.items()),
    tops=snakemake.params.tops,
    top=snakemake.params.top,
    name=snakemake.wildcards.bench,
    base_seed=snakemake.params.seed,
)
