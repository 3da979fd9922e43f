"""Do one round of an on-demand search, the first one or the next: leave its state and what it asks for."""

from _job import begin
from snas.search import block

job = begin(snakemake)
p, where = snakemake.params, snakemake.resources
settings = block.Settings(**{**p.settings, "runs": tuple(p.settings["runs"])})
files = dict(
    state_out=snakemake.output.state, asks_out=snakemake.output.asks, device=where.device, compile=p.compile
)
if "state" in snakemake.input.keys():  # noqa: SIM118 (Snakemake's Namedlist is a list of files)
    earlier = dict(state_in=snakemake.input.state, answers=snakemake.input.answers)
    block.advance(snakemake.input.bench, settings, **earlier, **files)
else:
    block.begin(snakemake.input.bench, settings, **files)
