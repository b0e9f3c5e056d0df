"""The audit trail: a row of ``cdc_reconciliation.repairs`` for each step that changed base or proved it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cdc_platform.lake.catalog import Lake
from cdc_platform.reconcile.results import record_repair
from cdc_platform.repair.record import EventsFile, Repair, RepairState, record_key

REPAIRED, UNDONE = "repaired", "undone"


def tell(lake: Lake, repair: Repair) -> None:
    """Record where a repair stands. Telling the same twice leaves one row."""
    if repair.state is RepairState.VERIFIED:
        record_repair(lake, _repaired(lake, repair))
    elif repair.state is RepairState.UNDONE:
        record_repair(lake, _undone(lake, repair))


def _scope(lake: Lake, repair: Repair, action: str, at: str, by: str) -> dict[str, Any]:
    objects = lake.objects(repair.source, repair.table_id)
    return {
        "run_id": repair.run_id,
        "source": repair.source,
        "table_id": repair.table_id,
        "window": repair.window,
        "started_at": datetime.fromisoformat(at),
        "repair_id": repair.id,
        "action": action,
        "by": by,
        "record": objects.url(record_key(repair.id)),
    }


def _repaired(lake: Lake, repair: Repair) -> dict[str, Any]:
    approval, applied, verified = repair.approval, repair.applied, repair.verified
    assert approval is not None
    assert applied is not None
    assert verified is not None
    counts = applied.counts
    return {
        **_scope(lake, repair, REPAIRED, verified.at, approval.by),
        "verdict": verified.verdict,
        "reason": verified.reason,
        "source_position": approval.source_position,
        "position": _position(approval.file),
        "batch_id": applied.batch_id,
        "keys": approval.keys,
        "inserts": counts.get("rows_inserted", 0),
        "updates": counts.get("rows_updated", 0),
        "deletes": counts.get("rows_deleted", 0),
        "dropped": approval.dropped,
        "overtaken": counts.get("stale", 0),
        "snapshot_before": int(approval.snapshot_before),
        "snapshot_after": int(applied.snapshot_id) if applied.snapshot_id else None,
        "method": "events",
    }


def _undone(lake: Lake, repair: Repair) -> dict[str, Any]:
    undo = repair.undo
    assert undo is not None
    return {
        **_scope(lake, repair, UNDONE, undo.at, undo.by),
        "position": _position(undo.file) if undo.file else None,
        "keys": undo.keys,
        "left": undo.left,
        "snapshot_after": int(undo.snapshot_id) if undo.snapshot_id else None,
        "method": undo.method,
    }


def _position(file: EventsFile) -> str:
    return f"{file.generation}:{file.sequence}"
