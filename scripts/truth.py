"""Complete training of a share of the architectures, or what is kept of it from before."""

from _job import begin
from snas.spaces.shards import shard
from snas.training.shard import write_shard

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
archs = shard(snakemake.input.architectures, int(snakemake.wildcards.shard), p.shards)
write_shard(
    snakemake.output.shard, archs, space=p.space, images={**p.images, **job.where_images},
    labels=snakemake.input.labels, recipe=p.recipe,
    base_seed=p.seed, width=p.width, code=p.code, kept=p.kept, forget=p.forget,
    device=where.device, compile=p.compile, group=where.group_size, progress=job.progress,
)  # fmt: skip
job.progress.close()
