"""Sources of NAS-Bench-201 that are not what they should be: one sentence each, and nothing written."""

import bz2
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snas import InputError
from snas.__main__ import main
from snas.spaces import apart, archives, heads, nats_bench, source_naslib, source_table
from snas.spaces.nasbench201_import import import_nasbench201
from tests.spaces.nasbench201_sources import (
    ARCHS,
    CUT,
    NAME,
    SAMPLE,
    analog,
    copy_sample,
    file_name,
    naslib,
    needs_sample,
    possible_percent,
    record,
    table,
    tar_sample,
)


def refuse(source, folder, sentence, **options):
    """Assert that the import is refused in one sentence with ``sentence`` in it, and leaves nothing."""
    out = folder / "made here" / "out.parquet"
    with pytest.raises(InputError) as refusal:
        import_nasbench201(source, out, **{"allow_partial": True, **options})
    text = str(refusal.value)
    assert sentence in text
    assert "\n" not in text
    assert len(text) < 700
    assert not out.parent.exists()
    return text


def read_or_refused(read):
    """Return what ``read`` returns, None where it refuses in one line; anything else fails the test."""
    try:
        return read()
    except InputError as refusal:
        text = str(refusal)
    assert "\n" not in text
    return None


# The official files -------------------------------------------------------------------------------------------------
def _system(marker):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    return Evil()


def _changed(change):
    def make(folder):
        changed = record(11)
        change(changed)
        return bz2.compress(pickle.dumps(changed, 4))

    return make


def _set(path, value):
    def change(found):
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return _changed(change)


FULL = ("200", "all_results", ("cifar10", 777))
CONTENTS = {
    "hostile pickle": (lambda f: bz2.compress(pickle.dumps(_system(f / "marker"))), "system', which is not on the list"),
    "hostile value": (
        lambda f: _changed(lambda r: r["200"].update(x=_system(f / "marker")))(f),
        "system', which is not on the list",
    ),
    "truncated bz2": (lambda f: (SAMPLE / file_name(11)).read_bytes()[:-100], "truncated: its bz2 stream does not end"),
    "half a bz2": (lambda f: (SAMPLE / file_name(11)).read_bytes()[:40_000], "truncated"),
    "damaged bz2": (lambda f: (SAMPLE / file_name(11)).read_bytes()[:5000] + b"\xff" * 80_000, "not a readable bz2"),
    "two bz2": (lambda f: 2 * (SAMPLE / file_name(11)).read_bytes(), "bytes after the end of its bz2 stream"),
    "no bz2": (lambda f: b"hello", "not a readable bz2"),
    "empty": (lambda f: b"", "truncated"),
    "bz2 bomb": (lambda f: bz2.compress(bytes(100_000_000)), "unpacks to more than 4194304 bytes"),
    "big file": (lambda f: os.urandom(3_000_000), "has 3000000 bytes; such a file has at most"),
    "truncated pickle": (lambda f: bz2.compress(pickle.dumps(record(11), 4)[:-5000]), "pickle is truncated"),
    "deep pickle": (lambda f: bz2.compress(b"\x80\x04)" + b"\x85" * 400_000 + b"."), "more than 20000 containers"),
    "not a record": (lambda f: bz2.compress(pickle.dumps([1, 2])), "no '200' where the format of NATS-Bench has it"),
    "another architecture": (lambda f: (SAMPLE / file_name(284)).read_bytes(), "holds another architecture"),
    "other string": (_set(("200", "arch_str"), "|none~0|"), "are of different architectures"),
    "no data set": (_changed(lambda r: r["200"]["dataset_seed"].pop("cifar100")), "no 'cifar100'"),
    "no seed": (_set(("200", "dataset_seed", "cifar100"), []), "no seeds of cifar100"),
    "odd seed": (
        _changed(
            lambda r: (
                r["200"]["dataset_seed"].update(cifar10=[111]),
                r["200"]["all_results"].update({("cifar10", 111): r["200"]["all_results"]["cifar10", 777]}),
            )
        ),
        "seed 111 of cifar10; 777, 888, 999 are known",
    ),
    "seed twice": (_set(("200", "dataset_seed", "cifar10"), [777, 777]), "occurs twice"),
    "no results": (_changed(lambda r: r["200"]["all_results"].pop(("cifar10", 777))), "('cifar10', 777)"),
    "accuracy text": (_set((*FULL, "eval_acc1es", "ori-test@199"), "91"), "is not a finite number"),
    "accuracy NaN": (_set((*FULL, "eval_acc1es", "ori-test@199"), float("nan")), "is not a finite number"),
    "accuracy 101": (_set((*FULL, "eval_acc1es", "ori-test@199"), 101.0), "0 to 100 percent are expected"),
    "no curve": (_changed(lambda r: r["200"]["all_results"]["cifar10", 777].pop("train_losses")), "no 'train_losses'"),
    "short curve": (_set((*FULL, "train_losses"), {0: 1.0}), "no 1 where"),
    "wrong cost": (
        _changed(lambda r: [v.update(flop=99.0) for v in r["200"]["all_results"].values()]),
        "has 99 million, but its FLOPs (MACs + classes) are 113.951 million",
    ),
}  # fmt: skip


