"""Make the tables of fewer trainings, and the page that prints them."""

from _job import begin
from snas.analysis import fewest, fewest_page

job = begin(snakemake)
outputs = {name: snakemake.output[name] for name in fewest.SCHEMAS}
benches = {path: list(snakemake.input[name.replace("bench", "runs")]) for name, path in snakemake.input.items()
           if name.startswith("bench")}  # fmt: skip
fewest.analyse(benches, outputs, base_seed=snakemake.params.seed)
fewest_page.write(snakemake.output.page, outputs)
