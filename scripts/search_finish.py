"""Write the result of an on-demand search, when its top K are trained."""

from _job import begin
from snas import provenance, tables
from snas.search.block import SEARCH, Settings, finish, metadata

job = begin(snakemake)
p = snakemake.params
settings = Settings(**{**p.settings, "runs": tuple(p.settings["runs"])})
with provenance.measured(code=p.code) as record:
    frame, spent = finish(
        snakemake.input.bench,
        settings,
        state_in=snakemake.input.state,
        answers=snakemake.input.answers,
        compile=p.compile,
    )
facts = {**metadata(snakemake.input.bench, settings), **record, **spent}
tables.write(snakemake.output.runs, frame, SEARCH, facts)
