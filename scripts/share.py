"""Draw the share of the training images that estimation codes are measured on, and write it down."""

import snas.images
from _job import begin
from snas import provenance
from snas.images.share import write_share

job = begin(snakemake)
p = snakemake.params
with provenance.measured(seed=p.seed, code=p.code) as record:
    images = snas.images.load(**p.images)
write_share(snakemake.output.share, images, p.share, p.seed, record)
