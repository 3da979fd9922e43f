"""Draw one figure or table."""

from pathlib import Path

from _job import begin
from snas.figures import draw

job = begin(snakemake)
files = [*snakemake.input.data, *snakemake.input.published]
draw(
    snakemake.wildcards.figure, files, Path(snakemake.output.png).with_suffix(""), **snakemake.params.options
)
