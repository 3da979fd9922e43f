"""Files of a foreign archive, read in bounded memory and without leaving it: folders, plain tars, bz2.

Nothing is unpacked to disk.  A tar or folder is a list of :class:`Member`, each read by itself (so that processes share
the work); links, devices, ``..`` and absolute paths are refused by name.
"""

from __future__ import annotations

import bz2
import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from snas import InputError

MAX_MEMBERS = 20_000
"""More files than any form of the benchmark has (15,626 and their folder)."""

END = 2 * tarfile.BLOCKSIZE
"""Bytes of zeros that end a tar."""


@dataclass(frozen=True)
class Member:
    """One file of an archive: ``size`` bytes from ``offset`` in the file ``path``."""

    name: str
    path: Path
    offset: int
    size: int
    stamp: int
    """Time of last change in ns, of the file or of the whole tar: what makes earlier work on it stale."""

    @property
    def label(self) -> str:
        """How errors name it."""
        return str(self.path) if self.path.name == self.name else f"{self.path}: {self.name}"

    def read(self, limit: int) -> bytes:
        """Return its bytes; raises :class:`InputError` where it has more than ``limit`` or fewer than announced."""
        if self.size > limit:
            raise InputError(f"{self.label} has {self.size} bytes; such a file has at most {limit}")
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise InputError(f"{self.label} cannot be read: {error.strerror}") from error
        if len(content) != self.size:
            raise InputError(f"{self.label} is truncated: {len(content)} bytes of {self.size}")
        return content


def members(source: Path) -> dict[str, Member]:
    """Return the files of a folder or of an uncompressed tar by their name without folders."""
    return _folder(source) if source.is_dir() else _tar(source)


def _folder(source: Path) -> dict[str, Member]:
    found: dict[str, Member] = {}
    with os.scandir(source) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise InputError(f"{entry.path} is a link; only plain files are read")
            if stat.S_ISREG(status.st_mode):
                path = Path(entry.path)
                found[entry.name] = Member(entry.name, path, 0, status.st_size, status.st_mtime_ns)
            if len(found) > MAX_MEMBERS:
                raise InputError(f"{source} holds more than {MAX_MEMBERS} files; the benchmark has 15,626")
    return found


def _tar(source: Path) -> dict[str, Member]:
    found: dict[str, Member] = {}
    stamp, size = source.stat().st_mtime_ns, source.stat().st_size
    try:
        with tarfile.open(source, "r:") as archive:
            at = -1
            for _ in range(MAX_MEMBERS + 1):
                entry = archive.next()
                if entry is None:
                    break
                if entry.offset <= at or entry.size < 0 or entry.offset_data + entry.size > size:
                    raise InputError(f"{source}: the tar is truncated or damaged at {entry.name[:80]!r}")
                at = entry.offset
                name = _safe(source, entry)
                if name is None:
                    continue
                if name in found:
                    raise InputError(f"{source}: {name!r} occurs twice in the tar")
                found[name] = Member(name, source, entry.offset_data, entry.size, stamp)
            else:
                raise InputError(f"{source} holds more than {MAX_MEMBERS} files; the benchmark has 15,626")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{source} is not a readable tar (truncated, damaged or compressed; a compressed tar is unpacked first): "
            f"{str(error)[:100]}"
        ) from error
    return found


def check_tar(source: Path) -> None:
    """Raise :class:`InputError` where a tar does not begin as one or was cut off; its entries are read only to say so."""
    with source.open("rb") as file:
        first = file.read(tarfile.BLOCKSIZE)
        file.seek(max(source.stat().st_size - END, 0))
        end = file.read(END)
    if first and not any(first):
        raise InputError(f"{source}: the tar is empty, or was never filled: it begins with zeros")
    if len(end) < END or any(end) or not tarfile.is_tarfile(source):
        _tar(source)  # some tools leave out the end


def _safe(source: Path, entry: tarfile.TarInfo) -> str | None:
    """Return the file name of a tar entry, None for a folder; refuse what a benchmark's tar never holds."""
    path, shown = PurePosixPath(entry.name), repr(entry.name[:80])
    if path.is_absolute() or ".." in path.parts or "\\" in entry.name or "\0" in entry.name:
        raise InputError(
            f"{source}: the tar holds the path {shown}, which leads outside; nothing was read of it"
        )
    if entry.isdir():
        return None
    if not entry.isreg() or entry.issparse():
        what = "a link" if entry.issym() or entry.islnk() else "not a plain file"
        raise InputError(f"{source}: the tar's entry {shown} is {what}; only plain files are read")
    return path.name


def decompress(content: bytes, label: str, limit: int) -> bytes:
    """Return the one bz2 stream in ``content``; at most ``limit`` bytes are ever made of it.

    Raises :class:`InputError` where it is truncated, damaged, longer than ``limit``, or followed by something else.
    """
    stream = bz2.BZ2Decompressor()
    try:
        plain = stream.decompress(content, max_length=limit + 1)
        if len(plain) > limit:
            raise InputError(f"{label} unpacks to more than {limit} bytes; such a file has at most that many")
        while not stream.eof and not stream.needs_input:  # its last block may hold no byte
            plain += stream.decompress(b"", max_length=limit + 1 - len(plain))
            if len(plain) > limit:
                raise InputError(f"{label} unpacks to more than {limit} bytes")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{label} is not a readable bz2 file (damaged or foreign)") from error
    if not stream.eof:
        raise InputError(f"{label} is truncated: its bz2 stream does not end ({len(content)} bytes)")
    if stream.unused_data:
        raise InputError(f"{label} has {len(stream.unused_data)} bytes after the end of its bz2 stream")
    return plain
