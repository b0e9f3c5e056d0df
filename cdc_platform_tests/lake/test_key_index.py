"""A key index finds every row of a key, and is found out when it is not as it was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.lake.key_blocks import BLOCK
from cdc_platform.lake.key_filter import Asked, DamagedIndex
from cdc_platform.lake.key_index import Hits, KeyIndex, look_up, open_index, remove_index, write_index
from cdc_platform.lake.key_lookup import IndexFolder, evict

LARGEST = 2**64 - 1
#: Where the numbers begin, behind the header.
_NUMBERS = 4096
#: Few values, so that runs of equal hashes cross blocks; the extremes are the fences' and the padding's.
HASHES = st.lists(st.sampled_from([0, 1, 2, 3, 2**63, LARGEST - 1, LARGEST]), max_size=5 * BLOCK)


def write(path: Path, hashes: list[int], identity: str = "file") -> None:
    rows = np.arange(len(hashes), dtype=np.uint32)
    keys = pa.table({"id": [f"key {row}" for row in rows]}, schema=pa.schema([("id", pa.string())]))
    write_index(path, identity, np.array(hashes, dtype=np.uint64), rows, keys)


def hits_in(index: KeyIndex, asked: list[int]) -> Hits:
    (hits,) = look_up([(index, Asked(np.array(asked, dtype=np.uint64)))])
    if hits is None:
        raise DamagedIndex
    return hits


def found(path: Path, asked: list[int], identity: str = "file") -> list[tuple[int, int, Any]]:
    hits = hits_in(KeyIndex(path, identity), asked)
    # by place, as look-ups take them: nothing depends on what the file calls them
    keys = hits.keys.column(0).to_pylist()
    return sorted(zip(map(int, hits.rows), map(int, hits.hashes), keys, strict=True))


def places(path: Path, asked: list[int]) -> list[tuple[int, int]]:
    return [(row, value) for row, value, _ in found(path, asked)]


@given(hashes=HASHES, asked=st.sets(st.sampled_from([0, 1, 3, 5, 2**63, 2**63 + 1, LARGEST])))
@settings(deadline=None)
def test_every_row_of_each_hash_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, hashes: list[int], asked: set[int]
) -> None:
    path = tmp_path_factory.mktemp("index") / "one.keys"
    write(path, hashes)
    expected = [(row, value, f"key {row}") for row, value in enumerate(hashes) if value in asked]
    assert expected == found(path, sorted(asked))


@given(
    indexes=st.lists(HASHES, max_size=4),
    asked=st.lists(st.sets(st.sampled_from([0, 1, 3, 5, 2**63, LARGEST])), min_size=4, max_size=4),
)
@settings(deadline=None)
def test_indexes_asked_together_each_tell_their_own_rows(
    tmp_path_factory: pytest.TempPathFactory, indexes: list[list[int]], asked: list[set[int]]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    questions = []
    for number, (hashes, some) in enumerate(zip(indexes, asked, strict=False)):
        write(folder / f"{number}.keys", hashes)
        question = Asked(np.array(sorted(some), dtype=np.uint64))
        questions.append((KeyIndex(folder / f"{number}.keys", "file"), question))
    expected = [
        [row for row, value in enumerate(hashes) if value in some]
        for hashes, some in zip(indexes, asked, strict=False)
    ]
    assert expected == [sorted(hits.rows) if hits else None for hits in look_up(questions)]


def test_a_damaged_index_takes_nothing_from_those_asked_with_it(tmp_path: Path) -> None:
    questions = []
    for name in ("one", "damaged", "other"):
        write(tmp_path / name, [7, 11, 13])
        if name == "damaged":
            data = (tmp_path / name).read_bytes()
            # each 11 stands in a block only: the filter and the fence still let it pass
            (tmp_path / name).write_bytes(data.replace((11).to_bytes(8, "little"), bytes(8)))
        questions.append((KeyIndex(tmp_path / name, "file"), Asked(np.array([11], dtype=np.uint64))))
    assert [[1], None, [1]] == [hits and list(hits.rows) for hits in look_up(questions)]


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(deadline=None)
def test_a_flipped_bit_is_found_out_or_changes_no_place(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("index") / "one.keys"
    hashes = [7, 11, 13, 17, 19] * 20
    write(path, hashes)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    expected = [(row, value) for row, value in enumerate(hashes) if value in (11, 17)]
    try:
        actual = places(path, [11, 12, 17])
    except (DamagedIndex, UnicodeDecodeError):
        return
    assert expected == actual


def test_the_highest_bit_of_no_number_can_flip_unnoticed_and_change_a_place(tmp_path: Path) -> None:
    path = tmp_path / "one.keys"
    hashes = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(300)]
    write(path, hashes + hashes[:1] * 2 * BLOCK)
    data = path.read_bytes()
    asked = sorted(hashes[::3])
    expected = places(path, asked)
    for at in range(_NUMBERS + 7, len(data), 24):
        path.write_bytes(data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :])
        try:
            assert (at, expected) == (at, places(path, asked))
        except (DamagedIndex, UnicodeDecodeError):
            continue


@pytest.mark.parametrize("left", [0, 1, 100, 4096, 5000, -1])
def test_a_cut_index_is_damaged(tmp_path: Path, left: int) -> None:
    path = tmp_path / "one.keys"
    write(path, list(range(1000)))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedIndex):
        found(path, [1, 500])


def test_an_index_that_is_replaced_cut_or_removed_is_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "one.keys"
    write(path, [7, 11])
    assert [1] == list(hits_in(open_index(path, "file"), [11]).rows)

    write(path, [11, 7, 5])
    assert [0] == list(hits_in(open_index(path, "file"), [11]).rows)
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(DamagedIndex):
        open_index(path, "file")
    remove_index(path)
    with pytest.raises(FileNotFoundError):
        open_index(path, "file")


def test_the_index_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.keys"
    write(path, [1, 2, 3], identity="another")
    with pytest.raises(DamagedIndex):
        KeyIndex(path, "file")


def test_the_least_recently_used_indexes_go_when_the_folder_is_full(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "older", "oldest"]):
        path = tmp_path / name
        path.write_bytes(bytes(1000))
        os.utime(path, (10_000 - age, 10_000 - age))
    evict(IndexFolder(tmp_path, 2500))
    assert ["new", "older"] == sorted(path.name for path in tmp_path.iterdir())


def test_what_a_killed_process_left_unfinished_goes(tmp_path: Path) -> None:
    left = tmp_path / ".one.keys.0123"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    evict(IndexFolder(tmp_path, 2500))
    assert [] == list(tmp_path.iterdir())
