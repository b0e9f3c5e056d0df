"""Runs: resume after a stop and after a kill, start and stop positions, reload, failures, faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.contract import StartRequest, StartType, TaskStatus
from cdc_platform.local.engine import PostgresTaskEngine
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform_tests.local.task_bench import (
    ArmedFaults,
    TaskBench,
    checkpoint_lsn,
    current_lsn,
    file_ms,
    task_spec,
)

pytestmark = pytest.mark.postgres

_TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, name text, size int)",
    "INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20)",
)


@pytest.fixture
def bench(postgres_database: str, tmp_path: Path) -> TaskBench:
    """A running task on table ``t (id, name, size)`` with rows 1 and 2 loaded."""
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(*_TABLE)
    bench.start()
    bench.wait_for_load()
    return bench


def _ids(bench: TaskBench) -> list[int]:
    return [row["id"] for row in bench.changes("t")]


def _insert(bench: TaskBench, *ids: int) -> None:
    bench.execute(*(f"INSERT INTO t VALUES ({number}, 'n', 0)" for number in ids))


# -- stop, resume, kill


def test_a_stop_flushes_what_it_holds_and_says_so(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, target={"CdcMaxBatchInterval": 3600})
    bench.execute(*_TABLE)
    bench.start()
    bench.wait_for_load()
    _insert(bench, 3)
    bench.wait(lambda report: report.tables[0].inserts == 1)
    assert bench.report().tables[0].applied_inserts == 0
    report = bench.stop()
    assert (report.status, report.stop_reason) == (TaskStatus.STOPPED, "Stop Reason NORMAL")
    assert (report.tables[0].applied_inserts, _ids(bench)) == (1, [3])


def test_a_resume_loses_nothing_and_doubles_nothing(bench: TaskBench) -> None:
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    _insert(bench, 4)
    bench.start(StartType.RESUME)
    _insert(bench, 5)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3, 4, 5]
    sequences = [row["cdc_change_seq"] for row in bench.changes("t")]
    assert sequences == sorted(set(sequences))


def test_the_last_report_outlives_the_engine(bench: TaskBench) -> None:
    _insert(bench, 3)
    bench.catch_up()
    report = bench.stop()
    assert PostgresTaskEngine().last_report(bench.spec) == report


_KILLED_RUN = """
    import sys, pathlib, json
    from cdc_platform.local.contract import StartRequest, StartType
    from cdc_platform.local.engine import PostgresTaskEngine
    from cdc_platform_tests.local.task_bench import ArmedFaults, task_spec
    dsn, folder, start_type = sys.argv[1:]
    spec = task_spec(dsn, pathlib.Path(folder))
    run = PostgresTaskEngine().start(spec, StartRequest(StartType(start_type)), ArmedFaults())
    run.join(600)
