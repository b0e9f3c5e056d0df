"""The checkpoint of a source's task, kept where it outlives the task: AWS forgets it with the task.

It is taken only from a task that has stopped well, when everything up to it is in visible files, and it never
moves back: a run that lost the race, or woke up late, is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cdc_platform.errors import ReplicationError
from cdc_platform.lsn import lsn_value
from cdc_platform.replication.task_state import TaskState, position_of, require_success
from cdc_platform.state import ABSENT, StateEntry, StateStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CHECKPOINT_KIND = "dms-checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the replication of a source can go on. ``text`` is DMS's own, verbatim."""

    text: str
    position: str | None
    task_arn: str
    task_identifier: str
    stop_reason: str | None
    taken_at: str


def record_checkpoint(
    state: StateStore,
    source: str,
    task: TaskState,
    *,
    may_step_back: bool = False,
    now: datetime | None = None,
) -> Checkpoint:
    """Keep the checkpoint of a stopped task; keeping the same one again changes nothing.

    ``may_step_back`` is for a source that was itself restored to an earlier time.

    Raises ReplicationError when the task has not stopped, has no checkpoint, or stands before the one kept;
    TaskFailed when it ended badly; StateConflict when another run was first.
    """
    where = f"source {source}, task {task.identifier}"
    new = _checkpoint_of(task, where, now or datetime.now(UTC))
    before = _entry(state, source)
    if before is not None:
        kept = _checkpoint(before.value)
        if (kept.text, kept.task_arn) == (new.text, new.task_arn):
            return kept
        if not may_step_back:
            _refuse_step_back(where, kept, new)
    version = before.version if before is not None else ABSENT
    state.put_if_version(CHECKPOINT_KIND, source, asdict(new), version)
    return new


def _checkpoint_of(task: TaskState, where: str, now: datetime) -> Checkpoint:
    if task.status != "stopped":
        what = f"a checkpoint is taken from a stopped task, this one is {task.status}"
        raise ReplicationError(what, where=where, mend="stop it first")
    require_success(task)
    if task.checkpoint is None:
        raise ReplicationError(
            "DMS told no checkpoint", where=where, mend="reload the task to start a new line"
        )
    return Checkpoint(
        text=task.checkpoint,
        position=position_of(task.checkpoint),
        task_arn=task.arn,
        task_identifier=task.identifier,
        stop_reason=task.stop_reason,
        taken_at=now.isoformat(),
    )


def last_checkpoint(state: StateStore, source: str) -> Checkpoint | None:
    """Return the checkpoint kept for a source, None when there is none."""
    entry = _entry(state, source)
    return _checkpoint(entry.value) if entry is not None else None


def _entry(state: StateStore, source: str) -> StateEntry | None:
    return state.get(CHECKPOINT_KIND, source)


def _checkpoint(value: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(**value)


def _refuse_step_back(where: str, kept: Checkpoint, new: Checkpoint) -> None:
    if kept.position is None or new.position is None:
        return
    if lsn_value(new.position) < lsn_value(kept.position):
        raise ReplicationError(
            f"checkpoint {new.position} stands before the one kept, {kept.position}",
            where=where,
            mend="another run was later; after a restore of the source, reload and allow the step back",
        )
