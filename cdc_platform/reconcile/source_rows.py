"""Brings the source's rows of many keys into DuckDB, in chunks sized by how long the source takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.not_finite import may_be_not_finite, written_name
from cdc_platform.reconcile.sources import KEY_NUMBER, ReadPlan, SourceSnapshot
from cdc_platform.reconcile.workspace_names import in_workspace, workspace_name

_FIRST_CHUNK = 1_000
_LARGEST_CHUNK = 20_000
_SMALLEST_CHUNK = 50

#: A chunk that takes longer is too large for the source, one beyond so many bytes for us.
_TARGET_SECONDS = 0.5
_TARGET_BYTES = 32 << 20


def load_source_rows(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    plan: ReadPlan,
    *,
    into: str,
    keys: str,
    is_over: Callable[[], bool] = lambda: False,
) -> int | None:
    """Make the temporary table ``into`` (key_id, then the columns of ``plan``) for the keys SQL yields.

    Numerics that are not finite are NULL, with their text in a column beside (``not_finite``).

    Keys are read in the order of ``key_id``. Once ``is_over`` no more are asked for, and the last one that
    was read is returned; None where all were.
    """
    fields = [pa.field(workspace_name(column.column), column.arrow) for column in plan.columns]
    numbers = (column.column for column in plan.columns if may_be_not_finite(column))
    fields += [pa.field(written_name(name), pa.string()) for name in numbers]
    shape = pa.schema([pa.field("key_id", pa.int64()), *fields])
    connection.register("shape", shape.empty_table())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT * FROM shape")
    connection.unregister("shape")
    names = ", ".join(in_workspace(column.column) for column in plan.key)
    size, after = _FIRST_CHUNK, 0
    while True:
        chunk = connection.execute(
            f"SELECT key_id, {names} FROM ({keys}) WHERE key_id > {after} ORDER BY key_id LIMIT {size}"
        ).to_arrow_table()
        if chunk.num_rows == 0:
            return None
        if after and is_over():
            return after
        started = time.monotonic()
        rows = snapshot.rows_of(chunk.drop_columns(["key_id"]), plan)
        seconds = time.monotonic() - started
        key_ids = chunk.column("key_id").take(rows.column(KEY_NUMBER))
        values = rows.drop_columns([KEY_NUMBER])
        values = values.rename_columns([workspace_name(name) for name in values.column_names])
        found = values.add_column(0, "key_id", key_ids)
        connection.register("found", found)
        connection.execute(f"INSERT INTO {into} BY NAME SELECT * FROM found")
        connection.unregister("found")
        after = int(chunk.column("key_id")[-1].as_py())
        size = _next_size(size, seconds, found.nbytes)


def _next_size(size: int, seconds: float, size_bytes: int) -> int:
    """Double a chunk that was quick and small, halve one that was slow or large."""
    load = max(seconds / _TARGET_SECONDS, size_bytes / _TARGET_BYTES)
    if load > 1:
        return max(_SMALLEST_CHUNK, size // 2)
    return min(_LARGEST_CHUNK, size * 2) if load < 0.5 else size
