"""Code hashes: an edit of a figure re-runs nothing, an edit of a network does; what was read of a source is kept."""

import ast
import re
from pathlib import Path

import pytest

from snas import code_hash

ROOT = Path(__file__).parent.parent


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
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    code_hash._parsed.cache_clear()
    code_hash.code_hash.cache_clear()
    code_hash._places.cache_clear()


def hashed(*modules):
    forget()
    return code_hash.code_hash(*modules)


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
    assert code_hash.closure("snas.spaces.a") == ["snas", "snas.networks.net", "snas.seeds", "snas.spaces.a"]
    assert code_hash.closure("snas.spaces.a", without=("snas.networks",)) == ["snas.spaces.a"]
    assert code_hash.closure("snas.spaces.a", without=("snas.spaces",)) == code_hash.closure(
        "snas.spaces.a"
    ), (
        "what is named is never left out: a recipe of one's own in snas/training is what a code's price hangs on"
    )


def test_what_of_a_module_a_registry_names_counts(package):
    """A line of a registry that is pointed at something else in the same module is another thing."""
    plain, one, other = hashed("snas.spaces.a"), hashed("snas.spaces.a:A"), hashed("snas.spaces.a:B")
    assert len({plain, one, other}) == 3
    assert hashed("snas.spaces.a:A", "snas.seeds") == hashed("snas.seeds", "snas.spaces.a:A")
    assert code_hash.closure("snas.spaces.a:A") == code_hash.closure("snas.spaces.a")
    edit(package / "networks/net.py", "return 1", "return 2")
    assert hashed("snas.spaces.a:A") != one


def test_a_script_counts_but_for_its_comments(package, tmp_path):
    script = tmp_path / "made.py"
    script.write_text("# how\nx = 1\n")
    without, before = hashed("snas.seeds"), code_hash.code_hash("snas.seeds", script=script)
    assert before != without
    script.write_text('"""What."""\nx = 1  # why\n')
    forget()
    assert code_hash.code_hash("snas.seeds", script=script) == before
    script.write_text("x = 2\n")
    forget()
    assert code_hash.code_hash("snas.seeds", script=script) != before


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
    assert code_hash.closure("theirs.thing") == ["snas", "snas.seeds", *names]
    assert code_hash.closure("alone") == ["alone", "snas", "snas.seeds"]
    edit(package / "spaces/__init__.py", "Registry({", "Registry('space', {")
    before, registry = hashed("theirs.thing"), hashed("snas.spaces")
    edit(tmp_path / "elsewhere/theirs/help.py", "return 1", "return 2")
    assert hashed("theirs.thing") != before
    edit(package / "spaces/__init__.py", "'a':", "'b': 'theirs.thing:Thing', 'a':")
    assert hashed("snas.spaces") == registry, "a registry that names it is left out as before"


def test_what_is_trained_hangs_neither_on_searches_nor_on_importers():
    space, images = "snas.spaces.nanobench", "snas.images.digits"
    trained = code_hash.closure(
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
    rules = (code_hash.PACKAGE.parent / "rules/common.smk").read_text()
    without = ast.literal_eval(rules.split("MADE_BEFORE = ")[1].split("\n")[0])
    found = code_hash.closure(module, without=without)
    assert {module, "snas.search.bench"} <= set(found)
    assert not {"snas.search", "snas.search.methods", "snas.search.gp", "snas.training.loop"} & set(found)


def test_no_rule_of_a_bench_forgets_to_leave_that_out():
    """Candidates that are listed anew have their codes trained anew."""
    calls = re.findall(
        r'code_of\(([^)]*"snas\.search\.(?:own|benches)"[^)]*)\)', (ROOT / "rules/search.smk").read_text()
    )
    assert len(calls) == 7
    assert [call for call in calls if "without=MADE_BEFORE" not in call] == []


@pytest.mark.parametrize("name", ["complete", "export_network", "best_page"])
def test_what_a_winner_is_made_by_is_in_the_hash_of_its_rule(name):
    """A rule names modules; its script is free to import others, and an edit of these would make nothing anew."""
    rules = (ROOT / "rules/export.smk").read_text()
    (named,) = re.findall(rf'code_of\(\s*"{name}\.py",([^)]*)\)', rules)
    covered = set(code_hash.closure(*re.findall(r'"(snas[\w.]*)"', named)))
    imported = ast.parse((ROOT / f"scripts/{name}.py").read_text())
    for node in ast.walk(imported):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("snas"):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found = module if code_hash._path(module) else node.module
                assert found in covered | {"snas.provenance"}, "what a file cost is no part of it"


def test_the_real_package_hashes_quickly_and_stably():
    first = hashed("snas.tables")
    assert first == hashed("snas.tables")
    assert len(first) == 16
    with pytest.raises(ModuleNotFoundError):
        code_hash.code_hash("snas.nowhere")


def test_an_edit_inside_an_f_string_is_seen():
    texts = ["f'{a}b'", "f'{a}c'", "f'{b}b'", "f'{a!r}b'", "f'{a:>3}b'", "f'{a:>{n}}b'", "'{a}b'"]
    assert len({code_hash._plain(ast.parse(text)) for text in texts}) == len(texts)
    assert code_hash._plain(ast.parse("f'{a[\"k\"]}'")) == code_hash._plain(ast.parse("f\"{a['k']}\""))


def test_what_was_read_is_kept_and_trusted_only_where_it_is_whole(package, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    first = hashed("snas.spaces.a")
    kept = sorted((tmp_path / "cache/code").iterdir())
    assert len(kept) == len(code_hash.closure("snas.spaces.a"))
    with monkeypatch.context() as patch:
        patch.setattr(code_hash, "_read", None)
        assert hashed("snas.spaces.a") == first, "nothing is read again"
    for broken in ("", "[1, 2, 3]", '{"plain": 1}', '["x"'):
        for path in kept:
            path.write_text(broken)
        assert hashed("snas.spaces.a") == first
        assert [path.read_text() for path in kept] != [broken] * len(kept)
    monkeypatch.setattr(code_hash, "_reader", lambda: b"reads otherwise")
    assert hashed("snas.spaces.a") == first
    assert len(list((tmp_path / "cache/code").iterdir())) == 2 * len(kept), "another version keeps its own"


def test_the_same_text_elsewhere_imports_other_modules(package, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "cache"))
    for place in ("spaces", "networks"):
        (package / place / "same.py").write_text("from . import near\n")
        (package / place / "near.py").write_text("x = 1\n")
    assert "snas.spaces.near" in code_hash.closure("snas.spaces.same")
    assert "snas.networks.near" in code_hash.closure("snas.networks.same")


def test_without_a_place_to_keep_things_sources_are_read_each_time(package, tmp_path, monkeypatch):
    before = hashed("snas.spaces.a")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SNAS_CACHE", str(tmp_path / "file"))
    assert hashed("snas.spaces.a") == before
    monkeypatch.delenv("SNAS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(code_hash.Path, "home", homeless)
    assert hashed("snas.spaces.a") == before
