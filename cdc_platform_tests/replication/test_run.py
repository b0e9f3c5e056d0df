"""Starting, stopping and watching a task, its statistics, position and checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.errors import ReplicationError, StateConflict, TaskFailed, TaskTimedOut
from cdc_platform.local.contract import StartType, TaskStatus
from cdc_platform.lsn import lsn_value
from cdc_platform.replication import (
    captured_position,
    describe_task,
    last_checkpoint,
    position_of,
    record_checkpoint,
    start,
    stop,
    table_statistics,
    wait_until,
)
from cdc_platform.replication.checkpoints import CHECKPOINT_KIND
from cdc_platform.state import SqliteState
from cdc_platform_tests.local.conftest import LocalDms


def test_the_first_start_is_fresh_and_the_next_resumes(dms: LocalDms) -> None:
    dms.task()

    start(dms.client, "copy")
    stop(dms.client, "copy")
    start(dms.client, "copy")

    assert [StartType.START, StartType.RESUME] == [run.request.start_type for run in dms.engine.runs]


def test_starting_a_running_task_leaves_it_running(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")

    state = start(dms.client, "copy")

    assert (state.status, len(dms.engine.runs)) == ("running", 1)


def test_a_reload_is_started_on_request(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    stop(dms.client, "copy")

    start(dms.client, "copy", reload=True)

    assert dms.engine.runs[-1].request.start_type == StartType.RELOAD


def test_a_reload_of_a_running_task_stops_it_first(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")

    start(dms.client, "copy", reload=True)

    assert [StartType.START, StartType.RELOAD] == [run.request.start_type for run in dms.engine.runs]
    assert dms.engine.runs[0].report().status == TaskStatus.STOPPED


def test_a_capture_task_is_started_at_a_position(dms: LocalDms) -> None:
    dms.task(migration_type="cdc")
    start(dms.client, "copy", position="0/10")
    stop(dms.client, "copy")

    start(dms.client, "copy", position="0/20", stop_position="server_time:2030-01-01T00:00:00")

    request = dms.engine.runs[-1].request
    assert (request.start_type, request.cdc_start_position) == (StartType.START, "0/20")
    assert request.cdc_stop_position == "server_time:2030-01-01T00:00:00"


def test_stop_waits_until_the_task_has_flushed(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    run = dms.engine.runs[0]
    run.holds_stop = True

    with pytest.raises(TaskTimedOut, match="still stopping after 0 s"):
        stop(dms.client, "copy", timeout_seconds=0.2)
    run.end(TaskStatus.STOPPED, "Stop Reason NORMAL")

    assert stop(dms.client, "copy").status == "stopped"


def test_stopping_a_task_that_never_ran_does_nothing(dms: LocalDms) -> None:
    dms.task()

    assert stop(dms.client, "copy").status == "ready"


@pytest.mark.parametrize("reason", ["FATAL_ERROR", "STOPPED_DUE_TO_LOW_DISK", "RECOVERABLE_ERROR"])
def test_stopped_for_a_bad_reason_is_not_success(dms: LocalDms, reason: str) -> None:
    dms.task()
    start(dms.client, "copy")
    dms.engine.runs[0].end(TaskStatus.STOPPED, f"Stop Reason {reason}")

    with pytest.raises(TaskFailed, match=f"stopped for a bad reason: {reason}"):
        stop(dms.client, "copy")


def test_a_failed_task_is_told_with_its_message(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    dms.engine.runs[0].end(TaskStatus.FAILED, "Stop Reason FATAL_ERROR", "the slot is gone")

    with pytest.raises(TaskFailed, match=r"FATAL_ERROR\): the slot is gone"):
        wait_until(dms.client, "copy", {"stopped"}, timeout_seconds=5)


def test_tables_in_error_make_a_stopped_task_a_failure(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    dms.engine.runs[0].state.tables_errored = 1

    with pytest.raises(TaskFailed, match="tables in error, whose changes are not written: 1"):
        stop(dms.client, "copy")


def test_waiting_ends_at_once_when_the_task_ends_short_of_it(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    dms.engine.runs[0].end(TaskStatus.STOPPED, "Stop Reason FULL_LOAD_ONLY_FINISHED")

    with pytest.raises(TaskFailed, match="stopped before that"):
        wait_until(dms.client, "copy", lambda state: state.tables_loaded == 99, timeout_seconds=60)


def test_a_load_that_ends_before_the_first_look_is_a_success(dms: LocalDms) -> None:
    dms.task(migration_type="full-load")
    dms.engine.ends_at_once = "Stop Reason FULL_LOAD_ONLY_FINISHED"

    assert start(dms.client, "copy").status == "stopped"


def test_progress_is_told_when_it_changes(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    told: list[str] = []

    with pytest.raises(TaskTimedOut):
        wait_until(dms.client, "copy", {"stopped"}, timeout_seconds=0.3, progress=told.append)

    assert told == ["task copy: running, 100 % loaded"]


def test_table_statistics_are_typed_and_sorted(dms: LocalDms) -> None:
    dms.task()
    start(dms.client, "copy")
    dms.engine.runs[0].state.tables[1].full_load_rows = 100

    rows = table_statistics(dms.client, "copy")

    assert ["product", "store"] == [row.table_name for row in rows]
    assert (rows[0].inserts, rows[1].full_load_rows, rows[1].is_loaded) == (3, 100, True)


def test_the_captured_position_is_the_checkpoints_log_position(dms: LocalDms) -> None:
    dms.task()
    before = captured_position(dms.client, "copy")
    start(dms.client, "copy")
    dms.engine.runs[0].state.recovery_checkpoint = "checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#0"

    assert before is None
    assert captured_position(dms.client, "copy") == "4AF/B00000D0"


def test_a_checkpoint_of_another_engine_has_no_log_position() -> None:
    assert position_of("checkpoint:V1#27#mysql-bin-changelog.157832:1975:-1:2002#0#0#*#0#93") is None


def test_log_positions_compare_as_numbers() -> None:
    assert sorted(["10/0", "9/FFFFFFFF", "9/0"], key=lsn_value) == ["9/0", "9/FFFFFFFF", "10/0"]
    with pytest.raises(ValueError, match="not an LSN"):
        lsn_value("zero")


def test_a_task_dms_does_not_have_is_named_with_the_mend(dms: LocalDms) -> None:
    with pytest.raises(ReplicationError, match=r"task nothing: DMS has no such task.*cdc replicate"):
        describe_task(dms.client, "nothing")


def test_a_checkpoint_is_kept_from_a_stopped_task_only(dms: LocalDms, tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    dms.task()
    running = start(dms.client, "copy")

    with pytest.raises(ReplicationError, match="from a stopped task, this one is running"):
        record_checkpoint(state, "retail", running)
    kept = record_checkpoint(state, "retail", stop(dms.client, "copy"))

    assert kept == last_checkpoint(state, "retail")
    assert (kept.position, kept.stop_reason) == ("0/1", "Stop Reason NORMAL")


def test_keeping_the_same_checkpoint_again_changes_nothing(dms: LocalDms, tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    dms.task()
    start(dms.client, "copy")
    stopped = stop(dms.client, "copy")
    record_checkpoint(state, "retail", stopped)

    record_checkpoint(state, "retail", stopped)

    entry = state.get(CHECKPOINT_KIND, "retail")
    assert entry is not None
    assert entry.version == 1


def test_a_checkpoint_never_moves_back(dms: LocalDms, tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    dms.task()
    start(dms.client, "copy")
    early = stop(dms.client, "copy")
    start(dms.client, "copy")
    late = stop(dms.client, "copy")
    record_checkpoint(state, "retail", late)

    with pytest.raises(ReplicationError, match="checkpoint 0/1 stands before the one kept, 0/2"):
        record_checkpoint(state, "retail", early)
    record_checkpoint(state, "retail", early, may_step_back=True)

    kept = last_checkpoint(state, "retail")
    assert kept is not None
    assert kept.position == "0/1"


def test_of_two_runs_that_keep_a_checkpoint_at_once_one_is_told(dms: LocalDms, tmp_path: Path) -> None:
    class Raced(SqliteState):
        def put_if_version(self, kind, key, value, version):  # type: ignore[no-untyped-def]
            if version == 0 and self.get(kind, key) is None:
                SqliteState.put_if_version(self, kind, key, dict(value) | {"text": "other"}, version)
            return SqliteState.put_if_version(self, kind, key, value, version)

    dms.task()
    start(dms.client, "copy")
    stopped = stop(dms.client, "copy")

    with pytest.raises(StateConflict):
        record_checkpoint(Raced(tmp_path / "state.sqlite"), "retail", stopped)
