"""The operations of the DMS API that the local endpoint carries out, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc_platform.local.context import Call, Context
from cdc_platform.local.operations import (
    account,
    connections,
    endpoints,
    instances,
    subnet_groups,
    tags,
    task_runs,
    tasks,
)

Handler = Callable[[Context, Call], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """How an operation is carried out; ``is_exclusive`` ones hold the endpoint's lock."""

    handler: Handler
    is_exclusive: bool = True


OPERATIONS: Mapping[str, Operation] = {
    "CreateReplicationInstance": Operation(instances.create),
    "DescribeReplicationInstances": Operation(instances.describe),
    "ModifyReplicationInstance": Operation(instances.modify),
    "DeleteReplicationInstance": Operation(instances.delete),
    "CreateReplicationSubnetGroup": Operation(subnet_groups.create),
    "DescribeReplicationSubnetGroups": Operation(subnet_groups.describe),
    "ModifyReplicationSubnetGroup": Operation(subnet_groups.modify),
    "DeleteReplicationSubnetGroup": Operation(subnet_groups.delete),
    "CreateEndpoint": Operation(endpoints.create),
    "DescribeEndpoints": Operation(endpoints.describe),
    "ModifyEndpoint": Operation(endpoints.modify),
    "DeleteEndpoint": Operation(endpoints.delete),
    "TestConnection": Operation(connections.test),
    # waits for tests under way, which need the lock to end
    "DescribeConnections": Operation(connections.describe, is_exclusive=False),
    "DeleteConnection": Operation(connections.delete),
    "CreateReplicationTask": Operation(tasks.create),
    "DescribeReplicationTasks": Operation(tasks.describe),
    "ModifyReplicationTask": Operation(tasks.modify),
    "DeleteReplicationTask": Operation(tasks.delete),
    "MoveReplicationTask": Operation(tasks.move),
    "StartReplicationTask": Operation(task_runs.start),
    "StopReplicationTask": Operation(task_runs.stop),
    "DescribeTableStatistics": Operation(task_runs.describe_statistics),
    "ReloadTables": Operation(task_runs.reload),
    "AddTagsToResource": Operation(tags.add),
    "ListTagsForResource": Operation(tags.list_tags),
    "RemoveTagsFromResource": Operation(tags.remove),
    "DescribeAccountAttributes": Operation(account.attributes),
    "DescribeEvents": Operation(account.events),
}
