"""The model card of a found network: ``best/README.md``, from what was measured and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from snas import spaces
from snas.export.description import INPUT, ONNX, OPSET, OUTPUT, WEIGHTS
from snas.export.found import Found
from snas.export.measures import LEVEL
from snas.figures.style import DATASETS, dataset_title, method_title
from snas.images.split import PARTS
from snas.progress import clock
from snas.tables import replacing
from snas.words import counted

WIDEST = 20
"""Most classes whose confusion matrix is a table of the card; with more, the most frequent errors are listed."""
ERRORS = 15


def write_card(path: str | Path, found: Found) -> None:
    """Write the card; ``cell.png`` and ``confusion.png`` are expected beside it."""
    parts = [_head(found), _numbers(found), _use(found), _search(found), _confusion(found), _limits(found)]
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def summary(found: Found) -> list[tuple[str, str]]:
    """Return what is to be said first of a network: (what, value)."""
    measured, (macs, params), time = found.accuracy, found.costs, found.latency
    return [
        ("accuracy on the test images", f"**{measured.value:.4f}** ({measured.correct} of {measured.images})"),
        (f"{100 * LEVEL:.0f} % confidence interval (Wilson)", f"{measured.low:.4f} to {measured.high:.4f}"),
        ("balanced accuracy (mean over the classes)", f"{measured.balanced:.4f}"),
        ("multiply-accumulates of one image", f"{macs:,}"),
        ("trainable parameters", f"{params:,}"),
        ("time for one image (batch 1)", f"{time.median_ms:.2f} ms (quartiles {time.low_ms:.2f} to {time.high_ms:.2f})"),
        ("measured with", f"{time.runtime}, {counted(time.threads, 'thread')} of {time.processor}, {time.runs} images one by one"),
    ]  # fmt: skip


def story(found: Found) -> list[tuple[str, str]]:
    """Return how the network was found: (what, value)."""
    choice, end = found.choice, found.random_search().iloc[-1]
    rho, n = found.belief
    measure = "balanced accuracy" if found.by == "balanced" else "accuracy"
    rows = [
        ("method", method_title(str(choice["method"]))),
        ("search space", f"{spaces.load(found.description.space).title}, width {found.description.width}"),
        ("budget", f"N + K = {choice['budget']} + {choice['top']}"),
        ("paid", f"{counted(len(found.trained), 'complete training')}, {counted(found.codes, 'estimation code')}{_looked_at(found)}"),
        ("recipe of a complete training", str(choice["recipe"])),
        ("base seed", str(choice["seed"])),
        ("chosen by", f"{measure} on the validation images: {choice[found.by]:.4f} (the best of all, so optimistic)"),
        (f"random search with {int(end['trainings'])} trainings", f"{end['start']:.4f} if its draws are like the start, {end['all']:.4f} if like all trained (expectations, not a run)"),
        ("predicted and true accuracy", f"Spearman {rho:.2f}, n = {n}{_of_all(found)}" if np.isfinite(rho) else f"not defined, n = {n}"),
        ("last training", f"{found.facts['train_images']} images (training and validation), {found.facts['seconds']:.0f} s"),
        ("networks held against the test images", f"{found.facts['opening']}"),
    ]  # fmt: skip
    return [*rows[:3], *_limits_said(found), rows[3], *_plans(found), *rows[4:], *_time(found)]


def _plans(found: Found) -> list[tuple[str, str]]:
    """Return who asked for the trainings, where more than one budget or method did: the lines above are of the last one."""
    asked = found.trained["plan"].value_counts(sort=False)
    if len(asked) < 2:
        return []
    won = found.trained[found.trained["cell"] == found.title].iloc[0]
    return [
        ("asked for by", "; ".join(f"{plan} ({counted(n, 'training')})" for plan, n in asked.items())),
        ("this network was asked for by", str(won["plan"])),
    ]


def _of_all(found: Found) -> str:
    """Return that predictions are of more than one budget or method, where they are."""
    plans = found.known.dropna(subset=["predicted"])["plan"].nunique()
    return f" (predictions of {plans} budgets or methods)" if plans > 1 else ""


def _looked_at(found: Found) -> str:
    """Return of how many codes the search has looked at, where more were trained."""
    looked_at = int(found.choice.get("codes", 0))
    return (
        f" (one of each candidate; the search has looked at {looked_at:,})" if looked_at < found.codes else ""
    )


def _time(found: Found) -> list[tuple[str, str]]:
    """Return what all trainings took, and what was forecast where ``snas search`` has done so.

    The trainings are added up: a clock on the wall would count the nights between two starts.
    """
    trainings = float(found.trained["seconds"].sum()) + float(found.facts["seconds"])
    rows = [
        ("time of all trainings", f"{clock(trainings)}, added up over the jobs, the last training included")
    ]
    if found.codes and (codes := float(found.choice["measured"].get("code_seconds", 0))):
        rows.append(("time of the estimation codes", f"{clock(codes)}, added up over the jobs"))
    if said := found.choice.get("forecast"):
        rows.append(
            (
                "forecast of the last snas search",
                f"{clock(said['seconds'])} from start to end for what was left then, {counted(said['speed']['jobs'], 'job')} at a time",
            )
        )
    return rows


def _limits_said(found: Found) -> list[tuple[str, str]]:
    limits = dict(found.choice.get("limits") or {})
    asked = [f"{key} {limits[key]:,}" for key in ("max_macs", "max_params") if limits.get(key)]
    within = f"{limits['within']:,} of {limits['of']:,} networks" if "within" in limits else ""
    return [("limits", ": ".join(filter(None, [", ".join(asked), within])))] if asked else []


def parts(found: Found) -> str:
    """Return how many images of each part there are, how they were drawn, and how many are copies of others."""
    facts = found.split
    sizes = [int(facts[f"{name}_images"]) for name in PARTS]
    said = ", ".join(f"{size:,} {name}" for size, name in zip(sizes, PARTS, strict=True))
    drawn = (
        "the test images are the source's own test part"
        if facts["own_test"]
        else "drawn in proportion to the classes"
    )
    copies = int(facts["copies"])
    kept = f"{copies} of them are exact copies of others, and copies stand in one part" if copies else "no image is an exact copy of another"  # fmt: skip
    return f"{sum(sizes):,} images: {said}; {drawn}; {kept}."


def source(found: Found) -> str:
    """Return the name of the images; of a path on this machine the last part, as a card goes out into the world."""
    name, path = str(found.split["image_set"]), str(found.split["image_source"])
    if name in DATASETS:
        return dataset_title(name)
    return Path(path).name if Path(path).is_absolute() else path or name


def errors(found: Found) -> list[tuple[str, str, int]]:
    """Return (class, called, images) of wrong answers, the most frequent first."""
    labels, matrix = found.description.labels, found.matrix
    wrong = [(int(matrix[a, b]), int(a), int(b)) for a, b in np.argwhere(matrix > 0) if a != b]
    return [(labels[a], labels[b], n) for n, a, b in sorted(wrong, key=lambda e: (-e[0], e[1], e[2]))]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; bars in cells are escaped.

    >>> print(table(["a", "b"], [(1, "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    first, *others = ("| " + " | ".join(row) + " |" for row in cells)
    return "\n".join([first, "|" + "---|" * len(head), *others])


def _head(found: Found) -> str:
    labels = found.description.labels
    named = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
    return (
        f"# {source(found)}: the network `{found.title}`\n\n"
        f"A convolutional network that says which of {len(labels)} classes an image is of ({named}), found by architecture\n"
        "search among the cells of a small space. The numbers of the next table were measured on this network.\n\n"
        f"![The cell]({'cell.png'})"
    )


def _numbers(found: Found) -> str:
    return table(["", ""], summary(found)) + (
        f"\n\n{parts(found)} Everything was chosen on the validation images; the test images took no part in any choice."
    )


def _use(found: Found) -> str:
    d = found.description
    return f"""## How to use it

