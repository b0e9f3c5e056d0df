"""PostgreSQL as a source: one read-only snapshot, its log position, and the rows of given keys.

Values travel in PostgreSQL's binary protocol and become typed Arrow columns: integers, floats, dates and
times as their bits, decimals through their exact digits. The session's settings are pinned inside the
transaction and read back, so that no pooler or role setting can change what a value looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable, redact
from cdc_platform.reconcile.altered_keys import as_key
from cdc_platform.reconcile.column_clashes import clashing, not_told_apart
from cdc_platform.reconcile.decode import decode_columns
from cdc_platform.reconcile.postgres_catalog import describe_table, reads_ranges
from cdc_platform.reconcile.postgres_copy import copy_rows
from cdc_platform.reconcile.postgres_identity import identity_of, refuse_other
from cdc_platform.reconcile.postgres_lookup import (
    has_altered_key,
    holds_bounds,
    numbers_of_altered,
    rows_of_keys,
)
from cdc_platform.reconcile.postgres_money import refuse_own_format
from cdc_platform.reconcile.postgres_position import log_position
from cdc_platform.reconcile.postgres_shape import shape_of
from cdc_platform.reconcile.postgres_types import plan_column
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceColumn, SourceTable
from cdc_platform.reconcile.verdict import Excluded, Gap

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_MILLISECONDS = 60_000
#: A statement that gives many rows lasts as long as they are taken.
_STREAM_TIMEOUT = "4h"

#: What the session must be set to; compared with SHOW before any row is read.
PINNED_SETTINGS = {
    "application_name": "cdc-platform reconciliation",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "extra_float_digits": "3",
    "IntervalStyle": "postgres",
    # names of tables, types and functions are text as long as the path does not lead to them; DMS's own
    # session has PostgreSQL's default
    "quote_all_identifiers": "off",
    "search_path": "public",
    "array_nulls": "on",
    "row_security": "off",
    "TimeZone": "UTC",
}


def connect(connection: Connection) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect as ``cdc.yaml`` says. Raises SourceUnavailable with the server's reason, never a secret."""
    settings: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    if connection.dsn is None:
        settings |= {
            "host": connection.host,
            "port": connection.port,
            "dbname": connection.database,
            "user": connection.user,
            "password": connection.password.get_secret_value() if connection.password else None,
            "sslmode": connection.sslmode,
        }
    dsn = connection.dsn.get_secret_value() if connection.dsn else ""
    try:
        return psycopg.connect(dsn, autocommit=False, **{k: v for k, v in settings.items() if v is not None})
    except psycopg.Error as error:
        raise unavailable(error, "cannot connect to the source") from None


def unavailable(error: psycopg.Error, doing: str) -> SourceUnavailable:
    """Translate a driver error; the mend follows from what the server said."""
    said = redact(" ".join(str(error).split()))
    match error:
        case psycopg.errors.InsufficientPrivilege():
            mend = "grant the reconciliation user SELECT on the columns, and BYPASSRLS if rows are hidden"
        case psycopg.errors.QueryCanceled():
            mend = "the statement timed out: reconcile when the source is quieter, or index the merge key"
        case psycopg.OperationalError():
            mend = "check `connection` of the source in cdc.yaml, and that the database answers"
        case _:
            mend = "check the table's merge key and columns against the source"
    return SourceUnavailable(f"{doing}: {said}", mend=mend)


