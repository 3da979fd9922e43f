"""Put together what an on-demand run has come to know of its space."""

from _job import begin
from snas.search.benches import make_known

job = begin(snakemake)
make_known(
    snakemake.output.table,
    table=snakemake.input.bench,
    answers=snakemake.input.answers,
    facts={"code": snakemake.params.code},
)
