"""Put together what this run has measured of its own space."""

from _job import begin
from snas.search.benches import make_trained

job = begin(snakemake)
make_trained(
    snakemake.output.table,
    architectures=snakemake.input.architectures,
    codes=snakemake.input.codes,
    proxies=snakemake.input.proxies,
    truth=snakemake.input.get("truth") or None,
    truth_recipe=snakemake.params.truth_recipe,
    code=snakemake.params.code_source,
    facts={"code": snakemake.params.code},
)
