"""What every operation of the endpoint works with."""

from __future__ import annotations

import base64
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdc_platform.local.api_errors import already_exists, invalid_value
from cdc_platform.local.contract import TaskEngine
from cdc_platform.local.runs import TaskRuns
from cdc_platform.local.store import ApiStore, Document

ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
_IDENTIFIER = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*")
_EVENTS_KEPT = 1000


@dataclass(slots=True)
class Context:
    """The endpoint's parts, and a lock that operations hold while they read and write objects."""

    store: ApiStore
    engine: TaskEngine
    runs: TaskRuns
    raw_root: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: Connection tests under way, by connection key.
    tests: dict[str, threading.Thread] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its checked input and the region it was signed for."""

    operation: str
    request: dict[str, Any]
    region: str = DEFAULT_REGION


def new_arn(call: Call, kind: str) -> str:
    """Return a new ARN, ending in ResourceIdentifier where given, else in 26 random letters and digits."""
    given = call.request.get("ResourceIdentifier")
    if given is not None:
        check_identifier(given, 31, "ResourceIdentifier")
    unique = given or base64.b32encode(secrets.token_bytes(17)).decode()[:26]
    return f"arn:aws:dms:{call.region}:{ACCOUNT}:{kind}:{unique}"


def check_identifier(identifier: str, longest: int, name: str) -> str:
    """Return ``identifier``, or raise ApiError when it breaks the API's rule for identifiers."""
    if len(identifier) > longest or not _IDENTIFIER.fullmatch(identifier):
        raise invalid_value(
            f"The parameter {name} {identifier!r} is not a valid identifier: 1 to {longest} ASCII letters, "
            "digits and hyphens, beginning with a letter, not ending with a hyphen nor holding two in a row"
        )
    return identifier


def check_unused(context: Context, kind: str, arn: str, name: str, identifier: str) -> None:
    """Raise ApiError when another document of the kind has the identifier (case apart) or the ARN."""
    for document in context.store.all(kind):
        is_same_name = document[name].lower() == identifier.lower()
        if is_same_name or arn == document.get(f"{_STEM[kind]}Arn"):
            raise already_exists(f"The resource {identifier} already exists")


_STEM = {
    "instance": "ReplicationInstance",
    "endpoint": "Endpoint",
    "task": "ReplicationTask",
    "subnet-group": "ReplicationSubnetGroup",
}


def record_event(context: Context, source_type: str, identifier: str, category: str, message: str) -> None:
    """Add to what DescribeEvents tells; the oldest are dropped past a thousand."""
    event: Document = {
        "SourceIdentifier": identifier,
        "SourceType": source_type,
        "EventCategories": [category],
        "Message": message,
        "Date": time.time(),
    }
    context.store.put("event", secrets.token_hex(8), event)
    context.store.trim("event", _EVENTS_KEPT)
