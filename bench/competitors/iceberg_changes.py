"""The changes of a merge as rows of the product's own base table, for others that write to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
from pyiceberg.table import Table

from bench.lake import scan_sql
from bench.rows import VALUES, Variant


def changed_rows_sql(
    variant: Variant, files: Sequence[Path], con: duckdb.DuckDBPyConnection, table: Table
) -> str:
    """Return DuckDB's SQL of the changes with the table's control columns, the generation being its own."""
    row = con.execute(f"SELECT max(_cdc_generation) FROM {scan_sql(table)}").fetchone()
    assert row is not None
    paths = ", ".join(f"'{path}'" for path in files)
    return (
        f"SELECT Op AS _cdc_op, {row[0]}::BIGINT AS _cdc_generation, "
        f"{position_sql('DECIMAL(38, 0)')} AS _cdc_position, dms_timestamp::TIMESTAMPTZ "
        f"AS _cdc_committed_at, {', '.join([*variant.key, *VALUES])} FROM read_parquet([{paths}])"
    )


def position_sql(decimal: str) -> str:
    """Return SQL of a change's sequence, as the product counts it."""
    return f"CAST(concat(substr(cdc_change_seq, 1, 16), '000', substr(cdc_change_seq, 17)) AS {decimal})"
