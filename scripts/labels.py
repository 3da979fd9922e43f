"""Read the images once, and write down which they are and the labels of those to train on."""

import snas.images
from _job import begin
from snas import provenance
from snas.images.labels import write_labels

job = begin(snakemake)
p = snakemake.params
with provenance.measured(code=p.code) as record:
    images = snas.images.load(**p.images, **job.where_images)
write_labels(snakemake.output.labels, images, record)
