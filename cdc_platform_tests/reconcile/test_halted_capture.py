"""A verdict that is open because the DMS task has ended names the task, its reason and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cdc_platform.config.model import NoKey
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.asked_capture import ask_capture
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.patience import CapturePatience
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.subject import pin
from cdc_platform.reconcile.table_capture import TableCapture
from cdc_platform.reconcile.verdict import Comparison, Verdict
from cdc_platform.reconcile.window import source_reader
from cdc_platform_tests.live.stage import SOURCE, TABLE, Stage, staged
from cdc_platform_tests.reconcile.line import wait_until
from cdc_platform_tests.reconcile.shop import log_position

pytestmark = pytest.mark.postgres

EMPTY = "2026-01-05"
RESUME = "resume it with `cdc replicate -s retail`"
STOPPED = f"the DMS task live is stopped (NORMAL): {RESUME}"


@pytest.fixture
def stage(tmp_path: Path, postgres_database: str) -> Iterator[Stage]:
    """Ten rows loaded by a task of the local DMS, one of them changed and captured, and all proven."""
    with staged(tmp_path, postgres_database) as made:
        made.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        made.sql("INSERT INTO item SELECT n, 'first' FROM generate_series(1, 10) n")
        made.load()
        made.sql("UPDATE item SET v = 'captured' WHERE id = 3")
        made.drain()
        assert Verdict.MATCH is made.full().verdict
        made.platform.patience = CapturePatience(seconds=0)
        yield made


def write(stage: Stage) -> None:
    """Change the row that the window tells of as well."""
    stage.sql("UPDATE item SET v = 'not captured' WHERE id = 3")


def window(stage: Stage) -> Comparison:
    (found,) = stage.windows()
    return found.comparisons[1]


def equal_window(stage: Stage) -> Comparison:
    """Compare a window whose keys are equal: only what nobody has captured yet is open."""
    stage.sql("UPDATE item SET v = 'captured' WHERE id = 3")
    return window(stage)


def full(stage: Stage) -> Comparison:
    return stage.full().comparisons[0]


def incremental(stage: Stage) -> Comparison:
    return reconcile_full(stage.platform, SOURCE, TABLE, FullOptions(incremental=True)).comparisons[0]


def keys(stage: Stage) -> Comparison:
    stage.sql("DELETE FROM item WHERE id = 3")
    return reconcile_full(stage.platform, SOURCE, TABLE, FullOptions(keys_only=True)).comparisons[0]


def keyless(stage: Stage) -> Comparison:
    source = stage.platform.config.sources[SOURCE]
    table = source.tables[0].model_copy(update={"merge_key": (), "no_key": NoKey.MULTISET})
    source = source.model_copy(update={"tables": (table,)})
    config = stage.platform.config.model_copy(update={"sources": {SOURCE: source}})
    stage.platform.config = config
    return stage.full().comparisons[0]


def settled(stage: Stage) -> Comparison:
    stage.full()
    found = stage.settle()
    assert found is not None
    return found.comparisons[0]


MODES = (window, equal_window, full, incremental, keys, keyless, settled)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_stopped_task_leaves_open_says_so_and_how_to_resume_it(
    stage: Stage, mode: Callable[[Stage], Comparison]
) -> None:
    stage.task.stop()
    write(stage)

    found = mode(stage)

    assert Verdict.IN_FLIGHT is found.verdict
    assert 1 == found.reason.count(STOPPED)


def test_what_a_failed_task_leaves_open_names_the_stop_reason(stage: Stage) -> None:
    stage.endpoint.faults.arm({"fault": "stop", "options": {"reason": "RECOVERABLE_ERROR"}})
    wait_until(lambda: "failed" == stage.task.describe()["Status"], "the task has not failed")
    write(stage)

    found = full(stage)

    assert Verdict.IN_FLIGHT is found.verdict
    assert f"the DMS task live is failed (RECOVERABLE_ERROR): {RESUME}" in found.reason
    assert ["the DMS task live is failed" in one.reason for one in found.discrepancies] == [True]


def test_a_table_that_was_never_filled_is_open_with_the_state_of_its_task(
    tmp_path: Path, postgres_database: str
) -> None:
    with staged(tmp_path, postgres_database) as stage:
        stage.platform.patience = CapturePatience(seconds=0)
        stage.task.raw.mkdir(parents=True)
        stage.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        stage.task.start()
        stage.task.wait_for_load()
        stage.drain()
        stage.task.stop()
        stage.sql("CREATE TABLE elsewhere AS SELECT 1 AS n")

        found = full(stage)

    assert Verdict.UNVERIFIED is found.verdict
    assert STOPPED in found.reason


def test_of_a_task_that_runs_nothing_is_said(stage: Stage) -> None:
    ahead = ask_capture(pin(stage.platform, SOURCE, TABLE, EMPTY), reader_of(stage), "FFFFFFFF/0")

    assert "running" == stage.task.describe()["Status"]
    assert "" == ahead.halted


def test_dms_is_asked_for_the_task_only_where_capture_is_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    told = Platform.table_capture

    def counted(platform: Platform, source: str, table_id: str, *, with_slot: bool = False) -> TableCapture:
        asked.append(table_id)
        return told(platform, source, table_id, with_slot=with_slot)

    monkeypatch.setattr(Platform, "table_capture", counted)
    subject, reader = pin(stage.platform, SOURCE, TABLE, EMPTY), reader_of(stage)
    captured = stage.platform.captured_position(SOURCE) or ""
    ask_capture(subject, reader, captured)
    at_it = list(asked)
    write(stage)
    stage.task.stop()
    write(stage)
    ask_capture(subject, reader, log_position(stage.dsn))

    assert ([], [TABLE]) == (at_it, asked)


def reader_of(stage: Stage) -> SourceReader:
    found = source_reader(stage.platform.config.sources[SOURCE])
    assert not isinstance(found, str)
    return found
