"""The engine behind the local DMS: checks a request, then starts a run of its task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg

from cdc_platform.errors import CdcError, LocalServiceError, redact
from cdc_platform.local.contract import (
    FaultSwitch,
    RunningTask,
    StartRequest,
    StartType,
    TaskReport,
    TaskSpec,
)
from cdc_platform.local.engine.context import RunContext
from cdc_platform.local.engine.lsn import parse_start_position, parse_stop_position
from cdc_platform.local.engine.mappings import TableMappings
from cdc_platform.local.engine.options import parse_file_options, parse_task_options
from cdc_platform.local.engine.publish import NameClock, Publisher
from cdc_platform.local.engine.run import PostgresTaskRun
from cdc_platform.local.engine.slots import SlotNames, drop_slot, unpublish
from cdc_platform.local.engine.source import Source
from cdc_platform.local.engine.state import TaskState, load_state

_MIGRATION_TYPES = ("full-load", "cdc", "full-load-and-cdc")


class PostgresTaskEngine:
    """Replicates PostgreSQL databases into DMS's file layout; a TaskEngine."""

    def start(self, spec: TaskSpec, request: StartRequest, faults: FaultSwitch) -> RunningTask:
        """Check the request and begin a run. Raises LocalServiceError for what cannot be carried out."""
        kept = load_state(spec.folder)
        _check(spec, request, kept)
        files = parse_file_options(spec.target)
        state = kept or TaskState()
        context = RunContext(
            spec=spec,
            mappings=TableMappings.parse(spec.table_mappings),
            files=files,
            options=parse_task_options(spec.settings, spec.source),
            source=Source(spec.source),
            state=state,
            publisher=Publisher(spec.identifier, files, NameClock(state.clock_ms), faults),
            faults=faults,
            started_at=datetime.now(UTC),
        )
        return PostgresTaskRun(context, request)

    def last_report(self, spec: TaskSpec) -> TaskReport | None:
        """Return what the last run kept; a run that was killed is still ``running`` there."""
        state = load_state(spec.folder)
        return state.report if state is not None else None

    def test_connection(self, source: Mapping[str, Any]) -> str | None:
        """Return None when the source answers, else why not, without secrets."""
        try:
            endpoint = Source(source)
            with endpoint.connect() as connection:
                connection.execute("SELECT 1")
        except (CdcError, psycopg.Error) as fault:
            return redact(str(fault))
        return None

    def forget(self, spec: TaskSpec) -> None:
        """Drop the slot and publications a task made at its source; for a task that is deleted.

        Raises LocalServiceError when the source cannot be reached: they are still there then.
        """
        state = load_state(spec.folder)
        if state is None or not state.slot or not state.is_own_slot:
            return
        names = SlotNames(state.slot, is_own=True)
        try:
            with Source(spec.source).connect() as connection:
                drop_slot(connection, names.slot)
                unpublish(connection, names)
        except (CdcError, psycopg.Error) as fault:
            raise LocalServiceError(
                f"replication slot {names.slot} could not be dropped: {fault}",
                where="source endpoint",
                mend=f"drop it at the source: SELECT pg_drop_replication_slot('{names.slot}')",
            ) from None


def _check(spec: TaskSpec, request: StartRequest, state: TaskState | None) -> None:
    if spec.migration_type not in _MIGRATION_TYPES:
        raise _refusal(f"migration type {spec.migration_type!r}", f"use one of {', '.join(_MIGRATION_TYPES)}")
    if request.start_type is StartType.RESUME and state is None:
        raise _refusal("resume-processing of a task that never ran", "use start-replication first")
    if request.start_type is StartType.RELOAD and spec.migration_type == "cdc":
        raise _refusal("reload-target of a task that loads nothing", "use start-replication")
    if request.cdc_start_time is not None:
        raise _refusal("CdcStartTime", "PostgreSQL cannot start at a time: give CdcStartPosition an LSN")
    if request.cdc_start_position:
        if spec.migration_type != "cdc" or request.start_type is not StartType.START:
            raise _refusal("CdcStartPosition", "give it to start-replication of a task of migration type cdc")
        parse_start_position(request.cdc_start_position)
    if request.cdc_stop_position and spec.migration_type == "full-load":
        raise _refusal("CdcStopPosition", "a full-load task stops by itself")
    parse_stop_position(request.cdc_stop_position)


def _refusal(what: str, mend: str) -> LocalServiceError:
    return LocalServiceError(f"{what} is not possible", where="StartReplicationTask", mend=mend)
