"""Full load: what DMS writes for PostgreSQL's types, which files, and which of them it removes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.local.contract import StartType, TaskStatus
from cdc_platform_tests.local.task_bench import RULES, SELECT_ALL, TaskBench

pytestmark = pytest.mark.postgres

_TYPES = """
    CREATE DOMAIN price AS numeric(8,2);
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE every (
        id int PRIMARY KEY, small smallint, big bigint, yes boolean, exact numeric(15,2), loose numeric,
        wide numeric(40,2), cost price, cash money, single real, twice double precision, day date,
        clock time, moment timestamp, instant timestamptz, span interval, raw bytea, note text, uid uuid,
        doc json, docb jsonb, net inet, tags text[], feel mood);
    INSERT INTO every VALUES (
        1, -3, 9000000000, true, 12.34, 1.23456789, 1.5, 9.99, '$1,234.50', 0.5, 2.25, '2024-02-29',
        '12:34:56.123456', '2024-02-29 12:34:56.123456', '2024-02-29 12:34:56.123456+02', '1 day 02:00',
        '\\xdeadbeef', E'a,"b"\\n', '0e37df36-f698-11e6-8dd4-cb9ced3df976', '{"a": 1}', '{"b":2,"a":1}',
        '10.0.0.1', '{x,"y z"}', 'ok');
    INSERT INTO every (id, note, loose, day, moment) VALUES
        (2, '', 'NaN', 'infinity', '-infinity'), (3, NULL, NULL, '0044-03-15 BC', '12345-01-01 00:00:00'),
        (4, '\\N', 2, NULL, NULL)
