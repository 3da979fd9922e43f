"""Put together what is known of the candidates before the search."""

from _job import begin
from snas.search.own import write_bench

job = begin(snakemake)
write_bench(
    snakemake.output.table,
    candidates=snakemake.input.candidates,
    codes=snakemake.input.get("codes") or None,
    images=snakemake.params.images,
    truth_recipe=snakemake.params.truth_recipe,
    facts={"code": snakemake.params.code},
)
