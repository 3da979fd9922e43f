"""Import NAS-Bench-201 into one small table."""

from pathlib import Path

from _job import begin
from snas.spaces.nasbench201_import import import_nasbench201

job = begin(snakemake)
import_nasbench201(
    Path(snakemake.input.source),
    Path(snakemake.output.table),
    code_epochs=tuple(snakemake.params.code_epochs) or None,
    jobs=snakemake.threads,
    progress=job.progress,
)
