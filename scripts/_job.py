"""What every job does around its one call into the library: log, one-sentence errors, device, progress."""

import atexit
import contextlib
import gc
import io
import os
import sys
import threading
import time
from pathlib import Path

import snas.device
import snas.progress
import snas.provenance
from snas import InputError

# What a job imports from here on lives as long as it does: to look it through for garbage is a seventh of an import of torch.
gc.disable()
# And to look through all there is once more when the job ends, another sixth.  First registered, this is the last to be called.
atexit.register(gc.freeze)


def begin(snakemake):
    """Send everything to the rule's log, make errors readable, lease a GPU where the rule asks for one."""
    gc.freeze()
    gc.enable()
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    run = Path(snakemake.log[0]).parts[:2]

    def hook(kind, error, trace):
        if issubclass(kind, KeyboardInterrupt):  # Ctrl-C reaches driver and jobs alike; nothing is wrong
            print("stopped")
            print(f"[snas] {snakemake.rule}: stopped", file=terminal)
            return
        with contextlib.suppress(OSError):  # the log's disk may be the full one
            if issubclass(kind, InputError):  # where it was noticed is of no use to who gave the input
                print(error, file=sys.stderr)
            else:
                sys.__excepthook__(kind, error, trace)
        sentence = f"{kind.__name__}: {error}"
        if issubclass(kind, OSError):
            sentence = snas.provenance.unwritable(error, snakemake.output[0])
        elif issubclass(kind, InputError):
            sentence = str(error)
            with contextlib.suppress(OSError):
                Path(*run, "logs", "refused").touch()
        print(f"[snas] {snakemake.rule}: {sentence}", file=terminal)
        print(f"[snas]   log: {snakemake.log[0]}", file=terminal)

    sys.excepthook = hook
    Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
    log = Log(snakemake.log[0], "w")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = io.TextIOWrapper(log, line_buffering=True, write_through=True)
    threading.Thread(target=_leave_with_driver, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))
    lease = snas.device.lease(say=print) if snakemake.resources.get("gpu", 0) else None
    path = snas.progress.share_path(Path(*run, "logs"), str(snakemake.output[0]))
    given = snakemake.resources.get
    where = {"path": given("images_path", ""), "download": bool(given("images_download", ""))}
    return Job(lease, snas.progress.Share(path, print), where)


class Log(io.FileIO):
    """A log whose full disk does not end the job: what it computes may still find room."""

    def write(self, data):
        """Write what there is room for, and call it all."""
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


class Job:
    """Holds what must live as long as the process; ``progress`` and where the images lie go to the library."""

    def __init__(self, lease, progress, where_images):
        self.lease, self.progress, self.where_images = lease, progress, where_images


def _leave_with_driver():
    """End this process when the driver on the same machine is gone: what it would write would be made again."""
    host, _, pid = os.environ.get(snas.provenance.DRIVER, ":").rpartition(":")
    if host != os.uname().nodename or "SLURM_JOB_ID" in os.environ:
        return
    while snas.provenance.alive(int(pid)):
        time.sleep(1)
    print("the driver is gone, leaving", flush=True)
    os._exit(1)