"""


def test_a_killed_engine_resumes_without_loss(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute("CREATE TABLE t AS SELECT i AS id, 0 AS size FROM generate_series(1, 20000) AS i")
    bench.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    start_type = StartType.START
    for round_number in range(2):
        command = [sys.executable, "-c", textwrap.dedent(_KILLED_RUN)]
        engine = subprocess.Popen([*command, postgres_database, str(tmp_path), start_type.value])
        _churn(bench, round_number)
        if round_number:
            _wait_for_checkpoint(tmp_path / "task" / "engine.json", current_lsn(postgres_database))
        else:
            _wait_for(lambda: any(path.is_file() for path in (tmp_path / "raw").rglob("*")))
        _churn(bench, round_number)
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
        start_type = StartType.RESUME
    report = bench.engine.last_report(bench.spec)
    assert report is not None
    assert report.status is TaskStatus.RUNNING
    bench.start(StartType.RESUME)
    bench.wait_for_load()
    bench.catch_up()
    bench.stop()
    assert bench.fold("t", "id") == bench.source("t", "id")
    assert not list((tmp_path / "raw").rglob(".*"))


def _churn(bench: TaskBench, round_number: int) -> None:
    """Change every kind of thing about some rows, in many transactions."""
    first = 100 * round_number + 1
    bench.execute(
        *(
            statement.format(number)
            for number in range(first, first + 50)
            for statement in (
                "UPDATE t SET size = size + 1 WHERE id BETWEEN {0} AND {0} + 20",
                "DELETE FROM t WHERE id = 1000 + {0}",
                "INSERT INTO t VALUES (1000 + {0}, 1) ON CONFLICT DO NOTHING",
                "UPDATE t SET id = -id WHERE id = 2000 + {0}",
            )
        )
    )


def test_changes_read_again_after_a_kill_have_the_same_sequences(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(*_TABLE)
    bench.start()
    bench.wait_for_load()
    bench.catch_up()
    bench.stop()
    before = (bench.spec.folder / "engine.json").read_text()
    bench.start(StartType.RESUME)
    _insert(bench, 3, 4)
    bench.catch_up()
    # what a kill between the files and the checkpoint leaves: the files, and the state of before
    bench.faults.arm("stop", reason="Stop Reason RECOVERABLE_ERROR")
    bench.end()
    kept = json.loads(before)
    confirmed = _confirmed_lsn(bench)
    (bench.spec.folder / "engine.json").write_text(json.dumps(kept))
    assert confirmed <= kept["position"]["lsn"]
    bench.start(StartType.RESUME)
    bench.catch_up()
    bench.stop()
    rows = bench.changes("t")
    assert [row["id"] for row in rows] == [3, 4, 3, 4]
    assert [row["cdc_change_seq"] for row in rows[:2]] == [row["cdc_change_seq"] for row in rows[2:]]


def _confirmed_lsn(bench: TaskBench) -> int:
    with psycopg.connect(bench.dsn) as connection:
        query = (
            "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots"
            " WHERE database = current_database()"
        )
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _wait_for_checkpoint(state: Path, lsn: int) -> None:
    def is_reached() -> bool:
        position = json.loads(state.read_text())["position"]
        return position is not None and position["lsn"] >= lsn

    _wait_for(is_reached)


def test_a_start_again_loads_again_and_recreates_the_slot(bench: TaskBench) -> None:
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    _insert(bench, 4)
    bench.start()
    bench.wait_for_load()
    _insert(bench, 5)
    bench.catch_up()
    bench.stop()
    loaded = pq.read_table(bench.files("t")[0]).column("id").to_pylist()
    assert sorted(loaded) == [1, 2, 3, 4]
    assert _ids(bench) == [3, 5]
    sequences = [row["cdc_change_seq"] for row in bench.changes("t")]
    assert sequences == sorted(set(sequences))


def test_a_table_made_while_the_task_was_stopped_is_loaded_on_resume(bench: TaskBench) -> None:
    bench.stop()
    bench.execute("CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    bench.start(StartType.RESUME)
    bench.wait(lambda report: report.tables_loaded == 2)
    bench.execute("INSERT INTO u VALUES (2)")
    bench.catch_up()
    bench.stop()
    assert [row["id"] for row in bench.rows("u")] == [1, 2]


# -- positions


def test_a_cdc_task_takes_in_only_what_is_committed_after_its_start(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="cdc")
    bench.execute(*_TABLE)
    bench.start()
    bench.wait(lambda report: report.status is TaskStatus.RUNNING)
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    assert [path.name[:4] for path in bench.files("t")] != ["LOAD"]
    assert _ids(bench) == [3]


@pytest.mark.parametrize("form", ["checkpoint", "lsn"])
def test_a_successor_begins_where_its_predecessor_ended(
    postgres_database: str, tmp_path: Path, form: str
) -> None:
    slot = f"handover_{form}_{os.getpid()}"
    source = {"PostgreSQLSettings": {"SlotName": slot}}
    first = TaskBench(postgres_database, tmp_path / "one", source=source)
    first.execute(*_TABLE)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    first.start()
    first.wait_for_load()
    _insert(first, 3)
    first.catch_up()
    checkpoint = str(first.stop().recovery_checkpoint)
    first.engine.forget(first.spec)
    _insert(first, 4)
    second = TaskBench(
        postgres_database, tmp_path / "two", source=source, migration_type="cdc", identifier="next"
    )
    high, _, low = checkpoint.split("#")[2].partition("/")
    native = f"{int(high, 16):X}/{int(low, 16):X}"
    second.start(position=checkpoint if form == "checkpoint" else native)
    second.catch_up()
    second.stop()
    assert _ids(second) == [4]


def test_a_start_before_what_the_slot_keeps_is_refused(bench: TaskBench) -> None:
    bench.stop()
    spec = task_spec(bench.dsn, bench.spec.folder.parent, migration_type="cdc")
    run = bench.engine.start(spec, StartRequest(StartType.START, cdc_start_position="0/1"), bench.faults)
    assert run.join(30)
    report = run.report()
    assert report.status is TaskStatus.FAILED
    assert "not from 0/1" in str(report.last_failure_message)


def test_a_server_time_stop_takes_in_what_was_committed_until_then(bench: TaskBench) -> None:
    bench.stop()
    _insert(bench, 3)
    bench.start(StartType.RESUME, stop=f"server_time:{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}")
    report = bench.end()
    assert (report.status, report.stop_reason) == (TaskStatus.STOPPED, "Stop Reason STOPPED_AT_SERVER_TIME")
    assert _ids(bench) == [3]


def test_a_commit_time_stop_ends_before_the_first_later_commit(bench: TaskBench) -> None:
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    with psycopg.connect(bench.dsn) as connection:
        row = connection.execute("SELECT now() AT TIME ZONE 'UTC'").fetchone()
    assert row is not None
    bench.start(StartType.RESUME, stop=f"commit_time:{row[0].isoformat()}")
    _insert(bench, 4)
    report = bench.end()
    assert report.stop_reason == "Stop Reason STOPPED_AT_COMMIT_TIME"
    assert _ids(bench) == [3]
    bench.start(StartType.RESUME)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3, 4]


@pytest.mark.parametrize(
    ("setting", "reason", "expected"),
    [
        ("StopTaskCachedChangesNotApplied", "Stop Reason STOPPED_AFTER_FULL_LOAD", []),
        ("StopTaskCachedChangesApplied", "Stop Reason STOPPED_AFTER_CACHED_EVENTS", []),
    ],
)
def test_a_task_can_stop_after_its_load_and_resume_into_the_log(
    postgres_database: str, tmp_path: Path, setting: str, reason: str, expected: list[int]
) -> None:
    bench = TaskBench(postgres_database, tmp_path, settings={"FullLoadSettings": {setting: True}})
    bench.execute(*_TABLE)
    bench.start()
    assert bench.end().stop_reason == reason
    assert _ids(bench) == expected
    _insert(bench, 3)
    bench.start(StartType.RESUME)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3]


# -- reload


def test_a_reload_begins_a_new_load_and_no_change_file_after_it_is_older(bench: TaskBench) -> None:
    _insert(bench, 3)
    bench.execute("UPDATE t SET size = 1 WHERE id = 1", "DELETE FROM t WHERE id = 2")
    assert bench.run is not None
    bench.run.reload_tables([("public", "t")])
    bench.execute("UPDATE t SET size = 2 WHERE id = 1")
    bench.wait(lambda report: report.tables[0].full_load_reloaded)
    bench.execute("UPDATE t SET size = 3 WHERE id = 1")
    bench.catch_up()
    bench.stop()
    load, *changes = bench.files("t")
    loaded_at = load.stat().st_mtime_ns // 1_000_000
    loaded = {row["id"]: row["size"] for row in pq.read_table(load).to_pylist()}
    later = [row for path in changes if file_ms(path) >= loaded_at for row in pq.read_table(path).to_pylist()]
    earlier = [path for path in changes if file_ms(path) < loaded_at]
    assert set(loaded) == {1, 3}
    assert earlier
    # the second boundary holds for stores that list whole seconds
    assert {file_ms(path) // 1000 < loaded_at // 1000 for path in earlier} == {True}
    sizes = [row["size"] for row in later if row["id"] == 1]
    assert sizes == [size for size in (1, 2, 3) if size > loaded[1]]
    assert {row["Op"] for row in later} == {"U"}


def test_a_reload_cut_short_loses_no_delete_of_a_table_that_is_empty_by_then(bench: TaskBench) -> None:
    with psycopg.connect(bench.dsn) as connection:
        # an open transaction keeps the reload's snapshot from being taken
        connection.execute("INSERT INTO t VALUES (3, 'three', 30)")
        assert bench.run is not None
        bench.run.reload_tables([("public", "t")])
        slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'cdc_load_%' AND active"
        with psycopg.connect(bench.dsn, autocommit=True) as watcher:
            _wait_for(lambda: watcher.execute(slots).fetchone() == (1,))
        bench.stop()
    bench.execute("DELETE FROM t")
    bench.start(StartType.RESUME)
    bench.catch_up()
    bench.stop()
    assert [(row["Op"], row["id"]) for row in bench.changes("t")] == [("I", 3), ("D", 1), ("D", 2), ("D", 3)]


def test_a_suspended_table_is_ignored_until_it_is_reloaded(bench: TaskBench) -> None:
    bench.faults.arm("suspend-table", "public.t", reason="a test")
    report = bench.wait(lambda report: report.tables_errored == 1)
    assert (report.status, report.tables[0].table_state) == (TaskStatus.RUNNING, "Table error")
    assert report.last_failure_message == "public.t was suspended: a test"
    _insert(bench, 3)
    bench.catch_up()
    assert _ids(bench) == []
    assert bench.run is not None
    bench.run.reload_tables([("public", "t")])
    bench.wait(lambda report: report.tables_errored == 0)
    _insert(bench, 4)
    bench.catch_up()
    bench.stop()
    assert (_ids(bench), set(bench.fold("t", "id"))) == ([4], {1, 2, 3, 4})


# -- faults


def test_a_duplicated_file_is_there_twice_under_two_names(bench: TaskBench) -> None:
    bench.faults.arm("duplicate-file", "public.t")
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    _, first, second = bench.files("t")
    assert first.read_bytes() == second.read_bytes()


def test_a_dropped_file_is_lost_though_the_checkpoint_is_past_it(bench: TaskBench) -> None:
    bench.faults.arm("drop-file")
    _insert(bench, 3)
    report = bench.catch_up()
    bench.stop()
    assert (_ids(bench), report.tables[0].applied_inserts) == ([], 1)


def test_a_dropped_change_is_lost_and_its_neighbours_are_not(bench: TaskBench) -> None:
    bench.catch_up()
    bench.faults.arm("drop-change", "public.t:4")
    _insert(bench, 3)
    _insert(bench, 4)
    _insert(bench, 5)
    bench.catch_up()
    bench.faults.arm("drop-change", "public.t")
    _insert(bench, 6)
    _insert(bench, 7)
    report = bench.catch_up()
    bench.stop()
    assert (_ids(bench), report.tables[0].inserts) == ([3, 5, 7], 3)


def test_a_checkpoint_that_is_reported_ahead_does_not_wait_for_a_delayed_file(bench: TaskBench) -> None:
    bench.catch_up()
    bench.faults.arm("report-ahead", files=1)
    _insert(bench, 3)
    bench.catch_up()
    assert _ids(bench) == []
    _insert(bench, 4)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3, 4]


def test_a_delayed_file_comes_after_its_successors_and_holds_the_checkpoint_back(bench: TaskBench) -> None:
    bench.catch_up()
    bench.faults.arm("delay-file", files=2)
    before = current_lsn(bench.dsn)
    _insert(bench, 3)
    bench.wait(lambda report: report.tables[0].applied_inserts == 1)
    _insert(bench, 4)
    bench.wait(lambda report: report.tables[0].applied_inserts == 2)
    assert _ids(bench) == [4]
    assert checkpoint_lsn(bench.report()) <= before
    _insert(bench, 5)
    bench.catch_up()
    assert _ids(bench) == [3, 4, 5]
    bench.stop()


def test_a_delayed_file_comes_at_the_latest_when_the_task_stops(bench: TaskBench) -> None:
    bench.faults.arm("delay-file", files=50)
    _insert(bench, 3)
    bench.wait(lambda report: report.tables[0].applied_inserts == 1)
    bench.stop()
    assert _ids(bench) == [3]


def test_a_resume_can_emit_the_last_transactions_again(bench: TaskBench) -> None:
    _insert(bench, 3, 4, 5)
    bench.catch_up()
    bench.stop()
    bench.faults.arm("reemit-after-resume", transactions=2)
    bench.start(StartType.RESUME)
    _insert(bench, 6)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3, 4, 5, 4, 5, 6]
    assert len({path.name for path in bench.files("t")}) == len(bench.files("t"))


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("Stop Reason RECOVERABLE_ERROR", TaskStatus.FAILED),
        ("Stop Reason FATAL_ERROR", TaskStatus.FAILED),
        ("Stop Reason STOPPED_DUE_TO_LOW_DISK", TaskStatus.STOPPED),
    ],
)
def test_each_stop_reason_can_be_provoked(bench: TaskBench, reason: str, status: TaskStatus) -> None:
    bench.faults.arm("stop", reason=reason)
    report = bench.end()
    assert (report.stop_reason, report.status) == (reason, status)
    bench.start(StartType.RESUME)
    _insert(bench, 3)
    bench.catch_up()
    bench.stop()
    assert _ids(bench) == [3]


# -- failures


def test_a_source_that_goes_away_fails_the_task_which_then_resumes(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="cdc-postgres-") as folder,
        EmbeddedPostgres(Path(folder) / "server", durable=False) as server,
    ):
        bench = TaskBench(server.create_database("shop"), tmp_path)
        bench.execute(*_TABLE)
        bench.start()
        bench.wait_for_load()
        server.stop(immediate=True)
        report = bench.end()
        assert (report.status, report.stop_reason) == (TaskStatus.FAILED, "Stop Reason RECOVERABLE_ERROR")
        assert "Traceback" not in str(report.last_failure_message)
        assert server.password not in str(report.last_failure_message)
        server.start()
        _insert(bench, 3)
        bench.start(StartType.RESUME)
        bench.catch_up()
        # a server that shuts down in good order waits for its readers: the task must let it go
        assert server.stop()
        bench.end()
        assert _ids(bench) == [3]


def test_a_wrong_password_fails_the_task_without_telling_it(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, source={"Password": "s3cret-guess"})
    bench.start()
    report = bench.end()
    assert (report.status, report.stop_reason) == (TaskStatus.FAILED, "Stop Reason FATAL_ERROR")
    assert "password authentication failed" in str(report.last_failure_message)
    assert "s3cret-guess" not in str(report.last_failure_message)


def test_a_missing_slot_fails_the_resume_with_the_mend(bench: TaskBench) -> None:
    bench.stop()
    slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    bench.execute(f"{slots} WHERE database = current_database()")
    bench.start(StartType.RESUME)
    report = bench.end()
    assert (report.status, report.stop_reason) == (TaskStatus.FAILED, "Stop Reason FATAL_ERROR")
    assert "start the task again with start-replication" in str(report.last_failure_message)


def test_a_log_that_was_removed_fails_the_resume_and_a_reload_mends_it(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="cdc-postgres-") as folder,
        EmbeddedPostgres(Path(folder) / "server", durable=False) as server,
    ):
        bench = TaskBench(server.create_database("shop"), tmp_path)
        bench.execute(*_TABLE)
        bench.start()
        bench.wait_for_load()
        bench.stop()
        bench.execute(
            "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
            "ALTER SYSTEM SET max_wal_size = '32MB'",
            "SELECT pg_reload_conf()",
        )
        for _ in range(4):
            bench.execute(
                "CREATE TABLE filler AS SELECT 1 AS n", "DROP TABLE filler", "SELECT pg_switch_wal()"
            )
        bench.execute("CHECKPOINT")
        bench.start(StartType.RESUME)
        report = bench.end()
        assert (report.status, report.stop_reason) == (TaskStatus.FAILED, "Stop Reason FATAL_ERROR")
        assert "was removed" in str(report.last_failure_message)
        assert "reload-target" in str(report.last_failure_message)
        bench.start(StartType.RELOAD)
        bench.wait_for_load()
        assert bench.stop().status is TaskStatus.STOPPED


def test_a_given_slot_that_does_not_exist_fails_the_start_with_the_mend(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, source={"PostgreSQLSettings": {"SlotName": "nowhere"}})
    bench.execute(*_TABLE)
    bench.start()
    report = bench.end()
    assert "pg_create_logical_replication_slot('nowhere', 'pgoutput')" in str(report.last_failure_message)


def test_a_user_without_rights_is_told_which_ones_and_with_them_needs_no_superuser(
    postgres_database: str, tmp_path: Path
) -> None:
    role = f"replicator_{os.getpid()}"
    user = {"Username": role, "Password": "of-a-test"}
    bench = TaskBench(postgres_database, tmp_path, source=user)
    database = postgres_database.rpartition("/")[2]
    bench.execute(*_TABLE, f"CREATE ROLE {role} LOGIN PASSWORD 'of-a-test'")
    try:
        bench.start()
        report = bench.end()
        assert report.status is TaskStatus.FAILED
        assert "REPLICATION attribute, CREATE on the database" in str(report.last_failure_message)
        bench.execute(
            f"ALTER ROLE {role} REPLICATION",
            f"GRANT CREATE ON DATABASE {database} TO {role}",
            f"ALTER TABLE t OWNER TO {role}",
        )
        bench.start()
        bench.wait_for_load()
        _insert(bench, 3)
        bench.catch_up()
        bench.stop()
        assert _ids(bench) == [3]
        bench.engine.forget(bench.spec)
    finally:
        bench.execute(f"REASSIGN OWNED BY {role} TO postgres", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_rules_that_select_nothing_fail_the_task(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.start()
    assert "no table of the source matches" in str(bench.end().last_failure_message)


def test_deleting_a_task_frees_its_slot_and_publications(bench: TaskBench) -> None:
    bench.stop()
    bench.engine.forget(bench.spec)
    with psycopg.connect(bench.dsn) as connection:
        slots = connection.execute(
            "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
        ).fetchone()
        publications = connection.execute("SELECT count(*) FROM pg_publication").fetchone()
    assert (slots, publications) == ((0,), (0,))


@pytest.mark.parametrize(
    ("changes", "request_", "message"),
    [
        ({"target": {"PreserveTransactions": True}}, {}, "PreserveTransactions is True"),
        ({"target": {"DataFormat": "orc"}}, {}, "DataFormat is 'orc' → use one of csv, parquet"),
        ({"rules": []}, {}, "no rule selects a table"),
        ({"settings": {"TargetMetadata": {"FullLobMode": True}}}, {}, "FullLobMode is True"),
        ({}, {"cdc_stop_position": "noon"}, "CdcStopPosition is 'noon'"),
        ({}, {"cdc_start_position": "0/1"}, "CdcStartPosition is not possible"),
        ({"migration_type": "cdc"}, {"cdc_start_position": "2018-03-08T12:12:12"}, "cannot start at a time"),
        ({}, {"cdc_start_time": datetime(2024, 1, 1, tzinfo=UTC)}, "PostgreSQL cannot start at a time"),
        ({}, {"start_type": StartType.RESUME}, "a task that never ran"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_at_once(
    tmp_path: Path, changes: dict[str, object], request_: dict[str, object], message: str
) -> None:
    spec = task_spec("postgresql://u:p@127.0.0.1:1/d", tmp_path, **changes)  # type: ignore[arg-type]
    request = StartRequest(**({"start_type": StartType.START} | request_))  # type: ignore[arg-type]
    with pytest.raises(LocalServiceError, match=message):
        PostgresTaskEngine().start(spec, request, ArmedFaults())


def test_the_connection_test_says_why_without_secrets(postgres_database: str, tmp_path: Path) -> None:
    good = task_spec(postgres_database, tmp_path).source
    wrong = {**good, "Password": "s3cret-guess"}
    assert PostgresTaskEngine().test_connection(good) is None
    why = PostgresTaskEngine().test_connection(wrong)
    assert why is not None
    assert "s3cret-guess" not in why


def test_a_restart_that_was_stopped_at_once_can_be_resumed(bench: TaskBench) -> None:
    bench.stop()
    with psycopg.connect(bench.dsn) as connection:
        # an open transaction keeps the new slot from being made
        connection.execute("INSERT INTO t VALUES (3, 'three', 30)")
        bench.start(StartType.RELOAD)
        slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active"
        with psycopg.connect(bench.dsn, autocommit=True) as watcher:
            _wait_for(lambda: watcher.execute(slots).fetchone() == (1,))
        report = bench.stop()
        assert (report.stop_reason, report.recovery_checkpoint) == ("Stop Reason NORMAL", None)
    bench.start(StartType.RESUME)
    bench.wait_for_load()
    _insert(bench, 4)
    bench.catch_up()
    bench.stop()
    assert set(bench.fold("t", "id")) == {1, 2, 3, 4}
