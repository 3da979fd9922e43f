"""The configuration: defaults, closedness, types from the command line, names, contradictions, the table of keys."""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from snas import InputError, config
from snas.__main__ import main
from snas.images.known import own_files
from snas.registry import Registry
from snas.search import jobs
from tests.spaces import nasbench201_sources as sources

ROOT = Path(config.__file__).parent.parent


def test_defaults_are_valid_and_frozen():
    checked = config.load({})
    assert dict(checked) == {k: tuple(v) if isinstance(v, list) else v for k, v in config.defaults().items()}
    with pytest.raises(AttributeError):
        checked.runs = 3


def test_a_key_that_there_is_not_is_no_attribute():
    checked = config.load({})
    assert len(checked) == len(list(checked)) == len(config.defaults())
    with pytest.raises(AttributeError, match="the configuration has no key 'budgetss'"):
        _ = checked.budgetss


def test_of_several_wrong_keys_the_first_by_name_is_named():
    with pytest.raises(InputError, match="key 'budgets' is "):
        config.load({"runs": 200_000, "budgets": []})


def test_a_study_of_nasbench201_alone_hangs_on_no_truth_of_the_run():
    study = {"fewest": [{"method": "gp", "budgets": [9]}], "truth": "on_demand"}
    assert config.load({**study, "space": "", "nasbench201": __file__}).truth == "on_demand"


def test_of_many_like_words_the_two_nearest_are_named():
    assert config.nearest("budgets", ["budget", "budgeted", "budgie", "widgets"]) == "'budget' or 'budgeted'"


def test_config_yaml_says_the_defaults():
    assert config.read_file(ROOT / "config/config.yaml") == config.defaults()


