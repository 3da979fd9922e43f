"""What is said of the machine, on Linux and as on systems that tell it otherwise."""

import os
import platform
import resource
import sys
from types import SimpleNamespace

import pytest

from snas import machine, provenance


def program(folder, name, *lines):
    """Put an executable of this name into ``folder``."""
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


def test_cores_are_those_of_the_process_or_of_the_machine(monkeypatch):
    if hasattr(os, "sched_getaffinity"):
        assert machine.cores() == len(os.sched_getaffinity(0))
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert machine.cores() == 12


@pytest.mark.parametrize(
    ("cpuinfo", "system", "programs", "name"),
    [
        ("processor : 0\nmodel name\t: A CPU: fast\nflags : avx\n", "Linux", {}, "A CPU: fast"),
        ("CPU part\t: 0xd40\n", "Linux", {"lscpu": "echo '  Model name:       Neoverse-V1'"}, "Neoverse-V1"),
        ("CPU part\t: 0xd40\n", "Linux", {"lscpu": "echo 'Model name:  -'"}, "kind"),
        ("CPU part\t: 0xd40\n", "Linux", {"lscpu": "exit 1"}, "kind"),
        ("CPU part\t: 0xd40\n", "Linux", {}, "kind"),
        (None, "Darwin", {"sysctl": 'test "$2" = machdep.cpu.brand_string && echo Apple M9'}, "Apple M9"),
        (None, "Darwin", {}, "kind"),
    ],
)
def test_the_processor_has_a_name_or_its_kind(tmp_path, monkeypatch, cpuinfo, system, programs, name):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    for program_name, line in programs.items():
        program(tmp_path, program_name, line)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: "kind")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.processor() == name


@pytest.mark.parametrize(("system", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_peak_memory_is_in_the_unit_of_the_system(monkeypatch, system, unit):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=300 * unit))
    with provenance.measured() as record:
        pass
    assert record["peak_memory_mb"] == 300.0
