"""What the DMS endpoint asks of a running task, and what a task tells it.

The endpoint (protocol, validation, identifiers, persistence of the API objects) and the replication engine
(snapshot, log reader, file writer) meet only here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class StartType(StrEnum):
    """StartReplicationTaskType of the DMS API."""

    START = "start-replication"
    RESUME = "resume-processing"
    RELOAD = "reload-target"


class TaskStatus(StrEnum):
    """Status of a replication task in the DMS API, as far as a running engine sets it."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Everything a task needs to run; settings are the DMS API's own JSON shapes, under its own names."""

    identifier: str
    migration_type: str
    source: Mapping[str, Any]  # ServerName, Port, DatabaseName, Username, Password, PostgreSQLSettings
    target: Mapping[str, Any]  # S3Settings
    table_mappings: Mapping[str, Any]
    settings: Mapping[str, Any]
    folder: Path  # durable state of this task (position, counters, load progress)
    raw_root: Path  # buckets are folders below this: <raw_root>/<BucketName>/<BucketFolder>/…


@dataclass(frozen=True, slots=True)
class StartRequest:
    """How StartReplicationTask was called; positions in the DMS API's own forms."""

    start_type: StartType
    cdc_start_position: str | None = None
    cdc_start_time: datetime | None = None
    cdc_stop_position: str | None = None


@dataclass(slots=True)
class TableStatistics:
    """One row of DescribeTableStatistics."""

    schema_name: str
    table_name: str
    table_state: str = "Before load"
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    ddls: int = 0
    applied_inserts: int = 0
    applied_updates: int = 0
    applied_deletes: int = 0
    applied_ddls: int = 0
    full_load_rows: int = 0
    full_load_error_rows: int = 0
    full_load_start_time: datetime | None = None
    full_load_end_time: datetime | None = None
    full_load_reloaded: bool = False
    last_update_time: datetime | None = None


@dataclass(slots=True)
class TaskReport:
    """What DescribeReplicationTasks tells of a task's run."""

    status: TaskStatus
    stop_reason: str | None = None
    last_failure_message: str | None = None
    #: Everything up to here is in files that are complete and visible: ``checkpoint:V1#…``.
    recovery_checkpoint: str | None = None
    full_load_progress_percent: int = 0
    tables_loaded: int = 0
    tables_loading: int = 0
    tables_queued: int = 0
    tables_errored: int = 0
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    full_load_started_at: datetime | None = None
    full_load_finished_at: datetime | None = None
    tables: list[TableStatistics] = field(default_factory=list)


class FaultSwitch(Protocol):
    """The faults a user of the local DMS can inject; each ask consumes one armed fault of that kind."""

    def take(self, task: str, fault: str, table: str | None = None) -> Mapping[str, Any] | None:
        """Return the armed fault's options and disarm it (or count it down); None when none is armed.

        Kinds: ``duplicate-file`` (write the file again under a new name), ``delay-file`` (publish it after
        ``files`` further files or at stop), ``report-ahead`` (likewise, the checkpoint not waiting),
        ``drop-file``, ``drop-change``, ``reemit-after-resume`` (resume from
        ``transactions`` earlier), ``suspend-table``, ``stop`` (with ``reason``: a DMS stop reason).
        """
        ...


class RunningTask(Protocol):
    """A task's run in this process: starts at construction, ends by itself or by ``stop``."""

    def stop(self) -> None:
        """Ask the run to stop: it flushes what it holds, records its checkpoint, and ends as stopped."""
        ...

    def reload_tables(self, tables: Sequence[tuple[str, str]]) -> None:
        """Load (schema, table) pairs again while running; a new set of LOAD files begins."""
        ...

    def report(self) -> TaskReport:
        """Return the state now. Safe from any thread."""
        ...

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; return whether it ended."""
        ...


class TaskEngine(Protocol):
    """Makes runs of tasks and answers TestConnection."""

    def start(self, spec: TaskSpec, request: StartRequest, faults: FaultSwitch) -> RunningTask:
        """Begin a run. Raises LocalServiceError when the request cannot be carried out."""
        ...

    def last_report(self, spec: TaskSpec) -> TaskReport | None:
        """Return the report stored by the last run, after a restart of the endpoint."""
        ...

    def forget(self, spec: TaskSpec) -> None:
        """Drop what a task made at its source (slot, publications), for a task that is being deleted.

        Raises LocalServiceError when it is still there.
        """
        ...

    def test_connection(self, source: Mapping[str, Any]) -> str | None:
        """Return None when the source answers, else why not, without secrets."""
        ...
