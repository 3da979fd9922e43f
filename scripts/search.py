"""Run a block of runs of one method at one budget."""

from _job import begin
from snas import provenance, tables
from snas.search.block import SEARCH, Settings, metadata, place, run_block
from snas.search.kept import Kept

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
settings = Settings(**{**p.settings, "runs": tuple(p.settings["runs"])})
device = place(settings.method, where.device, compile=p.compile)
kept = Kept(snakemake.output.runs, code=p.code, device=device)
with provenance.measured(device, code=p.code) as record:
    frame = run_block(
        snakemake.input.bench,
        settings,
        device=where.device,
        compile=p.compile,
        progress=job.progress,
        kept=kept,
    )
facts = {**metadata(snakemake.input.bench, settings), **record, **kept.spent()}
tables.write(snakemake.output.runs, frame, SEARCH, facts)
kept.forget()
job.progress.close()
