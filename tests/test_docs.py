"""Documents that name code are held to it."""

import doctest
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from snas import __main__ as command
from snas.figures.chapter import chapter
from snas.registry import resolve

ROOT = Path(__file__).parent.parent
PAPER = (ROOT / "docs/from-paper-to-code.md").read_text()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`(snas\.[\w.]+:\w+)`", PAPER))))
def test_what_the_paper_page_names_exists(target):
    assert resolve(target) is not None


def test_the_rules_that_the_paper_page_names_exist():
    rules = set(
        re.findall(
            r"^(?:use )?rule (?:\w+ as )?(\w+)",
            "".join(p.read_text() for p in (ROOT / "rules").glob("*.smk")),
            re.M,
        )
    )
    named = set(
        re.findall(r"`([a-z_0-9]+)`(?=[,| ]*\|?$|, `)", "\n".join(re.findall(r"^\|.*\|$", PAPER, re.M)), re.M)
    )
    assert named
    assert named <= rules


def test_docs_tables_are_made_from_the_schemas():
    assert (ROOT / "docs/tables.md").read_text() == command.tables_page()


def test_links_of_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_results_page_has_the_tables_of_the_kept_analysis():
    """What docs/data keeps of the runs is what the page says."""
    runs = sorted(path.parent for path in (ROOT / "docs/data").glob("*/analysis"))
    assert runs, "docs/data keeps the analysis of no run"
    page = set((ROOT / "docs/results.md").read_text().splitlines())
    assert [line for line in chapter(runs).splitlines() if line not in page] == []


def test_the_programs_of_the_library_page_run():
    page = (ROOT / "docs/library.md").read_text()
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S))
    assert program
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def modules_with_examples():
    files = sorted((ROOT / "snas").rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files if ">>> " in f.read_text()]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("module", modules_with_examples())
def test_the_examples_of_docstrings_are_true(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["tables"], ["config-table"], ["config-check", "config/smoke.yaml"]])
def test_a_closed_pipe_ends_a_command_without_a_word(words, unbuffered):
    """As in ``snas tables | head -1``; what the interpreter would say of it at its own end is a traceback, too."""
    assert ended(words, unbuffered, close=True) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_an_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        code, said = ended(["config-table"], "", stdout=full)
    assert (code, said) == (2, "snas: [Errno 28] No space left on device\n")


def test_an_output_that_is_written_ends_well():
    assert ended(["config-table"], "", stdout=subprocess.DEVNULL) == (0, "")


def ended(words, unbuffered, *, stdout=subprocess.PIPE, close=False):
    """Return exit status and errors of a command, the reading end of whose output may be closed at once."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "snas", *words], cwd=ROOT, env=environment, stdout=stdout,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        if close:
            process.stdout.close()
            process.stdout = None
        return process.wait(timeout=120), process.stderr.read()


def test_the_results_page_has_the_prices_of_the_kept_study():
    """docs/data/fewest against the tables of prices: every method on the whole tables, `gp` without the best as well."""
    frame = pd.read_parquet(ROOT / "docs/data/fewest/needed.parquet")
    page = (ROOT / "docs/results.md").read_text()
    apart = frame["method"].isin(["gp+coarse", "gp acquisition=mean", "gp (fair)"])
    stated = frame[~apart & ((frame["removed"] == 0) | (frame["method"] == "gp"))]
    assert len(stated) == 44
    names = ("price_low", "price_median", "price_high", "price_worst")
    shown = lambda price: "–" if pd.isna(price) else f"{price:.1f}".removesuffix(".0")
    for row in stated.to_dict("records"):
        prices = " / ".join(shown(row[name]) for name in names)
        assert f"{prices} ({100 * row['found']:.0f} %)" in page, (row["bench"], row["method"], row["removed"])
