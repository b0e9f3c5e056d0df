"""The whole of the local DMS: plain boto3 drives a real PostgreSQL's changes into files.

Every row change of the source has a number of its own, so that what is in the files can be counted: each
number once, none lost, none doubled, through stops, resumes, reloads, restarts and crashes.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import TaskFailed
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform.local.engine import PostgresTaskEngine
from cdc_platform.local.faults import arm_fault
from cdc_platform.local.services import down, up
from cdc_platform.lsn import lsn_value
from cdc_platform.replication import (
    TaskState,
    apply_replication,
    captured_position,
    dms_client,
    last_checkpoint,
    plan_replication,
    position_of,
    raw_root_of,
    record_checkpoint,
    start,
    stop,
    table_statistics,
    wait_until,
)
from cdc_platform.state import SqliteState
from cdc_platform_tests.local.conftest import QUICK, dms_client_for
from cdc_platform_tests.local.task_bench import RULES

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

pytestmark = pytest.mark.postgres

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
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            task = self.describe()
            if reached(task):
                return task
            told = {name: task.get(name) for name in ("Status", "StopReason", "LastFailureMessage")}
            assert task["Status"] != "failed", told
            assert time.monotonic() < deadline, (told, task["ReplicationTaskStats"])
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


@pytest.fixture
def shop(postgres_database: str) -> Shop:
    made = Shop(postgres_database)
    made.create(rows=50)
    return made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[DatabaseMigrationServiceClient]:
    with DmsEndpoint(tmp_path / "dms", PostgresTaskEngine(), tmp_path / "raw") as endpoint:
        opened = dms_client_for(endpoint.url)
        yield opened
        opened.close()


def once_each(count: int) -> Counter[int]:
    """What the files must hold: every change from 1 to ``count``, once."""
    return Counter(range(1, count + 1))


def test_a_task_loads_captures_stops_and_resumes_without_losing_or_doubling_a_change(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")

    task.start()
    task.wait_for_load()
    shop.change(30)
    first = task.stop()
    shop.change(30)
    task.start("resume-processing")
    shop.change(30)
    task.catch_up(shop)
    second = task.stop()

    assert task.load_rows() == 50
    assert task.changes() == once_each(90)
    assert first["StopReason"] == second["StopReason"] == "Stop Reason NORMAL"
    assert first["RecoveryCheckpoint"].startswith("checkpoint:V1#")
    assert first["RecoveryCheckpoint"] != second["RecoveryCheckpoint"]


def test_statistics_count_what_is_in_the_files(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()
    shop.change(12)
    task.catch_up(shop)
    stopped = task.stop()

    row = task.statistics()

    assert (row["SchemaName"], row["TableName"], row["TableState"]) == ("public", "event", "Table completed")
    assert (row["FullLoadRows"], row["Inserts"], row["Updates"], row["Deletes"]) == (50, 0, 12, 0)
    stats = stopped["ReplicationTaskStats"]
    assert (stats["TablesLoaded"], stats["TablesErrored"], stats["FullLoadProgressPercent"]) == (1, 0, 100)
    assert stats["StopDate"] >= stats["FullLoadFinishDate"] >= stats["FullLoadStartDate"]


def test_changes_made_while_a_load_runs_are_not_lost(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")

    task.start()
    shop.change(60)
    task.wait_for_load()
    task.catch_up(shop)
    task.stop()

    counts = task.changes()
    assert set(counts.values()) <= {1}
    loaded = pq.read_table(next(task.raw.rglob("LOAD*.parquet")))
    in_load = max(loaded["number"].to_pylist())
    missing = set(range(1, 61)) - set(counts)
    assert missing <= set(range(1, in_load + 1))


def test_a_new_task_goes_on_at_the_checkpoint_of_a_deleted_one(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        slot = f"mine_{Path(shop.dsn).name}"
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    first = make_task(client, shop.dsn, tmp_path / "raw", "first", "cdc", slot)
    first.start()
    client.get_waiter("replication_task_running").wait(Filters=first.filters, WaiterConfig=QUICK)
    shop.change(20)
    checkpoint = first.stop()["RecoveryCheckpoint"]
    client.delete_replication_task(ReplicationTaskArn=first.arn)
    shop.change(20)

    second = make_task(client, shop.dsn, tmp_path / "raw", "second", "cdc", slot)
    second.start(CdcStartPosition=checkpoint)
    shop.change(20)
    second.catch_up(shop)
    second.stop()

    assert second.changes() == once_each(60)


def test_a_task_goes_on_by_itself_after_a_restart_of_the_endpoint(shop: Shop, tmp_path: Path) -> None:
    folder, raw = tmp_path / "dms", tmp_path / "raw"
    with DmsEndpoint(folder, PostgresTaskEngine(), raw) as before:
        client = dms_client_for(before.url)
        task = make_task(client, shop.dsn, raw)
        task.start()
        task.wait_for_load()
        shop.change(20)
        client.close()
    shop.change(20)

    with DmsEndpoint(folder, PostgresTaskEngine(), raw) as after:
        task.client = dms_client_for(after.url)
        shop.change(20)
        task.catch_up(shop)
        task.stop()
        task.client.close()

    assert task.changes() == once_each(60)
    assert task.load_rows() == 50


def test_a_reload_writes_a_new_set_of_load_files_and_loses_no_change(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()
    shop.change(10)

    client.reload_tables(
        ReplicationTaskArn=task.arn, TablesToReload=[{"SchemaName": "public", "TableName": "event"}]
    )
    task.wait(lambda _: task.statistics().get("FullLoadReloaded", False))
    task.wait(lambda _: task.statistics()["TableState"] == "Table completed")
    shop.change(10)
    task.catch_up(shop)
    task.stop()

    assert set(range(11, 21)) <= set(task.changes())
    assert set(task.changes().values()) == {1}


@pytest.mark.parametrize("reason", ["STOPPED_DUE_TO_LOW_DISK", "FATAL_ERROR"])
def test_an_armed_stop_ends_the_task_for_that_reason_and_it_resumes_whole(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path, reason: str
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()

    arm_fault(client.meta.endpoint_url, "stop", task="copy", options={"reason": reason})
    shop.change(10)
    ended = task.wait(lambda found: found["Status"] in ("stopped", "failed"))
    task.start("resume-processing")
    shop.change(10)
    task.wait(lambda found: found["Status"] == "running")
    task.catch_up(shop)
    task.stop()

    assert ended["StopReason"] == f"Stop Reason {reason}"
    assert task.changes() == once_each(20)


def test_a_file_armed_to_be_doubled_is_in_the_folder_twice(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()

    arm_fault(client.meta.endpoint_url, "duplicate-file", task="copy", table="public.event")
    shop.change(5)
    task.catch_up(shop)
    task.stop()

    counts = task.changes()
    assert set(counts) == set(range(1, 6))
    assert 2 in counts.values()
    assert {1} == {len(sequences) for sequences in task.sequences().values()}


def test_a_resume_armed_to_repeat_reads_its_last_transactions_again(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()
    shop.change(10)
    task.catch_up(shop)
    task.stop()

    arm_fault(client.meta.endpoint_url, "reemit-after-resume", options={"transactions": 3})
    task.start("resume-processing")
    shop.change(5)
    task.catch_up(shop)
    task.stop()

    counts = task.changes()
    assert set(counts) == set(range(1, 16))
    assert {8: 2, 9: 2, 10: 2} == {number: count for number, count in counts.items() if count > 1}


def test_a_suspended_table_makes_a_good_stop_a_failure(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()

    arm_fault(client.meta.endpoint_url, "suspend-table", table="public.event")
    shop.change(5)
    task.wait(lambda found: found["ReplicationTaskStats"]["TablesErrored"] == 1)

    assert task.statistics()["TableState"] == "Table error"
    with pytest.raises(TaskFailed, match="tables in error, whose changes are not written: 1"):
        stop(client, "copy")


def test_a_deleted_task_leaves_no_slot_at_its_source(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()
    task.stop()
    before = shop.slots()

    client.delete_replication_task(ReplicationTaskArn=task.arn)

    assert (before, shop.slots()) == (1, 0)


def test_a_wrong_password_fails_the_connection_test_without_telling_it(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    wrong = shop.dsn.replace(str(conninfo_to_dict(shop.dsn)["password"]), "s3cret")

    with pytest.raises(Exception, match="TestConnectionSucceeds"):
        make_task(client, wrong, tmp_path / "raw")

    [connection] = client.describe_connections()["Connections"]
    assert "password authentication failed" in connection["LastFailureMessage"]
    assert "s3cret" not in connection["LastFailureMessage"]


def test_replication_by_configuration_captures_up_to_the_source_and_keeps_its_checkpoint(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    config = PlatformConfig.model_validate(
        {
            "base_folder": tmp_path,
            "sources": {
                "shop": {
                    "raw": {"location": "raw/lake/shop"},
                    "window": {"start": "2026-01-01"},
                    "connection": {"dsn": shop.dsn},
                    "dms": {"endpoint_url": client.meta.endpoint_url, "max_batch_interval_seconds": 1},
                    "tables": [{"name": "public.event", "merge_key": ["id"]}],
                }
            },
        }
    )
    own = dms_client(config, "shop")
    made = apply_replication(own, plan_replication(config, "shop", raw_root=raw_root_of(config, own)))
    task = Task(own, made.task.arn, tmp_path / "raw" / "lake" / "shop")

    def has_captured(wanted: int) -> Callable[[TaskState], bool]:
        return lambda _: lsn_value(captured_position(own, "shop-cdc") or "0/0") >= wanted

    start(own, "shop-cdc")
    wait_until(own, "shop-cdc", lambda state: state.full_load_percent == 100, timeout_seconds=WAIT_SECONDS)
    shop.change(25)
    wait_until(own, "shop-cdc", has_captured(shop.position()), timeout_seconds=WAIT_SECONDS)
    captured = task.changes()
    state = SqliteState(tmp_path / "state.sqlite")
    kept = record_checkpoint(state, "shop", stop(own, "shop-cdc"))
    own.close()

    assert captured == once_each(25)
    [row] = table_statistics(client, "shop-cdc")
    assert (row.full_load_rows, row.updates, row.is_loaded) == (50, 25, True)
    assert kept == last_checkpoint(state, "shop")
    assert lsn_value(kept.position or "0/0") >= 0


def test_a_task_that_failed_is_told_with_its_cause(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    task = make_task(client, shop.dsn, tmp_path / "raw", "bad", "cdc", slot="no_such_slot")

    client.start_replication_task(
        ReplicationTaskArn=task.arn, StartReplicationTaskType="start-replication", CdcStartPosition="0/10"
    )
    with pytest.raises(TaskFailed, match="no_such_slot"):
        wait_until(client, "bad", {"stopped"}, timeout_seconds=WAIT_SECONDS)


def test_a_killed_endpoint_loses_no_change_and_repeats_changes_under_their_old_sequence() -> None:
    root = Path(tempfile.mkdtemp(prefix="cdc-killed-"))
    try:
        services = up(root)
        shop = Shop(services.dsn)
        shop.create(rows=20)
        client = dms_client_for(services.endpoint_url)
        task = make_task(client, services.dsn, services.raw_folder)
        task.start()
        task.wait_for_load()
        shop.change(40)
        task.wait(lambda _: bool(task.changes()))
        shop.change(40)
        killed = psutil.Process(services.pids["dms"])
        killed.send_signal(signal.SIGKILL)
        psutil.wait_procs([killed], timeout=10)
        client.close()
        shop.change(20)

        again = up(root)
        task.client = dms_client_for(again.endpoint_url)
        task.wait(lambda found: found["Status"] == "running")
        task.catch_up(shop)
        task.stop()
        task.client.close()

        assert set(task.changes()) == set(range(1, 101))
        assert {1} == {len(sequences) for sequences in task.sequences().values()}
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)
