"""Do the first round of an on-demand search: leave its state and what it asks for."""

from _job import begin
from snas.search.block import Settings
from snas.search.block import begin as first_round

job = begin(snakemake)
p = snakemake.params
first_round(
    snakemake.input.bench,
    Settings(**{**p.settings, "runs": tuple(p.settings["runs"])}),
    state_out=snakemake.output.state,
    asks_out=snakemake.output.asks,
    device=p.device,
    compile=p.compile,
)
