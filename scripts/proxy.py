"""Score a share of the architectures with a proxy."""

from _job import begin
from snas import provenance, tables
from snas.device import torch_device
from snas.proxies.scores import PROXIES, score
from snas.spaces.shards import shard

job = begin(snakemake)
p, where, name = snakemake.params, snakemake.resources, snakemake.wildcards.proxy
archs = shard(snakemake.input.architectures, int(snakemake.wildcards.shard), p.shards)
facts = dict(proxy=name, space=p.space, seed=p.seed, width=p.width, code=p.code)
with provenance.measured(torch_device(where.device), **facts) as record:
    said = p.size or tables.metadata(snakemake.input.labels)  # the images themselves are not needed
    size = {key: said[key] for key in ("channels", "side", "classes")}
    frame = score(
        p.space,
        archs,
        name,
        base_seed=p.seed,
        width=p.width,
        device=where.device,
        progress=job.progress,
        **size,
    )
tables.write(snakemake.output.shard, frame, PROXIES, record)
job.progress.close()
