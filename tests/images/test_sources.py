"""Each source: what it reads, and one sentence for each thing that it does not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import SHARED, fill, image_table, pixels, png
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from snas import InputError, images
from snas.images.cifar import _load
from snas.images.decode import decode, decode_all
from snas.images.fashion_mnist import DEBIAN, read_idx
from snas.images.imageset import ImageSet
from snas.images.parquet import _File


def refused(name: str, words: str, **options: Any) -> None:
    """Assert that loading is refused in one sentence with these words (a regular expression)."""
    with pytest.raises(InputError) as error:
        images.load(name, **options)
    assert "\n" not in str(error.value)
    assert re.search(words, str(error.value)), str(error.value)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what the call returns, or the sentence it is refused with."""
    try:
        return call()
    except InputError as error:
        return str(error)


def one_sentence(text: object) -> bool:
    return isinstance(text, str) and "\n" not in text


# ---- decoding ------------------------------------------------------------------------------------------------------
def read(raw: bytes, side: int | None = None, channels: int | None = None) -> np.ndarray:
    return decode(raw, "a.png", side=side, channels=channels)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_rgb_and_grey_keep_their_pixels() -> None:
    rgb, grey = pixels(0), pixels(0, channels=1)
    np.testing.assert_array_equal(read(png(rgb)), rgb)
    np.testing.assert_array_equal(read(png(grey)), grey[:, :, None])
    np.testing.assert_array_equal(read(png(rgb, "BMP")), rgb)


def test_transparency_is_laid_over_white_or_kept() -> None:
    rgba = np.full((8, 8, 4), 100, dtype=np.uint8)
    rgba[:, :4, 3], rgba[:, 4:, 3] = 0, 255
    over = read(png(rgba))
    assert over.shape == (8, 8, 3)
    assert (over[:, :4] == 255).all()
    assert (over[:, 4:] == 100).all()
    np.testing.assert_array_equal(read(png(rgba), channels=4), rgba)
    np.testing.assert_array_equal(read(png(rgba), channels=2), rgba[:, :, 2:])
    palette = Image.fromarray(pixels(1)).quantize(4)
    palette.info["transparency"] = 0
    raw = saved(palette, transparency=0)
    assert (read(raw)[np.asarray(palette) == 0] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_every_mode_becomes_every_number_of_channels(mode: str, channels: int | None) -> None:
    grey = Image.fromarray(np.full((8, 8), 255, dtype=np.uint8))
    image = Image.fromarray(np.full((8, 8), 65535, dtype=np.uint16)) if mode == "I;16" else grey.convert(mode)
    got = read(saved(image, "TIFF" if mode == "CMYK" else "PNG"), channels=channels)
    assert got.shape == (8, 8, channels or (1 if mode in ("1", "L", "LA", "I;16") else 3))
    assert (got == 255).all()  # white stays white


def test_16_bits_become_8() -> None:
    deep = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    np.testing.assert_array_equal(
        read(saved(Image.fromarray(deep)))[:, :, 0], np.round(deep / 257).astype(np.uint8)
    )


def test_32_bit_pixels_are_refused() -> None:
    raw = saved(Image.fromarray(np.zeros((8, 8), dtype=np.float32)), "TIFF")
    with pytest.raises(InputError, match="32-bit pixels"):
        read(raw)


def test_photos_are_turned_as_they_say() -> None:
    image = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[:, None] * 30, 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    np.testing.assert_array_equal(read(saved(image, exif=exif)), np.rot90(np.asarray(image), -1)[:, :, None])


@pytest.mark.parametrize("place", ["behind the pixels", "as text", "in XMP"])
def test_photos_are_turned_wherever_they_say_so(place: str) -> None:
    image = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[:, None] * 30, 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    if place == "behind the pixels":
        raw = saved(image, exif=exif)
        start = raw.index(b"eXIf") - 4
        stop = start + 12 + int.from_bytes(raw[start : start + 4], "big")
        end = raw.index(b"IEND") - 4
        raw = raw[:start] + raw[stop:end] + raw[start:stop] + raw[end:]
    elif place == "as text":  # as ImageMagick writes it
        text = PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n")
        raw = saved(image, pnginfo=text)
    else:
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
        raw = saved(image, pnginfo=text)
    np.testing.assert_array_equal(read(raw), np.rot90(np.asarray(image), -1)[:, :, None])


def test_resizing_takes_the_middle_square_with_pillows_antialiased_bilinear_filter() -> None:
    wide = pixels(3, side=40, height=20)
    expected = Image.fromarray(wide[:, 10:30]).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read(png(wide), side=8), np.asarray(expected))
    checked = np.indices((64, 64)).sum(0) % 2 * 255  # without antialiasing: black, white or stripes
    assert np.ptp(read(png(checked.astype(np.uint8)), side=8)) < 40


def bomb(width: int, height: int, kind: bytes = b"\x08\x00") -> bytes:
    """Return a PNG of a few bytes that announces so many pixels."""
    chunk = lambda name, data: (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    )
    header = struct.pack(">II", width, height) + kind + bytes(3)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(8193, 8192), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_absurd_sizes_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            InputError, match=r"a\.png: the file announces .* pixels; at most 67108864 are decoded"
        ):
            read(bomb(*size), side=8)


