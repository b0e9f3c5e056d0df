"""What DMS tells of a task, as values: its state, its table statistics, its checkpoint's log position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import ReplicationError, TaskFailed, redact
from cdc_platform.lsn import find_lsn, lsn_text
from cdc_platform.replication.client import dms_errors, is_not_found

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient
    from mypy_boto3_dms.type_defs import FilterTypeDef

STOP_REASON_HEAD = "Stop Reason "

#: A task that stopped for one of these did what it was asked to.
GOOD_STOP_REASONS = frozenset(
    {
        "NORMAL",
        "FULL_LOAD_ONLY_FINISHED",
        "STOPPED_AFTER_FULL_LOAD",
        "STOPPED_AFTER_CACHED_EVENTS",
        "STOPPED_AT_SERVER_TIME",
        "STOPPED_AT_COMMIT_TIME",
    }
)
LIVE = frozenset({"starting", "running", "stopping"})
ENDED = frozenset({"failed", "stopped"})
_STATISTICS_PAGE = 500


@dataclass(frozen=True, slots=True)
class TaskState:
    """A replication task as last described."""

    identifier: str
    arn: str
    status: str
    migration_type: str
    stop_reason: str | None
    failure: str | None
    checkpoint: str | None
    tables_loaded: int
    tables_loading: int
    tables_queued: int
    tables_errored: int
    full_load_percent: int
    document: Mapping[str, Any]

    @property
    def has_run(self) -> bool:
        """Whether the task was ever started."""
        return self.status not in ("creating", "ready")

    @property
    def is_live(self) -> bool:
        """Whether it is starting, running or stopping."""
        return self.status in LIVE

    @property
    def has_ended(self) -> bool:
        """Whether it ran and reads the log no more until somebody resumes it."""
        return self.status in ENDED

    @property
    def why_ended(self) -> str:
        """DMS's reason for its end, as a word such as ``NORMAL``."""
        return redact((self.stop_reason or "").removeprefix(STOP_REASON_HEAD)) or "no reason given"


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """What DMS counts of one table since the task's last fresh start."""

    schema_name: str
    table_name: str
    table_state: str
    inserts: int
    updates: int
    deletes: int
    ddls: int
    full_load_rows: int
    full_load_error_rows: int
    is_reloaded: bool
    loaded_at: datetime | None
    refreshed_at: datetime | None

    @property
    def is_loaded(self) -> bool:
        """Whether the table's full load is complete."""
        return self.table_state == "Table completed"

    @property
    def is_in_error(self) -> bool:
        """Whether DMS suspended the table: its changes are no longer written."""
        return self.table_state == "Table error"


def find_task(client: DatabaseMigrationServiceClient, task: str) -> TaskState | None:
    """Return the task of that identifier, None when there is none. Raises ReplicationError."""
    from botocore.exceptions import ClientError

    with dms_errors(f"task {task}"):
        try:
            found = client.describe_replication_tasks(
                Filters=[{"Name": "replication-task-id", "Values": [task]}]
            )["ReplicationTasks"]
        except ClientError as fault:
            if is_not_found(fault):
                return None
            raise
    return _task_state(found[0]) if found else None


def describe_task(client: DatabaseMigrationServiceClient, task: str) -> TaskState:
    """Return the task of that identifier. Raises ReplicationError when there is none."""
    found = find_task(client, task)
    if found is None:
        raise ReplicationError("DMS has no such task", where=f"task {task}", mend="make it: cdc replicate")
    return found


def _task_state(document: Mapping[str, Any]) -> TaskState:
    statistics = document.get("ReplicationTaskStats", {})
    return TaskState(
        identifier=document["ReplicationTaskIdentifier"],
        arn=document["ReplicationTaskArn"],
        status=document["Status"],
        migration_type=document["MigrationType"],
        stop_reason=document.get("StopReason") or None,
        failure=document.get("LastFailureMessage") or None,
        checkpoint=document.get("RecoveryCheckpoint") or None,
        tables_loaded=statistics.get("TablesLoaded", 0),
        tables_loading=statistics.get("TablesLoading", 0),
        tables_queued=statistics.get("TablesQueued", 0),
        tables_errored=statistics.get("TablesErrored", 0),
        full_load_percent=statistics.get("FullLoadProgressPercent", 0),
        document=document,
    )