@needs_sample
@pytest.mark.parametrize("name", CONTENTS)
def test_a_bad_file_among_the_official_ones(tmp_path, name):
    make, sentence = CONTENTS[name]
    folder = copy_sample(tmp_path / "nats")
    (folder / file_name(11)).write_bytes(make(tmp_path))
    text = refuse(folder, tmp_path, sentence)
    assert name == "wrong cost" or file_name(11) in text
    assert not (tmp_path / "marker").exists()


@needs_sample
def test_processes_refuse_in_the_same_sentence(tmp_path):
    folder = copy_sample(tmp_path / "nats")
    (folder / file_name(284)).write_bytes(bz2.compress(pickle.dumps(_system(tmp_path / "marker"))))
    assert refuse(folder, tmp_path, "not on the list", jobs=1) == refuse(
        folder, tmp_path, "not on the list", jobs=2
    )


@needs_sample
def test_what_lies_in_the_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", tmp_path, "holds no file such as 000000.pickle.pbz2")
    refuse(tmp_path / "not there", tmp_path, "no such file or folder")
    refuse(
        SAMPLE,
        tmp_path,
        "3 architectures, 15625 are needed (the first that lacks is 000001)",
        allow_partial=False,
    )
    folder = copy_sample(tmp_path / "more")
    (folder / file_name(15_625)).write_bytes(b"")
    refuse(folder, tmp_path, "015625.pickle.pbz2 is beyond the 15625 architectures")
    folder = copy_sample(tmp_path / "link")
    (folder / file_name(5)).symlink_to("/etc/hostname")
    refuse(folder, tmp_path, "is a link; only plain files are read")
    folder = copy_sample(tmp_path / "index")
    (folder / "meta.pickle.pbz2").write_bytes(
        bz2.compress(pickle.dumps({"meta_archs": ["|none~0|"] * 15_625}))
    )
    refuse(folder, tmp_path, "its index is not that of NAS-Bench-201's")
    folder = copy_sample(tmp_path / "evil index")
    (folder / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(_system(tmp_path / "marker"))))
    refuse(folder, tmp_path, "not on the list")
    assert not (tmp_path / "marker").exists()


