"""The benches of NAS-Bench-201: proxies, tables, the selection accuracy of the fair protocol, the other benchmark's name."""

import numpy as np
import pytest

from snas import InputError, spaces, tables
from snas.analysis.correlations import scatter
from snas.analysis.inputs import Bench as AnalysedBench
from snas.proxies import REGISTRY
from snas.proxies.scores import PROXIES
from snas.search.bench import BENCH, Bench
from snas.search.benches import make_imported
from snas.search.block import Settings, run_block
from snas.spaces import accuracies
from snas.spaces.space import ARCHITECTURES
from snas.training.schemas import CODES
from tests.spaces.nasbench201_sources import cells

ARCHS = np.arange(15_625)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The spaces' tables and, as an import leaves it, a made-up CIFAR-10 table with values per seed."""
    folder = tmp_path_factory.mktemp("imported")
    for name in ("nasbench201", "tiny_nasbench201"):
        tables.write(folder / f"{name}.parquet", spaces.load(name).table(), ARCHITECTURES)
    import pandas as pd

    rng = np.random.default_rng(0)
    seeds = np.clip(0.8 + 0.02 * rng.standard_normal((len(ARCHS), 3)), 0, 1)
    seeds[accuracies.cut_off()] = 0.1
    frame = pd.DataFrame(
        {"arch": ARCHS, "cell": cells(), "dataset": "cifar10", "accuracy": seeds.mean(axis=1)}
    )
    for place, seed in enumerate(accuracies.SEEDS):
        frame[f"accuracy_{seed}"] = seeds[:, place]
    frame["accuracy_12"] = frame["accuracy"] * 0.9
    for place in (1, 2, 3):
        frame[f"code_{place}"] = (2.0 - seeds[:, 0] / place).astype(np.float32)
    said = {"title": "made up", "code_source": "losses", "code_price": 0.015, "kind": "table"}
    whole = accuracies.complete(frame.copy(), "made up")
    whole = pd.concat([whole, whole.assign(dataset="imagenet16-120")], ignore_index=True)
    tables.write(folder / "accuracies.parquet", whole, accuracies.ACCURACIES, said)
    no_seeds = whole.assign(**{f"accuracy_{seed}": np.nan for seed in accuracies.SEEDS})
    tables.write(
        folder / "means.parquet", no_seeds, accuracies.ACCURACIES, said | {"kind": "analog_nasbench"}
    )
    scores = pd.DataFrame(
        {"arch": ARCHS, "cell": cells(), "proxy": "synflow", "score": 10.0**20, "seconds": 0.1}
    )
    scores["log10"], scores["status"] = ARCHS / 1000.0, "ok"
    scores.loc[accuracies.cut_off(), "log10"] = np.nan
    tables.write(folder / "synflow.parquet", scores, PROXIES)
    return folder


@pytest.fixture
def made(files, tmp_path):
    def make(source="accuracies", space="nasbench201", **options):
        settings = {"table": "mean", "base_seed": 0, "facts": {}, "dataset": "cifar10", **options}
        make_imported(
            tmp_path / "bench.parquet", architectures=files / f"{space}.parquet",
            imported=files / f"{source}.parquet", space=space, **settings,
        )  # fmt: skip
        return tables.read(tmp_path / "bench.parquet", BENCH), tables.metadata(tmp_path / "bench.parquet")

    return make


def test_the_title_names_the_table_and_the_codes_their_source(made):
    _, said = made()
    assert (said["label"], said["code_source"], said["code_price"]) == ("mean over seeds", "losses", 0.015)
    assert made(table="one_seed")[1]["label"] == "one seed"
    assert made()[1]["published"] is True


def test_another_benchmark_keeps_its_name_and_is_not_compared(made):
    _, said = made("means")
    assert (said["label"], said["published"]) == ("analog-nasbench", False)


def test_the_fair_protocol_selects_on_few_epochs_or_on_one_seed(made, files):
    few, said = made()
    assert (few["accuracy_select"] - 0.9 * few["accuracy"]).abs().max() < 1e-12
    assert said["select_price"] == 0.06
    one, said = made(select="one_seed")
    drawn, _ = accuracies.read_accuracies(files / "accuracies.parquet", "cifar10", "one_seed", 0)
    assert one["accuracy_select"].tolist() == drawn["accuracy"].tolist()
    assert one["accuracy"].tolist() == few["accuracy"].tolist(), "the mean is reported"
    assert (said["select_price"], said["select_source"]) == (1.0, "one recorded seed")
    with pytest.raises(InputError, match="use nasbench201_table = mean"):
        made(table="one_seed", select="one_seed")
    with pytest.raises(InputError, match="needs an accuracy per seed"):
        made("means", select="one_seed")


@pytest.mark.parametrize("space", ["nasbench201", "tiny_nasbench201"])
def test_synflow_of_the_whole_space_serves_as_score_and_as_code(made, files, space):
    frame, said = made(space=space, proxies=[files / "synflow.parquet"], code="synflow")
    place = {cell: arch for arch, cell in enumerate(cells())}
    wanted = frame["cell"].map(place).to_numpy() / 1000.0
    wanted[accuracies.cut_off()[frame["cell"].map(place)]] = np.nan
    np.testing.assert_array_equal(frame["log10_synflow"], wanted)
    for place in (1, 2, 3):
        np.testing.assert_array_equal(frame[f"code_{place}"], wanted.astype(np.float32))
    assert (said["code_source"], said["code_price"]) == ("synflow of the untrained network, three times", 0.0)
    plotted = scatter(AnalysedBench("bench", frame, said))
    assert plotted["code"].isna().all(), "synflow is no loss"
    assert plotted["log10_synflow"].notna().sum() == np.isfinite(wanted).sum()


