"""``best/page.html``: the search and what it found on one self-contained page."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import snas
from snas import spaces
from snas.export import card, pictures
from snas.export.description import FILE, ONNX, WEIGHTS
from snas.export.found import Found
from snas.figures.drawing import Drawing, save
from snas.figures.style import styled
from snas.images import split
from snas.tables import read, replacing

TEMPLATE = "page.html.jinja"
HEADINGS = {
    "costs": "Accuracy and cost",
    "rounds": "The rounds",
    "predicted": "Predicted and true",
    "confusion": "Confusion matrix",
}
"""Headings of the figures in the order of the page."""
NARROW = ("predicted", "confusion")
ROWS = 200
"""Most rows of a figure's numbers on the page; its CSV has all."""


@dataclass(frozen=True)
class Shown:
    """A figure of the page."""

    name: str
    heading: str
    image: str
    facts: list[str]
    columns: list[tuple[str, bool]]
    """Their names, and whether they hold numbers, which stand at the right."""
    rows: list[list[str]]
    csv: str
    narrow: bool


@dataclass(frozen=True)
class Wrong:
    """A test image that is classified wrongly, with what it is and what it was called."""

    index: int
    name: str
    uri: str
    label: str
    called: str
    share: float


def write_best(
    found: Found,
    best: str | Path,
    figures: str | Path,
    *,
    made: str | Path,
    wrong: str | Path,
    names: str | Path,
    run: str,
) -> None:
    """Write the network of the folder ``made``, its card and the page into ``best``, every figure into the folder ``figures``.

    All at once: until then ``best`` is what the last search has found.  ``wrong`` are the pixels of wrongly classified
    images (:func:`snas.export.complete.write_wrong`), ``names`` the split that names the images.
    """
    best, figures = Path(best), Path(figures)
    for name in (FILE, WEIGHTS, ONNX):
        with replacing(best / name) as temporary:
            shutil.copyfile(Path(made) / name, temporary)
    with styled():
        drawings = {name: draw(found) for name, draw in pictures.DRAWN.items()}
        for name, drawing in drawings.items():
            save(drawing, figures / name)
    for name in ("cell", "confusion"):
        with replacing(best / f"{name}.png") as temporary:
            temporary.write_bytes((figures / f"{name}.png").read_bytes())
    card.write_card(best / "README.md", found)
    with replacing(best / "page.html") as temporary:
        temporary.write_text(
            _page(found, drawings, figures, _wrong(found, wrong, names), run=run), encoding="utf-8"
        )


def _page(
    found: Found, drawings: Mapping[str, Drawing], figures: Path, wrong: list[Wrong], *, run: str
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent / "figures"]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    )  # fmt: skip
    plain = lambda rows: [(what, value.replace("**", "")) for what, value in rows]
    return environment.get_template(TEMPLATE).render(
        title=f"{card.source(found)} · {found.title}",
        source=card.source(found),
        name=found.title,
        run=run,
        version=snas.__version__,
        classes=len(found.description.labels),
        space=spaces.load(found.description.space).title,
        accuracy=found.accuracy,
        cell=_uri((figures / "cell.svg").read_bytes(), "image/svg+xml"),
        summary=plain(card.summary(found)),
        parts=card.parts(found),
        story=plain(card.story(found)),
        figures=[_shown(name, drawings[name], figures) for name in HEADINGS],
        wrong=wrong,
        count=found.accuracy.images - found.accuracy.correct,
    )


def _shown(name: str, drawing: Drawing, figures: Path) -> Shown:
    data = drawing.data.head(ROWS)
    return Shown(
        name=name,
        heading=HEADINGS[name],
        image=_uri((figures / f"{name}.svg").read_bytes(), "image/svg+xml"),
        facts=drawing.facts,
        columns=[(str(name), kind.kind in "iuf") for name, kind in data.dtypes.items()],
        rows=[["" if pd.isna(v) else f"{v:.6g}" if isinstance(v, float) else str(v) for v in row] for row in data.to_numpy(dtype=object).tolist()],
        csv=_uri((figures / f"{name}.csv").read_bytes(), "text/csv"),
        narrow=name in NARROW,
    )  # fmt: skip


def _wrong(found: Found, pixels: str | Path, names: str | Path) -> list[Wrong]:
    """Return the pictured errors in their order: the surest first."""
    with np.load(pixels) as stored:
        images, index = stored["pixels"], stored["image"]
    rows = found.tested.set_index("image")
    name_of = read(names, split.SPLIT).set_index("image")["name"]
    labels = found.description.labels
    return [
        Wrong(
            int(i), str(name_of[i]), _uri(png(image), "image/png"), labels[rows["label"][i]],
            labels[rows["predicted"][i]], float(rows["probability"][i]),
        )
        for i, image in zip(index.tolist(), images, strict=True)
    ]  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    """Return an image (channels, side, side) of 1 to 4 channels of 8 bits as a PNG file."""
    from PIL import Image

    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG")
    return file.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