def test_broken_and_foreign_files_are_refused() -> None:
    whole = png(pixels(0, side=32))
    for raw in (
        whole[:100],
        b"",
        b"GIF89a",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        b"<svg/>",
        bomb(64, 64),
    ):
        with pytest.raises(InputError, match=r"a\.png: not a readable image"):
            read(raw)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_damage_gives_an_image_or_a_sentence(data: st.DataObject, kind: str) -> None:
    raw = bytearray(png(pixels(0, side=16), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = outcome(lambda: read(bytes(raw), side=8).shape)
    assert got in ((8, 8, 1), (8, 8, 3)) or one_sentence(got)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_many_images_keep_their_order(threads: int | None) -> None:
    all_pixels = [pixels(k) for k in range(100)]
    got = decode_all(((f"{k}", png(p)) for k, p in enumerate(all_pixels)), 100, threads=threads)
    np.testing.assert_array_equal(got, np.stack(all_pixels).transpose(0, 3, 1, 2))


def test_grey_images_become_rgb_when_a_coloured_one_comes() -> None:
    grey, other, rgb = pixels(0, channels=1), pixels(2, channels=1), pixels(1)
    for order in ([grey, rgb, other], [rgb, grey, other], [grey, other, rgb]):
        got = decode_all(((str(k), png(p)) for k, p in enumerate(order)), 3).numpy()
        for k, p in enumerate(order):
            np.testing.assert_array_equal(
                got[k], np.broadcast_to(p[:, :, None] if p.ndim == 2 else p, (8, 8, 3)).transpose(2, 0, 1)
            )


def test_the_first_bad_image_is_named_whatever_the_threads() -> None:
    items = [(f"image {k}", b"" if k in (20, 70) else png(pixels(k))) for k in range(90)]
    with pytest.raises(InputError, match=r"^image 20: not a readable image"):
        decode_all(iter(items), 90, threads=4)


def test_too_much_for_the_memory_is_refused_before_it_is_taken() -> None:
    with pytest.raises(InputError, match=r"5000000 images of 3×256×256 take 916 GiB; at most 8"):
        decode_all([("a", png(pixels(0, side=256)))], 5_000_000)


# ---- folder --------------------------------------------------------------------------------------------------------
def test_folder_without_parts_is_split_by_the_seed(class_folders: Path) -> None:
    made = images.load("folder", path=class_folders)
    assert (made.classes, made.channels, made.side, made.flip) == (("birch", "elm", "oak"), 3, 8, True)
    assert (len(made.train_images), len(made.test_images)) == (12, 3)
    assert not made.own_test
    assert torch.bincount(made.test_labels).tolist() == [1, 1, 1]
    for part, index, labels in (
        (made.train_images, made.train_index, made.train_labels),
        (made.test_images, made.test_index, made.test_labels),
    ):
        for image, k, label in zip(part, index.tolist(), labels.tolist(), strict=True):
            assert label == k // 5
            np.testing.assert_array_equal(image, pixels(100 * (k // 5) + k % 5).transpose(2, 0, 1))


def test_folder_with_train_and_test_keeps_them(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=4)
    fill(tmp_path / "test", n=2, channels=1)  # grey beside coloured ones
    made = images.load("folder", path=tmp_path)
    assert made.train_images.shape == (12, 3, 8, 8)
    assert made.test_images.shape == (6, 3, 8, 8)
    assert made.train_labels.tolist() == [label for label in range(3) for _ in range(4)]
    assert made.own_test
    assert [made.names[made.train_index[k]] for k in (0, 11)] == ["train/birch/0.png", "train/oak/3.png"]
    assert [made.names[made.test_index[k]] for k in (0, 5)] == ["test/birch/0.png", "test/oak/1.png"]
    np.testing.assert_array_equal(made.test_images[5, 2], pixels(201, channels=1))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, ("bus", "train"))
    assert images.load("folder", path=tmp_path).classes == ("bus", "train")


def test_parts_without_classes_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path, ("test", "train"))
    refused(
        "folder", "train and test hold images and no class folders; each of them needs one", path=tmp_path
    )


def test_what_systems_leave_in_folders_is_ignored(class_folders: Path) -> None:
    before = images.load("folder", path=class_folders)
    (class_folders / ".DS_Store").write_bytes(b"x")
    (class_folders / "README.txt").write_text("photos of leaves")
    (class_folders / "elm" / ".DS_Store").write_bytes(b"x")
    (class_folders / "elm" / "._0.png").write_bytes(b"x")
    (class_folders / "elm" / "Thumbs.db").write_bytes(b"x")
    (class_folders / "elm" / "desktop.ini").write_text("x")
    (class_folders / ".git").mkdir()
    (class_folders / "__MACOSX").mkdir()
    (class_folders / "elm" / ".cache").mkdir()
    assert images.load("folder", path=class_folders).digest == before.digest


@pytest.mark.parametrize("name", ["Ahorn-Blätter", "叶 子", "-rf", "$(touch x)", "it's", '"'])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, (name, "oak"))
    assert images.load("folder", path=tmp_path / name).classes == tuple(sorted((name, "oak")))


def test_mixed_sizes_and_modes_with_a_side(class_folders: Path) -> None:
    (class_folders / "elm" / "wide.PNG").write_bytes(png(pixels(1, side=50, height=30)))
    (class_folders / "elm" / "grey.jpeg").write_bytes(png(pixels(1, side=20, channels=1), "JPEG"))
    (class_folders / "oak" / "cmyk.jpg").write_bytes(saved(Image.new("CMYK", (12, 12)), "JPEG"))
    made = images.load("folder", path=class_folders, side=16)
    assert (made.channels, made.side, len(made.train_images) + len(made.test_images)) == (3, 16, 18)
    assert images.load("folder", path=class_folders, side=16, channels=1).channels == 1


def test_links_inside_the_folder_are_followed(class_folders: Path) -> None:
    (class_folders / "elm" / "5.png").symlink_to(class_folders / "elm" / "0.png")
    assert len(images.load("folder", path=class_folders).train_images) == 13


def break_folder(root: Path, what: str) -> None:
    outside = root.parent / "secret.png"
    outside.write_bytes(png(pixels(0)))
    match what:
        case "unequal":
            (root / "elm" / "3.png").write_bytes(png(pixels(0, side=9)))
        case "not square":
            (root / "birch" / "0.png").write_bytes(png(pixels(0, side=8, height=9)))
        case "tiny":
            (root / "birch" / "0.png").write_bytes(png(pixels(0, side=7)))
        case "large":
            (root / "birch" / "0.png").write_bytes(png(pixels(0, side=300)))
        case "broken":
            (root / "elm" / "2.png").write_bytes(png(pixels(0))[:40])
        case "bomb":
            (root / "elm" / "2.png").write_bytes(bomb(9000, 9000))
        case "empty class":
            (root / "ash").mkdir()
        case "one image":
            (root / "ash").mkdir()
            (root / "ash" / "0.png").write_bytes(png(pixels(0)))
        case "one class":
            for name in ("birch", "elm"):
                (root / name).rename(root.parent / name)
        case "link to a file":
            (root / "elm" / "9.png").symlink_to(outside)
        case "relative link":
            (root / "elm" / "9.png").symlink_to("../../secret.png")
        case "link to a folder":
            fill(root.parent / "elsewhere", ("yew",))
            (root / "yew").symlink_to(root.parent / "elsewhere" / "yew")
        case "dead link":
            (root / "elm" / "9.png").symlink_to(root / "nowhere.png")
        case "link to itself":
            (root / "elm" / "9.png").symlink_to(root / "elm" / "9.png")
        case "pipe":
            os.mkfifo(root / "elm" / "9.png")
        case "nested":
            (root / "elm" / "more").mkdir()
        case "text":
            (root / "elm" / "notes.txt").write_text("x")
        case "outside":
            (root / "9.png").write_bytes(png(pixels(0)))
        case "spelling":
            fill(root, ("Elm",))
        case "decomposed":
            fill(root, ("Bla\u0308tter", "Bl\u00e4tter"))
        case "name":
            fill(root, ("a\nb",))
        case "part beside":
            for name in ("train", "test"):
                fill(root / name)
        case "unequal parts":
            fill(root / "train", ("birch", "elm", "oak"))
            fill(root / "test", ("birch", "elm"))
            for name in ("birch", "elm", "oak"):
                (root / name).rename(root.parent / name)
        case "parts of other sizes":
            fill(root / "train")
            fill(root / "test", side=9)
            for name in ("birch", "elm", "oak"):
                (root / name).rename(root.parent / name)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            "unequal",
            r"elm/3\.png: 9×9 pixels, but 8×8 in .*birch/0\.png; all need one size, or --side \(the key image_side\)",
        ),
        ("not square", r"birch/0\.png: 8×9 pixels; squares are needed, or --side \(the key image_side\)"),
        ("tiny", r"birch/0\.png: 7×7 pixels; sides of 8 to 256"),
        ("large", r"birch/0\.png: 300×300 pixels; sides of 8 to 256"),
        ("broken", r"elm/2\.png: not a readable image \(.*\); replace or remove it"),
        ("bomb", r"elm/2\.png: the file announces 9000×9000 pixels"),
        ("empty class", r"leaves/ash: the class has no image"),
        ("one image", r"class 'ash' has 1 image; at least 2 needed"),
        ("one class", r"leaves: 1 class folder; at least two"),
        ("link to a file", r"elm/9\.png: a link that leads out of"),
        ("relative link", r"elm/9\.png: a link that leads out of"),
        ("link to a folder", r"leaves/yew: a link that leads out of"),
        ("dead link", r"elm/9\.png: a link that leads nowhere"),
        ("link to itself", r"elm/9\.png: a link that leads nowhere"),
        ("pipe", r"elm/9\.png: neither a file nor a folder"),
        ("nested", r"elm/more: a folder inside a class folder"),
        ("text", r"elm/notes\.txt: not an image by its name \(\.png"),
        ("outside", r"leaves/9\.png: an image outside the class folders"),
        ("spelling", r"'Elm' and 'elm' look like two spellings of one class"),
        ("decomposed", r"look like two spellings of one class"),
        ("name", r"'a\\nb' has a name that is not printable text"),
        ("part beside", r"the folders birch, elm, oak, test, train; either train and test alone"),
        ("unequal parts", r"class 'oak' is in train and not in test"),
        ("parts of other sizes", r"training images are 3×8×8, test images 3×9×9"),
    ],
)
def test_bad_folders_get_one_sentence(class_folders: Path, what: str, words: str) -> None:
    break_folder(class_folders, what)
    refused("folder", words, path=class_folders)


