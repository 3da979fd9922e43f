"""What a driver says about its run."""

from snas import progress


def test_lines_count_files_shares_and_time_left(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    made, waiting = tmp_path / "a.parquet", tmp_path / "b.parquet"
    said = []
    watch = progress.Progress(lambda: {str(made): 30.0, str(waiting): 10.0}, tmp_path / "logs", said.append)
    monkeypatch.setattr(watch, "_watch", lambda: None)
    watch.start()
    assert said == ["[snas] 2 costly files, 0 there already (0% of the work)"]
    made.write_text("")
    clock[0] = 160.0
    assert watch.line() == "[snas] 1 of 2 files, 75% of the work, 1 min 00 s gone, about 20 s left"
    share = progress.Share(progress.share_path(tmp_path / "logs", str(waiting)), said.append)
    clock[0] = 162.0
    share(5, 10, "networks")
    assert "88% of the work" in watch.line()
    assert "in work:" in watch.line()
    assert "b 5/10" in watch.line()
    share.close()
    assert "in work" not in watch.line()
    watch.finish()


def test_no_time_is_told_before_enough_is_done_since_the_start(tmp_path, monkeypatch):
    """A resumed run whose first small file is made says nothing of the hours that the large ones would take at its speed."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    weights = {
        str(tmp_path / name): weight for name, weight in (("before", 500.0), ("small", 1.0), ("large", 99.0))
    }
    watch = progress.Progress(lambda: weights, tmp_path / "logs", lambda _: None)
    monkeypatch.setattr(watch, "_watch", lambda: None)
    (tmp_path / "before").write_text("")
    watch.start()
    clock[0] = 60.0
    (tmp_path / "small").write_text("")
    assert watch.line() == "[snas] 2 of 3 files, 84% of the work, 1 min 00 s gone"
    share = progress.Share(progress.share_path(tmp_path / "logs", str(tmp_path / "large")), lambda _: None)
    share(1, 10)
    assert "about 8 min 10 s left" in watch.line()
    watch.finish()


def test_a_job_says_its_time_left(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    said = []
    share = progress.Share(tmp_path / "x.json", said.append)
    clock[0] = 30.0
    share(10, 40, "networks")
    assert said == ["10 of 40 networks, about 1 min 30 s left"]
