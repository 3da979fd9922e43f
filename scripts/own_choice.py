"""Write down every training of a search on own images, and choose the network."""

import json
from pathlib import Path

from _job import begin
from snas import tables, training
from snas.images.split import read_selection
from snas.search.block import SEARCH
from snas.search.own import finish, plans_below
from snas.training.paid import Paid
from snas.training.truth import facts

job = begin(snakemake)
p, i = snakemake.params, snakemake.input
images, recipe = read_selection(i.selection), training.recipe(p.recipe)
said = facts(p.space, images, recipe, base_seed=p.seed, width=p.width)
finish(
    choice=snakemake.output.choice,
    trained=snakemake.output.trained,
    candidates=i.candidates,
    runs=tables.read(i.runs, SEARCH),
    plans=plans_below(Path(i.runs).parent.parent),
    paid=Paid(p.paid, {**said, "code": p.trained}).read(),
    forecast=json.loads(Path(i.forecast).read_text(encoding="utf-8")) if i.get("forecast") else None,
    by="balanced" if recipe.balanced else "accuracy",
    codes=i.get("codes") or None,
    facts=p.facts | {"images": tables.metadata(i.selection), "weighted": recipe.balanced},
)
