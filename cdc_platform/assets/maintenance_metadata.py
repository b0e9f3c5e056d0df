"""What the Dagster UI shows of a table's health, and of what maintenance did to it."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.metadata import SHOWN_ROWS, table_value, without_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.table import Table

    from cdc_platform.lake.health import TableHealth
    from cdc_platform.lake.maintenance import MaintenanceResult
    from cdc_platform.lake.maintenance.compaction import GroupResult
    from cdc_platform.lake.result import MergeResult

#: Totals that Iceberg keeps in each snapshot's summary, under the names shown.
_TOTALS = {
    "data_files": "total-data-files",
    "delete_files": "total-delete-files",
    "deleted_positions": "total-position-deletes",
}


def upkeep_metadata(result: "MergeResult", table: "Table | None") -> dict[str, Any]:
    """Return what a merge shows of the table's health, by its metadata alone, and of maintenance after it."""
    from cdc_platform.lake.summary import properties_of

    done = result.maintenance
    totals = properties_of(table.current_snapshot() if table is not None else None)
    return without_none(
        {
            **{name: int(totals[total]) for name, total in _TOTALS.items() if total in totals},
            "snapshots": len(table.metadata.snapshots) if table is not None else None,
            "maintenance_seconds": done.seconds if done else None,
            "maintenance_proof": _proofs(done.groups or ()) if done else None,
            "maintenance_error": done.error if done else None,
        }
    )


def health_metadata(health: "TableHealth") -> dict[str, Any]:
    """Return a table's health as numbers the UI plots over time."""
    oldest = health.oldest_snapshot_at
    return without_none(
        {
            "dagster/row_count": health.rows,
            "data_files": health.data_files,
            "small_files": health.small_files,
            "delete_files": health.delete_files,
            "deleted_positions": health.deleted_positions,
            "delete_debt": health.delete_debt,
            "bytes": health.bytes,
            "snapshots": health.snapshots,
            "oldest_snapshot": dg.MetadataValue.timestamp(oldest) if oldest else None,
        }
    )


def maintenance_metadata(result: "MaintenanceResult") -> dict[str, Any]:
    """Return the table's health before and after, what was done, and the proof of each rewrite."""
    before, after = result.before, result.after
    expiry, orphans = result.expiry, result.orphans
    names = ("data_files", "small_files", "delete_files", "deleted_positions", "bytes", "snapshots")
    changes = [
        {"what": name.replace("_", " "), "before": getattr(before, name), "after": getattr(after, name)}
        for name in names
        if before is not None and after is not None
    ]
    return without_none(
        {
            **(health_metadata(after) if after is not None else {}),
            "dry_run": result.dry_run,
            "health": table_value(changes),
            "groups": len(result.groups) if result.groups is not None else None,
            "proof": _proofs(result.groups or ()),
            "snapshots_expired": expiry.snapshots if expiry else None,
            "files_removed": expiry.files + expiry.objects if expiry else None,
            "orphans": orphans.files if orphans else None,
            "orphan_bytes": orphans.bytes if orphans else None,
            "seconds": result.seconds,
        }
    )


def results_metadata(done: "Sequence[MaintenanceResult]") -> dict[str, Any]:
    """Return a line for each of the tables of reconciliations: what it was, and what was done."""
    lines = [
        {
            "table": one.table_id,
            "data files before": one.before.data_files,
            "data files after": one.after.data_files,
            "snapshots expired": one.expiry.snapshots if one.expiry else 0,
            "orphans": one.orphans.files if one.orphans else 0,
            "seconds": one.seconds,
        }
        for one in done
        if one.before is not None and one.after is not None
    ]
    return without_none({"tables": table_value(lines)})


def _proofs(groups: "tuple[GroupResult, ...]") -> dg.TableMetadataValue | None:
    """Return one line a group: the files it was, the files it became, and what proves the rows equal."""
    lines = [
        {
            "files before": group.files_before,
            "files after": group.files_after,
            "rows": group.rows,
            "deleted rows left out": group.deleted_rows,
            "hash sum before and after": str(group.hash_sum),
            "snapshot": str(group.snapshot_id) if group.snapshot_id else "",
            "skipped": group.skipped or "",
        }
        for group in groups[:SHOWN_ROWS]
    ]
    return table_value(lines)
