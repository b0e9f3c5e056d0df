"""What every part of a run shares: the task, its options, its state, its source and its files."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cdc_platform.local.contract import FaultSwitch, TableStatistics, TaskSpec
from cdc_platform.local.engine.mappings import TableMappings
from cdc_platform.local.engine.options import FileOptions, TaskOptions
from cdc_platform.local.engine.outcome import RunFailed
from cdc_platform.local.engine.publish import Publisher
from cdc_platform.local.engine.shape import RowShape
from cdc_platform.local.engine.source import Source, SourceTable
from cdc_platform.local.engine.state import TableProgress, TaskState, save_state

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A source table's place at the target."""

    id: str
    folder: Path


@dataclass(slots=True)
class RunContext:
    """One run of one task."""

    spec: TaskSpec
    mappings: TableMappings
    files: FileOptions
    options: TaskOptions
    source: Source
    state: TaskState
    publisher: Publisher
    faults: FaultSwitch
    started_at: datetime
    stopping: threading.Event = field(default_factory=threading.Event)
    reloads: deque[tuple[str, str]] = field(default_factory=deque)

    @property
    def is_stopping(self) -> Callable[[], bool]:
        """Tells whether the run was asked to stop."""
        return self.stopping.is_set

    def save(self) -> None:
        """Make the state durable."""
        self.state.clock_ms = self.publisher.clock.last_ms
        self.state.report.recovery_checkpoint = self.state.checkpoint
        save_state(self.spec.folder, self.state)

    def target_of(self, schema: str, table: str) -> TargetTable:
        """Return where a table's files go."""
        target_schema, target_table = self.mappings.target_of(schema, table)
        root = self.spec.raw_root / self.files.bucket / self.files.folder
        return TargetTable(f"{schema}.{table}", root / target_schema / target_table)

    def progress_of(self, table: SourceTable) -> TableProgress:
        """Return the table's progress, new if it was never met."""
        if table.id not in self.state.tables:
            statistics = TableStatistics(table.schema, table.name)
            self.state.tables[table.id] = TableProgress(statistics)
        return self.state.tables[table.id]

    def shape_of(self, table: SourceTable, *, is_load: bool) -> RowShape:
        """Return how rows of the table look in files."""
        return RowShape(table, self.mappings, self.files, self.options, is_load=is_load)

    def fail_table(self, table_id: str, fault: Exception) -> None:
        """Suspend a table for a fault of its own. Raises RunFailed when the task must stop for it."""
        if isinstance(fault, RunFailed):
            raise fault
        self.suspend(table_id, str(fault))
        if self.options.stops_on_table_error:
            raise RunFailed(str(fault), where=table_id, mend="mend it, then reload the table")

    def suspend(self, table_id: str, why: str) -> None:
        """Give one table up, as DMS does, and carry on with the others."""
        progress = self.state.tables[table_id]
        progress.is_suspended = True
        progress.statistics.table_state = "Table error"
        progress.statistics.last_update_time = datetime.now(UTC)
        self.state.report.last_failure_message = self.source.hide_secrets(f"{table_id} was suspended: {why}")
        self.count_tables()
        _LOG.warning("task %s: %s", self.spec.identifier, self.state.report.last_failure_message)

    def count_tables(self) -> None:
        """Bring the report's table counts up to date."""
        report, tables = self.state.report, list(self.state.tables.values())
        states = [progress.statistics.table_state for progress in tables]
        report.tables_loaded = sum(state == "Table completed" for state in states)
        report.tables_loading = sum(state in ("Full load", "Table is being reloaded") for state in states)
        report.tables_queued = sum(state == "Before load" for state in states)
        report.tables_errored = sum(state == "Table error" for state in states)
