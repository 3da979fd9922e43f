"""The bench table: built, checked, refused in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from snas import InputError, spaces, tables
from snas.search import bench as bench_module
from snas.search.bench import BENCH, Bench, known_bench, table_bench, trained_bench
from snas.search.benches import make_from_table, make_known
from snas.spaces.space import ARCHITECTURES

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "nasbench201.parquet"


@pytest.fixture
def parts(toy):
    """The tables that a bench is made of, rows in another order than the space's."""
    mixed = toy.sample(frac=1, random_state=0).reset_index(drop=True)
    architectures = toy[["arch", "cell", "macs", "params"]]
    truth = mixed[["arch", "cell", "accuracy", "status"]].assign(seconds=10.0)
    codes = mixed[["arch", "cell", "status"]].assign(seconds=0.1)
    for k in (1, 2, 3):
        codes[f"loss_{k}"] = mixed[f"code_{k}"]
    proxies = mixed[["arch", "cell", "status"]].assign(
        proxy="synflow", log10=mixed["log10_synflow"], seconds=0.01
    )
    return {"architectures": architectures, "truth": truth, "codes": codes, "proxies": proxies}


def test_a_trained_bench_has_everything_in_the_order_of_the_space(parts, toy):
    frame = trained_bench(**parts)
    assert list(frame["arch"]) == list(range(240))
    for column in ("cell", "accuracy", "code_1", "code_2", "code_3", "log10_synflow", "status", "macs"):
        assert frame[column].tolist() == toy[column].tolist()
    assert set(frame) == {*BENCH.columns, "log10_synflow"}


def test_any_proxy_may_be_scored_and_stand_in_for_the_code(parts):
    other = parts["proxies"].assign(proxy="params", log10=lambda t: t["log10"] + 1.0)
    other.loc[other["arch"] == 3, "log10"] = np.nan
    alone = trained_bench(**parts | {"proxies": other}, code="params")
    beside = trained_bench(**parts | {"proxies": pd.concat([other, parts["proxies"]])}, code="params")
    assert "log10_synflow" not in alone
    assert (beside["params"] == parts["architectures"]["params"]).all(), (
        "a name that is a column of the bench as well"
    )
    expected = (beside["log10_synflow"] + 1.0).where(beside["arch"] != 3).astype(np.float32)
    for frame in (alone, beside):
        for code in ("code_1", "code_2", "code_3"):
            pd.testing.assert_series_equal(frame[code], expected, check_names=False)


def test_on_demand_nothing_is_known(parts):
    frame = trained_bench(**parts | {"truth": None})
    assert (frame["status"] == "unknown").all()
    assert frame["accuracy"].isna().all()
    assert frame["code_1"].notna().all()


def test_a_run_that_searches_nothing_on_its_own_space_knows_nothing(parts, bench, tmp_path):
    path = bench(lambda _: trained_bench(**parts | {"truth": None}), code="b")
    make_known(tmp_path / "known.parquet", table=path, answers=[], facts={"code": "c"})
    known = Bench.read(tmp_path / "known.parquet")
    assert (known.status == "unknown").all()
    assert known.metadata["code"] == "c", "what makes it, and not what has made the table before"


def test_answers_make_a_bench_known_in_part(parts, bench, toy):
    frame = trained_bench(**parts | {"truth": None})
    answers = parts["truth"].head(30).copy()
    answers.loc[0, ["accuracy", "status"]] = [None, "diverged"]
    known = known_bench(frame, answers)
    read = Bench.read(bench(lambda _: known))
    asked = answers["arch"].to_numpy()
    assert read.status[asked].tolist() == ["diverged", *["ok"] * 29]
    assert read.accuracy[asked[1:]].tolist() == toy["accuracy"].to_numpy()[asked[1:]].tolist()
    assert (np.delete(read.status, asked) == "unknown").all()
    assert read.merit() is None
    assert Bench.read(bench(lambda _: frame)).fingerprint == read.fingerprint
    with pytest.raises(InputError, match="has accuracy 90, outside"):
        known_bench(frame, answers.assign(accuracy=90.0))


def test_failed_trainings_and_missing_codes(parts, bench):
    parts["truth"].loc[3, ["accuracy", "status"]] = [None, "diverged"]
    parts["codes"].loc[5, ["loss_1", "loss_2", "loss_3"]] = np.nan
    parts["codes"].loc[6, "loss_3"] = np.inf
    frame = trained_bench(**parts)
    path = bench(lambda _: frame)
    read = Bench.read(path)
    failed = parts["truth"]["arch"][3]
    assert read.status[failed] == "diverged"
    assert np.isnan(read.labels("accuracy")[failed])
    assert read.merit()[failed] == -np.inf
    assert np.isnan(read.codes[parts["codes"]["arch"][5]]).all()
    assert np.isnan(read.codes[parts["codes"]["arch"][6]]).tolist() == [False, False, True]


