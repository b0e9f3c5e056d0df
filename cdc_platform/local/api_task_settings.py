"""Task settings: DMS completes what a caller leaves out, and tells the whole document back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cdc_platform.local.api_errors import invalid_value

TASK_DEFAULTS: dict[str, Any] = {
    "TargetMetadata": {
        "TargetSchema": "",
        "SupportLobs": True,
        "FullLobMode": False,
        "LobChunkSize": 64,
        "LimitedSizeLobMode": True,
        "LobMaxSize": 32,
        "InlineLobMaxSize": 0,
        "LoadMaxFileSize": 0,
        "ParallelLoadThreads": 0,
        "ParallelLoadBufferSize": 0,
        "ParallelLoadQueuesPerThread": 0,
        "ParallelApplyThreads": 0,
        "ParallelApplyBufferSize": 0,
        "ParallelApplyQueuesPerThread": 0,
        "BatchApplyEnabled": False,
        "TaskRecoveryTableEnabled": False,
    },
    "FullLoadSettings": {
        "TargetTablePrepMode": "DROP_AND_CREATE",
        "CreatePkAfterFullLoad": False,
        "StopTaskCachedChangesApplied": False,
        "StopTaskCachedChangesNotApplied": False,
        "MaxFullLoadSubTasks": 8,
        "TransactionConsistencyTimeout": 600,
        "CommitRate": 10000,
    },
    "Logging": {"EnableLogging": False},
    "ControlTablesSettings": {
        "ControlSchema": "",
        "HistoryTimeslotInMinutes": 5,
        "HistoryTableEnabled": False,
        "SuspendedTablesTableEnabled": False,
        "StatusTableEnabled": False,
    },
    "StreamBufferSettings": {
        "StreamBufferCount": 3,
        "StreamBufferSizeInMB": 8,
        "CtrlStreamBufferSizeInMB": 5,
    },
    "ChangeProcessingDdlHandlingPolicy": {
        "HandleSourceTableDropped": True,
        "HandleSourceTableTruncated": True,
        "HandleSourceTableAltered": True,
    },
    "ErrorBehavior": {
        "DataErrorPolicy": "LOG_ERROR",
        "DataTruncationErrorPolicy": "LOG_ERROR",
        "DataErrorEscalationPolicy": "SUSPEND_TABLE",
        "DataErrorEscalationCount": 0,
        "EventErrorPolicy": "IGNORE",
        "TableErrorPolicy": "SUSPEND_TABLE",
        "TableErrorEscalationPolicy": "STOP_TASK",
        "TableErrorEscalationCount": 0,
        "RecoverableErrorCount": -1,
        "RecoverableErrorInterval": 5,
        "RecoverableErrorThrottling": True,
        "RecoverableErrorThrottlingMax": 1800,
        "RecoverableErrorStopRetryAfterThrottlingMax": True,
        "ApplyErrorDeletePolicy": "IGNORE_RECORD",
        "ApplyErrorInsertPolicy": "LOG_ERROR",
        "ApplyErrorUpdatePolicy": "LOG_ERROR",
        "ApplyErrorEscalationPolicy": "LOG_ERROR",
        "ApplyErrorEscalationCount": 0,
        "ApplyErrorFailOnTruncationDdl": False,
        "FullLoadIgnoreConflicts": True,
        "FailOnTransactionConsistencyBreached": False,
        "FailOnNoTablesCaptured": True,
    },
    "ChangeProcessingTuning": {
        "BatchApplyPreserveTransaction": True,
        "BatchApplyTimeoutMin": 1,
        "BatchApplyTimeoutMax": 30,
        "BatchApplyMemoryLimit": 500,
        "BatchSplitSize": 0,
        "MinTransactionSize": 1000,
        "CommitTimeout": 1,
        "MemoryLimitTotal": 1024,
        "MemoryKeepTime": 60,
        "StatementCacheSize": 50,
    },
    "ValidationSettings": {"EnableValidation": False},
    "TTSettings": {"EnableTT": False},
    "BeforeImageSettings": None,
    "PostProcessingRules": None,
    "CharacterSetSettings": None,
    "LoopbackPreventionSettings": None,
    "FailTaskWhenCleanTaskResourceFailed": False,
}

_CHOICES = {
    ("FullLoadSettings", "TargetTablePrepMode"): ("DO_NOTHING", "DROP_AND_CREATE", "TRUNCATE_BEFORE_LOAD"),
    ("ErrorBehavior", "TableErrorPolicy"): ("SUSPEND_TABLE", "STOP_TASK"),
    ("ErrorBehavior", "DataErrorPolicy"): ("IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK"),
    ("ErrorBehavior", "DataTruncationErrorPolicy"): (
        ("IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK")
    ),
}


def checked_task_settings(text: str | None, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the whole settings document: ``text`` over ``before`` (the defaults when None).

    Raises ApiError when it is not JSON, or a section or value is not one DMS knows.
    """
    complete = json.loads(json.dumps(before or TASK_DEFAULTS))
    if not text:
        return complete  # type: ignore[no-any-return]
    try:
        given = json.loads(text)
    except ValueError as fault:
        raise invalid_value(f"Invalid task settings JSON: {fault}") from fault
    if not isinstance(given, dict):
        raise invalid_value("Invalid task settings JSON: not an object")
    for section, values in given.items():
        if section not in TASK_DEFAULTS:
            raise invalid_value(f"Invalid task settings: unknown section {section!r}")
        if isinstance(TASK_DEFAULTS[section], dict) and isinstance(values, dict):
            _check_section(section, values)
            complete[section] |= values
        else:
            complete[section] = values
    _check_whole(complete)
    return complete  # type: ignore[no-any-return]


def _check_section(section: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        default = TASK_DEFAULTS[section].get(name)
        if isinstance(default, bool | int) and type(value) is not type(default):
            wanted = type(default).__name__
            raise invalid_value(f"Invalid task settings: {section}.{name} is {value!r}, not a {wanted}")
        choices = _CHOICES.get((section, name))
        if choices and value not in choices:
            raise invalid_value(f"Invalid task settings: {section}.{name} is {value!r}; {', '.join(choices)}")


def _check_whole(settings: Mapping[str, Any]) -> None:
    load = settings["FullLoadSettings"]
    if load["StopTaskCachedChangesApplied"] and load["StopTaskCachedChangesNotApplied"]:
        raise invalid_value(
            "Invalid task settings: StopTaskCachedChangesApplied and StopTaskCachedChangesNotApplied "
            "exclude each other"
        )
