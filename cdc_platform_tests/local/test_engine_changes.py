"""Ongoing changes: what I, U and D rows carry, in which order, and what PostgreSQL's log leaves out."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from cdc_platform.local.contract import StartType
from cdc_platform.local.sample import add_column, create_sample, run_workload
from cdc_platform_tests.local.task_bench import RULES, TaskBench, before_images, file_ms

pytestmark = pytest.mark.postgres


@pytest.fixture
def bench(postgres_database: str, tmp_path: Path) -> TaskBench:
    """A running task on table ``t (id, name, size)`` with rows 1 and 2 loaded."""
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(
        "CREATE TABLE t (id int PRIMARY KEY, name text, size int)",
        "INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20)",
    )
    bench.start()
    bench.wait_for_load()
    return bench


def _seen(bench: TaskBench, *columns: str) -> list[tuple[object, ...]]:
    bench.stop()
    return [tuple(row[column] for column in columns) for row in bench.changes("t")]


def test_every_change_of_a_row_is_kept_in_order_even_within_a_transaction(bench: TaskBench) -> None:
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("INSERT INTO t VALUES (3, 'three', 1)")
        connection.execute("UPDATE t SET size = 2 WHERE id = 3")
        connection.execute("UPDATE t SET size = 3 WHERE id = 3")
        connection.execute("DELETE FROM t WHERE id = 3")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size") == [("I", 3, 1), ("U", 3, 2), ("U", 3, 3), ("D", 3, None)]
    rows = bench.changes("t")
    assert len({row["dms_timestamp"] for row in rows}) == 1
    sequences = [row["cdc_change_seq"] for row in rows]
    assert sequences == sorted(set(sequences))
    assert {len(sequence) for sequence in sequences} == {35}


def test_a_sequence_begins_with_the_commit_time_and_the_position_is_an_lsn(bench: TaskBench) -> None:
    bench.execute("UPDATE t SET size = 11 WHERE id = 1")
    bench.catch_up()
    bench.stop()
    (row,) = bench.changes("t")
    digits = row["dms_timestamp"].translate(str.maketrans("", "", "-: ."))
    assert row["cdc_change_seq"][:16] == digits[:16]
    with psycopg.connect(bench.dsn) as connection:
        query = "SELECT %s::pg_lsn < pg_current_wal_lsn()"
        assert connection.execute(query, (row["cdc_stream_position"],)).fetchone() == (True,)


def test_a_rolled_back_transaction_leaves_nothing(bench: TaskBench) -> None:
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("UPDATE t SET size = 99")
        connection.rollback()
    bench.execute("UPDATE t SET size = 12 WHERE id = 1")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size") == [("U", 1, 12)]


def test_a_delete_carries_its_key_only(bench: TaskBench) -> None:
    bench.execute("DELETE FROM t WHERE id = 2")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "name", "size", "BI_id") == [("D", 2, None, None, 2)]


def test_a_delete_carries_the_whole_row_with_replica_identity_full(bench: TaskBench) -> None:
    bench.execute("ALTER TABLE t REPLICA IDENTITY FULL", "DELETE FROM t WHERE id = 2")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "name", "size") == [("D", 2, "two", 20)]


def test_a_key_change_is_one_update_whose_before_image_tells_the_old_key(bench: TaskBench) -> None:
    bench.execute("UPDATE t SET id = 7 WHERE id = 2", "UPDATE t SET size = 21 WHERE id = 7")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size", "BI_id") == [("U", 7, 20, 2), ("U", 7, 21, None)]


def test_all_columns_but_lobs_have_before_images_when_the_rule_says_all(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, rules=[*RULES[:3], before_images("all")])
    bench.execute(
        "CREATE TABLE t (id int PRIMARY KEY, name text, size int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t VALUES (1, 'one', 10)",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("UPDATE t SET size = 11 WHERE id = 1")
    bench.catch_up()
    assert _seen(bench, "Op", "size", "BI_id", "BI_size") == [("U", 11, 1, 10)]
    assert "BI_name" not in bench.changes("t")[0]


def test_an_unchanged_toast_value_is_a_gap(bench: TaskBench) -> None:
    bench.execute(
        "ALTER TABLE t ALTER COLUMN name SET STORAGE EXTERNAL",
        "UPDATE t SET name = repeat('long', 3000) WHERE id = 1",
        "UPDATE t SET size = 12 WHERE id = 1",
    )
    bench.catch_up()
    rows = _seen(bench, "size", "name")
    assert rows == [(10, "long" * 3000), (12, None)]


def test_replica_identity_full_fills_the_gap_of_an_unchanged_toast_value(bench: TaskBench) -> None:
    bench.execute(
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "ALTER TABLE t ALTER COLUMN name SET STORAGE EXTERNAL",
        "UPDATE t SET name = repeat('long', 3000) WHERE id = 1",
        "UPDATE t SET size = 12 WHERE id = 1",
    )
    bench.catch_up()
    assert _seen(bench, "size", "name")[-1] == (12, "long" * 3000)


def test_truncate_is_not_captured(bench: TaskBench) -> None:
    bench.execute("TRUNCATE t", "INSERT INTO t VALUES (5, 'five', 50)")
    bench.catch_up()
    assert _seen(bench, "Op", "id") == [("I", 5)]


def test_updates_and_deletes_of_a_table_without_a_key_are_ignored(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute("CREATE TABLE t (id int, size int)", "INSERT INTO t VALUES (1, 10)")
    bench.start()
    bench.wait_for_load()
    bench.execute(
        "INSERT INTO t VALUES (2, 20)", "UPDATE t SET size = 0 WHERE id = 1", "DELETE FROM t WHERE id = 1"
    )
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size") == [("I", 2, 20)]


def test_added_renamed_and_dropped_columns_appear_in_later_files_only(bench: TaskBench) -> None:
    bench.execute("INSERT INTO t VALUES (3, 'three', 30)")
    bench.execute("ALTER TABLE t ADD COLUMN colour text DEFAULT 'red'", "UPDATE t SET size = 31 WHERE id = 3")
    bench.execute("ALTER TABLE t RENAME COLUMN name TO title", "UPDATE t SET size = 32 WHERE id = 3")
    bench.execute("ALTER TABLE t DROP COLUMN size", "UPDATE t SET colour = 'blue' WHERE id = 3")
    report = bench.catch_up()
    bench.stop()
    columns = [
        [name for name in pq.read_schema(path).names if name in ("id", "name", "title", "size", "colour")]
        for path in bench.files("t")[1:]
    ]
    assert columns == [
        ["id", "name", "size"],
        ["id", "name", "size", "colour"],
        ["id", "title", "size", "colour"],
        ["id", "title", "colour"],
    ]
    assert (report.tables[0].ddls, report.tables[0].applied_ddls) == (3, 3)


def test_statistics_count_what_was_captured_and_what_is_in_files(bench: TaskBench) -> None:
    bench.execute("INSERT INTO t VALUES (3, 'three', 30)", "UPDATE t SET size = 0", "DELETE FROM t")
    (table,) = bench.catch_up().tables
    assert (table.full_load_rows, table.inserts, table.updates, table.deletes) == (2, 1, 3, 3)
    assert (table.applied_inserts, table.applied_updates, table.applied_deletes) == (1, 3, 3)
    bench.stop()


def test_the_checkpoint_follows_the_log_of_an_idle_source(bench: TaskBench) -> None:
    bench.execute("CREATE TABLE elsewhere AS SELECT generate_series(1, 1000) AS n")
    before = len(bench.files("t"))
    report = bench.catch_up()
    assert report.recovery_checkpoint is not None
    assert report.recovery_checkpoint.startswith("checkpoint:V1#")
    assert len(bench.files("t")) == before
    bench.stop()


def test_nothing_is_lost_or_doubled_when_writes_go_on_during_the_load(
    postgres_database: str, tmp_path: Path
) -> None:
    create_sample(postgres_database)
    bench = TaskBench(postgres_database, tmp_path)
    stopping = threading.Event()

    def write() -> None:
        seed = 0
        while not stopping.is_set():
            seed += 1
            run_workload(postgres_database, changes=40, seed=seed)

    writer = threading.Thread(target=write)
    writer.start()
    bench.start()
    bench.wait_for_load()
    bench.catch_up()
    stopping.set()
    writer.join()
    add_column(postgres_database, "productorder", "channel", "text", value="web", every=5000)
    report = bench.catch_up()
    bench.stop()
    folded = bench.fold("productorder", "order_id")
    expected = bench.source("productorder", "order_id")
    assert {key: row | {"channel": row.get("channel")} for key, row in folded.items()} == expected
    (table,) = (table for table in report.tables if table.table_name == "productorder")
    assert len(bench.changes("productorder")) == table.inserts + table.updates + table.deletes


def test_a_later_commit_never_has_a_lower_sequence_when_the_sources_clock_goes_back(
    bench: TaskBench,
) -> None:
    bench.execute("UPDATE t SET size = 1 WHERE id = 1")
    bench.catch_up()
    bench.stop()
    # a clock that goes back is one that was ahead: put the task a century ahead of the commits to come
    state = bench.spec.folder / "engine.json"
    state.write_text(state.read_text().replace('"time": 20', '"time": 21'))
    bench.start(StartType.RESUME)
    bench.execute("UPDATE t SET size = 2 WHERE id = 1", "UPDATE t SET size = 3 WHERE id = 1")
    bench.catch_up()
    bench.stop()
    sequences = [row["cdc_change_seq"] for row in bench.changes("t")]
    assert sequences == sorted(set(sequences))
    assert [sequence[:2] for sequence in sequences] == ["20", "21", "21"]


def test_several_tables_get_a_file_set_each(postgres_database: str, tmp_path: Path) -> None:
    create_sample(postgres_database)
    bench = TaskBench(postgres_database, tmp_path)
    bench.start()
    bench.wait_for_load()
    run_workload(postgres_database, changes=300, seed=1)
    bench.catch_up()
    bench.stop()
    for table in ("product", "store", "productorder"):
        sequences = [row["cdc_change_seq"] for row in bench.changes(table)]
        assert sequences
        assert sequences == sorted(set(sequences))
    products = {
        key: {name: value for name, value in row.items() if not name.startswith("BI_")}
        for key, row in bench.fold("product", "product_id").items()
    }
    assert products == bench.source("product", "product_id")


def test_a_table_made_while_the_task_runs_is_loaded_and_followed(bench: TaskBench) -> None:
    bench.execute("CREATE TABLE u (id int PRIMARY KEY, size int)", "INSERT INTO u VALUES (1, 10), (2, 20)")
    bench.wait(lambda report: report.tables_loaded == 2)
    bench.execute("UPDATE u SET size = 11 WHERE id = 1", "DELETE FROM u WHERE id = 2")
    report = bench.catch_up()
    bench.stop()
    assert [row["id"] for row in bench.rows("u")] == [1, 2, 1, 2]
    assert bench.fold("u", "id") == bench.source("u", "id")
    assert not any(table.full_load_reloaded for table in report.tables)


def test_a_table_dropped_and_made_anew_is_loaded_again(bench: TaskBench) -> None:
    bench.execute(
        "DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, colour text)", "INSERT INTO t VALUES (9, 'red')"
    )
    bench.wait(lambda report: report.tables[0].full_load_reloaded)
    bench.execute("UPDATE t SET colour = 'blue'")
    bench.catch_up()
    bench.stop()
    load, *changes = bench.files("t")
    assert pq.read_table(load).column("colour").to_pylist() == ["red"]
    assert pq.read_table(changes[-1]).column("colour").to_pylist() == ["blue"]


def test_a_table_that_loses_its_key_can_still_be_changed_at_the_source(bench: TaskBench) -> None:
    bench.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    bench.wait(lambda report: report.tables[0].full_load_reloaded)
    bench.execute("UPDATE t SET size = 0", "INSERT INTO t VALUES (3, 'three', 30)")
    bench.catch_up()
    assert _seen(bench, "Op", "id") == [("I", 3)]


def test_a_renamed_table_goes_on_under_its_new_name(bench: TaskBench) -> None:
    bench.execute("ALTER TABLE t RENAME TO renamed", "INSERT INTO renamed VALUES (3, 'three', 30)")
    bench.wait(lambda report: len(report.tables) == 2 and report.tables[1].full_load_rows == 3)
    bench.execute("UPDATE renamed SET size = 31 WHERE id = 3")
    bench.catch_up()
    bench.stop()
    assert bench.fold("renamed", "id") == bench.source("renamed", "id")


def test_every_insert_is_in_the_load_or_in_the_log_and_never_in_both(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, writer int)")
    stopping = threading.Event()

    def write(writer: int) -> None:
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            while not stopping.is_set():
                connection.execute("INSERT INTO t (writer) VALUES (%s)", (writer,))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    bench.start()
    bench.wait_for_load()
    bench.wait(lambda report: report.tables[0].inserts > 200)
    assert bench.run is not None
    bench.run.reload_tables([("public", "t")])
    bench.wait(lambda report: report.tables[0].full_load_reloaded)
    seen = bench.report().tables[0].inserts
    bench.wait(lambda report: report.tables[0].inserts > seen + 200)
    stopping.set()
    for writer in writers:
        writer.join()
    bench.catch_up()
    bench.stop()
    load, *changes = bench.files("t")
    loaded = pq.read_table(load).column("id").to_pylist()
    moment = load.stat().st_mtime_ns // 1_000_000
    logged = [
        number
        for path in changes
        if file_ms(path) >= moment
        for number in pq.read_table(path).column("id").to_pylist()
    ]
    assert sorted(loaded + logged) == sorted(bench.source("t", "id"))


def test_a_partitioned_table_is_one_table_and_a_row_may_move_between_its_partitions(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(
        "CREATE TABLE t (id int, area text, PRIMARY KEY (id, area)) PARTITION BY LIST (area)",
        "CREATE TABLE t_north PARTITION OF t FOR VALUES IN ('north')",
        "CREATE TABLE t_south PARTITION OF t FOR VALUES IN ('south')",
        "INSERT INTO t VALUES (1, 'north'), (2, 'south')",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("UPDATE t SET area = 'south' WHERE id = 1")
    report = bench.catch_up()
    assert _seen(bench, "Op", "id", "area") == [("D", 1, "north"), ("I", 1, "south")]
    assert [table.table_name for table in report.tables] == ["t"]


def test_names_that_need_quotes_are_taken_as_they_are(postgres_database: str, tmp_path: Path) -> None:
    rules = [RULES[0] | {"object-locator": {"schema-name": "%", "table-name": "%"}}, *RULES[1:]]
    bench = TaskBench(postgres_database, tmp_path, rules=rules)
    bench.execute(
        'CREATE SCHEMA "My Shop"',
        'CREATE TABLE "My Shop"."Order.Lines" ("Id" int PRIMARY KEY, "Größe %s" text)',
        """INSERT INTO "My Shop"."Order.Lines" VALUES (1, 'x')""",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("""UPDATE "My Shop"."Order.Lines" SET "Größe %s" = 'y'""")
    bench.catch_up()
    bench.stop()
    values = [(row["Id"], row["Größe %s"]) for row in bench.rows("Order.Lines", "My Shop")]
    assert values == [(1, "x"), (1, "y")]


def test_a_replica_identity_index_is_the_key_of_a_table_without_a_primary_key(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(
        "CREATE TABLE t (id int NOT NULL UNIQUE, size int)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key",
        "INSERT INTO t VALUES (1, 10)",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("UPDATE t SET id = 2", "DELETE FROM t")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size", "BI_id") == [("U", 2, 10, 1), ("D", 2, None, 2)]


def test_a_swap_of_keys_under_a_deferrable_key_is_told_by_its_before_images(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, size int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t VALUES (1, 10), (2, 20)",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("UPDATE t SET id = 3 - id")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size", "BI_id") == [("U", 2, 10, 1), ("U", 1, 20, 2)]


def test_a_deferrable_key_alone_identifies_nothing_and_does_not_block_the_source(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, size int)", "INSERT INTO t VALUES (1, 10)")
    bench.start()
    bench.wait_for_load()
    bench.execute("UPDATE t SET size = 11", "INSERT INTO t VALUES (2, 20)")
    bench.catch_up()
    assert _seen(bench, "Op", "id", "size") == [("I", 2, 20)]


def test_stored_generated_columns_are_in_load_and_changes_and_virtual_ones_in_neither(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(
        "CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED,"
        " thrice int GENERATED ALWAYS AS (id * 3) VIRTUAL)",
        "INSERT INTO t VALUES (1)",
    )
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (2)")
    bench.catch_up()
    bench.stop()
    assert [(row["id"], row["twice"], "thrice" in row) for row in bench.rows("t")] == [
        (1, 2, False),
        (2, 4, False),
    ]
