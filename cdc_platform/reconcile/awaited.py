"""Changes on their way: what files not applied yet, or not even accepted, may still bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import duckdb
import pyarrow as pa

from cdc_platform.config.model import SourceConfig, TableConfig
from cdc_platform.errors import RawFileError, SchemaError
from cdc_platform.events import before_name
from cdc_platform.formats.dms_names import parse_raw_file_name
from cdc_platform.naming import quoted
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.store import RawStore
from cdc_platform.reconcile.window_events import Events
from cdc_platform.reconcile.workspace_names import in_workspace

#: Beyond so many waiting files their keys are not read: every difference then counts as in flight.
MOST_FILES_READ = 500


def load_awaited_keys(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Callable[[], Events]], key: tuple[str, ...]
) -> int:
    """Make ``awaited``: which of ``keys`` the files change. Return how many files could not tell."""
    connection.execute("CREATE OR REPLACE TEMP TABLE awaited (key_id BIGINT)")
    untold = max(0, len(files) - MOST_FILES_READ)
    for open_file in files[:MOST_FILES_READ]:
        try:
            for batch in open_file().batches():
                add_awaited(connection, batch.events, key)
                untold += 1 if batch.rejected else 0
        except (RawFileError, SchemaError, duckdb.Error):
            # A file nobody can read may hold any key.
            untold += 1
    connection.execute("CREATE OR REPLACE TEMP TABLE awaited AS SELECT DISTINCT key_id FROM awaited")
    return untold


def add_awaited(
    connection: duckdb.DuckDBPyConnection,
    events: pa.RecordBatch,
    key: tuple[str, ...],
    *,
    each: bool = False,
) -> None:
    """Add to ``awaited`` which of ``keys`` the events change: once, or once for ``each`` event."""
    connection.register("incoming", pa.Table.from_batches([events]))
    sides = [list(key)]
    if all(before_name(column) in events.schema.names for column in key):
        sides.append([before_name(column) for column in key])
    own = " AND ".join(f"i.{quoted(column)} = k.{in_workspace(column)}" for column in key)
    for side in sides:
        same = " AND ".join(f"i.{quoted(s)} = k.{in_workspace(c)}" for s, c in zip(side, key, strict=True))
        if each and side != sides[0]:
            same += f" AND ({own}) IS NOT TRUE"  # an event that leaves the key as it was is one event of it
        once = "" if each else "DISTINCT "
        connection.execute(f"INSERT INTO awaited SELECT {once}k.key_id FROM incoming i JOIN keys k ON {same}")
    connection.unregister("incoming")


def unaccepted_files(
    store: RawStore, source: SourceConfig, table: TableConfig, known: Iterable[tuple[str, str]]
) -> list[AcceptedFile]:
    """Return the raw files of the table that are not among ``known`` (key, etag), as if they were accepted.

    Names DMS does not write, and files before the first window, are refused by the intake, not awaited.
    """
    versions = set(known)
    found = []
    for file in store.list(f"{table.schema_name}/{table.table_name}/"):
        if (file.key, file.etag) in versions:
            continue
        try:
            name = parse_raw_file_name(file.key, source.raw_of(table))
        except RawFileError:
            continue
        at = name.file_time or file.last_modified
        if at.date() >= source.window.start:
            kind = FileKind.LOAD if name.file_time is None else FileKind.CHANGES
            found.append(AcceptedFile(file, kind, at, source.window.key_of(at), generation=0))
    return found
