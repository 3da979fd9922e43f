"""Draw train, validation and test part of the user's own images, and keep the decoded pixels of each."""

from pathlib import Path

import snas.images
from _job import begin
from snas import provenance
from snas.images.split import LEAST, copies_in_words, write_split

job = begin(snakemake)
p = snakemake.params
with provenance.measured(code=p.code) as record:
    images = snas.images.load(**p.images, **job.where_images, least=LEAST)
frame = write_split(
    Path(snakemake.output.split).parent,
    images,
    base_seed=p.seed,
    shares=p.shares,
    metadata={**record, "resize": p.resize},
)
print(*copies_in_words(frame, images.classes), sep="\n")
