"""Draw the share of the training images that estimation codes are measured on, and write it down."""

from _job import begin
from snas import provenance, tables
from snas.images.share import TENTH, share_table

job = begin(snakemake)
p = snakemake.params
with provenance.measured(seed=p.seed, code=p.code) as record:
    frame, facts = share_table(snakemake.input.labels, p.share, p.seed)
tables.write(snakemake.output.share, frame, TENTH, {**facts, **record})
