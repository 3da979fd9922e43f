"""Estimation codes of a share of the candidates of a search on own images."""

from _job import begin
from snas import provenance, tables, training
from snas.device import torch_device
from snas.images import draw_share
from snas.images.split import read_selection
from snas.spaces.shards import shard
from snas.training.codes import estimation_codes, facts
from snas.training.schemas import CODES

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
archs = shard(snakemake.input.candidates, int(snakemake.wildcards.shard), p.shards)
images = read_selection(snakemake.input.selection)
share = draw_share(len(images.train_labels), p.share, p.seed)
recipe = training.recipe(p.recipe)
said = facts(p.space, images, recipe, share=share, base_seed=p.seed, width=p.width)
with provenance.measured(torch_device(where.device), **said, code=p.code) as record:
    frame = estimation_codes(
        p.space, archs, images, share, recipe,
        base_seed=p.seed, width=p.width, device=where.device, compile=p.compile, group=where.group_size, progress=job.progress,
    )  # fmt: skip
tables.write(snakemake.output.shard, frame, CODES, record)
job.progress.close()
