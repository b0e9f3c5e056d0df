"""Opening a raw file of DMS as a normalised event stream (see :mod:`cdc_platform.events`).

The extension in the file's name decides between Parquet and CSV. CSV without a header takes its columns from
``columns`` of the table: Op and the timestamp column go before them; the change-sequence and stream-position
columns after, unless ``columns`` names them at their own place; then before images of the merge key or of all
columns, if the count of fields says so. CSV columns whose type nothing declares are strings, and are told
as ``untyped_columns``. A row that is no event is rejected with its number, column, reason and mend; the rest
of the file is still read. Memory is bounded by a batch of rows, whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import pyarrow as pa

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.errors import StorageUnavailable, UnreadableRawFile
from cdc_platform.events import PositionKind
from cdc_platform.formats.csv_names import csv_column_names
from cdc_platform.formats.csv_rows import CsvRows
from cdc_platform.formats.event_file import EventBatch, RejectedRow, RowBatch
from cdc_platform.formats.layout import Layout, layout_of
from cdc_platform.formats.normalise import Normaliser
from cdc_platform.formats.parquet_rows import ParquetRows
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.store import RawStore

__all__ = ["DEFAULT_BATCH_ROWS", "EventBatch", "EventFile", "RejectedRow", "open_event_file"]

DEFAULT_BATCH_ROWS = 50_000


class EventFile:
    """An open raw file. ``batches`` may be read once, and closes the file at its end."""

    def __init__(
        self,
        rows: ParquetRows | CsvRows,
        names: tuple[str, ...],
        layout: Layout,
        typing: Normaliser,
        *,
        batch_rows: int,
        where: str,
    ) -> None:
        self._rows, self._names, self._layout, self._typing = rows, names, layout, typing
        self._batch_rows, self._where = batch_rows, where
        self.schema: pa.Schema = layout.schema
        self.source_columns: Mapping[str, str] = layout.source_columns
        self.position_kind: PositionKind = layout.position_kind
        #: CSV columns read as strings because neither cdc.yaml nor the file tells their type.
        self.untyped_columns: tuple[str, ...] = layout.untyped
        #: The number of rows as the Parquet footer has it, None for CSV.
        self.rows: int | None = rows.rows

    def batches(self) -> Iterator[EventBatch]:
        """Yield the events in file order. Raises UnreadableRawFile where the bytes cannot be read."""
        try:
            for batch in self._row_batches():
                with unreadable(self._where):
                    events = self._typing.events_of(batch)
                yield events
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._rows.close()
        self._typing.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _row_batches(self) -> Iterator[RowBatch]:
        with unreadable(self._where):
            if isinstance(self._rows, CsvRows):
                yield from self._rows.batches(self._batch_rows, self._names)
            else:
                yield from self._rows.batches(self._batch_rows)


def open_event_file(
    store: RawStore,
    raw_options: RawOptions,
    table: TableConfig,
    accepted: AcceptedFile,
    *,
    batch_rows: int = DEFAULT_BATCH_ROWS,
) -> EventFile:
    """Open ``accepted`` and read its columns; the rows are read by ``EventFile.batches``.

    Raises RawFileVanished, UnreadableRawFile (bytes, names), MissingMergeKey, SchemaError (types).
    """
    where = f"{table.name}, file {accepted.file.key}"
    if accepted.file.size == 0:
        raise UnreadableRawFile("the file is empty (0 bytes)", where=where, mend=_RELOAD)
    stream = store.open(accepted.file)
    try:
        _check_length(stream, accepted, where)
        return _opened(stream, raw_options, table, accepted, batch_rows, where)
    except BaseException:
        stream.close()
        raise


def _check_length(stream: pa.NativeFile, accepted: AcceptedFile, where: str) -> None:
    """Raise StorageUnavailable when the storage hands out less than it listed: rows would be missing."""
    length = stream.size()
    if length != accepted.file.size:
        what = f"the storage hands out {length:,} bytes of a file listed with {accepted.file.size:,}"
        raise StorageUnavailable(what, where=where, mend="run again; if it stays, take in again")


def _opened(
    stream: pa.NativeFile,
    raw_options: RawOptions,
    table: TableConfig,
    accepted: AcceptedFile,
    batch_rows: int,
    where: str,
) -> EventFile:
    extension = accepted.file.key.rpartition("/")[2].partition(".")[2]
    is_text = extension.startswith("csv")
    rows: CsvRows | ParquetRows
    with unreadable(where):
        if is_text:
            rows = CsvRows(stream, raw_options.csv, zipped=extension.endswith("gz"), where=where)
        else:
            rows = ParquetRows(stream)
    if isinstance(rows, CsvRows):
        names = csv_column_names(rows.first_record, accepted.kind, raw_options, table, where=where)
        types: tuple[pa.DataType, ...] = (pa.string(),) * len(names)
    else:
        names, types = rows.names, rows.types
    layout = layout_of(names, types, accepted.kind, raw_options, table, where=where, is_text=is_text)
    typing = Normaliser(layout, types, accepted, raw_options, table, where=where, is_text=is_text)
    return EventFile(rows, names, layout, typing, batch_rows=batch_rows, where=where)


_RELOAD = (
    "compare the object with what DMS wrote and restore it: the restored file comes in by itself; "
    "or reload the table"
)


@contextmanager
def unreadable(where: str) -> Iterator[None]:
    """Translate what Arrow and gzip raise for broken bytes into UnreadableRawFile.

    An error of the operating system (it has an errno) is none of the bytes: StorageUnavailable.
    """
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, OSError) and error.errno is not None:
            mend = "see that the raw location can be read, then run again: nothing was set aside"
            raise StorageUnavailable(first_line, where=where, mend=mend) from error
        raise UnreadableRawFile(first_line, where=where, mend=_RELOAD) from error
