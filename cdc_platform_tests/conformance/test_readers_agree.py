"""What holds the private names of pyiceberg in place: three readers see the same table.

pyiceberg, DuckDB's ``iceberg_scan`` and Spark 3.5 read, on one SQLite catalog, a table that was loaded,
updated, deleted from and given a column by merges: partitioned and not.
"""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.config.model import TableConfig
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.read import open_workspace, scan
from cdc_platform.naming import sql_text
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import Change, change_file, load_file

pytestmark = [
    pytest.mark.spark,
    # py4j leaves its sockets and pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COLUMNS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("price", pa.decimal128(10, 2)),
        pa.field("active", pa.bool_()),
        pa.field("stock", pa.int32()),
        pa.field("weight", pa.float64()),
        pa.field("opened_on", pa.date32()),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("seen_at", pa.timestamp("us")),
        pa.field("picture", pa.binary()),
    ]
)
WIDER = COLUMNS.append(pa.field("note", pa.string())).set(4, pa.field("stock", pa.int64()))
_numbers = itertools.count()


def row(key: int, **values: Any) -> dict[str, Any]:
    at = datetime(2024, 2, 29, 23, 59, 59, 123456)
    return {
        "id": key,
        "name": f"näme {key}",
        "price": Decimal(key) / 100,
        "active": key % 2 == 0,
        "stock": key - 3,
        "weight": key / 7,
        "opened_on": date(1969, 12, 31) if key % 2 else date(2024, 2, 29),
        "updated_at": at.replace(tzinfo=UTC, microsecond=key),
        "seen_at": at,
        "picture": bytes([key]),
        **values,
    }


SPECS = {"plain": (), "hidden": ("day(updated_at)", "bucket(3, id)"), "identity": ("name",)}


@pytest.fixture(scope="module", params=SPECS.values(), ids=SPECS.keys())
def bench(request: pytest.FixtureRequest, shared_lake: Lake) -> Bench:
    """A merged table that the tests only read."""
    return merged_table(shared_lake, request.param)


def merged_table(lake: Lake, partition_by: tuple[str, ...]) -> Bench:
    """Return a table with inserts, updates, deletes, partition moves, an added and a widened column."""
    table = TableConfig(
        name="public.item", id=f"item{next(_numbers)}", merge_key=("id",), partition_by=partition_by
    )
    bench = Bench(lake, table)
    bench.merge(load_file("load", *(row(key) for key in range(1, 9)), columns=COLUMNS))
    bench.merge(
        change_file(
            "first",
            Change("U", row(1, name=None, price=None, opened_on=None, picture=None), 10),
            Change("D", {"id": 2}, 11),
            Change("I", row(20), 12),
            Change("U", row(30), 13, {"id": 3}),
            generation=1,
            columns=COLUMNS,
        )
    )
    bench.merge(
        change_file(
            "second",
            Change("U", row(1, name="again", stock=2**40, note="added"), 20),
            Change("U", row(4, name="näme 4", note=""), 21),
            Change("D", {"id": 5}, 22),
            generation=1,
            columns=WIDER,
        )
    )
    return bench


def by_key(table: pa.Table) -> pa.Table:
    """Return a table sorted by key, with the plain types the readers do not agree to name."""
    plain = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    fields = [pa.field(field.name, plain.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields)).sort_by("id")


def through_pyiceberg(bench: Bench) -> pa.Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return by_key(table.scan().to_arrow())


def through_duckdb(bench: Bench) -> pa.Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    con = open_workspace(bench.lake, iceberg=True)
    found = con.execute(
        f"FROM iceberg_scan({sql_text(local_path(table.metadata_location))})"
    ).to_arrow_table()
    con.close()
    return by_key(found)


def through_our_own_reader(bench: Bench) -> pa.Table:
    return by_key(scan(bench.lake, SOURCE, bench.config.id).read_all())


def spark_name(bench: Bench) -> str:
    return f"cdc.{SOURCE}.{bench.config.id}"


def through_spark(spark: Any, bench: Bench) -> list[dict[str, Any]]:
    rows = spark.sql(f"SELECT * FROM {spark_name(bench)} ORDER BY id").collect()
    return [{name: as_plain(value) for name, value in found.asDict().items()} for found in rows]


def as_plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray) else value


def comparable(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as Spark's Python API gives them: UTC session, moments without a zone."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return [
        {
            name: value.replace(tzinfo=None) if isinstance(value, datetime) else value
            for name, value in found.items()
        }
        for found in rows
    ]


def test_pyiceberg_and_duckdb_read_the_same_types_and_values(bench: Bench) -> None:
    assert through_pyiceberg(bench) == through_duckdb(bench)


