"""Starting and stopping tasks, their table statistics, and reloads."""

from __future__ import annotations

import time
from typing import Any

from cdc_platform.local.api_errors import invalid_combination, invalid_state, invalid_value, not_found
from cdc_platform.local.api_paging import Limits, matching, page
from cdc_platform.local.context import Call, Context, record_event
from cdc_platform.local.contract import StartRequest, StartType, TableStatistics, TaskStatus
from cdc_platform.local.operations.connections import require_tested
from cdc_platform.local.operations.tasks import require_task
from cdc_platform.local.positions import check_start_position, check_stop_position
from cdc_platform.local.store import Document
from cdc_platform.local.task_view import shown_statistics, shown_task

_MOST_RELOADS = 10
_STATISTICS_FIELDS = {
    "schema-name": lambda table: table.schema_name,
    "table-name": lambda table: table.table_name,
    "table-state": lambda table: table.table_state,
}


def start(context: Context, call: Call) -> dict[str, Any]:
    """StartReplicationTask."""
    request = call.request
    task = require_task(context, request["ReplicationTaskArn"])
    report = context.runs.report(task)
    if report is not None and context.runs.is_live(task):
        raise invalid_state(f"Replication Task cannot be started, its status is {report.status.value}")
    for end in ("SourceEndpointArn", "TargetEndpointArn"):
        require_tested(context, task["ReplicationInstanceArn"], task[end])
    start_type = StartType(request["StartReplicationTaskType"])
    _check_start_type(task, start_type)
    if not task.get("_has_run", False):
        # its first start was refused before anything was read: whatever is asked now is its first run
        start_type = StartType.START
    run_request = _start_request(task, request, start_type)
    if start_type != StartType.RESUME:
        task["_fresh_start"] = time.time()
    task |= {name: request[name] for name in ("CdcStartPosition", "CdcStopPosition") if name in request}
    context.runs.start(task, run_request)
    name = task["ReplicationTaskIdentifier"]
    record_event(context, "replication-task", name, "state change", "Replication task started")
    return {"ReplicationTask": shown_task(task, context.runs.report(task)) | {"Status": "starting"}}


def _check_start_type(task: Document, start_type: StartType) -> None:
    """Only a change-capture task may start afresh again: from another position."""
    has_run = task.get("_has_run", False)
    if start_type == StartType.START and has_run and task["MigrationType"] != "cdc":
        raise invalid_combination(
            "Start Type : START_REPLICATION, valid only for tasks running for the first time"
        )
    if start_type != StartType.START and not task.get("_runs"):
        raise invalid_combination(
            f"Start Type : {start_type.value}, not valid for tasks running for the first time; "
            "use start-replication"
        )
    if start_type == StartType.RELOAD and task["MigrationType"] == "cdc":
        raise invalid_combination("Start Type : reload-target, not valid for tasks of migration type cdc")


def _start_request(task: Document, request: dict[str, Any], start_type: StartType) -> StartRequest:
    if "CdcStartTime" in request and "CdcStartPosition" in request:
        raise invalid_combination("Give either CdcStartTime or CdcStartPosition, not both")
    if "CdcStartTime" in request:
        raise invalid_combination(
            "CdcStartTime is not supported by a PostgreSQL source; give CdcStartPosition"
        )
    stop_at = request.get("CdcStopPosition")
    if stop_at:
        check_stop_position(stop_at)
    start_at = request.get("CdcStartPosition")
    if start_at and start_type == StartType.RESUME:
        raise invalid_combination("CdcStartPosition goes with start-replication; a resume knows its position")
    if start_at and task["MigrationType"] != "cdc":
        raise invalid_combination("CdcStartPosition is for tasks of migration type cdc only")
    if start_at:
        check_start_position(start_at)
    is_fresh_capture = start_type == StartType.START and task["MigrationType"] == "cdc"
    return StartRequest(
        start_type,
        cdc_start_position=(start_at or task.get("CdcStartPosition")) if is_fresh_capture else None,
        cdc_stop_position=stop_at or task.get("CdcStopPosition"),
    )


def stop(context: Context, call: Call) -> dict[str, Any]:
    """StopReplicationTask: the run flushes what it holds and ends."""
    task = require_task(context, call.request["ReplicationTaskArn"])
    report = context.runs.report(task)
    if report is None or report.status not in (TaskStatus.STARTING, TaskStatus.RUNNING):
        status = report.status.value if report else "ready"
        raise invalid_state(f"Replication Task cannot be stopped, its status is {status}; it must be running")
    shown = shown_task(task, report) | {"Status": "stopping", "StopReason": None}
    context.runs.stop(task)
    return {"ReplicationTask": shown}


def describe_statistics(context: Context, call: Call) -> dict[str, Any]:
    """DescribeTableStatistics."""
    task = require_task(context, call.request["ReplicationTaskArn"])
    report = context.runs.report(task)
    tables = sorted(report.tables if report else [], key=_table_key)
    found = matching(call.request.get("Filters"), tables, _STATISTICS_FIELDS)
    chosen, marker = page(call.request, found, _table_key, Limits(high=500))
    return {
        "ReplicationTaskArn": task["ReplicationTaskArn"],
        "TableStatistics": [shown_statistics(table) for table in chosen],
        "Marker": marker,
    }


def _table_key(table: TableStatistics) -> str:
    return f"{table.schema_name}\0{table.table_name}"


def reload(context: Context, call: Call) -> dict[str, Any]:
    """ReloadTables: only of a running task that loads."""
    request = call.request
    task = require_task(context, request["ReplicationTaskArn"])
    report = context.runs.report(task)
    if report is None or report.status != TaskStatus.RUNNING:
        raise invalid_state("ReloadTables needs a running task")
    if task["MigrationType"] == "cdc":
        raise invalid_state("ReloadTables is for tasks of migration type full-load or full-load-and-cdc")
    if request.get("ReloadOption", "data-reload") != "data-reload":
        raise invalid_value("ReloadOption validate-only applies only when validation is enabled for the task")
    tables = [(table["SchemaName"], table["TableName"]) for table in request["TablesToReload"]]
    if not 1 <= len(tables) <= _MOST_RELOADS:
        raise invalid_value(f"TablesToReload has {len(tables)} tables; 1 to {_MOST_RELOADS} at a time")
    known = {(table.schema_name, table.table_name) for table in report.tables}
    for schema, table in tables:
        if (schema, table) not in known:
            raise not_found(f"Table {schema}.{table} is not part of the task")
    context.runs.reload(task, tables)
    name = task["ReplicationTaskIdentifier"]
    record_event(context, "replication-task", name, "configuration change", "Reload of tables requested")
    return {"ReplicationTaskArn": task["ReplicationTaskArn"]}
