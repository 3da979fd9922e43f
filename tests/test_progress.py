"""What a driver says about its run."""

import json
import os
import subprocess
import sys
import time

import pytest

from snas import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    at = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: at[0])
    return at


@pytest.fixture
def watched(tmp_path, clock, monkeypatch):
    """Return what makes a watcher of files in the folder that has begun, and what it said."""
    monkeypatch.setattr(progress.Progress, "_watch", lambda self: None)

    def begin(plan, needed=None):
        said = []
        paths = {stage: {str(tmp_path / k): v for k, v in files.items()} for stage, files in plan.items()}
        watch = progress.Progress(lambda: paths, tmp_path / "logs", said.append)
        watch.start(needed and {str(tmp_path / name) for name in needed})
        return watch, said

    return begin


@pytest.fixture
def share(tmp_path, clock):
    """Return what begins a job on a file of the folder."""
    return lambda name: progress.Share(
        progress.share_path(tmp_path / "logs", str(tmp_path / name)), lambda _: None
    )


def test_lines_count_files_shares_and_time_left(tmp_path, clock, watched, share):
    watch, said = watched({"a": {"a.parquet": 30.0}, "b": {"b.parquet": 10.0}})
    assert said == ["[snas] 2 costly files, 0 there already (0% of the work)"]
    (tmp_path / "a.parquet").write_text("")
    clock[0] = 160.0
    assert watch.line() == "[snas] 1 of 2 files, 75% of the work, 1 min 00 s gone, about 20 s left"
    job = share("b.parquet")
    clock[0] = 165.0
    job(5, 10, "networks")
    assert "88% of the work" in watch.line()
    assert watch.line().endswith("; in work: " + "/".join((tmp_path / "b").parts[2:]) + " 5/10")
    job.close()
    (tmp_path / "b.parquet").write_text("")
    done = "[snas] all costly files are there, 1 min 05 s gone; tables, figures and pages are made of them"
    assert watch.line() == done, "no time left of files that are made: what follows is not counted"
    watch.finish()


def test_no_time_is_told_before_enough_is_done_since_the_start(tmp_path, clock, watched, share):
    """A resumed run whose first small file is made says nothing of the hours that the large ones would take at its speed."""
    (tmp_path / "before").write_text("")
    watch, _ = watched({"one": {"before": 500.0, "small": 1.0, "large": 99.0}})
    clock[0] += 50.0
    job = share("large")
    clock[0] += 10.0
    (tmp_path / "small").write_text("")
    assert watch.line() == "[snas] 2 of 3 files, 84% of the work, 1 min 00 s gone"
    job(1, 10)
    assert "about 8 min 10 s left" in watch.line()
    watch.finish()


def test_what_it_takes_to_begin_is_no_measure_of_what_is_left(tmp_path, clock, watched, share):
    """Half a minute of planning and imports before the first job says nothing of a minute of work."""
    watch, _ = watched({"one": {"a": 40.0, "b": 40.0}})
    began = time.time()
    clock[0] += 30.0
    job = share("a")
    clock[0] += 10.0
    job(10, 40)
    assert "40 s gone, about 1 min 10 s left" in watch.line()
    clock[0] += 30.0
    (tmp_path / "a").write_text("")
    os.utime(tmp_path / "a", (began + 70, began + 70))
    job.close()
    clock[0] += 10.0
    assert "1 min 20 s gone, about 50 s left" in watch.line(), "what comes between is"
    watch.finish()


def test_a_file_that_was_made_unseen_began_as_long_ago_as_its_job_says(
    tmp_path, clock, watched, share, monkeypatch
):
    watch, _ = watched({"one": {"a": 40.0, "b": 40.0}})
    began = time.time()
    job = share("a")
    clock[0] += 40.0
    job.close()
    (tmp_path / "a").write_text("")
    os.utime(tmp_path / "a", (began + 70, began + 70))
    clock[0] += 30.0
    assert "1 min 10 s gone, about 40 s left" in watch.line()
    watch.finish()


