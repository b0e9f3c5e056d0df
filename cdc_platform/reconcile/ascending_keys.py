"""Where rows with certain keys lie in data files that ascend by a whole-number key: by search, not a join.

Reading the key column is then most of what it costs. Nothing here is of the way merges find rows: what that
way overlooks has to be found by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.reconcile.key_numbers import WholeNumbers

_FIELD_ID = b"PARQUET:field_id"
_BATCH_ROWS = 262_144
#: A scan of the source that begins in the midst of a table leaves two; rows in no order are not searched.
_MOST_RUNS = 64


def places_of(
    io: FileIO, files: Sequence[BaseFile], field_id: int, sought: WholeNumbers, threads: int
) -> tuple[pa.Table, list[BaseFile]]:
    """Return the rows, deleted ones too, whose key is ``sought``: (k0, file, pos).

    ``sought`` ascends without repeats. Also returns the files that have to be read in another way: of another
    order, with NULLs or without the column, or of another type. Raises OSError where a file cannot be read.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda file: _of_file(io, file, field_id, sought), files))
    left = [file for file, places in zip(files, found, strict=True) if places is None]
    shape = pa.schema([("k0", pa.int64()), ("file", pa.int32()), ("pos", pa.int64())])
    known = [places for places in found if places is not None]
    return pa.concat_tables([shape.empty_table(), *known]), left


def _of_file(io: FileIO, file: BaseFile, field_id: int, sought: WholeNumbers) -> pa.Table | None:
    keys: list[WholeNumbers] = [np.empty(0, np.int64)]
    rows: list[WholeNumbers] = [np.empty(0, np.int64)]
    with io.new_input(file.data.file_path).open() as stream:
        parquet = pq.ParquetFile(cast(IO[Any], stream))
        name = _name_of(parquet.schema_arrow, field_id)
        if name is None:
            return None
        for first, column in _columns(parquet, name, int(sought[0]), int(sought[-1])):
            if column.null_count:
                return None
            stored = column.to_numpy()
            starts = np.flatnonzero(stored[1:] <= stored[:-1]) + 1
            if len(starts) >= _MOST_RUNS:
                return None
            for begin, end in pairwise([0, *starts, len(stored)]):
                found, at = _search(stored[begin:end], sought)
                keys.append(found)
                rows.append(at + (first + begin))
    places = np.concatenate(rows)
    numbers = np.full(len(places), file.index, np.int32)
    return pa.table({"k0": np.concatenate(keys), "file": numbers, "pos": places})


def _search(stored: Any, sought: WholeNumbers) -> tuple[WholeNumbers, WholeNumbers]:
    """Return which of ``sought`` are among numbers that ascend without repeats, and where."""
    low, high = np.searchsorted(sought, stored[0]), np.searchsorted(sought, stored[-1], "right")
    asked = sought[low:high]
    at = np.searchsorted(stored, asked.astype(stored.dtype))
    is_there = stored[at] == asked
    return asked[is_there], at[is_there]


def _name_of(schema: pa.Schema, field_id: int) -> str | None:
    """Return the file's name of a column of whole numbers, None where it has none such."""
    for field in schema:
        if (field.metadata or {}).get(_FIELD_ID) == str(field_id).encode():
            return field.name if pa.types.is_signed_integer(field.type) else None
    return None


def _columns(parquet: pq.ParquetFile, name: str, low: int, high: int) -> Iterator[tuple[int, Any]]:
    """Yield the values of a column with the number of the first row; not those that lie beside the bounds."""
    first = 0
    for group in range(parquet.num_row_groups):
        held = parquet.metadata.row_group(group)
        if not _is_beside(held, name, low, high):
            at = first
            for batch in parquet.iter_batches(_BATCH_ROWS, [group], [name], use_threads=False):
                if batch.num_rows:
                    yield at, batch.column(0)
                at += batch.num_rows
        first += held.num_rows


def _is_beside(group: Any, name: str, low: int, high: int) -> bool:
    """Whether statistics tell that a row group has no value between the bounds, as engines ask them."""
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == name:
            told = column.statistics
            is_told = told is not None and told.has_min_max
            return bool(is_told and (told.max < low or told.min > high))
    return False
