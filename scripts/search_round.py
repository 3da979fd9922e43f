"""Do one more round of an on-demand search with the answers so far."""

from _job import begin
from snas.search.block import Settings, advance

job = begin(snakemake)
p = snakemake.params
advance(
    snakemake.input.bench,
    Settings(**{**p.settings, "runs": tuple(p.settings["runs"])}),
    state_in=snakemake.input.state,
    answers=snakemake.input.answers,
    state_out=snakemake.output.state,
    asks_out=snakemake.output.asks,
    device=p.device,
    compile=p.compile,
)