def _entry(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return [(info, b"")]


@needs_sample
@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (_entry(f"{NAME}/../../000001.pickle.pbz2"), "leads outside"),
        (_entry("/etc/000001.pickle.pbz2"), "leads outside"),
        (_entry("..\\000001.pickle.pbz2"), "leads outside"),
        (_entry(f"{NAME}/000001.pickle.pbz2", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (_entry(f"{NAME}/000001.pickle.pbz2", tarfile.LNKTYPE, f"{NAME}/000000.pickle.pbz2"), "is a link"),
        (_entry(f"{NAME}/000001.pickle.pbz2", tarfile.FIFOTYPE), "not a plain file"),
        (_entry(f"{NAME}/000001.pickle.pbz2", tarfile.CHRTYPE), "not a plain file"),
        (_entry("elsewhere/000000.pickle.pbz2"), "occurs twice in the tar"),
    ],
)
def test_tars_that_lead_elsewhere(tmp_path, extra, sentence):
    refuse(tar_sample(tmp_path / "nats.tar", extra), tmp_path, sentence)


@needs_sample
def test_tars_that_are_cut_packed_or_no_tars(tmp_path):
    good = tar_sample(tmp_path / "good.tar").read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(good[:100_000])
    refuse(cut, tmp_path, "cut.tar")
    packed = tmp_path / "packed.tar.bz2"
    packed.write_bytes(bz2.compress(good))
    refuse(packed, tmp_path, "a compressed tar is unpacked first")
    other = tmp_path / "other.tar"
    other.write_bytes(os.urandom(20_000))
    refuse(other, tmp_path, "is not a readable tar")
    other.write_bytes(b"")
    refuse(other, tmp_path, "other.tar")


def test_a_tar_of_very_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as tar:
        for place in range(60):
            tar.addfile(tarfile.TarInfo(f"{place:06d}.pickle.pbz2"))
    refuse(path, tmp_path, "holds more than 50 files")


@needs_sample
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_of_a_tar_are_read_or_refused(tmp_path, data):
    path = tmp_path / "changed.tar"
    content = bytearray(tar_sample(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        header = data.draw(st.sampled_from([0, 84_480, 170_496]))
        content[header + data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    found = read_or_refused(lambda: archives.members(path))
    assert all(member.offset + member.size <= len(content) for member in (found or {}).values())


@needs_sample
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_changed_bytes_of_an_official_file_are_read_or_refused(data):
    content = bytearray(pickle.dumps(record(11), 4))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    packed = bz2.compress(bytes(content), 1)

    class InMemory(archives.Member):
        def read(self, limit):
            return packed

    member = InMemory("x", SAMPLE, 0, len(packed), 0)
    read_or_refused(lambda: nats_bench.read_architecture(member, 11, (1, 2, 3)))


# Tables -------------------------------------------------------------------------------------------------------------
def _with(column, row, value):
    def change(frame):
        if isinstance(value, float) and column == "arch_id":
            frame[column] = frame[column].astype(float)
        if isinstance(value, str):
            frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


def _swapped(frame):
    names = {"cifar10": "cifar100", "cifar100": "cifar10"}
    return frame.assign(dataset=frame["dataset"].replace(names))


def _swapped_without_costs(frame):
    return _swapped(frame).drop(columns=["flops_m", "params_m"])


def _only(*columns):
    return lambda frame: frame[list(columns)]


def _seeds(values):
    """Columns of all seeds; only 777 was trained."""
    return lambda f: f.assign(
        test_accuracy_200_777=values(f), test_accuracy_200_888=np.nan, test_accuracy_200_999=np.nan
    )


TABLES = {
    "no dataset": (lambda f: f.drop(columns="dataset"), "column 'dataset' is missing; it has 'arch_id'"),
    "no accuracy": (lambda f: f.drop(columns="test_accuracy_200"), "column 'test_accuracy_200' is missing"),
    "no architecture": (lambda f: f.drop(columns=["arch_id", "arch"]), "'arch_id' or 'arch' is needed"),
    "unknown data set": (_with("dataset", 4, "cifar1O"), "row 4: unknown data set 'cifar1o'"),
    "percent": (lambda f: f.assign(test_accuracy_200=f["test_accuracy_200"] * 100), "it looks like percent"),
    "percent, its name": (
        lambda f: f.assign(test_accuracy_12=50.0),
        "column 'test_accuracy_12', row 0: 50 is not an accuracy",
    ),
    "other seeds": (
        _seeds(lambda f: f["test_accuracy_200"] + 0.01 * (f["arch_id"] == 4)),
        "row 4: architecture 4 on cifar10 has the mean accuracy 0.9004, but its seeds have 0.9104",
    ),
    "empty curves": (
        lambda f: f.drop(columns="early_losses").assign(loss_1=1.0, loss_2=np.nan, loss_3=0.5),
        "no row has a loss of epoch 2 in column 'loss_2'",
    ),
    "negative": (_with("test_accuracy_200", 3, -0.1), "row 3: -0.1 is not an accuracy"),
    "missing": (_with("test_accuracy_200", 5, np.nan), "row 5 has no accuracy"),
    "infinite": (_with("test_accuracy_200", 5, np.inf), "row 5: infinite"),
    "another index": (_with("arch_id", 2, 9), "row 2: architecture 9 is"),
    "index too large": (_with("arch_id", 2, 15_625), "row 2: architecture 15625; indices are 0 to 15624"),
    "index below 0": (_with("arch_id", 2, -1), "row 2: architecture -1"),
    "half an index": (_with("arch_id", 2, 2.5), "row 2: the index of the architecture is a whole number"),
    "no such cell": (
        lambda f: _with("arch", 7, "|nor_conv_5x5~0|")(f.drop(columns="arch_id")),
        "row 7: '|nor_conv_5x5~0|' is not an architecture of NAS-Bench-201",
    ),
    "twice": (_with("arch_id", 6, 5), "row 6: architecture 5 is"),
    "twice, no string": (lambda f: _with("arch_id", 6, 5)(f.drop(columns="arch")), "architecture 5 of cifar10 occurs twice"),
    "wrong FLOPs": (_with("flops_m", 8, 12.0), "row 8: architecture 8 on cifar10 has 12 million, but its FLOPs"),
    "wrong parameters": (_with("params_m", 8, 12.0), "has 12 million, but its parameters are"),
    "twenty FLOPs more": (
        lambda f: f.assign(flops_m=f["flops_m"] + 2e-5 * (f["arch_id"] == 8)),
        "row 8: architecture 8 on cifar10 has",
    ),
    "twenty parameters less": (
        lambda f: f.assign(params_m=f["params_m"] - 2e-5 * (f["arch_id"] == 8)),
        "row 8: architecture 8 on cifar10 has",
    ),
    "swapped": (_swapped, "so the data sets are swapped"),
    "swapped, no costs": (_swapped_without_costs, "the data sets are swapped"),
    "short curves": (lambda f: f.assign(early_losses=[[1.0] * 20] * len(f)), "has 20 epochs; epoch 50 is asked for"),
    "empty": (lambda f: f.drop(columns="early_losses").iloc[:0], "no architecture in it"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_wrong(tmp_path, name, suffix, monkeypatch):
    monkeypatch.setattr(source_table, "read", lambda s, code_epochs: source_table.read_here(s, code_epochs))
    change, sentence = TABLES[name]
    frame, path = change(table(range(60))), tmp_path / f"t.{suffix}"
    if suffix == "csv":
        if "early_losses" in frame:
            frame = frame.assign(early_losses=[" ".join(map(str, c)) for c in frame["early_losses"]])
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    refuse(path, tmp_path, sentence)


def test_cells_that_learn_nothing_give_a_swap_away(tmp_path):
    arch = int(np.flatnonzero(CUT)[0])
    frame = table([arch], ["cifar100"]).drop(columns=["flops_m", "params_m", "early_losses"])
    frame.assign(test_accuracy_200=0.1).to_csv(tmp_path / "t.csv", index=False)
    refuse(
        tmp_path / "t.csv",
        tmp_path,
        "has no path from input to output and accuracy 0.1; chance is 0.01; that is chance on cifar10",
    )
    frame.assign(test_accuracy_200=0.7).to_csv(tmp_path / "t.csv", index=False)
    refuse(tmp_path / "t.csv", tmp_path, "accuracies belong to other architectures")


def test_15624_rows(tmp_path):
    frame = table(range(15_625), ["cifar10"]).drop(columns="early_losses").drop(index=777)
    frame.to_parquet(tmp_path / "t.parquet")
    sentence = "15624 architectures of cifar10, 15625 are needed (the first that lacks is 777)"
    refuse(tmp_path / "t.parquet", tmp_path, sentence, allow_partial=False)


def test_codes_that_the_source_has_not(tmp_path):
    table(range(9)).drop(columns="early_losses").to_csv(tmp_path / "t.csv", index=False)
    sentence = "codes of epochs 1, 2, 3 are asked for, and it has neither column 'early_losses' nor 'loss_1'"
    refuse(tmp_path / "t.csv", tmp_path, sentence, code_epochs=(1, 2, 3))
    refuse(tmp_path / "t.csv", tmp_path, "three ascending epochs", code_epochs=(1, 2))
    refuse(tmp_path / "t.csv", tmp_path, "three ascending epochs", code_epochs=(3, 2, 1))
    refuse(tmp_path / "t.csv", tmp_path, "three ascending epochs", code_epochs=(1, 2, 201))
    (tmp_path / "data.anb").write_bytes(analog(possible_percent, range(5)))
    refuse(tmp_path / "data.anb", tmp_path, "records no training curves", code_epochs=(1, 2, 3))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "column 'dataset' is missing"),
        (b"\xff\xfed\x00a\x00", "is not UTF-8 text"),
        (b"dataset,arch_id,test_accuracy_200\ncifar10,0,0.5\ncif\xe9r10,1,0.5\n", "is not UTF-8 text"),
        (b"dataset,arch_id,test_accuracy_200\ncifar10,0,=1+1\n", "column 'test_accuracy_200', row 0: '=1+1' is not a number"),
        (b"dataset,arch_id,test_accuracy_200\n=cmd|' /C calc'!A0,0,0.5\n", "unknown data set"),
        (b"dataset,arch_id,test_accuracy_200\ncifar10,0\n", "row 0 has 2 fields, its first line 3"),
        (b'dataset,arch_id,test_accuracy_200\n"cifar10,0,0.5\n', "not a readable CSV"),
        (b"dataset,dataset,arch_id,test_accuracy_200\n", "a column occurs twice"),
        (b"dataset,arch_id,test_accuracy_200\n" + b"cifar10,0,0.5\n" * 46_876, "more than 46875 rows"),
        (b"dataset,arch_id,test_accuracy_200\ncifar10,0," + b"9" * 200_000 + b"\n", "field larger than field limit"),
    ],
)  # fmt: skip
def test_csv_files_that_are_wrong(tmp_path, content, sentence, monkeypatch):
    monkeypatch.setattr(source_table, "read", lambda s, code_epochs: source_table.read_here(s, code_epochs))
    (tmp_path / "t.csv").write_bytes(content)
    refuse(tmp_path / "t.csv", tmp_path, sentence)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    refuse(tmp_path / "t.csv", tmp_path, "is no plain file or folder")


def test_a_column_that_occurs_twice(tmp_path):
    names = ["dataset", "arch_id", "test_accuracy_200", "test_accuracy_200"]
    pq.write_table(pa.table([["cifar10"], [0], [0.8], [0.9]], names=names), tmp_path / "t.parquet")
    refuse(tmp_path / "t.parquet", tmp_path, "column 'test_accuracy_200' occurs twice")


# What shows at the ends of a source ---------------------------------------------------------------------------------
def _saved(frame):
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def _zipped(name, content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(name, content)
    return out.getvalue()


def _tarred(size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("000000.pickle.pbz2")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(i % 251 + 1 for i in range(size))))
    return out.getvalue()


CSV = b"dataset,arch_id,test_accuracy_200\ncifar10,0,0.5\n"
PICKLE = pickle.dumps({"a": list(range(300))})
FOREIGN = "does not begin and end as one"
HEADS = {
    "cut table": ("t.parquet", lambda: _saved(table(range(9)))[:-20], FOREIGN),
    "first half of a table": ("t.parquet", lambda: _saved(table(range(9)))[:5000], FOREIGN),
    "end of a table": ("t.parquet", lambda: _saved(table(range(9)))[5000:], FOREIGN),
    "empty table": ("t.parquet", lambda: b"", FOREIGN),
    "text as a table": ("t.parquet", lambda: CSV, FOREIGN),
    "a footer larger than its file": ("t.parquet", lambda: b"PAR1" + b"\xff\xff\xff\x7fPAR1", FOREIGN),
    "another table": ("t.parquet", lambda: _saved(pd.DataFrame({"x": [1]})), "column 'dataset' is missing"),
    "no accuracies": ("t.pq", lambda: _saved(table([0])[["dataset", "arch_id"]]), "column 'test_accuracy_200' is missing"),
    "no architectures": ("t.pq", lambda: _saved(table([0])[["dataset", "test_accuracy_200"]]), "column 'arch_id' is missing"),
    "another CSV": ("t.csv", lambda: b"hello,world\n1,2\n", "column 'dataset' is missing; it has 'hello', 'world'"),
    "another delimiter": ("t.csv", lambda: CSV.replace(b",", b";"), "it has 'dataset;arch_id;test_accuracy_200'"),
    "empty CSV": ("t.csv", lambda: b"", "column 'dataset' is missing; it has none"),
    "no text": ("t.tsv", lambda: b"\xff\xfe", "is not UTF-8 text"),
    "cut pickle": ("t.pickle", lambda: PICKLE[:-1], FOREIGN),
    "no pickle": ("t.pkl", lambda: b"hello.", FOREIGN),
    "empty pickle": ("t.p", lambda: b"", FOREIGN),
    "cut data.anb": ("data.anb", lambda: PICKLE[:-1], FOREIGN),
    "cut wheel": ("a.whl", lambda: _zipped("analognasbench/data.anb", PICKLE)[:-30], "no data.anb of analog-nasbench can be read"),
    "another wheel": ("a.whl", lambda: _zipped("x", b""), "no data.anb of analog-nasbench can be read"),
    "cut tar": ("a.tar", lambda: _tarred(9000)[:5000], "a.tar"),
    "packed tar": ("a.tar.bz2", lambda: bz2.compress(_tarred(9000)), "a compressed tar is unpacked first"),
    "no tar": ("a.tar", lambda: b"hello" * 1000, "is not a readable tar"),
    "zeros": ("a.tar", lambda: bytes(10_240), "it begins with zeros"),
    "another kind": ("a.txt", lambda: CSV, "is no known source of NAS-Bench-201"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_what_shows_at_the_ends_of_a_source_is_said_without_reading_it(tmp_path, name):
    file, content, sentence = HEADS[name]
    (tmp_path / file).write_bytes(content())
    said = []
    for look in (
        heads.check,
        lambda path: import_nasbench201(path, tmp_path / "out.parquet", allow_partial=True),
    ):
        with pytest.raises(InputError) as refusal:
            look(tmp_path / file)
        said.append(str(refusal.value))
    assert sentence in said[0]
    assert not [text for text in said if "\n" in text or file not in text]


def test_folders_are_known_by_the_names_in_them(tmp_path):
    with pytest.raises(InputError, match="holds no file such as"):
        heads.check(tmp_path)
    inner = tmp_path / NAME
    inner.mkdir()
    for arch in range(15_624):
        (inner / file_name(arch)).touch()
    with pytest.raises(
        InputError, match=r"15624 architectures, 15625 are needed \(the first that lacks is 015624\)"
    ):
        heads.check(tmp_path)
    (inner / file_name(15_624)).touch()
    heads.check(tmp_path)
    (tmp_path / "nb201_x_full_training.pickle").write_bytes(PICKLE)
    heads.check(tmp_path)
    (tmp_path / "nb201_y_full_training.pickle").write_bytes(PICKLE[:-1])
    with pytest.raises(InputError, match=r"nb201_y_full_training\.pickle: not a pickle"):
        heads.check(tmp_path)


def test_what_can_be_imported_begins_and_ends_as_it_should(tmp_path):
    """Every form as its writers write it, also old protocols, and a tar without its end, as some tools make it."""
    (tmp_path / "t.csv").write_bytes(CSV)
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbf" + CSV.replace(b",", b"\t"))
    table(range(9)).to_parquet(tmp_path / "t.parquet")
    table(range(9)).to_parquet(tmp_path / "large.parquet", row_group_size=1)
    import_nasbench201(tmp_path / "t.parquet", tmp_path / "imported.parquet", allow_partial=True)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / f"{protocol}.pickle").write_bytes(pickle.dumps({"a": 1}, protocol))
        (tmp_path / f"empty{protocol}.pickle").write_bytes(pickle.dumps({}, protocol))
    content = analog(possible_percent, range(5))
    (tmp_path / "data.anb").write_bytes(content)
    (tmp_path / "a.whl").write_bytes(_zipped("analognasbench/data.anb", content))
    (tmp_path / "a.tar").write_bytes(_tarred(5000))
    (tmp_path / "endless.tar").write_bytes(_tarred(5120)[: 512 + 5120])
    found = list(tmp_path.iterdir())
    assert len(found) > 18
    for source in found:
        heads.check(source)


def test_what_takes_seconds_is_read_as_a_whole(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(apart, "ask", lambda module, request, label: asked.append(request["source"]))
    (tmp_path / "t.csv").write_bytes(CSV)
    (tmp_path / "t.pickle").write_bytes(PICKLE)
    for name in ("t.csv", "t.pickle"):
        heads.check_whole(tmp_path / name)
    assert asked == [str(tmp_path / "t.csv")], "NASLib's take minutes"
    monkeypatch.undo()
    with pytest.raises(InputError, match="1 architectures of cifar10, 15625 are needed"):
        heads.check_whole(tmp_path / "t.csv")
    whole = table(range(15_625), ["cifar10"]).drop(columns="early_losses")
    whole.to_csv(tmp_path / "t.csv", index=False)
    assert heads.check_whole(tmp_path / "t.csv") == {"cifar10": []}
    more = whole.assign(
        test_accuracy_200_777=whole["test_accuracy_200"], test_accuracy_12=whole["test_accuracy_200"]
    )
    more.assign(loss_1=1.0, loss_2=1.0, loss_3=1.0).to_csv(tmp_path / "more.csv", index=False)
    assert heads.check_whole(tmp_path / "more.csv") == {"cifar10": ["one_seed", "epochs_12", "code"]}
    (tmp_path / "t.pickle").write_bytes(pickle.dumps({"cell": {"cifar10-valid": {}, "ImageNet16-120": {}}}))
    assert heads.check_whole(tmp_path / "t.pickle") == {"cifar10": ["code"], "imagenet16-120": ["code"]}
    with pytest.raises(InputError, match="codes of epochs 1, 2, 3 are asked for"):
        heads.check_whole(tmp_path / "t.csv", (1, 2, 3))


def test_a_source_that_is_wrong_is_named_with_its_key(tmp_path, monkeypatch, capsys):
    (tmp_path / "t.csv").write_bytes(b"a\n")
    (tmp_path / "c.yaml").write_text(f"space: ''\nnasbench201: {tmp_path}/t.csv\nextra_searches: []\n")
    assert main(["config-check", str(tmp_path / "c.yaml")]) == 2
    expected = (
        f"snas: configuration: key 'nasbench201': {tmp_path}/t.csv: column 'dataset' is missing; it has 'a'\n"
    )
    assert capsys.readouterr().err == expected

    def forbidden(source):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(heads, "check", forbidden)
    assert main(["config-check", str(tmp_path / "c.yaml")]) == 2
    assert "key 'nasbench201': " in (said := capsys.readouterr().err)
    assert said.endswith("t.csv cannot be read: Permission denied\n")


def _varint(number):
    """A Thrift integer: zigzag, seven bits a byte."""
    number, out = number * 2, b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def test_a_billion_rows_announced(tmp_path):
    path = tmp_path / "t.parquet"
    table(range(300), ["cifar10"]).drop(columns="early_losses").to_parquet(path)
    content = path.read_bytes()
    size = struct.unpack("<I", content[-8:-4])[0]
    footer = content[-8 - size : -8]
    # the first number of 300 in the footer is the count of rows
    forged = footer.replace(_varint(300), _varint(10**9), 1)
    path.write_bytes(content[: -8 - size] + forged + struct.pack("<I", len(forged)) + b"PAR1")
    assert pq.ParquetFile(path).metadata.num_rows == 10**9
    refuse(path, tmp_path, "announces 1000000000 rows; NAS-Bench-201 on three data sets has 46875")


def test_parquet_files_that_are_wrong(tmp_path, monkeypatch):
    path, good = tmp_path / "t.parquet", table(range(20))
    good.to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    refuse(path, tmp_path, "not a readable Parquet file")
    path.write_bytes(b"PAR1")
    refuse(path, tmp_path, "not a readable Parquet file")
    monkeypatch.setattr(source_table, "read", lambda s, code_epochs: source_table.read_here(s, code_epochs))
    for change, sentence in (
        ({"test_accuracy_200": ["0.5"] * 60}, "column 'test_accuracy_200' has type"),
        ({"dataset": [1] * 60}, "column 'dataset' has type int64; text is needed"),
        ({"early_losses": [1.0] * 60}, "column 'early_losses' has type double; a list of floats is needed"),
        ({"dataset": [None] * 60}, "column 'dataset' has type"),
    ):
        good.assign(**change).to_parquet(path)
        refuse(path, tmp_path, sentence)
    monkeypatch.setattr(source_table, "MAX_CURVE", 1)  # 46,875 values are then the most
    good.assign(early_losses=[[0.0] * 1000] * 60).to_parquet(path)
    refuse(path, tmp_path, "column 'early_losses' announces 60000 values; at most 46875 belong here")
    pq.write_table(pa.table({"dataset": pa.nulls(46_876, pa.string())}), path)
    refuse(path, tmp_path, "announces 46876 rows")


def test_a_reader_that_crashes_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "snas_crash.py").write_text(
        "import os, sys\nprint('what(): bad', file=sys.stderr)\nos.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"^t\.parquet cannot be read; it is damaged or foreign \(.*SIGABRT: what\(\): bad"
    ):
        apart.ask("snas_crash", {}, "t.parquet")
    (tmp_path / "snas_memory.py").write_text(
        "from snas.spaces import apart\napart.MEMORY = 1 << 28\napart.serve(lambda request: {'x': len(bytearray(1 << 30))})\n"
    )
    with pytest.raises(InputError, match=r"cannot be read.*MemoryError"):
        apart.ask("snas_memory", {}, "t.parquet")


# NASLib and analog-nasbench -----------------------------------------------------------------------------------------
@needs_sample
def test_naslib_files_that_are_wrong(tmp_path):
    path = tmp_path / "nb201_cifar10_full_training.pickle"
    one = naslib(ARCHS[:1])
    cell = next(iter(one))
    for value, sentence in (
        ([1, 2], "a dictionary of architectures is expected, not a list"),
        ({}, "no architecture in it"),
        ({cell: {}}, "has no results"),
        ({cell: {"svhn": one[cell]["cifar10-valid"]}}, "unknown data set 'svhn'"),
        ({cell: {"cifar10-valid": {}}}, "'eval_acc1es' is not a curve of 200 epochs"),
        (
            {cell: {"cifar10-valid": one[cell]["cifar10-valid"] | {"eval_acc1es": [90.0] * 199}}},
            "not a curve of 200",
        ),
        (
            {cell: {"cifar10-valid": one[cell]["cifar10-valid"] | {"eval_acc1es": [900.0] * 200}}},
            "0 to 100 percent",
        ),
        (
            {cell: {"cifar10-valid": one[cell]["cifar10-valid"] | {"train_losses": ["a"] * 200}}},
            "not numbers",
        ),
        ({(0, 1, 2): one[cell]}, "six operation indices from 0 to 4 are expected"),
        ({(0, 1, 2, 3, 4, 5): one[cell]}, "six operation indices from 0 to 4 are expected"),
        ({"|none~0|": one[cell]}, "is not an architecture of NAS-Bench-201"),
        ({cell: one[cell], "x": _system(tmp_path / "marker")}, "not on the list of what may be built"),
    ):
        path.write_bytes(pickle.dumps(value, 4))
        refuse(path, tmp_path, sentence)
    assert not (tmp_path / "marker").exists()
    path.write_bytes(pickle.dumps(one, 4))
    refuse(path, tmp_path, "1 architectures of cifar10, 15625 are needed", allow_partial=False)
    path.write_bytes(b"")
    refuse(path, tmp_path, "has 0 bytes")
    path.write_bytes(b"\x80\x04" + b"\x8f" * 200_000)
    limits = source_naslib.LIMITS
    source_naslib.LIMITS = type(limits)(containers=100_000)
    try:
        refuse(path, tmp_path, "more than 100000 containers")
    finally:
        source_naslib.LIMITS = limits


def test_analog_files_that_are_wrong(tmp_path):
    path = tmp_path / "data.anb"
    path.write_bytes(analog(possible_percent, range(10))[:-50])
    refuse(path, tmp_path, "truncated")
    path.write_bytes(analog(lambda arch: 200.0, range(10)))
    refuse(path, tmp_path, "has no baseline_accuracy from 0 to 100 percent")
    path.write_bytes(analog(lambda arch: possible_percent(arch) / 100, range(15_625)))
    refuse(path, tmp_path, "no path from input to output")
    path.write_bytes(analog(possible_percent, range(10)))
    refuse(path, tmp_path, "10 architectures of cifar10, 15625 are needed", allow_partial=False)
    path.write_bytes(pickle.dumps(_system(tmp_path / "marker")))
    refuse(path, tmp_path, "not on the list of what may be built")
    assert not (tmp_path / "marker").exists()
    wheel = tmp_path / "analog_nasbench-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("something/else.txt", "x")
    refuse(wheel, tmp_path, "no data.anb of analog-nasbench can be read from it")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("analognasbench/data.anb", bytes(40 << 20))
    refuse(wheel, tmp_path, "has more than 33554432 bytes")


def test_names_and_places(tmp_path):
    (tmp_path / "x.docx").write_bytes(b"x")
    refuse(tmp_path / "x.docx", tmp_path, "is no known source of NAS-Bench-201")
    odd = tmp_path / "-a 'odd' \"$(name)\" ü.csv"
    table(range(3)).drop(columns="early_losses").to_csv(odd, index=False)
    assert (
        import_nasbench201(odd, tmp_path / odd.with_suffix(".parquet"), allow_partial=True)["source"]
        == odd.name
    )
    refuse(tmp_path / "x.docx", tmp_path, "unknown kind 'word' of source", kind="word")
    refuse(tmp_path, tmp_path, "a table is one Parquet or CSV file", kind="table")
    with pytest.raises(InputError, match="written to a file of its own"):
        import_nasbench201(tmp_path / "x.docx", tmp_path / "x.docx")
    assert (tmp_path / "x.docx").read_bytes() == b"x"
