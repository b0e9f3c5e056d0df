"""What a task remembers between runs: its place in the log, its counters, its tables, its last report.

One JSON file in the task's folder, replaced atomically; the checkpoint in it is never ahead of the files.
"""

from __future__ import annotations

import json
import os
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, get_type_hints

from cdc_platform.local.contract import TableStatistics, TaskReport, TaskStatus
from cdc_platform.local.engine.lsn import checkpoint_text

_FILE = "engine.json"
_HISTORY = 100
_HISTORY_BYTES = 64 * 1024 * 1024
#: Added to the counter when what is counted may have changed, so that no sequence is given twice.
COUNTER_GAP = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A place between two transactions, with the change sequence as of there.

    ``time`` is the 16-digit time part and ``counter`` the counter of the last sequence given before it.
    """

    lsn: int
    time: int = 0
    counter: int = 0


@dataclass(slots=True)
class TableProgress:
    """A table of the task: whether its load is done, and from where on its changes count.

    Transactions committed before ``changes_from`` are in the load already.
    """

    statistics: TableStatistics
    is_loaded: bool = False
    changes_from: int = 0
    is_suspended: bool = False


@dataclass(slots=True)
class TaskState:
    """Everything durable about a task."""

    slot: str = ""
    is_own_slot: bool = True
    #: Whether ``position`` is one the slot can be read from; not while a slot is being made anew.
    has_place: bool = False
    #: Whether the full load that ``position`` follows is in visible files.
    is_load_done: bool = False
    position: LogPosition | None = None
    transactions: int = 0
    clock_ms: int = 0
    tables: dict[str, TableProgress] = field(default_factory=dict)
    history: deque[LogPosition] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    report: TaskReport = field(default_factory=lambda: TaskReport(TaskStatus.STARTING))

    @property
    def checkpoint(self) -> str | None:
        """The RecoveryCheckpoint: all that was committed before it is in visible files, the load too."""
        if self.position is None or not self.is_load_done:
            return None
        return checkpoint_text(self.transactions, self.position.lsn)

    @property
    def needed_lsn(self) -> int:
        """Before this LSN the task will never ask for the log again.

        It trails the checkpoint by a few transactions, so that re-emission after a resume can be provoked.
        """
        assert self.position is not None
        while self.history and self.history[0].lsn < self.position.lsn - _HISTORY_BYTES:
            self.history.popleft()
        return min(self.history[0].lsn, self.position.lsn) if self.history else self.position.lsn

    def earlier(self, transactions: int) -> LogPosition:
        """Return the position that many captured transactions before the checkpoint, as far as known."""
        assert self.position is not None
        before = [place for place in self.history if place.lsn < self.position.lsn]
        return before[-min(transactions, len(before))] if before else self.position


def load_state(folder: Path) -> TaskState | None:
    """Return the task's state, None when it never ran."""
    try:
        document = json.loads((folder / _FILE).read_text())
    except FileNotFoundError:
        return None
    tables = {
        name: TableProgress(
            _restored(TableStatistics, progress["statistics"]),
            progress["is_loaded"],
            progress["changes_from"],
            progress["is_suspended"],
        )
        for name, progress in document["tables"].items()
    }
    report = _restored(TaskReport, document["report"])
    report.tables = [progress.statistics for progress in tables.values()]
    position = document["position"]
    return TaskState(
        slot=document["slot"],
        is_own_slot=document["is_own_slot"],
        has_place=document["has_place"],
        is_load_done=document["is_load_done"],
        position=LogPosition(**position) if position else None,
        transactions=document["transactions"],
        clock_ms=document["clock_ms"],
        tables=tables,
        history=deque((LogPosition(**place) for place in document["history"]), maxlen=_HISTORY),
        report=report,
    )


def save_state(folder: Path, state: TaskState) -> None:
    """Replace the task's state; after this returns it survives a crash."""
    document = asdict(state) | {"history": [asdict(place) for place in state.history]}
    document["report"]["tables"] = []
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_FILE}.partial"
    with partial.open("w") as file:
        json.dump(document, file, default=_plain)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _FILE)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"cannot keep {type(value).__name__}")


def _restored(kind: type, document: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values = dict(document)
    for name, value in values.items():
        if isinstance(value, str) and hints[name] == datetime | None:
            values[name] = datetime.fromisoformat(value)
    if "status" in values:
        values["status"] = TaskStatus(values["status"])
    return kind(**values)