def test_what_a_stage_took_corrects_its_files_and_those_akin_but_no_others(tmp_path, clock, watched, share):
    """Codes take ten times what was expected, so do trainings; searches are as they were until one tells."""
    plan = {
        "training/codes": {"c0": 10.0, "c1": 10.0},
        "training/truth": {"t0": 100.0},
        "search/one": {"s0": 50.0},
    }
    watch, _ = watched(plan)
    job = share("c0")
    clock[0] += 100.0
    job(9, 10)
    (tmp_path / "c0").write_text("")  # written, and its job's last word is still to come
    job.close()
    share_of = lambda: int(watch.line().partition("% of")[0].rpartition(" ")[2])
    assert share_of() == round(100 * 100 / (100 + 100 + 1000 + 50))
    assert "about 19 min 10 s left" in watch.line()
    job = share("t0")
    clock[0] += 299.0
    job(1, 100)  # has hardly begun: as codes said
    assert share_of() == round(100 * (100 + 10) / (100 + 100 + 1000 + 50))
    clock[0] += 1.0
    job(1, 2)  # a training half as long as codes said
    assert share_of() == round(100 * (100 + 300) / (100 + 100 + 600 + 50))
    job = share("s0")
    clock[0] += 10.0
    job(1, 1)
    assert share_of() == round(100 * (100 + 300 + 10) / (100 + 100 + 600 + 10))
    watch.finish()


def test_what_one_method_took_says_little_of_another(tmp_path, clock, watched, share):
    """A search that ends in a tenth of its time is no reason to expect that of a long one that has not begun."""
    plan = {"search/one": {"s0": 100.0}, "search/two": {"s1": 100.0}, "search/three": {"s2": 100.0}}
    watch, _ = watched(plan)
    job = share("s0")
    clock[0] += 10.0
    job(9, 10)
    (tmp_path / "s0").write_text("")
    job.close()
    share_of = lambda: int(watch.line().partition("% of")[0].rpartition(" ")[2])
    assert share_of() == round(100 * 10 / (10 + 55 + 55)), "between what it says and what was expected"
    job = share("s1")
    clock[0] += 20.0
    job(9, 10)
    (tmp_path / "s1").write_text("")
    job.close()
    assert share_of() == round(100 * 30 / (10 + 20 + 20)), "two that agree are believed"
    watch.finish()


def test_a_file_that_is_made_again_counts_when_it_is_made(tmp_path, clock, watched, share):
    for name in ("kept", "again"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1, 1))  # of a run before: files of one moment may carry one time
    watch, said = watched({"one": {"kept": 1.0, "again": 1.0, "other": 1.0}}, needed=["again"])
    assert said == [
        "[snas] 2 costly files, 1 there already (50% of the work)",
        "[snas] another one is there and made again (snakemake -n says why); another name for the run keeps what is there",
    ]
    clock[0] += 10.0
    assert "1 of 2 files, 50% of the work" in watch.line()
    (tmp_path / "again").unlink()
    share("again")(1, 2)
    assert "1 of 2 files, 75% of the work" in watch.line()
    (tmp_path / "again").write_text("new")
    assert watch.line().startswith("[snas] all costly files are there, ")
    watch.finish()


def test_a_job_says_its_time_left(tmp_path, clock):
    clock[0] = 0.0
    said = []
    job = progress.Share(tmp_path / "x.json", said.append)
    clock[0] = 30.0
    job(10, 40, "networks")
    assert said == ["10 of 40 networks, about 1 min 30 s left"]


def test_a_share_is_written_once_a_second_and_told_now_and_then(tmp_path, clock):
    said, path = [], tmp_path / "logs" / "x.json"
    written = lambda: json.loads(path.read_text())
    job = progress.Share(path, said.append)
    job(1, 40)
    clock[0] += 0.5
    job(2, 40)
    assert written() == [1, 40, 0.0]
    clock[0] += 0.5
    job(3, 40)
    assert written() == [3, 40, 1.0]
    clock[0] += 20.0
    job(0, 40)
    assert not said, "of what has hardly begun, no time left is known"
    job(10, 40)
    clock[0] += 1.0
    job(11, 40)
    assert said == ["10 of 40, about 1 min 03 s left"]
    job.close()
    assert written() == [1, 1, 22.0]