def require_success(state: TaskState) -> TaskState:
    """Return the state of a task that ended well. ``stopped`` alone is not success.

    Raises TaskFailed when it failed, stopped for a bad reason, or has tables in error.
    """
    where = f"task {state.identifier}"
    reason = state.why_ended
    if state.status == "failed":
        what = f"the task failed ({reason}): {state.failure or 'DMS gave no message'}"
        raise TaskFailed(what, where=where, mend="mend the cause, then resume or reload the task")
    if state.status == "stopped" and reason not in GOOD_STOP_REASONS:
        what = f"the task stopped for a bad reason: {reason}"
        raise TaskFailed(what, where=where, mend="read its log, then resume it")
    if state.tables_errored:
        what = f"tables in error, whose changes are not written: {state.tables_errored}"
        raise TaskFailed(
            what, where=where, mend="see the table statistics, mend the cause, reload the tables"
        )
    return state


def table_statistics(client: DatabaseMigrationServiceClient, task: str) -> list[TableStatistics]:
    """Return the statistics of every table of the task, by schema and name."""
    arn = describe_task(client, task).arn
    rows: list[TableStatistics] = []
    with dms_errors(f"task {task}"):
        pages = client.get_paginator("describe_table_statistics").paginate(
            ReplicationTaskArn=arn, PaginationConfig={"PageSize": _STATISTICS_PAGE}
        )
        for page in pages:
            rows.extend(_statistics(row) for row in page["TableStatistics"])
    return sorted(rows, key=lambda row: (row.schema_name, row.table_name))


def statistics_of(
    client: DatabaseMigrationServiceClient, state: TaskState, schema: str, table: str
) -> TableStatistics | None:
    """Return the statistics of one table of the task, None when it has no such table: one call."""
    named: list[FilterTypeDef] = [
        {"Name": "schema-name", "Values": [schema]},
        {"Name": "table-name", "Values": [table]},
    ]
    with dms_errors(f"task {state.identifier}"):
        found = client.describe_table_statistics(ReplicationTaskArn=state.arn, Filters=named)
    rows = (_statistics(row) for row in found["TableStatistics"])
    return next((one for one in rows if (one.schema_name, one.table_name) == (schema, table)), None)


def _statistics(row: Mapping[str, Any]) -> TableStatistics:
    return TableStatistics(
        schema_name=row["SchemaName"],
        table_name=row["TableName"],
        table_state=row.get("TableState", ""),
        inserts=row.get("Inserts", 0),
        updates=row.get("Updates", 0),
        deletes=row.get("Deletes", 0),
        ddls=row.get("Ddls", 0),
        full_load_rows=row.get("FullLoadRows", 0),
        full_load_error_rows=row.get("FullLoadErrorRows", 0),
        is_reloaded=row.get("FullLoadReloaded", False),
        loaded_at=row.get("FullLoadEndTime"),
        refreshed_at=row.get("LastUpdateTime"),
    )


def captured_position(client: DatabaseMigrationServiceClient, task: str) -> str | None:
    """Return the log position up to which the task's changes are in visible files, as an LSN.

    None when the task has no checkpoint yet, or its engine's checkpoint is not an LSN.
    """
    checkpoint = describe_task(client, task).checkpoint
    return position_of(checkpoint) if checkpoint is not None else None


def position_of(checkpoint: str) -> str | None:
    """Return the LSN inside a PostgreSQL checkpoint, None for another engine's.

    >>> position_of("checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#0")
    '4AF/B00000D0'
    """
    fields = checkpoint.removeprefix("checkpoint:").split("#")
    found = find_lsn(fields[2]) if len(fields) > 2 else None
    return lsn_text(found) if found is not None else None
