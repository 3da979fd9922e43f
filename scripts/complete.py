"""Train the winner on everything but the test images, then say what it makes of these."""

import json
from pathlib import Path

from _job import begin
from snas import provenance, tables, training
from snas.device import torch_device
from snas.export import complete, weights
from snas.export.description import Description
from snas.images.split import load_parts

job = begin(snakemake)
p, where, out = snakemake.params, snakemake.resources, snakemake.output
choice = json.loads(Path(snakemake.input.choice).read_bytes())
images = load_parts(snakemake.input.split).final()
network = Description.of(p.space, choice["cell"], p.width, images)
recipe = training.recipe(choice["recipe"])
facts = complete.facts(network, images, recipe, base_seed=choice["seed"])
with provenance.measured(torch_device(where.device), **facts, code=p.code) as record:
    done = complete.trained_once(p.kept, network, images, recipe, code=p.code, base_seed=choice["seed"],
                                 device=where.device, compile=p.compile, progress=job.progress)  # fmt: skip
record |= {"seconds": round(done.seconds, 3), "losses": done.losses}
record["opening"] = complete.record_opening(p.openings, facts)
frame = complete.tested(done.module, images)
complete.write_wrong(out.wrong, frame, images)
tables.write(out.tested, frame, complete.TESTED, record)
weights.write_weights(out.weights, done.module, network)
network.write(out.network)
job.progress.close()
