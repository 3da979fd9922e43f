"""Train, validation and test part: every class in its share, copies together, the test part out of a search's reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import fill, image_table, pixels, png

from snas import InputError, images, tables
from snas.images.imageset import ImageSet
from snas.images.split import (
    LEAST,
    PARTS,
    PIXELS,
    SPLIT,
    copies_in_words,
    draw_split,
    load_parts,
    split_facts,
    write_split,
)


def image_set(
    labels: list[int], contents: list[int] | None = None, tests: int = 0, classes: int = 0
) -> ImageSet:
    """Return 8×8 images whose pixels say which of ``contents`` they are; the last ``tests`` are the source's own test."""
    contents = list(range(len(labels))) if contents is None else contents
    every = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    every[:, 0, 0, 0] = torch.tensor([c % 256 for c in contents])
    every[:, 0, 0, 1] = torch.tensor([c // 256 for c in contents])
    numbers = torch.tensor(labels)
    cut = len(labels) - (tests or len(labels) // 2)
    return ImageSet(
        "toy", every[:cut], numbers[:cut], every[cut:], numbers[cut:],
        tuple(f"c{k}" for k in range(classes or max(labels) + 1)), False,
        torch.arange(cut), torch.arange(cut, len(labels)), own_test=tests > 0,
    )  # fmt: skip


@pytest.mark.parametrize("shares", [(0.06, 0.47, 0.47), (0.06, 0.9, 0.04), (0.06, 0.04, 0.9)])
@pytest.mark.parametrize("tests", [0, 8])
def test_every_class_has_images_in_every_part_whatever_the_shares(shares, tests) -> None:
    made = image_set([*range(3)] * LEAST + [0] * tests, tests=tests)
    frame = draw_split(made, base_seed=0, shares=shares)
    parts = PARTS[:2] if tests else PARTS
    counts = frame[frame["image"] < 3 * LEAST].groupby(["label", "part"]).size()
    assert all(counts.get((label, part), 0) > 0 for label in range(3) for part in parts)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(LEAST, 60), min_size=2, max_size=5),
    copies=st.integers(0, 8),
    seed=st.integers(0, 3),
)
def test_parts_of_a_split(sizes: list[int], copies: int, seed: int) -> None:
    """Every image once; each class in its share; copies together, whatever their labels; the same for the same seed."""
    draw = np.random.default_rng(seed)
    labels = [k for k, size in enumerate(sizes) for _ in range(size)]
    labels = list(draw.permutation(labels))
    contents = list(range(len(labels)))
    twins = draw.integers(len(labels), size=copies)
    made = image_set(
        [*labels, *(draw.integers(len(sizes), size=copies).tolist())], [*contents, *twins.tolist()]
    )
    frame = draw_split(made, base_seed=seed)
    assert frame["image"].tolist() == list(range(len(labels) + copies))
    assert set(frame["part"]) == set(PARTS)
    assert (frame.groupby("hash")["part"].nunique() == 1).all()
    counts = frame.groupby(["label", "part"]).size().unstack(fill_value=0)
    for label, row in counts.iterrows():
        total = row.sum()
        for part in ("validation", "test"):
            assert abs(row[part] - 0.2 * total) <= 1 + copies, (label, part)
            assert copies or row[part] == max(round(0.2 * total), 1)
    assert draw_split(made, base_seed=seed).equals(frame)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("distinct", "copies"), [(LEAST, 200), (LEAST, 3), (30, 200), (30, 2)])
