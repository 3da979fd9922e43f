"""Parquet files with a schema: round trip, refusal in one sentence, atomic writing, joining shards."""

import os
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snas import InputError, tables
from snas.tables import Column, Schema

THINGS = Schema(
    "things",
    {
        "arch": Column("int32", "id", low=0),
        "accuracy": Column("float64", "fraction", null=True, low=0, high=1),
        "losses": Column("list<float32>", "per epoch"),
    },
    key=("arch",),
)


def frame(**change):
    return pd.DataFrame({"arch": [0, 1], "accuracy": [0.5, None], "losses": [[1.0, 2.0], []]} | change)


def test_round_trip_with_metadata(tmp_path):
    path = tmp_path / "deep" / "things.parquet"
    tables.write(path, frame(), THINGS, {"recipe": "r", "seconds": 1.5})
    back = tables.read(path, THINGS, expect={"recipe": "r"})
    assert back["arch"].tolist() == [0, 1]
    assert [list(x) for x in back["losses"]] == [[1.0, 2.0], []]
    assert tables.metadata(path) == {"schema": "things", "recipe": "r", "seconds": 1.5}
    assert [p.name for p in path.parent.iterdir()] == ["things.parquet"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"accuracy": [94.37, 0.5]},
            "column 'accuracy', row 0: 94.37 is outside [0, 1]; a fraction is expected, not percent",
        ),
        ({"arch": [3, 3]}, "row 1: arch = 3 occurs twice"),
        ({"arch": [-1, 3]}, "column 'arch', row 0: -1 is outside"),
    ],
)
def test_wrong_values_are_not_written(tmp_path, change, sentence):
    path = tmp_path / "things.parquet"
    with pytest.raises(InputError) as error:
        tables.write(path, frame(**change), THINGS)
    assert sentence in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_table_in_parts_is_the_table(tmp_path):
    parts = [frame(arch=[4, 5]), frame(arch=[0, 9]), frame(arch=[2, 3])]
    tables.write_parts(tmp_path / "parts.parquet", iter(parts), THINGS, {"recipe": "r"})
    tables.write(tmp_path / "whole.parquet", pd.concat(parts, ignore_index=True), THINGS, {"recipe": "r"})
    back, whole = (tables.read(tmp_path / f"{name}.parquet", THINGS) for name in ("parts", "whole"))
    pd.testing.assert_frame_equal(back, whole)
    assert tables.metadata(tmp_path / "parts.parquet") == {"schema": "things", "recipe": "r"}
    assert pq.ParquetFile(tmp_path / "parts.parquet").num_row_groups == 3


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({"arch": [7, -1]}, "column 'arch', row 3: -1 is outside"),
        ({"arch": [7, 1]}, "row 3: arch = 1 occurs twice"),
        ({"arch": [7, 7]}, "row 3: arch = 7 occurs twice"),
        ({"arch": [7, 8], "losses": [[1.0], None]}, "column 'losses', row 3: no value"),
    ],
)
def test_a_wrong_part_leaves_no_file(tmp_path, second, sentence):
    with pytest.raises(InputError) as error:
        tables.write_parts(tmp_path / "things.parquet", [frame(), frame(**second)], THINGS)
    assert sentence in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_a_wrong_type_and_a_missing_value_are_named(tmp_path):
    path = tmp_path / "x.parquet"
    with pytest.raises(InputError, match="column 'losses' of the things table is missing"):
        tables.write(path, frame().drop(columns="losses"), THINGS)
    pq.write_table(pa.table({"arch": ["a"], "accuracy": [0.1], "losses": [[1.0]]}), path)
    with pytest.raises(InputError, match="column 'arch' has type string, expected int32"):
        tables.read(path, THINGS)
    pq.write_table(
        pa.table(
            {
                "arch": pa.array([None], pa.int32()),
                "accuracy": [0.1],
                "losses": pa.array([[1.0]], pa.list_(pa.float32())),
            }
        ),
        path,
    )
    with pytest.raises(InputError, match="column 'arch', row 0: no value"):
        tables.read(path, THINGS)


def test_truncated_foreign_and_absent_files_are_refused(tmp_path):
    path = tmp_path / "things.parquet"
    tables.write(path, frame(), THINGS)
    whole = path.read_bytes()
    for size in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(
            InputError, match=r"things\.parquet: not a readable Parquet .*delete it and run again"
        ):
            tables.read(path, THINGS)
    with pytest.raises(InputError, match="no such file"):
        tables.read(tmp_path / "absent.parquet", THINGS)


