"""The fault switch of the local DMS: arm a fault, and the next run that passes that point meets it.

Faults are armed over HTTP (``/_local/faults``) or by the functions at the end of this module, and last across
restarts of the endpoint until they are spent or cleared.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, cast

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.store import ORDER, ApiStore, Document

#: What the options of each kind are: name → (type, required).
FAULT_KINDS: dict[str, dict[str, tuple[type, bool]]] = {
    "duplicate-file": {},
    "delay-file": {"files": (int, False)},
    "drop-file": {},
    "drop-change": {},
    "report-ahead": {"files": (int, False)},
    "reemit-after-resume": {"transactions": (int, False)},
    "suspend-table": {"reason": (str, False)},
    "stop": {"reason": (str, True)},
}

#: StopReason values of the DMS API, without their common head.
STOP_REASONS = (
    "NORMAL",
    "RECOVERABLE_ERROR",
    "FATAL_ERROR",
    "FULL_LOAD_ONLY_FINISHED",
    "STOPPED_AFTER_FULL_LOAD",
    "STOPPED_AFTER_CACHED_EVENTS",
    "EXPRESS_LICENSE_LIMITS_REACHED",
    "STOPPED_AFTER_DDL_APPLY",
    "STOPPED_DUE_TO_LOW_MEMORY",
    "STOPPED_DUE_TO_LOW_DISK",
    "STOPPED_AT_SERVER_TIME",
    "STOPPED_AT_COMMIT_TIME",
    "RECONFIGURATION_RESTART",
    "RECYCLE_TASK",
)

STOP_REASON_HEAD = "Stop Reason "
_KIND = "fault"
_DEFAULTS: dict[str, dict[str, Any]] = {
    "delay-file": {"files": 1},
    "report-ahead": {"files": 1},
    "reemit-after-resume": {"transactions": 1},
}


class FaultSwitchboard:
    """The armed faults of one endpoint; a FaultSwitch for its runs. Safe from any thread."""

    def __init__(self, store: ApiStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._armed: list[Document] = store.all(_KIND)
        self._next = 1 + max((int(fault["id"]) for fault in self._armed), default=0)

    def arm(self, request: Mapping[str, Any]) -> Document:
        """Arm a fault: ``{"fault": kind, "task": id or null, "table": "schema.table" or null, "times": n,
        "options": {…}}``; task and table null match any. Return it with its id.

        Raises LocalServiceError when the kind or an option is not known.
        """
        fault = _checked(request)
        with self._lock:
            fault["id"] = self._next
            self._next += 1
            self._armed.append(fault)
            self._store.put(_KIND, str(fault["id"]), fault)
        return dict(fault)

    def armed(self) -> list[Document]:
        """Return what is armed, oldest first."""
        with self._lock:
            return [{name: value for name, value in fault.items() if name != ORDER} for fault in self._armed]

    def clear(self, number: int | None = None) -> int:
        """Disarm one fault by its id, or all; return how many there were."""
        with self._lock:
            gone = [fault for fault in self._armed if number is None or fault["id"] == number]
            for fault in gone:
                self._disarm(fault)
        return len(gone)

    def take(self, task: str, fault: str, table: str | None = None) -> Mapping[str, Any] | None:
        """Spend one armed fault of that kind for the task and table; its options, or None."""
        with self._lock:
            for each in self._armed:
                if each["fault"] == fault and _meets(each, task, table):
                    each["times"] -= 1
                    if each["times"] <= 0:
                        self._disarm(each)
                    else:
                        self._store.put(_KIND, str(each["id"]), each)
                    return dict(each["options"])
        return None

    def _disarm(self, fault: Document) -> None:
        self._armed.remove(fault)
        self._store.delete(_KIND, str(fault["id"]))


def _meets(fault: Document, task: str, table: str | None) -> bool:
    return fault["task"] in (None, task) and (fault["table"] is None or fault["table"] == table)


def _checked(request: Mapping[str, Any]) -> Document:
    kind = request.get("fault")
    if kind not in FAULT_KINDS:
        raise _wrong(f"{kind!r} is not a fault", f"arm one of {', '.join(FAULT_KINDS)}")
    strange = sorted(set(request) - {"fault", "task", "table", "times", "options"})
    if strange:
        raise _wrong(f"unknown member {strange[0]!r}", "give fault, task, table, times, options")
    times = request.get("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise _wrong(f"times is {times!r}", "give a whole number from 1")
    for name in ("task", "table"):
        if not isinstance(request.get(name), str | None):
            raise _wrong(f"{name} is {request[name]!r}", f"give the {name}'s name, or leave it out for any")
    options = {**_DEFAULTS.get(kind, {}), **_checked_options(kind, request.get("options") or {})}
    return {
        "fault": kind,
        "task": request.get("task"),
        "table": request.get("table"),
        "times": times,
        "options": options,
    }


def _checked_options(kind: str, options: object) -> dict[str, Any]:
    known = FAULT_KINDS[kind]
    if not isinstance(options, dict):
        raise _wrong("options is not an object", f"give the options of {kind}: {', '.join(known) or 'none'}")
    for name, value in options.items():
        if name not in known:
            raise _wrong(f"{kind} has no option {name!r}", f"its options are: {', '.join(known) or 'none'}")
        wanted = known[name][0]
        is_too_small = isinstance(value, int) and value < 1
        if not isinstance(value, wanted) or isinstance(value, bool) or is_too_small:
            raise _wrong(f"{kind}.{name} is {value!r}", f"give a {wanted.__name__}, from 1 for a number")
    for name, (_, required) in known.items():
        if required and name not in options:
            raise _wrong(f"{kind} needs the option {name!r}", f"one of {', '.join(STOP_REASONS)}")
    if kind == "stop":
        return {"reason": stop_reason(options["reason"])}
    return dict(options)


def stop_reason(text: str) -> str:
    """Return ``text`` as the DMS API spells the stop reason.

    >>> stop_reason("FATAL_ERROR")
    'Stop Reason FATAL_ERROR'
    """
    bare = text.removeprefix(STOP_REASON_HEAD)
    if bare not in STOP_REASONS:
        raise _wrong(f"{text!r} is not a stop reason of DMS", f"use one of {', '.join(STOP_REASONS)}")
    return STOP_REASON_HEAD + bare


def _wrong(what: str, mend: str) -> LocalServiceError:
    return LocalServiceError(what, where="fault switch", mend=mend)


def arm_fault(
    endpoint_url: str,
    fault: str,
    *,
    task: str | None = None,
    table: str | None = None,
    times: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Document:
    """Arm a fault on a running local DMS and return it with its id."""
    body = {"fault": fault, "task": task, "table": table, "times": times, "options": dict(options or {})}
    return _call(endpoint_url, "POST", "/_local/faults", body)


def armed_faults(endpoint_url: str) -> list[Document]:
    """Return the faults armed on a running local DMS."""
    return cast("list[Document]", _call(endpoint_url, "GET", "/_local/faults")["faults"])


def clear_faults(endpoint_url: str, number: int | None = None) -> int:
    """Disarm one fault of a running local DMS, or all; return how many there were."""
    path = "/_local/faults" if number is None else f"/_local/faults/{number}"
    return int(_call(endpoint_url, "DELETE", path)["cleared"])


def endpoint_health(endpoint_url: str) -> Document:
    """Return what a running local DMS says of itself: ``{"status": "ok", "raw_root": …, "tasks": {…}}``."""
    return _call(endpoint_url, "GET", "/_local/health")


def _call(endpoint_url: str, method: str, path: str, body: object = None) -> Document:
    request = urllib.request.Request(
        endpoint_url.rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return cast("Document", json.load(answer))
    except urllib.error.HTTPError as fault:
        with fault:
            what = _message_of(fault.read())
        raise LocalServiceError(what, where=endpoint_url) from fault
    except (OSError, ValueError) as fault:
        raise LocalServiceError(
            f"the local DMS does not answer: {fault}", where=endpoint_url, mend="start it: cdc local up"
        ) from fault


def _message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return "the local DMS refused the request"
