"""Connection tests: the engine really connects to a source; a target's bucket folder is made."""

from __future__ import annotations

import threading
import time
from typing import Any

from cdc_platform.errors import CdcError, redact
from cdc_platform.local.api_errors import invalid_state, not_found
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.context import Call, Context
from cdc_platform.local.operations.endpoints import for_engine, require_endpoint
from cdc_platform.local.operations.instances import require_instance
from cdc_platform.local.store import ORDER, Document

CONNECTION = "connection"
_LOOK_SECONDS = 2.0
_POSTGRES = ("postgres", "aurora-postgresql")
_FIELDS = {
    "endpoint-arn": lambda connection: connection["EndpointArn"],
    "replication-instance-arn": lambda connection: connection["ReplicationInstanceArn"],
}


def test(context: Context, call: Call) -> dict[str, Any]:
    """TestConnection: answers ``testing``; DescribeConnections tells the outcome."""
    instance = require_instance(context, call.request["ReplicationInstanceArn"])
    endpoint = require_endpoint(context, call.request["EndpointArn"])
    connection: Document = {
        "ReplicationInstanceArn": instance["ReplicationInstanceArn"],
        "EndpointArn": endpoint["EndpointArn"],
        "EndpointIdentifier": endpoint["EndpointIdentifier"],
        "ReplicationInstanceIdentifier": instance["ReplicationInstanceIdentifier"],
        "Status": "testing",
        "LastFailureMessage": "",
    }
    key = f"{endpoint['EndpointArn']} {instance['ReplicationInstanceArn']}"
    under_way = context.tests.get(key)
    if under_way is not None and under_way.is_alive():
        raise invalid_state("A test of this connection is already under way")
    context.store.put(CONNECTION, key, connection)
    thread = threading.Thread(target=_try, args=(context, key, connection, endpoint), daemon=True)
    context.tests[key] = thread
    thread.start()
    return {"Connection": connection}


def _try(context: Context, key: str, connection: Document, endpoint: Document) -> None:
    try:
        failure = _failure(context, endpoint)
    except (CdcError, OSError) as fault:
        failure = str(fault)
    with context.lock:
        if context.store.get(CONNECTION, key) is not None:
            outcome = {"Status": "failed" if failure else "successful"}
            message = {"LastFailureMessage": redact(failure or "")}
            context.store.put(CONNECTION, key, connection | outcome | message)


def _failure(context: Context, endpoint: Document) -> str | None:
    if endpoint["EngineName"] == "s3" and endpoint["EndpointType"] == "target":
        (context.raw_root / endpoint["S3Settings"]["BucketName"]).mkdir(parents=True, exist_ok=True)
        return None
    if endpoint["EngineName"] in _POSTGRES and endpoint["EndpointType"] == "source":
        return context.engine.test_connection(for_engine(endpoint))
    kind = f"{endpoint['EngineName']} as {endpoint['EndpointType']}"
    return f"The local DMS does not run {kind}: sources are PostgreSQL, targets S3 (folders)"


def describe(context: Context, call: Call) -> dict[str, Any]:
    """DescribeConnections; gives tests under way a moment, so the first look mostly shows the outcome."""
    deadline = time.monotonic() + _LOOK_SECONDS
    for thread in list(context.tests.values()):
        thread.join(max(0.0, deadline - time.monotonic()))
    filters = call.request.get("Filters")
    found = matching(filters, context.store.all(CONNECTION), _FIELDS)
    if filters and not found:
        raise not_found("No connections found matching given filter")
    connections, marker = page(call.request, found, lambda connection: connection[ORDER])
    return {"Connections": connections, "Marker": marker}


def delete(context: Context, call: Call) -> dict[str, Any]:
    """DeleteConnection."""
    key = f"{call.request['EndpointArn']} {call.request['ReplicationInstanceArn']}"
    connection = context.store.get(CONNECTION, key)
    if connection is None:
        raise not_found("No connection between the endpoint and the replication instance")
    context.store.delete(CONNECTION, key)
    return {"Connection": connection | {"Status": "deleting"}}


def require_tested(context: Context, instance_arn: str, endpoint_arn: str) -> None:
    """Raise ApiError unless the connection was tested with success."""
    connection = context.store.get(CONNECTION, f"{endpoint_arn} {instance_arn}")
    if connection is None or connection["Status"] != "successful":
        raise invalid_state(
            "Test connection for replication instance and endpoint should be successful for starting the "
            f"replication task (endpoint {endpoint_arn})"
        )
