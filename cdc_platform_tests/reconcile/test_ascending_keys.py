"""Rows of keys are found by search in whole-number columns wherever a plain look at every row finds them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, FileFormat

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.reconcile.ascending_keys import places_of

FIELD = 7


def data_file(folder: Path, index: int, keys: pa.Array, rows_per_group: int = 1000) -> BaseFile:
    """Write a data file of one column and a second."""
    key = pa.field("id", keys.type, metadata={"PARQUET:field_id": str(FIELD)})
    other = pa.field("v", pa.string(), metadata={"PARQUET:field_id": "8"})
    rows = pa.Table.from_arrays([pa.array(["v"] * len(keys)), keys], schema=pa.schema([other, key]))
    path = str(folder / f"{index}.parquet")
    pq.write_table(rows, path, row_group_size=rows_per_group)
    data = DataFile.from_args(file_path=path, file_format=FileFormat.PARQUET, record_count=len(keys))
    return BaseFile(index, data, ())


def found_in(
    files: list[BaseFile], sought: list[int], field: int = FIELD
) -> tuple[set[tuple[int, int, int]], list[int]]:
    """Return (key, file, position) of what is found, and the indexes of files left over."""
    places, left = places_of(PyArrowFileIO(), files, field, np.array(sought, np.int64), 2)
    rows = list(zip(*places.to_pydict().values(), strict=True))
    assert len(rows) == len(set(rows))
    return set(rows), [file.index for file in left]


NUMBERS = st.integers(-40, 40) | st.sampled_from([-(2**63), 2**63 - 1, 2**31, -(2**31) - 1])


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(st.lists(NUMBERS, max_size=30), min_size=1, max_size=3),
    sought=st.sets(NUMBERS, min_size=1),
    group=st.integers(1, 12),
)
def test_every_row_with_a_key_is_found_whatever_order_the_files_have(
    files: list[list[int]], sought: set[int], group: int
) -> None:
    with TemporaryDirectory() as folder:
        written = [
            data_file(Path(folder), number, pa.array(keys, pa.int64()), group)
            for number, keys in enumerate(files)
        ]
        found, left = found_in(written, sorted(sought))

    expected = {
        (key, number, place)
        for number, keys in enumerate(files)
        for place, key in enumerate(keys)
        if key in sought
    }
    assert (expected, []) == (found, left)


def test_rows_in_no_order_are_left_to_another_way(tmp_path: Path) -> None:
    mixed = data_file(tmp_path, 0, pa.array(list(range(200, 0, -1)), pa.int64()))
    ascending = data_file(tmp_path, 1, pa.array(list(range(200)), pa.int64()))

    assert ({(5, 1, 5)}, [0]) == found_in([mixed, ascending], [5])


def test_columns_that_are_narrower_than_the_keys_are_searched(tmp_path: Path) -> None:
    narrow = data_file(tmp_path, 0, pa.array([1, 2, 3], pa.int32()))

    assert ({(2, 0, 1)}, []) == found_in([narrow], [-(2**40), 2, 2**40])


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        (pa.array([1, None, 3], pa.int64()), FIELD),
        (pa.array(["1", "2"]), FIELD),
        (pa.array([1, 2], pa.uint64()), FIELD),
        (pa.array([1, 2], pa.int64()), 99),
    ],
    ids=["NULLs", "text", "unsigned", "another field"],
)
def test_columns_of_another_kind_are_left_to_another_way(tmp_path: Path, keys: pa.Array, field: int) -> None:
    assert (set(), [0]) == found_in([data_file(tmp_path, 0, keys)], [1], field)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    gone = data_file(tmp_path, 0, pa.array([1], pa.int64()))
    Path(gone.data.file_path).unlink()

    with pytest.raises(OSError, match="parquet"):
        found_in([gone], [1])