def test_a_much_copied_image_takes_no_places_from_the_others(distinct: int, copies: int, seed: int) -> None:
    """Copies count once, and a placeholder that would be most of a part is trained on."""
    contents = [*range(40 + distinct), *[0] * copies]
    labels = [1] * (distinct - 1) + [0] * 40 + [1] * (1 + copies)
    frame = draw_split(image_set(labels, contents), base_seed=seed)
    assert frame[frame["label"] == 0]["part"].value_counts().to_dict() == {
        "train": 24,
        "validation": 8,
        "test": 8,
    }
    others = frame[frame["label"] == 1]
    found = others.drop_duplicates("hash")["part"].value_counts().to_dict()
    assert found == {"train": distinct * 3 // 5, "validation": distinct // 5, "test": distinct // 5}
    if copies > distinct:
        assert set(frame[frame["hash"] == frame["hash"][0]]["part"]) == {"train"}


def test_an_image_that_stands_twice_is_drawn_as_the_others_are() -> None:
    contents = [*range(60), *range(10)]
    made = image_set([k % 2 for k in contents], contents)
    parts = [draw_split(made, base_seed=seed)["part"][:10] for seed in range(4)]
    counts = pd.concat(parts).value_counts()
    assert set(counts.index) == set(PARTS)
    assert 14 <= counts["train"] <= 34, "24 of 40 are expected"


@pytest.mark.parametrize("seed", range(3))
def test_images_of_two_classes_go_where_the_first_class_sends_them(seed: int) -> None:
    made = image_set([0] * 30 + [1] * 40, [*range(60), *range(10)])
    frame = draw_split(made, base_seed=seed)
    first = frame[frame["label"] == 0]["part"].value_counts().to_dict()
    assert first == {"train": 18, "validation": 6, "test": 6}, "as if nothing stood elsewhere"
    second = frame[frame["label"] == 1]["part"].value_counts().to_dict()
    assert second == {"train": 24, "validation": 8, "test": 8}, "what came from the first is in its share"


def test_where_every_image_stands_often_every_part_has_some() -> None:
    contents = [k % 30 for k in range(120)]
    frame = draw_split(image_set([k % 3 for k in contents], contents), base_seed=0)
    counts = frame.groupby(["label", "part"]).size()
    assert counts.unstack().to_dict("list") == {"test": [8] * 3, "train": [24] * 3, "validation": [8] * 3}


def test_of_many_images_no_more_than_enough_are_to_choose_by(monkeypatch) -> None:
    """Every class in its share of them; what is not needed is trained on."""
    monkeypatch.setattr("snas.images.split.MOST_VALIDATION", 12)
    frame = draw_split(image_set([k % 3 // 2 for k in range(90)]), base_seed=0)
    counts = frame.groupby(["label", "part"]).size().unstack()
    assert counts.to_dict("list") == {"test": [12, 6], "train": [40, 20], "validation": [8, 4]}


def test_another_seed_is_another_split() -> None:
    made = image_set([k % 3 for k in range(90)])
    assert not draw_split(made, base_seed=0).equals(draw_split(made, base_seed=1))


def test_the_sources_own_test_part_stays_and_takes_copies_with_it() -> None:
    contents = [*range(80), *range(80, 100), 7, 100]  # a test image is a copy of training image 7
    made = image_set([k % 2 for k in range(102)], contents, tests=22)
    frame = draw_split(made, base_seed=0)
    assert set(frame["part"][80:]) == {"test"}
    assert frame["part"][7] == "test"
    assert (frame["part"][:80] == "test").sum() == 1
    assert (frame["part"] == "validation").sum() == 20  # a quarter of what is left


@pytest.mark.parametrize("copies", [0, 6])
def test_too_few_images_of_a_class_are_refused(copies: int) -> None:
    """Copies do not count: nine distinct images and six copies of one are nine."""
    labels = [1] * (LEAST - 1 + copies) + [0] * 30
    contents = [*range(LEAST - 1), *[0] * copies, *range(100, 130)]
    with pytest.raises(InputError, match=r"class 'c1' has 9 distinct images; at least 10 are needed"):
        draw_split(image_set(labels, contents), base_seed=0)


def test_images_of_the_sources_own_test_part_do_not_count_as_images_of_a_class() -> None:
    labels = [0] * 30 + [1] * (LEAST - 1) + [0, 1] * 20
    with pytest.raises(
        InputError, match="class 'c1' has 9 distinct images beside the test part; at least 10 are needed"
    ):
        draw_split(image_set(labels, tests=40), base_seed=0)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2, 0.0), (0.6, 0.3, 0.3)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="three above 0 that add up to 1"):
        draw_split(image_set([k % 2 for k in range(40)]), base_seed=0, shares=shares)


def test_copies_are_said_with_their_labels() -> None:
    labels, contents = [0] * 15 + [1] * 20 + [0] * 5, list(range(40))
    assert copies_in_words(draw_split(image_set(labels, contents), base_seed=0), "ab") == []
    contents[1] = 0  # a copy in the class
    contents[25] = 5  # one in the other class
    made = image_set(labels, contents)
    facts = split_facts(draw_split(made, base_seed=0), made, base_seed=0, shares=(0.6, 0.2, 0.2))
    assert (facts["copies"], facts["contrary_copies"]) == (2, 1)
    said = copies_in_words(draw_split(made, base_seed=0), ["ash", "birch"])
    assert said[0].startswith("2 images are exact copies of 2 others")
    assert said[1:] == ["equal images with different labels: image 5 (ash) and image 25 (birch)"]
    contents[25] = 25
    said = copies_in_words(draw_split(image_set(labels, contents), base_seed=0), ["ash", "birch"])
    assert said == [
        "1 image is an exact copy of another; copies stand in one part, so that none is trained on and tested on"
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "leaves", n=12)
    return tmp_path / "leaves"


def test_pixels_come_back_as_they_were_and_parts_are_disjoint(folder: Path, tmp_path: Path) -> None:
    made = images.load("folder", path=folder, least=LEAST)
    frame = write_split(tmp_path / "out", made, base_seed=0)
    assert frame["name"][0] == "birch/0.png"
    parts = load_parts(tmp_path / "out/split.parquet")
    assert parts.table.equals(frame)
    chosen, final = parts.selection(), parts.final()
    order = torch.cat([made.train_index, made.test_index]).argsort()
    every = torch.cat([made.train_images, made.test_images])[order]
    for one, train, test in ((chosen, ["train"], ["validation"]), (final, ["train", "validation"], ["test"])):
        for index, pixel, labels, names in (
            (one.train_index, one.train_images, one.train_labels, train),
            (one.test_index, one.test_images, one.test_labels, test),
        ):
            rows = frame[frame["part"].isin(names)]
            assert index.tolist() == rows["image"].tolist()
            assert labels.tolist() == rows["label"].tolist()
            assert torch.equal(pixel, every[index])
        assert one.classes == made.classes
        assert one.flip == made.flip
    assert set(chosen.train_index.tolist() + chosen.test_index.tolist()).isdisjoint(final.test_index.tolist())


def test_a_selection_holds_no_test_image_and_needs_none(folder: Path, tmp_path: Path) -> None:
    """What a search reads stands alone: without the folder and without the held-out file it is the same."""
    frame = write_split(tmp_path / "out", images.load("folder", path=folder), base_seed=0)
    before = load_parts(tmp_path / "out/split.parquet").selection()
    tests = frame[frame["part"] == "test"]
    held = {png_pixels(folder / name) for name in tests["name"]}
    stored = tables.read(tmp_path / "out/selection.parquet", PIXELS)
    assert len(held) == len(tests)
    assert held.isdisjoint(stored["pixels"])
    (tmp_path / "out/held_out.parquet").unlink()
    for name in frame["name"]:
        (folder / name).write_bytes(b"no image")
    assert load_parts(tmp_path / "out/split.parquet").selection().digest == before.digest
    with pytest.raises(InputError, match="held_out"):
        load_parts(tmp_path / "out/split.parquet").final()


def png_pixels(path: Path) -> bytes:
    from snas.images.decode import decode

    return decode(path, str(path), side=None, channels=None).transpose(2, 0, 1).tobytes()


def test_files_of_two_splits_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    made = images.load("folder", path=folder)
    for seed in (0, 1):
        write_split(tmp_path / str(seed), made, base_seed=seed)
    (tmp_path / "0/held_out.parquet").write_bytes((tmp_path / "1/held_out.parquet").read_bytes())
    with pytest.raises(InputError, match="made with digest"):
        load_parts(tmp_path / "0/split.parquet").final()
    (tmp_path / "0/selection.parquet").write_bytes((tmp_path / "1/held_out.parquet").read_bytes())
    with pytest.raises(InputError, match="it is not a selection"):
        load_parts(tmp_path / "0/split.parquet").selection()


def test_large_images_need_a_side(tmp_path: Path) -> None:
    fill(tmp_path / "photos", n=10, side=160)
    with pytest.raises(InputError, match="160 pixels wide; a search takes 8 to 128"):
        write_split(tmp_path, images.load("folder", path=tmp_path / "photos"), base_seed=0)
    fill(tmp_path / "smaller", n=10, side=128)
    write_split(tmp_path, images.load("folder", path=tmp_path / "smaller"), base_seed=0)
    assert load_parts(tmp_path / "split.parquet").selection().side == 128


@pytest.mark.parametrize(("classes", "where"), [(("a", "b"), "class 'b' has 1 image")])
def test_a_class_with_one_image_is_refused_for_its_number(
    tmp_path: Path, classes: tuple[str, ...], where: str
) -> None:
    fill(tmp_path / "x", classes, n=12)
    for path in sorted((tmp_path / "x/b").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match=f"{where}; at least 10 are needed"):
        images.load("folder", path=tmp_path / "x", least=LEAST)


def test_rows_of_a_table_have_names(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(image_table(30, classes=2), tmp_path / "own.parquet")
    frame = write_split(tmp_path / "out", images.load("parquet", path=tmp_path / "own.parquet"), base_seed=0)
    assert frame["name"][3] == "own.parquet, row 3 (c1/3.png)"
    assert tables.read(tmp_path / "out/split.parquet", SPLIT)["part"].value_counts()["train"] == 18


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_one_to_four_channels(tmp_path: Path, channels: int) -> None:
    for name in "ab":
        (tmp_path / "x" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "x" / name / f"{i}.png").write_bytes(png(pixels(i + 50 * ord(name), channels=4)))
    made = images.load("folder", path=tmp_path / "x", channels=channels)
    write_split(tmp_path / "out", made, base_seed=0)
    again = load_parts(tmp_path / "out/split.parquet")
    assert again.selection().channels == again.final().channels == channels


def test_the_digits_are_split_by_class() -> None:
    frame = draw_split(images.load("digits"), base_seed=0)
    counts = frame.groupby("part").size()
    assert counts.to_dict() == {"train": 1079, "validation": 359, "test": 359}
    shares = frame.groupby("label")["part"].value_counts(normalize=True).unstack()
    assert (shares["test"] - 0.2).abs().max() < 0.005
