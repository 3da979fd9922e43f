"""List the networks within the user's limits, counted at the size of the user's images."""

from _job import begin
from snas import provenance, tables
from snas.search.own import CANDIDATES, candidates

job = begin(snakemake)
p = snakemake.params
said = tables.metadata(snakemake.input.selection)
size = dict(channels=said["channels"], side=said["side"], classes=len(said["class_names"]))
with provenance.measured(code=p.code) as record:
    frame, facts = candidates(p.space, width=p.width, max_macs=p.max_macs, max_params=p.max_params, **size)
print(f"{len(frame)} of {facts['of']} networks are within the limits")
tables.write(snakemake.output.table, frame, CANDIDATES, {**record, **facts})
