"""Is the search worth it?  Its winner against hand-made networks of the same cost and against random search.

For every seed: the images are split anew, a search and a random search of the same price choose on the same validation
images, then both winners and the hand-made networks of the first winner's multiply-accumulates are trained by the same
recipe on training and validation images and held once against the test images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snas import InputError, networks, seeds, spaces, tables, training
from snas.code_hash import code_hash
from snas.device import torch_device
from snas.export.card import table
from snas.export.complete import complete_training, probabilities
from snas.export.description import Description
from snas.images.imageset import ImageSet
from snas.images.split import load_parts, write_split
from snas.networks import handmade
from snas.networks.populations import Singles
from snas.search import block, own
from snas.search.asks import ASKS
from snas.search.jobs import OwnSearch, own_search
from snas.tables import Column, Schema
from snas.training.loop import make_batches, train
from snas.training.paid import train_what_is_new
from snas.training.schemas import TRUTH

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

COMPARED = Schema(
    name="compared",
    description="Test accuracy of a search's winner, of random search's, and of hand-made networks, by seed (metadata: images, "
    "method, budget, recipe).",
    key=("seed", "network"),
    columns={
        "seed": Column("int32", "Base seed: of the split, the search, the weights and the batches", low=0),
        "network": Column("string", "search, random, or a hand-made family with its blocks a stage"),
        "cell": Column("string", "Cell, or widths of the hand-made network's stages"),
        "macs": Column("int64", "Multiply-accumulates of one image", low=1),
        "params": Column("int64", "Trainable parameters", low=1),
        "trainings": Column("float64", "Price of the choice in complete trainings; 0 where nothing was chosen", low=0),
        "validation": Column("float64", "Accuracy on the validation images that it was chosen by", null=True, low=0, high=1),
        "correct": Column("int32", "Test images that are right", low=0),
        "images": Column("int32", "Test images", low=1),
        "accuracy": Column("float64", "Share of the test images that is right", low=0, high=1),
        "seconds": Column("float64", "Processor seconds of the choice and the last training", low=0),
    },
)  # fmt: skip

BLOCKS = (3, 1)
"""Blocks a stage of the hand-made networks: as deep as the searched ones, and as shallow and wide as possible."""
SEARCH, RANDOM = "search", "random"


@dataclass(frozen=True)
class Contest:
    """What is compared: ``method`` with ``budget`` ("N+K") in ``space`` at ``width``, all trained by ``recipe``.

    Raises :class:`InputError` where the budget is wrong, or the method looks at what a comparison does not make.
    """

    method: str
    budget: str
    recipe: str
    space: str = "tiny_nanobench"
    width: int = 8
    device: str = "cpu"
    compile: bool = True

    def __post_init__(self) -> None:
        if self.search.needs_codes:
            raise InputError(
                f"method {self.method!r} looks at estimation codes, which a comparison does not make; gp and random do without"
            )

    @cached_property
    def search(self) -> OwnSearch:
        """The search that is compared."""
        return own_search(self.method, self.budget)


def compare(contest: Contest, images: ImageSet, base_seed: int, folder: str | Path) -> pd.DataFrame:
    """Return the table :data:`COMPARED` of one seed; ``folder`` keeps what is paid for, so that it can be gone on with."""
    import pandas as pd

    folder = Path(folder)
    write_split(folder, images, base_seed=base_seed)
    parts = load_parts(folder / "split.parquet")
    selection, final = parts.selection(), parts.final()
    started = time.process_time()
    searched, price = _search(contest, selection, base_seed, folder)
    rows = [_winner(contest, SEARCH, searched, price, final, base_seed, started)]
    started = time.process_time()
    drawn = _random(contest, selection, base_seed, folder, int(price))
    rows.append(_winner(contest, RANDOM, drawn, int(price), final, base_seed, started))
    for family in handmade.FAMILIES:
        for blocks in BLOCKS:
            rows.append(_handmade(contest, family, blocks, rows[0]["macs"], final, base_seed))
    return pd.DataFrame(rows).astype({"seed": "int32", "correct": "int32", "images": "int32"})


def _search(contest: Contest, images: ImageSet, base_seed: int, folder: Path) -> tuple[pd.Series, float]:
    """Search on demand, round by round; return the chosen network's row of the trainings, and the price."""
    search, bench = contest.search, _bench(contest, images, folder)
    settings = block.Settings(
        search.method, search.budget, search.top, (0,), base_seed, new_only=True, options=dict(search.options)
    )
    answers: list[Path] = []
    files: dict[str, Any] = {}
    for number in range(search.rounds):
        at = folder / search.name / f"{number:02d}"
        earlier = files.get("state_out")
        files = {"state_out": at / "state.npz", "asks_out": at / "asks.parquet"}
        if earlier:
            block.advance(bench, settings, state_in=earlier, answers=answers, **files)
        else:
            block.begin(bench, settings, **files)
        asks = tables.read(files["asks_out"], ASKS)["arch"].tolist()
        answers.append(at / "truth.parquet")
        tables.write(answers[-1], _trained(contest, asks, images, base_seed, folder), TRUTH)
    runs, _ = block.finish(bench, settings, state_in=files["state_out"], answers=answers)
    return _best([tables.read(path, TRUTH) for path in answers]), float(runs["price"].iloc[0])


