"""Write the card of the winner and the page that shows how it was found."""

from pathlib import Path

from _job import begin
from snas.export.found import read_found
from snas.export.page import write_best

job = begin(snakemake)
given, best, made = snakemake.input, Path(snakemake.output.page).parent, Path(snakemake.input.network).parent
found = read_found(
    made,
    choice=given.choice,
    trained=given.trained,
    tested=given.tested,
    latency=given.latency,
    split=given.split,
)
write_best(
    found,
    best,
    snakemake.params.figures,
    made=made,
    wrong=given.wrong,
    names=given.split,
    run=snakemake.params.run,
)
