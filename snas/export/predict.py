"""Labels of image files by the network in ``results/<run>/best``: ``snas predict best/ image.png others/``.

ONNX Runtime runs it where that is installed, torch otherwise; the two give the same up to rounding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from snas import InputError
from snas.export import description as described

RUNTIMES = ("auto", "onnxruntime", "torch")


class Predictor:
    """The network of a folder, ready for image files; ``runtime`` is one of :data:`RUNTIMES`.

    Raises :class:`InputError` where the folder is not what a search leaves, or the runtime is not installed.
    """

    def __init__(self, folder: str | Path, *, runtime: str = "auto") -> None:
        if runtime not in RUNTIMES:
            raise InputError(f"unknown runtime {runtime!r}; known: {', '.join(RUNTIMES)}")
        self.description = described.read(folder)
        installed = importlib.util.find_spec("onnxruntime") is not None
        if runtime == "onnxruntime" and not installed:
            raise InputError("the runtime 'onnxruntime' is not installed; --runtime torch does without it")
        self.runtime = (
            "onnxruntime" if runtime == "onnxruntime" or (runtime == "auto" and installed) else "torch"
        )
        self._network = self._load(folder)

    def _load(self, folder: str | Path) -> Any:
        if self.runtime == "onnxruntime":
            from snas.export.onnx_file import session

            return session(folder)
        from snas.export.weights import read_network

        return read_network(folder, self.description)

    def read(self, file: str | Path) -> UInt8[np.ndarray, "channels side side"]:
        """Return the pixels of an image file as the network takes them; raises :class:`InputError` for a bad one."""
        from snas.images.decode import decode

        path = Path(file)
        if not path.is_file():
            raise InputError(
                f"{file}: no such file; an image (PNG, JPEG, ...) or a folder of them is expected"
            )
        pixels = decode(path, str(file), side=self.description.side, channels=self.description.channels)
        return pixels.transpose(2, 0, 1)

    def probabilities(
        self, images: UInt8[np.ndarray, "batch channels side side"]
    ) -> Float[np.ndarray, "batch classes"]:
        """Return the probability of each class: the softmax of the network's logits, not calibrated."""
        scaled = images.astype(np.float32) / 255
        logits = self._logits(np.ascontiguousarray(scaled)).astype(np.float64)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        if self.runtime == "onnxruntime":
            (found,) = self._network.run([described.OUTPUT], {described.INPUT: images})
            return np.asarray(found)
        import torch

        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(images)))

    def __call__(self, file: str | Path, *, top: int = 1) -> list[tuple[str, float]]:
        """Return the ``top`` most probable labels of an image file with their probabilities, best first."""
        shares = self.probabilities(self.read(file)[None])[0]
        best = np.argsort(-shares, kind="stable")[:top]
        return [(self.description.labels[i], float(shares[i])) for i in best]


def predict(
    folder: str | Path, files: Sequence[str | Path], *, top: int = 1, runtime: str = "auto"
) -> Iterator[tuple[str, bool]]:
    """Yield (line, ``True``) per image file, and (sentence, ``False``) per file that is none: a bad one leaves the others alone.

    A line is the file, then label and probability ``top`` times, with tabs between.  Of ``files``, a folder stands for the
    images in it (:func:`images_in`).  Raises :class:`InputError` for a ``folder`` that is not what a search leaves.
    """
    if top < 1:
        raise InputError(f"--top is {top}; at least 1 is expected")
    predictor = Predictor(folder, runtime=runtime)
    for given in files:
        try:
            every = images_in(given) if Path(given).is_dir() else [given]
        except InputError as error:
            yield str(error), False
            continue
        for file in every:
            try:
                found = predictor(file, top=top)
            except InputError as error:
                yield str(error), False
                continue
            yield (
                "\t".join([_printable(str(file)), *(f"{label}\t{share:.4f}" for label, share in found)]),
                True,
            )


def _printable(name: str) -> str:
    """Return a name with tabs, ends of lines and what else would break a table or a terminal written out, as ``\\t``."""
    return name if name.isprintable() else repr(name)[1:-1]


def images_in(folder: str | Path) -> list[Path]:
    """Return the image files in ``folder`` and in the folders below it, as those of classes are, sorted by path.

    They are known by their names; hidden ones and what systems leave are passed over, as in training.  Raises
    :class:`InputError` where there is none, or a folder cannot be read.
    """
    from snas.images.folder import SUFFIXES, image_files

    def unreadable(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}); a readable folder is expected"
        )

    found = image_files(Path(folder), onerror=unreadable)
    if not found:
        raise InputError(f"{folder}: no image in this folder; files named {', '.join(SUFFIXES)} are expected")
    return found