`snas predict . image.png` prints label and probability of image files. Files: `{ONNX}` (ONNX, operators of version {OPSET}; input
`{INPUT}`, float32, batch × {d.channels} × {d.side} × {d.side}; output `{OUTPUT}`, batch × {len(d.labels)}; the batch is free), `{WEIGHTS}` (the torch
module's weights), `network.json` (labels, and what happens to an image file before the network sees it). `page.html` shows the search.

Without snas, with NumPy, Pillow and ONNX Runtime alone (files of 8 bits without transparency):

```python
{snippet(found)}
```"""


def snippet(found: Found) -> str:
    """Return a program of a few lines that applies the ONNX file to the file ``image.png``; a test runs it."""
    d = found.description
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[d.channels]
    return f"""import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}")
edge = min(image.size)
left, top = (image.width - edge) // 2, (image.height - edge) // 2
image = image.crop((left, top, left + edge, top + edge)).resize(({d.side}, {d.side}), Image.Resampling.BILINEAR)
pixels = np.asarray(image, dtype=np.float32).reshape(1, {d.side}, {d.side}, {d.channels}).transpose(0, 3, 1, 2) / 255
(logits,) = onnxruntime.InferenceSession("{ONNX}").run(None, {{"{INPUT}": pixels}})
shares = np.exp(logits[0] - logits[0].max())
print(json.load(open("network.json", encoding="utf-8"))["labels"][shares.argmax()], shares.max() / shares.sum())"""


def _search(found: Found) -> str:
    return "## How it was found\n\n" + table(["", ""], story(found))


def _confusion(found: Found) -> str:
    from snas.export.pictures import numbered

    labels = found.description.labels
    text = "\n\n".join(
        ["## What it takes for what", "![Confusion matrix](confusion.png)", *numbered(labels), ""]
    )
    if len(labels) <= WIDEST:
        rows = [(label, *row) for label, row in zip(labels, found.matrix.tolist(), strict=True)]
        return text + "Rows are classes, columns what they were called:\n\n" + table(["", *labels], rows)
    listed = errors(found)
    return (
        text
        + f"The {min(ERRORS, len(listed))} most frequent of {len(listed)} kinds of error:\n\n"
        + table(["class", "called", "images"], listed[:ERRORS])
    )


def _limits(found: Found) -> str:
    return (
        "## What the numbers do not say\n\n"
        "The interval is about the draw of the test images; another training of the same network with another seed varies as well. The test images come from the same\n"
        "source as all others: images of another camera, place or time may be harder. Probabilities are the softmax of the network and were not calibrated. The time is of this machine."
    )