def test_a_share_that_cannot_be_written_stops_no_job(tmp_path, clock):
    (tmp_path / "logs").write_text("no folder")
    job = progress.Share(tmp_path / "logs" / "x.json", lambda _: None)
    job(1, 2)
    job.close()


def test_files_of_one_name_have_shares_of_their_own(tmp_path):
    paths = {progress.share_path(tmp_path, f"results/mine/{part}/0.parquet") for part in ("codes", "truth")}
    assert len(paths) == 2
    assert {path.parent for path in paths} == {tmp_path / "progress"}


def test_what_killed_jobs_had_done_is_not_counted(tmp_path, clock, watched, share):
    share("a")(1, 2)
    watch, _ = watched({"one": {"a": 1.0}})
    assert watch.line() == "[snas] 0 of 1 files, 0% of the work, 0 s gone"
    watch.finish()


def test_shares_that_say_nothing_are_passed_over(tmp_path, clock, watched, share):
    """A job of no parts, and one that is writing its share."""
    watch, _ = watched({"one": {"a": 1.0, "b": 1.0}})
    share("a")(0, 0)
    share("b")(1, 2)
    progress.share_path(tmp_path / "logs", str(tmp_path / "b")).write_text("[1, 2")
    line = watch.line()
    assert line.startswith("[snas] 0 of 2 files, 0% of the work, 0 s gone; in work: ")
    assert line.endswith("/a 0/0")
    watch.finish()


def test_a_file_that_is_there_is_not_in_work_whatever_a_share_says(tmp_path, clock, watched, share):
    (tmp_path / "a").write_text("")
    watch, _ = watched({"one": {"a": 1.0, "b": 1.0}})
    share("a")(1, 2)
    assert watch.line() == "[snas] 1 of 2 files, 50% of the work, 0 s gone"
    watch.finish()


def test_a_file_that_is_made_while_it_is_counted_counts_once(tmp_path, clock, watched, share, monkeypatch):
    watch, _ = watched({"one": {"a": 1.0}})
    share("a")(1, 2)
    answers = iter([False, True])
    monkeypatch.setattr(watch, "_made", lambda path: next(answers, True))
    assert watch.line().startswith("[snas] 0 of 1 files, 50% of the work, 0 s gone; in work: ")
    watch.finish()


def test_a_run_without_costly_files_is_watched_too(clock, watched):
    watch, said = watched({})
    assert said == ["[snas] 0 costly files, 0 there already (0% of the work)"]
    assert watch.line() == "[snas] 0 of 0 files, 0% of the work, 0 s gone"
    watch.finish()


def test_one_file_is_a_file(clock, watched):
    watch, said = watched({"one": {"a": 1.0}})
    assert said == ["[snas] 1 costly file, 0 there already (0% of the work)"]
    watch.finish()


@pytest.mark.parametrize(
    ("weights", "seconds", "told"),
    [
        ((2.0, 98.0), 10.0, True),  # a fiftieth
        ((1.9, 98.1), 10.0, False),
        ((600.0, 99_400.0), 10.0, True),  # ten minutes of a long run
        ((599.0, 99_401.0), 10.0, False),
        ((50.0, 50.0), 5.0, False),  # a start that is still going on
        ((50.0, 50.0), 6.0, True),
    ],
)
def test_a_time_is_told_when_enough_is_done(tmp_path, clock, watched, weights, seconds, told):
    watch, _ = watched({"one": dict(zip(("small", "large"), weights, strict=True))})
    (tmp_path / "small").write_text("")
    clock[0] += seconds
    assert (" left" in watch.line()) is told
    watch.finish()


