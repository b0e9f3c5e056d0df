"""Every snapshot of a run through every reader: the same rows, of the same types, as the oracle expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.live_batches import live_batches, live_row_count, live_schema
from cdc_platform.lake.live_rows import live_files, live_sql
from cdc_platform.lake.read import connect
from cdc_platform.naming import sql_text
from cdc_platform_tests.histories.afterwards import SOURCE
from cdc_platform_tests.histories.case import Case
from cdc_platform_tests.histories.comparison import Mismatch, compare
from cdc_platform_tests.histories.run import Read, Run

#: Columns with their types as text, and rows, as of a snapshot.
Found = tuple[dict[str, str], list[dict[str, Any]]]
Reader = Callable[[Table, int], Found]

_SPARK_NAMES = {"bigint": "int64", "int": "int32", "boolean": "bool", "date": "date32[day]"} | {
    "timestamp": "timestamp[us, tz=UTC]",
    "timestamp_ntz": "timestamp[us]",
}


@contextmanager
def readers(lake: Lake, spark: Any = None) -> Iterator[dict[str, Reader]]:
    """Yield the readers by name; Spark is one of them when a session is given."""
    con = connect(lake.config)
    found: dict[str, Reader] = {
        "pyiceberg": _pyiceberg,
        "DuckDB": lambda table, snapshot: _duckdb(con, _iceberg_scan(table, snapshot)),
        "ours": lambda table, snapshot: _duckdb(con, live_sql(table, snapshot)),
    }
    found["ours without SQL"] = _batches
    if spark is not None:
        found["Spark"] = lambda table, snapshot: _spark(spark, table, snapshot)
    try:
        yield found
    finally:
        con.close()


def check_case(lake: Lake, case: Case, read: Read, by_name: dict[str, Reader]) -> int:
    """Run a case, and read what its upkeep leaves, and every snapshot in the end, through every reader.

    Returns how many snapshots were read. Raises Mismatch.
    """
    run = Run(lake, case, read)
    counts: list[int] = []

    def look() -> None:
        table = lake.load(SOURCE, run.table.id)
        head = table.metadata.current_snapshot_id if table is not None else None
        counts.append(check_history(run, by_name, snapshots=[] if head is None else [head]))

    run.on_upkeep = look
    run.go()
    return check_history(run, by_name) + sum(counts)


def check_history(run: Run, by_name: dict[str, Reader], *, snapshots: Sequence[int] | None = None) -> int:
    """Read every snapshot of a run's that is left through every reader; return how many. Raises Mismatch."""
    table = run.lake.load(SOURCE, run.table.id)
    if table is None:
        return 0
    there = {each.snapshot_id for each in table.metadata.snapshots}
    seen = [each for each in run.seen if each.snapshot_id in (there if snapshots is None else snapshots)]
    for each in seen:
        types: dict[str, dict[str, str]] = {}
        for name, read in by_name.items():
            types[name], rows = read(table, each.snapshot_id)
            try:
                compare(run.case, each.expected, rows, in_doubt=each.in_doubt)
            except Mismatch as e:
                raise Mismatch(f"snapshot {each.snapshot_id} through {name}: {e}") from e
        if any(kinds != types["pyiceberg"] for kinds in types.values()):
            raise Mismatch(f"snapshot {each.snapshot_id} has other types: {types}")
    return len(seen)


def _pyiceberg(table: Table, snapshot: int) -> Found:
    found = table.scan(snapshot_id=snapshot).to_arrow()
    return _types(found.schema), found.to_pylist()


def _batches(table: Table, snapshot: int) -> Found:
    live = live_files(table, snapshot)
    schema = live_schema(live)
    assert schema is not None
    found = pa.Table.from_batches(live_batches(live, table.io), schema)
    assert live_row_count(live, table.io) == len(found)
    return _types(schema), found.to_pylist()


def _iceberg_scan(table: Table, snapshot: int) -> str:
    location = sql_text(local_path(table.metadata_location))
    return f"iceberg_scan({location}, snapshot_from_id = {snapshot}::UBIGINT)"


def _duckdb(con: duckdb.DuckDBPyConnection, source: str) -> Found:
    found = con.execute(f"SELECT * FROM {source}").to_arrow_table()
    return _types(found.schema), found.to_pylist()


def _types(schema: Any) -> dict[str, str]:
    return {field.name: str(field.type).removeprefix("large_") for field in schema}


def _spark(spark: Any, table: Table, snapshot: int) -> Found:
    frame = spark.sql(f"SELECT * FROM cdc.{'.'.join(table.name())} VERSION AS OF {snapshot}")
    types = {field.name: field.dataType.simpleString() for field in frame.schema}
    named = {name: _SPARK_NAMES.get(kind, kind) for name, kind in types.items()}
    named = {
        name: kind.replace("decimal(", "decimal128(").replace(",", ", ") if "decimal" in kind else kind
        for name, kind in named.items()
    }
    return named, [{name: _plain(value) for name, value in row.asDict().items()} for row in frame.collect()]


def _plain(value: Any) -> Any:
    if isinstance(value, bytearray):
        return bytes(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
