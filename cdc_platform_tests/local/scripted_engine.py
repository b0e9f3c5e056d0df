"""A task engine that does what the test says: reports are scripted, calls are remembered, no database."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.contract import (
    FaultSwitch,
    StartRequest,
    TableStatistics,
    TaskReport,
    TaskSpec,
    TaskStatus,
)

CHECKPOINT = "checkpoint:V1#1#00000000/0000{count:04X}#0#0#*#0#0"


class ScriptedRun:
    """A run that goes on until it is stopped or told to end."""

    def __init__(self, engine: ScriptedEngine, spec: TaskSpec, request: StartRequest) -> None:
        self.spec = spec
        self.request = request
        self.reloaded: list[tuple[str, str]] = []
        self.holds_stop = False
        self._engine = engine
        self._ended = threading.Event()
        tables = [TableStatistics("public", name, "Table completed", 3) for name in engine.tables]
        self.state = TaskReport(
            TaskStatus.RUNNING,
            recovery_checkpoint=CHECKPOINT.format(count=len(engine.runs) + 1),
            tables_loaded=len(tables),
            full_load_progress_percent=100,
            started_at=datetime.now(UTC),
            tables=tables,
        )
        self._save()

    def _save(self) -> None:
        self._engine.saved[str(self.spec.folder)] = replace(self.state)

    def end(self, status: TaskStatus, reason: str, message: str | None = None) -> None:
        """End the run as if by itself."""
        self.state = replace(
            self.state,
            status=status,
            stop_reason=reason,
            last_failure_message=message,
            stopped_at=datetime.now(UTC),
        )
        self._save()
        self._ended.set()

    def stop(self) -> None:
        if not self.holds_stop:
            self.end(TaskStatus.STOPPED, "Stop Reason NORMAL")

    def reload_tables(self, tables: Sequence[tuple[str, str]]) -> None:
        self.reloaded.extend(tables)

    def report(self) -> TaskReport:
        return replace(self.state)

    def join(self, timeout_seconds: float) -> bool:
        return self._ended.wait(timeout_seconds)


class ScriptedEngine:
    """Makes scripted runs; ``saved`` stands for the tasks' folders and outlives an endpoint."""

    def __init__(self, tables: Sequence[str] = ("product", "store")) -> None:
        self.tables = tuple(tables)
        self.runs: list[ScriptedRun] = []
        self.saved: dict[str, TaskReport] = {}
        self.refusal: str | None = None
        self.ends_at_once: str | None = None
        self.connection_failure: str | None = None
        self.accepted_password: str | None = None
        self.seen_sources: list[Mapping[str, Any]] = []

    def start(self, spec: TaskSpec, request: StartRequest, faults: FaultSwitch) -> ScriptedRun:
        if self.refusal is not None:
            raise LocalServiceError(self.refusal)
        run = ScriptedRun(self, spec, request)
        self.runs.append(run)
        if self.ends_at_once is not None:
            run.end(TaskStatus.STOPPED, self.ends_at_once)
        return run

    def last_report(self, spec: TaskSpec) -> TaskReport | None:
        saved = self.saved.get(str(spec.folder))
        return replace(saved) if saved is not None else None

    def forget(self, spec: TaskSpec) -> None:
        if self.refusal is not None:
            raise LocalServiceError(self.refusal)
        self.saved.pop(str(spec.folder), None)

    def test_connection(self, source: Mapping[str, Any]) -> str | None:
        self.seen_sources.append(source)
        if self.accepted_password not in (None, source.get("Password")):
            return "password authentication failed"
        return self.connection_failure
