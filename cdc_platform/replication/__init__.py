"""Replicating a source by AWS DMS: plan its DMS objects, make them, run the task, read what it tells."""

from __future__ import annotations

from cdc_platform.replication.apply import ReplicationObjects, apply_replication
from cdc_platform.replication.checkpoints import Checkpoint, last_checkpoint, record_checkpoint
from cdc_platform.replication.client import dms_client
from cdc_platform.replication.plan import (
    EndpointPlan,
    ReplicationPlan,
    TaskPlan,
    plan_replication,
    task_identifier,
)
from cdc_platform.replication.run import raw_root_of, start, stop, wait_until
from cdc_platform.replication.table_capture import table_capture
from cdc_platform.replication.task_state import (
    TableStatistics,
    TaskState,
    captured_position,
    describe_task,
    find_task,
    position_of,
    require_success,
    statistics_of,
    table_statistics,
)

__all__ = [
    "Checkpoint",
    "EndpointPlan",
    "ReplicationObjects",
    "ReplicationPlan",
    "TableStatistics",
    "TaskPlan",
    "TaskState",
    "apply_replication",
    "captured_position",
    "describe_task",
    "dms_client",
    "find_task",
    "last_checkpoint",
    "plan_replication",
    "position_of",
    "raw_root_of",
    "record_checkpoint",
    "require_success",
    "start",
    "statistics_of",
    "stop",
    "table_capture",
    "table_statistics",
    "task_identifier",
    "wait_until",
]
