"""Add up what every stage cost."""

from _job import begin
from snas import tables
from snas.analysis.costs import COSTS, costs

job = begin(snakemake)
stages = {stage: [files] if isinstance(files, str) else files for stage, files in snakemake.input.items()}
tables.write(snakemake.output.table, costs(stages), COSTS)
