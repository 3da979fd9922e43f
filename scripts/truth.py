"""Complete training of a share of the architectures."""

from _job import begin
from snas import images, provenance, tables, training
from snas.device import torch_device
from snas.spaces.shards import shard
from snas.training.paid import SPENT, Paid, train_what_is_new
from snas.training.truth import TRUTH, facts

job = begin(snakemake)
p = snakemake.params
archs = shard(snakemake.input.architectures, int(snakemake.wildcards.shard), p.shards)
image_set = images.load(**p.images)
recipe = training.recipe(p.recipe)
said = facts(p.space, image_set, recipe, base_seed=p.seed, width=p.width)
kept = Paid(p.kept, {**said, "code": p.code})  # groups of a job that was killed
before = kept.spent(archs)
with provenance.measured(torch_device(p.device), **said, code=p.code) as record:
    frame = train_what_is_new(
        p.kept, p.space, archs, image_set, recipe, base_seed=p.seed, width=p.width, code=p.code,
        device=p.device, compile=p.compile, group=p.group, progress=job.progress,
    )  # fmt: skip
record |= {key: record[key] + before[key] for key in SPENT}
tables.write(snakemake.output.shard, frame, TRUTH, record)
kept.forget(archs)
job.progress.close()
