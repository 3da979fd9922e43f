"""``python -m speed [--quick] [--only predictors,runs,networks,populations,workflow,scale,million,gpu]``: measure, print the tables, keep the records."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

TOPICS = ("predictors", "runs", "networks", "populations", "workflow", "scale", "million")
ON_A_GPU = ("gpu",)
"""Topics that are measured only where they are asked for."""


def main() -> None:
    """Measure the topics in turn."""
    parser = argparse.ArgumentParser(prog="python -m speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and sizes: a first impression")
    parser.add_argument("--only", default=",".join(TOPICS), help="topics, separated by commas")
    parser.add_argument("--no-record", action="store_true", help="print, and leave speed/records as it is")
    parser.add_argument(
        "--records", type=Path, metavar="FOLDER", help="keep the records there, not in speed/records"
    )
    parser.add_argument("--table", action="store_true", help="only make speed/records/README.md anew")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from speed import record

    folder = options.records or record.RECORDS
    if options.table:
        (folder / "README.md").write_text(record.table(folder), encoding="utf-8")
        return
    record.Record.into = None if options.no_record else folder
    chosen = options.only.split(",")
    if unknown := sorted(set(chosen) - {*TOPICS, *ON_A_GPU}):
        parser.error(
            f"--only: {', '.join(unknown)} is not known; topics are {', '.join((*TOPICS, *ON_A_GPU))}"
        )
    for topic in chosen:
        found = importlib.import_module(f"speed.{topic}").measure(quick=options.quick)
        if not options.no_record:
            print(f"kept in {found.save(folder)}")


if __name__ == "__main__":
    main()
