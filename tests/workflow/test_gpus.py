"""More jobs than devices on one machine, through Snakemake: one job on each device, the others wait."""

import re

LEASED = re.compile(r"^device: GPU (\d) of 0, 1$", re.MULTILINE)


def test_four_jobs_share_two_devices(workflow, tmp_path, monkeypatch):
    """``gpu=4`` on a machine of two devices (named by the user's list; torch sees none here and computes on the CPU)."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the leases of this machine lie
    four = ("--config", "architectures=8", "code_shards=4", "device=auto")
    workflow.run(
        "--configfile", "config/smoke.yaml", *four, "--cores", "4", "--resources", "gpu=4", "--",
        "results/smoke/training/codes.parquet",
    )  # fmt: skip
    said = [path.read_text() for path in (tmp_path / "results/smoke/logs/training").glob("codes_*.log")]
    assert len(said) == 4
    assert {LEASED.search(text).group(1) for text in said} == {"0", "1"}
    assert any("device: all of 0, 1 are in use, waiting for one" in text for text in said)


def test_without_any_device_jobs_ask_for_none(workflow, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "gpu=1" not in workflow.run("--configfile", "config/smoke.yaml", "-n").stdout
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "gpu=1" in workflow.run("--configfile", "config/smoke.yaml", "-n").stdout


def test_a_search_that_computes_nothing_leases_no_device(workflow, monkeypatch):
    """Random search does not wait for a GPU; predictors do."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    said = workflow.run("--configfile", "config/smoke.yaml", "-n").stdout
    asked = dict(
        re.findall(
            r"^rule search_block:(?:\n    .*)*?method=([^,]+),(?:.*\n    )*?resources: .*?gpu=(\d)",
            said,
            re.MULTILINE,
        )
    )
    assert asked["random"] == "0"
    assert {gpu for method, gpu in asked.items() if method != "random"} == {"1"}
