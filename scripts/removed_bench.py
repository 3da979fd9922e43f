"""Take the best architectures out of a bench."""

from _job import begin
from snas.search.removed import remove_best

job = begin(snakemake)
remove_best(snakemake.input.bench, int(snakemake.wildcards.removed), snakemake.output.table)
