"""Replication instances: they hold tasks and do nothing else here; available as soon as looked at."""

from __future__ import annotations

import time
from typing import Any

from cdc_platform.local.api_errors import invalid_state, invalid_value, not_found
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.context import (
    Call,
    Context,
    check_identifier,
    check_unused,
    new_arn,
    record_event,
)
from cdc_platform.local.operations.subnet_groups import require_subnet_group
from cdc_platform.local.store import ORDER, Document

INSTANCE = "instance"
ENGINE_VERSION = "3.6.1"
_AT_MAINTENANCE = ("ReplicationInstanceClass", "AllocatedStorage", "MultiAZ", "EngineVersion", "NetworkType")
_AT_ONCE = ("PreferredMaintenanceWindow", "AutoMinorVersionUpgrade")
_FIELDS = {
    "replication-instance-arn": lambda instance: instance["ReplicationInstanceArn"],
    "replication-instance-id": lambda instance: instance["ReplicationInstanceIdentifier"],
    "replication-instance-class": lambda instance: instance["ReplicationInstanceClass"],
    "engine-version": lambda instance: instance["EngineVersion"],
}


def create(context: Context, call: Call) -> dict[str, Any]:
    """CreateReplicationInstance."""
    request = call.request
    identifier = check_identifier(
        request["ReplicationInstanceIdentifier"].lower(), 63, "ReplicationInstanceIdentifier"
    )
    arn = new_arn(call, "rep")
    check_unused(context, INSTANCE, arn, "ReplicationInstanceIdentifier", identifier)
    instance: Document = {
        "ReplicationInstanceIdentifier": identifier,
        "ReplicationInstanceArn": arn,
        "ReplicationInstanceClass": _checked_class(request["ReplicationInstanceClass"]),
        "ReplicationInstanceStatus": "available",
        "AllocatedStorage": request.get("AllocatedStorage", 50),
        "InstanceCreateTime": time.time(),
        "AvailabilityZone": request.get("AvailabilityZone", f"{call.region}a"),
        "PreferredMaintenanceWindow": request.get("PreferredMaintenanceWindow", "sun:03:00-sun:03:30"),
        "MultiAZ": request.get("MultiAZ", False),
        "EngineVersion": request.get("EngineVersion", ENGINE_VERSION),
        "AutoMinorVersionUpgrade": request.get("AutoMinorVersionUpgrade", True),
        "PubliclyAccessible": request.get("PubliclyAccessible", True),
        "NetworkType": request.get("NetworkType", "IPV4"),
        "ReplicationInstancePrivateIpAddress": "127.0.0.1",
        "ReplicationInstancePrivateIpAddresses": ["127.0.0.1"],
        "VpcSecurityGroups": [
            {"VpcSecurityGroupId": group, "Status": "active"}
            for group in request.get("VpcSecurityGroupIds", [])
        ],
        "PendingModifiedValues": {},
    }
    group = request.get("ReplicationSubnetGroupIdentifier")
    if group is not None:
        instance["ReplicationSubnetGroup"] = require_subnet_group(context, group)
    context.store.put(INSTANCE, arn, instance)
    context.store.put("tags", arn, {"tags": request.get("Tags", [])})
    record_event(context, "replication-instance", identifier, "creation", "Replication instance created")
    return {"ReplicationInstance": instance | {"ReplicationInstanceStatus": "creating"}}


def _checked_class(name: str) -> str:
    if not name.startswith("dms."):
        raise invalid_value(f"Invalid replication instance class {name!r}; use one such as dms.t3.medium")
    return name


def describe(context: Context, call: Call) -> dict[str, Any]:
    """DescribeReplicationInstances."""
    filters = call.request.get("Filters")
    found = matching(filters, context.store.all(INSTANCE), _FIELDS)
    if filters and not found:
        raise not_found("No replication instances found matching given filter")
    instances, marker = page(call.request, found, lambda instance: instance[ORDER])
    return {"ReplicationInstances": instances, "Marker": marker}


def modify(context: Context, call: Call) -> dict[str, Any]:
    """ModifyReplicationInstance; without ApplyImmediately, sizes stay pending (there is no maintenance)."""
    request = call.request
    instance = require_instance(context, request["ReplicationInstanceArn"])
    renamed = request.get("ReplicationInstanceIdentifier", "").lower()
    if renamed and renamed != instance["ReplicationInstanceIdentifier"]:
        check_identifier(renamed, 63, "ReplicationInstanceIdentifier")
        check_unused(context, INSTANCE, "", "ReplicationInstanceIdentifier", renamed)
        instance["ReplicationInstanceIdentifier"] = renamed
    if "ReplicationInstanceClass" in request:
        _checked_class(request["ReplicationInstanceClass"])
    later = {name: request[name] for name in _AT_MAINTENANCE if name in request}
    instance |= {name: request[name] for name in _AT_ONCE if name in request}
    if request.get("ApplyImmediately", False):
        instance |= later
        instance["PendingModifiedValues"] = {}
    else:
        instance["PendingModifiedValues"] |= later
    if "VpcSecurityGroupIds" in request:
        groups = request["VpcSecurityGroupIds"]
        instance["VpcSecurityGroups"] = [{"VpcSecurityGroupId": g, "Status": "active"} for g in groups]
    context.store.put(INSTANCE, instance["ReplicationInstanceArn"], instance)
    return {"ReplicationInstance": instance}


def delete(context: Context, call: Call) -> dict[str, Any]:
    """DeleteReplicationInstance; refused while it has tasks."""
    instance = require_instance(context, call.request["ReplicationInstanceArn"])
    arn = instance["ReplicationInstanceArn"]
    tasks = [task for task in context.store.all("task") if task["ReplicationInstanceArn"] == arn]
    if tasks:
        raise invalid_state(
            f"Replication instance {instance['ReplicationInstanceIdentifier']} can't be deleted because it "
            "has one or more tasks attached; delete its tasks first"
        )
    context.store.delete(INSTANCE, arn)
    context.store.delete("tags", arn)
    for connection in context.store.all("connection"):
        if connection["ReplicationInstanceArn"] == arn:
            context.store.delete("connection", f"{connection['EndpointArn']} {arn}")
    name = instance["ReplicationInstanceIdentifier"]
    record_event(context, "replication-instance", name, "deletion", "Replication instance deleted")
    return {"ReplicationInstance": instance | {"ReplicationInstanceStatus": "deleting"}}


def require_instance(context: Context, arn: str) -> Document:
    """Return the instance, or raise ApiError."""
    instance = context.store.get(INSTANCE, arn)
    if instance is None:
        raise not_found(f"Replication instance not found: {arn}")
    return instance