def _bench(contest: Contest, images: ImageSet, folder: Path) -> Path:
    """Write the bench of a search that knows nothing yet; returns its path."""
    frame, said = own.candidates(contest.space, width=contest.width, **images.size)
    table = folder / "candidates.parquet"
    tables.write(table, frame, own.CANDIDATES, said)
    own.write_bench(
        folder / "table.parquet",
        candidates=table,
        codes=None,
        images=images.name,
        truth_recipe=contest.recipe,
        facts={},
    )
    return folder / "table.parquet"


def _random(contest: Contest, images: ImageSet, base_seed: int, folder: Path, trainings: int) -> pd.Series:
    """Train ``trainings`` networks drawn at random; return the best one's row."""
    order = seeds.numpy_generator(base_seed, "compare/random").permutation(len(spaces.load(contest.space)))
    return _best([_trained(contest, order[:trainings].tolist(), images, base_seed, folder)])


def _trained(
    contest: Contest, archs: Sequence[int], images: ImageSet, base_seed: int, folder: Path
) -> pd.DataFrame:
    code = code_hash("snas.training.truth", spaces.REGISTRY.target(contest.space))  # which names its networks
    return train_what_is_new(
        folder / "paid", contest.space, archs, images, training.recipe(contest.recipe), base_seed=base_seed,
        width=contest.width, code=code, device=contest.device, compile=contest.compile,
    )  # fmt: skip


def _best(trained: Sequence[pd.DataFrame]) -> pd.Series:
    """Return the row of the highest validation accuracy; of equal ones the first that was asked for."""
    import pandas as pd

    every = pd.concat(trained, ignore_index=True)
    return every.iloc[int(every["accuracy"].fillna(-1.0).argmax())]


def _winner(
    contest: Contest,
    name: str,
    chosen: pd.Series,
    price: float,
    images: ImageSet,
    base_seed: int,
    started: float,
) -> dict[str, Any]:
    """Train a chosen cell to the end and return its row."""
    network = Description.of(contest.space, str(chosen["cell"]), contest.width, images)
    done = complete_training(
        network, images, training.recipe(contest.recipe), base_seed=base_seed,
        device=contest.device, compile=contest.compile,
    )  # fmt: skip
    said = {
        "network": name,
        "cell": network.cell,
        "trainings": price,
        "validation": float(chosen["accuracy"]),
    }
    return _row(said, done.module, images, base_seed, started)


def _handmade(
    contest: Contest, family: str, blocks: int, macs: int, images: ImageSet, base_seed: int
) -> dict[str, Any]:
    """Train the hand-made network of this family, depth and cost and return its row."""
    recipe, started = training.recipe(contest.recipe), time.process_time()
    module = handmade.build(
        family, macs, blocks=blocks, bn_momentum=recipe.bn_momentum, base_seed=base_seed, **images.size
    )
    place = torch_device(contest.device)
    batches = make_batches(
        images.train_images, images.train_labels, recipe,
        classes=len(images.classes), flip=images.flip, base_seed=base_seed, device=place,
    )  # fmt: skip
    train(Singles([module], device=place), batches, recipe)
    widths = "-".join(map(str, module.widths))
    said = {"network": f"{family} {blocks}", "cell": widths, "trainings": 0.0, "validation": float("nan")}
    return _row(said, module.cpu().eval(), images, base_seed, started)


