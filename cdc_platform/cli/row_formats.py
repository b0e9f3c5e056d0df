"""Rows as a table for people, as CSV or JSON for machines, and as Parquet: written as they are read.

In CSV and JSON times are ISO 8601 in UTC and binary values Base64; decimals keep their digits (text in JSON).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cdc_platform.naming import quoted, sql_text

if TYPE_CHECKING:
    import pyarrow as pa


class RowFormat(StrEnum):
    """How rows are written; each but the table is also the suffix of its files."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


def write_rows(form: RowFormat, schema: pa.Schema, batches: Iterable[pa.RecordBatch], to: BinaryIO) -> int:
    """Write the rows to a stream, batch by batch, and return how many they were."""
    if form is RowFormat.PARQUET:
        return _write_parquet(schema, batches, to)
    if form is RowFormat.CSV:
        return _write_csv(schema, batches, to)
    return _write_json(schema, batches, to, is_list=form is RowFormat.JSON)


def write_file(form: RowFormat, schema: pa.Schema, batches: Iterable[pa.RecordBatch], target: Path) -> int:
    """Write the rows into a file that is there whole or not at all; return how many they were."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as stream:
            rows = write_rows(form, schema, batches, stream)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def cells(batches: Iterable[pa.RecordBatch]) -> list[list[str | None]]:
    """Return the rows as text for a table. Only for few."""
    return [[_cell(value) for value in row.values()] for batch in batches for row in batch.to_pylist()]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.hex()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], to: BinaryIO) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(to, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], to: BinaryIO) -> int:
    import pyarrow.csv as csv

    rows = 0
    selected = ", ".join(f"{_plain(field)} AS {quoted(field.name)}" for field in schema)
    # the first, empty one is the header
    for number, table in enumerate(_selected(selected, [schema.empty_table()], batches)):
        csv.write_csv(table, to, csv.WriteOptions(include_header=number == 0))
        rows += len(table)
    return rows


def _write_json(schema: pa.Schema, batches: Iterable[pa.RecordBatch], to: BinaryIO, *, is_list: bool) -> int:
    rows = 0
    fields = ", ".join(f"{sql_text(field.name)}: {_json(field)}" for field in schema)
    between = ",\n" if is_list else "\n"
    to.write(b"[\n" if is_list else b"")
    for table in _selected(f"to_json({{{fields}}})::VARCHAR AS line", [], batches):
        text = between.join(map(str, table.column("line").to_pylist()))
        to.write(f"{between if rows else ''}{text}".encode())
        rows += len(table)
    end = ("\n" if rows else "") + ("]\n" if is_list else "")
    to.write(end.encode())
    return rows


def _selected(
    expressions: str, first: Iterable[pa.Table], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.Table]:
    """Yield SQL expressions over each table and batch, in the order of their rows."""
    import duckdb
    import pyarrow as pa

    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for table in chain(first, (pa.Table.from_batches([batch]) for batch in batches if len(batch))):
            con.register("given", table)
            yield con.execute(f"SELECT {expressions} FROM given").to_arrow_table()
            con.unregister("given")


def _plain(field: pa.Field[Any]) -> str:
    """Return SQL for a value as CSV has it."""
    import pyarrow.types as kinds

    name, kind = quoted(field.name), field.type
    if kinds.is_timestamp(kind):
        offset = "" if kind.tz is None else " || '+00:00'"
        at = name if kind.tz is None else f"({name} AT TIME ZONE 'UTC')"
        return f"(strftime({at}, '%Y-%m-%dT%H:%M:%S.%f'){offset})"
    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return f"base64({name})"
    return f"{name}::VARCHAR" if kinds.is_time(kind) else name


def _json(field: pa.Field[Any]) -> str:
    """Return SQL for a value as JSON has it: a number that JSON lacks is text."""
    import pyarrow.types as kinds

    name = quoted(field.name)
    if kinds.is_decimal(field.type):
        return f"{name}::VARCHAR"
    if kinds.is_floating(field.type):
        return f"CASE WHEN isfinite({name}) THEN to_json({name}) ELSE to_json({name}::VARCHAR) END"
    return _plain(field)
