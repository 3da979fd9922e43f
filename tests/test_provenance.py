"""Code hashes (an edit of a figure re-runs nothing, an edit of a network does), the driver's lock, measurements."""

import ast
import errno
import subprocess
import sys
import textwrap

import pytest

from snas import InputError, provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same shape as snas, whose modules a test may edit."""
    files = {
        "__init__.py": "",
        "registry.py": "class Registry:\n    def __init__(self, *a): pass\n",
        "spaces/__init__.py": "from snas.registry import Registry\nREGISTRY = Registry({'a': 'snas.spaces.a:A'})\n",
        "spaces/a.py": "class A:\n    network = 'snas.networks.net:Net'\n",
        "networks/__init__.py": "",
        "networks/net.py": "def Net():\n    'doc'\n    from snas import seeds\n    return 1  # comment\n",
        "seeds.py": "x = 1\n",
        "figures/__init__.py": "",
        "figures/fig1.py": "import snas.seeds\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    provenance._parsed.cache_clear()
    provenance.code_hash.cache_clear()
    provenance._places.cache_clear()


def hashed(*modules):
    forget()
    return provenance.code_hash(*modules)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_imported_counts_and_the_rest_does_not(package):
    before = hashed("snas.spaces.a")
    edit(package / "figures/fig1.py", "import", "import json, ")
    edit(package / "networks/net.py", "# comment", "# another")
    edit(package / "networks/net.py", "'doc'", "'documentation'")
    edit(package / "spaces/__init__.py", "'a':", "'b': 'snas.spaces.b:B', 'a':")
    assert hashed("snas.spaces.a") == before
    edit(package / "networks/net.py", "return 1", "return 2")
    after = hashed("snas.spaces.a")
    assert after != before, "a space names its network by a string; an edit of it must be seen"
    edit(package / "seeds.py", "x = 1", "x = 2")
    assert hashed("snas.spaces.a") != after, "imports inside functions count"


def test_a_registry_of_a_class_of_its_own_is_left_out_and_modules_can_be(package):
    (package / "spaces/__init__.py").write_text(
        "from snas.registry import Registry\nclass Own(Registry):\n    x = 1\nMETHODS = Own('a', {'a': 'snas.spaces.a:A'})\n"
    )
    before = hashed("snas.spaces")
    edit(package / "networks/net.py", "return 1", "return 2")
    edit(package / "spaces/__init__.py", "{'a'", "{'b': 'snas.spaces.b:B', 'a'")
    assert hashed("snas.spaces") == before
    edit(package / "spaces/__init__.py", "x = 1", "x = 2")
    assert hashed("snas.spaces") != before
    forget()
    assert provenance.closure("snas.spaces.a") == ["snas", "snas.networks.net", "snas.seeds", "snas.spaces.a"]
    assert provenance.closure("snas.spaces.a", without=("snas.networks",)) == ["snas.spaces.a"]


def test_a_script_counts_but_for_its_comments(package, tmp_path):
    script = tmp_path / "made.py"
    script.write_text("# how\nx = 1\n")
    without, before = hashed("snas.seeds"), provenance.code_hash("snas.seeds", script=script)
    assert before != without
    script.write_text('"""What."""\nx = 1  # why\n')
    forget()
    assert provenance.code_hash("snas.seeds", script=script) == before
    script.write_text("x = 2\n")
    forget()
    assert provenance.code_hash("snas.seeds", script=script) != before


def test_templates_count_where_one_is_named(package):
    (package / "figures/page.py").write_text("TEMPLATE = 'page.html.jinja'\n")
    for name in ("page.html.jinja", "page.css.jinja"):
        (package / "figures" / name).write_text("old")
    page, other = hashed("snas.figures.page"), hashed("snas.figures.fig1")
    edit(package / "figures/page.css.jinja", "old", "new")  # the page includes it
    assert hashed("snas.figures.page") != page
    assert hashed("snas.figures.fig1") == other


def test_an_entry_of_another_package_counts_with_its_own_modules_and_is_not_imported(
    package, tmp_path, monkeypatch
):
    files = {
        "theirs/__init__.py": "raise RuntimeError('imported')\n",
        "theirs/thing.py": "import json\nfrom snas import seeds\nfrom .help import more\nfrom . import other\n",
        "theirs/help.py": "def more():\n    return 1\n",
        "theirs/other.py": "network = 'theirs.net:Net'\n",
        "theirs/net.py": "import theirs.help\n",
        "alone.py": "from snas import seeds\n",
    }
    for name, text in files.items():
        path = tmp_path / "elsewhere" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    names = ("theirs", "theirs.help", "theirs.net", "theirs.other", "theirs.thing")
    assert provenance.closure("theirs.thing") == ["snas", "snas.seeds", *names]
    assert provenance.closure("alone") == ["alone", "snas", "snas.seeds"]
    edit(package / "spaces/__init__.py", "Registry({", "Registry('space', {")
    before, registry = hashed("theirs.thing"), hashed("snas.spaces")
    edit(tmp_path / "elsewhere/theirs/help.py", "return 1", "return 2")
    assert hashed("theirs.thing") != before
    edit(package / "spaces/__init__.py", "'a':", "'b': 'theirs.thing:Thing', 'a':")
    assert hashed("snas.spaces") == registry, "a registry that names it is left out as before"


def test_what_is_trained_hangs_neither_on_searches_nor_on_importers():
    space, images = "snas.spaces.nanobench", "snas.images.digits"
    trained = provenance.closure(
        "snas.training.codes", "snas.training.truth", "snas.images.split", space, images
    )
    assert "snas.networks.nano" in trained
    strange = [
        n
        for n in trained
        if n.startswith(("snas.search", "snas.predictors", "snas.config", "snas.spaces.source"))
    ]
    assert strange == [], "an edit of a search method would train every network again"


@pytest.mark.parametrize("module", ["snas.search.benches", "snas.search.own"])
def test_benches_hang_on_what_puts_them_together_and_on_no_method(module):
    rules = (provenance.PACKAGE.parent / "rules/common.smk").read_text()
    without = ast.literal_eval(rules.split("MADE_BEFORE = ")[1].split("\n")[0])
    found = provenance.closure(module, without=without)
    assert {module, "snas.search.bench"} <= set(found)
    assert not {"snas.search", "snas.search.methods", "snas.search.gp", "snas.training.loop"} & set(found)


def test_the_real_package_hashes_quickly_and_stably():
    first = hashed("snas.tables")
    assert first == hashed("snas.tables")
    assert len(first) == 16
    with pytest.raises(ModuleNotFoundError):
        provenance.code_hash("snas.nowhere")


HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from snas import provenance
    held = provenance.hold_run(Path(sys.argv[1]), "mine", reads_only=False)
    print("held", flush=True)
    time.sleep(60)
""")


