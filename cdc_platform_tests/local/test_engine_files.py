"""Files: CSV as DMS writes it, names that never repeat, date folders, sizes, op settings."""

from __future__ import annotations

import datetime as dt
import gzip
import re
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from cdc_platform.local.contract import StartType
from cdc_platform.local.engine.publish import NameClock
from cdc_platform_tests.local.task_bench import RULES, SELECT_ALL, TaskBench

_ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, note text, size double precision, yes boolean, raw bytea,"
    " at timestamptz, price numeric(8,2))",
    "INSERT INTO t VALUES (1, 'a,\"b\"', 506560, true, '\\x00ff', '2024-02-29 12:00:00+00', 8300),"
    " (2, '', NULL, NULL, NULL, NULL, NULL), (3, E'two\\nlines', -0.11118453, false, '\\x', NULL, 0.5)",
)
_CSV: dict[str, Any] = {"DataFormat": "csv", "TimestampColumnName": ""}


def _loaded_csv(dsn: str, folder: Path, **target: object) -> TaskBench:
    bench = TaskBench(dsn, folder, migration_type="full-load", rules=[SELECT_ALL], target=_CSV | target)
    bench.execute(*_ROWS)
    bench.start()
    bench.end()
    return bench


@pytest.mark.postgres
def test_csv_quotes_where_needed_and_writes_floats_with_17_digits(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = _loaded_csv(postgres_database, tmp_path)
    (path,) = bench.files("t")
    expected = (
        '1,"a,""b""",+5.0656000000000000e+05,true,00ff,2024-02-29 12:00:00.000000,8300.00\n'
        "2,,NULL,NULL,NULL,NULL,NULL\n"
        '3,"two\nlines",-1.1118453000000000e-01,false,,NULL,0.50\n'
    )
    assert (path.name, path.read_text()) == ("LOAD00000001.csv", expected)


@pytest.mark.postgres
def test_csv_settings_are_honoured(postgres_database: str, tmp_path: Path) -> None:
    bench = _loaded_csv(
        postgres_database,
        tmp_path,
        CsvDelimiter="|",
        CsvRowDelimiter="\\r\\n",
        CsvNullValue="",
        AddColumnName=True,
        CompressionType="gzip",
    )
    (path,) = bench.files("t")
    text = gzip.decompress(path.read_bytes()).decode()
    assert path.name == "LOAD00000001.csv.gz"
    assert text.startswith('id|note|size|yes|raw|at|price\r\n1|"a,""b"""|')
    assert "\r\n2||||||\r\n" in text


@pytest.mark.postgres
def test_changes_in_csv_put_op_and_timestamp_first_and_added_columns_last(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(
        postgres_database,
        tmp_path,
        target={
            "DataFormat": "csv",
            "AddColumnName": True,
            "UseCsvNoSupValue": True,
            "CsvNoSupValue": "absent",
        },
    )
    bench.execute("CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, 'x')")
    bench.start()
    bench.wait_for_load()
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("UPDATE t SET note = NULL")
        connection.execute("DELETE FROM t")
    bench.catch_up()
    bench.stop()
    header, update, delete = bench.files("t")[1].read_text().splitlines()
    assert header == "Op,dms_timestamp,id,note,cdc_change_seq,cdc_stream_position,BI_id"
    stamp, digits, lsn = r"[-\d]{10} [:\d]{8}\.\d{6}", r"\d{35}", r"[\dA-F]+/[\dA-F]+"
    assert re.fullmatch(f"U,{stamp},1,NULL,{digits},{lsn},NULL", update)
    assert re.fullmatch(f"D,{stamp},1,absent,{digits},{lsn},1", delete)
    load = bench.files("t")[0].read_text().splitlines()[1]
    assert re.fullmatch(f"{stamp},1,x,,,NULL", load)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("settings", "pattern"),
    [
        ({}, r"\d{4}/\d{2}/\d{2}"),
        ({"DatePartitionDelimiter": "DASH"}, r"\d{4}-\d{2}-\d{2}"),
        ({"DatePartitionDelimiter": "none", "DatePartitionSequence": "yyyymmddhh"}, r"\d{10}"),
        ({"DatePartitionSequence": "DDMMYYYY", "DatePartitionDelimiter": "UNDERSCORE"}, r"\d{2}_\d{2}_\d{4}"),
    ],
)
def test_date_folders_hold_change_files_only(
    postgres_database: str, tmp_path: Path, settings: dict[str, str], pattern: str
) -> None:
    bench = TaskBench(postgres_database, tmp_path, target={"DatePartitionEnabled": True} | settings)
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (2)")
    bench.catch_up()
    bench.stop()
    folder = bench.root / "public" / "t"
    load, changes = (path.relative_to(folder) for path in bench.files("t"))
    assert str(load) == "LOAD00000001.parquet"
    assert re.fullmatch(pattern + r"/\d{8}-\d{9}\.parquet", str(changes))


@pytest.mark.postgres
def test_names_follow_the_time_zone_of_the_date_partition(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, target={"DatePartitionTimezone": "Pacific/Kiritimati"})
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (2)")
    bench.catch_up()
    bench.stop()
    named = dt.datetime.strptime(bench.files("t")[0].stem[:15], "%Y%m%d-%H%M%S").replace(tzinfo=dt.UTC)
    ahead = named - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=13) < ahead < dt.timedelta(hours=15)


