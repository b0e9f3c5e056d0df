"""Which replication slot a DMS task reads, as far as DMS tells: the name its source endpoint was given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import ReplicationError
from cdc_platform.reconcile.capture_slot import TaskSlot
from cdc_platform.replication.client import dms_errors
from cdc_platform.replication.task_state import TaskState, position_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dms import DatabaseMigrationServiceClient
    from mypy_boto3_dms.type_defs import FilterTypeDef


def task_slot(client: DatabaseMigrationServiceClient, state: TaskState) -> TaskSlot | str:
    """Return the slot the task's source endpoint names, or why none is known: one call."""
    by_arn: FilterTypeDef = {"Name": "endpoint-arn", "Values": [state.document["SourceEndpointArn"]]}
    try:
        with dms_errors(f"source endpoint of task {state.identifier}"):
            found = client.describe_endpoints(Filters=[by_arn])["Endpoints"]
    except ReplicationError as error:
        return error.what
    name = _slot_name(found[0]) if found else ""
    if not name:
        return "the source endpoint names none (SlotName)"
    started = state.document.get("ReplicationTaskStats", {}).get("StartDate")
    run = started.astimezone(UTC).isoformat() if isinstance(started, datetime) else ""
    return TaskSlot(name, run, position_of(state.checkpoint) if state.checkpoint else None)


def _slot_name(endpoint: Mapping[str, Any]) -> str:
    """Return the slot's name from the endpoint's settings, or its extra connection attributes.

    >>> _slot_name({"ExtraConnectionAttributes": "captureDDLs=N;slotName=retail;"})
    'retail'
    """
    named = endpoint.get("PostgreSQLSettings", {}).get("SlotName")
    pairs = (one.partition("=") for one in endpoint.get("ExtraConnectionAttributes", "").split(";"))
    extra = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return str(named or extra.get("slotname", ""))
