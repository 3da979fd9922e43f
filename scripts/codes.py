"""Estimation codes of a share of the architectures."""

from _job import begin
from snas import images, provenance, tables, training
from snas.device import torch_device
from snas.images.labels import check_images
from snas.images.share import read_share
from snas.spaces.shards import shard
from snas.training.codes import estimation_codes, facts
from snas.training.schemas import CODES

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
archs = shard(snakemake.input.architectures, int(snakemake.wildcards.shard), p.shards)
image_set = images.load(**p.images, **job.where_images)
check_images(snakemake.input.labels, image_set)
share = read_share(snakemake.input.share, image_set)
recipe = training.recipe(p.recipe)
said = facts(p.space, image_set, recipe, share=share, base_seed=p.seed, width=p.width)
with provenance.measured(torch_device(where.device), **said, code=p.code) as record:
    frame = estimation_codes(
        p.space, archs, image_set, share, recipe,
        base_seed=p.seed, width=p.width, device=where.device, compile=p.compile, group=where.group_size, progress=job.progress,
    )  # fmt: skip
tables.write(snakemake.output.shard, frame, CODES, record)
job.progress.close()