@pytest.mark.parametrize("overlay", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_overlay_is_valid(overlay, tmp_path):
    if overlay.stem == "schema":
        pytest.skip("the schema itself")
    values = config.read_file(overlay)
    for key in ("table", "nasbench201", "images_path"):  # paths of the user's own, checked by their own tests
        if values.get(key):
            values[key] = str(tmp_path)
    config.load(values)


def test_readme_is_made_from_the_schema():
    assert (ROOT / "config/README.md").read_text() == config.table()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"budgetss": 3}, "unknown key 'budgetss'; did you mean 'budgets' or 'budget'?"),
        ({"rusn": 5}, "unknown key 'rusn'; did you mean 'run' or 'runs'?"),
        ({"widht": 5}, "unknown key 'widht'; did you mean 'width'?"),
        ({"runs": 0}, "key 'runs' is 0; allowed: at least 1"),
        ({"width": 2000}, "key 'width' is 2000; allowed: at most 1024"),
        ({"runs": "many"}, "key 'runs' is 'many' (str); integer is expected"),
        ({"runs": 2.5}, "key 'runs' is 2.5 (float); integer is expected"),
        (
            {"budgets": "30"},
            "key 'budgets' is '30' (str); array is expected; on the command line a list is 'key=[a,b]'",
        ),
        ({"run": True}, "key 'run' is True (bool); string is expected"),
        ({"images": None}, "key 'images' is None (NoneType); string is expected"),
        ({"methods": [None]}, "key 'methods.0' is None (NoneType); string is expected"),
        ({"budgets": [30, "forty"]}, "key 'budgets.1' is 'forty' (str); integer is expected"),
        ({"budgets": [30, 30]}, "key 'budgets' is [30, 30]; allowed: every entry once"),
        ({"code_share": 0}, "key 'code_share' is 0; allowed: more than 0"),
        ({"code_share": "nan"}, "key 'code_share' is nan; a finite number is expected"),
        ({"code_share": 1.5}, "key 'code_share' is 1.5; allowed: at most 1"),
        ({"truth": "guess"}, "key 'truth' is 'guess'; allowed: one of exhaustive, table, on_demand"),
        ({"compile": "perhaps"}, "key 'compile' is 'perhaps' (str); boolean is expected"),
        ({"run": "x" * 101}, "the first one a letter or digit, 100 at most"),
        ({"run": "../elsewhere"}, "key 'run' is '../elsewhere'; allowed: letters, digits"),
        (
            {"methods": ["siamese+nsan"]},
            "key 'methods.0': unknown method 'siamese+nsan' (did you mean 'siamese+nsam'?)",
        ),
        (
            {"space": "tiny_nanobenhc"},
            "key 'space': unknown space 'tiny_nanobenhc' (did you mean 'tiny_nanobench'?)",
        ),
        ({"images": "mnist"}, "key 'images': unknown image set 'mnist'"),
        ({"truth_recipe": "long"}, "key 'truth_recipe': unknown recipe 'long'"),
        ({"code": "grasp"}, "key 'code' is 'grasp'; allowed: trained, or one of the key 'proxies' (synflow)"),
        ({"truth": "table"}, "truth = table needs the key 'table'"),
        ({"table": __file__}, "key 'table' is set, but truth is 'exhaustive'; allowed: truth = table"),
        (
            {"validation_share": 0.5, "test_share": 0.45},
            "validation_share 0.5 and test_share 0.45 leave too few images",
        ),
        ({"image_side": 7}, "key 'image_side' is 7; allowed: 8 to 128, or 0"),
        (
            {"table": "/nowhere", "truth": "table", "images_download": True},
            "key 'table': /nowhere does not exist",
        ),
        ({"space": ""}, "nothing to search"),
        (
            {"nasbench201": "/nowhere/x.parquet"},
            "key 'nasbench201': /nowhere/x.parquet does not exist; snas import-nasbench201 SOURCE makes it",
        ),
        (
            {"extra_searches": [{"method": "siamese", "budgets": [30], "runs": 2, "k": 1}]},
            "key 'extra_searches.0' has the unknown key 'k'; known: method, budgets, runs, benches",
        ),
        ({"extra_searches": [{"method": "siamese", "runs": 2}]}, "key 'extra_searches.0' lacks 'budgets'"),
        (
            {"extra_searches": [{"method": "siamese", "budgets": [30], "runs": 2, "benches": ["cifar10"]}]},
            "key 'extra_searches.0.benches.0' is 'cifar10', which is no bench of this run; it has tiny_nanobench-digits",
        ),
        (
            {"bench_budgets": [{"bench": "x", "budgets": []}]},
            "key 'bench_budgets.0.bench' is 'x', which is no bench",
        ),
        (
            {"bench_budgets": [{"bench": "tiny_nanobench-digits", "budgets": [n]} for n in (20, 30)]},
            "key 'bench_budgets' names 'tiny_nanobench-digits' twice",
        ),
        (
            {"nasbench201_code_epochs": [1, 2]},
            "key 'nasbench201_code_epochs' is [1, 2]; allowed: three ascending epochs, or none",
        ),
        (
            {"nasbench201_code_epochs": [3, 3, 3]},
            "key 'nasbench201_code_epochs' is [3, 3, 3]; allowed: three asc",
        ),
        ({"fewest": [{"method": "gpp", "budgets": [9]}]}, "key 'fewest.0.method': unknown method 'gpp'"),
        (
            {"fewest": [{"method": "gp", "budgets": [9], "spaces": ["nasbench"]}]},
            "key 'fewest.0.spaces.0': unknown space 'nasbench' (did you mean 'nasbench201'?)",
        ),
        (
            {"fewest": [{"method": "gp", "budgets": [9], "removed": []}]},
            "key 'fewest.0.removed' is []; allowed: at least 1 entries",
        ),
        (
            {"fewest": [{"method": "gp", "budgets": [9]}], "truth": "on_demand"},
            "key 'fewest' measures regret, which needs all accuracies; allowed: truth = exhaustive or table",
        ),
    ],
)
def test_a_wrong_value_is_named(values, sentence):
    with pytest.raises(InputError) as error:
        config.load(values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_values_of_the_command_line_are_read_as_the_key_is_typed():
    checked = config.load({"runs": "7", "code_share": "0.5", "compile": "false", "run": 12})
    assert (checked.runs, checked.code_share, checked.compile, checked.run) == (7, 0.5, False, "12")
    whole = config.load({"runs": 1e2, "max_params": 1e6})  # so Snakemake reads runs=1e2
    assert (repr(whole.runs), repr(whole.max_params)) == ("100", "1000000")
    words = [config.load({"compile": word}).compile for word in ("True", "YES", "no", "FALSE")]
    assert words == [True, True, False, False]
    assert config.load({"run": 7.5}).run == "7.5"
    assert config.load({"table": None, "images_path": None}).images_path == ""
    without = config.load({"space": None, "nasbench201": __file__})  # so Snakemake reads --config space=
    assert without.space == ""
    lists = config.load(
        {
            "methods": ["siamese"],
            "budgets": ["30", "60"],  # so Snakemake reads --config budgets=[30,60]
            "extra_searches": [{"method": "brp_nas", "budgets": ["20"], "runs": "1"}],
        }
    )
    assert (lists.methods, lists.budgets) == (("siamese",), (30, 60))
    (extra,) = lists.extra_searches
    assert extra == {"method": "brp_nas", "budgets": [20], "runs": 1}
    with pytest.raises(InputError, match=r"key 'budgets\.1' is 'sixty' \(str\); integer is expected"):
        config.load({"budgets": ["30", "sixty"]})


@settings(deadline=None)  # the first call imports
@given(st.dictionaries(st.sampled_from(sorted(config.defaults())), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5,
), max_size=3))  # fmt: skip
@example({"nasbench201": "\x1e"})
@example({"images_path": "a\nb"})
def test_any_value_is_taken_or_refused_in_one_sentence(values):
    refused = None
    try:
        config.load(values)
    except InputError as error:
        refused = str(error)
    assert refused is None or len(refused.splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["run: !!python/object/apply:os.system ['true']", "- a\n- b", "run: [", "\0"]
)
def test_a_file_that_is_not_a_plain_mapping_is_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        config.load(config.read_file(path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("runs: 3\nbudgets: [30]\nruns: 5", "lines 1 and 3: key 'runs' stands twice; leave one"),
        ("runs: 3\n'runs': 3", "lines 1 and 2: key 'runs' stands twice"),
        ('runs: 3\n"\\x72uns": 5', "lines 1 and 2: key 'runs' stands twice"),
        ('{"runs": 3, "block": 1, "runs": 5}', "line 1: key 'runs' stands twice"),
        (
            "extra_searches:\n- {method: siamese, budgets: [30], runs: 2}\n- method: siamese\n  runs: 1\n  runs: 2",
            "lines 4 and 5: key 'extra_searches.1.runs' stands twice",
        ),
        (
            "fewest:\n- method: gp\n  options: {predictor: {epochs: 1,\n    epochs: 2}}",
            "lines 3 and 4: key 'fewest.0.options.predictor.epochs' stands twice",
        ),
        ("a: &x {b: 1, b: 2}\nc: *x", "line 1: key 'a.b' stands twice"),
        ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", "line 2: key 'c.<<' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_lines(tmp_path, text, sentence):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        config.read_file(path)
    assert str(error.value).startswith(f"{path}, {sentence}")
    assert "\n" not in str(error.value)


def test_a_key_may_stand_in_several_mappings(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &x {b: 1, runs: 2}\nc: {<<: *x, b: 3}\nd: [{b: 1}, {b: 2}]\nruns: 4\n1: 5\n'1': 6\n")
    read = config.read_file(path)
    assert (read["a"], read["c"], read["runs"]) == ({"b": 1, "runs": 2}, {"b": 3, "runs": 2}, 4)
    assert (read[1], read["1"]) == (5, 6)


GROWING = "a: &k0 {x: 1}\n" + "".join(
    f"b{i}: &k{i + 1} {{<<: [*k{i}, *k{i}], y{i}: [*k{i}, *k{i}]}}\n" for i in range(40)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"runs: {'9' * 5000}", "line 1: a value of 5000 characters; at most 1000"),
        (f"runs: 0x{'f' * 990}", "key 'runs' is "),
        (f"{'k' * 900}: 1", f"unknown key '{'k' * 196}…'"),
        ("run: 2001-99-99", "month must be in 1..12"),
        (f"run: {'[' * 20_000}", "nested too deeply"),
        (f"run: {'{a: ' * 20_000}", "nested too deeply"),
        (GROWING, "its aliases make more than 100000 values of it"),
        ("run: a\nblock: &a [*a]", "line 2: an alias that leads back to itself"),
        ("run: " + "a b " * 300_000, "a configuration has at most 1048576 bytes"),
        ("code_share: .nan", "key 'code_share' is nan; a finite number is expected"),
        ("code_share: .inf", "key 'code_share' is inf; a finite number is expected"),
        ("runs: 100000\nblock: 1\nbudgets: [30, 40]", "search jobs; at most 100000"),
        ("extra_searches: [{method: siamese, budgets: [30], runs: 2, ? [1] : 2}]", "one line"),
    ],
)
def test_a_file_that_would_fill_memory_or_time_is_refused(tmp_path, text, sentence):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        config.load(config.read_file(path))
    assert sentence in str(error.value) or sentence == "one line"
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    for path in (tmp_path / "config.yaml", Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="is not a plain file"):
            config.read_file(path)


def test_a_file_that_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: the configuration cannot be read: No such file"):
        config.read_file(tmp_path / "nothing.yaml")


def test_what_is_as_large_as_a_configuration_may_be_is_read(tmp_path, monkeypatch):
    path, text = tmp_path / "config.yaml", f"run: {'a' * config.LONGEST}\nbudgets: [30, 40]\n"
    path.write_text(text + "#" * (config.MOST_BYTES - len(text)))
    monkeypatch.setattr(config, "MOST_VALUES", 7)
    assert config.read_file(path) == {"run": "a" * config.LONGEST, "budgets": [30, 40]}
    monkeypatch.setattr(config, "MOST_VALUES", 6)
    with pytest.raises(InputError, match="its aliases make more than 6 values of it"):
        config.read_file(path)


def test_search_jobs_are_counted_block_by_block(monkeypatch):
    values = {
        "methods": ["random", "siamese"], "budgets": [20, 30, 40], "runs": 5, "block": 2,
        "extra_searches": [
            {"method": "brp_nas", "budgets": [20, 30]}, {"method": "gp", "budgets": [20], "runs": 7, "block": 3}
        ],
        "fewest": [
            {"method": "gp", "budgets": [9, 10], "removed": [0, 1]}, {"method": "gp", "budgets": [12], "runs": 3}
        ],
    }  # fmt: skip
    count = 2 * 3 * 3 + 2 * 3 + 3 + 2 * 2 * 50 + 2
    monkeypatch.setattr(config, "MOST_JOBS", count)
    config.load(values)
    monkeypatch.setattr(config, "MOST_JOBS", count - 1)
    with pytest.raises(InputError, match=f"are {count} search jobs; at most {count - 1}"):
        config.load(values)


YAML = st.text(st.sampled_from("abrun01.:- \n[]{},&*!|>'\"#?%@~<=\t\\é\0"), max_size=60)


@given(YAML | st.lists(st.sampled_from(["run", ": ", "&a ", "*a", "\n", "[", "]", "!!python/name:os.system", "<<",
                                        "{", "}", ", ", "- ", "2001-02-30", "0x1", "__use_yte__"]), max_size=15).map("".join))  # fmt: skip
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_is_a_mapping_or_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    refused = None
    try:
        assert isinstance(config.read_file(path), dict)
    except InputError as error:
        refused = str(error)
    assert refused is None or len(refused.splitlines()) == 1


def test_registries_refuse_duplicates_and_list_the_known():
    registry = Registry("thing", {"a": "snas.seeds:seed"})
    assert registry.load("a")(0, "x") >= 0
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("a", "snas.seeds:generator")
    with pytest.raises(ValueError, match="module:attribute"):
        registry.register("b", "snas.seeds")
    with pytest.raises(InputError, match=r"unknown thing 'b'.*known: a"):
        registry.check("b")


def test_schema_documents_every_key():
    for key, entry in config.schema()["properties"].items():
        assert len(key) > 1, "Snakemake needs two letters at least for --config"
        assert entry["description"].endswith("."), key
        yaml.safe_dump(entry["default"])


def test_the_package_with_accuracies_is_a_source_where_it_is_installed(monkeypatch, tmp_path):
    from snas.search import jobs

    wanted = {
        "space": "",
        "nasbench201": "analog-nasbench",
        "nasbench201_sets": ["cifar10"],
        "extra_searches": [],
    }
    monkeypatch.setattr("snas.spaces.source_analog.MODULE", "snas_test_package")
    with pytest.raises(
        InputError, match=r"key 'nasbench201': the package analog-nasbench is not installed here; pip install"
    ):
        config.load(wanted)
    (tmp_path / "snas_test_package").mkdir()
    (tmp_path / "snas_test_package/data.anb").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert jobs.nasbench201_source(config.load(wanted)) == str(tmp_path / "snas_test_package/data.anb")


def test_a_proxy_that_is_the_code_must_be_scored(tmp_path):
    with pytest.raises(
        InputError,
        match="'nasbench201_code' is 'synflow'; allowed: recorded, trained, or one of the key 'nasbench201_proxies'",
    ):
        config.load({"nasbench201": str(tmp_path), "nasbench201_code": "synflow"})


TWO_TOPS = [{"method": "siamese", "budgets": [20], "top": top} for top in (5, 10)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"methods": ["gp+select"]}, "method 'gp\\+select' at N = 20 .*: it needs accuracies of fewer epochs"),
        ({"methods": ["siamese@labels=select"]}, "'siamese@labels=select' .*: it needs accuracies of fewer epochs"),
        ({"proxies": [], "methods": ["gp+synflow"]}, "it looks at synflow, which is not in the key 'proxies'"),
        ({"method": "gp+select"}, "looks at 'select', which a search on own images does not measure"),
        ({"fewest": [{"method": "gp", "budgets": [1]}]}, "key 'fewest.0': budget 1 is too small"),
        ({"fewest": TWO_TOPS}, "key 'fewest' has method 'siamese' at N = 20 with K = 5 and with K = 10"),
    ],
)  # fmt: skip
def test_searches_that_cannot_be_done_are_refused_before_anything_is_trained(values, sentence):
    with pytest.raises(InputError, match=sentence):
        config.load(values)


