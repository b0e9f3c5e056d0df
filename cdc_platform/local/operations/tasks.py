"""Replication tasks as objects: create, describe, modify, delete, move. Their runs: task_runs.py."""

from __future__ import annotations

import json
import time
from typing import Any

from cdc_platform.local.api_errors import invalid_combination, invalid_state, invalid_value, not_found
from cdc_platform.local.api_mappings import checked_mappings
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.api_task_settings import checked_task_settings
from cdc_platform.local.context import (
    Call,
    Context,
    check_identifier,
    check_unused,
    new_arn,
    record_event,
)
from cdc_platform.local.operations.endpoints import require_endpoint
from cdc_platform.local.operations.instances import require_instance
from cdc_platform.local.positions import check_start_position, check_stop_position
from cdc_platform.local.store import ORDER, Document
from cdc_platform.local.task_view import shown_task

TASK = "task"
_POSITIONS = ("CdcStartPosition", "CdcStopPosition", "TaskData")
_FIELDS = {
    "replication-task-arn": lambda task: task["ReplicationTaskArn"],
    "replication-task-id": lambda task: task["ReplicationTaskIdentifier"],
    "migration-type": lambda task: task["MigrationType"],
    "endpoint-arn": lambda task: (task["SourceEndpointArn"], task["TargetEndpointArn"]),
    "replication-instance-arn": lambda task: task["ReplicationInstanceArn"],
}


def create(context: Context, call: Call) -> dict[str, Any]:
    """CreateReplicationTask."""
    request = call.request
    name = check_identifier(request["ReplicationTaskIdentifier"], 255, "ReplicationTaskIdentifier")
    arn = new_arn(call, "task")
    check_unused(context, TASK, arn, "ReplicationTaskIdentifier", name)
    require_instance(context, request["ReplicationInstanceArn"])
    _require_end(context, request["SourceEndpointArn"], "source")
    _require_end(context, request["TargetEndpointArn"], "target")
    checked_mappings(request["TableMappings"])
    _check_positions(request)
    task: Document = {
        "ReplicationTaskIdentifier": name,
        "ReplicationTaskArn": arn,
        "SourceEndpointArn": request["SourceEndpointArn"],
        "TargetEndpointArn": request["TargetEndpointArn"],
        "ReplicationInstanceArn": request["ReplicationInstanceArn"],
        "MigrationType": request["MigrationType"],
        "TableMappings": request["TableMappings"],
        "ReplicationTaskSettings": json.dumps(checked_task_settings(request.get("ReplicationTaskSettings"))),
        "ReplicationTaskCreationDate": time.time(),
        "_runs": 0,
    }
    _keep_positions(task, request)
    context.store.put(TASK, arn, task)
    context.store.put("tags", arn, {"tags": request.get("Tags", [])})
    record_event(context, "replication-task", name, "creation", "Replication task created")
    return {"ReplicationTask": shown_task(task, None) | {"Status": "creating"}}


def describe(context: Context, call: Call) -> dict[str, Any]:
    """DescribeReplicationTasks."""
    filters = call.request.get("Filters")
    found = matching(filters, context.store.all(TASK), _FIELDS)
    if filters and not found:
        raise not_found("No Tasks found matching given filter")
    tasks, marker = page(call.request, found, lambda task: task[ORDER])
    bare = call.request.get("WithoutSettings", False)
    shown = [shown_task(task, context.runs.report(task), without_settings=bare) for task in tasks]
    return {"ReplicationTasks": shown, "Marker": marker}


