"""What holds for every image set of the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from snas import InputError, config, images
from snas.images import known
from snas.images.fashion_mnist import CLASSES, FILES
from snas.images.imageset import ImageSet, Options, divide, stratified, training_part
from snas.images.labels import LABELS, OF_IMAGES, check_images, write_labels
from snas.images.share import TENTH, draw_share, read_share, share_table
from snas.tables import Column, Schema, metadata, read, write
from tests.conftest import ROOT


@pytest.fixture
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Return where small files of each source lie; a source that brings its images needs none."""

    def idx(path: Path) -> None:
        for file in FILES:
            n = 40 if file.startswith("train") else 20
            content = bytes(i % len(CLASSES) for i in range(n))
            if "images" in file:
                content = np.random.default_rng(n).integers(256, size=(n, 28, 28), dtype=np.uint8).tobytes()
            sizes = (n, 28, 28) if "images" in file else (n,)
            header = bytes((0, 0, 8, len(sizes))) + b"".join(s.to_bytes(4, "big") for s in sizes)
            (path / file).write_bytes(header + content)

    def find(name: str) -> dict[str, Any]:
        if name.startswith("cifar"):
            return {"path": request.getfixturevalue("cifar_folders")(name.upper())}
        if name == "fashion_mnist":
            idx(tmp_path)
            return {"path": tmp_path}
        fixture = {"parquet": "image_parquet", "folder": "class_folders"}.get(name)
        return {"path": request.getfixturevalue(fixture)} if fixture else {}

    return find


@pytest.mark.parametrize("name", images.REGISTRY.names())
def test_contract(name: str, options: Callable[[str], dict[str, Any]]) -> None:
    where = options(name)
    made = images.load(name, **where)
    assert isinstance(made, ImageSet)
    assert made.name == name
    assert made.source
    for pixels, labels, index in (
        (made.train_images, made.train_labels, made.train_index),
        (made.test_images, made.test_labels, made.test_index),
    ):
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1:] == (made.channels, made.side, made.side)
        assert pixels.is_contiguous()
        assert int(pixels.max()) > 127  # the range of 8 bits is used
        assert labels.dtype == index.dtype == torch.int64
        assert labels.shape == index.shape == (len(pixels),)
        assert 0 <= int(labels.min()) <= int(labels.max()) < len(made.classes)
        assert len(index.unique()) == len(index)
    assert not set(made.train_index.tolist()) & set(made.test_index.tolist())
    assert set(made.train_labels.tolist()) == set(range(len(made.classes)))
    again = images.load(name, **where)
    assert made.digest == again.digest
    assert torch.equal(made.train_images, again.train_images)


def numbered(made: ImageSet) -> list[tuple[torch.Tensor, int, int]]:
    """Return (pixels, label, index in the source) of the images of both parts."""
    train = zip(made.train_images, made.train_labels.tolist(), made.train_index.tolist(), strict=True)
    return [*train, *zip(made.test_images, made.test_labels.tolist(), made.test_index.tolist(), strict=True)]


@pytest.mark.parametrize("name", images.REGISTRY.names())
def test_a_number_of_training_images_is_chosen_by_the_seed_from_all_classes(
    name: str, options: Callable[[str], dict[str, Any]]
) -> None:
    where = options(name)
    own = images.load(name, **where)
    n = len(own.classes) + 1 if len(own.train_images) > len(own.classes) + 1 else len(own.classes)
    made = [images.load(name, train_images=n, base_seed=seed, **where) for seed in (0, 0, 1)]
    assert [len(m.train_images) for m in made] == [n] * 3
    assert set(made[0].train_labels.tolist()) == set(range(len(own.classes)))
    assert torch.equal(made[0].train_index, made[1].train_index)
    assert not torch.equal(made[0].train_index, made[2].train_index)
    assert made[0].digest == made[1].digest != made[2].digest
    assert not set(made[0].train_index.tolist()) & set(made[0].test_index.tolist())
    place = {index: (image, label) for image, label, index in numbered(own)}
    for image, label, index in [*numbered(made[0]), *numbered(made[2])]:
        assert torch.equal(image, place[index][0])
        assert label == place[index][1]
    with pytest.raises(InputError, match="1000000 images to train on were asked for"):
        images.load(name, train_images=1_000_000, **where)


