"""A block that is killed goes on from its last kept round and gives the same table."""

from types import SimpleNamespace

import numpy as np
import pytest

from snas.search import kept
from snas.search.block import Settings, run_block
from snas.search.kept import SPENT, Kept
from snas.search.rounds import Rounds

from . import toys
from .test_blocks import same

SETTINGS = Settings("linear_bts", 40, 10, runs=(0, 3))


def result_of(file):
    """Return the block whose rounds are kept in a file."""
    return file.with_name(file.name.replace(".rounds.npz", ".parquet"))


class Killed(Exception):
    """Stands for SIGKILL: nothing is cleaned up."""


@pytest.fixture
def every_round(monkeypatch):
    """Every round is long enough to be kept."""
    monkeypatch.setattr(kept, "KEEP_SECONDS", 0)


@pytest.fixture
def proposed(monkeypatch):
    """The numbers of the rounds that are done, in order."""
    numbers = []
    whole = Rounds.next

    def noted(self):
        numbers.append(self.number)
        return whole(self)

    monkeypatch.setattr(Rounds, "next", noted)
    return numbers


def killed_after(rounds, path, settings, monkeypatch, file, code="code"):
    """Run a block until the given number of rounds is kept."""

    class Stopping(Kept):
        def after_round(self, search):
            super().after_round(search)
            if search.number == rounds:
                raise Killed

    with pytest.raises(Killed):
        run_block(path, settings, kept=Stopping(result_of(file), code=code))


@pytest.mark.parametrize("method", ["random", *toys.TOYS])
def test_a_killed_block_goes_on_and_gives_the_same(
    method, bench, tmp_path, every_round, proposed, monkeypatch
):
    path, file = bench(), tmp_path / "deep" / "block.rounds.npz"
    settings = Settings(method, 40, 10, runs=(0, 3))
    whole = run_block(path, settings)
    total = len(proposed)
    for rounds in range(1, total):
        killed_after(rounds, path, settings, monkeypatch, file)
        proposed.clear()
        again = Kept(result_of(file), code="code")
        same(whole, run_block(path, settings, kept=again))
        assert proposed == list(range(rounds, total))
        again.forget()
        assert not file.exists()


@pytest.mark.parametrize("change", ["code", "settings", "bench", "cut", "foreign"])
def test_what_is_kept_of_something_else_is_not_gone_on_with(
    change, bench, tmp_path, every_round, proposed, monkeypatch, capsys
):
    path, file, settings, code = bench(), tmp_path / "block.rounds.npz", SETTINGS, "code"
    killed_after(3, path, settings, monkeypatch, file)
    if change == "code":
        code = "other"
    elif change == "settings":
        settings = Settings("linear_bts", 40, 10, runs=(0, 4))
    elif change == "bench":
        path = bench(lambda frame: frame.__setitem__("accuracy", frame["accuracy"] * 0.9), "other")
    elif change == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.write_bytes(b"not a state")
    proposed.clear()
    found = run_block(path, settings, kept=Kept(result_of(file), code=code))
    assert proposed[0] == 0
    assert "all rounds are done again" in capsys.readouterr().out
    same(found, run_block(path, settings))


def test_a_short_block_leaves_no_file(bench, tmp_path):
    file = tmp_path / "block.rounds.npz"
    run_block(bench(), SETTINGS, kept=Kept(result_of(file), code="code"))
    assert not file.exists()


def test_a_state_is_written_after_enough_work_and_not_after_every_round(tmp_path, monkeypatch):
    now, written = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], process_time=lambda: 0.0)
    monkeypatch.setattr(kept, "time", clock)
    monkeypatch.setattr(kept, "save_state", lambda *_: written.append(now[0]))
    block = Kept(tmp_path / "block.parquet", code="code")
    for now[0] in (60.0, 119.0, 121.0, 200.0, 240.0, 242.0, 500.0):
        block.after_round(SimpleNamespace(done=False, state=dict))
    now[0] = 900.0
    block.after_round(SimpleNamespace(done=True, state=dict))  # its table is written next
    assert written == [121.0, 242.0, 500.0]


def test_what_a_killed_process_took_is_counted(bench, tmp_path, every_round, monkeypatch):
    path, file = bench(), tmp_path / "block.rounds.npz"
    killed_after(3, path, SETTINGS, monkeypatch, file)
    with np.load(file) as state:
        arrays = dict(state)
    assert (arrays["state/spent"][:2] > 0).all()
    np.savez_compressed(file, **arrays | {"state/spent": np.array([1000.0, 900.0, 0.0])})
    again = Kept(result_of(file), code="code")
    run_block(path, SETTINGS, kept=again)
    spent = again.spent()
    assert list(spent) == list(SPENT)
    assert 1000 < spent["seconds"] < 1900
    assert 900 < spent["cpu_seconds"] < 1000
    assert spent["gpu_seconds"] == 0
