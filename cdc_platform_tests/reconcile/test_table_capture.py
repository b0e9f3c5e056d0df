"""Proofs and windows rest on captured changes: not where DMS has given the table up, or began anew since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.model import TableConfig
from cdc_platform.pipeline import Platform, reconcile
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.verdict import Comparison, Verdict
from cdc_platform_tests.live.stage import SOURCE, TABLE, TASK, Stage, staged
from cdc_platform_tests.local.event_source import make_task
from cdc_platform_tests.reconcile.line import wait_until

pytestmark = pytest.mark.postgres

EMPTY = "2026-01-05"


@pytest.fixture
def stage(tmp_path: Path, postgres_database: str) -> Iterator[Stage]:
    """Ten rows loaded by a task of the local DMS, and proven."""
    with staged(tmp_path, postgres_database) as made:
        made.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        made.sql("INSERT INTO item SELECT n, 'first' FROM generate_series(1, 10) n")
        made.load()
        made.drain()
        assert Verdict.MATCH is made.full().verdict
        yield made


def incremental(platform: Platform) -> Comparison:
    return reconcile_full(platform, SOURCE, TABLE, FullOptions(incremental=True)).comparisons[0]


def configured(stage: Stage, *, task: str) -> None:
    """Let cdc.yaml name another task."""
    source = stage.platform.config.sources[SOURCE]
    assert source.dms is not None
    source = source.model_copy(update={"dms": source.dms.model_copy(update={"task": task})})
    stage.platform.config = stage.platform.config.model_copy(update={"sources": {SOURCE: source}})


def suspend(stage: Stage) -> None:
    """Let DMS give the table up at a change, which is not written."""
    stage.arm("suspend-table")
    stage.sql("INSERT INTO item VALUES (11, 'given up at')")
    wait_until(lambda: "Table error" == stage.task.statistics()["TableState"], "the table is not suspended")
    stage.sql("DELETE FROM item WHERE id = 11")
    stage.drain()


def test_a_captured_table_is_proven_by_what_was_captured(stage: Stage) -> None:
    stage.sql("UPDATE item SET v = 'captured' WHERE id = 3")
    stage.drain()

    found = incremental(stage.platform)

    assert Verdict.MATCH is found.verdict
    assert not [note for note in found.notes if note.startswith("every segment was compared")]


def test_a_table_dms_has_given_up_is_read_whole_and_then_not_believed_by_events(stage: Stage) -> None:
    suspend(stage)

    first = incremental(stage.platform)
    stage.sql("UPDATE item SET v = 'lost' WHERE id = 3")
    stage.drain()
    second = incremental(stage.platform)

    assert Verdict.MATCH is first.verdict
    assert "the table's capture was begun anew, or was interrupted" in first.notes[0]
    assert Verdict.UNVERIFIED is second.verdict
    assert "DMS says 'Table error' of the table" in second.reason


def test_what_a_table_lost_while_dms_had_given_it_up_is_found_by_the_next_incremental_run(
    stage: Stage,
) -> None:
    suspend(stage)
    stage.sql("UPDATE item SET v = 'lost' WHERE id = 3")
    stage.drain()

    assert Verdict.DIFFERENT is incremental(stage.platform).verdict


def test_windows_of_a_table_dms_has_given_up_are_not_verified(stage: Stage) -> None:
    assert Verdict.MATCH is reconcile(stage.platform, SOURCE, TABLE, EMPTY).verdict
    suspend(stage)

    found = [*stage.windows(), reconcile(stage.platform, SOURCE, TABLE, EMPTY)]

    assert {Verdict.UNVERIFIED} == {run.comparisons[1].verdict for run in found}
    assert all("DMS says 'Table error' of the table" in run.comparisons[1].reason for run in found)


def test_a_table_that_was_never_filled_is_not_verified_once_dms_has_given_it_up(
    tmp_path: Path, postgres_database: str
) -> None:
    with staged(tmp_path, postgres_database) as stage:
        stage.task.raw.mkdir(parents=True)
        stage.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        stage.task.start()
        stage.task.wait_for_load()
        stage.drain()
        before = stage.full()
        suspend(stage)
        modes: list[dict[str, bool]] = [{}, {"incremental": True}, {"keys_only": True}]
        found = [reconcile_full(stage.platform, SOURCE, TABLE, FullOptions(**mode)) for mode in modes]

    assert Verdict.MATCH is before.verdict
    assert [Verdict.UNVERIFIED] * 3 == [run.verdict for run in found]
    assert all("DMS says 'Table error' of the table" in run.comparisons[0].reason for run in found)


def test_a_table_the_task_does_not_have_is_not_verified(stage: Stage) -> None:
    found = stage.platform.table_capture(SOURCE, TABLE)
    other = TableConfig(name="public.other", merge_key=("id",))
    source = stage.platform.config.sources[SOURCE].model_copy(update={"tables": (other,)})
    stage.platform.config = stage.platform.config.model_copy(update={"sources": {SOURCE: source}})

    assert "" == found.doubt
    assert "has no such table" in stage.platform.table_capture(SOURCE, "other").doubt


def test_a_task_that_was_stopped_and_resumed_ends_no_proof(stage: Stage) -> None:
    stage.resume()
    stage.drain()

    found = incremental(stage.platform)

    assert "0 of 2 segments were read whole" in found.notes[0]
    assert Verdict.MATCH is found.verdict


def test_a_task_made_anew_since_ends_proofs(stage: Stage) -> None:
    client = stage.task.client
    stage.task.stop()
    client.delete_replication_task(ReplicationTaskArn=stage.task.arn)
    stage.task = make_task(client, stage.dsn, stage.task.raw.parent.parent, f"{TASK}-2", "cdc")
    configured(stage, task=f"{TASK}-2")
    stage.task.start()

    assert "the table's capture was begun anew" in incremental(stage.platform).notes[0]


def test_where_dms_tells_nothing_proofs_stand_and_what_was_not_checked_is_said(stage: Stage) -> None:
    configured(stage, task="no-such-task")

    found = incremental(stage.platform)

    assert "0 of 2 segments were read whole" in found.notes[0]
    assert any(note.startswith("whether the table is captured was not checked") for note in found.notes)


def test_a_task_that_dms_does_not_have_leaves_unknown_whether_the_table_is_captured(stage: Stage) -> None:
    configured(stage, task="no-such-task")

    found = stage.platform.table_capture(SOURCE, TABLE)

    assert ("", "", {}) == (found.doubt, found.begun, found.conditions)
    assert "DMS has no such task" == found.unknown
