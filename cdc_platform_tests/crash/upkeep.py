"""Maintenance to be killed: what is done, and what must hold of table, past and files afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cdc_platform.config.maintenance import CompactionOptions, OrphanOptions, SnapshotOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.key_lookup import evict
from cdc_platform.lake.lineage import snapshot_history
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.maintenance.expiry import commit_expiry, plan_expiry
from cdc_platform.lake.maintenance.orphans import plan_orphans, remove_orphans
from cdc_platform_tests.crash.inspection import SOURCE, digest_of, folders, missing, orphans, pending

#: Snapshots that an expiry leaves, unless another needs their record.
KEPT_SNAPSHOTS = 2
_HOUR = 3600.0
#: Older than any clean-up spares.
_LONG_AGO = 100 * _HOUR

#: Snapshot id → digest of the rows it shows.
Past = dict[int, str]


def compact(lake: Lake, config: TableConfig) -> None:
    """Rewrite every two files of a partition into one, and every file a row of which is deleted."""
    table = lake.load(SOURCE, config.id)
    if table is not None and table.current_snapshot() is not None:
        options = CompactionOptions(min_files=2, min_deleted_rows=1, delete_debt=0.01, small_file_share=0.9)
        commit_compaction(lake, plan_compaction(table, options), attempts=2)


def expire(lake: Lake, config: TableConfig) -> None:
    """Leave the newest few snapshots; those that were rolled back count as old."""
    table = lake.load(SOURCE, config.id)
    if table is not None:
        options = SnapshotOptions(max_age_days=1e-9, min_count=KEPT_SNAPSHOTS, max_count=KEPT_SNAPSHOTS)
        commit_expiry(plan_expiry(table, lake.objects(SOURCE, config.id), options))


def clean_up(lake: Lake, config: TableConfig) -> None:
    """Remove what nothing names and is older than the clean-up age, as the default policy has it."""
    table = lake.load(SOURCE, config.id)
    if table is not None:
        remove_orphans(plan_orphans(table, lake.objects(SOURCE, config.id), OrphanOptions()))


DEEDS: dict[str, Callable[[Lake, TableConfig], None]] = {
    "compaction": compact,
    "expiry": expire,
    "clean-up": clean_up,
}


def check_past(lake: Lake, config: TableConfig, past: Past, where: str) -> Past:
    """Fail unless each snapshot that is left reads as it did and finds its files; return what they show."""
    table = lake.load(SOURCE, config.id)
    if table is None or table.current_snapshot() is None:
        return {}
    found = {
        snapshot.snapshot_id: digest_of(table, snapshot.snapshot_id) for snapshot in table.metadata.snapshots
    }
    changed = [one for one, digest in found.items() if past.get(one, digest) != digest]
    assert [] == changed, f"{where}: snapshots that read otherwise than before"
    assert [] == missing(lake, config), f"{where}: files that a snapshot names are gone"
    return found


def check_expired(lake: Lake, config: TableConfig, where: str) -> None:
    """Fail unless an expiry left as few snapshots as it should."""
    table = lake.load(SOURCE, config.id)
    if table is None or table.current_snapshot() is None:
        return
    # those that main is still to be moved over, and the one it is at
    waiting = pending(table)
    needed = {*waiting, table.metadata.refs["main"].snapshot_id} if waiting else set()
    newest = [one.snapshot_id for one in snapshot_history(table)[:KEPT_SNAPSHOTS]]
    stayed = {one.snapshot_id for one in table.metadata.snapshots} - needed - {*newest}
    assert not stayed, f"{where}: snapshots stayed"


def grow_old(lake: Lake, config: TableConfig) -> Path | None:
    """Let every file of a table be old; return an orphan made just now, None before the table is there."""
    there = folders(lake, config)
    then = time.time() - _LONG_AGO
    for folder in there:
        for path in folder.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))
    if not there:
        return None
    young = there[0] / "data" / "young.parquet"
    young.parent.mkdir(parents=True, exist_ok=True)
    young.write_bytes(b"PAR1")
    return young


def check_cleaned(lake: Lake, config: TableConfig, young: Path | None, where: str) -> None:
    """Fail when an orphan above the clean-up age is left, or a younger one is gone."""
    oldest = time.time() - OrphanOptions().min_age_hours * _HOUR
    left = [path for path in orphans(lake, config) if path.stat().st_mtime < oldest]
    assert [] == left, f"{where}: orphans older than the clean-up age"
    assert young is None or young.exists(), f"{where}: the clean-up took a file below its age"


def check_indexes(lake: Lake) -> None:
    """Fail when a key index that was never finished stays for good."""
    folder = lake.index_folder()
    then = time.time() - _LONG_AGO
    for path in folder.path.glob(".*"):
        os.utime(path, (then, then))
    evict(folder)
    assert [] == list(folder.path.glob(".*")), "unfinished key indexes stayed"
