"""Join the shards of one stage into one table; shards of different recipes, seeds or code are refused."""

from _job import begin
from snas import tables
from snas.registry import resolve

job = begin(snakemake)
tables.join(snakemake.input.shards, resolve(snakemake.params.schema), snakemake.output.table)
