"""Put together what this run has measured of its own space."""

from _job import begin
from snas.search.benches import make_trained

job = begin(snakemake)
p = snakemake.params
make_trained(
    snakemake.output.table,
    architectures=snakemake.input.architectures,
    labels=snakemake.input.labels,
    codes=snakemake.input.get("codes") or None,
    proxies=snakemake.input.proxies,
    truth=snakemake.input.get("truth") or None,
    truth_recipe=p.truth_recipe,
    space=p.space,
    width=p.width,
    base_seed=p.seed,
    code=p.code_source,
    facts={"code": p.code},
)
