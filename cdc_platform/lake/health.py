"""What a base table looks like from outside: is its key unique, how big is it, how far is it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.applied import AppliedRecord, read_applied
from cdc_platform.lake.base_files import BaseFile, target_size
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.declared import keeps_deleted
from cdc_platform.lake.lineage import snapshot_history
from cdc_platform.lake.live_rows import live_files, live_sql
from cdc_platform.lake.read import open_workspace
from cdc_platform.lake.summary import properties_of
from cdc_platform.naming import quoted

_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class KeyUniqueness:
    """How many keys have more than one row, with some of them."""

    duplicated_keys: int
    sample: tuple[Mapping[str, Any], ...]

    @property
    def is_unique(self) -> bool:
        """Whether every key has one row."""
        return self.duplicated_keys == 0


@dataclass(frozen=True, slots=True)
class TableHealth:
    """Sizes of a base table as of its current snapshot."""

    snapshot_id: int | None
    snapshots: int
    rows: int
    #: Rows kept by ``delete_mode: soft`` that the source no longer has; part of ``rows``.
    soft_deleted_rows: int
    data_files: int
    delete_files: int
    deleted_positions: int
    #: Bytes of the data and delete files of the current snapshot.
    bytes: int
    #: Data files the maintenance policy calls small.
    small_files: int = 0
    #: When the oldest snapshot that is kept was made.
    oldest_snapshot_at: datetime | None = None

    @property
    def delete_debt(self) -> float:
        """The share of the stored rows that is deleted: what readers pay for until a compaction."""
        stored = self.rows + self.deleted_positions
        return round(self.deleted_positions / stored, 4) if stored else 0.0


def merge_keys_are_unique(lake: Lake, source: str, table: TableConfig) -> KeyUniqueness:
    """Look for keys with more than one row. A table without a key, or none at all, has no such key."""
    base = lake.load(source, table.id)
    if base is None or base.current_snapshot() is None or not table.safe_key:
        return KeyUniqueness(0, ())
    keys = ", ".join(map(quoted, table.safe_key))
    con = open_workspace(lake)
    try:
        con.execute(
            f"CREATE TABLE repeated AS SELECT {keys}, count(*) AS rows FROM {live_sql(base)} "
            "GROUP BY ALL HAVING count(*) > 1"
        )
        count = con.execute("SELECT count(*) FROM repeated").fetchone()
        sample = con.execute(f"FROM repeated ORDER BY {keys} LIMIT {_SAMPLE}").to_arrow_table().to_pylist()
    finally:
        con.close()
    return KeyUniqueness(int(count[0]) if count else 0, tuple(sample))


def table_health(
    lake: Lake, source: str, table: TableConfig, *, published: bool = False
) -> TableHealth | None:
    """Return the table's sizes, None before its first merge: as merges left it, or as main shows it."""
    base = lake.load_published(source, table.id) if published else lake.load(source, table.id)
    if base is None:
        return None
    options = lake.config.maintenance.with_overrides(table.maintenance).compaction
    return health_of(lake, base, options, soft_deletes=keeps_deleted(base, table))


def health_of(
    lake: Lake, base: Table, options: CompactionOptions, *, soft_deletes: bool = False
) -> TableHealth:
    """Return the sizes of a table; ``options`` say which files are small."""
    snapshot = base.current_snapshot()
    if snapshot is None:
        return TableHealth(None, 0, 0, 0, 0, 0, 0, 0)
    files = live_files(base).files
    deletes = {delete.file_path: delete for file in files for delete in file.deletes}
    small = target_size(base) * options.small_file_share
    soft = _soft_deleted(lake, base) if soft_deletes else 0
    oldest = min(each.timestamp_ms for each in base.metadata.snapshots)
    deleted = sum(delete.record_count for delete in deletes.values())
    records = sum(file.data.record_count for file in files)
    return TableHealth(
        snapshot_id=snapshot.snapshot_id,
        snapshots=len(base.metadata.snapshots),
        rows=records - deleted if _counts_subtract(files) else _count(lake, base, "true"),
        soft_deleted_rows=soft,
        data_files=len(files),
        delete_files=len(deletes),
        deleted_positions=deleted,
        bytes=sum(file.data.file_size_in_bytes for file in files)
        + sum(delete.file_size_in_bytes for delete in deletes.values()),
        small_files=sum(file.data.file_size_in_bytes < small for file in files),
        oldest_snapshot_at=datetime.fromtimestamp(oldest / 1000, UTC),
    )


def _counts_subtract(files: Sequence[BaseFile]) -> bool:
    """Whether each data file has one delete file at most, of its own, so that no position counts twice."""
    return all(len(file.deletes) == len(file.scoped_deletes) <= 1 for file in files)


def current_watermark(lake: Lake, source: str, table_id: str) -> datetime | None:
    """Return the highest commit time applied to the base table, None when nothing was."""
    base = lake.load(source, table_id)
    return read_applied(base, lake.objects(source, table_id)).watermark


def applied_record(lake: Lake, source: str, table_id: str) -> AppliedRecord:
    """Return which files the base table has applied, and where it stands."""
    return read_applied(lake.load(source, table_id), lake.objects(source, table_id))


def merge_history(lake: Lake, source: str, table_id: str) -> list[dict[str, str]]:
    """Return the ``cdc.*`` properties of each merge's snapshot, oldest first, with its id and time.

    Merges that were rolled back are not in it.
    """
    base = lake.load(source, table_id)
    history = []
    for one in reversed(snapshot_history(base)) if base is not None else ():
        snapshot = base.snapshot_by_id(one.snapshot_id) if base is not None else None
        properties = properties_of(snapshot)
        if one.batch_id is not None and one.committed_at is not None:
            at = one.committed_at.isoformat(timespec="milliseconds")
            ours = {name: value for name, value in properties.items() if name.startswith("cdc.")}
            history.append({"snapshot-id": str(one.snapshot_id), "committed-at": at, **ours})
    return history


def _soft_deleted(lake: Lake, table: Table) -> int:
    return _count(lake, table, "_cdc_op = 'D'")


def _count(lake: Lake, table: Table, condition: str) -> int:
    con = open_workspace(lake)
    try:
        query = f"SELECT count(*) FROM {live_sql(table)} WHERE {condition}"
        row = con.execute(query).fetchone()
    finally:
        con.close()
    return int(row[0]) if row else 0
