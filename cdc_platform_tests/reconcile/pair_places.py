"""Where packets of pairs are compared: an export with an Iceberg table, a PostgreSQL, or tables in memory."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from datetime import time
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any, Protocol

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql
from pydantic import SecretStr
from pyiceberg.table import Table

from cdc_platform.config.model import Connection
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.live_rows import live_sql
from cdc_platform.reconcile.as_of import AsOf
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform_tests.reconcile.export_shapes import write_export
from cdc_platform_tests.reconcile.packets import Packet, compare_packet, without_doubles
from cdc_platform_tests.reconcile.pairs import LAST_DAY, LAST_MOMENT, RowsReader, as_base, memory_plan

_DECLARED: dict[pa.DataType, str] = {
    pa.int64(): "bigint",
    pa.string(): "text",
    pa.float64(): "double precision",
    pa.decimal128(12, 2): "numeric(12,2)",
    pa.decimal128(38, 4): "numeric(38,4)",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.bool_(): "boolean",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.time64("us"): "time",
}
#: Columns whose type base does not tell.
_DECLARED_BY_NAME = {"amount": "numeric", "label": "char(6)", "code": "uuid", "doc": "json"}


class Place(Protocol):
    def compare(self, packet: Packet) -> tuple[Packet, FullComparison]:
        """Compare a packet, made fit for the place; return both."""
        ...


@dataclass(frozen=True)
class MemoryPlace:
    """Tables in memory on both sides, the source read at once or by ranges of its key."""

    connection: duckdb.DuckDBPyConnection
    ranged: bool

    def compare(self, packet: Packet) -> tuple[Packet, FullComparison]:
        base = as_base(packet.base())
        self.connection.register("base_table", base)
        plan = memory_plan(packet.names, packet.types, len(packet.key), ranged=self.ranged)
        reader, view = RowsReader(packet.source(), plan), BaseView("base_table", base.schema, 42)
        options = FullOptions(budget=Budget(max_rows=10**9) if self.ranged else Budget())
        return packet, compare_packet(self.connection, packet, reader, plan, view, options=options)


@dataclass
class ExportPlace:
    """A source exported to Parquet files, at a known position, and base as an Iceberg table of two files."""

    folder: Path
    lake: Lake
    connection: duckdb.DuckDBPyConnection
    made: int = 0

    def compare(self, packet: Packet) -> tuple[Packet, FullComparison]:
        self.made += 1
        export = self.folder / "export"
        shutil.rmtree(export, ignore_errors=True)
        write_export(export, packet.source(), Random(repr(packet.pairs[0])))
        reader = ParquetReader(self.lake, str(export), "0/10")
        table = self._base(packet)
        plan = reader.plan("public", "t", packet.key, packet.base().schema)
        view = BaseView(live_sql(table), as_base(packet.base()).schema, 42)
        found = compare_packet(self.connection, packet, reader, plan, view, when=AsOf("0/10"))
        self.lake.catalog.purge_table(table.name())
        return packet, found

    def _base(self, packet: Packet) -> Table:
        rows = as_base(packet.base())
        self.lake.ensure_namespace("pairs")
        table = self.lake.catalog.create_table((*self.lake.namespace("pairs"), f"t{self.made}"), rows.schema)
        with warnings.catch_warnings(action="ignore"):
            for part in (rows.slice(0, rows.num_rows // 3), rows.slice(rows.num_rows // 3)):
                table.append(part)
        return table


def as_in_source(name: str, value: Any) -> Any:
    """Return a value of PostgreSQL that DMS brings to base as ``value``: endless, finer, or as it is."""
    match name, value:
        case (("day" | "until"), _) if value in (LAST_DAY, LAST_MOMENT):
            return "infinity"
        case "clock", time():
            return value.replace(microsecond=value.microsecond + (999 if value.second else 0))
        case "amount", Decimal():
            return value + (Decimal("0.0000004") if value % 1 else 0)
    return value


@dataclass(frozen=True)
class PostgresPlace:
    """A table of a real PostgreSQL, read by ranges if it has a primary key, and base in memory."""

    dsn: str
    connection: duckdb.DuckDBPyConnection
    has_key: bool = False

    def compare(self, packet: Packet) -> tuple[Packet, FullComparison]:
        packet = without_doubles(packet) if self.has_key else packet
        self.fill(packet)
        reader = PostgresReader(Connection(dsn=SecretStr(self.dsn)))
        base = as_base(packet.base())
        self.connection.register("base_table", base)
        plan = reader.plan("public", "pair_rows", packet.key, packet.base().schema)
        view = BaseView("base_table", base.schema, 42)
        return packet, compare_packet(self.connection, packet, reader, plan, view)

    def fill(self, packet: Packet) -> None:
        """Make the table anew, with the source's rows."""
        rows = packet.source()
        declared = sql.SQL(", ").join(
            sql.SQL("{} {}").format(
                sql.Identifier(field.name),
                sql.SQL(_DECLARED_BY_NAME.get(field.name) or _DECLARED[field.type]),
            )
            for field in rows.schema
        )
        key = sql.SQL(", ").join(map(sql.Identifier, packet.key))
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS pair_rows")
            connection.execute(sql.SQL("CREATE TABLE pair_rows ({})").format(declared))
            with connection.cursor() as cursor, cursor.copy("COPY pair_rows FROM STDIN") as copy:
                columns = [
                    map(as_in_source, repeat(name), values) for name, values in rows.to_pydict().items()
                ]
                for row in zip(*columns, strict=True):
                    copy.write_row(row)
            if self.has_key:
                connection.execute(sql.SQL("ALTER TABLE pair_rows ADD PRIMARY KEY ({})").format(key))
            connection.execute("ANALYZE pair_rows")
