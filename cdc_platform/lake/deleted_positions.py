"""Which rows of a data file the position-delete files leave: read once, kept as one truth value a row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile

from cdc_platform.lake.base_files import BaseFile, is_scoped_to, local_path

#: True where a row is live.
Mask = npt.NDArray[np.bool_]

#: Delete files of many data files (Spark's) that are kept while the next data file may need them.
_KEPT = 4


class DeletedPositions:
    """Reads delete files; may be asked by several threads."""

    def __init__(self, io: FileIO) -> None:
        self._io = io
        self._shared: OrderedDict[str, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def mask(self, file: BaseFile, rows: int) -> Mask | None:
        """Return which of the file's ``rows`` rows are live, None when all are."""
        if not file.deletes:
            return None
        live = np.ones(rows, dtype=np.bool_)
        for delete in file.deletes:
            positions = self._positions(delete, file.data)
            # a position past the end names no row
            live[positions[positions < rows]] = False
        return live

    def positions(self, file: BaseFile) -> npt.NDArray[np.int64]:
        """Return the file's deleted rows; a row that two delete files name is there twice."""
        found = [self._positions(delete, file.data) for delete in file.deletes]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _positions(self, delete: DataFile, data: DataFile) -> npt.NDArray[np.int64]:
        if is_scoped_to(delete, data):
            found: Any = self._read(delete.file_path, ["pos"]).column("pos")
        else:
            table = self._shared_table(delete.file_path)
            found = table.filter(pc.equal(table.column("file_path"), pa.scalar(data.file_path))).column("pos")
        return np.asarray(found.to_numpy(), dtype=np.int64)

    def _shared_table(self, path: str) -> pa.Table:
        with self._lock:
            table = self._shared.pop(path, None)
            if table is None:
                table = self._read(path, ["file_path", "pos"])
            self._shared[path] = table
            while len(self._shared) > _KEPT:
                self._shared.popitem(last=False)
        return table

    def _read(self, location: str, columns: list[str]) -> pa.Table:
        path = local_path(location)
        source: Any = self._io.new_input(location).open() if "://" in path else path
        with pq.ParquetFile(source, read_dictionary=["file_path"]) as file:
            return file.read(columns=columns, use_threads=False)
