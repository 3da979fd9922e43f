"""The bench of what a run has trained: prices, and refusals of tables that are not of one run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from snas import InputError, spaces, tables, training
from snas.images.labels import LABELS
from snas.proxies.scores import PROXIES
from snas.search import bench, benches
from snas.spaces.space import ARCHITECTURES
from snas.training.schemas import CODES, TRUTH

SPACE = "tiny_nanobench"
ARCHS = list(range(0, 40, 5))
PASSES = 3 * 4_992
SAID = {"space": SPACE, "images": "cifar10", "width": 32, "seed": 0, "train_images": 50_000, "classes": 10}
DRAWN = {"image_set": "cifar10", "image_digest": "0" * 64, "train_images": 50_000, "classes": 10}
CODED = {**SAID, "recipe": "paper_code", "code_images": 5_000}


@pytest.fixture
def made(tmp_path):
    """Return a function that writes the bench; what is given is said by the table of codes or of accuracies."""
    space = spaces.load(SPACE)
    tables.write_parts(tmp_path / "space.parquet", space.table_parts(np.array(ARCHS)), ARCHITECTURES)
    cells = [space.cell(arch).name for arch in ARCHS]
    rows = {"arch": np.array(ARCHS, np.int32), "cell": cells, "status": "ok", "seconds": 1.0}
    codes = pd.DataFrame(rows | {f"loss_{epoch}": np.float32(1 / epoch) for epoch in (1, 2, 3)})
    part = {"accuracy": 0.5, "balanced": 0.5, "correct": np.int32(5), "images": np.int32(10)}
    truth = pd.DataFrame({**rows, **part, "losses": [[1.0]] * len(ARCHS)})

    tables.write(tmp_path / "labels.parquet", pd.DataFrame({"image": [0], "label": [1]}), LABELS, DRAWN)
    scores = pd.DataFrame(rows | {"proxy": "synflow", "score": 10 ** np.arange(8.0), "log10": np.arange(8.0)})
    tables.write(tmp_path / "synflow.parquet", scores[list(PROXIES.columns)], PROXIES)

    def make(recipe, *, coded=None, trained=None, code="trained", known=True):
        by_proxy = code != "trained"
        tables.write(tmp_path / "codes.parquet", codes[list(CODES.columns)], CODES, CODED | (coded or {}))
        said = SAID | {"recipe": "paper_truth"} | (trained or {})
        tables.write(tmp_path / "truth.parquet", truth[list(TRUTH.columns)], TRUTH, said)
        benches.make_trained(
            tmp_path / "table.parquet", architectures=tmp_path / "space.parquet", labels=tmp_path / "labels.parquet",
            codes=None if by_proxy else tmp_path / "codes.parquet",
            proxies=[tmp_path / "synflow.parquet"] if by_proxy else [],
            truth=tmp_path / "truth.parquet" if known else None, truth_recipe=recipe, code=code,
            space=SPACE, width=0, base_seed=0, facts={},
        )  # fmt: skip
        return bench.Bench.read(tmp_path / "table.parquet")

    return make


@pytest.mark.parametrize("known", [True, False])
def test_a_code_costs_its_image_passes_over_those_of_the_complete_training(made, known):
    assert made("paper_truth", known=known).code_price == pytest.approx(0.003, rel=1e-3)


def test_codes_are_priced_anew_for_another_complete_training(made):
    """The codes themselves hang on no recipe of complete trainings, so another one trains none of them again."""
    found = made("own_320", trained={"recipe": "own_320"})
    assert found.code_price == PASSES / training.recipe("own_320").passes(50_000)
    assert ", recipe own_320, width 32" in found.metadata["truth_source"]


@pytest.mark.parametrize("known", [True, False])
def test_a_proxy_in_the_place_of_the_code_needs_no_trained_codes(made, known):
    trained, found = made("paper_truth", known=known), made("paper_truth", known=known, code="synflow")
    assert found.code_price == 0
    assert np.array_equal(found.codes, np.repeat(np.arange(8.0)[:, None], 3, axis=1))
    said = ("code_source", "code_price", "code_kind")
    assert found.metadata["code_source"] == "synflow of the untrained network, three times"
    assert found.metadata["code_kind"] == "proxy"
    assert {k: v for k, v in found.metadata.items() if k not in said and k != "created"} == {
        k: v for k, v in trained.metadata.items() if k not in said and k != "created"
    }


def test_accuracies_of_another_configuration_are_refused_beside_a_proxy_too(made):
    with pytest.raises(
        InputError, match=r"truth.parquet: trained with seed = 1, and .*labels.parquet is for 0;"
    ):
        made("paper_truth", trained={"seed": 1}, code="synflow")


@pytest.mark.parametrize("code", ["trained", "synflow"])
def test_accuracies_on_images_that_have_changed_since_are_refused(made, code):
    """A folder has the same name with more images in it; another number of classes would make chance another one."""
    with pytest.raises(InputError, match=r"truth.parquet: trained with image_digest = '1111"):
        made(
            "paper_truth",
            coded={"image_digest": "0" * 64},
            trained={"image_digest": "1" * 64, "classes": 11},
            code=code,
        )


@pytest.mark.parametrize(
    ("coded", "trained", "sentence"),
    [
        ({"width": 16}, {}, "with width = 32, and .*codes.parquet is for 16"),
        ({"seed": 1}, {}, "with seed = 0, and .*codes.parquet is for 1"),
        ({"images": "digits"}, {}, "with images = 'cifar10', and .*codes.parquet is for 'digits'"),
        ({}, {"recipe": "digits_truth"}, "by the recipe 'digits_truth', and 'paper_truth' is asked for"),
    ],
)
def test_tables_of_two_configurations_are_refused(made, coded, trained, sentence):
    with pytest.raises(InputError, match=f"truth.parquet: trained {sentence}.*remove it and start again"):
        made("paper_truth", coded=coded, trained=trained)
