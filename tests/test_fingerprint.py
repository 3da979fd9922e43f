"""Files and folders are told from others in their place, whatever their times say."""

import hashlib
import os

import pytest

from snas import fingerprint as module
from snas.fingerprint import FEW, PIECE, PIECES, fingerprint


def test_a_file_in_the_place_of_another_is_another_whatever_its_time(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"a" * 1000)
    new.write_bytes(b"a" * 999 + b"b")
    before = fingerprint(old)
    os.utime(old, (1, 1))
    assert fingerprint(old) == before, "a time is nothing to it"
    os.utime(new, ns=(1, old.stat().st_mtime_ns - 1))
    new.replace(old)
    assert fingerprint(old) not in (before, "")


@pytest.mark.parametrize("place", [0, 5 * 2**20, -1])
def test_of_a_large_file_pieces_are_read_its_ends_among_them(tmp_path, place):
    size = 10 * 2**20
    content = bytearray(size)
    (tmp_path / "file").write_bytes(content)
    before = fingerprint(tmp_path / "file")
    start = (size - PIECE) * (PIECES // 2) // (PIECES - 1) if place > 0 else place
    content[start] = 1
    (tmp_path / "file").write_bytes(content)
    assert fingerprint(tmp_path / "file") != before


def test_a_folder_is_its_files(tmp_path):
    folder = tmp_path / "pets"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat/1.png").write_bytes(b"1")
    (folder / "cat/2.png").write_bytes(b"2")
    seen = [fingerprint(folder)]
    (folder / "cat/2.png").write_bytes(b"3")
    seen.append(fingerprint(folder))
    (folder / "cat/2.png").rename(folder / "cat/3.png")
    seen.append(fingerprint(folder))
    (folder / "cat/3.png").rename(folder / "3.png")
    seen.append(fingerprint(folder))
    (folder / "3.png").unlink()
    seen.append(fingerprint(folder))
    assert len(set(seen)) == 5
    (folder / "cat/loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    assert fingerprint(folder) == seen[-1]


def test_of_a_large_folder_names_and_sizes_count_and_the_beginnings_of_some_files(tmp_path):
    for number in range(2 * FEW):
        (tmp_path / f"{number:03d}").write_bytes(b"1" * (PIECE + 1))
    found = [fingerprint(tmp_path)]
    change = bytearray(b"1" * (PIECE + 1))
    for name in ("000", "127"):  # the ends are among them
        change[PIECE - 1] = ord("2")
        (tmp_path / name).write_bytes(change)
        found.append(fingerprint(tmp_path))
    (tmp_path / "001").write_bytes(b"1" * PIECE)
    found.append(fingerprint(tmp_path))
    (tmp_path / "001").rename(tmp_path / "1")
    found.append(fingerprint(tmp_path))
    assert len(set(found)) == 5
    change[PIECE] = ord("2")
    (tmp_path / "000").write_bytes(change)
    assert fingerprint(tmp_path) == found[-1], "of one of many files, the beginning"


def test_what_is_not_there_is_nothing(tmp_path):
    assert fingerprint(tmp_path / "nothing") == ""


def test_a_name_that_is_no_text_is_a_name(tmp_path):
    before = fingerprint(tmp_path)
    with open(os.fsencode(tmp_path) + b"/\xff", "wb"):
        pass
    assert fingerprint(tmp_path) not in (before, "")


def test_a_fingerprint_stays_what_it_is(tmp_path):
    """By another one a run would make all again."""
    (tmp_path / "file").write_bytes(b"abc")
    assert fingerprint(tmp_path / "file") == hashlib.sha256(b"3\nabc").hexdigest()[:16]
    assert fingerprint(tmp_path) == hashlib.sha256(b"file\x003\nabc").hexdigest()[:16]
    content = os.urandom(2**18)
    (tmp_path / "file").write_bytes(content)
    assert fingerprint(tmp_path / "file") == hashlib.sha256(b"262144\n" + content).hexdigest()[:16]
    size = 5 * 2**20
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    starts = [(size - 2**16) * number // 63 for number in range(64)]
    pieces = b"".join(content[start : start + 2**16] for start in starts)
    assert fingerprint(tmp_path / "file") == hashlib.sha256(f"{size}\n".encode() + pieces).hexdigest()[:16]


def test_of_a_file_that_is_not_large_every_byte_counts(tmp_path):
    content = bytearray(PIECES * PIECE)
    found = set()
    for place in (None, 2 * PIECE - 1, 2 * PIECE, PIECES * PIECE // 2, len(content) - 1):
        if place is not None:
            content[place] ^= 1
        (tmp_path / "file").write_bytes(content)
        found.add(fingerprint(tmp_path / "file"))
    assert len(found) == 5


def test_large_files_of_zeros_are_told_by_their_size(tmp_path):
    found = set()
    for size in (5 * 2**20, 5 * 2**20 + 1):
        with open(tmp_path / "file", "wb") as file:
            file.truncate(size)
        found.add(fingerprint(tmp_path / "file"))
    assert len(found) == 2


def test_a_folder_is_the_same_in_whatever_order_its_files_are_listed(tmp_path, monkeypatch):
    for name in ("b/b/1", "a/b/2", "a/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before, below = fingerprint(tmp_path), module._below
    assert sorted(name for name, _ in below(tmp_path)) == ["a/1", "a/b/2", "b/b/1"]
    for reverse in (False, True):
        monkeypatch.setattr(module, "_below", lambda folder, r=reverse: sorted(below(folder), reverse=r))
        assert fingerprint(tmp_path) == before != ""


def test_where_in_a_folder_a_file_lies_counts(tmp_path):
    """The folder is the class of an image."""
    found = set()
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"1")
        found.add(fingerprint(tmp_path))
        (tmp_path / name / "1.png").unlink()
    assert len(found) == 2


def test_as_many_files_as_are_few_are_looked_into(tmp_path):
    for number in range(FEW):
        (tmp_path / str(number)).write_bytes(b"1")
    before = fingerprint(tmp_path)
    (tmp_path / "0").write_bytes(b"2")
    assert fingerprint(tmp_path) != before


def test_a_link_to_a_file_is_that_file(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    empty = fingerprint(tmp_path / "folder")
    (tmp_path / "folder/1.png").symlink_to(tmp_path / "elsewhere")
    before = fingerprint(tmp_path / "folder")
    (tmp_path / "elsewhere").write_bytes(b"2")
    assert fingerprint(tmp_path / "folder") not in (before, empty, "")
