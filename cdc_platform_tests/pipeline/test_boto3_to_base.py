"""Plain boto3 drives the local DMS; base ends equal to the source, with no change lost or applied twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cdc_platform_tests.local.event_source import Shop, Task, make_task
from cdc_platform_tests.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

pytestmark = pytest.mark.postgres

TABLE = {"name": "public.event", "merge_key": ["id"]}


def _source(shop: Shop) -> dict[int, dict[str, Any]]:
    with psycopg.connect(shop.dsn) as connection:
        rows = connection.execute("select id, number from event").fetchall()
    return {key: {"id": key, "number": number} for key, number in rows}


def _deliver(task: Task, bench: Workbench) -> None:
    shutil.copytree(task.raw, bench.raw, dirs_exist_ok=True)


def test_a_task_that_resumes_from_its_checkpoint_loses_and_doubles_nothing_in_base(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    bench = Workbench(tmp_path / "lake", TABLE)
    task = make_task(client, shop.dsn, tmp_path / "raw")
    task.start()
    task.wait_for_load()
    shop.change(30)
    task.catch_up(shop)
    checkpoint = task.stop()["RecoveryCheckpoint"]
    _deliver(task, bench)
    first = bench.apply("event").counts
    shop.change(30)
    task.start("resume-processing")
    task.catch_up(shop)
    resumed = task.stop()
    _deliver(task, bench)
    second = bench.apply("event").counts

    assert _source(shop) == bench.by_key("event", "id")
    assert (50, 30, 30) == (first.loads, first.updates, second.updates)
    assert (0, 0) == (first.stale, second.stale)
    assert checkpoint != resumed["RecoveryCheckpoint"]
    assert 60 == task.statistics()["Updates"]


def test_a_new_task_that_starts_at_a_kept_checkpoint_goes_on_in_the_same_base_table(
    client: DatabaseMigrationServiceClient, shop: Shop, tmp_path: Path
) -> None:
    bench = Workbench(tmp_path / "lake", TABLE)
    slot = f"kept_{Path(shop.dsn).name}"
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    first = make_task(client, shop.dsn, tmp_path / "raw", "first", "cdc", slot)
    first.start()
    first.wait(lambda found: found["Status"] == "running")
    shop.change(50)
    first.catch_up(shop)
    checkpoint = first.stop()["RecoveryCheckpoint"]
    client.delete_replication_task(ReplicationTaskArn=first.arn)
    _deliver(first, bench)
    bench.apply("event")
    shop.change(50)
    second = make_task(client, shop.dsn, tmp_path / "raw", "second", "cdc", slot)
    second.start(CdcStartPosition=checkpoint)
    second.catch_up(shop)
    second.stop()
    _deliver(second, bench)
    bench.apply("event")

    assert _source(shop) == bench.by_key("event", "id")