@pytest.mark.parametrize("jobs", [4, 5])
def test_four_files_in_work_are_named(tmp_path, clock, watched, share, jobs):
    watch, _ = watched({"one": {f"f{k}": 1.0 for k in range(jobs)}})
    for k in range(jobs):
        share(f"f{k}")(1, 2)
    line = watch.line()
    assert line.count(" 1/2") == 4
    assert line.endswith(" ...") is (jobs > 4)
    watch.finish()


def test_a_job_tells_its_time_when_a_twentieth_is_done(tmp_path, clock, watched, share):
    watch, _ = watched({"one": {"a": 10.0, "b": 10.0}, "two": {"c": 20.0}})
    job = share("a")
    clock[0] += 5.0
    job(1, 20)  # ten times as long as was expected
    assert watch.line().startswith(f"[snas] 0 of 3 files, {5 / 220:.0%} of the work")
    watch.finish()


def test_a_watch_says_its_lines_until_it_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.01)
    said = []
    watch = progress.Progress(lambda: {"one": {str(tmp_path / "a"): 1.0}}, tmp_path / "logs", said.append)
    watch.start()
    until = time.monotonic() + 60
    while sum("0 of 1 files" in text for text in said) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    watch.finish()
    watch._thread.join(60)
    assert not watch._thread.is_alive()
    assert sum("0 of 1 files" in text for text in said) >= 3
    assert any(text.endswith(" in all") for text in said)


def test_a_watch_keeps_no_process_that_has_come_to_its_end(tmp_path):
    code = "import sys; from pathlib import Path; from snas import progress; progress.Progress(dict, Path(sys.argv[1])).start()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.4, "59 s"), (59.6, "1 min 00 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (90_061, "25 h 01 min")],
)  # fmt: skip
def test_durations_are_rounded_before_they_are_divided(seconds, words):
    assert progress.clock(seconds) == words


def test_expected_seconds_are_near_those_that_were_measured():
    """docs/scale.md: a training and a code of the default run, a step of 22 M at the paper's recipe, whole runs of a search."""
    for seconds, measured in (
        (progress.training_seconds(96 * 32, 8, 8), 0.25),
        (progress.training_seconds(18 * 16, 8, 8), 18 * 0.00142),
        (progress.training_seconds(16, 32, 32), 0.0608),
        (progress.training_seconds(128, 32, 32), 0.470),
        (progress.search_seconds("siamese+nsam+bts", 100, 100), 195),
        (progress.search_seconds("neural_predictor", 100, 100), 39),
        (progress.search_seconds("siamese+nsam+fts", 100, 100), 408),
    ):
        assert 0.65 < seconds / measured < 1.5


def test_a_search_that_asks_one_after_the_other_takes_its_seconds_per_training():
    for method, seconds in progress.ASKING.items():
        longer = progress.search_seconds(method, 300, 10) - progress.search_seconds(method, 100, 10)
        assert longer == pytest.approx(10 * 200 * seconds)


def test_a_run_of_brp_nas_takes_its_pairs_in_batches():
    """Counted batch by batch: a step is as long as the architectures that occur in it."""
    for budget in (1, 10, 100):
        total = 0.0
        for number in range(1, 6):
            pool, batch, epochs = number * budget // 5, 12 * number, 50 * number
            missed = (1 - 2 / pool) ** batch if pool > 2 else 0.0
            batches = len(range(0, pool * (pool - 1), batch))
            total += epochs * batches * pool * (1 - missed) * 0.0008
        for runs in (1, 20):
            assert progress.search_seconds("brp_nas", budget, runs) == pytest.approx(6 + runs * total)


def test_a_search_takes_a_step_at_least_and_as_long_as_its_method():
    seconds = progress.search_seconds
    assert seconds("siamese", 5, 10) == seconds("siamese", 8, 10) > seconds("siamese", 8, 1)
    rankings = 10 * progress.FTS * 1000
    assert seconds("siamese+fts", 100, 10, 1000) == pytest.approx(seconds("siamese", 100, 10) + rankings)
    for method in ("gp", "siamese", "brp_nas"):
        assert seconds(f"{method}@labels=select", 100, 10) == seconds(method, 100, 10)
