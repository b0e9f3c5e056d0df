"""What the account may have, and what happened in it."""

from __future__ import annotations

import time
from typing import Any

from cdc_platform.local.api_errors import invalid_value
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.context import ACCOUNT, Call, Context
from cdc_platform.local.store import ORDER, Document

_QUOTAS = (
    ("ReplicationInstances", "instance", 60),
    ("ReplicationSubnetGroups", "subnet-group", 60),
    ("Endpoints", "endpoint", 1000),
    ("ReplicationTasks", "task", 600),
)
_FIELDS = {"replication-instance-id": lambda event: event["SourceIdentifier"]}
_SOURCE_TYPES = ("replication-instance", "replication-task")


def attributes(context: Context, _call: Call) -> dict[str, Any]:
    """DescribeAccountAttributes, under the default quotas of AWS (which are not enforced)."""
    quotas = [
        {"AccountQuotaName": name, "Used": len(context.store.all(kind)), "Max": most}
        for name, kind, most in _QUOTAS
    ]
    return {"AccountQuotas": quotas, "UniqueAccountIdentifier": f"local-{ACCOUNT}"}


def events(context: Context, call: Call) -> dict[str, Any]:
    """DescribeEvents: creations, deletions, starts and ends; the last thousand."""
    request = call.request
    source_type = request.get("SourceType")
    if source_type not in (None, *_SOURCE_TYPES):
        raise invalid_value(f"SourceType {source_type!r}: one of {', '.join(_SOURCE_TYPES)}")
    if "SourceIdentifier" in request and source_type is None:
        raise invalid_value("SourceIdentifier needs SourceType")
    found = [event for event in context.store.all("event") if _is_asked(event, request)]
    found = matching(request.get("Filters"), found, _FIELDS)
    chosen, marker = page(request, found, lambda event: event[ORDER])
    return {"Events": chosen, "Marker": marker}


def _is_asked(event: Document, request: dict[str, Any]) -> bool:
    begin, end = request.get("StartTime"), request.get("EndTime")
    since = begin.timestamp() if begin else 0.0
    if "Duration" in request and begin is None:
        since = time.time() - 60 * request["Duration"]
    until = end.timestamp() if end else float("inf")
    categories = request.get("EventCategories")
    return (
        request.get("SourceType") in (None, event["SourceType"])
        and request.get("SourceIdentifier") in (None, event["SourceIdentifier"])
        and since <= event["Date"] <= until
        and (not categories or not set(categories).isdisjoint(event["EventCategories"]))
    )
