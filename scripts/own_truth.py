"""Complete training of a share of what a round asks for, or what is kept of it from before."""

from _job import begin
from snas import provenance, tables, training
from snas.device import torch_device
from snas.images.split import read_selection
from snas.spaces.shards import shard
from snas.training.paid import train_what_is_new
from snas.training.schemas import TRUTH
from snas.training.truth import facts

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
archs = shard(snakemake.input.asks, int(snakemake.wildcards.shard), p.shards)
images = read_selection(snakemake.input.selection)
recipe = training.recipe(p.recipe)
said = facts(p.space, images, recipe, base_seed=p.seed, width=p.width)
with provenance.measured(torch_device(where.device), **said, code=p.code) as record:
    frame = train_what_is_new(
        p.paid, p.space, archs, images, recipe, base_seed=p.seed, width=p.width, code=p.code,
        device=where.device, compile=p.compile, group=where.group_size, progress=job.progress,
    )  # fmt: skip
tables.write(snakemake.output.shard, frame, TRUTH, record)
job.progress.close()
