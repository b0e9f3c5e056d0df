"""Finding keys of whole numbers in data files whose rows ascend by them.

Merges write their rows in the order of the key, compaction does, and DMS mostly loads tables in it. Where a
batch touches many of a file's rows, a binary search in such a file is several times as quick as a join, and
needs no index. A file of any other order is left to be read by the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.packing import Numbers, Packing

_FIELD_ID = b"PARQUET:field_id"

#: Rows of a file, and the numbers of the keys there.
_Hits = tuple[Numbers, Numbers]


class OrderedFiles:
    """Looks ``keys`` up in data files, where their columns are ``field_ids``.

    ``keys`` are as many columns, in the order of the keys, without repeats.
    """

    def __init__(self, io: FileIO, field_ids: Sequence[int], keys: tuple[Numbers, ...], threads: int) -> None:
        self._io = io
        self._field_ids = field_ids
        self._keys = keys
        self._numbers = np.arange(len(keys[0]))
        self._threads = threads

    def find(self, files: Sequence[BaseFile]) -> tuple[list[pa.Table], list[BaseFile]]:
        """Return tables (file, pos, number) of the rows with a key, and the files of another order.

        ``number`` is the key's place among the keys.
        """
        return searched(files, self._hits, self._threads)

    def _hits(self, file: BaseFile) -> pa.Table | None:
        positions: list[Numbers] = []
        numbers: list[Numbers] = []
        with self._io.new_input(file.data.file_path).open() as stream:
            parquet = pq.ParquetFile(cast(IO[Any], stream))
            columns = self._columns(parquet.schema_arrow)
            if columns is None:
                return None
            offset = 0
            for number in range(parquet.num_row_groups):
                group = parquet.read_row_group(number, columns=columns, use_threads=False).select(columns)
                if any(column.null_count for column in group.columns):
                    return None
                found = self._search([cast(Any, column).to_numpy() for column in group.columns])
                if found is None:
                    return None
                positions.append(found[0] + offset)
                numbers.append(found[1])
                offset += len(group)
        return hits_table(file, positions, numbers)

    def _columns(self, schema: pa.Schema) -> list[str] | None:
        """Return the file's names of the key's columns, None when it has not all of them as whole numbers."""
        names = names_by_field(schema, self._field_ids)
        whole = names and all(pa.types.is_signed_integer(schema.field(name).type) for name in names)
        return names if whole else None

    def _search(self, stored: list[Numbers]) -> _Hits | None:
        """Return the rows with one of the keys, and the keys' numbers; None when the rows do not ascend."""
        if not len(stored[0]):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        sought = self._comparable(stored)
        if sought is None:
            return None
        rows, asked, numbers = sought
        if (rows[1:] <= rows[:-1]).any():
            return None
        within = slice(np.searchsorted(asked, rows[0]), np.searchsorted(asked, rows[-1], "right"))
        asked, numbers = asked[within].astype(rows.dtype, copy=False), numbers[within]
        found = np.searchsorted(rows, asked)
        equal = rows[found] == asked
        return found[equal], numbers[equal]

    def _comparable(self, stored: list[Numbers]) -> tuple[Numbers, Numbers, Numbers] | None:
        """Return one number for each stored row, and for each key that may be there, with its place.

        None where a key is too wide for one number.
        """
        if len(stored) == 1:
            return stored[0], self._keys[0], self._numbers
        packing = Packing.of(stored)
        if packing is None:
            return None
        low, high = packing.lows[0], packing.lows[0] + packing.spans[0] - 1
        first = slice(np.searchsorted(self._keys[0], low), np.searchsorted(self._keys[0], high, "right"))
        keys = tuple(column[first] for column in self._keys)
        inside = np.ones(len(keys[0]), dtype=bool)
        for column, least, span in zip(keys[1:], packing.lows[1:], packing.spans[1:], strict=True):
            inside &= (column >= least) & (column <= least + span - 1)
        keys = tuple(column[inside] for column in keys)
        return packing.pack(stored), packing.pack(keys), self._numbers[first][inside]


def names_by_field(schema: pa.Schema, field_ids: Sequence[int]) -> list[str] | None:
    """Return a file's names of columns, by their Iceberg field ids; None when it has not all of them."""
    there = {(field.metadata or {}).get(_FIELD_ID): field.name for field in schema}
    names = [there.get(str(field_id).encode()) for field_id in field_ids]
    return [name for name in names if name is not None] if None not in names else None


def searched(
    files: Sequence[BaseFile], hits_of: Callable[[BaseFile], pa.Table | None], threads: int
) -> tuple[list[pa.Table], list[BaseFile]]:
    """Search files side by side; return what was found, and the files ``hits_of`` cannot search (None)."""
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(hits_of, files))
    left = [file for file, hits in zip(files, answers, strict=True) if hits is None]
    return [hits for hits in answers if hits is not None], left


def hits_table(file: BaseFile, positions: list[Numbers], numbers: list[Numbers]) -> pa.Table:
    """Return the table (file, pos, number) of rows found in parts of a file, and of their keys."""
    rows = np.concatenate([np.empty(0, np.int64), *positions])
    keys = np.concatenate([np.empty(0, np.int64), *numbers])
    number = pa.array(np.full(len(rows), file.index, dtype=np.int32))
    return pa.table({"file": number, "pos": pa.array(rows), "number": pa.array(keys)})
