"""Full load of tables from one snapshot: COPY in bounded chunks, text to Arrow, Arrow to LOAD files."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from cdc_platform.errors import CdcError
from cdc_platform.local.engine.context import RunContext, TargetTable
from cdc_platform.local.engine.outcome import StopRequested, TableFailed
from cdc_platform.local.engine.output import OutputFile
from cdc_platform.local.engine.publish import remove_files, remove_partials
from cdc_platform.local.engine.source import Snapshot, SourceTable
from cdc_platform.local.engine.stream import fault_of
from cdc_platform.local.engine.types import Values

_CHUNK_BYTES = 4 * 1024 * 1024
_LOG = logging.getLogger(__name__)


def load_tables(context: RunContext, snapshot: Snapshot, table_ids: list[str], *, is_reload: bool) -> None:
    """Load tables, one after the other, as they are in ``snapshot``.

    Afterwards each counts its changes from the snapshot's LSN on. A table that cannot be loaded is suspended.
    Raises StopRequested when the run is asked to stop; tables not finished are loaded again by the next run.
    """
    report = context.state.report
    report.full_load_started_at = report.full_load_started_at or datetime.now(UTC)
    found = context.source.tables(snapshot.connection, context.mappings.selects)
    present = {table.id: table for table in found}
    first_time = {
        table_id
        for table_id in table_ids
        if context.state.tables[table_id].statistics.full_load_end_time is None
    }
    for done, table_id in enumerate(table_ids):
        report.full_load_progress_percent = 100 * done // len(table_ids)
        if context.stopping.is_set():
            # before the table's earlier files are removed
            raise StopRequested
        table = present.get(table_id)
        if table is None:
            context.state.tables[table_id].statistics.table_state = "Table does not exist"
            continue
        try:
            with snapshot.connection.transaction():
                _load_table(context, snapshot, table, is_reload=is_reload and table_id not in first_time)
        except psycopg.errors.Error as fault:
            if snapshot.connection.closed:
                raise fault_of(context.source.hide_secrets(str(fault)), "the load broke off") from None
            context.fail_table(table_id, fault)
        except CdcError as fault:
            context.fail_table(table_id, fault)
        context.count_tables()
        context.save()
    finish_load(context)


def finish_load(context: RunContext) -> None:
    """Record that every table is loaded that could be."""
    report = context.state.report
    context.state.is_load_done = True
    report.full_load_progress_percent = 100
    report.full_load_finished_at = datetime.now(UTC)
    context.save()


class Reload:
    """Tables that are loaded again while changes are captured: a snapshot that waits for the log.

    The snapshot is taken first. When the log has been read up to it, and every change before it is in
    visible files, :meth:`load` writes the new LOAD files. So no change is left out on account of the reload
    (a table that is empty by now gets no LOAD file that could tell of its deletes), and every change file
    after the new LOAD files holds newer changes only.
    """

    def __init__(self, context: RunContext, tables: list[str]) -> None:
        self._context = context
        self._tables = tables
        self._open = ExitStack()
        self._snapshot = self._open.enter_context(context.source.exported_snapshot(context.is_stopping))

    @property
    def lsn(self) -> int:
        """The position the log must be read up to before :meth:`load`."""
        return self._snapshot.lsn

    def load(self) -> None:
        """Write the LOAD files. The caller has published all changes and stands between two transactions."""
        self._context.publisher.clock.wait_for_next_second()
        with self._open, suppress(StopRequested):
            load_tables(self._context, self._snapshot, self._tables, is_reload=True)
            self._context.save()

    def close(self) -> None:
        """Give the snapshot back; tables not loaded by now are loaded when the task resumes."""
        self._open.close()


def begin_reload(context: RunContext) -> Reload | None:
    """Take a snapshot for the tables that wait to be loaded again; None when there is none of the task's."""
    wanted: list[str] = []
    while context.reloads:
        table_id = ".".join(context.reloads.popleft())
        if table_id in context.state.tables and table_id not in wanted:
            wanted.append(table_id)
            # a run killed from here on loads the table again
            context.state.tables[table_id].is_loaded = False
    if not wanted:
        return None
    context.save()
    try:
        return Reload(context, wanted)
    except StopRequested:
        return None


def _load_table(context: RunContext, snapshot: Snapshot, table: SourceTable, *, is_reload: bool) -> None:
    if context.faults.take(context.spec.identifier, "suspend-table", table.id) is not None:
        raise TableFailed("suspended by an armed fault", where=table.id, mend="reload the table")
    progress, target = context.progress_of(table), context.target_of(table.schema, table.name)
    statistics = progress.statistics
    statistics.table_state = "Table is being reloaded" if is_reload else "Full load"
    statistics.full_load_start_time, statistics.full_load_end_time = datetime.now(UTC), None
    statistics.full_load_rows = 0
    context.count_tables()
    if context.options.prepare_mode != "DO_NOTHING":
        remove_files(target.folder)
    remove_partials(target.folder)
    _write_rows(context, snapshot, table, target)
    progress.is_loaded, progress.is_suspended = True, False
    progress.changes_from = snapshot.lsn
    statistics.table_state = "Table completed"
    statistics.full_load_reloaded = is_reload
    statistics.full_load_end_time = statistics.last_update_time = datetime.now(UTC)


def _write_rows(context: RunContext, snapshot: Snapshot, table: SourceTable, target: TargetTable) -> None:
    shape = context.shape_of(table, is_load=True)
    statistics = context.state.tables[table.id].statistics
    counter, file = 0, None
    try:
        for texts, size in _chunks(snapshot.connection, table):
            if context.stopping.is_set():
                raise StopRequested
            if file is None:
                file = OutputFile(target.folder, shape.schema, context.files)
            file.write(shape.load_batch(texts, context.started_at), size)
            statistics.full_load_rows += len(texts[0])
            if file.text_bytes >= context.files.max_load_file_bytes:
                counter += 1
                context.publisher.publish_load(file, target, counter)
                file = None
        if file is not None:
            context.publisher.publish_load(file, target, counter + 1)
            file = None
    finally:
        if file is not None:
            file.discard()


def _chunks(connection: psycopg.Connection[Any], table: SourceTable) -> Iterator[tuple[list[Values], int]]:
    """Yield the table's rows as text, a chunk at a time: an Arrow array per column, and its bytes."""
    if not table.columns:
        raise TableFailed("the table has no columns", where=table.id, mend="exclude it from the selection")
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv, NULL '\\N')")
    with connection.cursor() as cursor:
        command = query.format(names, sql.Identifier(table.schema, table.name))
        with cursor.copy(command) as copy:
            rows: list[Any] = []
            size = 0
            for row in copy:  # libpq hands over a row at a time; nothing is done to it here
                rows.append(row)
                size += len(row)
                if size >= _CHUNK_BYTES:
                    yield _texts(b"".join(rows), len(table.columns)), size
                    rows, size = [], 0
            if rows:
                yield _texts(b"".join(rows), len(table.columns)), size


def _texts(chunk: bytes, columns: int) -> list[Values]:
    names = [f"f{number}" for number in range(columns)]
    table = pyarrow.csv.read_csv(
        io.BytesIO(chunk),
        read_options=pyarrow.csv.ReadOptions(
            column_names=names, block_size=len(chunk) + 1, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=["\\N"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return [column.combine_chunks() for column in table.columns]
