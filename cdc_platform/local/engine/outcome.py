"""How a run ends: normally for a reason of DMS's own, or failed with one."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.errors import LocalServiceError, ReplicationError

_HEAD = "Stop Reason "
NORMAL = _HEAD + "NORMAL"
RECOVERABLE_ERROR = _HEAD + "RECOVERABLE_ERROR"
FATAL_ERROR = _HEAD + "FATAL_ERROR"
FULL_LOAD_ONLY_FINISHED = _HEAD + "FULL_LOAD_ONLY_FINISHED"
STOPPED_AFTER_FULL_LOAD = _HEAD + "STOPPED_AFTER_FULL_LOAD"
STOPPED_AFTER_CACHED_EVENTS = _HEAD + "STOPPED_AFTER_CACHED_EVENTS"
STOPPED_AT_SERVER_TIME = _HEAD + "STOPPED_AT_SERVER_TIME"
STOPPED_AT_COMMIT_TIME = _HEAD + "STOPPED_AT_COMMIT_TIME"

#: After these DMS calls the task failed; after any other reason, stopped.
FAILURES = frozenset({RECOVERABLE_ERROR, FATAL_ERROR})


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends without fault."""

    reason: str


class RunFailed(ReplicationError):
    """The run cannot go on. ``reason`` is the stop reason DMS gives for it."""

    def __init__(self, what: str, *, where: str = "", mend: str = "", reason: str = FATAL_ERROR) -> None:
        super().__init__(what, where=where, mend=mend)
        self.reason = reason


class StopRequested(Exception):
    """A long step was given up because the run was asked to stop."""


class TableFailed(LocalServiceError):
    """One table cannot go on; DMS suspends it and carries on with the others."""