def test_paths_may_start_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own").mkdir()
    own = {"images": "folder", "train_images": 0}
    assert config.load({**own, "images_path": "~/own"}).images_path == str(tmp_path / "own")
    assert config.load({**own, "images_path": "~"}).images_path == str(tmp_path)
    with pytest.raises(InputError, match=f"key 'images_path': {tmp_path}/other does not exist"):
        config.load({**own, "images_path": "~/other"})
    asked = {"images": "cifar10", "images_path": "~/other", "images_download": True}
    assert config.load(asked).images_path == str(tmp_path / "other"), "a download makes its folder"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"architectures": 100}, r"method 'random' at N = 20 on tiny_nanobench-digits: N \+ K = 20 \+ 100 is more than the 100 .*, or more"),
        ({"budgets": [1021]}, r"method 'random' at N = 1021 on .*: N \+ K = 1021 \+ 100 is more than the 1,120 .* are needed$"),
        ({"fewest": [{"method": "gp", "budgets": [1119], "removed": [4]}]}, r"N \+ K = 1119 \+ 0 is more than the 1,116"),
    ],
)  # fmt: skip
def test_a_search_of_more_architectures_than_there_are_is_refused(values, sentence):
    checked = config.load(values)
    with pytest.raises(InputError, match=sentence):
        jobs.check_sizes(checked, jobs.search_jobs(checked), jobs.fewest_jobs(checked))
    checked = config.load({"budgets": [1020]})
    jobs.check_sizes(checked, jobs.search_jobs(checked), jobs.fewest_jobs(checked))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"budget": "1113+8"}, r"key 'budget' is '1113\+8': N \+ K = 1,121 is more than the 1,120 architectures of tiny_nanobench"),
        ({"method": "siamese@c=1121"}, "key 'method' is 'siamese@c=1121': c is 1,121, more than the 1,120 architectures"),
        ({"space": "", "nasbench201": __file__}, "a search on own images needs the key 'space'"),
        ({"images": "folder", "truth": "table", "table": __file__}, "images = folder needs the key 'images_path'"),
    ],
)  # fmt: skip
def test_a_search_on_own_images_that_cannot_be_done_is_refused_where_it_is_asked_for(values, sentence):
    checked = config.load(values)  # another target may be had
    jobs.check_asked(checked, [], [], own=False)
    with pytest.raises(InputError, match=f"configuration: {sentence}"):
        jobs.check_asked(checked, [], [], own=True)
    jobs.check_own(config.load({"budget": "1112+8"}))