def _row(
    said: Mapping[str, Any], module: nn.Module, images: ImageSet, base_seed: int, started: float
) -> dict[str, Any]:
    guesses = probabilities(module, images.test_images).argmax(axis=1)
    correct = int((guesses == images.test_labels.numpy()).sum())
    return {
        "seed": base_seed,
        **said,
        "macs": networks.count_macs(module, (images.channels, images.side, images.side)),
        "params": sum(weight.numel() for weight in module.parameters()),
        "correct": correct,
        "images": len(guesses),
        "accuracy": correct / len(guesses),
        "seconds": time.process_time() - started,
    }


TITLES = {SEARCH: "the search's winner", RANDOM: "random search, as many trainings"} | {
    f"{family} {blocks}": f"{handmade.TITLES[family]}, {blocks} block{'s' * (blocks > 1)} a stage"
    for family in handmade.FAMILIES
    for blocks in BLOCKS
}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: means over the seeds, and the winner's lead with its 95 % interval (paired, Student's t)."""
    import pandas as pd

    wide = frame.pivot(index="seed", columns="network", values="accuracy")
    rows = []
    for network in [name for name in TITLES if name in wide]:
        own_rows = frame[frame["network"] == network]
        lead = (wide[SEARCH] - wide[network]).to_numpy()
        rows.append(
            {
                "network": TITLES[network],
                "macs": own_rows["macs"].mean(),
                "params": own_rows["params"].mean(),
                "trainings": own_rows["trainings"].mean(),
                **dict(zip(("mean", "low", "high"), interval(wide[network].to_numpy()), strict=True)),
                **dict(zip(("lead", "lead_low", "lead_high"), interval(lead), strict=True)),
            }
        )
    return pd.DataFrame(rows)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval by Student's t; a single value has none (NaN).

    >>> mean, low, high = interval(np.array([1.0, 2.0, 3.0]))
    >>> mean, round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    from scipy.stats import t

    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _points(value: float, low: float, high: float, sign: str = "") -> str:
    """Return a fraction in points with its interval; of one seed there is none."""
    shown = [f"{100 * number:{sign}.2f}" for number in (value, low, high)]
    return shown[0] if np.isnan(low) else f"{shown[0]} ({shown[1]} to {shown[2]})"


def markdown(frame: pd.DataFrame) -> str:
    """Return :func:`summary` as a Markdown table, accuracies in percent and leads in points, and what its brackets are."""
    rows = []
    for row in summary(frame).to_dict("records"):
        lead = _points(row["lead"], row["lead_low"], row["lead_high"], "+")
        rows.append(
            (
                row["network"],
                f"{row['macs'] / 1e6:.3f}",
                f"{row['params']:,.0f}",
                f"{row['trainings']:.0f}",
                _points(row["mean"], max(row["low"], 0.0), min(row["high"], 1.0)),  # NaN stays NaN
                "" if row["network"] == TITLES[SEARCH] else lead,
            )
        )
    head = [
        "network",
        "million MACs",
        "parameters",
        "trainings",
        "test accuracy, %",
        "the winner's lead, points",
    ]
    seeds = frame["seed"].nunique()
    said = f"Means over n = {seeds} seeds; in brackets 95 % intervals by Student's t."
    return f"{table(head, rows)}\n\n{said if seeds > 1 else 'n = 1 seed, which has no interval.'}"


def run(
    contest: Contest, images: ImageSet, base_seeds: Sequence[int], out: str | Path, say: Any = print
) -> pd.DataFrame:
    """Compare for every seed, one file each below ``out``; seeds whose file is there already are read.

    Raises :class:`snas.InputError` where there is no seed, or a file was made by another contest, on other images or by
    other code.
    """
    import pandas as pd

    if not base_seeds:
        raise InputError("no seed to compare for; at least one is needed (--seeds 1)")
    identity = {**asdict(contest), "image_digest": images.digest, "code": code_hash("snas.export.compare")}
    frames = []
    for base_seed in base_seeds:
        path = Path(out) / f"seed_{base_seed}.parquet"
        if not path.is_file():
            frame = compare(contest, images, base_seed, Path(out) / f"seed_{base_seed}")
            tables.write(path, frame, COMPARED, {**identity, **images.provenance()})
            say(
                f"seed {base_seed}: {', '.join(f'{n} {a:.4f}' for n, a in zip(frame['network'], frame['accuracy'], strict=True))}"
            )
        frames.append(tables.read(path, COMPARED, expect=identity))
    return pd.concat(frames, ignore_index=True)