"""


def _load(dsn: str, folder: Path, **changes: object) -> TaskBench:
    bench = TaskBench(dsn, folder, migration_type="full-load", **changes)
    bench.start()
    bench.end()
    return bench


def test_types_are_what_dms_makes_of_postgresqls(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load", rules=[SELECT_ALL])
    bench.execute(_TYPES)
    bench.start()
    bench.end()
    schema = pq.read_schema(bench.files("every")[0])
    expected = {
        "dms_timestamp": pa.string(),
        "id": pa.int32(),
        "small": pa.int16(),
        "big": pa.int64(),
        "yes": pa.string(),
        "exact": pa.decimal128(15, 2),
        "loose": pa.decimal128(28, 6),
        "wide": pa.string(),
        "cost": pa.decimal128(8, 2),
        "cash": pa.decimal128(38, 4),
        "single": pa.float32(),
        "twice": pa.float64(),
        "day": pa.date32(),
        "clock": pa.time32("ms"),
        "moment": pa.timestamp("us", tz="UTC"),
        "instant": pa.timestamp("us", tz="UTC"),
        "span": pa.string(),
        "raw": pa.binary(),
    }
    strings = dict.fromkeys(("note", "uid", "doc", "docb", "net", "tags", "feel"), pa.string())
    assert expected | strings == {field.name: field.type for field in schema}


def test_values_are_what_dms_makes_of_postgresqls(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load", rules=[SELECT_ALL])
    bench.execute(_TYPES)
    bench.start()
    bench.end()
    first, second, third, fourth = sorted(bench.rows("every"), key=lambda row: row["id"])
    moment = dt.datetime(2024, 2, 29, 12, 34, 56, 123456, tzinfo=dt.UTC)
    del first["dms_timestamp"]
    assert first == {
        "id": 1,
        "small": -3,
        "big": 9000000000,
        "yes": "true",
        "exact": Decimal("12.34"),
        "loose": Decimal("1.234568"),
        "wide": "1.50",
        "cost": Decimal("9.99"),
        "cash": Decimal("1234.5000"),
        "single": 0.5,
        "twice": 2.25,
        "day": dt.date(2024, 2, 29),
        "clock": dt.time(12, 34, 56, 123000),
        "moment": moment,
        "instant": moment - dt.timedelta(hours=2),
        "span": "1 day 02:00:00",
        "raw": b"\xde\xad\xbe\xef",
        "note": 'a,"b"\n',
        "uid": "0e37df36-f698-11e6-8dd4-cb9ced3df976",
        "doc": '{"a": 1}',
        "docb": '{"a": 1, "b": 2}',
        "net": "10.0.0.1",
        "tags": '{x,"y z"}',
        "feel": "ok",
    }
    assert (second["note"], second["loose"], second["day"]) == ("", None, dt.date(9999, 12, 31))
    assert second["moment"] == dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    assert (third["note"], third["day"]) == (None, dt.date(1, 1, 1))
    assert third["moment"] == dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
    assert (fourth["note"], fourth["yes"], fourth["raw"]) == ("\\N", None, None)


def test_the_log_gives_the_same_values_as_the_load(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute(_TYPES, "CREATE TABLE copy (LIKE every INCLUDING ALL)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO copy SELECT * FROM every")
    bench.catch_up()
    bench.stop()
    control = {"Op", "dms_timestamp", "cdc_change_seq", "cdc_stream_position", "BI_id"}
    loaded, logged = (
        [
            {name: value for name, value in row.items() if name not in control}
            for row in sorted(bench.rows(table), key=lambda row: row["id"])
        ]
        for table in ("every", "copy")
    )
    assert loaded == logged


def test_booleans_are_booleans_when_the_endpoint_says_so(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(
        postgres_database,
        tmp_path,
        migration_type="full-load",
        source={"PostgreSQLSettings": {"MapBooleanAsBoolean": True}},
    )
    bench.execute("CREATE TABLE t (id int PRIMARY KEY, yes boolean)", "INSERT INTO t VALUES (1, false)")
    bench.start()
    bench.end()
    assert bench.rows("t")[0]["yes"] is False


def test_the_timestamp_column_differs_on_each_row_and_is_required(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load")
    bench.execute("CREATE TABLE t AS SELECT generate_series(1, 3) AS id")
    bench.start()
    bench.end()
    stamps = [row["dms_timestamp"] for row in bench.rows("t")]
    assert len(set(stamps)) == 3
    assert dt.datetime.strptime(stamps[0], "%Y-%m-%d %H:%M:%S.%f").year >= 2024
    assert not pq.read_schema(bench.files("t")[0]).field("dms_timestamp").nullable


def test_the_timestamp_can_be_the_start_of_the_task(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(
        postgres_database,
        tmp_path,
        migration_type="full-load",
        target={"UseTaskStartTimeForFullLoadTimestamp": True},
    )
    bench.execute("CREATE TABLE t AS SELECT generate_series(1, 3) AS id")
    bench.start()
    report = bench.end()
    assert report.started_at is not None
    expected = report.started_at.strftime("%Y-%m-%d %H:%M:%S.%f")
    assert {row["dms_timestamp"] for row in bench.rows("t")} == {expected}


def test_load_rows_have_an_op_only_with_include_op_for_full_load(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path / "without", migration_type="full-load")
    bench.execute("CREATE TABLE t AS SELECT 1 AS id")
    bench.start()
    bench.end()
    assert "Op" not in bench.rows("t")[0]
    within = _load(postgres_database, tmp_path / "with", target={"IncludeOpForFullLoad": True})
    assert within.rows("t")[0]["Op"] == "I"


def test_sequence_position_and_before_image_are_empty_on_load_rows(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load")
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    bench.start()
    bench.end()
    row = bench.rows("t")[0]
    assert (row["cdc_change_seq"], row["cdc_stream_position"], row["BI_id"]) == (None, None, None)


def test_an_empty_table_gets_no_folder(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load")
    bench.execute("CREATE TABLE full_one AS SELECT 1 AS id", "CREATE TABLE empty_one (id int)")
    bench.start()
    report = bench.end()
    assert [path.name for path in (bench.root / "public").iterdir()] == ["full_one"]
    assert {table.table_name: table.full_load_rows for table in report.tables} == {
        "empty_one": 0,
        "full_one": 1,
    }


def test_a_full_load_task_ends_by_itself(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load")
    bench.execute("CREATE TABLE t AS SELECT 1 AS id")
    bench.start()
    report = bench.end()
    assert (report.status, report.stop_reason) == (
        TaskStatus.STOPPED,
        "Stop Reason FULL_LOAD_ONLY_FINISHED",
    )
    assert (report.full_load_progress_percent, report.tables_loaded) == (100, 1)


def test_load_files_are_cut_at_the_file_size_and_counted_in_hexadecimal(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load", target={"MaxFileSize": 4096})
    bench.execute(
        "CREATE TABLE t AS SELECT i AS id, repeat('x', 4000) AS filler FROM generate_series(1, 11000) i"
    )
    bench.start()
    bench.end()
    names = [path.name for path in bench.files("t")]
    assert names[8:11] == ["LOAD00000009.parquet", "LOAD0000000A.parquet", "LOAD0000000B.parquet"]
    assert sorted(row["id"] for row in bench.rows("t")) == list(range(1, 11001))


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("DO_NOTHING", True), ("TRUNCATE_BEFORE_LOAD", False), ("DROP_AND_CREATE", False)],
)
def test_the_prepare_mode_decides_whether_earlier_files_stay(
    postgres_database: str, tmp_path: Path, mode: str, kept: bool
) -> None:
    bench = TaskBench(
        postgres_database, tmp_path, settings={"FullLoadSettings": {"TargetTablePrepMode": mode}}
    )
    bench.execute("CREATE TABLE t AS SELECT 1 AS id")
    bench.start()
    bench.wait_for_load()
    bench.stop()
    stale = bench.files("t")[0].with_name("LOAD00000009.parquet")
    stale.write_bytes(b"of an earlier, longer load")
    bench.start(StartType.RELOAD)
    bench.wait_for_load()
    bench.stop()
    assert stale.exists() is kept
    assert bench.files("t")[0].name == "LOAD00000001.parquet"


def test_a_table_that_cannot_be_read_is_suspended_and_the_others_load(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load")
    bench.execute(
        "CREATE TABLE good AS SELECT 1 AS id",
        "CREATE TABLE bad AS SELECT 99999999999999999999999999.5::numeric AS id",
    )
    bench.start()
    report = bench.end()
    states = {table.table_name: table.table_state for table in report.tables}
    assert states == {"bad": "Table error", "good": "Table completed"}
    assert report.tables_errored == 1
    assert "column id" in str(report.last_failure_message)


def test_lobs_are_cut_silently_in_limited_lob_mode(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(
        postgres_database,
        tmp_path,
        migration_type="full-load",
        settings={"TargetMetadata": {"LimitedSizeLobMode": True, "LobMaxSize": 1}},
    )
    bench.execute("CREATE TABLE t AS SELECT 1 AS id, repeat('x', 2000) AS doc")
    bench.start()
    bench.end()
    assert len(bench.rows("t")[0]["doc"]) == 1024


def test_compressed_parquet_and_its_settings_are_honoured(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(
        postgres_database,
        tmp_path,
        migration_type="full-load",
        target={"CompressionType": "gzip", "RowGroupLength": 100, "ParquetTimestampInMillisecond": True},
    )
    bench.execute("CREATE TABLE t AS SELECT i AS id, now() AS at FROM generate_series(1, 250) i")
    bench.start()
    bench.end()
    metadata = pq.read_metadata(bench.files("t")[0])
    assert metadata.num_row_groups == 3
    assert metadata.row_group(0).column(0).compression == "GZIP"
    assert pq.read_schema(bench.files("t")[0]).field("at").type == pa.timestamp("ms", tz="UTC")


def test_column_rules_rename_remove_and_add(postgres_database: str, tmp_path: Path) -> None:
    def rule(number: int, target: str, action: str, column: str, **more: str) -> dict[str, object]:
        locator = {"schema-name": "public", "table-name": "t", "column-name": column}
        return {
            "rule-type": "transformation",
            "rule-id": str(number),
            "rule-name": str(number),
            "rule-target": target,
            "rule-action": action,
            "object-locator": locator,
            **more,
        }

    rules = [
        SELECT_ALL,
        rule(2, "schema", "rename", "%", value="lake"),
        rule(3, "table", "add-prefix", "%", value="raw_"),
        rule(4, "column", "rename", "id", value="key"),
        rule(5, "column", "remove-column", "secret"),
        rule(6, "column", "convert-uppercase", "name"),
        rule(7, "column", "add-column", "%", value="origin", expression="'shop'"),
        rule(8, "column", "add-column", "%", value="source_table", expression="$AR_M_SOURCE_TABLE_NAME"),
    ]
    bench = TaskBench(
        postgres_database,
        tmp_path,
        migration_type="full-load",
        rules=rules,
        target={"TimestampColumnName": ""},
    )
    bench.execute("CREATE TABLE t AS SELECT 1 AS id, 'x' AS secret, 'n' AS name")
    bench.start()
    bench.end()
    assert bench.rows("raw_t", "lake") == [{"key": 1, "NAME": "n", "origin": "shop", "source_table": "t"}]


def test_selection_rules_include_exclude_and_take_wildcards(postgres_database: str, tmp_path: Path) -> None:
    def select(number: int, table: str, action: str) -> dict[str, object]:
        locator = {"schema-name": "pub%", "table-name": table}
        return {
            "rule-type": "selection",
            "rule-id": str(number),
            "rule-name": str(number),
            "object-locator": locator,
            "rule-action": action,
        }

    rules = [select(1, "order%", "include"), select(2, "%_old", "exclude"), *RULES[1:]]
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load", rules=rules)
    for table in ("orders", "order_lines", "orders_old", "customer"):
        bench.execute(f"CREATE TABLE {table} AS SELECT 1 AS id")
    bench.start()
    report = bench.end()
    assert sorted(table.table_name for table in report.tables) == ["order_lines", "orders"]


@pytest.mark.parametrize(
    ("policy", "status", "state"),
    [
        ("SUSPEND_TABLE", TaskStatus.STOPPED, "Table error"),
        ("STOP_TASK", TaskStatus.FAILED, "Table error"),
    ],
)
def test_a_lob_that_is_too_long_is_not_cut_when_the_policy_forbids_it(
    postgres_database: str, tmp_path: Path, policy: str, status: TaskStatus, state: str
) -> None:
    settings = {
        "TargetMetadata": {"LimitedSizeLobMode": True, "LobMaxSize": 1},
        "ErrorBehavior": {"DataTruncationErrorPolicy": policy},
    }
    bench = TaskBench(postgres_database, tmp_path, migration_type="full-load", settings=settings)
    bench.execute("CREATE TABLE t AS SELECT 1 AS id, repeat('x', 2000) AS doc")
    bench.start()
    report = bench.end()
    assert (report.status, report.tables[0].table_state) == (status, state)
    assert "a value is 2000 long, LobMaxSize allows 1024" in str(report.last_failure_message)
    assert bench.files("t") == []