def test_our_own_reader_gives_the_same_types_and_values_as_duckdbs_iceberg_reader(bench: Bench) -> None:
    assert through_duckdb(bench) == through_our_own_reader(bench)


def test_our_own_reader_applies_the_deletes_of_spark(spark: Any, shared_lake: Lake) -> None:
    bench = merged_table(shared_lake, SPECS["plain"])
    spark.sql(f"ALTER TABLE {spark_name(bench)} SET TBLPROPERTIES ('write.delete.granularity' = 'partition')")
    spark.sql(f"DELETE FROM {spark_name(bench)} WHERE id IN (6, 20)")

    assert through_pyiceberg(bench) == through_our_own_reader(bench)


def test_spark_reads_the_same_rows_as_pyiceberg(spark: Any, bench: Bench) -> None:
    assert comparable(through_pyiceberg(bench)) == through_spark(spark, bench)


def test_the_table_holds_what_the_source_holds(bench: Bench) -> None:
    expected = {
        **{key: row(key, note=None) for key in (6, 7, 8, 20, 30)},
        30: row(30, note=None),
        1: row(1, name="again", stock=2**40, note="added"),
        4: row(4, note=""),
    }
    found = through_pyiceberg(bench).to_pylist()

    assert expected == {
        each["id"]: {name: value for name, value in each.items() if not name.startswith("_cdc_")}
        for each in found
    }


def test_spark_names_the_types_the_schema_declares(spark: Any, bench: Bench) -> None:
    described = {field.name: field.dataType.simpleString() for field in spark.table(spark_name(bench)).schema}

    assert {
        "_cdc_op": "string",
        "_cdc_generation": "bigint",
        "_cdc_position": "decimal(38,0)",
        "_cdc_committed_at": "timestamp",
        "id": "bigint",
        "name": "string",
        "price": "decimal(10,2)",
        "active": "boolean",
        "stock": "bigint",
        "weight": "double",
        "opened_on": "date",
        "updated_at": "timestamp",
        "seen_at": "timestamp_ntz",
        "picture": "binary",
        "note": "string",
    } == described


def test_every_snapshot_still_reads_as_it_was(spark: Any, bench: Bench) -> None:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    for snapshot in table.metadata.snapshots:
        ours = table.scan(snapshot_id=snapshot.snapshot_id, selected_fields=("id",)).to_arrow()
        query = f"SELECT id FROM {spark_name(bench)} VERSION AS OF {snapshot.snapshot_id} ORDER BY id"

        assert sorted(ours["id"].to_pylist()) == [found.id for found in spark.sql(query).collect()]


def test_a_merge_goes_on_where_spark_has_written(spark: Any, shared_lake: Lake) -> None:
    bench = merged_table(shared_lake, SPECS["hidden"])
    spark.sql(f"DELETE FROM {spark_name(bench)} WHERE id = 6")
    spark.sql(f"UPDATE {spark_name(bench)} SET stock = 99 WHERE id = 7")
    again = change_file("first", Change("D", {"id": 2}, 11), generation=1, columns=COLUMNS)
    later = change_file("third", Change("U", row(7, note="7"), 30), generation=1, columns=WIDER)
    result = bench.merge(again, later)

    assert (1, 1) == (result.files_skipped, result.counts.rows_updated)
    assert comparable(through_duckdb(bench)) == through_spark(spark, bench)
    assert through_pyiceberg(bench) == through_duckdb(bench)
    assert [row(7, note="7")] == [
        {name: value for name, value in found.items() if not name.startswith("_cdc_")}
        for found in through_duckdb(bench).to_pylist()
        if found["id"] == 7
    ]


def test_spark_compaction_changes_no_row_and_the_next_merge_finds_its_record(
    spark: Any, shared_lake: Lake
) -> None:
    bench = merged_table(shared_lake, SPECS["plain"])
    before = through_duckdb(bench)
    spark.sql(
        f"CALL cdc.system.rewrite_data_files(table => '{SOURCE}.{bench.config.id}', "
        "options => map('rewrite-all', 'true'))"
    )
    again = change_file("first", Change("D", {"id": 2}, 11), generation=1, columns=COLUMNS)

    assert 1 == bench.merge(again).files_skipped
    assert before == through_duckdb(bench)


def test_times_of_day_read_alike_through_pyiceberg_and_duckdb(shared_lake: Lake) -> None:
    columns = pa.schema([pa.field("id", pa.int64()), pa.field("at", pa.time64("us"))])
    bench = Bench(shared_lake, TableConfig(name="public.clock", id="clock", merge_key=("id",)))
    bench.merge(load_file("load", {"id": 1, "at": time(23, 59, 59, 1)}, columns=columns))

    assert [time(23, 59, 59, 1)] == through_pyiceberg(bench)["at"].to_pylist()
    assert through_pyiceberg(bench) == through_duckdb(bench)
