"""A source whose every change has a number of its own, and a DMS task on it that plain boto3 drives."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform.local.engine import PostgresTaskEngine
from cdc_platform.lsn import lsn_value
from cdc_platform.replication import (
    position_of,
)
from cdc_platform_tests.local.conftest import QUICK, dms_client_for
from cdc_platform_tests.local.task_bench import RULES
from cdc_platform_tests.patience import Patience

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

ROLE = "arn:aws:iam::000000000000:role/dms"
WAIT_SECONDS = 60.0


@dataclass
class Shop:
    """A table whose every change writes the next number into its row."""

    dsn: str
    written: int = 0
    loaded: int = 0
    numbers: list[int] = field(default_factory=list)

    def create(self, rows: int) -> None:
        """Make the table with ``rows`` rows before any task."""
        self._run("create table event (id int primary key, number int not null)")
        self._run(f"insert into event select i, 0 from generate_series(1, {rows}) i")
        self.loaded = rows

    def change(self, count: int = 1) -> None:
        """Update rows ``count`` times, each in a transaction of its own with a number of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for _ in range(count):
                self.written += 1
                row = 1 + self.written % self.loaded
                connection.execute("update event set number = %s where id = %s", (self.written, row))

    def slots(self) -> int:
        """Return how many replication slots the database has."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(
                "select count(*) from pg_replication_slots where database = current_database()"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def position(self) -> int:
        """Return the log's end as a number."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute("select pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        return lsn_value(row[0])

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@dataclass
class Task:
    """A task of plain boto3, and the files it wrote."""

    client: DatabaseMigrationServiceClient
    arn: str
    raw: Path

    def start(self, start_type: str = "start-replication", **positions: str) -> None:
        self.client.start_replication_task(
            ReplicationTaskArn=self.arn,
            StartReplicationTaskType=start_type,  # type: ignore[arg-type]
            **positions,
        )

    def stop(self) -> Mapping[str, Any]:
        self.client.stop_replication_task(ReplicationTaskArn=self.arn)
        self.client.get_waiter("replication_task_stopped").wait(Filters=self.filters, WaiterConfig=QUICK)
        return self.describe()

    def describe(self) -> Mapping[str, Any]:
        return self.client.describe_replication_tasks(Filters=self.filters)["ReplicationTasks"][0]

    def wait(self, reached: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        patience = Patience(WAIT_SECONDS)
        while True:
            task = self.describe()
            if reached(task):
                return task
            told = {name: task.get(name) for name in ("Status", "StopReason", "LastFailureMessage")}
            assert task["Status"] != "failed", told
            assert not patience.is_over, (told, task["ReplicationTaskStats"])
            time.sleep(0.02)

    def wait_for_load(self) -> None:
        self.wait(lambda task: task["ReplicationTaskStats"]["FullLoadProgressPercent"] == 100)

    def catch_up(self, shop: Shop) -> None:
        """Wait until all that was committed so far is in visible files: a stop does not wait for it."""
        end = shop.position()
        self.wait(lambda task: _position(task) >= end)

    def statistics(self) -> Mapping[str, Any]:
        return self.client.describe_table_statistics(ReplicationTaskArn=self.arn)["TableStatistics"][0]

    @property
    def filters(self) -> Any:
        return [{"Name": "replication-task-arn", "Values": [self.arn]}]

    def load_rows(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file in self.raw.rglob("LOAD*.parquet"))

    def changes(self) -> Counter[int]:
        """Return how often each change is in the files."""
        files = [file for file in self.raw.rglob("2*.parquet") if not file.name.startswith(".")]
        return Counter(number for file in files for number in pq.read_table(file)["number"].to_pylist())

    def sequences(self) -> Mapping[int, set[str]]:
        """Return the change sequences each change has in the files."""
        found: dict[int, set[str]] = {}
        for file in self.raw.rglob("2*.parquet"):
            table = pq.read_table(file)
            for number, sequence in zip(
                table["number"].to_pylist(), table["cdc_change_seq"].to_pylist(), strict=True
            ):
                found.setdefault(number, set()).add(sequence)
        return found


def _position(task: Mapping[str, Any]) -> int:
    return lsn_value(position_of(task.get("RecoveryCheckpoint", "")) or "0/0")


def make_task(
    client: DatabaseMigrationServiceClient,
    dsn: str,
    raw_root: Path,
    name: str = "copy",
    migration_type: str = "full-load-and-cdc",
    slot: str | None = None,
    min_file_kb: int = 32_000,
    **positions: Any,
) -> Task:
    """Make an instance, endpoints and a task as any DMS user would, with nothing but boto3."""
    instance = client.create_replication_instance(
        ReplicationInstanceIdentifier=f"{name}-box", ReplicationInstanceClass="dms.t3.medium"
    )["ReplicationInstance"]["ReplicationInstanceArn"]
    parts = conninfo_to_dict(dsn)
    source = client.create_endpoint(
        EndpointIdentifier=f"{name}-source",
        EndpointType="source",
        EngineName="postgres",
        ServerName=str(parts["host"]),
        Port=int(str(parts["port"])),
        DatabaseName=str(parts["dbname"]),
        Username=str(parts["user"]),
        Password=str(parts["password"]),
        PostgreSQLSettings={"SlotName": slot} if slot is not None else {},
    )["Endpoint"]["EndpointArn"]
    target = client.create_endpoint(
        EndpointIdentifier=f"{name}-target",
        EndpointType="target",
        EngineName="s3",
        S3Settings={
            "BucketName": "bucket",
            "BucketFolder": "shop",
            "ServiceAccessRoleArn": ROLE,
            "DataFormat": "parquet",
            "TimestampColumnName": "dms_timestamp",
            "CdcMaxBatchInterval": 1,
            "CdcMinFileSize": min_file_kb,
        },
    )["Endpoint"]["EndpointArn"]
    for endpoint in (source, target):
        client.test_connection(ReplicationInstanceArn=instance, EndpointArn=endpoint)
        client.get_waiter("test_connection_succeeds").wait(
            Filters=[{"Name": "endpoint-arn", "Values": [endpoint]}], WaiterConfig=QUICK
        )
    task = client.create_replication_task(
        ReplicationTaskIdentifier=name,
        ReplicationInstanceArn=instance,
        SourceEndpointArn=source,
        TargetEndpointArn=target,
        MigrationType=migration_type,  # type: ignore[arg-type]
        TableMappings=json.dumps({"rules": RULES}),
        **positions,
    )["ReplicationTask"]["ReplicationTaskArn"]
    return Task(client, task, raw_root / "bucket" / "shop")


@pytest.fixture(name="shop")
def event_shop(postgres_database: str) -> Shop:
    """A table of 50 rows in a database of its own."""
    made = Shop(postgres_database)
    made.create(rows=50)
    return made


@pytest.fixture(name="client")
def task_client(tmp_path: Path) -> Iterator[DatabaseMigrationServiceClient]:
    """A DMS client of a local endpoint that writes below ``raw``."""
    with DmsEndpoint(tmp_path / "dms", PostgresTaskEngine(), tmp_path / "raw") as endpoint:
        opened = dms_client_for(endpoint.url)
        yield opened
        opened.close()