@pytest.mark.postgres
def test_a_file_is_cut_at_the_minimum_size_even_within_a_transaction(
    postgres_database: str, tmp_path: Path
) -> None:
    bench = TaskBench(
        postgres_database, tmp_path, target={"CdcMinFileSize": 1000, "CdcMaxBatchInterval": 3600}
    )
    bench.execute("CREATE TABLE t (id int PRIMARY KEY, filler text)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t SELECT i, repeat('x', 60) FROM generate_series(1, 45000) AS i")
    bench.wait(lambda report: report.tables[0].inserts == 45_000)
    bench.stop()
    counts = [pq.read_metadata(path).num_rows for path in bench.files("t")]
    assert len(counts) > 2
    assert [row["id"] for row in bench.rows("t")] == list(range(1, 45_001))


@pytest.mark.postgres
def test_changes_of_the_batch_interval_go_into_one_file(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path, target={"CdcMaxBatchInterval": 1})
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
    bench.wait(lambda report: report.tables[0].applied_inserts == 3)
    bench.stop()
    assert [pq.read_metadata(path).num_rows for path in bench.files("t")] == [3]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("settings", "load_op", "ops"),
    [
        ({}, None, ["I", "U", "D"]),
        ({"CdcInsertsOnly": True}, None, [None]),
        ({"CdcInsertsOnly": True, "IncludeOpForFullLoad": True}, "I", ["I"]),
        ({"CdcInsertsAndUpdates": True, "IncludeOpForFullLoad": True}, "I", ["I", "U"]),
    ],
)
def test_op_settings_decide_which_changes_are_written_and_whether_they_say_their_op(
    postgres_database: str, tmp_path: Path, settings: dict[str, bool], load_op: str | None, ops: list[object]
) -> None:
    bench = TaskBench(postgres_database, tmp_path, target=settings)
    bench.execute("CREATE TABLE t (id int PRIMARY KEY, size int)", "INSERT INTO t VALUES (1, 1)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (2, 2)", "UPDATE t SET size = 0 WHERE id = 1", "DELETE FROM t")
    bench.catch_up()
    bench.stop()
    load, *changes = [row.get("Op") for row in bench.rows("t")]
    expected = [*ops, "D"] if ops == ["I", "U", "D"] else ops
    assert (load, changes) == (load_op, expected)


@pytest.mark.postgres
def test_headers_of_other_types_and_operations_are_written(postgres_database: str, tmp_path: Path) -> None:
    def rule(number: int, name: str, expression: str, type_name: str) -> dict[str, object]:
        return RULES[1] | {
            "rule-id": str(number),
            "rule-name": name,
            "value": name,
            "expression": expression,
            "data-type": {"type": type_name, "precision": 38, "scale": 0},
        }

    rules = [
        SELECT_ALL,
        rule(2, "operation", "$AR_H_OPERATION", "string"),
        rule(3, "committed", "$AR_H_COMMIT_TIMESTAMP", "datetime"),
        rule(4, "sequence", "$AR_H_CHANGE_SEQ", "numeric"),
        rule(5, "answer", "42", "int8"),
    ]
    bench = TaskBench(postgres_database, tmp_path, rules=rules)
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    bench.start()
    bench.wait_for_load()
    bench.execute("DELETE FROM t")
    bench.catch_up()
    bench.stop()
    load, delete = bench.rows("t")
    assert (load["operation"], delete["operation"]) == ("INSERT", "DELETE")
    assert (load["sequence"], load["answer"], delete["answer"]) == (None, 42, 42)
    assert delete["committed"].strftime("%Y-%m-%d %H:%M:%S.%f") == delete["dms_timestamp"]
    assert len(str(delete["sequence"])) == 35


@pytest.mark.postgres
def test_files_of_two_runs_never_share_a_name(postgres_database: str, tmp_path: Path) -> None:
    bench = TaskBench(postgres_database, tmp_path)
    bench.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.start()
    bench.wait_for_load()
    bench.execute("INSERT INTO t VALUES (1)")
    bench.catch_up()
    bench.stop()
    (first,) = bench.files("t")
    # a clock an hour ahead that was then set right
    state = bench.spec.folder / "engine.json"
    ahead = NameClock().next_ms() + 3_600_000
    state.write_text(re.sub(r'"clock_ms": \d+', f'"clock_ms": {ahead}', state.read_text()))
    bench.start(StartType.RESUME)
    bench.execute("INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
    bench.catch_up()
    bench.stop()
    names = [path.name for path in bench.files("t")]
    assert names == sorted(set(names))
    assert bench.files("t")[0] == first
    moment = dt.datetime.fromtimestamp((ahead + 1) / 1000, dt.UTC)
    assert names[1] >= moment.strftime("%Y%m%d-%H%M%S")


def test_the_name_clock_never_gives_a_moment_twice() -> None:
    clock = NameClock()
    moments = [clock.next_ms() for _ in range(1000)]
    assert moments == sorted(set(moments))
