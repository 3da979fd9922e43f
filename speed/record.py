"""Records: what a measurement left, one folder each, and the table of them all.

``records/<date>_<topic>/record.json`` holds the numbers, the machine, the versions and the command;
``records/README.md`` is made from these files and only ever grows: a later measurement is another folder.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from snas.machine import CPUINFO, processor
from snas.tables import replacing

ROOT = Path(__file__).parent.parent
RECORDS = Path(__file__).parent / "records"
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "snakemake")
HEAD = """# What was measured

Made from the `record.json` of each folder by `python -m speed --table`; a newer measurement is a new folder and a new
section at the end.  *median (min–max)* over n repeats.  *times*: how many times better than the row that it is compared
with, in the same run.  *floor*: what the row could take at best, under the assumption below the table; *share* is floor
over median.
"""


class Record:
    """The rows of one topic, printed as they come and kept in a folder of its own.

    Attributes:
        into: where every record is written anew with each row, so that a measurement that is stopped leaves what it has;
            None writes only what is saved.
    """

    into: ClassVar[Path | None] = None

    def __init__(self, topic: str, *, notes: str = "") -> None:
        self.topic, self.notes = topic, notes
        self.command = " ".join(["python -m speed", *sys.argv[1:]])
        self.load = os.getloadavg()
        self.rows: list[dict[str, Any]] = []
        self.commit = commit()
        self.place: Path | None = None

    def row(
        self,
        what: str,
        values: Sequence[float],
        unit: str,
        *,
        against: Sequence[float] | float | None = None,
        floor: float | None = None,
        floor_assumes: str = "",
    ) -> dict[str, Any]:
        """Add and print a row; ``against`` is what a ratio is taken to (its median over this one's)."""
        middle = statistics.median(values)
        other = statistics.median(against) if isinstance(against, Sequence) else against
        self.rows.append(
            {
                "what": what,
                "n": len(values),
                "median": _short(middle),
                "spread": [_short(min(values)), _short(max(values))],
                "unit": unit,
                "ratio": None if other is None else _short(other / middle),
                "floor": None if floor is None else _short(floor),
                "floor_assumes": floor_assumes,
                "values": [_short(value) for value in values],
            }
        )
        if len(self.rows) == 1:
            print(f"\n{self.topic}\n{'':76}{'median':>10}{'min':>10}{'max':>10}{'times':>8}{'floor':>10}")
        ratio = "" if other is None else f"{other / middle:.2f}"
        print(
            f"{what + ', ' + unit:76}{middle:10.4g}{min(values):10.4g}{max(values):10.4g}{ratio:>8}"
            f"{'' if floor is None else format(floor, '.4g'):>10}",
            flush=True,
        )
        if self.into is not None:
            self.save(self.into, ended=False)
        return self.rows[-1]

    def save(self, folder: Path = RECORDS, *, ended: bool = True) -> Path:
        """Write the record into a folder of its own, and the table of all records anew."""
        date = datetime.date.today().isoformat()
        count = 1
        while self.place is None:
            place = folder / f"{date}_{self.topic}{f'_{count}' if count > 1 else ''}"
            count += 1
            with suppress(FileExistsError):
                place.mkdir(parents=True)
                self.place = place
        place = self.place
        content = {
            "topic": self.topic,
            "date": place.name[: len(date)],
            **({} if ended else {"ended": False}),
            "command": self.command,
            "commit": self.commit,
            "machine": machine() | {"load_before": self.load, "load_after": os.getloadavg()},
            "versions": versions(),
            "notes": self.notes,
            "rows": self.rows,
        }
        with replacing(place / "record.json") as path:
            Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with replacing(folder / "README.md") as path:
            Path(path).write_text(table(folder), encoding="utf-8")
        return place


def _short(value: float) -> float:
    """Return four significant digits: what a spread of some per cent bears."""
    return float(f"{value:.4g}")


def machine() -> dict[str, Any]:
    """Return what the numbers hang on: processor and its vectors, cores, memory, system."""
    vectors = ""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
        flags = next(line.split(":")[1].split() for line in lines if line.startswith("flags"))
        vectors = next((flag for flag in ("avx512f", "avx2", "avx") if flag in flags), "")
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor(),
        "vectors": vectors,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the time is spent in."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # a machine that only trains has no Snakemake
            found[name] = metadata.version(name)
    return found


def commit() -> str:
    """Return the commit that was measured, ``+`` where files differed from it, empty outside a checkout and without git."""
    run = lambda *args: subprocess.run(
        ["git", *args], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    if shutil.which("git") is None:
        return ""
    return run("rev-parse", "--short=12", "HEAD") + (
        "+" if run("status", "--porcelain", "--", "snas", "speed/*.py") else ""
    )


def table(folder: Path = RECORDS) -> str:
    """Return the page of all records: a section each, oldest first."""
    files = sorted(folder.glob("*/record.json"), key=lambda path: path.parent.name)
    return HEAD + "".join(_section(path.parent.name, json.loads(path.read_text("utf-8"))) for path in files)


def _section(folder: str, record: dict[str, Any]) -> str:
    """Return the section of one record."""
    machine = record["machine"]
    place = (
        f"{machine['processor']}{' with ' + machine['vectors'] if machine.get('vectors') else ''}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB"
        if isinstance(machine, dict)
        else machine
    )
    assumed = list(dict.fromkeys(row["floor_assumes"] for row in record["rows"] if row.get("floor_assumes")))
    versions = ", ".join(f"{name} {number}" for name, number in record.get("versions", {}).items())
    lines = [
        "",
        f"## {folder}",
        "",
        f"`{record['command']}`  ",
        "; ".join(part for part in (place, versions, f"commit {record.get('commit', '')}") if part),
        *([f"  \n{record['notes']}"] if record.get("notes") else []),
        *(["  \n**Stopped before its end.**"] if record.get("ended") is False else []),
        "",
        "| what | n | median (min–max) | unit | times | floor | share |",
        "|---|---|---|---|---|---|---|",
        *(_line(row, assumed) for row in record["rows"]),
        *([""] if assumed else []),
        *(f"Floor {number}: {text}  " for number, text in enumerate(assumed, 1)),
    ]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any], assumed: list[str]) -> str:
    """Return a row of a table."""
    spread = row["spread"]
    spread = f"{spread[0]:g}–{spread[1]:g}" if isinstance(spread, list) else f"{spread}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    floor = share = ""
    if row["floor"] is not None:
        floor, share = f"{row['floor']:.3g}", f"{100 * row['floor'] / row['median']:.0f} %"
        if len(assumed) > 1:
            floor += f" ({assumed.index(row['floor_assumes']) + 1})"
    return (
        f"| {row['what']} | {row['n']} | {row['median']:g} ({spread}) | {row['unit']} | {ratio} "
        f"| {floor} | {share} |"
    )