@pytest.mark.parametrize("other", ["red oak", "red_oak", "redoak", "Red-Oak"])
def test_spellings_of_one_class_are_not_two(tmp_path: Path, other: str) -> None:
    fill(tmp_path, ("red-oak", other))
    with pytest.raises(InputError, match="look like two spellings of one class"):
        images.load("folder", path=tmp_path)


def test_file_names_that_are_no_text(class_folders: Path) -> None:
    name = os.fsencode(class_folders / "elm") + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(png(pixels(0)))
    assert len(images.load("folder", path=class_folders).train_images) == 13
    with open(name, "wb") as file:
        file.write(b"x")
    refused("folder", r"elm/\\udcff\.png: not a readable image", path=class_folders)


def test_missing_and_impossible_folders(class_folders: Path, tmp_path: Path) -> None:
    refused("folder", "'folder' needs a path")
    refused(
        "folder",
        r"nowhere: no such folder; a folder with one folder of images per class",
        path=tmp_path / "nowhere",
    )
    refused("folder", r"0\.png: no such folder", path=class_folders / "elm" / "0.png")
    refused("folder", r"train_images is -1", path=class_folders, train_images=-1)
    refused(
        "folder",
        r"2 images to train on were asked for; .* 3 to 12 are possible",
        path=class_folders,
        train_images=2,
    )
    refused("folder", r"side 1000000 is outside 8 to 256", path=class_folders, side=1_000_000)
    refused("folder", r"channels is 7; 1, 2, 3 or 4", path=class_folders, channels=7)
    refused("folder", r"has no option 'download'", path=class_folders, download=True)
    refused("folder", r"threads is -1", path=class_folders, threads=-1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(class_folders: Path) -> None:
    (class_folders / "elm").chmod(0)
    refused("folder", r"elm: cannot be read \(Permission denied\)", path=class_folders)
    (class_folders / "elm").chmod(0o700)


# ---- Parquet -------------------------------------------------------------------------------------------------------
def test_parquet_has_the_pixels_labels_and_names(image_parquet: Path) -> None:
    made = images.load("parquet", path=image_parquet)
    assert (made.classes, made.flip, len(made.train_images), len(made.test_images)) == (
        ("c0", "c1", "c2"),
        True,
        12,
        6,
    )
    assert made.train_labels.tolist() == [k % 3 for k in range(12)]
    assert made.test_index.tolist() == list(range(12, 18))
    np.testing.assert_array_equal(
        made.train_images, np.stack([pixels(k) for k in range(12)]).transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(
        made.test_images, np.stack([pixels(50 + k) for k in range(6)]).transpose(0, 3, 1, 2)
    )


def test_parquet_in_shards_under_data_with_plain_bytes_and_metadata(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat"]
    said = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()}
    (tmp_path / "data").mkdir()
    for name, first in (
        ("train-00000-of-00002", 0),
        ("train-00001-of-00002", 12),
        ("test-00000-of-00001", 90),
    ):
        table = image_table(first=first)
        encoded = pa.array([row["bytes"] for row in table["img"].to_pylist()])
        flat = pa.table({"image": encoded, "label": table["label"].cast(pa.int8())})
        pq.write_table(
            flat.replace_schema_metadata(said), tmp_path / "data" / f"{name}.parquet", row_group_size=5
        )
    made = images.load("parquet", path=tmp_path)
    assert (made.classes, len(made.train_images)) == (tuple(names), 24)
    np.testing.assert_array_equal(made.train_images[20], pixels(20).transpose(2, 0, 1))


def test_one_parquet_file_is_split(tmp_path: Path) -> None:
    pq.write_table(image_table(30), tmp_path / "all.parquet")
    made = images.load("parquet", path=tmp_path / "all.parquet")
    assert (len(made.train_images), len(made.test_images)) == (24, 6)
    for image, k in zip(made.test_images, made.test_index.tolist(), strict=True):
        np.testing.assert_array_equal(image, pixels(k).transpose(2, 0, 1))


def test_labels_with_gaps_are_told_from_classes_with_few_images(tmp_path: Path) -> None:
    table = image_table(60)
    gaps = pa.array([[3, 7, 9][label] for label in table["label"].to_pylist()])
    pq.write_table(pa.table({"img": table["img"], "label": gaps}), tmp_path / "all.parquet")
    refused(
        "parquet",
        "class '0' has 0 image.*: labels number the classes from 0 without gaps$",
        path=tmp_path / "all.parquet",
        least=10,
    )


def test_paths_that_contradict_the_labels_give_no_names(tmp_path: Path) -> None:
    table = image_table(30)
    mixed = [{**row, "path": f"x{k % 2}/{k}.png"} for k, row in enumerate(table["img"].to_pylist())]
    pq.write_table(pa.table({"img": mixed, "label": table["label"]}), tmp_path / "all.parquet")
    assert images.load("parquet", path=tmp_path / "all.parquet").classes == ("0", "1", "2")


def changed(table: pa.Table, column: str, row: int, value: Any, kind: pa.DataType | None = None) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    index = table.schema.get_field_index(column)
    return table.set_column(index, column, pa.array(values, kind or table[column].type))


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

BAD_TABLES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "no image column": (lambda t: t.rename_columns(["photo", "label"]), r"no image column \(img or image\); it has 'photo'"),
    "no label column": (lambda t: t.rename_columns(["img", "y"]), r"no label column \(label or fine_label\); it has 'img', 'y'"),
    "image of text": (lambda t: pa.table({"img": ["a"] * 12, "label": t["label"]}), "column 'img' has type string; encoded"),
    "struct without bytes": (
        lambda t: pa.table({"img": [{"path": "a/b.png"}] * 12, "label": t["label"]}),
        "column 'img' has type struct<path: string>; encoded images",
    ),
    "label of text": (lambda t: t.set_column(1, "label", t["label"].cast(pa.string())), "column 'label' has type string; an integer"),
    "label of floats": (lambda t: t.set_column(1, "label", t["label"].cast(pa.float64())), "column 'label' has type double"),
    "missing label": (lambda t: changed(t, "label", 7, None), "column 'label', row 7: no value"),
    "negative label": (lambda t: changed(t, "label", 7, -1), "column 'label', row 7: label -1 is out of range"),
    "huge label": (lambda t: changed(t, "label", 7, 2**62), "row 7: label 4611686018427387904 is out of range"),
    "label gap": (lambda t: changed(t, "label", 7, 5), "class '3' has no training image"),
    "more labels than images": (lambda t: changed(t, "label", 7, 4000), "label 4000 is out of range; .* fewer images than that"),
    "no bytes": (lambda t: changed(t, "img", 4, {"bytes": None, "path": "/etc/passwd"}), "column 'img', row 4: no bytes"),
    "no struct": (lambda t: changed(t, "img", 4, None), "column 'img', row 4: no bytes"),
    "broken image": (lambda t: changed(t, "img", 4, {"bytes": b"\x89PNG", "path": "a/b.png"}), "column 'img', row 4: not a readable image"),
    "bomb": (lambda t: changed(t, "img", 4, {"bytes": bomb(9000, 9000), "path": "a/b"}), "row 4: the file announces 9000×9000"),
    "another size": (lambda t: changed(t, "img", 4, {"bytes": png(pixels(0, side=9)), "path": "a/b"}), "row 4: 9×9 pixels, but 8×8 in"),
    "no rows": (lambda t: t.slice(0, 0), "the file announces 0 rows; 1 to 5000000"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_parquet_gets_one_sentence(image_parquet: Path, what: str) -> None:
    make, words = BAD_TABLES[what]
    pq.write_table(make(image_table()), image_parquet / "train.parquet")
    refused("parquet", rf"(train\.parquet|parquet').*{words}", path=image_parquet)


def test_one_long_path_in_every_row_is_refused(image_parquet: Path) -> None:
    table = image_table()
    rows = [{**row, "path": "x" * 5000 + "/b.png"} for row in table["img"].to_pylist()]
    pq.write_table(pa.table({"img": rows, "label": table["label"]}), image_parquet / "train.parquet")
    refused("parquet", r"column 'img': a path of 5006 bytes; at most 4096", path=image_parquet)


def test_a_test_label_that_training_does_not_have(image_parquet: Path) -> None:
    pq.write_table(changed(image_table(6), "label", 2, 3), image_parquet / "test.parquet")
    refused(
        "parquet",
        r"test\.parquet: column 'label', row 2: label 3 is out of range; 0 to 2",
        path=image_parquet,
    )


def test_missing_truncated_and_foreign_parquet(image_parquet: Path, tmp_path: Path) -> None:
    refused("parquet", "'parquet' needs a path")
    refused("parquet", "nowhere: no such file or folder", path=tmp_path / "nowhere")
    refused("parquet", "has no option 'download'", path=image_parquet, download=True)
    whole = (image_parquet / "train.parquet").read_bytes()
    for content in (whole[:200], whole[:-8], b"", b"PAR1PAR1", b"label,img\n1,x\n"):
        (image_parquet / "train.parquet").write_bytes(content)
        refused("parquet", r"train\.parquet: not a readable Parquet file", path=image_parquet)
    (image_parquet / "train.parquet").write_bytes(whole[:60] + bytes(200) + whole[260:])
    refused("parquet", r"train\.parquet: .*(not a readable)", path=image_parquet)
    (image_parquet / "train.parquet").unlink()
    refused("parquet", r"no train\.parquet \(or train-\*\.parquet\)", path=image_parquet)


def test_a_path_that_is_no_text(image_parquet: Path) -> None:
    target = image_parquet / "train.parquet"
    pq.write_table(image_table(6), target, compression="none", use_dictionary=False)
    target.write_bytes(target.read_bytes().replace(b"c1/4.png", b"c1/\x80.png"))
    refused("parquet", "column 'img', row 4: the path is not UTF-8 text", path=image_parquet)


@pytest.mark.parametrize("which", range(3))
def test_a_column_whose_name_is_damaged(image_parquet: Path, which: int) -> None:
    """The name stands in the file several times: in its schema, in each column's path, in Arrow's own schema."""
    target = image_parquet / "damaged.parquet"
    parts = (image_parquet / "train.parquet").read_bytes().split(b"img")
    assert len(parts) > 3
    target.write_bytes(b"img".join(parts[: which + 1]) + b"\x80mg" + b"img".join(parts[which + 1 :]))
    got = outcome(lambda: images.load("parquet", path=target))
    assert isinstance(got, ImageSet) or one_sentence(got)


def test_a_grey_test_part_beside_coloured_training_images(image_parquet: Path) -> None:
    pq.write_table(image_table(6, channels=1), image_parquet / "test.parquet")
    refused("parquet", "one of train and test is grey", path=image_parquet)
    assert images.load("parquet", path=image_parquet, channels=3).channels == 3


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_parquet_gives_images_or_a_sentence(image_parquet: Path, data: st.DataObject) -> None:
    target = image_parquet / "damaged.parquet"
    raw = bytearray((image_parquet / "train.parquet").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    target.write_bytes(raw)
    got = outcome(lambda: images.load("parquet", path=target))
    assert isinstance(got, ImageSet) or one_sentence(got)


DAMAGED = """
import sys
from pathlib import Path
from snas import InputError, images
whole, target = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
refused = 0
for place in range(len(whole) - 1330, len(whole) - 1280):
    for value in (0, 1, 2, 3, 8, 24, 127, 128, 255):
        target.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            images.load("parquet", path=target)
        except InputError:
            refused += 1
print(refused)
"""


def test_damage_to_the_description_of_a_column_does_not_end_the_process(image_parquet: Path) -> None:
    """As it does where pyarrow is asked for that description (tried with 26.0)."""
    done = subprocess.run(
        [sys.executable, "-c", DAMAGED, image_parquet / "train.parquet", image_parquet / "damaged.parquet"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 10


@pytest.mark.parametrize("more", [-1, 1])
def test_parquet_of_another_number_of_rows_than_it_announces(image_parquet: Path, more: int) -> None:
    """As where a byte of the footer is damaged."""
    file = _File(image_parquet / "train.parquet")
    file.rows += more
    for read in (file.labels, file.paths_inside, lambda: list(file.images())):
        with pytest.raises(
            InputError, match=rf"damaged\): column 'img|label.*' has another .* the {12 + more} that"
        ):
            read()


def test_parquet_that_announces_too_little_is_read_by_its_size_on_disk(image_parquet: Path) -> None:
    file = _File(image_parquet / "train.parquet")
    size = file.path.stat().st_size
    for announced in (0, size // 3):
        file._check_sizes(
            SimpleNamespace(
                num_row_groups=1, row_group=lambda _, n=announced: SimpleNamespace(total_byte_size=n)
            )
        )
        assert file.largest == size
    file._check_sizes(pq.read_metadata(file.path))
    assert file.largest == pq.read_metadata(file.path).row_group(0).total_byte_size


def test_images_that_may_be_large_are_read_a_few_at_a_time(image_parquet: Path) -> None:
    file = _File(image_parquet / "train.parquet")
    assert next(file.batches("img.bytes", 4)).nbytes > 0
    for largest, rows in ((2**20, 4), (2**29, 2), (2**40, 1)):
        file.largest = largest
        assert len(next(file.batches("img.bytes", 4))) == rows


def test_classes_are_called_as_the_folder_in_which_the_images_lay(tmp_path: Path) -> None:
    names = ("oak", "birch", "elm")
    table = image_table(30)
    rows = [
        row | {"path": f"photos/{names[k % 3]}/{k}.png"} for k, row in enumerate(table["img"].to_pylist())
    ]
    pq.write_table(table.set_column(0, "img", pa.array(rows)), tmp_path / "own.parquet")
    assert images.load("parquet", path=tmp_path / "own.parquet").classes == names


needs_cifar10 = pytest.mark.skipif(
    not (SHARED / "cifar10").is_dir(), reason=f"no {SHARED / 'cifar10'} (CIFAR-10 as Parquet)"
)


@needs_cifar10
def test_a_part_of_cifar10_as_parquet() -> None:
    made = images.load("parquet", path=SHARED / "cifar10" / "test.parquet")
    assert made.train_images.shape == (8000, 3, 32, 32)
    assert torch.bincount(made.train_labels).tolist() == [800] * 10
    assert torch.bincount(made.test_labels).tolist() == [200] * 10
    assert made.classes == CIFAR10
    # the published channel means of the test images, but for what JPEG changes
    means = torch.cat([made.train_images, made.test_images]).double().mean((0, 2, 3)) / 255
    np.testing.assert_allclose(means, [0.4942, 0.4851, 0.4504], atol=2e-3)


@pytest.mark.long
@needs_cifar10
def test_cifar10_as_parquet() -> None:
    made = images.load("parquet", path=SHARED / "cifar10")
    assert made.train_images.shape == (50_000, 3, 32, 32)
    assert made.test_images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(made.train_labels).tolist() == [5000] * 10
    assert torch.bincount(made.test_labels).tolist() == [1000] * 10
    assert made.classes == CIFAR10
    means = made.train_images.double().mean((0, 2, 3)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=2e-3)


# ---- CIFAR and Fashion-MNIST ---------------------------------------------------------------------------------------
def test_cifar_files_are_read_where_they_are(cifar_folders: Callable[..., Path]) -> None:
    root = cifar_folders("CIFAR10")
    made = images.load("cifar10", path=root)
    assert made.train_images.shape == (100, 3, 32, 32)
    assert made.test_images.shape == (20, 3, 32, 32)
    data = np.random.default_rng(2).integers(256, size=(20, 3072), dtype=np.uint8)
    np.testing.assert_array_equal(made.train_images[45].flatten(), data[5])
    assert int(made.train_labels[45]) == 5
    assert made.classes[3] == "class 3"
    assert images.load("cifar10", path=root / "cifar-10-batches-py").digest == made.digest


def test_cifar_as_torchvision_reads_it(cifar_folders: Callable[..., Path]) -> None:
    from torchvision.datasets import CIFAR100

    root = cifar_folders("CIFAR100")
    made, theirs = images.load("cifar100", path=root), CIFAR100(root, train=True)
    np.testing.assert_array_equal(made.train_images.permute(0, 2, 3, 1), theirs.data)
    assert made.train_labels.tolist() == theirs.targets


def test_cifar_with_another_checksum_is_not_opened(cifar_folders: Callable[..., Path]) -> None:
    root = cifar_folders("CIFAR10")
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    refused("cifar10", r"data_batch_3: not the published file \(its MD5 sum", path=root)


WITNESS = Path(tempfile.gettempdir()) / f"snas-{os.getpid()}-was-here"


class Payload:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {WITNESS}",)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    """Not even one with the published checksum."""
    raw = pickle.dumps(Payload())
    (tmp_path / "hostile").write_bytes(raw)
    with pytest.raises(InputError, match=r"a pickle asks for \w+\.system; only numpy arrays"):
        _load(tmp_path / "hostile", hashlib.md5(raw, usedforsecurity=False).hexdigest())
    assert not WITNESS.exists()
    pickle.loads(raw)
    assert WITNESS.exists()  # it would have run
    WITNESS.unlink()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_missing_files_say_what_to_do(name: str, tmp_path: Path) -> None:
    refused(name, f"'{name}': no .* in {tmp_path}; .* as the path .*, or ask for the download", path=tmp_path)
    refused(name, f"'{name}' has no option 'side'", path=tmp_path, side=16)


def test_downloads_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    asked: list[object] = []

    def fail(*arguments: object, **options: object) -> None:
        asked.append(options)
        raise RuntimeError("no route to host\nand more")

    monkeypatch.setattr(datasets.CIFAR10, "__init__", fail)
    refused("cifar10", "ask for the download", path=tmp_path)
    assert not asked
    refused(
        "cifar10",
        rf"the download to {tmp_path} failed \(no route to host\); fetch the files",
        path=tmp_path,
        download=True,
    )
    assert asked == [{"download": True}]


def test_processes_that_start_together_download_once_and_see_whole_files_only(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from snas.images.imageset import Options
    from snas.images.places import fetch

    root, started = tmp_path / "data", []

    def download(folder: Path) -> None:
        started.append(folder)
        (folder / "set").mkdir()
        for name in ("a", "b"):
            (folder / "set" / name).write_text("half")
            time.sleep(0.05)
            assert not (root / "set" / name).exists()
            (folder / "set" / name).write_text("whole")
        (folder / "archive.tar.gz").write_text("not needed")

    options = Options("cifar10", path=root)
    (root / ".download-killed" / "set").mkdir(parents=True)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch(options, "set", ("a", "b"), download), range(4)))
    assert found == [root / "set"] * 4
    assert len(started) == 1
    assert {p.name: p.read_text() for p in (root / "set").iterdir()} == {"a": "whole", "b": "whole"}
    assert sorted(p.name for p in root.iterdir()) == [".download.lock", "set"]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"no {DEBIAN} (Debian's package dataset-fashion-mnist)")
def test_fashion_mnist_from_debians_package() -> None:
    made = images.load("fashion_mnist", path=DEBIAN)
    assert made.train_images.shape == (60_000, 1, 28, 28)
    assert made.test_images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(made.train_labels).tolist() == [6000] * 10
    assert torch.bincount(made.test_labels).tolist() == [1000] * 10
    assert made.train_labels[:3].tolist() == [9, 0, 0]
    # the published mean and standard deviation
    assert float(made.train_images.double().mean() / 255) == pytest.approx(0.2860, abs=1e-4)
    assert float((made.train_images.double() / 255).std()) == pytest.approx(0.3530, abs=1e-4)


def idx(*sizes: int, content: bytes) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + b"".join(s.to_bytes(4, "big") for s in sizes) + content


def test_idx_plain_and_gzip(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx(2, 3, content=bytes(range(6))))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(2, 3, content=bytes(range(6)))))
    for name in ("a", "a.gz"):
        np.testing.assert_array_equal(read_idx(tmp_path / name, 2), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "another format"),
        (b"hello world, no IDX", "another format"),
        (idx(2, 3, content=bytes(6)), "another format; an IDX file of bytes with 1 axes"),
        (idx(4, content=bytes(3)), "it announces 4 bytes and holds 3"),
        (idx(4, content=bytes(5)), "it announces 4 bytes and holds more"),
        (idx(2**32 - 1, content=b""), "it announces 4294967295; too large"),
    ],
)
def test_bad_idx_gets_one_sentence(tmp_path: Path, raw: bytes, words: str) -> None:
    for name, content in (("a", raw), ("a.gz", gzip.compress(raw))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_idx(tmp_path / name, 1)


def test_a_gzip_bomb_is_read_no_further_than_it_announces(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(4, content=bytes(2**26)), 1))
    with pytest.raises(InputError, match="holds more"):
        read_idx(tmp_path / "a.gz", 1)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(1000, content=bytes(1000)))[:-12])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_idx(tmp_path / "a.gz", 1)


# ---- what an image set must be -------------------------------------------------------------------------------------
def image_set(**changes: Any) -> ImageSet:
    fields: dict[str, Any] = {
        "name": "mine", "classes": ("a", "b"), "flip": True,
        "train_images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "train_labels": torch.tensor([0, 1, 0, 1]),
        "test_images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "test_labels": torch.tensor([0, 1]),
        "train_index": torch.arange(4), "test_index": torch.arange(4, 6),
    }  # fmt: skip
    return ImageSet(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("a",)}, r"1 class\(es\); at least two"),
        ({"classes": ("a", "a")}, "two classes are named 'a'"),
        ({"classes": ("a", "b", "c")}, "class 'c' has no training image"),
        (
            {"train_labels": torch.tensor([0, 1, 2, 1])},
            r"training images: label 2 of image 2 is out of range; 0 to 1",
        ),
        ({"test_labels": torch.tensor([0, -1])}, r"test images: label -1 of image 1 is out of range"),
        ({"train_labels": torch.tensor([0, 1])}, r"training images: 4 images, \(2,\) labels"),
        ({"train_labels": torch.tensor([0.0, 1, 0, 1])}, "labels of torch.float32; one int64 each"),
        ({"train_images": torch.zeros(4, 1, 8, 8)}, r"torch.float32 of 4 axes; uint8 pixels"),
        (
            {"test_images": torch.zeros(2, 1, 9, 9, dtype=torch.uint8)},
            "training images are 1×8×8, test images 1×9×9",
        ),
        ({"test_images": torch.zeros(2, 1, 8, 9, dtype=torch.uint8)}, "height × width are 1×8×9; square"),
        (
            {"test_images": torch.zeros(2, 5, 8, 8, dtype=torch.uint8)},
            "are 5×8×8; square images of 1 to 4 channels",
        ),
        ({"test_images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}, "4 pixels wide; 8 to 256"),
        (
            {
                "train_images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
                "train_labels": torch.zeros(0).long(),
            },
            "training images: there are none",
        ),
    ],
)
def test_an_image_set_that_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        image_set(**changes)


def test_the_digest_is_of_pixels_labels_and_names() -> None:
    pixel = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    pixel[3, 0, 7, 7] = 1
    others = [{"train_images": pixel}, {"test_labels": torch.tensor([1, 0])}, {"classes": ("a", "c")}]
    digests = {image_set().digest, *(image_set(**change).digest for change in others)}
    assert len(digests) == 4
    assert image_set().digest == image_set(name="other", source="elsewhere").digest
    assert image_set().provenance()["side"] == 8
    facts = image_set().facts()
    assert (facts["images"], facts["train_images"], facts["classes"]) == ("mine", 4, 2)


def test_the_same_bytes_as_images_of_another_shape_are_another_set() -> None:
    colours, large = ((4, 4, 8, 8), (2, 4, 8, 8)), ((4, 1, 16, 16), (2, 1, 16, 16))
    digests = set()
    for train, test in (colours, large):
        shaped = {
            "train_images": torch.zeros(train, dtype=torch.uint8),
            "test_images": torch.zeros(test, dtype=torch.uint8),
        }
        digests.add(image_set(**shaped).digest)
    assert len(digests) == 2
