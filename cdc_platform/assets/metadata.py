"""What the Dagster UI shows of a result: numbers it can plot, tables a person reads, text for large numbers.

Snapshot ids are text: they exceed what a browser shows exactly.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.reconcile.column_verdicts import columns_by_verdict
from cdc_platform.reconcile.difference_kinds import ColumnDifference
from cdc_platform.reconcile.faults import faults_in_words
from cdc_platform.reconcile.verdict import Comparison, Discrepancy, Reconciliation

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from cdc_platform.lake.result import MergeResult
    from cdc_platform.raw.manifests import WindowManifest
    from cdc_platform.replication import ReplicationObjects, TableStatistics, TaskState

#: How many rows of a table the UI is given; the report and the lake hold all.
SHOWN_ROWS = 20
SHOWN_CHARACTERS = 120

#: Metadata entry of a raw window that tells whether its manifest changed since.
FINGERPRINT = "files_fingerprint"

Metadata = Mapping[str, Any]


def table_value(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue | None:
    """Return ``rows`` as a table; None when there are none, for Dagster cannot show an empty one."""
    records = [dg.TableRecord(dict(row)) for row in rows]
    return dg.MetadataValue.table(records) if records else None


def without_none(values: Metadata) -> dict[str, Any]:
    """Return the entries that say something."""
    return {name: value for name, value in values.items() if value is not None}


def fingerprint(manifest: "WindowManifest") -> str:
    """Return a text that changes whenever a file, its version or its generation in the manifest does."""
    versions = sorted((one.file.key, one.file.etag, one.generation) for one in manifest.files)
    replaced = sorted(manifest.replaced)
    return hashlib.sha256(repr((versions, replaced)).encode()).hexdigest()[:16]


def raw_metadata(manifest: "WindowManifest") -> dict[str, Any]:
    """Return what a raw window shows: how many files of which kind, and the newest of them."""
    newest = sorted(manifest.files, key=lambda one: one.file.last_modified, reverse=True)
    kinds = Counter(one.kind.value for one in manifest.files)
    rows = [
        {
            "file": one.file.key,
            "kind": one.kind.value,
            "bytes": one.file.size,
            "file time": _moment(one.file_time),
            "written": _moment(one.file.last_modified),
            "generation": str(one.generation),
        }
        for one in newest[:SHOWN_ROWS]
    ]
    return without_none(
        {
            "files": len(manifest.files),
            "load_files": kinds["load"],
            "change_files": kinds["changes"],
            "bytes": sum(one.file.size for one in manifest.files),
            "newest_file_time": dg.MetadataValue.timestamp(max(one.file_time for one in newest))
            if newest
            else None,
            "newest_files": table_value(rows),
            FINGERPRINT: fingerprint(manifest),
        }
    )


def merge_metadata(result: "MergeResult", table: "Table | None") -> dict[str, Any]:
    """Return what a merge shows: what came by op, what became of it, and the table it left behind."""
    counts = result.counts
    ops = {"load": counts.loads, "insert": counts.inserts, "update": counts.updates, "delete": counts.deletes}
    effects = {
        name: value
        for name, value in counts.as_dict().items()
        if name not in ("loads", *(f"{o}s" for o in ops))
    }
    waiting = [
        {"file": one.key, "row": one.row, "reason": one.reason, "mend": one.mend}
        for one in result.quarantined
    ]
    return without_none(
        {
            "events": counts.events,
            "files_applied": len(result.files_applied),
            "files_already_applied": result.files_skipped,
            "files_waiting_in_quarantine": result.files_waiting,
            "quarantined": len(result.quarantined),
            "newly_quarantined": table_value(waiting[:SHOWN_ROWS]),
            "warnings": table_value({"warning": text} for text in result.warnings),
            "ops": table_value({"op": op, "events": count} for op, count in ops.items()),
            "effects": table_value(
                {"effect": name.replace("_", " "), "count": n} for name, n in effects.items() if n
            ),
            "snapshot_id": str(result.snapshot_id) if result.snapshot_id is not None else None,
            "batch_id": result.batch_id,
            "attempts": result.attempts,
            "watermark": dg.MetadataValue.timestamp(result.watermark) if result.watermark else None,
            "generation_completed": str(result.generation_completed) if result.generation_completed else None,
            "timings": table_value(
                {"step": step, "seconds": round(s, 3)} for step, s in result.seconds.items()
            ),
            **(table_metadata(table) if table is not None else {}),
        }
    )


def table_metadata(table: "Table") -> dict[str, Any]:
    """Return what the UI knows of any table: its columns, its rows, where it is."""
    from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION
    from cdc_platform.lake.summary import row_count

    ours = {
        OP: "the op of the event that wrote the row: I, U, D (kept by soft delete) or L (full load)",
        GENERATION: "the full load the row follows",
        POSITION: "where the event stands in the source's log; one at or before it changes nothing",
        COMMITTED_AT: "when the source committed the event",
    }
    columns = [
        dg.TableColumn(
            name=field.name,
            type=str(field.field_type),
            description=ours.get(field.name) or (field.doc if field.doc != field.name else None),
            constraints=dg.TableColumnConstraints(nullable=not field.required),
        )
        for field in table.schema().fields
    ]
    return without_none(
        {
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/row_count": row_count(table),
            "dagster/uri": table.location(),
            "metadata_location": table.metadata_location,
        }
    )


def replication_metadata(
    made: "ReplicationObjects", task: "TaskState", statistics: Sequence["TableStatistics"]
) -> dict[str, Any]:
    """Return what a replication shows: its task, what was changed to make it so, and its tables."""
    tables = [
        {
            "table": f"{one.schema_name}.{one.table_name}",
            "state": one.table_state,
            "loaded": one.full_load_rows,
            "inserts": one.inserts,
            "updates": one.updates,
            "deletes": one.deletes,
        }
        for one in statistics
    ]
    return without_none(
        {
            "task": task.identifier,
            "status": task.status,
            "migration_type": task.migration_type,
            "stop_reason": task.stop_reason,
            "checkpoint": task.checkpoint,
            "full_load_percent": task.full_load_percent,
            "tables": table_value(tables[:SHOWN_ROWS]),
            "objects": table_value({"object": name, "outcome": done} for name, done in made.done.items()),
        }
    )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _shown(row: Mapping[str, Any] | None, columns: Sequence[str] = ()) -> str:
    """Return a row in one line a person can read, shortened; the report has all of it."""
    if row is None:
        return "no row"
    text = ", ".join(f"{name} = {row.get(name)}" for name in columns or row)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _discrepancy_row(discrepancy: Discrepancy) -> dict[str, str]:
    first, second = discrepancy.witnesses
    return {
        "key": _shown(discrepancy.key),
        "what": discrepancy.kind.value,
        "verdict": discrepancy.verdict.value,
        first: _shown(discrepancy.expected, discrepancy.columns),
        second: _shown(discrepancy.actual, discrepancy.columns),
        "kind of difference": "; ".join(f"{name}: {one.label}" for name, one in discrepancy.classes.items()),
        "fault": discrepancy.located.sentence if discrepancy.located else "",
        "reason": discrepancy.reason,
    }


def _column_row(one: ColumnDifference) -> dict[str, Any]:
    return {
        "column": one.column,
        "rows": one.keys,
        "of": one.changed,
        "kinds of difference": ", ".join(f"{share.label}: {share.keys:,}" for share in one.classes),
    }


def comparison_metadata(comparison: Comparison) -> dict[str, Any]:
    """Return what a claim's check shows: counts, the first discrepancies, what was left out and why."""
    tally = comparison.tally
    rows = [_discrepancy_row(one) for one in comparison.discrepancies[:SHOWN_ROWS]]
    excluded = [{"column": one.column, "reason": one.reason} for one in comparison.excluded]
    snapshot = comparison.snapshot_id
    return without_none(
        {
            "verdict": comparison.verdict.value,
            "keys_compared": tally.compared,
            "keys_matched": tally.matched,
            "keys_superseded": tally.superseded,
            "keys_different": tally.different,
            "keys_in_flight": tally.in_flight,
            "keys_unverified": tally.unverified,
            "discrepancies": table_value(rows),
            "faults": faults_in_words(comparison.faults, comparison.tally.different) or None,
            "columns_that_differ": table_value(map(_column_row, comparison.column_differences)),
            "in_common": comparison.attribution or None,
            "columns_not_compared": table_value(excluded),
            "columns_by_verdict": "; ".join(
                f"{verdict}: {', '.join(columns)}"
                for verdict, columns in columns_by_verdict(comparison).items()
            )
            or None,
            "snapshot_id": str(snapshot) if snapshot is not None else None,
            "source_position": comparison.source_position,
            "notes": "\n".join(comparison.notes) or None,
            "discarded_from_quarantine": "\n".join(comparison.given_up[:SHOWN_ROWS]) or None,
            "seconds": round(comparison.seconds, 3),
        }
    )


def reconciliation_metadata(outcome: Reconciliation) -> dict[str, Any]:
    """Return what a reconciliation's materialization shows: the verdict in words, one line per comparison."""
    lines = [
        {
            "comparison": one.name,
            "verdict": one.verdict.value,
            "keys": one.tally.compared,
            "matched": one.tally.matched,
            "superseded": one.tally.superseded,
            "different": one.tally.different,
            "in flight": one.tally.in_flight,
            "unverified": one.tally.unverified,
            "reason": one.reason,
        }
        for one in outcome.comparisons
    ]
    return without_none(
        {
            "verdict": outcome.verdict.value,
            "summary": dg.MetadataValue.md(outcome.sentence),
            "comparisons": table_value(lines),
            "discrepancies": outcome.discrepancies_total,
            "report": dg.MetadataValue.path(outcome.report) if outcome.report else None,
            "run": outcome.run_id,
            "seconds": round(outcome.seconds, 3),
        }
    )