class PostgresSnapshot:
    """A REPEATABLE READ transaction. Every change visible in it is at or before ``position``."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], position: str) -> None:
        self._connection = connection
        self.position = position
        self._is_known = False

    def _check(self, plan: ReadPlan) -> None:
        """Refuse to read another database or table than the one that was planned."""
        if not self._is_known:
            refuse_other(self._connection, plan)
            self._is_known = True

    def refuse_other(self, plan: ReadPlan) -> None:
        """Raise SourceUnavailable unless the table is what was planned, also where no row of it is read."""
        with self._reading(plan):
            pass

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        """Return the rows of ``keys``, numbered by the key they answer to."""
        with self._reading(plan):
            rows = rows_of_keys(self._connection, keys, plan)
        return decode_columns(rows, plan.columns)

    def altered_keys(self, keys: pa.Table, plan: ReadPlan) -> list[int]:
        """Return the numbers, from 0, of the keys that rows with another key in the source have in base."""
        with self._reading(plan):
            return numbers_of_altered(self._connection, keys, plan)

    def has_altered_key(self, plan: ReadPlan) -> bool:
        """Return whether any row has another key in base than in the source."""
        with self._reading(plan, timeout=_STREAM_TIMEOUT):
            return has_altered_key(self._connection, plan)

    def holds_bounds(self, bounds: Sequence[Sequence[str]], plan: ReadPlan) -> bool:
        """Return whether ``bounds`` are keys the source's types can hold."""
        with self._reading(plan):
            return holds_bounds(self._connection, bounds, plan)

    def rows_between(
        self, low: Sequence[str] | None, high: Sequence[str] | None, plan: ReadPlan
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range of keys as they come over the wire."""
        with self._reading(plan, timeout=_STREAM_TIMEOUT):
            yield from copy_rows(self._connection, plan, low, high)

    @contextmanager
    def _reading(self, plan: ReadPlan, timeout: str = "") -> Iterator[None]:
        """Let statements last up to ``timeout``; what the server refuses is SourceUnavailable."""
        try:
            self._check(plan)
            if timeout:
                self._connection.execute(f"SET LOCAL statement_timeout TO '{timeout}'")
            yield
            if timeout:
                usual = f"{STATEMENT_TIMEOUT_MILLISECONDS}ms"
                self._connection.execute(f"SET LOCAL statement_timeout TO '{usual}'")
        except psycopg.Error as error:
            raise unavailable(error, f"cannot read {plan.table.label}") from None


class PostgresReader:
    """Reads one PostgreSQL database for reconciliation; it never writes, nor locks more than a reader."""

    snapshot_read = True

    def __init__(self, connection: Connection) -> None:
        self._settings = connection

    def plan(self, schema: str, table: str, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
        """Return how to read the columns that both the table and base have."""
        with connect(self._settings) as connection:
            # declared types are written as the path says, and read under it
            pin_settings(connection)
            plan = plan_table(describe(connection, schema, table), key, base_columns)
            try:
                plan = refuse_own_format(connection, plan)
                names = [column.source_column for column in plan.key]
                return replace(
                    plan,
                    ranged=reads_ranges(connection, plan.table, names),
                    identity=identity_of(connection, schema, table),
                    shape=shape_of(connection, schema, table),
                    position=log_position(connection),
                )
            except psycopg.Error as error:
                raise unavailable(error, f"cannot describe {plan.table.label}") from None

    def position(self) -> str:
        """Return the source's log position now."""
        with connect(self._settings) as connection:
            return log_position(connection)

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Open a read-only REPEATABLE READ transaction with pinned, verified settings."""
        connection = connect(self._settings)
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            pin_settings(connection)
            yield PostgresSnapshot(connection, log_position(connection))
        finally:
            # It wrote nothing, so there is nothing to commit; a connection that was cut cannot be asked to.
            connection.close()


def describe(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> SourceTable:
    """Describe the table, or raise SourceUnavailable: it is missing, or would hide columns or rows."""
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise SourceUnavailable(
            "the database's encoding is SQL_ASCII: which characters its bytes stand for, nobody can tell",
            where=f"{schema}.{table}",
            mend="move the data to a database in UTF8, or compare with an export of it (--against)",
        )
    try:
        described = describe_table(connection, schema, table)
    except psycopg.Error as error:
        raise unavailable(error, f"cannot describe {schema}.{table}") from None
    if described is None:
        raise SourceUnavailable(
            "the source has no such table, or its schema is closed to the reconciliation user",
            where=f"{schema}.{table}",
            mend="check `name` in cdc.yaml (case counts), and grant USAGE on the schema",
        )
    if described.hides_rows:
        raise SourceUnavailable(
            "row-level security hides rows from the reconciliation user",
            where=described.label,
            mend="give the user BYPASSRLS, or a policy that shows every row and turn row security off for it",
        )
    return described


def plan_table(table: SourceTable, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
    """Match the source's columns with base's by safe name; what cannot be compared is listed."""
    by_name = {column.safe_name: column for column in table.columns}
    plans: dict[str, ColumnPlan] = {}
    excluded: list[Excluded] = []
    clashes = clashing((column.name for column in table.columns), table.label)
    refused = dict(clashes)
    for field in base_columns:
        if field.name in clashes:
            continue
        column = by_name.get(field.name)
        if column is None:
            gone = "in base and not in the source: dropped there, or added by DMS"
            excluded.append(Excluded(field.name, gone, Gap.NOT_IN_SOURCE))
            continue
        if not column.readable:
            refused[field.name] = _may_not_be_read(table, column)
        planned = plan_column(column, field.type, is_key=field.name in key)
        if isinstance(planned, Excluded):
            excluded.append(planned)
        else:
            plans[field.name] = planned
    excluded += map(not_told_apart, clashes)
    missing = [name for name in by_name if name not in base_columns.names and name not in clashes]
    excluded += [
        Excluded(name, "in the source and not in base: no change has carried it yet", Gap.NOT_IN_BASE)
        for name in missing
    ]
    unread = [column for column in key if column not in plans]
    if unread:
        if unread[0] in clashes:
            raise clashes[unread[0]]
        raise SourceUnavailable(
            f"merge key column {unread[0]!r} cannot be compared with the source",
            where=table.label,
            mend="name the source's key columns in `merge_key`, and declare their types in `columns`",
        )
    keys = tuple(as_key(plans[c], by_name[c], base_columns.field(c).type) for c in key)
    return ReadPlan(table, keys, tuple(plans.values()), tuple(excluded), refused=refused)


def _may_not_be_read(table: SourceTable, column: SourceColumn) -> SourceUnavailable:
    return SourceUnavailable(
        f"column {column.name!r} may not be read by the reconciliation user",
        where=table.label,
        mend=f'GRANT SELECT ("{column.name}") ON {table.label} to it, or leave the column out '
        "(`not_compared` in cdc.yaml)",
    )


def pin_settings(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Pin the settings for this transaction and prove they hold."""
    pins = PINNED_SETTINGS | {"statement_timeout": f"{STATEMENT_TIMEOUT_MILLISECONDS}ms"}
    try:
        for name, value in pins.items():
            connection.execute(sql.SQL("SET LOCAL {} TO {}").format(sql.Identifier(name), sql.Literal(value)))
        for name, value in PINNED_SETTINGS.items():
            row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
            if row is None or row[0] != value:
                raise SourceUnavailable(
                    f"setting {name} is {row[0] if row else None!r} though {value!r} was asked for",
                    mend="connect to the database itself; a pooler between drops session settings",
                )
    except psycopg.Error as error:
        raise unavailable(error, "cannot pin the session's settings") from None
