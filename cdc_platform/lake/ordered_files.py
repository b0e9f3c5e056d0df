"""Finding keys that are whole numbers in data files whose rows ascend by them.

Merges write their rows in the order of the key, compaction does, and DMS mostly loads tables in it. Where a
batch touches many of a file's rows, a binary search in such a file is several times as quick as a join, and
needs no index. A file of any other order is left to be read by the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.touched_keys import Numbers

_FIELD_ID = b"PARQUET:field_id"


class OrderedFiles:
    """Looks ``keys``, which ascend without repeats, up in data files, by column ``field_id``."""

    def __init__(self, io: FileIO, field_id: int, keys: Numbers, threads: int) -> None:
        self._io = io
        self._field_id = str(field_id).encode()
        self._keys = keys
        self._threads = threads

    def find(self, files: Sequence[BaseFile]) -> tuple[list[pa.Table], list[BaseFile]]:
        """Return tables (file, pos, key) of the rows with one of the keys, and the files of another order."""
        with ThreadPoolExecutor(self._threads) as pool:
            answers = list(pool.map(self._hits, files))
        left = [file for file, hits in zip(files, answers, strict=True) if hits is None]
        return [hits for hits in answers if hits is not None], left

    def _hits(self, file: BaseFile) -> pa.Table | None:
        positions, keys = [], []
        with self._io.new_input(file.data.file_path).open() as stream:
            parquet = pq.ParquetFile(cast(IO[Any], stream))
            column = self._column(parquet.schema_arrow)
            if column is None:
                return None
            offset = 0
            for number in range(parquet.num_row_groups):
                group: Any = parquet.read_row_group(number, columns=[column], use_threads=False).column(0)
                if group.null_count:
                    return None
                found = self._search(group.to_numpy())
                if found is None:
                    return None
                positions.append(found[0] + offset)
                keys.append(found[1])
                offset += len(group)
        return _table(file, positions, keys)

    def _column(self, schema: pa.Schema) -> str | None:
        """Return the file's name of the column, None when it has none that is a whole number."""
        for field in schema:
            if (field.metadata or {}).get(_FIELD_ID) == self._field_id:
                return field.name if pa.types.is_signed_integer(field.type) else None
        return None

    def _search(self, stored: Numbers) -> tuple[Numbers, Numbers] | None:
        """Return the rows of ``stored`` with one of the keys and the keys; None when it does not ascend."""
        if not len(stored):
            return stored.astype(np.int64), stored
        if (stored[1:] <= stored[:-1]).any():
            return None
        first = np.searchsorted(self._keys, stored[0])
        asked = self._keys[first : np.searchsorted(self._keys, stored[-1], "right")]
        rows = np.searchsorted(stored, asked.astype(stored.dtype, copy=False))
        equal = stored[rows] == asked
        return rows[equal], asked[equal]


def _table(file: BaseFile, positions: list[Numbers], keys: list[Numbers]) -> pa.Table:
    rows = np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)
    found = np.concatenate(keys) if keys else np.empty(0, dtype=np.int64)
    number = pa.array(np.full(len(rows), file.index, dtype=np.int32))
    return pa.Table.from_arrays(
        [number, pa.array(rows, pa.int64()), pa.array(found)], names=["file", "pos", "key"]
    )
