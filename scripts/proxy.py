"""Score a share of the architectures with a proxy."""

from snas.training.shards import share

from _job import begin
from snas import images, provenance, tables
from snas.device import torch_device
from snas.proxies.scores import PROXIES, score

job = begin(snakemake)
p, name = snakemake.params, snakemake.wildcards.proxy
archs = share(snakemake.input.architectures, int(snakemake.wildcards.shard), p.count)
facts = dict(proxy=name, space=p.space, seed=p.seed, width=p.width, code=p.code)
with provenance.measured(torch_device(p.device), **facts) as record:
    shape = images.load(**p.images).shape
    frame = score(
        p.space, archs, name, base_seed=p.seed, width=p.width, device=p.device, progress=job.progress, **shape
    )
tables.write(snakemake.output.shard, frame, PROXIES, record)
job.progress.close()
