"""Rows as DMS writes them: the columns a task adds, and its Parquet settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.rows import VALUES, Variant, key_sql, values_sql

LOADED_AT = datetime(2026, 1, 5, tzinfo=UTC)
#: DMS's RowGroupLength.
_GROUP_ROWS = 10_000


def load_rows(con: duckdb.DuckDBPyConnection, variant: Variant, start: int, end: int) -> pa.RecordBatchReader:
    """Return rows ``start`` to ``end`` of a full load."""
    transferred = f"TIMESTAMP '{LOADED_AT:%Y-%m-%d %H:%M:%S}' + to_microseconds(i + 1)"
    before = ", ".join(f"NULL AS BI_{name}" for name in variant.key)
    query = (
        f"SELECT {transferred} AS dms_timestamp, {key_sql(variant)}, {values_sql(0)}, "
        f"NULL AS cdc_change_seq, NULL AS cdc_stream_position, {before} FROM range({start}, {end}) r(i)"
    )
    return _as_dms(con.execute(query).to_arrow_reader(_GROUP_ROWS * 10), _schema(variant, has_op=False))


def change_rows(
    con: duckdb.DuckDBPyConnection, variant: Variant, start: int, end: int, at: datetime, series: int
) -> pa.RecordBatchReader:
    """Return rows ``start`` to ``end`` of the changes: a delete carries only its key."""
    begin = f"TIMESTAMP '{at - timedelta(minutes=1):%Y-%m-%d %H:%M:%S}'"
    moment = f"({begin} + to_microseconds((j - {start}) * 60000000 // {end - start}))"
    values = ", ".join(f"CASE WHEN op <> 'D' THEN v.{name} END AS {name}" for name in VALUES)
    before = ", ".join(f"CASE WHEN op <> 'I' THEN v.{name} END AS BI_{name}" for name in variant.key)
    sequence = (
        f"strftime({moment}, '%Y%m%d%H%M%S') || '00' || lpad((j + {series * 10**10})::VARCHAR, 19, '0')"
    )
    query = f"""SELECT op AS Op, {moment} AS dms_timestamp, {", ".join(variant.key)}, {values},
            {sequence} AS cdc_change_seq, '0/' || hex(16777216 + j * 96) AS cdc_stream_position, {before}
        FROM (SELECT j, i, op, {key_sql(variant)}, {values_sql(series)} FROM chosen
              WHERE j >= {start} AND j < {end}) v ORDER BY j"""
    return _as_dms(con.execute(query).to_arrow_reader(_GROUP_ROWS * 10), _schema(variant, has_op=True))


def _schema(variant: Variant, *, has_op: bool) -> pa.Schema:
    text = pa.string()
    heads: list[Any] = [pa.field("Op", text)] if has_op else []
    heads.append(pa.field("dms_timestamp", text, nullable=False))
    added = [pa.field(name, text) for name in ("cdc_change_seq", "cdc_stream_position")]
    before = [pa.field(f"BI_{name}", kind) for name, kind in variant.types.items()]
    own = [pa.field(name, kind) for name, kind in variant.columns.items()]
    return pa.schema([*heads, *own, *added, *before])


def _as_dms(rows: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def write_as_dms(path: Path, rows: pa.RecordBatchReader) -> None:
    """Write as DMS: no Arrow schema in the footer, 10,000 rows in a group, no compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with pq.ParquetWriter(partial, rows.schema, compression="none", store_schema=False) as writer:
        for batch in rows:
            writer.write_batch(batch, row_group_size=_GROUP_ROWS)
    partial.replace(path)