def test_of_two_proxies_each_has_its_column_and_the_one_that_is_named_is_the_code(made, files):
    other = tables.read(files / "synflow.parquet", PROXIES).assign(proxy="another")
    other["log10"] = 7.0
    tables.write(files / "another.parquet", other, PROXIES)
    paths = [files / "synflow.parquet", files / "another.parquet"]
    REGISTRY.register("another", "nowhere:another")
    try:
        frame, said = made(proxies=paths, code="another")
    finally:
        REGISTRY.unregister("another")
    assert (frame["log10_another"] == 7).all()
    assert frame["log10_synflow"].nunique() > 1
    assert (frame[["code_1", "code_2", "code_3"]] == 7).all().all()
    assert said["code_source"] == "another of the untrained network, three times"


@pytest.mark.parametrize(
    ("images", "prices"),
    [(50_000, (0.015, 0.015, 0.015 * 50_000 / 151_700)), (25_000, (0.015, 0.0075, 0.015 * 25_000 / 151_700)), (None, (0.015,) * 3)],
)  # fmt: skip
def test_a_code_of_cifar10_costs_less_of_a_longer_training(images, prices):
    said = {"code_price": 0.015, "code_training_images": images}
    assert [accuracies.code_price(said, name) for name in accuracies.DATASETS] == pytest.approx(prices)
    if images == 50_000:
        del said["code_training_images"]  # as tables of earlier versions
        assert [accuracies.code_price(said, name) for name in accuracies.DATASETS] == pytest.approx(prices)
    assert accuracies.code_price({"code_price": None}, "imagenet16-120") == 0


def test_recorded_codes_are_priced_by_the_data_set(made):
    said = made(dataset="imagenet16-120")[1]
    assert said["code_price"] == pytest.approx(0.015 * 50_000 / 151_700)
    assert said["chance"] == 1 / 120


def test_trained_codes_are_found_by_cell_and_priced_in_trainings_of_200_epochs(made, tmp_path):
    import pandas as pd

    codes = pd.DataFrame({"arch": ARCHS, "cell": cells(), "status": "ok", "seconds": 60.0})
    for place in (1, 2, 3):
        codes[f"loss_{place}"] = (ARCHS / place).astype(np.float32)
    codes.loc[7, ["loss_1", "loss_2", "loss_3", "status"]] = [None, None, None, "diverged"]
    said = {"code_images": 5_000, "train_images": 50_000, "images": "cifar10", "recipe": "paper_code"}
    tables.write(tmp_path / "codes.parquet", codes, CODES, said)
    frame, facts = made(space="tiny_nasbench201", code="trained", codes=tmp_path / "codes.parquet")
    assert facts["code_price"] == pytest.approx(0.0015), (
        "docs/definitions.md, section 2: 0.15 % of 200 epochs"
    )
    assert facts["code_source"] == "trained on 5,000 images of cifar10, recipe paper_code"
    assert facts["code_kind"] == "losses"
    place = frame["cell"].map({cell: arch for arch, cell in enumerate(cells())}).to_numpy()
    assert frame["code_2"].isna().tolist() == (place == 7).tolist()
    assert (frame["code_2"] == (place / 2).astype(np.float32))[place != 7].all()
    assert (frame["code_seconds"] == 60).all()
    fewer = {**said, "train_images": 10_000}
    tables.write(tmp_path / "fewer.parquet", codes, CODES, fewer)
    _, facts = made(space="tiny_nasbench201", code="trained", codes=tmp_path / "fewer.parquet")
    assert facts["code_price"] == pytest.approx(0.0015), "the benchmark's trainings cost what they cost"
    _, facts = made(dataset="imagenet16-120", code="trained", codes=tmp_path / "codes.parquet")
    assert facts["code_price"] == pytest.approx(0.0015 * 50_000 / 151_700), (
        "a training takes so many more images there"
    )
    with pytest.raises(InputError, match="trained codes are asked for, but there is no table of them"):
        made(code="trained")
    tables.write(tmp_path / "codes.parquet", codes.drop(index=5), CODES, said)
    with pytest.raises(InputError, match=r"no code of cell .*; all 15,625 are needed"):
        made(code="trained", codes=tmp_path / "codes.parquet")


def test_the_fair_protocol_may_select_on_the_validation_accuracy(made, files, tmp_path):
    with pytest.raises(InputError, match="it has no validation accuracies of cifar10"):
        made(select="validation")
    known = tables.read(files / "accuracies.parquet", accuracies.ACCURACIES).assign(validation=0.25)
    said = tables.metadata(files / "accuracies.parquet")
    tables.write(
        files / "validated.parquet", known, accuracies.ACCURACIES, {k: said[k] for k in ("title", "kind")}
    )
    frame, facts = made("validated", select="validation")
    assert (frame["accuracy_select"] == 0.25).all()
    assert (facts["select_price"], facts["select_source"]) == (1.0, "validation accuracy after 200 epochs")


def test_without_scores_synflow_is_no_code(made):
    with pytest.raises(InputError, match="synflow is to be the code, but there is no table of its scores"):
        made(code="synflow")


def test_one_seed_and_the_fair_protocol_are_searched(made, tmp_path):
    made(table="one_seed")
    bench = Bench.read(tmp_path / "bench.parquet")
    plain = run_block(bench.path, Settings("random", 10, 5, (0,)))
    fair = run_block(bench.path, Settings("random@labels=select", 10, 5, (0,)))
    assert plain["pool"][0].tolist() == fair["pool"][0].tolist()
