"""List the architectures that a round asks for and that nobody has trained yet."""

import pandas as pd

from _job import begin
from snas import tables
from snas.search.asks import wanted
from snas.spaces.shards import WANTED

job = begin(snakemake)
archs = wanted(snakemake.input.asks, snakemake.input.known)
tables.write(snakemake.output.table, pd.DataFrame({"arch": pd.array(archs, dtype="int32")}), WANTED)
