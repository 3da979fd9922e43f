"""``network.json``: everything but the weights that is needed to rebuild a found network and to apply it to image files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snas import InputError
from snas.tables import replacing

if TYPE_CHECKING:
    from torch import nn

    from snas.images.imageset import ImageSet

FILE, WEIGHTS, ONNX = "network.json", "weights.safetensors", "model.onnx"
"""Names of the files in ``best/``."""
INPUT, OUTPUT = "images", "logits"
"""Names of the ONNX network's input, float32 (batch, channels, side, side), and output, float32 (batch, classes)."""
OPSET = 17
"""Version of the ONNX operators (ONNX 1.12 of 2022, ONNX Runtime 1.12)."""
FORMAT = 1

STEPS: Mapping[str, str] = {
    "orientation": "as the EXIF entry says",
    "transparency": "laid over white (1 and 3 channels)",
    "crop": "the middle square",
    "resize": "Pillow, Resampling.BILINEAR (antialiased)",
    "scaling": "value / 255",
    "layout": "float32 (batch, channels, side, side)",
}
"""What happens to an image file before the network sees it, the same in training and afterwards (snas.images.decode)."""


@dataclass(frozen=True)
class Description:
    """A network (space, cell, width), the images that it takes (channels, side in pixels) and its labels in order."""

    space: str
    cell: str
    width: int
    channels: int
    side: int
    labels: tuple[str, ...]

    @classmethod
    def of(cls, space: str, cell: str, width: int, images: ImageSet) -> Description:
        """Return the description of a cell for these images; ``width`` 0 is the space's own."""
        from snas import spaces

        return cls(
            space,
            cell,
            width or spaces.load(space).default_width,
            images.channels,
            images.side,
            images.classes,
        )

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape of an image: (channels, side, side)."""
        return self.channels, self.side, self.side

    def build(self) -> nn.Module:
        """Return the network with its initial weights; raises :class:`InputError` for an unknown space or cell."""
        from snas import networks

        return networks.build(
            self.space, self.cell, width=self.width,
            channels=self.channels, side=self.side, classes=len(self.labels),
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``network.json``."""
        return {
            "format": FORMAT,
            "network": {"space": self.space, "cell": self.cell, "width": self.width},
            "labels": list(self.labels),
            "preprocessing": {"channels": self.channels, "side": self.side, **STEPS},
            "weights": WEIGHTS,
            "onnx": {"file": ONNX, "opset": OPSET, "input": INPUT, "output": OUTPUT},
        }

    def write(self, path: str | Path) -> None:
        """Write ``network.json``."""
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )


def read(folder: str | Path) -> Description:
    """Return what ``network.json`` in ``folder`` says.

    Raises :class:`InputError`, one sentence, where the file is missing, no such JSON, or of another version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; the folder results/<run>/best of a search is expected")
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
        raise InputError(f"{path}: key 'format' is not {FORMAT}; it was not made by this version's search")
    network, steps = (_part(path, loaded, key, dict) for key in ("network", "preprocessing"))
    labels = _part(path, loaded, "labels", list)
    if len(labels) < 2 or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: key 'labels' is not a list of at least two names")
    for key, value in STEPS.items():
        if steps.get(key) != value:
            raise InputError(
                f"{path}: key 'preprocessing.{key}' is {steps.get(key)!r}; this version does {value!r}"
            )
    numbers = {"channels": (steps, 1, 4), "side": (steps, 4, 4096), "width": (network, 1, 4096)}
    return Description(
        space=_part(path, network, "space", str),
        cell=_part(path, network, "cell", str),
        labels=tuple(labels),
        **{key: _number(path, part, key, low, high) for key, (part, low, high) in numbers.items()},
    )


def _part(path: Path, mapping: Mapping[str, Any], key: str, kind: type) -> Any:
    value = mapping.get(key)
    if not isinstance(value, kind):
        raise InputError(f"{path}: key {key!r} is {value!r}; a {kind.__name__} is expected")
    return value


def _number(path: Path, mapping: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = mapping.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{path}: key {key!r} is {value!r}; a whole number from {low} to {high} is expected")
    return value
