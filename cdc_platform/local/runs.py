"""The runs of tasks inside the endpoint's process, and what outlasts it.

A task document remembers what its owner asked for (``_wanted``). A run that ends by itself takes that wish
with it; a run that ends because the endpoint does leaves it standing, and the next start of the endpoint
resumes the task from its checkpoint, as DMS resumes tasks after its replication instance was rebooted.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdc_platform.errors import CdcError, redact
from cdc_platform.local.contract import (
    FaultSwitch,
    RunningTask,
    StartRequest,
    StartType,
    TaskEngine,
    TaskReport,
    TaskSpec,
    TaskStatus,
)
from cdc_platform.local.store import ApiStore, Document

TASK = "task"
FATAL = "Stop Reason FATAL_ERROR"
RECOVERABLE = "Stop Reason RECOVERABLE_ERROR"
_ENDED = (TaskStatus.STOPPED, TaskStatus.FAILED)
_LOG = logging.getLogger(__name__)


class TaskRuns:
    """Starts, watches, stops and resumes runs; tells each task's report. Safe from any thread.

    ``spec_of`` turns a task document into what the engine runs; ``on_end`` hears of every run that ended.
    """

    def __init__(
        self,
        store: ApiStore,
        engine: TaskEngine,
        faults: FaultSwitch,
        spec_of: Callable[[Document], TaskSpec],
        on_end: Callable[[Document, TaskReport], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._faults = faults
        self._spec_of = spec_of
        self._on_end = on_end
        self._lock = threading.RLock()
        self._running: dict[str, RunningTask] = {}
        self._watchers: dict[str, threading.Thread] = {}
        self._is_suspending = False

    def start(self, task: Document, request: StartRequest) -> None:
        """Begin a run. A start the engine refuses leaves the task failed, as DMS does, with its message."""
        arn = task["ReplicationTaskArn"]
        self._settle(arn)
        with self._lock:
            task |= {"_wanted": "running", "_stopping": False, "_suspended": False, "_refusal": None}
            task |= {"_request": _request_document(request), "_started": time.time()}
            task["_runs"] = task.get("_runs", 0) + 1
            self._store.put(TASK, arn, task)
            try:
                run = self._engine.start(self._spec_of(task), request, self._faults)
            except CdcError as fault:
                self._refuse(task, str(fault))
                return
            self._running[arn] = run
            self._store.put(TASK, arn, task | {"_has_run": True})
            watcher = threading.Thread(target=self._watch, args=(arn, run), name=f"watch {arn}", daemon=True)
            self._watchers[arn] = watcher
            watcher.start()

    def _refuse(self, task: Document, message: str) -> None:
        task |= {"_wanted": "stopped", "_refusal": redact(message)}
        self._store.put(TASK, task["ReplicationTaskArn"], task)
        self._on_end(task, TaskReport(TaskStatus.FAILED, stop_reason=FATAL))

    def _watch(self, arn: str, run: RunningTask) -> None:
        while not run.join(3600):
            continue
        with self._lock:
            if self._running.get(arn) is not run:
                return
            task = self._store.get(TASK, arn)
            if task is None or self._is_suspending:
                return
            task |= {"_wanted": "stopped", "_stopping": False}
            self._store.put(TASK, arn, task)
        self._on_end(task, run.report())

    def stop(self, task: Document) -> None:
        """Ask the task's run to stop; it ends in its own time."""
        with self._lock:
            task |= {"_wanted": "stopped", "_stopping": True}
            self._store.put(TASK, task["ReplicationTaskArn"], task)
            run = self._running.get(task["ReplicationTaskArn"])
        if run is not None:
            run.stop()

    def reload(self, task: Document, tables: Sequence[tuple[str, str]]) -> None:
        """Load tables again while the task runs."""
        run = self._running.get(task["ReplicationTaskArn"])
        if run is not None:
            run.reload_tables(tables)

    def report(self, task: Document) -> TaskReport | None:
        """Return the task's report: of its run, else of its last run; None when it never ran."""
        if not task.get("_runs"):
            return None
        run = self._running.get(task["ReplicationTaskArn"])
        stored = run.report() if run is not None else self._engine.last_report(self._spec_of(task))
        report = stored or TaskReport(TaskStatus.STARTING if run is not None else TaskStatus.FAILED)
        if task.get("_refusal"):
            message = task["_refusal"]
            return replace(report, status=TaskStatus.FAILED, stop_reason=FATAL, last_failure_message=message)
        if report.status in _ENDED:
            return report
        if run is None:
            return replace(report, status=TaskStatus.STOPPED, stop_reason=RECOVERABLE)
        return replace(report, status=TaskStatus.STOPPING) if task.get("_stopping") else report

    def is_live(self, task: Document) -> bool:
        """Return whether the task is starting, running or stopping."""
        report = self.report(task)
        return report is not None and report.status not in _ENDED

    def forget(self, task: Document) -> str | None:
        """Drop the run and all state of a task that is being deleted; return what could not be cleaned up."""
        self._settle(task["ReplicationTaskArn"])
        self._running.pop(task["ReplicationTaskArn"], None)
        spec = self._spec_of(task)
        left: str | None = None
        try:
            self._engine.forget(spec)
        except CdcError as fault:
            left = str(fault)
            _LOG.warning("task %s is deleted, but: %s", spec.identifier, left)
        if spec.folder.exists():
            shutil.rmtree(spec.folder)
        return left

    def _settle(self, arn: str) -> None:
        """Let the watcher of an ended run finish, so that it cannot undo what comes next."""
        watcher = self._watchers.pop(arn, None)
        if watcher is not None:
            watcher.join(30)

    def resume_all(self) -> None:
        """Resume every task that was running when the endpoint ended."""
        for task in self._store.all(TASK):
            if task.get("_wanted") != "running":
                continue
            last = self._engine.last_report(self._spec_of(task))
            ended_alone = last is not None and last.status in _ENDED and not task.get("_suspended")
            if ended_alone:
                self._store.put(TASK, task["ReplicationTaskArn"], task | {"_wanted": "stopped"})
                continue
            _LOG.info("resuming task %s", task["ReplicationTaskIdentifier"])
            self.start(task, _resume_request(task, has_state=last is not None))

    def suspend_all(self, timeout_seconds: float) -> None:
        """End every run for the end of the endpoint; the tasks stay wanted and resume at its next start."""
        with self._lock:
            self._is_suspending = True
            live = {arn: run for arn, run in self._running.items() if run.report().status not in _ENDED}
            for arn in live:
                task = self._store.get(TASK, arn)
                if task is not None and not task.get("_stopping"):
                    self._store.put(TASK, arn, task | {"_suspended": True})
        for run in live.values():
            run.stop()
        deadline = time.monotonic() + timeout_seconds
        for arn, run in live.items():
            if not run.join(max(0.0, deadline - time.monotonic())):
                _LOG.warning("task %s did not end in time; it resumes from its last checkpoint", arn)
        for watcher in list(self._watchers.values()):
            watcher.join(max(0.0, deadline - time.monotonic()))


def task_folder(root: Path, arn: str) -> Path:
    """Return where a task keeps its durable state: by its unique resource id, never by its reusable name."""
    return root / "tasks" / arn.rpartition(":")[2]


def _request_document(request: StartRequest) -> Document:
    return {
        "start_type": request.start_type.value,
        "cdc_start_position": request.cdc_start_position,
        "cdc_start_time": request.cdc_start_time.timestamp() if request.cdc_start_time else None,
        "cdc_stop_position": request.cdc_stop_position,
    }


def _resume_request(task: Document, *, has_state: bool) -> StartRequest:
    asked: Mapping[str, Any] = task["_request"]
    if has_state:
        return StartRequest(StartType.RESUME, cdc_stop_position=asked["cdc_stop_position"])
    started = asked["cdc_start_time"]
    return StartRequest(
        StartType(asked["start_type"]),
        asked["cdc_start_position"],
        datetime.fromtimestamp(started, UTC) if started is not None else None,
        asked["cdc_stop_position"],
    )