def test_config_check_counts_the_architectures_and_reads_a_table(tmp_path, capsys):
    path, table = tmp_path / "own.yaml", tmp_path / "table.csv"
    sources.table(range(15_625), ["cifar10"]).drop(columns="early_losses").to_csv(table, index=False)
    nasbench201 = f"space: ''\nnasbench201: {table}\nnasbench201_sets: [cifar10]\nextra_searches: []\nmethods: [random]\n"
    for text, status, sentence in (
        ("budgets: [5000]", 2, "N + K = 5000 + 100 is more than the 1,120 architectures"),
        ("budget: 5000+8", 2, "N + K = 5,008 is more than the 1,120 architectures"),
        ("budget: 32+8", 0, "a valid configuration"),
        (f"{nasbench201}budget: 32+8", 0, "a valid configuration"),
        (f"{nasbench201}nasbench201_table: one_seed", 2, f"and {table} has no accuracy per seed of cifar10"),
    ):
        path.write_text(text)
        assert main(["config-check", str(path)]) == status, text
        said = capsys.readouterr()
        assert sentence in said.out + said.err


def test_a_table_of_one_s_own_brings_its_codes_itself(tmp_path):
    (tmp_path / "mine.parquet").touch()
    values = {"truth": "table", "table": str(tmp_path / "mine.parquet")}
    config.load(values)
    with pytest.raises(
        InputError, match="key 'code' is 'synflow', and truth = table takes codes from the table, columns"
    ):
        config.load({**values, "code": "synflow", "proxies": ["synflow"]})


