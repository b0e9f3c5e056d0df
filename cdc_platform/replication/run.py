"""Start and stop a task and wait for it, under this platform's own deadlines.

boto3's waiters give up after fifteen minutes and take any ``stopped`` for success; a load may take days, and
a task may stop because its disk is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cdc_platform.errors import CdcError, TaskFailed, TaskTimedOut
from cdc_platform.replication.client import dms_errors, is_loopback, poll_seconds_of
from cdc_platform.replication.task_state import TaskState, describe_task, require_success

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

    from cdc_platform.config.model import PlatformConfig

Progress = Callable[[str], None]

START_SECONDS = 15 * 60.0
STOP_SECONDS = 15 * 60.0


def start(
    client: DatabaseMigrationServiceClient,
    task: str,
    *,
    reload: bool = False,
    position: str | None = None,
    stop_position: str | None = None,
    timeout_seconds: float = START_SECONDS,
    progress: Progress = lambda _: None,
) -> TaskState:
    """Start the task and wait until it runs (or has already ended well); a task that runs is left running,
    unless ``reload`` or ``position`` asks for another run: it is stopped first then.

    A first run is ``start-replication``; a later one resumes, unless ``reload`` asks to load all over again,
    or a ``position`` (LSN or checkpoint) asks a change-capture task to begin there.
    Raises TaskFailed, TaskTimedOut, ReplicationError.
    """
    before = describe_task(client, task)
    if before.status == "stopping" or (before.is_live and (reload or position is not None)):
        before = stop(client, task, timeout_seconds=timeout_seconds, progress=progress)
    if not before.is_live:
        start_type = _start_type(before, reload=reload, position=position)
        positions: dict[str, Any] = {}
        if position is not None:
            positions["CdcStartPosition"] = position
        if stop_position is not None:
            positions["CdcStopPosition"] = stop_position
        progress(f"task {task}: {start_type}")
        with dms_errors(f"task {task}"):
            client.start_replication_task(
                ReplicationTaskArn=before.arn, StartReplicationTaskType=cast("Any", start_type), **positions
            )
    state = wait_until(
        client, task, {"running", "stopped"}, timeout_seconds=timeout_seconds, progress=progress
    )
    return require_success(state) if state.status == "stopped" else state


def _start_type(before: TaskState, *, reload: bool, position: str | None) -> str:
    if not before.has_run or (position is not None and before.migration_type == "cdc"):
        return "start-replication"
    return "reload-target" if reload else "resume-processing"


def stop(
    client: DatabaseMigrationServiceClient,
    task: str,
    *,
    timeout_seconds: float = STOP_SECONDS,
    progress: Progress = lambda _: None,
) -> TaskState:
    """Stop the task and wait until it has flushed what it holds; its checkpoint then covers every file.

    A task that is not running is left as it is. Raises TaskFailed when it ended badly, TaskTimedOut.
    """
    state = describe_task(client, task)
    if state.status in ("creating", "ready"):
        return state
    if state.status == "starting":
        wait_until(client, task, {"running", "stopped"}, timeout_seconds=timeout_seconds)
        state = describe_task(client, task)
    if state.status == "running":
        progress(f"task {task}: stopping")
        with dms_errors(f"task {task}"):
            client.stop_replication_task(ReplicationTaskArn=state.arn)
    return require_success(
        wait_until(client, task, {"stopped"}, timeout_seconds=timeout_seconds, progress=progress)
    )


def wait_until(
    client: DatabaseMigrationServiceClient,
    task: str,
    wanted: Collection[str] | Callable[[TaskState], bool],
    *,
    timeout_seconds: float,
    poll_seconds: float | None = None,
    progress: Progress = lambda _: None,
) -> TaskState:
    """Wait until the task's status is one of ``wanted``, or ``wanted`` says yes to its state.

    Raises TaskFailed as soon as the task has ended (failed, or stopped) short of that, TaskTimedOut at the
    deadline.
    """
    is_reached = wanted if callable(wanted) else (lambda state: state.status in wanted)
    pause = poll_seconds if poll_seconds is not None else poll_seconds_of(client)
    deadline = time.monotonic() + timeout_seconds
    last = ""
    while True:
        state = describe_task(client, task)
        if is_reached(state):
            return state
        if state.status in ("failed", "stopped"):
            require_success(state)
            what = f"the task stopped before that ({state.stop_reason or 'no reason given'})"
            raise TaskFailed(what, where=f"task {task}", mend="start it again")
        if time.monotonic() > deadline:
            what = f"still {state.status} after {timeout_seconds:.0f} s"
            raise TaskTimedOut(what, where=f"task {task}", mend="look at the task's log, or wait longer")
        if (told := f"{state.status}, {state.full_load_percent} % loaded") != last:
            progress(f"task {task}: {told}")
            last = told
        time.sleep(pause)


def raw_root_of(config: PlatformConfig, client: DatabaseMigrationServiceClient) -> Path | None:
    """Return where a local DMS keeps its buckets; None for AWS and for stand-ins that do not tell."""
    from cdc_platform.local.faults import endpoint_health

    url = client.meta.endpoint_url
    if not is_loopback(url):
        return None
    try:
        return Path(endpoint_health(url)["raw_root"])
    except (CdcError, KeyError):
        return None
