"""More jobs than devices on one machine, through Snakemake: one job on each device, the others wait."""

import re

import pytest

WAITS_FOR_ALL = """
import pathlib, time
end = time.monotonic() + 600
while time.monotonic() < end:
    said = [path.read_text() for path in pathlib.Path("results/smoke/logs/training").glob("codes_*.log")]
    if sum("device: " in text for text in said) == 4:
        break
    time.sleep(0.1)
"""
"""Of a job that has its device: the others ask for theirs before it is free again, however slow the machine is."""

LEASED = re.compile(r"^device: GPU (\d) of 0, 1$", re.MULTILINE)


def test_four_jobs_share_two_devices(workflow, tmp_path, monkeypatch):
    """``gpu=4`` on a machine of two devices (named by the user's list; torch sees none here and computes on the CPU)."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the leases of this machine lie
    script = workflow.folder / "scripts/codes.py"
    script.write_text(
        script.read_text().replace("job = begin(snakemake)\n", f"job = begin(snakemake)\n{WAITS_FOR_ALL}")
    )
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


@pytest.fixture
def leases(workflow, monkeypatch):
    """Return a function: which methods' searches ask for a GPU on a machine that has one, with these ``--config`` keys."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    brp = "extra_searches=[{method: brp_nas, budgets: [20], runs: 1}]"

    def asked(*keys):
        said = workflow.run("--configfile", "config/smoke.yaml", "--config", brp, *keys, "-n").stdout
        found = re.findall(
            r"^rule search_block:(?:\n    .*)*?method=([^,]+),(?:.*\n    )*?resources: .*?gpu=(\d)",
            said,
            re.MULTILINE,
        )
        assert {"random", "siamese", "brp_nas"} <= {method for method, _ in found}
        return {method for method, gpu in found if gpu == "1"}

    return asked


def test_searches_lease_a_device_only_where_one_is_quicker(leases):
    """Random search computes nothing and the accuracy predictors have native code: neither waits for a GPU unasked."""
    assert leases() == {"brp_nas"}
    for key in ("device=cuda", "compile=false"):
        asked = leases(key)
        assert {"siamese", "brp_nas"} <= asked
        assert "random" not in asked


EXECUTOR = """
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False, pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):
    def run_job(self, job):
        print(f"elsewhere: {job.name}", flush=True)
        self.report_job_error(SubmittedJobInfo(job=job))

    async def check_active_jobs(self, active_jobs):
        for job in ():
            yield job

    def cancel_jobs(self, active_jobs):
        pass
"""


def test_a_device_that_is_not_here_is_refused_before_any_job_and_only_where_one_needs_it(
    workflow, monkeypatch
):
    """A dry run makes nothing here, and the jobs of a cluster have GPUs that the machine of the driver has not."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cuda = ("--configfile", "config/smoke.yaml", "--config", "device=cuda")
    done = workflow.run(*cuda, "--cores", "1", check=False)
    assert done.returncode
    assert (
        "key 'device' is 'cuda', but there is no GPU to be used here (CUDA_VISIBLE_DEVICES='')" in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert not (workflow.folder / "results/smoke/spaces").exists(), "no job has begun"
    assert "gpu=1" in workflow.run(*cuda, "-n").stdout
    workflow.run(*cuda, "--cores", "1", "--", "results/smoke/spaces/tiny_nanobench.parquet")
    plugin = workflow.folder / "snakemake_executor_plugin_elsewhere/__init__.py"
    plugin.parent.mkdir()
    plugin.write_text(EXECUTOR)
    done = workflow.run(*cuda, "--executor", "elsewhere", "--jobs", "1", check=False)
    assert re.search(r"^elsewhere: ", done.stdout, re.MULTILINE), done.stdout
    assert "there is no GPU" not in done.stdout
