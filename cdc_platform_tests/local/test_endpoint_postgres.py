"""The whole of the local DMS: plain boto3 drives a real PostgreSQL's changes into files.

Every row change of the source has a number of its own, so that what is in the files can be counted: each
number once, none lost, none doubled, through stops, resumes, reloads, restarts and crashes.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
    raw_root_of,
    record_checkpoint,
    start,
    stop,
    table_statistics,
    wait_until,
)
from cdc_platform.state import SqliteState
from cdc_platform_tests.local.conftest import QUICK, dms_client_for
from cdc_platform_tests.local.event_source import WAIT_SECONDS, Shop, Task, event_shop, make_task, task_client

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

pytestmark = pytest.mark.postgres

#: pytest finds fixtures by the module's names
FIXTURES = event_shop, task_client


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