def test_the_length_of_codes_is_of_no_matter_where_none_is_trained():
    values = {"code_recipe": "digits_truth", "code": "synflow", "proxies": ["synflow"]}
    assert config.load(values).code_recipe == "digits_truth"
    with pytest.raises(InputError, match="'code_recipe' is 'digits_truth', which has 8 epochs"):
        config.load({**values, "method": "gp+fidelity"})  # the one search on own images looks at codes


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"images": "folder"}, "images = folder needs the key 'images_path', a folder with one folder of images per class"),
        ({"images": "parquet"}, "images = parquet needs the key 'images_path', a Parquet file, or a folder with train and"),
        ({"images": "folder", "images_path": __file__}, f"key 'images_path': {__file__} is no folder; images = folder needs"),
        ({"images_path": "."}, "key 'images_path' is '.', and images = digits has no use for it; leave it out"),
        ({"image_side": 16}, "key 'image_side' is 16, and images = digits has no use for it"),
        ({"images": "cifar10", "image_channels": 1}, "key 'image_channels' is 1, and images = cifar10 has no use for it"),
        ({"images": "folder", "images_path": ".", "images_download": True}, "key 'images_download' is True, and images = folder"),
        ({"train_images": 1788}, "key 'train_images' is 1788; digits has 1,797 images of 10 classes to take them from, so 10 to 1,787"),
        ({"code_recipe": "digits_truth"}, "key 'code_recipe' is 'digits_truth', which has 8 epochs; an estimation code has 3"),
        ({"train_images": 9}, "key 'train_images' is 9; digits has 1,797 images"),
        ({"images": "cifar100", "train_images": 50_001}, "so 100 to 50,000 are possible, or 0 for its usual 50,000"),
        ({"code_share": 0.001}, "key 'code_share' is 0.001; of 400 training images that is none; a larger share is needed"),
    ],
)  # fmt: skip
def test_images_that_cannot_be_had_are_refused_before_any_work(values, sentence):
    with pytest.raises(InputError) as error:
        config.load(values)
    assert str(error.value).startswith("configuration: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    config.load({**values, "space": "", "nasbench201": __file__})  # a run that reads no images
    config.load({**values, "truth": "table", "table": __file__})
    with pytest.raises(InputError, match=re.escape(sentence) + "|of 8×8"):
        config.load({**values, **TRAINED})


TRAINED = {"space": "", "nasbench201": __file__, "nasbench201_code": "trained"}


@pytest.mark.parametrize("images", [{}, {"images": "folder", "images_path": ".", "image_side": 8}])
def test_codes_of_nasbench201_need_images_of_its_size(images):
    with pytest.raises(
        InputError, match=r"trains 15,625 networks on images = (digits|folder) of 8×8; NAS-Bench-201's"
    ):
        config.load({**TRAINED, **images})
    config.load({**TRAINED, "images": "cifar10", "code_recipe": "paper_code"})
    config.load({**TRAINED, "images": "folder", "images_path": ".", "image_side": 16})
    config.load({**TRAINED, **images, "nasbench201_code": "recorded"})


OWN_NB201 = {"space": "nasbench201", "nasbench201": __file__, "images": "cifar10"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (OWN_NB201, "space = nasbench201 on images = cifar10 and the key 'nasbench201' both make the bench 'nasbench201-cifar10'"),
        ({**OWN_NB201, "space": "tiny_nasbench201"}, "both make the bench 'tiny_nasbench201-cifar10'; leave one of them out"),
        ({**OWN_NB201, "images": "digits", "architectures": 60}, "key 'architectures' is 60, a part of nasbench201, and the key"),
        ({"fewest": [{"method": "siamese", "budgets": [20], "top": 10}, {"method": "siamese", "budgets": [22], "top": 8}]},
         "method 'siamese' with N + K = 30 at N = 20 and at N = 22"),
        ({"fewest": [{"method": "gp", "budgets": [20], "spaces": ["nasbench201"]}]},
         "key 'fewest' has no search for this run; its entries name the spaces nasbench201, and the benches are tiny_nanobench-digits"),
        ({"nasbench201": __file__, "fewest": [{"method": "gp+select", "budgets": [20], "labels": "accuracy_select", "spaces": ["nasbench201"]}]},
         "it looks at the very accuracies that it is to be trained and selected on"),
        ({"fewest": [{"method": "gp", "budgets": [20], "runs": 100_000, "removed": [0, 1, 2]}], "block": 1}, "search jobs; at most"),
        ({"fewest": [{"method": "siamese", "budgets": [20], "options": {"predictor": {"bn_momentum": 2}}}]},
         "option 'bn_momentum' is 2; a number above 0 and at most 1 is expected"),
        ({"fewest": [{"method": "siamese", "budgets": [20], "options": {"predictor": {"bn_momentum": 0}}}]},
         "option 'bn_momentum' is 0; a number above 0 and at most 1 is expected"),
        ({"fewest": [{"method": "brp_nas", "budgets": [50], "options": {"predictor": {"dropout": 1.0}}}]},
         "option 'dropout' is 1.0; a number at least 0 and below 1 is expected"),
        ({"fewest": [{"method": "brp_nas", "budgets": [50], "options": {"predictor": {"hidden": 0}}}]},
         "option 'hidden' is 0; a whole number at least 1 is expected"),
        ({"fewest": [{"method": "siamese", "budgets": [20], "options": {"predictor": {"dtype": "float64"}}}]},
         "option 'dtype' is a type of torch, which only a program can give"),
        ({"methods": ["siamese@c=99999"]},
         "method 'siamese@c=99999' at N = 20 on tiny_nanobench-digits: c is 99,999, more than the 1,120 architectures of tiny_nanobench"),
        ({"fewest": [{"method": "siamese@c=1121", "budgets": [20], "top": 10}]}, "c is 1,121, more than the 1,120 architectures"),
    ],
)  # fmt: skip
def test_what_would_be_lost_or_nonsense_is_refused_before_any_work(values, sentence):
    with pytest.raises(InputError) as error:
        config.load(values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_c_of_the_paper_s_may_be_more_than_a_sample_has_and_one_s_own_as_much_as_the_space():
    config.load({"methods": ["siamese", "siamese@c=1120"], "architectures": 48, "top_k": 10})


def test_options_of_the_study_may_come_from_a_command_line():
    """Snakemake reads what stands in lists and objects as text."""
    text = {"method": "gp", "budgets": ["20"], "options": {"batch": "4", "acquisition": "mean"}}
    (entry,) = config.load({"fewest": [text]}).fewest
    assert entry["options"] == {"batch": 4, "acquisition": "mean"}
    assert isinstance(entry["options"]["batch"], int)
    deep = {
        "method": "siamese",
        "budgets": ["20"],
        "options": {"predictor": {"bn_momentum": "0.1", "nsam": "True"}},
    }
    (entry,) = config.load({"fewest": [deep]}).fewest
    assert entry["options"] == {"predictor": {"bn_momentum": 0.1, "nsam": True}}


def test_one_method_of_the_study_may_have_several_n_and_several_curves():
    several = [
        {"method": "siamese", "budgets": [20, 30], "top": 10},
        {"method": "siamese", "budgets": [25], "top": 10, "options": {"predictor": {"epochs": 150}}},
        {"method": "gp", "budgets": [20, 30]},
    ]
    assert len(config.load({"fewest": several}).fewest) == 3


def test_the_fair_protocol_needs_means_to_report():
    seed = {"space": "", "nasbench201": __file__, "nasbench201_table": "one_seed"}
    config.load(seed)
    with pytest.raises(
        InputError, match=r"'siamese@labels=select' .*: the fair protocol reports the mean accuracy of what"
    ):
        config.load({**seed, "methods": ["siamese@labels=select"]})
    config.load({**seed, "methods": ["siamese@labels=select"], "nasbench201_table": "mean"})
    with pytest.raises(
        InputError, match="nasbench201_table and nasbench201_select are both one_seed, which is the same"
    ):
        config.load({**seed, "nasbench201_select": "one_seed"})
    config.load({**seed, "nasbench201": "", "nasbench201_select": "one_seed", "space": "tiny_nanobench"})


def test_a_sample_is_no_larger_than_the_space():
    assert config.load({"architectures": 1120}).architectures == 1120
    with pytest.raises(
        InputError, match=r"'architectures' is 1121; tiny_nanobench has 1,120, and 0 takes them all"
    ):
        config.load({"architectures": 1121})


def test_all_images_that_there_are_may_be_asked_for(tmp_path):
    for values in (
        {"train_images": 1787},
        {"train_images": 10},
        {"images": "cifar10", "train_images": 50_000, "images_path": str(tmp_path)},
        {"images": "fashion_mnist", "train_images": 0},
        {"images": "folder", "images_path": str(tmp_path), "train_images": 10**6},  # only the files say
        {"images": "parquet", "images_path": __file__, "image_side": 16, "image_channels": 3},
    ):
        config.load(values)


@pytest.mark.parametrize(
    ("values", "own"),
    [
        ({"images": "folder", "images_path": "."}, True),
        ({"images": "parquet", "images_path": __file__}, True),
        ({"images": "cifar10", "images_path": "."}, False),
        ({"images": "cifar10", "images_path": ".", "images_download": True}, False),
        ({"images": "digits"}, False),
    ],
)
def test_what_can_be_fetched_is_no_file_of_ones_own(values, own):
    """A folder that a download fills would be another one at the next start, and all would be trained again."""
    assert own_files(config.load(values)) is own
