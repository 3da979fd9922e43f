"""What tells a file or folder from another one in its place: by what is in it, and not by its time.

A file that is moved, copied or unpacked to where another was keeps the time of its writing, which may be older than the
results: by times alone they would seem to be made of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PIECES, PIECE = 64, 2**16
"""A file is read whole up to 4 MiB; of a larger one, so many pieces of so many bytes, evenly spaced, its ends among them."""
FEW = 64
"""Of the files of a folder, so many are looked into; of a larger one, so many beginnings (a piece each), evenly spaced."""


def fingerprint(path: str | Path) -> str:
    """Return 16 hex digits of what lies at ``path``; an empty text where nothing can be read.

    Of a file its size and bytes (of a large one, a part of them), of a folder the names and sizes of all files below it,
    and their bytes where they are few (of many, a part of some of them).
    """
    path, digest = Path(path), hashlib.sha256()
    try:
        if path.is_dir():
            found = sorted(_below(path))
            for name, size in found:
                digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
            many = len(found) > FEW
            for name, size in (
                [found[(len(found) - 1) * n // (FEW - 1)] for n in range(FEW)] if many else found
            ):
                _look(path / name, min(size, PIECE) if many else size, digest)
        else:
            size = path.stat().st_size
            digest.update(f"{size}\n".encode())
            _look(path, size, digest)
    except OSError:  # what reads it says what is wrong with it
        return ""
    return digest.hexdigest()[:16]


def _below(folder: Path) -> list[tuple[str, int]]:
    """Return name below ``folder`` and size of every file; links to folders are not followed."""
    found = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_file():  # a link that leads nowhere, or to a folder, is none
                    found.append((name, entry.stat().st_size))
    return found


def _look(path: Path, size: int, digest: hashlib._Hash) -> None:
    """Add the first ``size`` bytes of a file to ``digest``, or evenly spaced pieces of them."""
    with path.open("rb") as file:
        if size <= PIECES * PIECE:
            digest.update(file.read(size))
            return
        for number in range(PIECES):
            file.seek((size - PIECE) * number // (PIECES - 1))
            digest.update(file.read(PIECE))
