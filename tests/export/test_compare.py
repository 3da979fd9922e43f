"""The comparison: everybody is trained and tested alike, seeds are kept, the summary is plain statistics."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from snas import InputError, images, tables
from snas.__main__ import main
from snas.code_hash import closure
from snas.export import compare
from snas.export.compare import COMPARED, Contest
from snas.images.split import load_parts
from snas.search import forecast, own

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


def test_trainings_are_kept_by_the_code_of_their_networks_too(monkeypatch, tmp_path):
    """An edit of a network would else be compared by trainings from before it."""
    asked = []
    monkeypatch.setattr(compare, "code_hash", lambda *modules: str(asked.extend(modules)))
    monkeypatch.setattr(compare, "train_what_is_new", lambda *_, **__: None)
    compare._trained(CONTEST, [0], images.load("digits"), 0, tmp_path)
    covered = set(closure(*asked))
    assert {"snas.training.loop", "snas.networks.nano_population", "snas.networks.native"} <= covered


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
    assert len(text.splitlines()) == 6
    near = compare.markdown(frame.assign(accuracy=np.where(frame["seed"] == 0, 0.97, 1.0)))
    assert " to 100.00)" in near, "no accuracy is above 1"
    assert "100.00 (" not in near
    said = "Means over n = 5 seeds; in brackets 95 % intervals by Student's t."
    assert text.endswith(said), "a table says what its numbers are"
    alone = compare.markdown(frame[frame["seed"] == 0])
    assert (
        f"| {100 * values['random'][0]:.2f} | {100 * (values['search'][0] - values['random'][0]):+.2f} |"
        in alone
    )
    assert alone.endswith("n = 1 seed, which has no interval.")
    assert "nan" not in alone


@pytest.fixture
def taken(monkeypatch):
    """What a comparison is made of by the command, which makes none."""
    found = {}

    def run(contest, drawn, base_seeds, out, say):
        found.update(contest=contest, images=drawn, seeds=list(base_seeds))
        return pd.DataFrame()

    monkeypatch.setattr(compare, "run", run)
    monkeypatch.setattr(compare, "markdown", lambda frame: "")
    return found


@pytest.fixture
def photos(tmp_path):
    """A folder with a folder per class; images are neither squares nor of one size."""
    draw = np.random.default_rng(0)
    for label in ("oak", "ash"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            pixels = draw.integers(256, size=(20 + i % 2, 15, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


def test_images_are_named_by_the_words_of_a_search(taken, photos):
    """A folder as it is, resized as a search would; by the name of its kind and its path it is the same."""
    assert main(["compare", "--images", str(photos), "--seeds", "2", "--width", "4", "--device", "auto"]) == 0
    first = taken["images"]
    assert (first.side, first.channels, len(first.train_labels) + len(first.test_labels)) == (12, 3, 20)
    assert (taken["contest"].width, taken["contest"].device, taken["seeds"]) == (4, "auto", [0, 1])
    assert main(["compare", "--images", "folder", "--path", str(photos)]) == 0
    assert taken["images"].digest == first.digest
    assert main(["compare", "--images", str(photos), "--side", "16", "--channels", "1"]) == 0
    assert (taken["images"].side, taken["images"].channels) == (16, 1)
    assert main(["compare"]) == 0
    assert (taken["images"].name, taken["images"].side, taken["contest"].device) == ("digits", 8, "cpu")
    table = photos.parent / "own.parquet"
    encoded = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.rglob("*.png"))]
    pd.DataFrame({"image": encoded, "label": [0, 1] * 10}).to_parquet(table)
    assert main(["compare", "--images", str(table)]) == 0
    assert (taken["images"].name, taken["images"].side) == ("parquet", 12)


def test_networks_that_do_not_fit_into_the_memory_are_refused_before_anything_is_trained(
    taken, monkeypatch, capsys
):
    monkeypatch.setattr(forecast, "memory_bytes", lambda: 1e8)
    assert main(["compare", "--width", "128"]) == 2
    assert re.fullmatch(
        r"snas: networks of width 128 take about 0\.1 GB of memory to train, the dearest 0\.2 GB, 1 at a time, and this "
        r"machine has 0\.1 GB; a smaller --width or --side would be right\n",
        capsys.readouterr().err,
    )
    assert not taken
    assert main(["compare", "--width", "8"]) == 0
    monkeypatch.setattr("snas.device.wanted", lambda name: name == "auto")
    assert main(["compare", "--width", "128", "--device", "auto"]) == 0, "a GPU has a memory of its own"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--images", "nowhere"],
            "--images nowhere: no such folder or file, and no image set of that name; known: ",
        ),
        (["--images", "{photos}", "--path", "x"], "--path goes with a named image set"),
        (["--images", "folder", "--path", "/nowhere"], "key 'images_path': /nowhere does not exist"),
        (["--images", "{few}"], "class 'a' has 1 image; at least 10 are needed"),
        (
            ["--images", "{photos}", "--train-images", "15"],
            "folder has no test part of its own, so that all of its images",
        ),
        (["--side", "4"], "key 'image_side' is 4; allowed: 8 to 128"),
        (["--channels", "5"], "key 'image_channels' is 5; allowed: at most 4"),
        (["--width", "2"], "--width 2: at least 4 is expected"),
        (["--width", "100000"], "key 'width' is 100000; allowed: at most 1024"),
        (["--recipe", "none"], "key 'truth_recipe': unknown recipe 'none'; known: "),
        (["--method", "gpp"], "unknown method 'gpp' (did you mean 'gp'?)"),
        (["--device", "cuda"], "device 'cuda' was asked for, but torch sees no GPU"),
    ],
)
def test_wrong_words_are_one_sentence_before_any_training(
    taken, photos, monkeypatch, capsys, words, sentence
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    few = photos.parent / "few"
    for label in "ab":
        (few / label).mkdir(parents=True)
        (few / label / "0.png").write_bytes((photos / "oak/0.png").read_bytes())
    assert main(["compare", *(word.format(photos=photos, few=few) for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert not taken
