"""Iceberg tables of made rows, written past the merge."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField, PrimitiveType

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.data_files import DataFileWriter
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta

#: Names with their types, and SQL of their values in row i.
Columns = Mapping[str, tuple[PrimitiveType, str]]


def made_table(
    lake: Lake, name: str, columns: Columns, rows: int, properties: Mapping[str, str] | None = None
) -> tuple[Table, tuple[DataFile, ...]]:
    """Make the table ``bench.<name>`` of so many rows; return it with its data files."""
    lake.ensure_namespace("bench")
    fields = [NestedField(n, column, kind) for n, (column, (kind, _)) in enumerate(columns.items(), 1)]
    table = lake.catalog.create_table(
        lake.identifier("bench", name), Schema(*fields), properties=dict(properties or {})
    )
    selected = ", ".join(f"{sql} AS {column}" for column, (_, sql) in columns.items())
    transaction = table.transaction()
    writer = DataFileWriter(transaction.table_metadata, table.io, table.location_provider())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        batches = connection.execute(f"SELECT {selected} FROM range({rows}) r(i)").to_arrow_reader(65_536)
        files = tuple(writer.write(batches))
    commit_row_delta(transaction, table, RowDelta(files))
    return lake.catalog.load_table(table.name()), files
