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
    table = space.table()
    table = table[table["arch"].isin(space.sample(p.sample, p.seed))]
tables.write(snakemake.output.table, table, ARCHITECTURES, record)