def test_synflow_as_the_code_is_its_logarithm_three_times(parts, toy):
    frame = trained_bench(**parts, code="synflow")
    for k in (1, 2, 3):
        assert frame[f"code_{k}"].to_numpy() == pytest.approx(toy["log10_synflow"].to_numpy(), rel=1e-6)
    assert (frame["code_seconds"] == 0.01).all()


def test_a_stated_sample(parts):
    parts["truth"] = parts["truth"][parts["truth"]["arch"].isin([3, 9, 200])]
    frame = trained_bench(**parts, archs=[200, 3, 9])
    assert list(frame["arch"]) == [3, 9, 200]


def drop(table, arch):
    return table[table["arch"] != arch]


def spoil(column, value):
    def change(table):
        table = table.copy()
        table.loc[table["arch"] == 7, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("which", "change", "sentence"),
    [
        ("truth", lambda t: drop(t, 7), r"T\.parquet: architecture 7 is missing \(1 of 240 are\)"),
        (
            "truth",
            lambda t: pd.concat([t, t[t["arch"] == 7]]),
            r"T\.parquet: architecture 7 occurs twice; each is expected once",
        ),
        (
            "truth",
            spoil("accuracy", 91.5),
            r"architecture 7 has accuracy 91.5, outside \[0, 1\]; fractions are expected",
        ),
        ("truth", spoil("accuracy", -0.5), r"architecture 7 has accuracy -0.5, outside \[0, 1\]$"),
        ("truth", spoil("accuracy", np.nan), r"architecture 7 has no accuracy \(or NaN\)"),
        ("truth", spoil("status", "diverged"), r"has an accuracy and status 'diverged'"),
        ("truth", spoil("status", "fine"), r"has status 'fine'; known: ok, diverged, out_of_memory"),
        (
            "truth",
            spoil("cell", "other"),
            r"architecture 7 is called 'other', the space calls it 'cell 7'; is it a table of another",
        ),
        ("truth", lambda t: t.drop(columns="cell"), r"T\.parquet: column 'cell' is missing"),
        ("codes", lambda t: drop(t, 7), r"C\.parquet: architecture 7 is missing"),
        ("proxies", lambda t: drop(t, 7), r"P\.parquet: architecture 7 is missing"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(parts, which, change, sentence):
    names = {"truth": "T.parquet", "codes": "C.parquet", "proxies": "P.parquet"}
    with pytest.raises(InputError, match=sentence) as caught:
        trained_bench(**parts | {which: change(parts[which])}, names=names)
    assert "\n" not in str(caught.value)


def test_bad_choices(parts):
    with pytest.raises(InputError, match="code source 'losess' is unknown; known: losses, synflow"):
        trained_bench(**parts, code="losess")
    with pytest.raises(InputError, match=r"code source 'synflow' is unknown; known: losses$"):
        trained_bench(**parts | {"proxies": None}, code="synflow")
    with pytest.raises(InputError, match="architecture 999 of the sample is not in the space"):
        trained_bench(**parts, archs=[1, 999])
    with pytest.raises(InputError, match="architecture 4 is in the sample twice"):
        trained_bench(**parts, archs=[1, 4, 4])


def test_a_bench_file_without_its_metadata_or_with_odd_statuses_is_refused(bench, toy, tmp_path):
    metadata = {k: 1 for k in bench_module.METADATA if k != "chance"}
    with pytest.raises(InputError, match="metadata 'chance' of the bench is missing"):
        bench_module.write(tmp_path / "x.parquet", toy, metadata)
    with pytest.raises(InputError, match="architecture 7 has status 'ok' and accuracy nan"):
        Bench.read(bench(spoil("accuracy", np.nan)))
    nothing = lambda f: f.assign(accuracy=np.nan, status=["out_of_memory", *["diverged"] * (len(f) - 1)])
    with pytest.raises(
        InputError, match=r"'accuracy' is empty \(status: \d+ diverged, 1 out_of_memory\); searching"
    ):
        Bench.read(bench(nothing)).labels("accuracy")
    with pytest.raises(InputError, match="column 'accuracy_select' is empty"):
        Bench.read(bench(lambda f: f.assign(accuracy_select=np.nan))).labels("accuracy_select")


def test_fingerprint_covers_what_is_looked_at_but_not_the_accuracies(bench):
    plain = Bench.read(bench()).fingerprint
    assert Bench.read(bench(lambda f: f.assign(accuracy=0.5))).fingerprint == plain
    assert Bench.read(bench(spoil("code_2", 9.0))).fingerprint != plain
    assert Bench.read(bench(spoil("accuracy_select", 0.9))).fingerprint != plain
    assert Bench.read(bench(lambda f: f[:-1])).fingerprint != plain
    assert Bench.read(bench(spoil("log10_synflow", 9.0))).fingerprint != plain
    for fact in ("chance", "code_price", "select_price"):
        assert Bench.read(bench(**{fact: 0.07})).fingerprint != plain, fact


@pytest.fixture(scope="module")
def official():
    """The shared table as an importer would leave it: codes are epochs 10, 30, 50 of the recorded curve."""
    if not SHARED.is_file():
        pytest.skip("shared/data/nasbench201.parquet is not beside this checkout")
    raw = pd.read_parquet(SHARED).query("dataset == 'cifar100'").reset_index(drop=True)
    table = raw[["arch_id", "arch", "test_accuracy_200", "test_accuracy_12", "train_time_200_s"]].copy()
    table.columns = ["arch", "cell", "accuracy", "accuracy_select", "truth_seconds"]
    curves = raw["early_losses"]
    for k, epoch in enumerate((10, 30, 50), 1):
        table[f"code_{k}"] = [np.nan if curve is None else curve[epoch - 1] for curve in curves]
    return table


@pytest.mark.parametrize(
    ("space", "size", "best"), [("nasbench201", 15625, 0.735133), ("tiny_nasbench201", 4096, None)]
)
def test_nasbench201_from_the_official_table(official, space, size, best, tmp_path):
    architectures = spaces.load(space).table()
    frame = table_bench(architectures, official)
    assert len(frame) == size
    path = tmp_path / "bench.parquet"
    metadata = dict.fromkeys(bench_module.METADATA, "x") | {
        "space": space,
        "chance": 0.01,
        "code_price": 0.025,
    }
    bench_module.write(path, frame, metadata)
    read = Bench.read(path)
    assert best is None or read.accuracy.max() == pytest.approx(best, abs=1e-6)
    if size == 15625:
        assert np.isnan(read.codes).all(axis=1).nonzero()[0].tolist() == list(range(3989, 4000))


def test_tables_of_known_accuracies_are_checked(toy):
    architectures = toy[["arch", "cell", "macs", "params"]]
    good = toy[["arch", "cell", "accuracy", "code_1", "code_2", "code_3"]]
    assert (table_bench(architectures, good)["status"] == "ok").all()
    for change, sentence in (
        (lambda t: drop(t, 7), "architecture cell 7 is missing"),
        (spoil("accuracy", 70.0), "fractions are expected, not percent"),
        (spoil("accuracy", np.nan), "architecture 7 has no accuracy"),
        (spoil("cell", "cell 8"), "architecture cell 8 occurs twice"),
        (lambda t: t.drop(columns="accuracy"), "column 'accuracy' is missing"),
        (lambda t: t.assign(arch=t["arch"].to_numpy()[::-1]), "indices and cells must agree"),
        (lambda t: t.assign(accuracy_select=88.0), "accuracy_select 88, outside"),
        (lambda t: t.assign(synflow=1.0), "column 'synflow' is not read; .* expected as 'log10_synflow'"),
        (lambda t: t.assign(accuracy_select="good"), "accuracy_select 'good'; a number is expected"),
        (lambda t: t.assign(log10_synflow=["1"] * len(t)), "architecture 0 has log10_synflow '1'; a number"),
        (lambda t: t.assign(code_2=[[1.0]] * len(t)), r"architecture 0 has code_2 \[1.0\]; a number"),
    ):
        with pytest.raises(InputError, match=sentence):
            table_bench(architectures, change(good), name="table.parquet")


@pytest.mark.parametrize("kind", ["Int64", "Float64"])
def test_a_column_of_pandas_own_types_may_lack_values(parts, toy, kind):
    table = toy.assign(truth_seconds=pd.array([None, *range(1, len(toy))], dtype=kind))
    frame = table_bench(parts["architectures"], table)
    assert np.isnan(frame["truth_seconds"][0])
    assert frame["truth_seconds"][1:].tolist() == list(range(1, len(toy)))


def test_a_loss_or_score_of_a_table_that_is_not_finite_is_none(parts, toy):
    table = toy.assign(code_1=1.0, code_2=2.0, code_3=3.0)
    table.loc[4, "code_2"], table.loc[5, "log10_synflow"] = np.inf, -np.inf
    table.loc[6, "code_1"] = 1e39  # as it is written, in float32
    frame = table_bench(parts["architectures"], table)
    assert np.isnan(frame["code_2"][4])
    assert np.isnan(frame["code_1"][6])
    assert np.isnan(frame["log10_synflow"][5])
    assert (
        np.isfinite(frame.drop(index=[4, 5, 6])[["code_1", "code_2", "code_3", "log10_synflow"]]).all().all()
    )


@pytest.fixture(scope="module")
def own_table(tmp_path_factory):
    """The architectures of Tiny-NanoBench, and a table of accuracies as a user writes it with pandas alone."""
    folder = tmp_path_factory.mktemp("own")
    architectures = spaces.load("tiny_nanobench").table()
    tables.write(folder / "architectures.parquet", architectures, ARCHITECTURES)
    known = architectures[["arch", "cell"]].astype({"arch": "int64"})
    known.assign(accuracy=np.linspace(0.2, 0.9, len(known))).to_parquet(folder / "table.parquet")
    return folder


def made_from(folder, out, metadata=None):
    table = out / "table.parquet"
    content = pq.read_table(folder / "table.parquet")
    said = {b"snas": json.dumps(metadata).encode()} if metadata else content.schema.metadata
    pq.write_table(content.replace_schema_metadata(said), table)
    make_from_table(
        out / "bench.parquet", architectures=folder / "architectures.parquet", table=table,
        space="tiny_nanobench", dataset="photos", facts={},
    )  # fmt: skip
    return Bench.read(out / "bench.parquet")


def test_a_users_own_table_needs_pandas_alone(own_table, tmp_path):
    read = made_from(own_table, tmp_path)
    assert read.accuracy.tolist() == np.linspace(0.2, 0.9, 1120).tolist()
    assert (read.chance, read.code_price, read.select_price) == (0.2, 0.0, None)
    assert read.metadata["truth_source"] == "table.parquet"
    said = {"chance": 0.1, "code_price": 0.01, "select_price": None, "truth_source": "measured"}
    read = made_from(own_table, tmp_path, said)
    assert (read.chance, read.code_price, read.select_price) == (0.1, 0.01, None)
    assert made_from(own_table, tmp_path, {"select_price": 0.06}).select_price == 0.06
    assert read.metadata["truth_source"] == "measured"


@pytest.mark.parametrize(
    ("said", "loss"), [({}, True), ({"code_kind": "losses"}, True), ({"code_kind": "proxy"}, False)]
)
def test_a_users_own_table_says_whether_less_of_its_code_is_better(own_table, tmp_path, said, loss):
    """A Gaussian process that looks at codes asks for the smallest losses, and for the largest scores."""
    table = pd.read_parquet(own_table / "table.parquet")
    coded = tmp_path / "coded"
    coded.mkdir()
    shutil.copy(own_table / "architectures.parquet", coded)
    table.assign(**{f"code_{n}": table["accuracy"] for n in (1, 2, 3)}).to_parquet(coded / "table.parquet")
    read = made_from(coded, tmp_path, {"chance": 0.1, **said})
    assert read.look("code", 5).loss is loss


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"chance": 10}, "metadata 'chance' is 10; a number from 0 to 1 is expected"),
        ({"chance": float("nan")}, "metadata 'chance' is nan; a number from 0 to 1 is expected"),
        ({"chance": True}, "metadata 'chance' is True; a number from 0 to 1 is expected"),
        ({"code_price": "cheap"}, "metadata 'code_price' is 'cheap'; a number of at least 0 is expected"),
        ({"select_price": -1}, "metadata 'select_price' is -1; a number of at least 0 is expected"),
        ({"code_source": ["x"]}, r"metadata 'code_source' is \['x'\]; a text is expected"),
        ({"table": 5}, "metadata 'table' is 5; a text is expected"),
        ({"code_kind": "score"}, "metadata 'code_kind' is 'score'; known: losses, proxy"),
        ({"code_kind": ["proxy"]}, r"metadata 'code_kind' is \['proxy'\]; known: losses, proxy"),
        ({"code_price": float("inf")}, "metadata 'code_price' is inf; a number of at least 0 is expected"),
    ],
)
def test_what_a_users_own_table_says_of_itself_is_checked(own_table, tmp_path, said, sentence):
    with pytest.raises(InputError, match=f"table.parquet: {sentence}"):
        made_from(own_table, tmp_path, said)
