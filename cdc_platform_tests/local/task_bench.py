"""A bench for tasks of the replication engine: builds specifications, waits, reads the files, folds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from psycopg.conninfo import conninfo_to_dict

from cdc_platform.local.contract import RunningTask, StartRequest, StartType, TaskReport, TaskSpec, TaskStatus
from cdc_platform.local.engine import PostgresTaskEngine
from cdc_platform_tests.patience import Patience

ENDED = (TaskStatus.STOPPED, TaskStatus.FAILED)
SELECT_ALL = {
    "rule-type": "selection",
    "rule-id": "1",
    "rule-name": "all",
    "object-locator": {"schema-name": "public", "table-name": "%"},
    "rule-action": "include",
}


def added_column(name: str, expression: str, rule_id: int, **data_type: object) -> dict[str, Any]:
    """Return an add-column rule for every table."""
    return {
        "rule-type": "transformation",
        "rule-id": str(rule_id),
        "rule-name": name,
        "rule-target": "column",
        "object-locator": {"schema-name": "%", "table-name": "%"},
        "rule-action": "add-column",
        "value": name,
        "expression": expression,
        "data-type": data_type or {"type": "string", "length": 50},
    }


def before_images(column_filter: str = "pk-only") -> dict[str, Any]:
    """Return an add-before-image-columns rule for every table."""
    return {
        "rule-type": "transformation",
        "rule-id": "90",
        "rule-name": "before",
        "rule-target": "column",
        "object-locator": {"schema-name": "%", "table-name": "%"},
        "rule-action": "add-before-image-columns",
        "before-image-def": {"column-prefix": "BI_", "column-suffix": "", "column-filter": column_filter},
    }


RULES = [
    SELECT_ALL,
    added_column("cdc_change_seq", "$AR_H_CHANGE_SEQ", 2),
    added_column("cdc_stream_position", "$AR_H_STREAM_POSITION", 3),
    before_images(),
]


class ArmedFaults:
    """A fault switch of one test: each armed fault is met once."""

    def __init__(self) -> None:
        self.armed: list[tuple[str, str | None, dict[str, Any]]] = []

    def arm(self, fault: str, table: str | None = None, **options: object) -> None:
        """Arm a fault for the next that passes."""
        self.armed.append((fault, table, dict(options)))

    def take(self, task: str, fault: str, table: str | None = None) -> Mapping[str, Any] | None:
        """Spend a fault."""
        for each in self.armed:
            if each[0] == fault and each[1] in (None, table):
                self.armed.remove(each)
                return each[2]
        return None


class TaskBench:
    """One task against one database, its files under ``folder``."""

    def __init__(self, dsn: str, folder: Path, **changes: Any) -> None:
        self.dsn = dsn
        self.engine = PostgresTaskEngine()
        self.faults = ArmedFaults()
        self.run: RunningTask | None = None
        self.spec = task_spec(dsn, folder, **changes)
        self.root = folder / "raw" / "bucket"

    def start(
        self, start_type: StartType = StartType.START, *, position: str | None = None, stop: str | None = None
    ) -> RunningTask:
        """Begin a run."""
        request = StartRequest(start_type, cdc_start_position=position, cdc_stop_position=stop)
        self.run = self.engine.start(self.spec, request, self.faults)
        return self.run

    def report(self) -> TaskReport:
        """Return the run's report."""
        assert self.run is not None
        return self.run.report()

    def wait(self, condition: Callable[[TaskReport], bool], seconds: float = 60) -> TaskReport:
        """Wait until the report meets the condition; an end of the run on the way is a failure."""
        patience = Patience(seconds)
        while True:
            report = self.report()
            if condition(report):
                return report
            assert report.status not in ENDED, report
            assert not patience.is_over, report
            time.sleep(0.01)

    def wait_for_load(self) -> TaskReport:
        """Wait until the full load is done."""
        return self.wait(lambda report: report.full_load_finished_at is not None)

    def end(self) -> TaskReport:
        """Wait for a run that ends by itself."""
        assert self.run is not None
        patience = Patience(60)
        while not self.run.join(0.5):
            assert not patience.is_over, self.report()
        return self.report()

    def stop(self) -> TaskReport:
        """Stop the run and wait."""
        assert self.run is not None
        self.run.stop()
        return self.end()

    def catch_up(self) -> TaskReport:
        """Wait until everything committed so far is in visible files."""
        target = current_lsn(self.dsn)
        return self.wait(lambda report: checkpoint_lsn(report) >= target)

    def execute(self, *statements: str) -> None:
        """Run statements at the source, one transaction each."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def files(self, table: str, schema: str = "public") -> list[Path]:
        """Return the table's visible files: full load first, then changes by name."""
        folder = self.root / schema / table
        found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return sorted(found, key=lambda path: (not path.name.startswith("LOAD"), path.name))

    def rows(self, table: str, schema: str = "public") -> list[dict[str, Any]]:
        """Return the rows of the table's Parquet files in file order."""
        return [row for path in self.files(table, schema) for row in pq.read_table(path).to_pylist()]

    def changes(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of the table's change files."""
        return [row for row in self.rows(table) if row.get("Op")]

    def fold(self, table: str, key: str) -> dict[Any, dict[str, Any]]:
        """Return the table as its files tell it: the oracle that nothing was lost."""
        state: dict[Any, dict[str, Any]] = {}
        for row in sorted(self.rows(table), key=lambda row: row["cdc_change_seq"] or ""):
            before = row.get(f"BI_{key}")
            if before is not None:
                state.pop(before, None)
            if row.get("Op") == "D":
                state.pop(row[key], None)
            else:
                state[row[key]] = {name: value for name, value in row.items() if name not in _CONTROL}
        return state

    def source(self, table: str, key: str) -> dict[Any, dict[str, Any]]:
        """Return the table as the database tells it."""
        with psycopg.connect(self.dsn, row_factory=psycopg.rows.dict_row) as connection:
            connection.execute("SET timezone TO 'UTC'")
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # type: ignore[arg-type]
        for row in rows:
            for name, value in row.items():
                if isinstance(value, bool):
                    row[name] = "true" if value else "false"
        return {row[key]: row for row in rows}


_CONTROL = {"Op", "dms_timestamp", "cdc_change_seq", "cdc_stream_position", "BI_id", "BI_order_id"}


def task_spec(
    dsn: str,
    folder: Path,
    *,
    migration_type: str = "full-load-and-cdc",
    target: Mapping[str, Any] | None = None,
    rules: list[dict[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    identifier: str = "shop-cdc",
) -> TaskSpec:
    """Return a specification: Parquet, a timestamp column, sequences, positions and before images."""
    parts = conninfo_to_dict(dsn)
    endpoint = {
        "ServerName": parts["host"],
        "Port": int(str(parts["port"])),
        "DatabaseName": parts["dbname"],
        "Username": parts["user"],
        "Password": parts["password"],
    }
    files = {
        "BucketName": "bucket",
        "DataFormat": "parquet",
        "TimestampColumnName": "dms_timestamp",
        "CdcMaxBatchInterval": 0,
    }
    return TaskSpec(
        identifier=identifier,
        migration_type=migration_type,
        source=endpoint | dict(source or {}),
        target=files | dict(target or {}),
        table_mappings={"rules": rules if rules is not None else RULES},
        settings=settings or {},
        folder=folder / "task",
        raw_root=folder / "raw",
    )


def checkpoint_lsn(report: TaskReport) -> int:
    """Return the LSN of the report's checkpoint, 0 without one."""
    if report.recovery_checkpoint is None:
        return 0
    high, _, low = report.recovery_checkpoint.split("#")[2].partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def current_lsn(dsn: str) -> int:
    """Return the end of the database's log."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    high, _, low = row[0].partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def file_ms(path: Path) -> int:
    """Return the time in the name of a change file, in milliseconds since 1970."""
    moment = datetime.strptime(path.stem + "000", "%Y%m%d-%H%M%S%f")
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)
