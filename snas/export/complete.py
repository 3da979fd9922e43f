"""The winner's complete training on all images but the test images, and the one look at these.

Everything that was chosen before was chosen on validation images.  Each look at the test images is written down
(:func:`record_opening`), so that a card can say how many networks have been held against them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from snas import InputError
from snas.device import torch_device
from snas.export.description import WEIGHTS, Description
from snas.export.weights import read_network, write_weights
from snas.images.augment import plain_batches
from snas.images.imageset import ImageSet
from snas.tables import Column, Schema, replacing
from snas.training import recipes
from snas.training.groups import train_together
from snas.training.recipes import Recipe

if TYPE_CHECKING:
    import pandas as pd

TESTED = Schema(
    name="tested",
    description="What the found network says of every test image; no choice hangs on it (metadata: recipe, images, seconds, "
    "`opening`: how many networks have been held against these test images, this one included).",
    key=("image",),
    columns={
        "image": Column("int64", "Index of the image in its source", low=0),
        "label": Column("int32", "Class of the image", low=0),
        "predicted": Column("int32", "Class of the largest probability", low=0),
        "probability": Column("float64", "Probability of the predicted class (softmax)", low=0, high=1),
        "probability_label": Column("float64", "Probability of the image's own class", low=0, high=1),
    },
)

PICTURES = 120
"""Most wrongly classified test images whose pixels are kept for the page: those of the largest wrong probability."""


@dataclass(frozen=True)
class Complete:
    """A completely trained network: the plain module in eval mode, its training losses by epoch, its seconds."""

    module: nn.Module
    losses: list[float]
    seconds: float


def complete_training(
    description: Description,
    images: ImageSet,
    recipe: Recipe,
    *,
    base_seed: int,
    device: str = "cpu",
    compile: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Complete:
    """Train the network of ``description`` on all training images of ``images``; the test images are not touched.

    Initial weights and batches follow ``base_seed`` as everywhere.  Raises :class:`InputError` where the training diverges.
    """
    started = time.perf_counter()

    def epoch_done(epoch: int, epochs: int) -> None:
        if progress is not None:
            progress(epoch, epochs, "epochs of the winner's complete training")

    population, history = train_together(
        description.space, [description.cell], images, recipe, base_seed=base_seed, width=description.width,
        device=torch_device(device), compile=compile, epoch_done=epoch_done,
    )  # fmt: skip
    losses = history[0].tolist()
    if not np.isfinite(losses).all():
        raise InputError(
            f"the complete training of {description.cell!r} diverged (losses {losses}); another recipe would be right"
        )
    module = population.module(0).cpu().eval()
    if not np.isfinite(probabilities(module, images.train_images[:256])).all():  # the last step is in no loss
        raise InputError(
            f"the complete training of {description.cell!r} diverged in its last step; another recipe would be right"
        )
    return Complete(module, losses, time.perf_counter() - started)


def trained_once(
    kept: str | Path,
    description: Description,
    images: ImageSet,
    recipe: Recipe,
    *,
    code: str,
    base_seed: int,
    **options: Any,
) -> Complete:
    """Return :func:`complete_training`, or what the folder ``kept`` holds of the same training by the same code.

    The same winner comes again: of a run that was killed after it, with a larger budget, within other limits.
    """
    said = facts(description, images, recipe, base_seed=base_seed)
    folder = Path(kept) / _hash({**said, "code": code})
    try:
        losses, seconds = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
        print(f"this network has been trained before, {seconds:.0f} s: it is taken from {folder}", flush=True)
        return Complete(read_network(folder, description), losses, seconds)
    except FileNotFoundError:
        pass
    except (InputError, TypeError, ValueError, OSError) as error:
        print(f"{folder}: what is kept of this training is of no use, it is done again ({error})", flush=True)
    done = complete_training(description, images, recipe, base_seed=base_seed, **options)
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, done.module, description)
    with replacing(folder / "losses.json") as temporary:  # last: it says that the weights are whole
        temporary.write_text(json.dumps([done.losses, done.seconds]), encoding="utf-8")
    return done


def _hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@torch.no_grad()
def probabilities(
    module: nn.Module, images: UInt8[Tensor, "images channels side side"], *, batch: int = 256
) -> Float[np.ndarray, "images classes"]:
    """Return the softmax of the module's logits for plain images, in order."""
    logits = torch.cat([module(part) for part in plain_batches(images, batch)])
    return np.asarray(torch.softmax(logits.double(), dim=1))


def tested(module: nn.Module, images: ImageSet) -> pd.DataFrame:
    """Return what ``module`` says of every test image, with the schema :data:`TESTED`."""
    import pandas as pd

    shares = probabilities(module, images.test_images)
    rows, labels = np.arange(len(shares)), images.test_labels.numpy()
    predicted = shares.argmax(axis=1)
    return pd.DataFrame(
        {
            "image": images.test_index.numpy(),
            "label": labels.astype(np.int32),
            "predicted": predicted.astype(np.int32),
            "probability": shares[rows, predicted].clip(0, 1),
            "probability_label": shares[rows, labels].clip(0, 1),
        }
    )


def write_wrong(path: str | Path, frame: pd.DataFrame, images: ImageSet) -> None:
    """Write the pixels of wrongly classified test images (``image``, ``pixels``), the surest errors first."""
    wrong = np.flatnonzero((frame["label"] != frame["predicted"]).to_numpy())
    order = wrong[np.argsort(-frame["probability"].to_numpy()[wrong], kind="stable")][:PICTURES]
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            image=frame["image"].to_numpy()[order],
            pixels=images.test_images[torch.from_numpy(order)].numpy(),
        )


def facts(description: Description, images: ImageSet, recipe: Recipe, *, base_seed: int) -> dict[str, Any]:
    """Return what says how the network was trained and on which images, for the metadata of what is said of it."""
    made = recipes.facts(
        description.space, recipe, **images.facts(), base_seed=base_seed, width=description.width
    )
    return {**made, "cell": description.cell}


def record_opening(path: str | Path, facts: Mapping[str, Any]) -> int:
    """Write down that the test images are looked at, and return how many different networks have been by now.

    ``facts`` say which network on which images; the same network again (a file was lost, a page made anew) counts once.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    entry = {"network": _hash(facts), "when": time.strftime("%Y-%m-%d %H:%M:%S"), **facts}
    lines.append(json.dumps(entry, ensure_ascii=False, default=str))
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    same = [json.loads(line) for line in lines]
    return len({e["network"] for e in same if e.get("image_digest") == facts.get("image_digest")})