def modify(context: Context, call: Call) -> dict[str, Any]:
    """ModifyReplicationTask; refused under a live run."""
    request = call.request
    task = require_task(context, request["ReplicationTaskArn"])
    _refuse_live(context, task, "modified")
    renamed = request.get("ReplicationTaskIdentifier")
    if renamed is not None and renamed.lower() != task["ReplicationTaskIdentifier"].lower():
        check_identifier(renamed, 255, "ReplicationTaskIdentifier")
        check_unused(context, TASK, "", "ReplicationTaskIdentifier", renamed)
    task["ReplicationTaskIdentifier"] = renamed or task["ReplicationTaskIdentifier"]
    if "TableMappings" in request:
        checked_mappings(request["TableMappings"])
        task["TableMappings"] = request["TableMappings"]
    if "ReplicationTaskSettings" in request:
        before = json.loads(task["ReplicationTaskSettings"])
        settings = checked_task_settings(request["ReplicationTaskSettings"], before)
        task["ReplicationTaskSettings"] = json.dumps(settings)
    task["MigrationType"] = request.get("MigrationType", task["MigrationType"])
    _check_positions(request)
    _keep_positions(task, request)
    context.store.put(TASK, task["ReplicationTaskArn"], task)
    shown = shown_task(task, context.runs.report(task))
    return {"ReplicationTask": shown | {"Status": "modifying"}}


def delete(context: Context, call: Call) -> dict[str, Any]:
    """DeleteReplicationTask; refused under a live run. Its checkpoint goes with it."""
    task = require_task(context, call.request["ReplicationTaskArn"])
    _refuse_live(context, task, "deleted")
    shown = shown_task(task, context.runs.report(task)) | {"Status": "deleting"}
    left = context.runs.forget(task)
    context.store.delete(TASK, task["ReplicationTaskArn"])
    context.store.delete("tags", task["ReplicationTaskArn"])
    name = task["ReplicationTaskIdentifier"]
    record_event(context, "replication-task", name, "deletion", "Replication task deleted")
    if left is not None:
        record_event(
            context, "replication-task", name, "failure", f"Replication task clean-up failed: {left}"
        )
    return {"ReplicationTask": shown}


def move(context: Context, call: Call) -> dict[str, Any]:
    """MoveReplicationTask: to another instance; refused under a live run."""
    task = require_task(context, call.request["ReplicationTaskArn"])
    target = require_instance(context, call.request["TargetReplicationInstanceArn"])
    _refuse_live(context, task, "moved")
    if target["ReplicationInstanceArn"] == task["ReplicationInstanceArn"]:
        raise invalid_value("The task is on that replication instance already")
    task["ReplicationInstanceArn"] = target["ReplicationInstanceArn"]
    context.store.put(TASK, task["ReplicationTaskArn"], task)
    return {"ReplicationTask": shown_task(task, context.runs.report(task)) | {"Status": "moving"}}


def require_task(context: Context, arn: str) -> Document:
    """Return the task, or raise ApiError."""
    task = context.store.get(TASK, arn)
    if task is None:
        raise not_found(f"Replication task not found: {arn}")
    return task


def _require_end(context: Context, arn: str, kind: str) -> None:
    endpoint = require_endpoint(context, arn)
    if endpoint["EndpointType"] != kind:
        raise invalid_value(f"Endpoint {endpoint['EndpointIdentifier']} is not a {kind} endpoint")


def _refuse_live(context: Context, task: Document, done: str) -> None:
    report = context.runs.report(task)
    if report is not None and context.runs.is_live(task):
        raise invalid_state(
            f"Replication Task {task['ReplicationTaskIdentifier']} is currently {report.status.value} "
            f"and can't be {done}; stop it first"
        )


def _check_positions(request: dict[str, Any]) -> None:
    if "CdcStartTime" in request and "CdcStartPosition" in request:
        raise invalid_combination("Give either CdcStartTime or CdcStartPosition, not both")
    if "CdcStartTime" in request:
        raise invalid_combination(
            "CdcStartTime is not supported by a PostgreSQL source; give CdcStartPosition"
        )
    if request.get("CdcStartPosition"):
        check_start_position(request["CdcStartPosition"])
    if request.get("CdcStopPosition"):
        check_stop_position(request["CdcStopPosition"])


def _keep_positions(task: Document, request: dict[str, Any]) -> None:
    task |= {name: request[name] for name in _POSITIONS if name in request}
