"""The search on own images: limits, rounds with trainings between, the log, a raised budget, the choice."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache

import numpy as np
import pandas as pd
import pytest

from snas import InputError, config, spaces, tables
from snas.search import block, own
from snas.search.asks import ASKS
from snas.search.bench import Bench
from snas.search.jobs import own_search
from snas.training.schemas import CODES, TRUTH

SIZE = {"width": 4, "channels": 1, "side": 8, "classes": 10}
SPACE = "tiny_nanobench"
FEW = 4000
"""Parameters that leave some two hundred networks: the tests are quicker with these."""


@cache
def costs():
    """Return MACs and parameters of all networks."""
    return spaces.load(SPACE).costs(**SIZE)


@cache
def cells():
    """Return all cells."""
    return spaces.load(SPACE).cells()


def accuracy(arch: int) -> float:
    """Return the "accuracy" of a training that needs no training: dearer networks are better, with some noise."""
    macs, _ = costs()
    return float(0.5 + 0.4 * macs[arch] / macs.max() + 0.02 * np.sin(arch))


class Run:
    """A search on own images without Snakemake and without training; ``trained`` is what was really trained."""

    def __init__(self, folder) -> None:
        self.folder, self.trained, self.paid = folder, [], []

    def search(self, method="gp", budget="12+4", ask_batch=6, labels="accuracy", **limits):
        limits = limits or {"max_params": FEW}
        search = own_search(method, budget, ask_batch, **limits)
        frame, facts = own.candidates(SPACE, **SIZE, **limits)
        tables.write(self.folder / "candidates.parquet", frame, own.CANDIDATES, facts)
        table = self.folder / "table.parquet"
        own.write_bench(
            table,
            candidates=self.folder / "candidates.parquet",
            codes=None,
            images="digits",
            truth_recipe="own_160",
            facts={},
        )
        settings = block.Settings(
            search.method,
            search.budget,
            search.top,
            (0,),
            new_only=True,
            options=search.options,
            labels=labels,
        )
        plan, answers = self.folder / "plans" / search.name, []
        for number in range(search.rounds):
            files = {
                "state_out": plan / f"{number:02d}/state.npz",
                "asks_out": plan / f"{number:02d}/asks.parquet",
            }
            if number:
                earlier = plan / f"{number - 1:02d}/state.npz"
                block.advance(table, settings, state_in=earlier, answers=answers[-1:], **files)
            else:
                block.begin(table, settings, **files)
            answers.append(plan / f"{number:02d}/truth.parquet")
            self.answer(files["asks_out"], answers[-1])
            assert len(tables.read(files["asks_out"], ASKS)) <= search.asks[number]
        runs, _ = block.finish(table, settings, state_in=files["state_out"], answers=answers[-1:])
        arch = own.finish(
            choice=self.folder / "choice.json", trained=self.folder / "trained.parquet",
            candidates=self.folder / "candidates.parquet", runs=runs, plans=own.plans_below(self.folder / "plans"),
            paid=pd.concat(self.paid), forecast=None, facts={"recipe": "none", "seed": 0},
            by=labels,
        )  # fmt: skip
        return arch, tables.read(self.folder / "trained.parquet", own.TRAINED)

    def answer(self, asks, out) -> None:
        archs = tables.read(asks, ASKS)["arch"].tolist()
        new = [a for a in archs if a not in self.trained]
        self.trained += new
        frame = self.table(new)
        self.paid.append(frame)
        tables.write(out, pd.concat([frame, self.table([a for a in archs if a not in new])]), TRUTH)

    def table(self, archs) -> pd.DataFrame:
        values = [accuracy(a) for a in archs]
        frame = pd.DataFrame(
            {
                "arch": archs, "cell": [cells()[a].name for a in archs], "accuracy": values, "balanced": [1 - v for v in values],
                "correct": 1, "images": 10, "losses": [[1.0]] * len(archs), "status": "ok", "seconds": 1.0,
            }
        )  # fmt: skip
        return frame.astype({"arch": "int32", "correct": "int32", "images": "int32"})


@pytest.mark.parametrize("method", ["gp", "random", "neural_predictor", "evolution", "local_search"])
def test_a_search_trains_its_budget_and_takes_the_best_of_all(tmp_path, method):
    run = Run(tmp_path)
    arch, trained = run.search(method)
    assert len(run.trained) == len(set(run.trained)) == len(trained) == 16
    assert set(trained["arch"]) == set(run.trained)
    assert trained["order"].tolist() == list(range(1, 17))
    assert arch == trained.loc[trained["accuracy"].idxmax(), "arch"]
    choice = json.loads((tmp_path / "choice.json").read_text())
    assert (choice["arch"], choice["trainings"], choice["method"]) == (arch, 16, method)
    assert choice["budget"] + choice["top"] == 16
    row = trained[trained["arch"] == arch].to_dict("records")[0]
    said = ("cell", "accuracy", "balanced", "macs", "params")
    assert [choice[name] for name in said] == [row[name] for name in said]
    few = int((costs()[1] <= FEW).sum())
    assert choice["limits"] == {"max_macs": 0, "max_params": FEW, "within": few, "of": 1120}
    assert choice["measured"]["training_seconds"] == 16, "a second each"
    assert choice["measured"]["search_seconds"] > 0


def test_a_search_by_balanced_accuracy_learns_and_chooses_by_it(tmp_path):
    arch, trained = Run(tmp_path).search(labels="balanced")
    assert arch == trained.loc[trained["balanced"].idxmax(), "arch"]
    later = trained[trained["round"] == 1]
    start = trained[trained["round"] == 0]["balanced"]
    assert later["predicted"].between(start.min(), start.max()).all()
    assert json.loads((tmp_path / "choice.json").read_text())["chosen_by"].startswith("balanced")


def test_beliefs_are_written_down_before_the_training(tmp_path):
    _, trained = Run(tmp_path).search("gp", "18+4")
    first = trained["round"] == 0
    assert trained[first]["predicted"].isna().all(), "nothing was known at the start"
    later = trained[~first]
    assert later["predicted"].notna().all()
    for number in sorted(set(later["round"])):
        seen = trained[trained["round"] < number]["accuracy"]
        row = later[later["round"] == number]["predicted"]
        assert row.between(seen.min(), seen.max()).all()
    assert np.corrcoef(later["predicted"], later["accuracy"])[0, 1] > 0.3, "a smooth target is learnt"


def test_a_raised_budget_goes_on_from_what_is_paid_for(tmp_path):
    run = Run(tmp_path)
    run.search("gp", "12+4")
    paid = list(run.trained)
    _, trained = run.search("gp", "24+4")
    assert len(run.trained) == len(set(run.trained)), "no network twice"
    assert run.trained[:16] == paid
    assert len(run.trained) <= 24 + 4 + 4
    straight = Run(tmp_path / "straight")
    straight.search("gp", "24+4")
    assert set(straight.trained) <= set(run.trained), (
        "what the larger budget asks for hangs on nothing before it"
    )
    plans = trained["plan"].tolist()
    how = ", 6 at a time, at most 4000 parameters"
    assert plans == [f"gp 12+4{how}"] * 16 + [f"gp 24+4{how}"] * (len(plans) - 16), (
        "the log says who asked first"
    )
    assert set(trained["arch"]) == set(run.trained)


def test_a_plan_that_is_taken_up_again_keeps_its_place_in_the_log(tmp_path):
    """Where limits change back, its ask list is made anew; its networks were trained first all the same."""
    run = Run(tmp_path)
    for name, archs in (("first", [3, 5]), ("second", [5, 9]), ("stopped", [9, 11])):
        asks = pd.DataFrame({"run": 0, "arch": archs, "predicted": np.nan}).astype(
            {"run": "int32", "arch": "int32"}
        )
        tables.write(tmp_path / f"{name}.parquet", asks, ASKS, {"round": 0})
    paid = run.table([3, 5, 9]).assign(finished=["2026-01-01", "2026-01-01", "2026-01-02"])
    plans = {name: [tmp_path / f"{name}.parquet"] for name in ("stopped", "second", "first")}
    size = {"width": 4, "channels": 1, "side": 8, "classes": 10}
    found = own.trained_table(plans, paid, "tiny_nanobench", size)
    assert found["arch"].tolist() == [3, 5, 9]
    assert found["plan"].tolist() == ["first", "first", "second"]


def test_another_method_takes_what_is_paid_for(tmp_path):
    run = Run(tmp_path)
    run.search("random", "12+4")
    count = len(run.trained)
    best, trained = run.search("random", "10+2")
    assert len(run.trained) == count, "a smaller budget costs nothing"
    assert len(trained) == count
    assert accuracy(best) == max(map(accuracy, run.trained))


@pytest.mark.parametrize(("name", "share"), [("max_macs", 0.5), ("max_params", 0.3)])
def test_limits_are_kept_at_the_images_own_size(tmp_path, name, share):
    column = name.removeprefix("max_")
    macs, params = costs()
    limit = int(share * (macs if column == "macs" else params).max())
    values = macs if column == "macs" else params
    limit = int(values[values <= limit].max())  # a network that is exactly as dear is within
    frame, facts = own.candidates(SPACE, **SIZE, **{name: limit})
    assert frame["arch"].tolist() == np.flatnonzero(values <= limit).tolist()
    assert frame["macs"].tolist() == macs[frame["arch"]].tolist()
    assert frame["params"].tolist() == params[frame["arch"]].tolist()
    assert (facts["of"], facts["side"], facts[name]) == (1120, 8, limit)
    arch, trained = Run(tmp_path).search("gp", "8+2", 4, **{name: limit})
    assert (trained[column] <= limit).all()
    assert trained.set_index("arch").loc[arch, column] <= limit


def test_tighter_limits_choose_among_what_they_allow(tmp_path):
    run = Run(tmp_path)
    first, trained = run.search("gp", "12+4")
    limit = int(trained.set_index("arch").loc[first, "macs"]) - 1
    second, trained = run.search("gp", "12+4", max_macs=limit, max_params=FEW)
    assert first != second
    assert trained.set_index("arch").loc[second, "macs"] <= limit
    assert set(trained["arch"]) == set(run.trained), "the log forgets nothing"
    assert trained["plan"].nunique() == 2


def test_what_is_paid_for_is_in_the_log_without_its_plans_files(tmp_path):
    run = Run(tmp_path)
    run.search("random", "12+4")
    shutil.rmtree(tmp_path / "plans")
    arch, trained = run.search("gp", "6+2")
    assert set(trained["arch"]) == set(run.trained)
    gone = trained["plan"].eq("a plan whose files are gone").tolist()
    assert gone == sorted(gone, reverse=True), "they were asked for before"
    assert any(gone)
    assert accuracy(arch) == max(map(accuracy, run.trained))
    assert trained["order"].tolist() == list(range(1, len(trained) + 1))


def test_the_price_of_a_code_is_what_a_search_has_cost_beyond_its_trainings(tmp_path):
    run = Run(tmp_path)
    run.search("random", "6+2")
    spent = {"method": "siamese", "budget": 6, "top": 2, "trainings": 7, "seconds": 1.0}
    coded = pd.DataFrame(
        {"arch": np.arange(50, dtype=np.int32), "cell": [f"c{n}" for n in range(50)], "status": "ok"}
    )
    coded = coded.assign(seconds=0.5, **{f"loss_{n}": np.float32(1) for n in (1, 2, 3)})[list(CODES.columns)]
    tables.write(tmp_path / "codes.parquet", coded, CODES)
    for codes, price in ((40, 7.2), (0, 7.0)):
        own.finish(
            choice=tmp_path / "choice.json", trained=tmp_path / "trained.parquet",
            candidates=tmp_path / "candidates.parquet", runs=pd.DataFrame([{**spent, "codes": codes, "price": price}]),
            plans=own.plans_below(tmp_path / "plans"), paid=pd.concat(run.paid), forecast={"seconds": 9.0}, facts={},
            codes=tmp_path / "codes.parquet" if codes else None,
        )  # fmt: skip
        choice = json.loads((tmp_path / "choice.json").read_text())
        trained = (choice["codes_trained"], choice["measured"]["code_seconds"])
        assert trained == ((50, 25.0) if codes else (0, 0.0)), "all of them, whatever part was looked at"
        assert (choice["trainings"], choice["codes"], choice["price"]) == (8, codes, price)
        assert choice["forecast"] == {"seconds": 9.0}
        assert choice["code_price"] == pytest.approx(0.005 if codes else 0.0)


def test_without_a_width_networks_are_counted_at_the_spaces_own():
    frame, facts = own.candidates(SPACE, **SIZE | {"width": 0})
    space = spaces.load(SPACE)
    assert facts["width"] == space.default_width
    assert frame["macs"].tolist() == space.costs(**SIZE | {"width": space.default_width})[0].tolist()


def test_the_bench_of_the_candidates_says_what_a_code_costs_and_what_guessing_is_worth(tmp_path):
    frame, facts = own.candidates(SPACE, **SIZE, max_params=2000)
    tables.write(tmp_path / "candidates.parquet", frame, own.CANDIDATES, facts)
    rows = frame[["arch", "cell"]].assign(loss_1=1.0, loss_2=0.5, loss_3=0.2, status="ok", seconds=1.0)
    codes = rows.astype({f"loss_{epoch}": "float32" for epoch in (1, 2, 3)})
    said = {"code_images": 320, "train_images": 400, "recipe": "own_code_18"}
    tables.write(tmp_path / "codes.parquet", codes, CODES, said)
    own.write_bench(
        tmp_path / "table.parquet", candidates=tmp_path / "candidates.parquet", codes=tmp_path / "codes.parquet",
        images="digits", truth_recipe="own_160", facts={},
    )  # fmt: skip
    made = Bench.read(tmp_path / "table.parquet")
    assert made.chance == 1 / SIZE["classes"]
    assert made.code_price == (18 * 16) / (160 * 32)
    assert made.codes[0].tolist() == pytest.approx([1.0, 0.5, 0.2])


def test_plans_are_listed_in_the_order_of_their_beginning_under_names_that_say_their_limits(tmp_path):
    begun = [own_search("gp", "24+4", 6), own_search("gp", "12+4", 6, max_macs=700, max_params=4000)]
    for when, search in enumerate(begun):
        for number in ("00", "01", "03"):  # the third is missing: what follows is of no round
            path = tmp_path / search.name / number / "asks.parquet"
            path.parent.mkdir(parents=True)
            path.touch()
        os.utime(tmp_path / search.name / "00/asks.parquet", (when, when))
    found = own.plans_below(tmp_path)
    assert list(found) == [
        "gp 24+4, 6 at a time",
        "gp 12+4, 6 at a time, at most 700 MACs, at most 4000 parameters",
    ]
    assert [len(files) for files in found.values()] == [2, 2]


def test_limits_that_allow_nothing_are_refused_with_what_there_is():
    with pytest.raises(
        InputError, match=r"max_macs = 10 allows no network: on images of 1×8×8, 10 classes and width 4"
    ):
        own.candidates(SPACE, **SIZE, max_macs=10)


def test_the_cheapest_of_equals_is_chosen_and_failures_never():
    frame = pd.DataFrame(
        {
            "arch": [1, 2, 3, 4], "macs": [9, 5, 5, 1], "accuracy": [0.9, 0.9, 0.9, np.nan], "balanced": [0.1, 0.2, 0.3, np.nan],
            "status": ["ok", "ok", "ok", "diverged"],
        }
    )  # fmt: skip
    assert own.choose(frame, [1, 2, 3, 4]) == 2
    assert own.choose(frame, [1, 3]) == 3
    assert own.choose(frame, [1, 2, 3, 4], by="balanced") == 3
    with pytest.raises(InputError, match=r"none of the 4 trained networks came out well"):
        own.choose(frame, [4])


def test_what_a_method_needs_and_a_search_has_not_is_refused():
    for method in ("gp+select", "siamese@labels=select"):
        with pytest.raises(
            InputError, match="looks at 'select', which a search on own images does not measure"
        ):
            own_search(method, "20+5")
    assert own_search("siamese+nsam+bts", "30+10").needs_codes
    assert not own_search("gp", "30+10").needs_codes
    with pytest.raises(InputError, match="too small"):
        own_search("siamese+nsam+bts", "3+1")


@pytest.mark.parametrize(
    "budget", ["foo", "8", "8+2+1", "0+4", "+4", "8+", "-8+2", "8+2 ", "٨+٢", "123456+1"]
)
def test_a_budget_that_is_none_is_one_sentence(budget):
    with pytest.raises(InputError, match=r"^budget is '.*'; allowed: N\+K, as in 32\+8$"):
        own_search("gp", budget)
    with pytest.raises(InputError, match=r"key 'budget' is '.*'; allowed: N\+K, as in 32\+8$"):
        config.load({"budget": budget})


@pytest.mark.parametrize("batch", [1, 4, 8, 16])
def test_the_rounds_follow_from_the_budget_alone(batch):
    search = own_search("gp", "40+8", batch)
    assert search.rounds == 1 + -(-(40 - max(6, batch)) // batch) + 1
    assert search.trainings == 48
    assert sum(search.asks) == 48, "no round has more jobs than it can have trainings"
    assert own.PLAN.fullmatch(search.name).groups() == ("gp", "040", "008", str(batch), None, None)


def test_what_a_round_asks_for_at_most_is_known_beforehand():
    assert own_search("evolution", "13+4").asks == (10, 1, 1, 1, 4)
    assert own_search("local_search", "3+2").asks == (1, 1, 1, 2)
    assert own_search("siamese+nsam+bts", "20+5").asks == (6, *(1,) * 9, 5, 5)
    assert own_search("random", "7+3").asks == (7, 3)
