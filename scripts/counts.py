"""Count the Nano Cells."""

from _job import begin
from snas.analysis.counting import write_counts

job = begin(snakemake)
write_counts(snakemake.output.table)
