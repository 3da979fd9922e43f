"""The forecast's arithmetic, and the plan that fits a time."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from snas import InputError, images, spaces, training
from snas.images.split import write_split
from snas.search import forecast
from snas.search.forecast import Plan, Speed, Work, choose_plan, in_words, sizes
from snas.search.jobs import own_search
from snas.search.own import candidates

SPEED = Speed(startup=2.0, step=(1e-3, 1e-9), test=(1e-5, 1e-11), jobs=2)
WORK = Work({8: np.full(1120, 1e6), 16: np.full(1120, 4e6), 32: np.full(1120, 16e6)}, 100, 2)


def test_rounds_of_a_plan_add_up_to_its_trainings():
    for method in ("gp", "random", "siamese+nsam+bts", "neural_predictor"):
        search = own_search(method, "33+7", 8)
        assert sum(sizes(search)) == 40
        assert len(sizes(search)) == search.rounds


def test_a_method_that_says_nothing_of_its_rounds_is_taken_to_share_its_trainings_among_them():
    """Such a method may ask for all N in any round (``Method.sizes``): the sum of that is not what it trains."""
    unknown = replace(own_search("random", "10+4", 8), asks=(10, 10, 10, 4))
    assert sizes(unknown) == [4, 3, 3, 4]


def test_a_forecast_is_the_sum_of_its_jobs():
    """By hand: 8 + 8 + 4 networks in three rounds, two jobs at a time, of equal networks."""
    plan = Plan(own_search("gp", "16+4", 8), 8, 160)
    one = 160 * (1e-3 + 1e-9 * 1e6) + 100 * (1e-5 + 1e-11 * 1e6)
    assert SPEED.training(1e6, 160, 100) == pytest.approx(one)
    last = 3 * 2 + one  # the winner's own training, its ONNX file, its card
    assert WORK.seconds(plan, SPEED) == pytest.approx(3 * 2 + 3 * 2 * 2 + (4 + 4 + 2) * one + last)
    assert WORK.seconds(plan, SPEED, paid=12) == pytest.approx(3 * 2 + 3 * 2 * 2 + (0 + 2 + 2) * one + last)


def test_the_start_is_expected_to_be_of_mean_cost_and_what_follows_among_the_dear():
    """Seven of the start, then four and five: two at a time, the last job of a round may stand alone."""
    work = Work({8: np.array([1e6, 1e6, 1e6, 9e6, 9e6])}, 100, 2)
    plan = Plan(own_search("gp", "11+5", 7), 8, 160)
    each = lambda macs: SPEED.training(macs, 160, 100)
    expected = (3 + 3 * 2 + 3) * 2 + 4 * each(4.2e6) + (2 + 3) * each(9e6) + each(9e6)
    assert work.seconds(plan, SPEED) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [*forecast.STEPS, 400])
def test_every_plan_has_recipes_of_its_steps(steps):
    plan = Plan(own_search("siamese", "16+4"), 8, steps)
    assert training.recipe(plan.recipe).steps(1000) == steps
    assert training.recipe(plan.code_recipe).steps(1000) == plan.code_steps
    assert abs(plan.code_steps - steps / 20) < 3 or plan.code_steps == 18


def test_steps_that_the_user_names_make_no_network_wider():
    """Short trainings tell little of wide networks; long ones may be of them."""
    chosen = lambda steps, **more: choose_plan(
        WORK, SPEED, 1e9, method="gp", ask_batch=8, steps=steps, **more
    )
    assert [chosen(steps).width for steps in (40, forecast.WIDER - 1, forecast.WIDER, 5120)] == [8, 8, 32, 32]
    assert chosen(40, width=16).width == 16
    assert chosen(40).steps == 40


@pytest.mark.parametrize(("wide", "width"), [(160, 32), (159, 16), (4, 16)])
def test_limits_that_leave_few_wide_networks_keep_them_narrow(wide, width):
    """Forty trainings of forty candidates are no search."""
    work = Work({8: np.full(1120, 1e6), 16: np.full(500, 4e6), 32: np.full(wide, 16e6)}, 100, 2)
    found = choose_plan(work, SPEED, 1e9, method="gp", ask_batch=8, budget="32+8")
    assert (found.width, found.search.trainings) == (width, 40)


def test_codes_are_paid_for_where_they_are_looked_at():
    without = Plan(own_search("neural_predictor", "16+4"), 8, 160)
    coded = Plan(own_search("siamese", "16+4"), 8, 160)
    more = WORK.seconds(coded, SPEED) - WORK.seconds(without, SPEED)
    assert more == pytest.approx(2 + 1120 * coded.code_steps / 2 * 2e-3 / 2)


def test_codes_that_are_there_are_not_paid_for_again():
    plan, each = Plan(own_search("siamese", "16+4"), 8, 160), 18 / 2 * 2e-3
    seconds = lambda **known: Work(WORK.macs, 100, 4, **known).seconds(plan, SPEED)
    none = seconds(coded=1120)
    assert seconds(coded=1000) - none == pytest.approx(2 + 120 * each / 4)
    assert seconds(coded=1000, code_shards=2) - none == pytest.approx(2 + 120 * each / 2), (
        "two shards, two jobs"
    )


@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [
        ("auto", "2,5", ["2", "5"]),
        ("cuda", "2,5", ["2", "5"]),
        ("cuda", "7", ["7", "7"]),
        ("cpu", "2,5", ["2,5", "2,5"]),
        ("auto", "", ["", ""]),
    ],
)
def test_each_process_of_the_measurement_has_a_gpu_of_its_own(monkeypatch, device, given, expected):
    seen = []

    class Worker:
        returncode = 0

        def __init__(self, words, *, env, **_):
            seen.append(env["CUDA_VISIBLE_DEVICES"])
            assert env["OMP_NUM_THREADS"] == "1"

        def communicate(self):
            found = {"ready": time.time(), "macs": [1e5, 1e6], "step": [0.1, 0.2], "test": [0.1, 0.2]}
            return json.dumps(found), ""

    monkeypatch.setattr(forecast.subprocess, "Popen", Worker)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    speed = forecast.measure("none", "tiny_nanobench", width=4, jobs=2, device=device, compile=False)
    assert seen == expected
    assert speed.jobs == 2


@pytest.mark.parametrize(
    ("code", "errors"),
    [
        (
            1,
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
        ),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        (1, "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 1. TiB for an array"),
        (-signal.SIGKILL, ""),
    ],
)
def test_a_measurement_that_lacks_memory_says_what_would_be_right(monkeypatch, code, errors):
    worker = MagicMock(returncode=code)
    worker.communicate.return_value = ("", f"Traceback\n{errors}\n")
    monkeypatch.setattr(forecast.subprocess, "Popen", lambda *_, **__: worker)
    with pytest.raises(InputError) as error:
        forecast.measure("none", "tiny_nanobench", width=512, jobs=2, device="cpu", compile=False)
    assert str(error.value) == (
        "networks of width 512, 2 at a time, do not fit into the memory that there is; a smaller --width or --side, or "
        "fewer --cores, would be right"
    )


def test_a_measurement_that_fails_leaves_no_process_behind(monkeypatch):
    start, programs, started = (
        subprocess.Popen,
        ["raise SystemExit('broken')", "import time; time.sleep(60)"],
        [],
    )

    def popen(command, **settings):
        started.append(start([*command[:1], "-c", programs[len(started)]], **settings))
        return started[-1]

    monkeypatch.setattr(forecast.subprocess, "Popen", popen)
    with pytest.raises(InputError, match="the measurement of this machine failed: broken"):
        forecast.measure("none", "tiny_nanobench", width=8, jobs=2, device="cpu", compile=False)
    assert [process.returncode for process in started] == [1, -signal.SIGKILL]


def test_memory_is_asked_for_by_weights_activations_and_jobs(monkeypatch):
    frame, _ = candidates("tiny_nanobench", width=128, channels=3, side=32, classes=10)
    needed = forecast.training_bytes("tiny_nanobench", frame, width=128, side=32)
    assert needed.max() > 16 * frame["params"].max(), "the dearest is among them"
    assert needed.min() < needed.mean() < needed.max()

    def fits(there, jobs):
        monkeypatch.setattr(forecast, "memory_bytes", lambda: there)
        forecast.check_memory("tiny_nanobench", frame, width=128, side=32, jobs=jobs)

    fits(needed.max(), 1)
    fits(4 * needed.mean(), 4)
    for there, jobs in ((0.99 * needed.max(), 1), (3.9 * needed.mean(), 4)):
        with pytest.raises(InputError, match=r"networks of width 128 take about .* GB of memory to train"):
            fits(there, jobs)


def test_memory_is_spoken_of_only_where_even_the_weights_of_the_jobs_do_not_fit(monkeypatch):
    monkeypatch.setattr(forecast, "memory_bytes", lambda: 16e9)
    assert forecast.memory_in_words("tiny_nanobench", 8, 1000) == ""
    assert forecast.memory_in_words("tiny_nanobench", 0, 64) == "", "0 is the space's own width"
    assert forecast.memory_in_words("tiny_nanobench", 1024, 4) == ""
    assert forecast.memory_in_words("tiny_nanobench", 1024, 8) == (
        "networks of width 1024 take more than 3.3 GB of memory to train, 8 at a time, and this machine has 16.0 GB; a smaller "
        "width, or fewer --cores, would be right"
    )


def test_a_container_has_the_memory_that_it_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(forecast, "MEMORY_LIMITS", (tmp_path / "max", tmp_path / "limit", tmp_path / "none"))
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text(str(2**70))
    whole = forecast.memory_bytes()
    assert 2**28 < whole < 2**50
    (tmp_path / "limit").write_text("1000000\n")
    assert forecast.memory_bytes() == 1e6


def test_large_networks_are_measured_by_as_few_as_train_together(monkeypatch, tmp_path):
    write_split(tmp_path, images.load("digits"), base_seed=0)
    seen = []

    class Enough(Exception):
        """What is looked at has been seen."""

    def population(space, archs, **_):
        seen.append(len(archs))
        raise Enough

    monkeypatch.setattr("snas.networks.population", population)
    task = {
        "selection": str(tmp_path / "selection.parquet"),
        "space": "tiny_nanobench",
        "device": "cpu",
        "compile": False,
    }
    for width in (8, 512):
        with pytest.raises(Enough):
            forecast.work_seconds(task | {"width": width})
    assert seen == [4, 3]


@pytest.mark.parametrize("seconds", [60.0, 120.0, 300.0, 1800.0, 36_000.0, 1e6])
def test_a_plan_fits_the_time_and_uses_it(seconds):
    plan = choose_plan(WORK, SPEED, seconds, method="gp", ask_batch=8)
    assert WORK.seconds(plan, SPEED) <= seconds
    longer = choose_plan(WORK, SPEED, 2 * seconds, method="gp", ask_batch=8)
    order = lambda p: (p.width, p.steps, p.search.trainings)
    assert order(longer) >= order(plan) or longer.search.trainings > plan.search.trainings
    if seconds >= 300:
        assert plan.steps >= forecast.LEAST
    if seconds >= 36_000:
        assert (plan.width, plan.search.name) == (32, "gp_n128_k032_b8")
    if plan.steps < forecast.STEPS[-1]:
        more = replace(plan, steps=forecast.STEPS[forecast.STEPS.index(plan.steps) + 1])
        assert WORK.seconds(more, SPEED) > seconds
    if plan.width > 8:
        assert plan.steps >= forecast.WIDER, "shorter ones are better spent on the narrow networks"


def test_without_a_time_a_plan_is_never_too_short_to_mean_something():
    slow = Speed(30.0, (0.1, 0.0), (0.0, 0.0), 1)
    plan = choose_plan(WORK, slow, 60.0, method="gp", ask_batch=8, strict=False)
    assert (plan.steps, plan.search.trainings, plan.width) == (forecast.LEAST, 30, 8)
    hurried = choose_plan(WORK, slow, 60.0, method="gp", ask_batch=8)
    assert WORK.seconds(hurried, slow) < WORK.seconds(plan, slow)


def test_what_is_given_stays():
    plan = choose_plan(
        WORK, SPEED, 60.0, method="random", ask_batch=8, budget="90+5", width=16, steps=400, balanced=True
    )
    assert (plan.search.budget, plan.search.top, plan.width, plan.recipe) == (90, 5, 16, "own_400_balanced")
    plan = choose_plan(WORK, SPEED, 1e6, method="gp", ask_batch=8, budget="32+8")
    assert (plan.search.trainings, plan.width, plan.steps) == (40, 32, forecast.STEPS[-1])


def test_limits_that_leave_few_networks_bound_the_budget():
    few = Work({8: np.full(33, 1e6)}, 100, 2)
    assert choose_plan(few, SPEED, 3600, method="gp", ask_batch=8).search.trainings <= 33


@pytest.mark.parametrize(
    "points", [((1e5, 1e6), (0.002, 0.005)), ((1e5, 1e6), (0.002, 0.001)), ((1e5, 1e6), (1e-4, 1.0))]
)
def test_a_measured_line_is_never_negative(points):
    constant, slope = forecast._line(*points)
    assert constant >= 0
    assert slope >= 0
    assert constant + slope * points[0][1] >= min(points[1])


def test_a_measured_line_goes_through_both_points_or_the_origin_and_the_dearer_one():
    constant, slope = forecast._line((1e5, 1e6), (0.002, 0.005))
    assert [constant + slope * macs for macs in (1e5, 1e6)] == pytest.approx([0.002, 0.005])
    assert forecast._line((1e5, 1e6), (1e-4, 1.0)) == pytest.approx((0.0, 1e-6))
    assert forecast._line((1e5, 1e6), (0.002, 0.001)) == pytest.approx((0.002, 0.0)), "noise is no slope"


def test_what_is_measured_are_seconds_of_one_network_and_one_image(monkeypatch, tmp_path):
    """Four networks take 8 s a step together, and 64 images of each are tested in the same time."""
    write_split(tmp_path, images.load("digits"), base_seed=0)
    monkeypatch.setattr(forecast, "_timed", lambda *_: 8.0)
    task = {"selection": str(tmp_path / "selection.parquet"), "space": "tiny_nanobench"}
    found = forecast.work_seconds(task | {"width": 4, "device": "cpu", "compile": False})
    assert found["step"] == [8 / 4] * 2
    assert found["test"] == [8 / 4 / 64] * 2
    macs, _ = spaces.load("tiny_nanobench").costs(width=4, channels=1, side=8, classes=10)
    cheap, dear = (np.quantile(macs, [share - 0.11, share + 0.11]) for share in (0.2, 0.8))
    assert cheap[0] < found["macs"][0] < cheap[1]
    assert dear[0] < found["macs"][1] < dear[1]


def test_processes_that_measure_at_the_same_time_count_by_their_mean(monkeypatch):
    said = iter(((3.0, 0.1), (5.0, 0.3)))
    monkeypatch.setattr(forecast, "time", SimpleNamespace(time=lambda: 1000.0))

    class Worker:
        returncode = 0

        def __init__(self, *_, **__):
            pass

        def communicate(self):
            startup, dear = next(said)
            found = {
                "ready": 1000.0 + startup,
                "macs": [0, 100],
                "step": [0.0, dear],
                "test": [0.0, 2 * dear],
            }
            return "a warning of a library\n" + json.dumps(found), ""

    monkeypatch.setattr(forecast.subprocess, "Popen", Worker)
    speed = forecast.measure("none", "tiny_nanobench", width=4, jobs=2, device="cpu", compile=False)
    assert speed.startup == pytest.approx(4.0)
    assert speed.step == pytest.approx((0.0, 0.002))
    assert speed.test == pytest.approx((0.0, 0.004))


def test_a_plan_in_words_says_trainings_cost_and_end():
    plan = Plan(own_search("gp", "32+8", 8), 8, 320)
    assert "estimation code" not in " ".join(in_words(plan, SPEED, 250.0, 0.0, paid=7))
    coded = " ".join(in_words(plan, SPEED, 250.0, 0.0, uncoded=449))
    assert (
        f"before the trainings, 449 estimation codes of {plan.code_steps} steps are trained, one of each network within"
        in coded
    )
    said = " ".join(in_words(plan, SPEED, 250.0, 0.0, paid=7))
    for words in (
        "32 networks in 4 rounds, 8 at a time",
        "40 complete trainings of 320 steps",
        "own_320",
        "4 min 10 s",
        "7 trainings are paid for",
    ):
        assert words in said, words
    found = json.loads(json.dumps(forecast.facts(plan, SPEED, 250.04, 9.0, 7)))
    numbers = ("at", "seconds", "trainings", "paid_before", "recipe", "width")
    assert [found[name] for name in numbers] == [9.0, 250.0, 40, 7, "own_320", 8]
    assert found["speed"]["jobs"] == 2


def test_a_search_without_a_last_ranking_names_none():
    (said, *_) = in_words(Plan(own_search("random", "8+0", 8), 8, 320), SPEED, 250.0, 0.0)
    assert "asks for 8 networks in 1 round: 8 complete trainings" in said


def test_one_of_a_kind_is_said_as_one():
    speed = replace(SPEED, jobs=1)
    said = " ".join(in_words(Plan(own_search("gp", "8+1", 8), 8, 320), speed, 250.0, 0.0, paid=1))
    for words in ("in 1 round, then the one that it ranks highest is trained", "1 job at a time", "1 training is paid for already and is not done again"):  # fmt: skip
        assert words in said, words
