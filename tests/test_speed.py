"""The records of what was measured, and what the comparisons rest on: both sides do the same work."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from snas import config, networks, spaces, tables, training
from snas.images.augment import transform
from snas.images.augmentation import Augmentation
from snas.networks import kernels
from snas.search import jobs
from snas.spaces.space import ARCHITECTURES
from speed import brp, gpu, million, record, scale
from speed.million import CHAIN, OPERATIONS, SKIPS, Million
from speed.networks import CODE, TRUTH, products
from speed.plain_networks import AugmentedImages, augment, random_images
from tests.pretend_cuda import pretended


def test_the_table_is_what_the_records_give():
    assert (record.RECORDS / "README.md").read_text("utf-8") == record.table()


@pytest.mark.parametrize("path", sorted(record.RECORDS.glob("*/record.json")), ids=lambda p: p.parent.name)
def test_a_record_says_what_was_measured_where_and_how(path):
    found = json.loads(path.read_text("utf-8"))
    assert path.parent.name.startswith(f"{found['date']}_{found['topic']}")
    assert all(found[key] for key in ("command", "commit", "machine", "versions"))
    for row in found["rows"]:
        assert row["n"] >= 1
        assert row["spread"][0] <= row["median"] <= row["spread"][1]
        assert row["floor"] is None or row["floor_assumes"]


def toy_record():
    kept = record.Record("toy", notes="A note.")
    plain = [4.0, 6.0, 5.0]
    kept.row("slow", plain, "ms")
    kept.row("fast", [1.0], "ms", against=plain, floor=0.5, floor_assumes="nothing else")
    return kept


def test_a_record_is_kept_and_a_second_one_of_the_day_is_another_folder(tmp_path):
    first, second = toy_record().save(tmp_path), toy_record().save(tmp_path)
    assert first != second
    row = json.loads((first / "record.json").read_text())["rows"][1]
    assert (row["ratio"], row["median"], row["values"]) == (5, 1, [1])
    page = (tmp_path / "README.md").read_text()
    assert page == record.table(tmp_path)
    assert page.count("| fast | 1 | 1 (1–1) | ms | 5 | 0.5 | 50 % |") == 2
    assert "Floor 1: nothing else" in page


def test_a_measurement_that_is_stopped_leaves_the_rows_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(record.Record, "into", tmp_path)
    kept = toy_record()
    (path,) = tmp_path.glob("*/record.json")
    assert [row["what"] for row in json.loads(path.read_text())["rows"]] == ["slow", "fast"]
    assert "**Stopped before its end.**" in (tmp_path / "README.md").read_text()
    kept.row("last", [2.0], "ms")
    assert kept.save(tmp_path) == path.parent
    assert len(json.loads(path.read_text())["rows"]) == 3
    assert "Stopped" not in (tmp_path / "README.md").read_text()
    assert list(tmp_path.glob("*/record.json")) == [path]


def test_a_machine_without_git_measures_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = toy_record().save(tmp_path)
    assert json.loads((path / "record.json").read_text())["commit"] == ""


def test_everything_is_measured_on_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    """The whole topic, its sizes small: what it would do in its minutes on a real one."""
    small = {
        "CODE": dataclasses.replace(CODE, width=4, side=8, images=32),
        "TRUTH": dataclasses.replace(TRUTH, width=4, side=8, images=256),
        "GROUPS": (1, 2),
        "TRUTH_GROUP": 2,
        "CODES": 3,
        "group_ms": lambda size, setting, *_, group=gpu.group_ms, **chosen: group(
            size, setting, 1, 1, **chosen
        ),
        "plain_ms": lambda setting, *_, plain=gpu.plain_ms: plain(setting, 1, 1),
        "recorded_ms": lambda *_: [1.0],
        "ceilings": lambda record: 5e13,
    }
    for name, value in small.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(kernels, "choose", lambda device, compile: kernels.TorchKernels())
    with pretended() as operations:
        rows = gpu.measure(quick=False).rows
        assert operations() > 1000
    said = [row["what"] for row in rows]
    assert sum("3 codes" in what for what in said) == 2
    assert sum("group of" in what for what in said) == 2 * 3 + 1
    assert sum("a batch, augmented" in what for what in said) == 2


@pytest.mark.parametrize("macs", [4e6, 33e6])
def test_the_floor_counts_every_multiply_add(macs):
    space = spaces.load("tiny_nanobench")
    costs = space.costs()[0]
    arch = int(abs(costs - macs).argmin())
    dense, depthwise = products(space.cell(arch), CODE)
    attention = networks.count_macs(networks.build(space, arch), (3, 32, 32)) - depthwise
    attention -= sum(outputs * inputs * pixels for outputs, inputs, pixels in dense)
    assert (
        0 <= attention < 0.02 * costs[arch]
    )  # attention and classifier, without pixels, are left out of the floor


def test_plain_images_without_augmentation_are_the_images():
    pixels, labels = random_images(4, 3, 32)
    data = AugmentedImages(pixels, labels, 10, training.recipe("paper_code"))
    data.augmentation = Augmentation(flip=False, crop=0, shift=(0.0, 0.0), mixup=0.0)
    image, target = data[2]
    torch.testing.assert_close(image, pixels[2] / 255)
    assert target.argmax() == labels[2]
    torch.testing.assert_close(target.sum(), torch.tensor(1.0))


def test_the_plain_relation_prefers_what_the_product_prefers():
    model = brp.Bench("tiny_nanobench").plain()
    assert sum(part.numel() for part in model.parameters()) == sum(
        entry.size for entry in brp.Bench("tiny_nanobench").block(1).layout.values()
    )


def test_a_plain_shift_moves_as_the_product_does():
    pixels, _ = random_images(1, 1, 32)
    always = Augmentation(flip=True, crop=0, shift=(2.0, 2.0), mixup=0.0, p=1.0)
    mine = augment(Image.fromarray(pixels[0, 0].numpy()), always)
    shift = torch.full((2, 1), 2.0)
    product = transform(pixels, torch.tensor([True]), torch.zeros(2, 1), shift)[0, 0]
    torch.testing.assert_close(to_tensor(mine)[0], product, atol=1 / 255, rtol=0)


def test_the_synthetic_space_is_a_space_of_distinct_graphs():
    space = Million(2000)
    cells, encoding = space.cells(), space.encoding()
    assert (
        len(cells)
        == len({cell.name for cell in cells})
        == len({(c.operations, c.edges) for c in cells})
        == 2000
    )
    assert len(SKIPS) * len(OPERATIONS) ** CHAIN == 1_000_000
    for arch in (0, 7, 1999):
        adjacency = np.eye(CHAIN + 1, dtype=np.float32)
        adjacency[tuple(np.transpose(cells[arch].edges))] = 1
        np.testing.assert_array_equal(encoding.adjacency[arch], adjacency)
        operations = [encoding.vocabulary[symbol] for symbol in encoding.operations[arch]]
        assert operations == [*cells[arch].operations, "output"]
    graphs = encoding.adjacency.reshape(2000, -1), encoding.operations
    assert len(np.unique(np.concatenate(graphs, axis=1), axis=0)) == 2000


def test_a_step_of_the_million_runs_and_says_its_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["million", "writing", "300", str(tmp_path)])
    million.main()
    found = json.loads(capsys.readouterr().out)
    assert found["peak_mb"] > 0
    assert len(tables.read(tmp_path / "space.parquet", ARCHITECTURES)) == 300


def test_the_makespan_lies_between_the_bounds_of_list_scheduling():
    jobs = [5.0, 3.0, 3.0, 2.0, 2.0, 1.0]
    assert scale.makespan(jobs, 1) == sum(jobs)
    assert scale.makespan(jobs, 6) == max(jobs)
    assert scale.makespan(jobs, 2) == sum(jobs) / 2


def test_the_paper_s_hours_are_its_steps():
    """On one worker nothing waits: the hours are the steps of all trainings and the starts of the jobs."""
    macs = spaces.load("tiny_nanobench").costs()[0].sum() / 22e6
    hours, used = scale.paper_hours(1, code_step=0.1, truth_step=1.0, search=7200, start=0)
    assert hours == pytest.approx(macs * (936 * 0.1 + 39_000 * 1.0) / 3600 + 2)
    assert used == pytest.approx(1)
    many, share = scale.paper_hours(64, code_step=0.1, truth_step=1.0, search=7200, start=0)
    assert hours / 64 <= many < hours / 32
    assert share == pytest.approx(hours / 64 / many)


def test_the_newest_record_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "RECORDS", tmp_path)
    for value in (1.0, 2.0):  # the second folder is the newer one
        kept = record.Record("toy")
        kept.row("step", [value], "ms")
        kept.save(tmp_path)
    assert scale.newest("toy", "step") == 2.0
    with pytest.raises(LookupError, match="python -m speed --only toy"):
        scale.newest("toy", "stride")


def test_the_simulated_jobs_are_those_of_the_paper_s_configuration():
    source = record.ROOT / "config/paper.yaml"  # any file that is there will do
    paper = config.load(config.read_file(source) | {"nasbench201": str(source)})
    assert (paper.code_shards, paper.truth_shards) == (scale.CODE_SHARDS, scale.TRUTH_SHARDS)
    methods = [job.method for job in jobs.search_jobs(paper)]
    assert (len(methods) - methods.count("brp_nas"), methods.count("brp_nas")) == (scale.SEARCH_JOBS, 400)


def test_the_search_s_seconds_count_the_steps_of_every_run():
    """A run ranks once, with BTS twice, with FTS eleven times; on each of four benches four predictors have budgets from
    30 to 200 with 100 runs."""
    steps = [200 * (n // 8) for n in range(30, 201, 10)]
    source = record.ROOT / "config/paper.yaml"
    paper = config.load(config.read_file(source) | {"nasbench201": str(source)})
    times = {
        "neural_predictor": 1,
        "siamese": 1,
        "siamese+nsam": 1,
        "siamese+nsam+bts": 2,
        "siamese+nsam+fts": 11,
    }
    ranked = sum(times.get(j.method, 0) * (j.stop - j.first) for j in jobs.search_jobs(paper))
    assert scale.search_seconds(0, 1) == ranked
    assert scale.search_seconds(1, 0) > 100 * sum(steps) * 4 * 4
