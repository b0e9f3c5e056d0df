"""How a task and its table statistics look from outside: the API's members from a task's report."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from typing import Any

from cdc_platform.errors import redact
from cdc_platform.local.contract import TableStatistics, TaskReport
from cdc_platform.local.store import Document


def shown_task(
    task: Document, report: TaskReport | None, *, without_settings: bool = False
) -> dict[str, Any]:
    """Return the ReplicationTask member of the API. ``report`` is None for a task that never ran."""
    shown: dict[str, Any] = {name: value for name, value in task.items() if not name.startswith("_")}
    if without_settings:
        shown.pop("ReplicationTaskSettings")
        shown.pop("TableMappings")
    if report is None:
        return shown | {"Status": "ready"}
    return shown | {
        "Status": report.status.value,
        "StopReason": report.stop_reason,
        "LastFailureMessage": redact(report.last_failure_message) if report.last_failure_message else None,
        "RecoveryCheckpoint": report.recovery_checkpoint,
        "ReplicationTaskStartDate": task.get("_started"),
        "ReplicationTaskStats": _stats(task, report),
    }


def _stats(task: Document, report: TaskReport) -> dict[str, Any]:
    started = _seconds(report.started_at) or task.get("_started")
    stopped = _seconds(report.stopped_at)
    elapsed = (stopped or time.time()) - started if started else 0
    return {
        "FullLoadProgressPercent": report.full_load_progress_percent,
        "ElapsedTimeMillis": max(0, int(elapsed * 1000)),
        "TablesLoaded": report.tables_loaded,
        "TablesLoading": report.tables_loading,
        "TablesQueued": report.tables_queued,
        "TablesErrored": report.tables_errored,
        "FreshStartDate": task.get("_fresh_start"),
        "StartDate": started,
        "StopDate": stopped,
        "FullLoadStartDate": _seconds(report.full_load_started_at),
        "FullLoadFinishDate": _seconds(report.full_load_finished_at),
    }


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


def shown_statistics(table: TableStatistics) -> dict[str, Any]:
    """Return one row of DescribeTableStatistics."""
    shown: dict[str, Any] = {
        "".join(part.capitalize() for part in field.name.split("_")): getattr(table, field.name)
        for field in dataclasses.fields(table)
    }
    return shown | {
        "FullLoadCondtnlChkFailedRows": 0,
        "ValidationPendingRecords": 0,
        "ValidationFailedRecords": 0,
        "ValidationSuspendedRecords": 0,
        "ValidationState": "Not enabled",
    }
