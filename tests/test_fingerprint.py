"""Files and folders are told from others in their place, whatever their times say."""

import os

import pytest

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
    for number in range(FEW):
        (folder / f"{number}.png").write_bytes(b"1")
    many = fingerprint(folder)
    (folder / "0.png").write_bytes(b"2")
    assert fingerprint(folder) == many, "of many files, names and sizes"
    (folder / "0.png").write_bytes(b"22")
    assert fingerprint(folder) != many


def test_what_is_not_there_is_nothing(tmp_path):
    assert fingerprint(tmp_path / "nothing") == ""


def test_a_name_that_is_no_text_is_a_name(tmp_path):
    before = fingerprint(tmp_path)
    with open(os.fsencode(tmp_path) + b"/\xff", "wb"):
        pass
    assert fingerprint(tmp_path) not in (before, "")
