"""The comparison: everybody is trained and tested alike, seeds are kept, the summary is plain statistics."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from snas import InputError, images, tables
from snas.export import compare
from snas.export.compare import COMPARED, Contest
from snas.images.split import load_parts
from snas.search import own

CONTEST = Contest("random", "3+2", "own_40", width=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    return out, compare.run(CONTEST, images.load("digits"), [0], out, lambda text: None)


def test_every_network_is_held_against_the_same_test_images(made):
    out, frame = made
    assert set(frame["network"]) == {"search", "random", "mobilenet 3", "mobilenet 1", "resnet 3", "resnet 1"}
    parts = load_parts(out / "seed_0/split.parquet")
    assert set(frame["images"]) == {len(parts.final().test_labels)}
    rows = frame.set_index("network")
    assert rows.loc[["search", "random"], "trainings"].tolist() == [5, 5]
    hand = rows.drop(["search", "random"])
    assert (hand["trainings"] == 0).all()
    assert (hand["macs"] / rows["macs"]["search"]).between(0.5, 2).all()
    assert frame["accuracy"].between(0.1, 1).all()


def test_the_winners_are_the_best_of_their_trainings(made):
    out, frame = made
    paid = pd.concat([pd.read_parquet(path) for path in (out / "seed_0/paid").glob("*/*.parquet")])
    best = frame.set_index("network")["validation"].dropna()
    assert best.max() == paid["accuracy"].max()
    assert paid["arch"].is_unique
    assert 5 <= len(paid) <= 10
    table = tables.read(out / "seed_0/candidates.parquet", own.CANDIDATES).set_index("cell")
    winner = frame.set_index("network").loc["search"]
    assert table["macs"][winner["cell"]] == winner["macs"]


def test_a_seed_that_is_there_is_not_done_again(made):
    out, frame = made
    before = (out / "seed_0.parquet").stat().st_mtime_ns
    again = compare.run(CONTEST, images.load("digits"), [0], out)
    pd.testing.assert_frame_equal(again, frame)
    assert (out / "seed_0.parquet").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="made with recipe = 'own_40', expected 'digits_truth'"):
        compare.run(Contest("random", "3+2", "digits_truth", width=2), images.load("digits"), [0], out)


def test_a_method_that_looks_at_codes_is_refused(tmp_path):
    with pytest.raises(InputError, match="estimation codes"):
        compare.run(Contest("siamese+nsam+bts", "20+2", "smoke_truth"), images.load("digits"), [0], tmp_path)


def test_a_wrong_budget_is_a_sentence_before_any_work():
    for budget in ("foo", "8", "8+2+1"):
        with pytest.raises(InputError, match=r"budget is '.*'; allowed: N\+K, as in 32\+8"):
            Contest("gp", budget, "own_40")
    with pytest.raises(InputError, match="too small"):
        Contest("siamese+nsam+bts", "3+1", "own_40")


@pytest.mark.parametrize("seeds", [range(0), range(-1), []])
def test_a_comparison_needs_a_seed(tmp_path, seeds):
    with pytest.raises(InputError, match="no seed to compare for; at least one is needed"):
        compare.run(CONTEST, images.load("digits"), seeds, tmp_path)


def test_the_summary_is_a_paired_t_interval():
    draw = np.random.default_rng(0)
    values = {"search": draw.normal(0.9, 0.02, 5), "random": draw.normal(0.88, 0.02, 5)}
    rows = [
        {
            "seed": seed, "network": name, "cell": "", "macs": 10, "params": 5, "trainings": 20.0, "validation": 0.9,
            "correct": 1, "images": 2, "accuracy": values[name][seed], "seconds": 1.0,
        }
        for seed in range(5)
        for name in values
    ]  # fmt: skip
    frame = pd.DataFrame(rows)[list(COMPARED.columns)]
    found = compare.summary(frame).set_index("network")
    row = found.loc[compare.TITLES["random"]]
    test = stats.ttest_rel(values["search"], values["random"]).confidence_interval()
    assert (row["lead_low"], row["lead_high"]) == pytest.approx((test.low, test.high))
    alone = stats.ttest_1samp(values["random"], 0).confidence_interval()
    assert (row["low"], row["mean"], row["high"]) == pytest.approx(
        (alone.low, values["random"].mean(), alone.high)
    )
    text = compare.markdown(frame)
    assert f"{100 * values['random'].mean():.2f} (" in text
    assert len(text.splitlines()) == 4
