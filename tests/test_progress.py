"""What a driver says about its run."""

import os

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
