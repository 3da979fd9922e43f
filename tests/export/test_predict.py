"""Labels of image files: as in training, by either runtime; bad ones in one sentence."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from snas import InputError, images
from snas.__main__ import main
from snas.export import description as described
from snas.export.description import Description
from snas.export.onnx_file import write_onnx
from snas.export.predict import Predictor
from snas.export.weights import write_weights


@pytest.fixture
def files(best, tmp_path):
    """The first test images as PNG files."""
    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(best.images.test_images[i, 0].numpy()).save(paths[-1])
    return paths


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_file_gets_the_label_and_probability_of_its_pixels(best, files, runtime):
    predictor = Predictor(best.folder, runtime=runtime)
    assert predictor.runtime == runtime
    frame = best.found.tested
    for i, file in enumerate(files):
        ((label, share),) = predictor(file)
        assert label == best.images.classes[frame["predicted"][i]]
        assert share == pytest.approx(frame["probability"][i], abs=1e-4)


def test_the_command_prints_label_and_probability(best, files, capsys):
    assert main(["predict", str(best.folder), *map(str, files[:2]), "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    name, label, share, *others = lines[0].split("\t")
    assert name == str(files[0])
    assert label == best.images.classes[best.found.tested["predicted"][0]]
    shares = [float(share), *map(float, others[1::2])]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)


def test_a_name_that_would_break_the_line_is_written_out(best, files, tmp_path, capsys):
    odd = tmp_path / "a\tb\n\x1b[31m.png"
    odd.write_bytes(files[0].read_bytes())
    assert main(["predict", str(best.folder), str(odd)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[0] == str(tmp_path / r"a\tb\n\x1b[31m.png")


def test_torch_serves_where_onnx_runtime_is_not_installed(best, files, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Predictor(best.folder).runtime == "torch"
    with pytest.raises(InputError, match="not installed"):
        Predictor(best.folder, runtime="onnxruntime")
    monkeypatch.undo()
    assert Predictor(best.folder).runtime == "onnxruntime"


def test_files_are_read_as_in_training(tmp_path):
    """Grey and coloured, palettes, alpha, 16 bits, turned and not square: the folder's images and predict's agree."""
    draw = np.random.default_rng(0)
    rgb = draw.integers(256, size=(14, 20, 3), dtype=np.uint8)
    made = {
        "a/rgb.png": Image.fromarray(rgb), "a/grey.png": Image.fromarray(rgb[:, :, 0]),
        "a/alpha.png": Image.fromarray(np.dstack([rgb, rgb[:, :, 1]])), "b/palette.png": Image.fromarray(rgb).quantize(16),
        "b/deep.png": Image.fromarray(rgb[:, :, 0].astype(np.uint16) * 257), "b/cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
    }  # fmt: skip
    for name, image in made.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "photos" / name)
    loaded = images.load("folder", path=tmp_path / "photos", side=12, train_images=2)
    network = Description.of("tiny_nanobench", "conv1x1", 2, loaded)
    (tmp_path / "best").mkdir()
    network.write(tmp_path / "best/network.json")
    write_weights(tmp_path / "best/weights.safetensors", network.build(), network)
    predictor = Predictor(tmp_path / "best", runtime="torch")
    seen = {
        tuple(image.flatten().tolist())
        for part in (loaded.train_images, loaded.test_images)
        for image in part
    }
    for name in made:
        pixels = predictor.read(tmp_path / "photos" / name)
        assert pixels.shape == (3, 12, 12)
        assert tuple(pixels.flatten().tolist()) in seen, name


def test_bad_images_are_one_sentence_each_and_the_others_are_done(best, files, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty/.hidden").mkdir(parents=True)
    (tmp_path / "empty/notes.txt").write_text("no image")
    (tmp_path / "empty/.hidden/0.png").write_bytes(files[0].read_bytes())
    bad = [tmp_path / "empty", tmp_path / "text.png", tmp_path / "absent.png"]
    assert main(["predict", str(best.folder), *map(str, [*bad[:2], files[0], bad[2]])]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    sentences = said.err.splitlines()
    assert [str(path) in line for path, line in zip(bad, sentences, strict=True)] == [True] * 3
    assert "no image in this folder; files named .png, .jpg," in sentences[0]
    assert "not a readable image" in sentences[1]
    assert "no such file" in sentences[2]


def test_a_folder_stands_for_the_images_in_it(best, files, tmp_path, capsys):
    """Those of its class folders too, sorted; what is no image by its name is passed over, a broken one is said."""
    root = tmp_path / "photos"
    for name in (
        "b/2.PNG",
        "a/1.png",
        "0.png",
        ".DS_Store",
        "b/Thumbs.db",
        "notes.txt",
        "__MACOSX/3.png",
        "b/._2.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(files[0].read_bytes())
    assert main(["predict", str(best.folder), str(root), str(files[1])]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [*(str(root / name) for name in ("0.png", "a/1.png", "b/2.PNG")), str(files[1])]
    (root / "a/broken.png").write_text("no image")
    assert main(["predict", str(best.folder), str(root)]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err.splitlines() == [
        line for line in said.err.splitlines() if str(root / "a/broken.png") in line
    ]


def test_a_folder_that_cannot_be_read_is_one_sentence(best, tmp_path, monkeypatch, capsys):
    def denied(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.scandir", denied)
    assert main(["predict", str(best.folder), str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == f"snas: {tmp_path}: cannot be read (Permission denied); a readable folder is expected\n"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(format=9), "key 'format' is not 1"),
        (lambda d: d.update(labels=["one"]), "key 'labels'"),
        (lambda d: d["preprocessing"].update(side="8"), "key 'side' is '8'"),
        (lambda d: d["preprocessing"].update(resize="nearest"), "preprocessing.resize"),
        (lambda d: d["network"].update(cell="conv9x9"), "no architecture 'conv9x9'"),
        (lambda d: d["network"].update(width=5), "not the weights of"),
        (lambda d: d.pop("network"), "key 'network' is None"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_sentence(best, files, tmp_path, capsys, change, sentence):
    folder = tmp_path / "best"
    shutil.copytree(best.folder, folder)
    content = json.loads((folder / described.FILE).read_text())
    change(content)
    (folder / described.FILE).write_text(json.dumps(content))
    assert main(["predict", str(folder), str(files[0]), "--runtime", "torch"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "network.json"])
def test_a_damaged_or_missing_file_is_one_sentence(best, files, tmp_path, capsys, name):
    folder = tmp_path / "best"
    shutil.copytree(best.folder, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    for _ in range(2):
        assert main(["predict", str(folder), str(files[0]), "--runtime", "torch"]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert len(said.splitlines()) == 1
        (folder / name).unlink(missing_ok=True)


def test_unknown_runtime_and_top_are_refused(best, files, capsys):
    assert main(["predict", str(best.folder), str(files[0]), "--runtime", "tflite"]) == 2
    assert "known: auto, onnxruntime, torch" in capsys.readouterr().err
    assert main(["predict", str(best.folder), str(files[0]), "--top", "0"]) == 2


def test_an_onnx_file_of_another_shape_is_told_by_its_labels(best, tmp_path):
    """A network without weights beside it works by its ONNX file alone."""
    (tmp_path / "best").mkdir()
    best.description.write(tmp_path / "best/network.json")
    write_onnx(tmp_path / "best/model.onnx", best.module, best.description)
    pixels = best.images.test_images[:3].numpy()
    one, other = (
        Predictor(f, runtime="onnxruntime").probabilities(pixels) for f in (tmp_path / "best", best.folder)
    )
    assert np.array_equal(one, other)
    assert np.allclose(one.sum(1), 1)


def test_a_reader_that_has_seen_enough_ends_it_without_a_word(best, files):
    words = [sys.executable, "-m", "snas", "predict", str(best.folder), *map(str, files)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        process.stdout = None
        assert process.stderr.read() == ""
        assert process.wait(timeout=120) == 128 + signal.SIGPIPE
