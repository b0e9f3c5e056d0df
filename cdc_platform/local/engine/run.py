"""One run of a task, from preparing the source to the end: its own thread, its report, its outcome."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from cdc_platform.errors import CdcError, redact
from cdc_platform.local.contract import StartRequest, StartType, TaskReport, TaskStatus
from cdc_platform.local.engine.capture import ChangeCapture
from cdc_platform.local.engine.context import RunContext
from cdc_platform.local.engine.load import finish_load, load_tables
from cdc_platform.local.engine.lsn import parse_stop_position
from cdc_platform.local.engine.outcome import (
    FAILURES,
    FATAL_ERROR,
    FULL_LOAD_ONLY_FINISHED,
    NORMAL,
    STOPPED_AFTER_FULL_LOAD,
    RunFailed,
    Stop,
    StopRequested,
)
from cdc_platform.local.engine.prepare import Preparation, prepare_source
from cdc_platform.local.engine.source import Connection
from cdc_platform.local.engine.stream import fault_of

_LOG = logging.getLogger(__name__)


class PostgresTaskRun:
    """A running task. Safe to ask from any thread."""

    def __init__(self, context: RunContext, request: StartRequest) -> None:
        self._context = context
        self._request = request
        self._stop_position = parse_stop_position(request.cdc_stop_position)
        report = context.state.report
        report.status, report.started_at = TaskStatus.STARTING, context.started_at
        report.stop_reason = report.last_failure_message = report.stopped_at = None
        if request.start_type is not StartType.RESUME:
            report.full_load_started_at = report.full_load_finished_at = None
            report.full_load_progress_percent = 0
        context.save()
        name = f"task {context.spec.identifier}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the run to end: it flushes what it holds, at the end of a transaction."""
        if self._context.state.report.status in (TaskStatus.STARTING, TaskStatus.RUNNING):
            self._context.state.report.status = TaskStatus.STOPPING
        self._context.stopping.set()

    def reload_tables(self, tables: Sequence[tuple[str, str]]) -> None:
        """Load tables again between two transactions."""
        self._context.reloads.extend(tables)

    def report(self) -> TaskReport:
        """Return a copy of the state now."""
        state = self._context.state
        tables = [dataclasses.replace(progress.statistics) for progress in list(state.tables.values())]
        return dataclasses.replace(state.report, tables=tables)

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        context = self._context
        try:
            stop, message = self._carry_out(), None
        except StopRequested:
            stop, message = Stop(NORMAL), None
        except RunFailed as fault:
            stop, message = Stop(fault.reason), str(fault)
        except psycopg.Error as fault:
            failed = fault_of(str(fault))
            stop, message = Stop(failed.reason), str(failed)
        except (CdcError, OSError) as fault:
            stop, message = Stop(FATAL_ERROR), str(fault)
        except Exception as fault:
            _LOG.exception("task %s broke", context.spec.identifier)
            stop, message = Stop(FATAL_ERROR), f"{type(fault).__name__}: {fault}"
        self._end(stop, message)

    def _end(self, stop: Stop, message: str | None) -> None:
        context, report = self._context, self._context.state.report
        if message is not None:
            report.last_failure_message = context.source.hide_secrets(redact(message))
        elif stop.reason in FAILURES:
            report.last_failure_message = f"{stop.reason} by an armed fault"
        report.stop_reason, report.stopped_at = stop.reason, datetime.now(UTC)
        report.status = TaskStatus.FAILED if stop.reason in FAILURES else TaskStatus.STOPPED
        _LOG.info("task %s %s: %s", context.spec.identifier, report.status.value, stop.reason)
        try:
            context.save()
        except OSError:
            _LOG.exception("task %s cannot keep its state", context.spec.identifier)

    def _carry_out(self) -> Stop:
        context = self._context
        with context.source.connect() as connection:
            prepared = prepare_source(context, self._request, connection)
            if not context.stopping.is_set():
                context.state.report.status = TaskStatus.RUNNING
            context.save()
            stop = self._load(prepared)
            if stop is not None:
                return stop
            cached_until = None
            if prepared.to_load and context.options.stop_after_cached:
                cached_until = context.source.current_lsn(connection)
            return self._capture(prepared, connection, cached_until)

    def _load(self, prepared: Preparation) -> Stop | None:
        context = self._context
        is_load_only = context.spec.migration_type == "full-load"
        if prepared.to_load:
            source = context.source
            context.publisher.clock.wait_for_next_second()
            snapshots = (
                source.plain_snapshot() if is_load_only else source.exported_snapshot(context.is_stopping)
            )
            with snapshots as snapshot:
                load_tables(context, snapshot, prepared.to_load, is_reload=prepared.is_reload)
        elif context.spec.migration_type != "cdc" and context.state.report.full_load_finished_at is None:
            # a run that was killed had loaded the last table, and not said so
            finish_load(context)
        if is_load_only:
            return Stop(FULL_LOAD_ONLY_FINISHED)
        if prepared.to_load and context.options.stop_after_load:
            return Stop(STOPPED_AFTER_FULL_LOAD)
        return None

    def _capture(self, prepared: Preparation, connection: Connection, cached_until: int | None) -> Stop:
        capture = ChangeCapture(self._context, prepared.names, connection, self._stop_position, cached_until)
        return capture.run()
