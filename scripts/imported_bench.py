"""Put together what NAS-Bench-201 knows of a space on one data set."""

from _job import begin
from snas.search.benches import make_imported

job = begin(snakemake)
p = snakemake.params
make_imported(
    snakemake.output.table,
    architectures=snakemake.input.architectures,
    imported=snakemake.input.accuracies,
    proxies=snakemake.input.proxies,
    codes=snakemake.input.get("codes") or None,
    space=p.space,
    dataset=p.dataset,
    table=p.table,
    select=p.select,
    code=p.code_source,
    base_seed=p.seed,
    facts={"code": p.code},
)