@pytest.mark.parametrize("name", images.REGISTRY.names())
def test_flip_can_be_said(name: str, options: Callable[[str], dict[str, Any]]) -> None:
    where = options(name)
    assert [images.load(name, flip=flip, **where).flip for flip in (True, False)] == [True, False]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"unknown image set 'digit' \(did you mean 'digits'\?\); known: digits, cifar10"
    ):
        images.load("digit")


VALUES = {"images_path": ("path", "."), "images_download": ("download", True), "image_side": ("side", 16),
          "image_channels": ("channels", 3)}  # fmt: skip


@pytest.mark.parametrize("name", known.KNOWN)
def test_what_is_known_before_an_image_is_read_is_what_the_source_says(
    name: str, options: Callable[[str], dict[str, Any]]
) -> None:
    said, where = known.KNOWN[name], options(name)
    for key, (option, value) in VALUES.items():
        if key in said.unused:
            with pytest.raises(InputError, match=f"image set {name!r} has no option {option!r}"):
                images.load(name, **where | {option: value})
        else:
            images.load(name, **{option: value} | where)
    if said.path:
        with pytest.raises(InputError, match=f"image set {name!r} needs a path"):
            images.load(name)
    if said.side:
        assert images.load(name, **where).train_images.shape[-2:] == (said.side, said.side)


def test_as_many_digits_are_known_as_there_are() -> None:
    said, made = known.KNOWN["digits"], images.load("digits")
    assert (said.images, said.classes, said.default, said.own_test) == (
        len(made.train_images) + len(made.test_images), len(made.classes), len(made.train_images), made.own_test,
    )  # fmt: skip
    assert len(images.load("digits", train_images=said.most).train_images) == said.most
    with pytest.raises(InputError, match=f"{said.classes} to {said.most} are possible"):
        images.load("digits", train_images=said.most + 1)


@pytest.mark.parametrize(
    ("values", "images_and_side"),
    [
        ({}, (400, 8)),
        ({"train_images": 500}, (500, 8)),
        ({"images": "cifar10", "train_images": 0, "images_path": "."}, (50_000, 32)),
        ({"images": "folder", "train_images": 0, "images_path": "."}, (10_000, 32)),
        ({"images": "folder", "train_images": 70, "images_path": ".", "image_side": 16}, (70, 16)),
    ],
)
def test_how_many_images_of_which_side_a_forecast_takes(values, images_and_side) -> None:
    assert known.expected(config.load(values)) == images_and_side


def striped(options: Options) -> ImageSet:
    """Return an image set as a user would add one: this function and one line in the registry."""
    labels = torch.arange(40) % 2
    pixels = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
    pixels[labels == 1, :, ::2] = 200
    return divide(options, pixels, labels, ("plain", "striped"), train_images=20, flip=True, source="a test")


def test_a_new_image_set_is_one_function_and_one_line() -> None:
    images.REGISTRY.register("striped", f"{__name__}:striped")
    try:
        made = images.load("striped")
    finally:
        images.REGISTRY.unregister("striped")
    assert (len(made.train_images), len(made.test_images), made.classes) == (20, 20, ("plain", "striped"))


def test_naming_image_sets_imports_no_torch() -> None:
    code = "import sys, snas.images as i; i.REGISTRY.check('digits'); print([m for m in ('torch', 'PIL', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- digits --------------------------------------------------------------------------------------------------------
def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    made = images.load("digits")
    assert (len(made.train_images), len(made.test_images), made.channels, made.side) == (400, 1397, 1, 8)
    assert not made.flip
    assert made.classes == tuple("0123456789")
    for pixels, labels, index in (
        (made.train_images, made.train_labels, made.train_index),
        (made.test_images, made.test_labels, made.test_index),
    ):
        np.testing.assert_array_equal(labels, bunch.target[index])
        np.testing.assert_array_equal(pixels[:, 0], np.floor(bunch.images[index] * 255 / 16))
    assert int(made.train_images.max()) == 255
    shares = torch.bincount(made.train_labels) / torch.from_numpy(np.bincount(bunch.target))
    assert float((shares - 400 / 1797).abs().max()) < 1 / 170