WORDS = Schema("words", {"arch": Column("int32", "id"), "name": Column("string", ""), "share": Column("float64", "")}, extra=True)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"arch": pd.array([0, 1], dtype="int16"), "share": pd.array([0.5, 1.0], dtype="float32")},
        {"name": pd.Categorical(["a", "b"]), "share": [0, 1]},
        {"more": ["x", "y"], "name": pa.array(["a", "b"]).to_pandas()},
    ],
)
def test_a_table_as_pandas_writes_it_is_taken_where_it_may_be_a_users_own(change, tmp_path):
    path = tmp_path / "words.parquet"
    written = pd.DataFrame({"arch": [0, 1], "name": ["a", "b"], "share": [0.5, 1.0]} | change)
    written.to_parquet(path)
    found = tables.read(path, WORDS, convert=True)
    assert found["arch"].tolist() == [0, 1]
    assert found["name"].tolist() == ["a", "b"]
    assert found["share"].tolist() == written["share"].tolist()
    assert pa.Schema.from_pandas(found).field("arch").type == pa.int32()
    with pytest.raises(InputError, match=r"column '\w+' has type \S+, expected"):
        tables.read(path, WORDS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arch": [0, 2**31]}, "column 'arch' does not fit int32: Integer value 2147483648 not in range"),
        ({"arch": [0.0, 1.0]}, "column 'arch' has type double, expected int32"),
        ({"arch": ["0", "1"]}, "column 'arch' has type string, expected int32"),
        ({"name": [1, 2]}, "column 'name' has type int64, expected string"),
        ({"share": ["a", "b"]}, "column 'share' has type string, expected double"),
        (
            {"share": pa.array(["a", "b"], pa.large_string())},  # as pandas 3 writes text
            "column 'share' has type large_string, expected double",
        ),
        ({"share": [1, 2**60 + 1]}, "column 'share' does not fit double: Integer value"),
    ],
)
def test_nothing_is_lost_where_types_are_converted(change, sentence, tmp_path):
    path = tmp_path / "words.parquet"
    # not by pandas, whose versions write text as one type or the other
    pq.write_table(pa.table({"arch": [0, 1], "name": ["a", "b"], "share": [0.5, 1.0]} | change), path)
    with pytest.raises(InputError, match=sentence):
        tables.read(path, WORDS, convert=True)


@pytest.mark.parametrize("schema", [THINGS, replace(THINGS, extra=True)])
@pytest.mark.parametrize("name", ["accuracy", "note"])
def test_a_column_that_a_file_has_twice_is_refused(name, schema, tmp_path):
    """Which of the two is meant, nobody can say."""
    path = tmp_path / "things.parquet"
    tables.write(path, frame(), THINGS)
    table = pq.read_table(path)
    for _ in range(2 - table.schema.names.count(name)):
        table = table.append_column(name, pa.array(["a"] * len(table)))
    pq.write_table(table, path)
    with pytest.raises(
        InputError, match=f"things.parquet: column '{name}' occurs twice; a column occurs once"
    ):
        tables.read(path, schema)


@pytest.mark.parametrize("which", range(2))
def test_a_column_whose_name_is_damaged_is_refused(which, tmp_path):
    """The name stands in the file twice."""
    path = tmp_path / "things.parquet"
    tables.write(path, frame(), THINGS)
    parts = path.read_bytes().split(b"accuracy")
    assert len(parts) == 3
    path.write_bytes(
        b"accuracy".join(parts[: which + 1]) + b"\x80ccuracy" + b"accuracy".join(parts[which + 1 :])
    )
    if which == 1:  # nothing is read by this one
        assert tables.read(path, THINGS)["arch"].tolist() == [0, 1]
        return
    with pytest.raises(InputError, match=r"things\.parquet: "):
        tables.read(path, THINGS)


