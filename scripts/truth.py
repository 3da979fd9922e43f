"""Complete training of a share of the architectures, or what is kept of it from before."""

from _job import begin
from snas import images, provenance, tables, training
from snas.device import torch_device
from snas.spaces.shards import shard
from snas.training.paid import Paid, train_what_is_new
from snas.training.schemas import TRUTH
from snas.training.truth import facts

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
archs = shard(snakemake.input.architectures, int(snakemake.wildcards.shard), p.shards)
image_set = images.load(**p.images)
recipe = training.recipe(p.recipe)
said = facts(p.space, image_set, recipe, base_seed=p.seed, width=p.width)
with provenance.measured(torch_device(where.device), **said, code=p.code) as record:
    frame = train_what_is_new(
        p.kept, p.space, archs, image_set, recipe, base_seed=p.seed, width=p.width, code=p.code,
        device=where.device, compile=p.compile, group=where.group_size, progress=job.progress,
    )  # fmt: skip
book = Paid(p.kept, {**said, "code": p.code})
tables.write(snakemake.output.shard, frame, TRUTH, record | book.spent(archs))
if p.forget:
    book.forget()
job.progress.close()
