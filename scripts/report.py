"""Put all figures, tables and captions on one page."""

from pathlib import Path

from _job import begin
from snas.figures.report import write_report

job = begin(snakemake)
write_report(
    snakemake.output.page,
    [Path(path).with_suffix("") for path in snakemake.input.figures],
    snakemake.input.data,
    run=snakemake.params.config["run"],
    configuration=snakemake.params.config,
    captions=Path(snakemake.input.captions[0]).parent,
)