def test_one_driver_per_run_and_a_dead_ones_lock_is_taken_away(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir()
    (locks / "0.output.lock").write_text("results/mine/a.parquet\n")
    (locks / "1.output.lock").write_text("results/other/a.parquet\n")
    with pytest.raises(InputError, match=f"results/mine is being made by process {first.pid} on"):
        provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None
    other = provenance.hold_run(tmp_path, "another", reads_only=False)
    other.close()
    assert len(list(locks.iterdir())) == 2
    first.kill()
    first.wait()
    first.stdout.close()
    held = provenance.hold_run(tmp_path, "mine", reads_only=False)
    assert [p.name for p in locks.iterdir()] == ["1.output.lock"], "another run's lock stays"
    held.close()


def test_a_driver_of_another_machine_may_live_although_its_lock_seems_free(tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/mine/a.parquet\n")
    sign = tmp_path / ".snakemake/snas/mine.lock"
    sign.parent.mkdir()
    sign.write_text("process 7 on another-machine since 2026-01-01 10:00:00")
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert list(locks.iterdir()), "Snakemake says who may take it away"
    provenance.hold_run(tmp_path, "mine", reads_only=False).close()
    assert not list(locks.iterdir()), "now it was this machine that held it last"


def test_a_file_system_without_locks_says_so_and_serves(tmp_path, monkeypatch, capsys):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(provenance.fcntl, "flock", flock)
    assert provenance.hold_run(tmp_path, "mine", reads_only=False) is None
    assert "this file system has no locks (no locks available)" in capsys.readouterr().err
    assert provenance.hold_run(tmp_path, "mine", reads_only=True) is None


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("-n", True),
        ("-np", True),
        ("--cores 2 --dry-run", True),
        ("--summary", True),
        ("--report=page.html", True),
        ("--dag=dot", True),
        ("--cores 2", False),
        ("fig5 --cores 2", False),
    ],
)
def test_commands_that_make_nothing_are_known(line, reads):
    assert provenance.only_reads(["snakemake", *line.split()]) is reads


def test_measured_says_what_it_cost():
    with provenance.measured(recipe="r", seed=3) as record:
        sum(range(10000))
    assert record["identity"] == ["recipe", "seed"]
    assert record["recipe"] == "r"
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert record["gpu_seconds"] == 0
    assert "python" in record["versions"]


def test_an_edit_inside_an_f_string_is_seen():
    texts = ["f'{a}b'", "f'{a}c'", "f'{b}b'", "f'{a!r}b'", "f'{a:>3}b'", "f'{a:>{n}}b'", "'{a}b'"]
    assert len({provenance._plain(ast.parse(text)) for text in texts}) == len(texts)
    assert provenance._plain(ast.parse("f'{a[\"k\"]}'")) == provenance._plain(ast.parse("f\"{a['k']}\""))
