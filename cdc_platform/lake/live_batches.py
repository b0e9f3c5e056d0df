"""The live rows of a base table as Arrow batches, in the order of its files, read by pyarrow alone.

The quick way to many rows: row groups are decoded by several threads, a few in advance, deleted rows are
left out by their numbers in the row group, and text of few distinct values stays a dictionary until they are.
What wants SQL (conditions, joins) reads through :mod:`cdc_platform.lake.live_rows`. Both match columns by
field id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from cdc_platform.errors import MergeError
from cdc_platform.lake.base_files import BaseFile, local_path
from cdc_platform.lake.column_types import arrow_type
from cdc_platform.lake.deleted_positions import DeletedPositions, Mask
from cdc_platform.lake.live_rows import LiveFiles
from cdc_platform.lake.live_selection import LiveSelection

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

#: A row group above one of these is decoded in batches, on the reader's own thread: it would take too much.
_LARGE_ROWS = 262_144
_LARGE_BYTES = 64 * 1024 * 1024
_BATCH_ROWS = 65_536
#: Below so many bytes a value, a column with a dictionary consists of numbers into it.
_DICTIONARY_BYTES = 3
_FIELD_ID = b"PARQUET:field_id"
_TEXT: tuple[pa.DataType, ...] = (pa.string(), pa.large_string())


def live_schema(live: LiveFiles, columns: Sequence[str] | None = None) -> pa.Schema | None:
    """Return the Arrow schema of ``columns`` (default: all), None where one is of a type not read here."""
    fields = []
    for name in _names(live, columns):
        kind = arrow_type(live.schema.find_field(name).field_type)
        if kind is None:
            return None
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def live_batches(
    live: LiveFiles, io: FileIO, columns: Sequence[str] | None = None, *, threads: int = 2
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows, columns being those of :func:`live_schema`, which must not be None.

    A column a file does not have is NULL in its rows. At most ``threads + 2`` decoded row groups are in
    memory at once, and of a large one a few batches; a consumer that stops early stops the threads.
    """
    schema = live_schema(live, columns)
    assert schema is not None, "live_schema tells beforehand"
    fields = [(live.schema.find_field(field.name).field_id, field) for field in schema]
    deletes = DeletedPositions(io)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="live-rows")
    try:
        opened = _ahead(pool, lambda file: _open(file, io, fields, deletes), live.files, 2 * threads)
        pieces = (piece for file in opened for piece in file.pieces())
        for read in _ahead(pool, lambda piece: piece.read(schema), pieces, threads + 1):
            yield from read
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def rows_at(live: LiveFiles, io: FileIO, file: BaseFile, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``file`` that have these numbers in it, deleted ones too, in the file's order.

    Their columns are those of :func:`live_schema`, which must not be None; only their row groups are read.
    """
    schema = live_schema(live)
    assert schema is not None, "live_schema tells beforehand"
    fields = [(live.schema.find_field(field.name).field_id, field) for field in schema]
    opened = _open(replace(file, deletes=()), io, fields, DeletedPositions(io))
    chosen = np.zeros(opened.footer.num_rows, bool)
    chosen[list(numbers)] = True
    for piece in replace(opened, live=chosen).pieces():
        yield from piece.read(schema)


def live_row_count(live: LiveFiles, io: FileIO, *, threads: int = 2) -> int:
    """Return the number of live rows. Reads delete files, never a data file.

    The manifests tell the rows of data files; delete files may repeat each other, so theirs are looked at.
    """
    deletes = DeletedPositions(io)

    def count(file: BaseFile) -> int:
        live_mask = deletes.mask(file, file.data.record_count)
        return file.data.record_count if live_mask is None else int(live_mask.sum())

    with ThreadPoolExecutor(threads, thread_name_prefix="live-rows") as pool:
        return sum(_ahead(pool, count, live.files, 4 * threads))


@dataclass(frozen=True, slots=True)
class _Column:
    """A wanted column as one file has it: ``path`` is its name there, None when it has none."""

    field: pa.Field[Any]
    path: str | None
    number: int = -1


@dataclass(frozen=True, slots=True)
class _OpenFile:
    """A data file whose footer was read and whose deleted rows are known."""

    location: str
    io: FileIO
    footer: pq.FileMetaData
    columns: tuple[_Column, ...]
    live: Mask | None

    def pieces(self) -> Iterator[_Piece]:
        """Yield the row groups that have live rows."""
        start = 0
        for number in range(self.footer.num_row_groups):
            rows = self.footer.row_group(number).num_rows
            live = None if self.live is None else self.live[start : start + rows]
            if rows and (live is None or live.any()):
                yield _Piece(self, number, rows, live)
            start += rows


@dataclass(frozen=True, slots=True)
class _Piece:
    """One row group; ``live`` says which of its rows are there, None for all of them."""

    file: _OpenFile
    number: int
    rows: int
    live: Mask | None

    def read(self, schema: pa.Schema) -> Iterable[pa.RecordBatch]:
        """Decode the row group: at once, or, when it is large, while it is being asked for."""
        there = [column for column in self.file.columns if column.path is not None]
        if not there:
            rows = self.rows if self.live is None else int(self.live.sum())
            return self._nulls(rows, schema)
        chunks = [self.file.footer.row_group(self.number).column(column.number) for column in there]
        size = sum(chunk.total_uncompressed_size for chunk in chunks)
        few = [
            column.path
            for column, chunk in zip(there, chunks, strict=True)
            if column.field.type in _TEXT and _is_dictionary(chunk)
        ]
        names: list[Any] = [column.path for column in there]
        if self.rows > _LARGE_ROWS or size > _LARGE_BYTES:
            return self._stream(names, schema)
        file = _reader(self.file.location, self.file.io, self.file.footer, few)
        try:
            found = file.read_row_group(self.number, columns=names, use_threads=False)
        finally:
            file.close()
        return [self._batch(found.columns, found.column_names, LiveSelection.of(self.live), schema)]

    def _stream(self, names: list[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        file = _reader(self.file.location, self.file.io, self.file.footer, ())
        start = 0
        try:
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[self.number], columns=names):
                live = None if self.live is None else self.live[start : start + len(batch)]
                start += len(batch)
                if live is None or live.any():
                    yield self._batch(batch.columns, batch.schema.names, LiveSelection.of(live), schema)
        finally:
            file.close()

    def _batch(
        self,
        found: Sequence[Any],
        names: Sequence[str],
        wanted: LiveSelection | None,
        schema: pa.Schema,
    ) -> pa.RecordBatch:
        by_name = dict(zip(names, found, strict=True))
        rows = len(found[0]) if wanted is None else wanted.count
        arrays = [
            pa.nulls(rows, column.field.type)
            if column.path is None
            else _typed(_taken(by_name[column.path], wanted), column.field.type)
            for column in self.file.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _nulls(self, rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, _BATCH_ROWS):
            size = min(_BATCH_ROWS, rows - start)
            yield pa.RecordBatch.from_arrays([pa.nulls(size, f.type) for f in schema], schema=schema)


def _open(
    file: BaseFile, io: FileIO, fields: Sequence[tuple[int, pa.Field[Any]]], deletes: DeletedPositions
) -> _OpenFile:
    """Read a file's footer and find the wanted columns in it by field id."""
    reader = _reader(file.data.file_path, io, None, ())
    try:
        footer, names = reader.metadata, reader.schema_arrow
    finally:
        reader.close()
    leaves = {footer.schema.column(number).path: number for number in range(footer.num_columns)}
    ids = {field.name: (field.metadata or {}).get(_FIELD_ID) for field in names}
    if not any(ids.values()):
        raise MergeError(
            f"a data file has no field ids: {file.data.file_path}",
            where="reading",
            mend="have the writer that added it rewrite it; this reader tells columns by field id",
        )
    found = {int(number): name for name, number in ids.items() if number is not None and name in leaves}
    columns = tuple(
        _Column(field, found[field_id], leaves[found[field_id]])
        if field_id in found
        else _Column(field, None)
        for field_id, field in fields
    )
    return _OpenFile(file.data.file_path, io, footer, columns, deletes.mask(file, footer.num_rows))


def _reader(
    location: str, io: FileIO, footer: pq.FileMetaData | None, dictionaries: Iterable[Any]
) -> pq.ParquetFile:
    path = local_path(location)
    remote = "://" in path
    source: Any = io.new_input(location).open() if remote else path
    return pq.ParquetFile(source, metadata=footer, read_dictionary=list(dictionaries), pre_buffer=remote)


def _is_dictionary(chunk: pq.ColumnChunkMetaData) -> bool:
    return chunk.has_dictionary_page and chunk.total_uncompressed_size < _DICTIONARY_BYTES * chunk.num_values


def _taken(column: Any, wanted: LiveSelection | None) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column if wanted is None else wanted.taken(column)


def _typed(array: Any, kind: pa.DataType) -> Any:
    if isinstance(array, pa.DictionaryArray):
        return array.dictionary.cast(kind).take(array.indices)
    return array if array.type == kind else array.cast(kind)


def _names(live: LiveFiles, columns: Sequence[str] | None) -> Sequence[str]:
    return [field.name for field in live.schema.fields] if columns is None else columns


def _ahead(
    pool: ThreadPoolExecutor, make: Callable[[_Given], _Made], items: Iterable[_Given], depth: int
) -> Iterator[_Made]:
    """Yield what ``make`` makes of the items, in their order, ``depth`` of them being made in advance."""
    waiting: deque[Future[_Made]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
