"""PostgreSQL as a source: one read-only snapshot, its log position, and the rows of given keys.

Values travel in PostgreSQL's binary protocol and become typed Arrow columns: integers, floats, dates and
times as their bits, decimals through their exact digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.altered_keys import as_key
from cdc_platform.reconcile.budget import BudgetSpent, Deadline
from cdc_platform.reconcile.capture_slot import SlotSeen
from cdc_platform.reconcile.column_clashes import clashing, not_told_apart
from cdc_platform.reconcile.decode import decode_columns
from cdc_platform.reconcile.postgres_catalog import describe_table, has_no_row, reads_ranges
from cdc_platform.reconcile.postgres_copy import copy_query, copy_rows
from cdc_platform.reconcile.postgres_errors import unavailable
from cdc_platform.reconcile.postgres_identity import history_of, refuse_other
from cdc_platform.reconcile.postgres_key_stream import copy_of_keys
from cdc_platform.reconcile.postgres_lookup import (
    has_altered_key,
    holds_bounds,
    numbers_of_altered,
    rows_of_keys,
)
from cdc_platform.reconcile.postgres_money import refuse_own_format
from cdc_platform.reconcile.postgres_position import is_standby, log_position
from cdc_platform.reconcile.postgres_session import (
    connect,
    end_never,
    pin_settings,
)
from cdc_platform.reconcile.postgres_shape import shape_of
from cdc_platform.reconcile.postgres_slot import slot_seen
from cdc_platform.reconcile.postgres_types import plan_column
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceColumn, SourceTable
from cdc_platform.reconcile.verdict import Excluded, Gap

#: A statement that gives many rows lasts as long as they are taken.
_STREAM_SECONDS = 4 * 3600.0
#: What fails so shortly before a deadline was ended by it: the server's clock is not ours.
_CLOSE_TO_IT = 0.1


class PostgresSnapshot:
    """A REPEATABLE READ transaction. Every change visible in it is at or before ``position``."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], position: str) -> None:
        self._connection = connection
        self.position = position
        self._is_known = False
        self._deadline: Deadline | None = None

    def end_by(self, deadline: Deadline | None) -> None:
        """Let ``rows_between`` raise BudgetSpent at the deadline, whether or not the source answers."""
        self._deadline = deadline

    def _check(self, plan: ReadPlan) -> None:
        """Refuse to read another database or table than the one that was planned."""
        if not self._is_known:
            refuse_other(self._connection, plan)
            self._is_known = True

    def refuse_other(self, plan: ReadPlan) -> None:
        """Raise SourceUnavailable unless the table is what was planned, also where no row of it is read."""
        with self._reading(plan):
            pass

    def is_empty(self, plan: ReadPlan) -> bool:
        """Return whether the table has no row."""
        with self._reading(plan):
            return has_no_row(self._connection, plan.table)

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
        with self._reading(plan, seconds=_STREAM_SECONDS):
            return has_altered_key(self._connection, plan)

    def holds_bounds(self, bounds: Sequence[Sequence[str]], plan: ReadPlan) -> bool:
        """Return whether ``bounds`` are keys the source's types can hold."""
        with self._reading(plan):
            return holds_bounds(self._connection, bounds, plan)

    def rows_between(
        self, low: Sequence[str] | None, high: Sequence[str] | None, plan: ReadPlan
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range of keys as they come over the wire.

        What ends it, the snapshot lives on. Raises BudgetSpent at the deadline.
        """
        return self._streamed(copy_query(plan, low, high), plan)

    def rows_among(self, keys: pa.Table, plan: ReadPlan) -> Iterator[pa.RecordBatch] | None:
        """Return the rows of ``keys``, once each, as a stream; None where there is none for such keys."""
        query = copy_of_keys(keys, plan)
        return None if query is None else self._streamed(query, plan)

    def _streamed(self, query: sql.Composed, plan: ReadPlan) -> Iterator[pa.RecordBatch]:
        deadline = self._deadline
        seconds = _STREAM_SECONDS if deadline is None else min(_STREAM_SECONDS, deadline.seconds_left())
        try:
            with self._reading(plan, seconds=seconds):
                yield from copy_rows(self._connection, plan, query, deadline)
        except SourceUnavailable:
            if deadline is not None and deadline.seconds_left() <= _CLOSE_TO_IT:
                raise BudgetSpent(deadline.reason) from None
            raise

    @contextmanager
    def _reading(self, plan: ReadPlan, seconds: float | None = None) -> Iterator[None]:
        """Let statements last up to ``seconds``; what the server refuses is SourceUnavailable."""
        try:
            self._check(plan)
            with nullcontext() if seconds is None else self._lasting(seconds):
                yield
        except psycopg.Error as error:
            raise unavailable(error, f"cannot read {plan.table.label}") from None

    @contextmanager
    def _lasting(self, seconds: float) -> Iterator[None]:
        """Let statements last so long, in a savepoint: neither that nor what ends one outlives it."""
        self._connection.execute("SAVEPOINT lasting")
        try:
            most = max(1, round(seconds * 1000))
            self._connection.execute(f"SET LOCAL statement_timeout TO '{most}ms'".encode())
            yield
        finally:
            # a connection that was cut has no snapshot to save
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK TO SAVEPOINT lasting")


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
                    **history_of(connection, schema, table),
                    shape=shape_of(connection, schema, table),
                    position=log_position(connection),
                    is_standby=is_standby(connection),
                )
            except psycopg.Error as error:
                raise unavailable(error, f"cannot describe {plan.table.label}") from None

    def position(self) -> str:
        """Return the source's log position now."""
        with connect(self._settings) as connection:
            try:
                end_never(connection)
            except psycopg.Error as error:
                raise unavailable(error, "cannot read the source's log position") from None
            return log_position(connection)

    def slot(self, name: str) -> SlotSeen | None:
        """Return what there is of a logical slot of this database; None of a standby."""
        with connect(self._settings) as connection:
            # what is asked later is of later
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            try:
                end_never(connection)
                return slot_seen(connection, name)
            except psycopg.Error as error:
                raise unavailable(error, f"cannot look for the replication slot {name}") from None

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Open a read-only REPEATABLE READ transaction with pinned, verified settings.

        It is committed in the end: what reading made the server write to its log (pages pruned, hints set)
        it then brings to disk soon, and capture has it; of what is rolled back it does not for half a minute.
        """
        connection = connect(self._settings)
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            pin_settings(connection)
            yield PostgresSnapshot(connection, log_position(connection))
            # a connection that was cut cannot be asked to
            with suppress(psycopg.Error):
                connection.commit()
        finally:
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
    held = set(base_columns.names)
    missing = [name for name in by_name if name not in held and name not in clashes]
    excluded += [
        Excluded(name, "in the source and not in base: no change has carried it yet", Gap.NOT_IN_BASE)
        for name in missing
    ]
    unread = [column for column in key if column not in plans]
    if unread:
        if unread[0] in clashes:
            raise clashes[unread[0]]
        why = "; ".join(one.reason for one in excluded if one.column == unread[0])
        raise SourceUnavailable(
            f"merge key column {unread[0]!r} cannot be compared with the source: {why or 'it is not there'}",
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
