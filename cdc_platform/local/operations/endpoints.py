"""Source and target endpoints. Passwords are kept for the engine and told to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdc_platform.errors import redact
from cdc_platform.local.api_errors import invalid_state, invalid_value, not_found
from cdc_platform.local.api_paging import matching, page
from cdc_platform.local.context import Call, Context, check_identifier, check_unused, new_arn
from cdc_platform.local.endpoint_settings import SETTINGS_OF_ENGINE, checked_settings, unescaped
from cdc_platform.local.store import ORDER, Document

ENDPOINT = "endpoint"
_CONNECTION = ("Username", "ServerName", "Port", "DatabaseName", "Password")
_PLAIN = ("ExtraConnectionAttributes", "SslMode", "ServiceAccessRoleArn", "ExternalTableDefinition")
_FIELDS = {
    "endpoint-arn": lambda endpoint: endpoint["EndpointArn"],
    "endpoint-type": lambda endpoint: endpoint["EndpointType"],
    "endpoint-id": lambda endpoint: endpoint["EndpointIdentifier"],
    "engine-name": lambda endpoint: endpoint["EngineName"],
}


def create(context: Context, call: Call) -> dict[str, Any]:
    """CreateEndpoint."""
    request = call.request
    identifier = check_identifier(request["EndpointIdentifier"], 255, "EndpointIdentifier")
    arn = new_arn(call, "endpoint")
    check_unused(context, ENDPOINT, arn, "EndpointIdentifier", identifier)
    endpoint: Document = {
        "EndpointIdentifier": identifier,
        "EndpointArn": arn,
        "EndpointType": request["EndpointType"],
        "EngineName": _checked_engine(request["EngineName"]),
        "EngineDisplayName": request["EngineName"],
        "Status": "active",
        "SslMode": "none",
    }
    _apply(endpoint, request, is_exact=True)
    context.store.put(ENDPOINT, arn, endpoint)
    context.store.put("tags", arn, {"tags": request.get("Tags", [])})
    return {"Endpoint": public(endpoint)}


def describe(context: Context, call: Call) -> dict[str, Any]:
    """DescribeEndpoints."""
    filters = call.request.get("Filters")
    found = matching(filters, context.store.all(ENDPOINT), _FIELDS)
    if filters and not found:
        raise not_found("No endpoints found matching given filter")
    endpoints, marker = page(call.request, found, lambda endpoint: endpoint[ORDER])
    return {"Endpoints": [public(endpoint) for endpoint in endpoints], "Marker": marker}


def modify(context: Context, call: Call) -> dict[str, Any]:
    """ModifyEndpoint, refused under a live task; settings are merged in unless ExactSettings."""
    request = call.request
    endpoint = require_endpoint(context, request["EndpointArn"])
    _refuse_live_tasks(context, endpoint)
    renamed = request.get("EndpointIdentifier")
    if renamed is not None and renamed.lower() != endpoint["EndpointIdentifier"].lower():
        check_identifier(renamed, 255, "EndpointIdentifier")
        check_unused(context, ENDPOINT, "", "EndpointIdentifier", renamed)
    endpoint["EndpointIdentifier"] = renamed or endpoint["EndpointIdentifier"]
    endpoint["EndpointType"] = request.get("EndpointType", endpoint["EndpointType"])
    endpoint["EngineName"] = _checked_engine(request.get("EngineName") or endpoint["EngineName"])
    _apply(endpoint, request, is_exact=request.get("ExactSettings", False))
    context.store.put(ENDPOINT, endpoint["EndpointArn"], endpoint)
    return {"Endpoint": public(endpoint)}


def delete(context: Context, call: Call) -> dict[str, Any]:
    """DeleteEndpoint; refused while a task uses it."""
    endpoint = require_endpoint(context, call.request["EndpointArn"])
    arn = endpoint["EndpointArn"]
    if _tasks_of(context, arn):
        name = endpoint["EndpointIdentifier"]
        raise invalid_state(f"Endpoint {name} is part of one or more tasks; delete the tasks first")
    context.store.delete(ENDPOINT, arn)
    context.store.delete("tags", arn)
    for connection in context.store.all("connection"):
        if connection["EndpointArn"] == arn:
            context.store.delete("connection", f"{arn} {connection['ReplicationInstanceArn']}")
    return {"Endpoint": public(endpoint) | {"Status": "deleting"}}


def _checked_engine(name: str) -> str:
    if name not in SETTINGS_OF_ENGINE:
        raise invalid_value(f"Invalid engine name {name!r}; one of {', '.join(SETTINGS_OF_ENGINE)}")
    return name


def _apply(endpoint: Document, request: Mapping[str, Any], *, is_exact: bool) -> None:
    engine = endpoint["EngineName"]
    member = SETTINGS_OF_ENGINE[engine]
    for other in SETTINGS_OF_ENGINE.values():
        if other in request and other != member:
            raise invalid_value(f"{other} does not belong to an endpoint of engine {engine}; give {member}")
    given = dict(request.get(member, {}))
    endpoint |= {name: request[name] for name in _PLAIN if name in request}
    endpoint |= {name: given.pop(name) for name in _CONNECTION if engine != "s3" and name in given}
    endpoint |= {name: request[name] for name in _CONNECTION if name in request}
    if engine == "s3" and "ServiceAccessRoleArn" in request:
        given.setdefault("ServiceAccessRoleArn", request["ServiceAccessRoleArn"])
    before = {} if is_exact else endpoint.get(member, {})
    endpoint[member] = checked_settings(engine, before | given, request.get("ExtraConnectionAttributes"))
    if engine != "s3" and "ServerName" in endpoint and not endpoint["ServerName"].strip():
        raise invalid_value("ServerName must not be blank")


def public(endpoint: Document) -> Document:
    """Return the endpoint as the API tells it: without its password, wherever it was given."""
    shown = {name: value for name, value in endpoint.items() if name != "Password"}
    if "ExtraConnectionAttributes" in shown:
        shown["ExtraConnectionAttributes"] = redact(shown["ExtraConnectionAttributes"])
    return shown


def for_engine(endpoint: Document) -> Document:
    """Return the endpoint as the engine needs it: with the password, and S3 delimiters unescaped."""
    shown = {name: value for name, value in endpoint.items() if name != ORDER}
    if "S3Settings" in shown:
        shown["S3Settings"] = unescaped(shown["S3Settings"])
    return shown


def require_endpoint(context: Context, arn: str) -> Document:
    """Return the endpoint, or raise ApiError."""
    endpoint = context.store.get(ENDPOINT, arn)
    if endpoint is None:
        raise not_found(f"Endpoint not found: {arn}")
    return endpoint


def _tasks_of(context: Context, arn: str) -> list[Document]:
    return [
        task
        for task in context.store.all("task")
        if arn in (task["SourceEndpointArn"], task["TargetEndpointArn"])
    ]


def _refuse_live_tasks(context: Context, endpoint: Document) -> None:
    for task in _tasks_of(context, endpoint["EndpointArn"]):
        if context.runs.is_live(task):
            raise invalid_state(
                f"Endpoint {endpoint['EndpointIdentifier']} is used by task "
                f"{task['ReplicationTaskIdentifier']}, which is not stopped"
            )
