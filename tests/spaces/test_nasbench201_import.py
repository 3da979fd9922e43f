"""The import of NAS-Bench-201: the official numbers, every form, what is kept of an interrupted one, and the loader."""

import bz2
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import snas.tables
from snas import InputError
from snas.__main__ import main
from snas.spaces import (
    accuracies,
    nats_bench,
    source_analog,
    source_naslib,
    source_nats_bench,
    source_table,
)
from snas.spaces.accuracies import ACCURACIES, DATASETS, code_price, read_accuracies
from snas.spaces.nasbench201_import import import_nasbench201

from .nasbench201_sources import (
    ARCHS,
    CUT,
    NAME,
    SAMPLE,
    TABLE,
    analog,
    cells,
    copy_sample,
    file_name,
    naslib,
    needs_sample,
    needs_table,
    possible_percent,
    record,
    table,
    tar_sample,
)

# What the official API (nats_bench 1.8, fast mode, verbose off) gives for the sample, in its units:
# get_more_info(arch, dataset, hp="200", is_random=False) test-accuracy; the same with is_random=777, 888, 999; hp="12";
# valid-accuracy at 200 and at 12 (CIFAR-10: of cifar10-valid); get_cost_info flops and params; train-all-time at 200, 12.
OFFICIAL = {
    (0, "cifar10"): (85.86333333333334, 85.62, 86.18, 85.79, 69.55, 81.98266665690103, 63.36399998046875, 15.64737, 0.129306, 2888.4371995925903, 173.30623197555542),
    (0, "cifar100"): (52.913333294677734, 51.97999997558594, 53.67999995727539, 53.07999995117188, 31.259999963378906, 52.69999994710287, 31.840000003051756, 15.65322, 0.135156, 2888.4371995925903, 173.30623197555542),
    (0, "imagenet16-120"): (26.6333332739936, 27.033333257039388, 25.766666610717774, 27.099999954223634, 16.999999966939292, 28.21111109246148, 18.466666661580405, 3.91948, 0.136456, 8763.51846356391, 525.8111078138353),
    (11, "cifar10"): (91.58333333333333, 91.79, 91.76, 91.2, 74.0, 87.9399999983724, 63.27799998413086, 113.95137, 0.802426, 4984.822718302408, 299.08936309814453),
    (11, "cifar100"): (67.6066666422526, 66.86000006103515, 67.67999995117188, 68.27999991455079, 32.76000000305176, 67.45333326416016, 33.63999997253418, 113.95722, 0.8082759999999999, 4984.822718302408, 299.08936309814453),
    (11, "imagenet16-120"): (30.166666602240667, 29.233333333333334, 30.966666564941406, 30.299999908447266, 14.733333302815755, 30.411111104329425, 15.666666633605956, 28.49548, 0.809576, 15123.952127329534, 907.4371276397707),
    (284, "cifar10"): (88.79, 88.73, 88.55, 89.09, 79.46, 86.04666666341147, 72.8759999975586, 11.71521, 0.101306, 1950.31774838766, 117.01906490325929),
    (284, "cifar100"): (62.13999997558594, 63.0, 61.76000001220703, 61.65999991455078, 39.44000000610352, 61.67999998779297, 40.47999998168945, 11.72106, 0.10715599999999999, 1950.31774838766, 117.01906490325929),
    (284, "imagenet16-120"): (32.466666556464304, 32.59999996439616, 31.933333201090495, 32.86666650390625, 21.733333333333334, 33.399999984741214, 22.19999998474121, 2.9364399999999997, 0.108456, 5917.264048608147, 355.0358429164887),
}  # fmt: skip
COLUMNS = (
    "accuracy", "accuracy_777", "accuracy_888", "accuracy_999", "accuracy_12", "validation", "validation_12",
    "flops_m", "params", "seconds_200", "seconds_12",
)  # fmt: skip
# get_more_info(arch, "cifar10", iepoch=0, 1, 2, hp="200", is_random=777) train-loss
OFFICIAL_LOSSES = {
    0: (1.8040938138198852, 1.517108722190857, 1.3730964269256591),
    11: (1.8626610662841796, 1.61997852684021, 1.400545875930786),
    284: (1.7632780639266967, 1.3512070858383178, 1.150305821723938),
}


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """The imported sample."""
    out = tmp_path_factory.mktemp("nats") / "sample.parquet"
    import_nasbench201(SAMPLE, out, allow_partial=True)
    return out


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The imported table of all architectures."""
    out = tmp_path_factory.mktemp("table") / "whole.parquet"
    import_nasbench201(TABLE, out)
    return out


@needs_sample
def test_the_sample_has_exactly_the_official_numbers(sample):
    frame = snas.tables.read(sample, ACCURACIES)
    assert list(zip(frame["dataset"], frame["arch"], strict=True)) == [
        (d, a) for d in DATASETS for a in ARCHS
    ]
    for _, row in frame.iterrows():
        assert row["cell"] == cells()[row["arch"]]
        for column, value in zip(COLUMNS, OFFICIAL[row["arch"], row["dataset"]], strict=True):
            if column.startswith(("accuracy", "validation")):
                value /= 100
            elif column == "params":
                value = round(value * 1e6)
            assert row[column] == value, (column, row["arch"], row["dataset"])
        codes = [row[f"code_{place}"] for place in (1, 2, 3)]
        assert codes == list(np.array(OFFICIAL_LOSSES[row["arch"]], dtype=np.float32))


@needs_sample
def test_the_metadata_say_what_it_is(sample):
    found = snas.tables.metadata(sample)
    assert found["kind"] == "nats_bench"
    assert found["title"] == "NAS-Bench-201"
    assert found["datasets"] == dict.fromkeys(DATASETS, 3)
    assert found["complete"] is False
    assert found["per_seed"] is True
    assert found["code_epochs"] == [1, 2, 3]
    assert found["code_price"] == 3 / 200
    assert len(found["content_sha256"]) == 64


@needs_sample
@needs_table
def test_the_sample_agrees_with_the_table(sample, whole):
    left = snas.tables.read(sample, ACCURACIES).set_index(["dataset", "arch"])
    right = snas.tables.read(whole, ACCURACIES).set_index(["dataset", "arch"]).loc[left.index]
    for column in ("accuracy", "accuracy_12", "seconds_200", "seconds_12", "flops_m"):
        np.testing.assert_allclose(left[column], right[column], atol=6e-7)
    assert (left[["cell", "macs", "params"]] == right[["cell", "macs", "params"]]).all().all()


@needs_sample
def test_a_tar_other_epochs_and_processes_give_the_same(sample, tmp_path):
    expected = snas.tables.read(sample, ACCURACIES)
    hashes = [snas.tables.metadata(sample)["content_sha256"]]
    for source, jobs in ((tar_sample(tmp_path / "a tar's name.tar"), 1), (SAMPLE.parent, 2)):
        out = tmp_path / f"{jobs}.parquet"
        hashes.append(import_nasbench201(source, out, allow_partial=True, jobs=jobs)["content_sha256"])
        pd.testing.assert_frame_equal(snas.tables.read(out, ACCURACIES), expected)
    assert len(set(hashes)) == 1
    out = tmp_path / "late.parquet"
    assert import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=(2, 3, 200))["code_price"] == 1
    late = snas.tables.read(out, ACCURACIES)
    assert late["code_1"].tolist() == expected["code_2"].tolist()
    assert late["code_3"][0] == np.float32(
        record(0)["200"]["all_results"]["cifar10", 777]["train_losses"][199]
    )
    import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=())
    assert snas.tables.read(out, ACCURACIES)["code_1"].isna().all()


@needs_sample
def test_an_architecture_with_fewer_seeds_keeps_those_it_has(tmp_path):
    folder = copy_sample(tmp_path / "some")
    changed = record(11)
    changed["200"]["dataset_seed"]["cifar100"] = [999]
    changed["200"]["dataset_seed"]["cifar10"] = [888, 999]
    (folder / file_name(11)).write_bytes(bz2.compress(pickle.dumps(changed)))
    out = tmp_path / "out.parquet"
    import_nasbench201(folder, out, allow_partial=True)
    frame = snas.tables.read(out, ACCURACIES).set_index(["dataset", "arch"])
    row = frame.loc["cifar100", 11]
    assert row["accuracy"] == row["accuracy_999"] == OFFICIAL[11, "cifar100"][3] / 100
    assert np.isnan(row["accuracy_777"])
    losses = changed["200"]["all_results"]["cifar10", 888]["train_losses"]
    assert row["code_1"] == np.float32(losses[0])
    drawn, _ = read_accuracies(out, "cifar100", "one_seed")
    assert drawn.set_index("arch").loc[11, "seed"] == 999


@needs_sample
def test_what_is_read_is_kept_until_all_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(source_nats_bench, "PART", 1)
    asked = []
    read_part = nats_bench.read_part
    monkeypatch.setattr(
        nats_bench, "read_part", lambda r: asked.extend(m[0] for m in r["members"]) or read_part(r)
    )
    folder, out = copy_sample(tmp_path / "source"), tmp_path / "out.parquet"

    def interrupt(done, total, text):
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_nasbench201(folder, out, allow_partial=True, progress=interrupt)
    assert not out.exists()
    assert len(list((tmp_path / "out.parquet.parts").iterdir())) == 2
    # one of the two parts becomes stale: its file changes
    stale = min(asked[:2])
    os.utime(folder / file_name(stale), ns=(1, 1))
    asked.clear()
    seen = []
    import_nasbench201(folder, out, allow_partial=True, progress=lambda *state: seen.append(state))
    assert len(asked) == 2
    assert stale in asked
    assert seen[-1] == (2, 2, "architectures")
    assert not (tmp_path / "out.parquet.parts").exists()
    direct = tmp_path / "direct.parquet"
    import_nasbench201(SAMPLE, direct, allow_partial=True)
    pd.testing.assert_frame_equal(snas.tables.read(out, ACCURACIES), snas.tables.read(direct, ACCURACIES))
    assert snas.tables.metadata(out)["content_sha256"] == snas.tables.metadata(direct)["content_sha256"]


@needs_sample
def test_a_kill_loses_only_the_part_in_flight(tmp_path, sample):
    script = (
        "import sys, os, signal\nfrom snas.spaces import source_nats_bench as s\n"
        "from snas.spaces.nasbench201_import import import_nasbench201\n"
        "s.PART = 1\nkill = lambda done, total, text: done == 1 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_nasbench201(sys.argv[1], sys.argv[2], allow_partial=True, jobs=2, progress=kill)\n"
    )
    out = tmp_path / "out.parquet"
    child = subprocess.run(
        [sys.executable, "-c", script, str(SAMPLE), str(out)], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not out.exists()
    assert list((tmp_path / "out.parquet.parts").glob("part_*.parquet"))
    import_nasbench201(SAMPLE, out, allow_partial=True)  # with parts of another size: they are not mixed up
    pd.testing.assert_frame_equal(snas.tables.read(out, ACCURACIES), snas.tables.read(sample, ACCURACIES))
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


@needs_table
def test_the_whole_table(whole):
    frame, found = snas.tables.read(whole, ACCURACIES), snas.tables.metadata(whole)
    assert found["datasets"] == dict.fromkeys(DATASETS, 15_625)
    assert found["complete"] is True
    assert found["per_seed"] is False
    assert found["code_epochs"] == [10, 30, 50]
    assert found["code_price"] == 0.025  # docs/definitions.md, section 2
    assert frame["flops_m"].notna().sum() == frame["code_1"].notna().sum() == 3 * 15_614
    best = {d: round(100 * g["accuracy"].max(), 4) for d, g in frame.groupby("dataset")}
    assert best == {"cifar10": 94.3733, "cifar100": 73.5133, "imagenet16-120": 47.3111}
    source = pd.read_parquet(TABLE).set_index(["dataset", "arch_id"])
    row = frame.set_index(["dataset", "arch"]).loc["cifar100", 7777]
    curve = source.loc[("cifar100", 7777), "early_losses"]
    assert [row[f"code_{place}"] for place in (1, 2, 3)] == [curve[9], curve[29], curve[49]]
    assert row["accuracy"] == source.loc[("cifar100", 7777), "test_accuracy_200"]


@needs_table
def test_an_imported_table_is_a_source_too(whole, tmp_path):
    out = tmp_path / "again.parquet"
    found = import_nasbench201(whole, out)
    pd.testing.assert_frame_equal(snas.tables.read(out, ACCURACIES), snas.tables.read(whole, ACCURACIES))
    assert found["code_epochs"] == [10, 30, 50]
    assert found["title"] == "NAS-Bench-201"
    with pytest.raises(InputError, match="it was imported with those of 10, 30, 50"):
        import_nasbench201(whole, tmp_path / "more.parquet", code_epochs=(1, 2, 3))


def test_the_command_says_what_the_table_holds(tmp_path, capsys):
    table(range(30)).to_parquet(tmp_path / "t.parquet")
    arguments = [
        "import-nasbench201",
        str(tmp_path / "t.parquet"),
        "--out",
        str(tmp_path / "out.parquet"),
        "--allow-partial",
    ]
    assert main([*arguments, "--code-epochs", "5", "6", "7"]) == 0
    said = capsys.readouterr().out
    assert (
        "cifar10 30, cifar100 30, imagenet16-120 30; means over seeds only; codes from epochs 5, 6, 7" in said
    )
    assert snas.tables.metadata(tmp_path / "out.parquet")["code_epochs"] == [5, 6, 7]
    (tmp_path / "out.parquet").unlink()
    for wrong, sentence in (
        (
            ["--out", "a.csv"],
            "snas: --out a.csv: a Parquet file is made, so its name has to end with .parquet\n",
        ),
        (["--jobs", "0"], "snas: --jobs 0: at least 1 is expected\n"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert capsys.readouterr().err == sentence
    assert main(arguments[:-1]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"snas: {tmp_path}/t.parquet: 30 architectures of cifar10, 15625 are needed")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.parquet").exists()


def test_a_column_in_another_order_is_noticed(tmp_path):
    draw = np.random.default_rng(0)
    archs = draw.permutation(15_625)[:1500]
    frame = table(sorted(archs.tolist()), ("cifar10",))
    true = frame["test_accuracy_200"]
    frame["test_accuracy_12"] = (true - 0.02 * draw.random(len(true))).clip(0.1)
    frame["test_accuracy_200_777"] = (true + 0.01 * draw.standard_normal(len(true))).clip(0.1, 1)
    frame["early_losses"] = [(3 - 2 * a - 0.01 * np.arange(50)).tolist() for a in true]
    source = tmp_path / "source.parquet"
    frame.to_parquet(source)
    import_nasbench201(source, tmp_path / "out.parquet", allow_partial=True)
    read = {
        "test_accuracy_12": "accuracy_12",
        "test_accuracy_200_777": "accuracy_777",
        "early_losses": "code_1",
    }
    for column, name in read.items():
        frame.assign(**{column: frame[column].to_numpy()[draw.permutation(len(frame))]}).to_parquet(source)
        with pytest.raises(InputError, match=rf"column '{name}' on cifar10 has the rank correlation -?0\.0"):
            import_nasbench201(source, tmp_path / "other.parquet", allow_partial=True)


def test_data_sets_are_told_apart_by_most_architectures_that_learn():
    """CIFAR-10 is the easier one for the median; the same numbers twice are one data set under two names."""
    learn = np.flatnonzero(~accuracies.cut_off())[:9]
    hard = 0.5 + 0.01 * np.arange(9)

    def checked(easy, datasets=("cifar10", "cifar100")):
        columns = {"arch": np.tile(learn, 2), "accuracy": np.concatenate([easy, hard])}
        frame = pd.DataFrame({"dataset": np.repeat(datasets, 9), **columns})
        return accuracies.complete(frame, "a table", allow_partial=True)

    few_fail = np.where(np.arange(9) < 4, 0.1, hard + 0.01)
    assert few_fail.mean() < hard.mean()
    assert len(checked(few_fail)) == 18
    said = "most architectures are no better on cifar10 than on cifar100: the data sets are swapped"
    for easy in (hard, np.where(np.arange(9) < 4, 0.99, hard), np.where(np.arange(9) < 4, 0.99, hard - 0.01)):
        with pytest.raises(InputError, match=said):
            checked(easy)
    with pytest.raises(InputError, match=r"no better on cifar100 than on imagenet16-120"):
        checked(hard, ("cifar100", "imagenet16-120"))
    # cells that learn nothing are better on CIFAR-10 in any case, and say nothing of the others
    cut = np.flatnonzero(accuracies.cut_off())[:20]
    archs, nothing = np.concatenate([learn, cut]), np.ones(20)
    frame = pd.concat(
        pd.DataFrame(
            {"dataset": name, "arch": archs, "accuracy": np.concatenate([values, nothing / classes])}
        )
        for name, values, classes in (("cifar10", hard - 0.01, 10), ("cifar100", hard, 100))
    )
    with pytest.raises(InputError, match=said):
        accuracies.complete(frame, "a table", allow_partial=True)


def test_a_cell_that_learns_nothing_is_at_chance():
    """To five parts in a hundred, which no network that learns comes near."""
    cut = np.flatnonzero(accuracies.cut_off())[:1]
    frame = pd.DataFrame({"dataset": ["cifar10"], "arch": cut})
    for accuracy in (0.0996, 0.1, 0.1004):
        assert len(accuracies.complete(frame.assign(accuracy=accuracy), "a table", allow_partial=True)) == 1
    for accuracy in (0.09, 0.11):
        with pytest.raises(
            InputError, match=f"accuracy {accuracy:g}; chance is 0.1; so accuracies belong to other"
        ):
            accuracies.complete(frame.assign(accuracy=accuracy), "a table", allow_partial=True)


def test_a_table_of_something_else_is_not_overwritten_unasked(tmp_path, capsys):
    source, other, out = (tmp_path / name for name in ("t.parquet", "other.csv", "out.parquet"))
    frame = table(range(30))
    frame.to_parquet(source)
    frame.drop(columns="early_losses").to_csv(other, index=False)

    def run(*words):
        status = main(["import-nasbench201", *map(str, words), "--out", str(out), "--allow-partial"])
        return status, capsys.readouterr().err

    keep = "; --out FILE leaves it as it is, --overwrite replaces it\n"
    assert run(source) == (0, "")
    made = out.read_bytes()
    assert run(source) == (0, ""), "the same again"
    assert run(source, "--code-epochs", 10, 30, 50) == (0, ""), "its usual ones"
    assert out.read_bytes() == made
    assert run(other) == (2, f"snas: {out} exists, made from t.parquet, and this is other.csv{keep}")
    said = f"snas: {out} exists, made with codes of epochs 10, 30, 50, and now it would be 1, 2, 3{keep}"
    assert run(source, "--code-epochs", 1, 2, 3) == (2, said)
    frame.assign(test_accuracy_12=0.1).to_parquet(source)
    assert run(source) == (2, f"snas: {out} exists, made when its source held something else{keep}")
    frame.drop(columns="early_losses").to_parquet(
        source
    )  # without epochs named, what they are shows when it is read
    said = f"snas: {out} exists, made with codes of epochs 10, 30, 50, and now it would be none{keep}"
    assert run(source) == (2, said)
    assert out.read_bytes() == made
    assert run(other, "--overwrite") == (0, "")
    assert snas.tables.metadata(out)["source"] == "other.csv"
    assert run(tmp_path / "nothere.csv")[1] == (
        f"snas: {tmp_path}/nothere.csv: no such file or folder; a source of NAS-Bench-201 is expected\n"
    )


@pytest.mark.parametrize("content", [b"", b"my notes", None])
def test_a_file_that_is_no_imported_table_is_not_overwritten_unasked(tmp_path, content):
    table(range(30)).to_parquet(tmp_path / "t.parquet")
    out = tmp_path / "out.parquet"
    if content is None:
        table(range(30)).to_parquet(out)
    else:
        out.write_bytes(content)
    before = out.read_bytes()
    with pytest.raises(
        InputError, match=r"out\.parquet exists and is no imported table of NAS-Bench-201; --out FILE"
    ):
        import_nasbench201(tmp_path / "t.parquet", out, allow_partial=True, overwrite=False)
    assert out.read_bytes() == before
    import_nasbench201(tmp_path / "t.parquet", out, allow_partial=True)
    assert snas.tables.metadata(out)["kind"] == "table"


@needs_sample
def test_an_interrupted_import_over_an_earlier_table_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(source_nats_bench, "PART", 1)
    out = tmp_path / "out.parquet"
    import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=(1, 2, 3))
    made = out.read_bytes()

    def interrupt(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=(2, 3, 4), progress=interrupt)
    with pytest.raises(InputError, match="made with codes of epochs 1, 2, 3, and now it would be 2, 3, 4"):
        import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=(2, 3, 4), overwrite=False)
    assert out.read_bytes() == made
    seen = []
    import_nasbench201(
        SAMPLE, out, allow_partial=True, code_epochs=(2, 3, 4), progress=lambda *state: seen.append(state)
    )
    assert seen == [(1, 1, "architectures")], "what had been read was kept"
    assert snas.tables.metadata(out)["code_epochs"] == [2, 3, 4]
    import_nasbench201(SAMPLE, out, allow_partial=True, code_epochs=(2, 3, 4), overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


@needs_sample
def test_the_command_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    from snas import __main__ as command

    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(command.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(source_nats_bench, "PART", 1)
    arguments = [str(SAMPLE), "--out", str(tmp_path / "out.parquet"), "--allow-partial", "--jobs", "1"]
    assert main(["import-nasbench201", *arguments]) == 0
    said = capsys.readouterr()
    assert "2 of 3 architectures" in said.err
    assert "left" in said.err
    assert "accuracies per seed; codes from epochs 1, 2, 3 (1.5 % of a complete training each)" in said.out


def test_every_column_that_is_read_is_documented():
    documented = (Path(__file__).parents[2] / "docs" / "nasbench201.md").read_text(encoding="utf-8")
    for name in (*source_table.RENAMED, source_table.CURVE, "loss_1"):
        assert f"`{name}`" in documented, name


def test_csv_and_parquet_give_the_same(tmp_path):
    frame = table(range(0, 200, 7))
    frame.to_parquet(tmp_path / "t.parquet")
    csv = frame.assign(early_losses=frame["early_losses"].map(lambda c: " ".join(map(repr, c))))
    csv.to_csv(tmp_path / "t.csv", index=False)
    csv.drop(columns="arch_id").to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    results = []
    for name in ("t.parquet", "t.csv", "t.tsv"):
        found = import_nasbench201(tmp_path / name, tmp_path / "out.parquet", allow_partial=True)
        assert found["datasets"] == dict.fromkeys(DATASETS, 29)
        results.append(snas.tables.read(tmp_path / "out.parquet", ACCURACIES))
    for result in results[1:]:
        pd.testing.assert_frame_equal(results[0], result)
    assert results[0]["code_2"][0] == np.float32(3.0 - 29 / 100)
    assert results[0]["validation"].isna().all()


def test_losses_in_columns_of_their_own(tmp_path):
    frame = table(range(3)).drop(columns="early_losses")
    for epoch in (1, 2, 3, 5):
        frame[f"loss_{epoch}"] = 4.0 - epoch
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = import_nasbench201(tmp_path / "t.csv", tmp_path / "o.parquet", allow_partial=True)
    assert found["code_epochs"] == [1, 2, 3]
    assert found["code_price"] == 3 / 200
    import_nasbench201(tmp_path / "t.csv", tmp_path / "o.parquet", allow_partial=True, code_epochs=(1, 3, 5))
    assert snas.tables.read(tmp_path / "o.parquet", ACCURACIES)["code_3"].tolist() == [-1.0] * 9


@needs_sample
@pytest.mark.parametrize(("protocol", "number"), [(2, float), (4, np.float64)])
def test_naslib_files(tmp_path, protocol, number):
    folder = tmp_path / "naslib"
    folder.mkdir()
    files = {"cifar10-valid": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "ImageNet16"}
    for dataset, name in files.items():
        content = pickle.dumps(naslib(ARCHS, dataset, number=number), protocol)
        (folder / f"nb201_{name}_full_training.pickle").write_bytes(content)
    out = tmp_path / "out.parquet"
    found = import_nasbench201(folder, out, allow_partial=True)
    assert found["kind"] == "naslib"
    assert "evaluation accuracy" in found["title"]
    assert found["datasets"] == dict.fromkeys(DATASETS, 3)
    assert [code_price(found, dataset) for dataset in DATASETS] == pytest.approx(
        [0.015, 0.0075, 0.015 * 25_000 / 151_700]
    ), "CIFAR-10 is trained on half of its images there"
    frame = snas.tables.read(out, ACCURACIES).set_index(["dataset", "arch"])
    for (dataset, arch), row in frame.iterrows():
        name = {"cifar10": "cifar10-valid", "imagenet16-120": "ImageNet16-120"}.get(dataset, dataset)
        results = record(arch)["200"]["all_results"]
        which = "x-valid" if dataset == "cifar10" else "ori-test"
        assert row["accuracy"] == results[name, 777]["eval_acc1es"][f"{which}@199"] / 100
        assert np.isnan(row["validation"])
        assert row["seconds_200"] == pytest.approx(200 * results[name, 777]["train_times"][0])
        own = results["cifar10-valid", 777]["train_losses"]  # for every data set
        assert [row[f"code_{p}"] for p in (1, 2, 3)] == [np.float32(own[e]) for e in (0, 1, 2)]
    one = import_nasbench201(folder / "nb201_cifar100_full_training.pickle", out, allow_partial=True)
    assert one["datasets"] == {"cifar100": 3}
    assert "on each data set" in one["code_source"]
    assert code_price(one, "cifar100") == 0.015
    losses = record(11)["200"]["all_results"]["cifar100", 777]["train_losses"]
    assert snas.tables.read(out, ACCURACIES).set_index("arch").loc[11, "code_1"] == np.float32(losses[0])


@needs_sample
def test_naslib_keys_may_be_operation_indices(tmp_path):
    # architecture 11: nor_conv_3x3 | nor_conv_3x3, avg_pool | none, nor_conv_3x3, avg_pool (by target node)
    indices = {0: (4, 3, 3, 0, 0, 0), 11: (2, 2, 1, 4, 2, 4), 284: _indices(284)}
    assert indices[11] == _indices(11)
    assert indices[0] == _indices(0)
    path = tmp_path / "nb201_cifar10_full_training.pickle"
    path.write_bytes(pickle.dumps(naslib(ARCHS, key=lambda cell, arch: indices[arch])))
    import_nasbench201(path, tmp_path / "out.parquet", allow_partial=True)
    frame = snas.tables.read(tmp_path / "out.parquet", ACCURACIES)
    assert frame["arch"].tolist() == list(ARCHS)
    assert frame["cell"].tolist() == [cells()[arch] for arch in ARCHS]


def _indices(arch):
    """Six indices by edge (01, 02, 03, 12, 13, 23), read off the arch string by its numbers."""
    nodes = [node.strip("|").split("|") for node in cells()[arch].split("+")]
    on = {(int(op[-1]), target): op[:-2] for target, ops in enumerate(nodes, start=1) for op in ops}
    order = ["skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"]
    return tuple(order.index(on[edge]) for edge in sorted(on))


def test_analog_nasbench(tmp_path):
    content = analog(possible_percent)
    wheel = tmp_path / "analog_nasbench-0.1.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("analognasbench/data.anb", content)
    package = tmp_path / "analognasbench"
    package.mkdir()
    (package / "data.anb").write_bytes(content)
    for source in (wheel, package, package / "data.anb"):
        found = import_nasbench201(source, tmp_path / "out.parquet")
        assert found["kind"] == "analog_nasbench"
        assert "not the official" in found["title"]
        assert found["datasets"] == {"cifar10": 15_625}
        assert found["code_epochs"] is None
    frame = snas.tables.read(tmp_path / "out.parquet", ACCURACIES)
    assert frame["accuracy"].tolist() == [possible_percent(arch) / 100 for arch in range(15_625)]


def test_analog_nasbench_is_found_and_never_imported(tmp_path, monkeypatch):
    package = tmp_path / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "data.anb").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "analognasbench", raising=False)
    assert source_analog.locate() == package / "data.anb"
    assert "analognasbench" not in sys.modules


def test_the_real_analog_nasbench(tmp_path):
    try:
        source_analog.locate()
    except InputError:
        pytest.skip("the package analog-nasbench is not installed (extra 'nasbench')")
    import_nasbench201("analog-nasbench", tmp_path / "out.parquet")
    frame = snas.tables.read(tmp_path / "out.parquet", ACCURACIES)
    assert frame["accuracy"].max() == pytest.approx(0.940664)
    assert (frame["accuracy"][CUT] == 0.1).all()


def test_341_cells_have_no_path_from_input_to_output():
    assert CUT.sum() == 341
    assert CUT[cells().index("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")]
    assert CUT[cells().index("|none~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|nor_conv_3x3~1|none~2|")]
    assert not CUT[cells().index("|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")]


# The loader ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def seeded(tmp_path_factory):
    """300 architectures with one, two or three recorded seeds each, and the frame that was written."""
    folder = tmp_path_factory.mktemp("seeded")
    frame = table(range(300), ("cifar10",)).drop(columns="early_losses")
    generator = np.random.default_rng(0)
    values = generator.uniform(0.5, 0.9, (300, 3))
    missing = generator.random((300, 3)) < 0.3
    missing[missing.all(axis=1), 1] = False
    values[missing] = np.nan
    values[CUT[:300]] = np.where(missing[CUT[:300]], np.nan, 0.1)
    for place, seed in enumerate(accuracies.SEEDS):
        frame[f"test_accuracy_200_{seed}"] = values[:, place]
    frame["test_accuracy_200"] = np.nanmean(values, axis=1)
    frame.to_parquet(folder / "source.parquet")
    import_nasbench201(folder / "source.parquet", folder / "out.parquet", allow_partial=True)
    return folder / "out.parquet", frame


def test_one_seed_is_a_recorded_one_drawn_once_for_each_base_seed(seeded):
    path, source = seeded
    first, metadata = read_accuracies(path, "cifar10", "one_seed", base_seed=3)
    again, _ = read_accuracies(path, "cifar10", "one_seed", base_seed=3)
    other, _ = read_accuracies(path, "cifar10", "one_seed", base_seed=4)
    pd.testing.assert_frame_equal(first, again)
    assert (first["seed"] != other["seed"]).any()
    assert metadata["per_seed"] is True
    for row, arch in enumerate(first["arch"]):
        assert first["accuracy"][row] == source[f"test_accuracy_200_{first['seed'][row]}"][arch]
        assert first["accuracy_mean"][row] == source["test_accuracy_200"][arch]
    mean, _ = read_accuracies(path, "cifar10")
    assert mean["accuracy"].tolist() == source["test_accuracy_200"].tolist()
    assert set(mean["seed"]) == {0}


def test_one_seed_is_uniform_and_follows_the_index_only(seeded, tmp_path):
    path, source = seeded
    recorded = source[[f"test_accuracy_200_{seed}" for seed in accuracies.SEEDS]].notna().to_numpy()
    draws = np.stack([read_accuracies(path, "cifar10", "one_seed", s)[0]["seed"] for s in range(60)])
    for count in (1, 2, 3):
        rows = recorded.sum(axis=1) == count
        for place, seed in enumerate(accuracies.SEEDS):
            held = rows & recorded[:, place]
            share = (draws[:, held] == seed).mean()
            assert abs(share - 1 / count) < 0.05, (count, seed)
    frame = snas.tables.read(path, ACCURACIES)
    snas.tables.write(tmp_path / "half.parquet", frame[frame["arch"] % 2 == 1], ACCURACIES)
    half, _ = read_accuracies(tmp_path / "half.parquet", "cifar10", "one_seed", 7)
    full, _ = read_accuracies(path, "cifar10", "one_seed", 7)
    assert half["seed"].tolist() == full["seed"][1::2].tolist()
    snas.tables.write(tmp_path / "other.parquet", frame.assign(dataset="cifar100"), ACCURACIES)
    other, _ = read_accuracies(tmp_path / "other.parquet", "cifar100", "one_seed", 7)
    assert other["seed"].tolist() != full["seed"].tolist(), "each data set draws for itself"


@needs_table
def test_the_loader_says_what_is_not_there(whole):
    with pytest.raises(InputError, match=r"'one_seed' needs an accuracy per seed.*use table 'mean'"):
        read_accuracies(whole, "cifar10", "one_seed")
    with pytest.raises(
        InputError, match="no row of data set 'svhn'; it has cifar10, cifar100, imagenet16-120"
    ):
        read_accuracies(whole, "svhn")
    with pytest.raises(InputError, match="unknown table 'seed'"):
        read_accuracies(whole, "cifar10", "seed")


def test_naslib_limits_hold_its_largest_form():
    """Three data sets, four curves of 200 NumPy numbers (six steps each) for every architecture."""
    assert source_naslib.LIMITS.steps > 15_625 * 3 * 4 * 200 * 8
    assert source_naslib.LIMITS.containers < source_naslib.LIMITS.steps
    assert NAME.startswith("NATS-tss")
