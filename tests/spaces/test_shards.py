"""How lists of architectures are cut into jobs."""

from __future__ import annotations

import pandas as pd
import pytest

from snas import InputError, tables
from snas.spaces.shards import WANTED, shard


@pytest.fixture
def listed(tmp_path):
    """A list of ten architectures, some of their indices left out."""
    path = tmp_path / "wanted.parquet"
    archs = pd.Series([3, 5, 8, 13, 21, 34, 55, 89, 144, 233], dtype="int32")
    tables.write(path, pd.DataFrame({"arch": archs}), WANTED)
    return path


def test_a_shard_is_every_so_manyth_of_the_list(listed):
    assert [shard(listed, number, 3) for number in range(3)] == [
        [3, 13, 55, 233],
        [5, 21, 89],
        [8, 34, 144],
    ]


def test_more_shards_than_architectures_leave_some_empty(listed):
    found = [shard(listed, number, 12) for number in range(12)]
    assert found[:10] == [[arch] for arch in shard(listed, 0, 1)]
    assert found[10:] == [[], []]


@pytest.mark.parametrize("number", [-1, 3])
def test_a_shard_beyond_the_last_is_refused(listed, number):
    with pytest.raises(InputError, match=f"shard {number} of 3 is none; shards are numbered from 0"):
        shard(listed, number, 3)
