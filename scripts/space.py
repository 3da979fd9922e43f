"""Write the table of a search space's architectures, all of them or a seeded sample."""

from _job import begin
from snas import provenance, spaces, tables
from snas.spaces.space import ARCHITECTURES

job = begin(snakemake)
p = snakemake.params
with provenance.measured(
    space=snakemake.wildcards.space, sample=p.sample, seed=p.seed, code=p.code
) as record:
    space = spaces.load(snakemake.wildcards.space)
    parts = space.table_parts(space.sample(p.sample, p.seed))
tables.write_parts(snakemake.output.table, parts, ARCHITECTURES, record)
