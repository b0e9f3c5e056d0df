"""Replication subnet groups: kept and told again; nothing here has a network."""

from __future__ import annotations

from typing import Any

from cdc_platform.local.api_errors import ApiError, invalid_state, not_found
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.context import Call, Context, check_identifier, check_unused
from cdc_platform.local.store import ORDER, Document

SUBNET_GROUP = "subnet-group"
_FIELDS = {"replication-subnet-group-id": lambda group: group["ReplicationSubnetGroupIdentifier"]}


def create(context: Context, call: Call) -> dict[str, Any]:
    """CreateReplicationSubnetGroup."""
    request = call.request
    name = request["ReplicationSubnetGroupIdentifier"].lower()
    check_identifier(name, 255, "ReplicationSubnetGroupIdentifier")
    check_unused(context, SUBNET_GROUP, "", "ReplicationSubnetGroupIdentifier", name)
    group: Document = {
        "ReplicationSubnetGroupIdentifier": name,
        "ReplicationSubnetGroupDescription": request["ReplicationSubnetGroupDescription"],
        "VpcId": "vpc-local",
        "SubnetGroupStatus": "Complete",
        "Subnets": _subnets(call),
        "SupportedNetworkTypes": ["IPV4"],
    }
    context.store.put(SUBNET_GROUP, name, group)
    return {"ReplicationSubnetGroup": group}


def describe(context: Context, call: Call) -> dict[str, Any]:
    """DescribeReplicationSubnetGroups."""
    filters = call.request.get("Filters")
    found = matching(filters, context.store.all(SUBNET_GROUP), _FIELDS)
    if filters and not found:
        raise not_found("No replication subnet groups found matching given filter")
    groups, marker = page(call.request, found, lambda group: group[ORDER])
    return {"ReplicationSubnetGroups": groups, "Marker": marker}


def modify(context: Context, call: Call) -> dict[str, Any]:
    """ModifyReplicationSubnetGroup."""
    group = require_subnet_group(context, call.request["ReplicationSubnetGroupIdentifier"])
    group["Subnets"] = _subnets(call)
    described = call.request.get("ReplicationSubnetGroupDescription")
    if described is not None:
        group["ReplicationSubnetGroupDescription"] = described
    context.store.put(SUBNET_GROUP, group["ReplicationSubnetGroupIdentifier"], group)
    return {"ReplicationSubnetGroup": group}


def delete(context: Context, call: Call) -> dict[str, Any]:
    """DeleteReplicationSubnetGroup; refused while an instance is in it."""
    name = require_subnet_group(context, call.request["ReplicationSubnetGroupIdentifier"])[
        "ReplicationSubnetGroupIdentifier"
    ]
    for instance in context.store.all("instance"):
        if instance.get("ReplicationSubnetGroup", {}).get("ReplicationSubnetGroupIdentifier") == name:
            raise invalid_state(
                f"The subnet group {name} is used by {instance['ReplicationInstanceIdentifier']}"
            )
    context.store.delete(SUBNET_GROUP, name)
    return {}


def require_subnet_group(context: Context, name: str) -> Document:
    """Return the group, or raise ApiError."""
    group = context.store.get(SUBNET_GROUP, name.lower())
    if group is None:
        raise not_found(f"Replication subnet group not found: {name}")
    return group


def _subnets(call: Call) -> list[Document]:
    subnets = call.request["SubnetIds"]
    if len(subnets) < 2:
        raise ApiError(
            "ReplicationSubnetGroupDoesNotCoverEnoughAZs",
            "The replication subnet group must cover at least two Availability Zones; give two subnets",
        )
    return [
        {
            "SubnetIdentifier": subnet,
            "SubnetAvailabilityZone": {"Name": f"{call.region}{'abcdef'[index % 6]}"},
            "SubnetStatus": "Active",
        }
        for index, subnet in enumerate(subnets)
    ]
