"""Put together what a user's own table knows of a space."""

from _job import begin
from snas.search.benches import make_from_table

job = begin(snakemake)
make_from_table(
    snakemake.output.table,
    architectures=snakemake.input.architectures,
    table=snakemake.input.table,
    space=snakemake.params.space,
    dataset=snakemake.params.dataset,
    facts={"code": snakemake.params.code},
)
