"""Run a block of runs of one method at one budget."""

from _job import begin
from snas import provenance, tables
from snas.device import torch_device
from snas.search.block import SEARCH, Settings, metadata, run_block

job = begin(snakemake)
p = snakemake.params
settings = Settings(**{**p.settings, "runs": tuple(p.settings["runs"])})
with provenance.measured(torch_device(p.device), code=p.code) as record:
    frame = run_block(
        snakemake.input.bench, settings, device=p.device, compile=p.compile, progress=job.progress
    )
tables.write(snakemake.output.runs, frame, SEARCH, {**metadata(snakemake.input.bench, settings), **record})
job.progress.close()
