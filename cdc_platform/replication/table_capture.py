"""What a DMS task says of one table: whether it captures it, and since when without a break."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.reconcile.table_capture import TableCapture
from cdc_platform.replication.task_slot import task_slot
from cdc_platform.replication.task_state import TaskState, describe_task, statistics_of

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

    from cdc_platform.config.model import TableConfig

_CAPTURED = "Table completed"
# a task that loads nothing need not have seen a table before its first change
_OF_CHANGES_ALONE = ("", "Before load", _CAPTURED)


def table_capture(
    client: DatabaseMigrationServiceClient, task: str, table: TableConfig, *, with_slot: bool = False
) -> TableCapture:
    """Ask DMS for the task and the table's statistics, ``with_slot`` for the source endpoint: a call each.

    Raises ReplicationError.
    """
    state = describe_task(client, task)
    found = statistics_of(client, state, table.schema_name, table.table_name)
    told = found.table_state if found is not None else ""
    slot = task_slot(client, state) if with_slot else ""
    return TableCapture(doubt=_doubt(state, told), begun=_begun(state), slot=slot, halted=_halted(state))


def _halted(state: TaskState) -> str:
    return f"the DMS task {state.identifier} is {state.status} ({state.why_ended})" if state.has_ended else ""


def _doubt(state: TaskState, told: str) -> str:
    if told == _CAPTURED or (state.migration_type == "cdc" and told in _OF_CHANGES_ALONE):
        return ""
    if not told:
        return f"the DMS task {state.identifier} has no such table, so its changes are not captured"
    return f"DMS says {told!r} of the table, so its changes are not captured (task {state.identifier})"


def _begun(state: TaskState) -> str:
    """Return what is another one once the task is made anew, or begun anew and not resumed."""
    document = state.document
    fresh = document.get("ReplicationTaskStats", {}).get("FreshStartDate")
    made = _instant(document.get("ReplicationTaskCreationDate"))
    return f"task {state.arn}, made {made}, begun anew {_instant(fresh)}"


def _instant(value: Any) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else "at an unknown time"