def test_metadata_of_another_recipe_is_refused(tmp_path):
    path = tmp_path / "things.parquet"
    tables.write(path, frame(), THINGS, {"recipe": "short"})
    with pytest.raises(InputError, match="made with recipe = 'short', expected 'full'"):
        tables.read(path, THINGS, expect={"recipe": "full"})


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with tables.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
    with tables.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_other(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with tables.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.npz", []
    monkeypatch.setattr(tables.os, "fsync", lambda number: seen.append(path.exists()))
    with tables.replacing(path) as temporary:
        assert temporary.suffix == ".npz", "numpy gives a name without it another one"
        temporary.write_text("new")
    assert (seen, path.exists()) == ([False], True)


def test_metadata_are_the_same_in_whatever_order_they_are_given(tmp_path):
    for name, facts in (
        ("a", {"recipe": "r", "code": "c"}),
        ("b", {"code": "c", "schema": "x", "recipe": "r"}),
    ):
        tables.write(tmp_path / name, frame(), THINGS, facts)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bounds_belong_to_the_range(tmp_path):
    tables.write(tmp_path / "things.parquet", frame(arch=[0, 5], accuracy=[0.0, 1.0]), THINGS)
    assert tables.read(tmp_path / "things.parquet", THINGS)["accuracy"].tolist() == [0.0, 1.0]


def test_further_columns_are_written_where_the_schema_allows_them(tmp_path):
    path, more = tmp_path / "things.parquet", {"note": ["a", None], "size": [1.5, float("nan")]}
    tables.write(path, frame(**more), THINGS)
    assert pq.read_schema(path).names == list(THINGS.columns)
    tables.write(path, frame(**more), replace(THINGS, extra=True))
    assert pq.read_schema(path).names == [*THINGS.columns, "note", "size"]
    written = pq.read_table(path)
    assert [written[name].null_count for name in ("accuracy", "note", "size")] == [1, 1, 1], (
        "no value, not NaN"
    )


def test_metadata_that_are_expected_must_be_there(tmp_path):
    tables.write(tmp_path / "things.parquet", frame(), THINGS)
    with pytest.raises(InputError, match="made with recipe = None, expected 'full'"):
        tables.read(tmp_path / "things.parquet", THINGS, expect={"recipe": "full"})


def shard(path, archs, **facts):
    facts = {"recipe": "r", "seed": 0, **facts}
    rows = pd.DataFrame({"arch": archs, "accuracy": [0.5] * len(archs), "losses": [[1.0]] * len(archs)})
    tables.write(
        path,
        rows,
        THINGS,
        {**facts, "identity": sorted(facts), "seconds": 2.0, "peak_memory_mb": 10.0, "device": "cpu"},
    )


def test_join_sorts_adds_up_and_refuses_to_mix(tmp_path):
    a, b, c = (tmp_path / f"{name}.parquet" for name in "abc")
    shard(a, [2, 0])
    shard(b, [1])
    shard(c, [3], recipe="other")
    tables.join([a, b], THINGS, tmp_path / "all.parquet")
    assert tables.read(tmp_path / "all.parquet", THINGS)["arch"].tolist() == [0, 1, 2]
    record = tables.metadata(tmp_path / "all.parquet")
    assert (record["seconds"], record["peak_memory_mb"], record["recipe"], record["shards"]) == (
        4.0,
        10.0,
        "r",
        2,
    )
    with pytest.raises(
        InputError, match=r"c\.parquet: made with recipe = 'other', but .*a\.parquet with 'r'"
    ):
        tables.join([a, b, c], THINGS, tmp_path / "mixed.parquet")
    assert not (tmp_path / "mixed.parquet").exists()


def test_a_joined_table_says_what_its_shards_cost(tmp_path):
    costs = [
        {"seconds": 2.0, "cpu_seconds": 1.5, "peak_memory_mb": 10.0, "device": "cpu"},
        {"seconds": 3.0, "cpu_seconds": 2.5, "peak_memory_mb": 8.0, "device": "a GPU", "gpu_seconds": 3.0, "peak_gpu_memory_mb": 7.0},
        {"seconds": 1.0, "cpu_seconds": 0.5, "peak_memory_mb": 9.0, "device": "a GPU", "gpu_seconds": 1.0, "peak_gpu_memory_mb": 6.0},
    ]  # fmt: skip
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, (path, cost) in enumerate(zip(paths, costs, strict=True)):
        facts = {"recipe": "r", "identity": ["recipe"], "versions": {"snas": "1"}}
        tables.write(path, frame(arch=[2 * number, 2 * number + 1]), THINGS, facts | cost)
    tables.join(paths, THINGS, tmp_path / "all.parquet")
    assert tables.metadata(tmp_path / "all.parquet") == {
        "schema": "things", "recipe": "r", "identity": ["recipe"], "versions": {"snas": "1"}, "shards": 3,
        "seconds": 6.0, "cpu_seconds": 4.5, "gpu_seconds": 4.0, "peak_memory_mb": 10.0, "peak_gpu_memory_mb": 7.0,
        "device": "a GPU, cpu",
    }  # fmt: skip


def test_a_shard_that_does_not_say_how_it_was_made_is_not_mixed_in(tmp_path):
    shard(tmp_path / "a.parquet", [0])
    tables.write(tmp_path / "b.parquet", frame(arch=[1, 2]), THINGS)
    with pytest.raises(InputError, match=r"b\.parquet: made with recipe = None, but .*a\.parquet with 'r'"):
        tables.join([tmp_path / "a.parquet", tmp_path / "b.parquet"], THINGS, tmp_path / "all.parquet")


def test_as_much_as_a_table_holds_is_read(tmp_path, monkeypatch):
    path = tmp_path / "words.parquet"
    pq.write_table(
        pa.table({"arch": pa.array(range(10), pa.int32()), "name": ["ab"] * 10, "share": [0.5] * 10}),
        path,
        row_group_size=5,
    )
    monkeypatch.setattr(tables, "MAX_VALUES", 10)
    monkeypatch.setattr(tables, "MAX_TEXT", 20)
    assert len(tables.read(path, WORDS)) == 10
    monkeypatch.setattr(tables, "MAX_TEXT", 19)
    with pytest.raises(InputError, match="'name' has 10 texts of up to 2 bytes; at most 19 bytes"):
        tables.read(path, WORDS)
    lists = frame(arch=range(4), accuracy=0.5, losses=[[1.0] * 3] * 4)
    pq.write_table(tables._arrow(path, lists, THINGS), path, row_group_size=2)
    monkeypatch.setattr(tables, "MAX_VALUES", 11)
    with pytest.raises(InputError, match="announces 12 values in column 'losses"):
        tables.read(path, THINGS)


@pytest.mark.parametrize("texts", [[], [None, None], ["", ""]])
def test_texts_that_are_none_are_read(tmp_path, texts):
    named = Schema("names", {"arch": Column("int32", "a"), "name": Column("string", "n", null=True)})
    table = pd.DataFrame({"arch": range(len(texts)), "name": pd.Series(texts, dtype=object)})
    tables.write(tmp_path / "names.parquet", table, named)
    found = tables.read(tmp_path / "names.parquet", named)["name"]
    assert [None if pd.isna(text) else text for text in found] == texts
    assert not isinstance(found.dtype, pd.CategoricalDtype)


def test_more_than_a_table_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """A column of one value repeated takes some bytes on the disk and all of the memory."""
    path = tmp_path / "things.parquet"
    many = pa.table(
        {
            "arch": pa.nulls(1000, pa.int32()),
            "accuracy": pa.nulls(1000, pa.float64()),
            "losses": [[1.0]] * 1000,
        }
    )
    pq.write_table(many, path)
    monkeypatch.setattr(tables, "MAX_VALUES", 999)
    with pytest.raises(
        InputError, match="announces 1000 values in column 'arch'; at most 999 belong into a table"
    ):
        tables.read(path, THINGS)
    pq.write_table(many.slice(0, 10).set_column(2, "losses", [[[1.0] * 100] * 10]), path)
    with pytest.raises(InputError, match=r"announces 1000 values in column 'losses\.list\.element'"):
        tables.read(path, THINGS)


def one_text_in_every_row(path, rows, length, **columns):
    """A small file: the text stands in it once, the rows point to it."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * length]))
    pq.write_table(
        pa.table({**columns, "name": text}), path, dictionary_pagesize_limit=2**24, store_schema=False
    )


def test_texts_that_unpack_to_more_than_a_table_holds_are_refused(tmp_path):
    path = tmp_path / "things.parquet"
    named = tables.Schema(
        "things", {"arch": tables.Column("int32", "a"), "name": tables.Column("string", "n")}
    )
    one_text_in_every_row(path, 2000, 1_000_000, arch=pa.array(range(2000), pa.int32()))
    assert path.stat().st_size < 200_000
    with pytest.raises(
        InputError, match="'name' has 2000 texts of up to 1000000 bytes; at most 1073741824 bytes"
    ):
        tables.read(path, named)
    one_text_in_every_row(path, 3, 5, arch=pa.array(range(3), pa.int32()))
    assert tables.read(path, named)["name"].tolist() == ["xxxxx"] * 3


def test_further_columns_of_a_users_table_are_kept_where_they_are_plain(tmp_path):
    path = tmp_path / "things.parquet"
    open_end = tables.Schema("things", {"arch": tables.Column("int32", "a")}, extra=True)
    more = {
        "note": ["a", None],
        "size": [1.5, 2.0],
        "curve": [[1], [2, 3]],
        "odd": [{"x": 1}] * 2,
        "raw": [b"x"] * 2,
        "words": [["a"], ["b", "c"]],
    }
    pq.write_table(pa.table({"arch": pa.array([0, 1], pa.int32()), **more}), path)
    assert list(tables.read(path, open_end).columns) == ["arch", "note", "size", "curve"]


def test_metadata_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "things.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(
        InputError, match=r"things\.parquet: not a readable Parquet file \(truncated or foreign\)"
    ):
        tables.metadata(path)
    table = pa.table({"arch": pa.array([0], "int32")})
    pq.write_table(table.replace_schema_metadata({tables.METADATA_KEY: b"{"}), path)
    with pytest.raises(InputError, match="its metadata 'snas' is not JSON"):
        tables.metadata(path)
    pq.write_table(table.replace_schema_metadata({tables.METADATA_KEY: b"[1]"}), path)
    assert tables.metadata(path) == {}
    pq.write_table(table, path)
    assert tables.metadata(path) == {}, "a file of somebody else's has none at all"
