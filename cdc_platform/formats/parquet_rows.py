"""The rows of a Parquet file, in bounded batches."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.formats.event_file import RowBatch, numbers_from

_GZIP = b"\x1f\x8b"
_BATCH_BYTES = 64 * 2**20


class ParquetRows:
    """An open Parquet file. Raises what Arrow raises; the caller says which file it was."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._file = pq.ParquetFile(_unzipped(stream), pre_buffer=False)
        schema = self._file.schema_arrow
        self.names = tuple(schema.names)
        self.types = tuple(schema.types)
        self.rows: int | None = self._file.metadata.num_rows

    def batches(self, batch_rows: int) -> Iterator[RowBatch]:
        """Yield the rows in file order, fewer at a time where they are wide."""
        metadata = self._file.metadata
        groups = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        row_bytes = sum(groups) / max(metadata.num_rows, 1)
        height = max(1, min(batch_rows, int(_BATCH_BYTES / max(row_bytes, 1))))
        at = 0
        for batch in self._file.iter_batches(batch_size=height, use_threads=False):
            if batch.num_rows:
                yield RowBatch(batch, numbers_from(at, at + batch.num_rows))
                at += batch.num_rows

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def _unzipped(stream: pa.NativeFile) -> pa.NativeFile:
    """Return ``stream``, or its content when the whole file lies in a gzip envelope (``.parquet.gz``)."""
    is_zipped = stream.read(2) == _GZIP
    stream.seek(0)
    if not is_zipped:
        return stream
    spill = tempfile.TemporaryFile(prefix="cdc-parquet-")  # noqa: SIM115 - closed with the reader
    with gzip.GzipFile(fileobj=stream) as content:
        shutil.copyfileobj(content, spill, 2**20)
    stream.close()
    spill.seek(0)
    return pa.PythonFile(spill, mode="r")