@pytest.mark.parametrize(
    "found",
    [None, SimpleNamespace(origin=None), SimpleNamespace(origin="/nowhere/sklearn/__init__.py")],
    ids=["nothing", "a name", "another place"],
)
def test_digits_are_the_same_where_scikit_learn_keeps_its_file_elsewhere(monkeypatch, found) -> None:
    import sklearn.datasets  # noqa: F401 - before nothing can be found any more

    made = images.load("digits")
    asked = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: asked.append(name) or found)
    again = images.load("digits")
    assert (asked, again.digest) == (["sklearn"], made.digest)


def test_digits_need_no_import_of_scikit_learn() -> None:
    code = "import sys; from snas import images; images.load('digits'); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("option", [{"path": "x"}, {"download": True}, {"side": 16}, {"channels": 3}])
def test_digits_have_no_other_options(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"'digits' has no option {next(iter(option))!r}"):
        images.load("digits", **option)


# ---- the split -----------------------------------------------------------------------------------------------------
def test_stratified_gives_each_class_its_share() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    chosen, others = stratified(labels, 3, 10, base_seed=0)
    assert torch.bincount(labels[chosen]).tolist() == [5, 3, 2]
    assert sorted([*chosen.tolist(), *others.tolist()]) == list(range(100))
    labels = torch.arange(30) % 3
    chosen, _ = stratified(labels, 3, 10, base_seed=0)
    assert torch.bincount(labels[chosen]).tolist() == [4, 3, 3], "of equal remainders the earlier class"


def test_stratified_on_any_counts() -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    @settings(deadline=None, max_examples=100)
    @given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=12), data=st.data(), rest=st.booleans())
    def check(counts: list[int], data: st.DataObject, rest: bool) -> None:
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
        n = data.draw(st.integers(len(counts), sum(counts) - len(counts) * rest))
        chosen, others = stratified(labels, len(counts), n, 0, rest=rest)
        assert len(chosen) == n
        assert sorted([*chosen.tolist(), *others.tolist()]) == list(range(len(labels)))
        got = torch.bincount(labels[chosen], minlength=len(counts))
        assert int(got.min()) >= 1
        assert not rest or len(labels[others].unique()) == len(counts)
        exact = np.array(counts) * n / sum(counts)
        inside = (exact >= 1) & (exact <= np.array(counts) - rest)
        if inside.all():  # no class had to be raised or cut
            assert np.abs(got.numpy() - exact).max() < 1

    check()


# ---- the tenth -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("images", "classes", "asked", "expected"),
    [(100, 10, 0, 80), (102, 2, 0, 82), (20, 8, 0, 12), (20, 8, 9, 9)],
)
def test_four_of_five_images_are_for_training_and_every_class_leaves_one(
    images, classes, asked, expected
) -> None:
    assert training_part(Options("toy", train_images=asked), images, classes) == expected


def test_the_tenth_is_drawn_once_per_base_seed() -> None:
    drawn = draw_share(50_000, 0.1, 0)
    assert len(drawn.unique()) == len(drawn) == 5000
    assert torch.equal(drawn, drawn.sort().values)
    assert torch.equal(drawn, images.draw_share(50_000, 0.1, 0))
    assert not torch.equal(drawn, draw_share(50_000, 0.1, 1))
    assert set(draw_share(50_000, 0.05, 0).tolist()) < set(drawn.tolist())
    assert draw_share(10, 1.0, 0).tolist() == list(range(10))
    assert [len(draw_share(10, share, 0)) for share in (0.24, 0.26)] == [2, 3], "rounded"


def test_the_tenth_is_uniform() -> None:
    counts = torch.zeros(40)
    for seed in range(2000):
        counts[draw_share(40, 0.25, seed)] += 1
    # without replacement each image is in 500 of 2,000 draws, with a standard deviation of 19
    assert float((counts - 500).abs().max()) < 4 * 19.4


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        draw_share(100, share, 0)


def test_a_share_without_an_image_is_refused() -> None:
    with pytest.raises(InputError, match="holds no image"):
        draw_share(100, 0.001, 0)


