"""What gave a base row its value, as far as the lake itself tells: data file, snapshot, batch, tombstone.

The stored position of a row names its event; :mod:`cdc_platform.row_history` finds the raw file that carried
it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import duckdb
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.events import GENERATION, POSITION, Position
from cdc_platform.lake import summary
from cdc_platform.lake.applied import AppliedRecord, BatchManifest, manifest_path, read_manifest, walk_batches
from cdc_platform.lake.base_files import BaseFile, bounds, local_path
from cdc_platform.lake.branch import history
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.live_batches import live_schema, rows_at
from cdc_platform.lake.live_rows import DATA_FILE, DATA_ROW, LiveFiles, live_files
from cdc_platform.lake.read import open_workspace
from cdc_platform.lake.wanted import Wanted
from cdc_platform.lake.workspace import alias
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.raw.objects import ObjectStore

#: Rows shown when many lie at one position (a load's).
MOST_ROWS = 20


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot as a person knows it. Only the id is known of one that was expired."""

    snapshot_id: int
    committed_at: datetime | None = None
    operation: str | None = None
    #: The merge that made it, None for maintenance and other writers.
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A live row of base: its values, where it lies, and the snapshot that added its data file."""

    values: Mapping[str, Any]
    data_file: str
    data_row: int
    added_by: SnapshotInfo

    @property
    def position(self) -> Position:
        """The position of the event that gave the row its value."""
        return Position(int(self.values[GENERATION]), int(self.values[POSITION]))


@dataclass(frozen=True, slots=True)
class StoredTombstone:
    """A remembered delete of a key, and the tombstone file it lies in."""

    position: Position
    committed_at: datetime | None
    file: str


@dataclass(frozen=True, slots=True)
class BatchOfFile:
    """The batch that applied a raw file, and the snapshot it made while that is kept."""

    batch_id: str
    manifest: str
    created_at: str
    snapshot: SnapshotInfo | None


def find_rows(lake: Lake, table: Table, wanted: Wanted) -> tuple[StoredRow, ...]:
    """Return the live rows that are meant, at most MOST_ROWS. Only files that may hold one are read."""
    live = live_files(table)
    files = [file for file in live.files if _may_hold(file, live.schema, wanted)]
    if not files:
        return ()
    # of a wide table the engine holds a buffer a column and thread: it only looks where the rows are
    columns = list(wanted.values) if live_schema(live) is not None else None
    # the names in the condition are the columns' own, so the expression is a table of its own
    rows = live.sql(columns, files=files, located=True)
    query = f"SELECT * FROM {rows} r WHERE {wanted.condition(alias='r.')}"
    con = open_workspace(lake)
    try:
        found = con.execute(f"{query} LIMIT {MOST_ROWS}").to_arrow_table().to_pylist()
    finally:
        con.close()
    if not found:
        return ()
    by_path = {local_path(file.data.file_path): file for file in files}
    if columns is not None:
        found = list(_whole(live, table, by_path, found))
    paths = {path: file.data.file_path for path, file in by_path.items()}
    added = added_by(table, {paths[row[DATA_FILE]] for row in found})
    return tuple(_stored(row, paths[row[DATA_FILE]], added) for row in found)


def _whole(
    live: LiveFiles, table: Table, files: Mapping[str, BaseFile], places: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows at ``places`` with every column, and their place."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for place in places:
        numbers[place[DATA_FILE]].append(place[DATA_ROW])
    for path, wanted in numbers.items():
        read = chain.from_iterable(one.to_pylist() for one in rows_at(live, table.io, files[path], wanted))
        for number, values in zip(sorted(wanted), read, strict=True):
            yield {**values, DATA_FILE: path, DATA_ROW: number}


def find_tombstone(
    lake: Lake, objects: ObjectStore, record: AppliedRecord, wanted: Wanted
) -> StoredTombstone | None:
    """Return the newest remembered delete of what is meant."""
    if not record.tombstones:
        return None
    urls = {objects.url(key): key for key in record.tombstones}
    named = wanted.condition(alias("") if wanted.is_key else "")
    query = (
        "SELECT generation, position, committed_at, filename "
        f"FROM {parquet_sql(urls, by_name=True, filename=True)} "
        f"WHERE {named} ORDER BY generation DESC, position DESC LIMIT 1"
    )
    con = open_workspace(lake)
    try:
        row = con.execute(query).fetchone()
    except duckdb.BinderException:
        # a table that had another key when they were written
        return None
    finally:
        con.close()
    if row is None:
        return None
    return StoredTombstone(Position(int(row[0]), int(row[1])), row[2], urls[row[3]])


def batch_of(
    table: Table, objects: ObjectStore, version: tuple[str, str], generation: int, likely: str | None
) -> BatchOfFile | None:
    """Return the batch that applied a raw file as a part of ``generation``; None when it is not recorded.

    ``likely`` is a batch id to look at first; the others are walked from the newest back.
    """
    for manifest in _likely_first(table, objects, likely):
        for file in manifest.files:
            if (file.key, file.etag) == version and file.generation == generation:
                made = next((s for s in _snapshots(table) if s.batch_id == manifest.batch_id), None)
                path = objects.url(manifest_path(manifest.batch_id))
                return BatchOfFile(manifest.batch_id, path, manifest.created_at, made)
    return None


def snapshot_history(table: Table) -> tuple[SnapshotInfo, ...]:
    """Return the snapshots of the main branch that are kept, newest first."""
    return tuple(_snapshots(table))


def _likely_first(table: Table, objects: ObjectStore, likely: str | None) -> Iterator[BatchManifest]:
    if likely is not None and objects.get(manifest_path(likely)) is not None:
        yield read_manifest(objects, manifest_path(likely), table)
    yield from walk_batches(table, objects)


def _may_hold(file: BaseFile, schema: Schema, wanted: Wanted) -> bool:
    """Whether the file's statistics allow a row that is meant."""
    for name, value in wanted.values.items():
        if not isinstance(value, int | str | Decimal):
            continue
        low, high = bounds(file, schema, name)
        is_comparable = isinstance(low, int | str | Decimal) and isinstance(value, str) == isinstance(
            low, str
        )
        if is_comparable and (low > value or (high is not None and high < value)):
            return False
    return True


def _snapshots(table: Table) -> Iterator[SnapshotInfo]:
    yield from map(snapshot_info, history(table, table.current_snapshot()))


def snapshot_info(snapshot: Snapshot) -> SnapshotInfo:
    """Return a snapshot as a person knows it."""
    at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
    operation = snapshot.summary.operation.value if snapshot.summary else None
    batch = summary.properties_of(snapshot).get(summary.BATCH_ID)
    return SnapshotInfo(snapshot.snapshot_id, at, operation, batch)


def added_by(table: Table, paths: set[str]) -> dict[str, SnapshotInfo]:
    """Return who added each data file, from the entries of the current snapshot's manifests."""
    current = table.current_snapshot()
    left, found = set(paths), dict[str, SnapshotInfo]()
    for manifest in current.manifests(table.io) if current is not None else ():
        if not left:
            break
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            path = entry.data_file.file_path
            if path in left and entry.snapshot_id is not None:
                left.discard(path)
                snapshot = table.snapshot_by_id(entry.snapshot_id)
                found[path] = snapshot_info(snapshot) if snapshot else SnapshotInfo(entry.snapshot_id)
    return found


def _stored(row: Mapping[str, Any], path: str, added: Mapping[str, SnapshotInfo]) -> StoredRow:
    values = {name: value for name, value in row.items() if name not in (DATA_FILE, DATA_ROW)}
    return StoredRow(values, path, int(row[DATA_ROW]), added[path])