def test_the_tenth_is_written_down(tmp_path: Path) -> None:
    digits = images.load("digits")
    write_tenth(tmp_path, digits, {"recipe": "r"})
    chosen = draw_share(400, 0.25, 7)
    assert torch.equal(read_share(tmp_path / "tenth.parquet", digits), chosen)
    frame = read(tmp_path / "tenth.parquet", TENTH)
    np.testing.assert_array_equal(frame["label"], digits.train_labels[chosen])
    said = metadata(tmp_path / "tenth.parquet")
    assert (said["base_seed"], said["share"], said["recipe"]) == (7, 0.25, "r")
    assert {key: said[key] for key in OF_IMAGES} == digits.provenance(), "all that is said of the images"


def write_tenth(folder: Path, of: ImageSet, facts: dict[str, Any]) -> None:
    """Draw a quarter of the images, as the workflow does: from their labels."""
    write_labels(folder / "labels.parquet", of, {"seconds": 1.0})
    frame, said = share_table(folder / "labels.parquet", 0.25, 7)
    assert "seconds" not in said, "what making the labels took"
    write(folder / "tenth.parquet", frame, TENTH, {**said, **facts})


def test_the_labels_say_which_images_they_are_of(tmp_path: Path) -> None:
    digits, path = images.load("digits"), tmp_path / "labels.parquet"
    write_labels(path, digits, {"code": "c0de"})
    frame, said = read(path, LABELS), metadata(path)
    np.testing.assert_array_equal(frame["image"], np.arange(400))
    np.testing.assert_array_equal(frame["label"], digits.train_labels)
    assert {key: said[key] for key in digits.provenance()} == digits.provenance()
    assert said["code"] == "c0de"
    check_images(path, digits)
    with pytest.raises(
        InputError,
        match=r"labels\.parquet: it was made of other images than .*digits.* now .*; have the images as",
    ):
        check_images(path, images.load("digits", base_seed=1))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"image": [-1], "label": [0]}, "column 'image', row 0: -1 is outside"),
        ({"image": [0], "label": [-1]}, "column 'label', row 0: -1 is outside"),
        ({"image": [3, 3], "label": [0, 1]}, "row 1: image = 3 occurs twice"),
    ],
)
def test_labels_that_are_none_are_not_written(tmp_path: Path, rows: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write(tmp_path / "labels.parquet", pd.DataFrame(rows), LABELS)


def test_a_file_without_labels_or_without_a_digest_is_refused(tmp_path: Path) -> None:
    digits, path = images.load("digits"), tmp_path / "labels.parquet"
    write(path, pd.DataFrame({"image": [0], "label": [0]}), LABELS)
    with pytest.raises(InputError, match="image_digest None, now"):
        check_images(path, digits)
    write(
        path,
        pd.DataFrame({"arch": [0]}),
        Schema("others", {"arch": Column("int64", "")}),
        digits.provenance(),
    )
    with pytest.raises(InputError, match=r"labels\.parquet: column 'image' of the labels table is missing"):
        check_images(path, digits)


DRAW = """
import sys
from snas.images.share import share_table
share_table({path!r}, 0.25, 7)
print("torch" in sys.modules)
"""


def test_a_share_is_drawn_without_torch(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.parquet", images.load("digits"))
    code = DRAW.format(path=str(tmp_path / "labels.parquet"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_tenth_of_other_images_is_refused(tmp_path: Path) -> None:
    write_tenth(tmp_path, images.load("digits"), {})
    with pytest.raises(InputError, match=r"tenth\.parquet: made with image_digest"):
        read_share(tmp_path / "tenth.parquet", images.load("digits", base_seed=1))


@pytest.mark.parametrize(
    ("chosen", "labels", "sentence"),
    [
        ([], [], "column 'image' does not fit 400 training images"),
        ([0, 400], [0, 0], "column 'image' does not fit 400 training images"),
        ([0, 1], [99, 99], "column 'label', row 0: not the label of that image"),
    ],
    ids=["none", "beyond", "label"],
)
def test_a_tenth_that_does_not_fit_its_images_is_refused(
    tmp_path: Path, chosen: list[int], labels: list[int], sentence: str
) -> None:
    digits = images.load("digits")
    frame = pd.DataFrame({"image": chosen, "label": labels}, dtype="int64")
    write(tmp_path / "tenth.parquet", frame, TENTH, digits.provenance())
    with pytest.raises(InputError, match=sentence):
        read_share(tmp_path / "tenth.parquet", digits)
