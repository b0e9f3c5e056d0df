"""The source database: how to reach it, which tables it has, and consistent snapshots of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from cdc_platform.local.engine.lsn import parse_lsn
from cdc_platform.local.engine.pgoutput import Relation
from cdc_platform.local.engine.stream import ReplicationConnection, fault_of
from cdc_platform.local.engine.types import SourceType
from cdc_platform.postgres_dsn import without

_SSL = {"none": "prefer", "require": "require", "verify-ca": "verify-ca", "verify-full": "verify-full"}
_SESSION = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c bytea_output=hex"
    " -c extra_float_digits=1 -c lc_monetary=C"
)
Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a source table; ``is_key`` says the log carries its old value in deletes."""

    name: str
    type: SourceType
    is_key: bool


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table as it is (catalog) or was (log). Without ``has_identity`` only its inserts can be captured."""

    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...]
    has_identity: bool

    @property
    def id(self) -> str:
        """``schema.table``, as faults and statistics name it."""
        return f"{self.schema}.{self.name}"

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key, else the columns of the replica identity index; none without either."""
        marked = tuple(column.name for column in self.columns if column.is_key)
        return self.primary_key or (marked if len(marked) < len(self.columns) else ())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open transaction that sees exactly what was committed before ``lsn``."""

    lsn: int
    connection: Connection


class Source:
    """A PostgreSQL source endpoint."""

    def __init__(self, endpoint: Mapping[str, Any]) -> None:
        settings = endpoint.get("PostgreSQLSettings") or {}
        given = {**settings, **{name: value for name, value in endpoint.items() if value is not None}}
        self.slot_name: str | None = settings.get("SlotName") or None
        self._password = str(given.get("Password") or "")
        self.conninfo = make_conninfo(
            host=given.get("ServerName"),
            port=given.get("Port") or 5432,
            dbname=given.get("DatabaseName"),
            user=given.get("Username"),
            password=self._password or None,
            sslmode=_SSL.get(str(given.get("SslMode") or "none"), "prefer"),
            connect_timeout=10,
        )
        self._types: dict[int, tuple[str, str, str, int, int]] = {}

    def hide_secrets(self, text: str) -> str:
        """Return ``text`` without the endpoint's password."""
        return without(text, [self._password])

    def connect(self) -> Connection:
        """Return a new connection whose values come as text in one form. Raises RunFailed."""
        try:
            return psycopg.connect(
                self.conninfo, autocommit=True, options=_SESSION, application_name="cdc-platform"
            )
        except psycopg.Error as fault:
            raise fault_of(self.hide_secrets(str(fault)), "the source cannot be reached") from None

    def replication(self) -> ReplicationConnection:
        """Return a new replication connection. Raises RunFailed."""
        return ReplicationConnection(self.conninfo)

    def tables(self, connection: Connection, wants: Callable[[str, str], bool]) -> list[SourceTable]:
        """Return the ordinary and partitioned tables ``wants(schema, table)`` says yes to, by name."""
        found: dict[str, SourceTable] = {}
        rows = connection.execute(_TABLES).fetchall()
        columns = self._columns(connection, [row[0] for row in rows if wants(row[1], row[2])])
        for oid, schema, name, identity in rows:
            if oid in columns:
                described, primary_key = columns[oid]
                has_identity = identity == "f" or any(column.is_key for column in described)
                table = SourceTable(schema, name, described, primary_key, has_identity)
                found[table.id] = table
        return list(found.values())

    def _columns(
        self, connection: Connection, oids: list[int]
    ) -> dict[int, tuple[tuple[SourceColumn, ...], tuple[str, ...]]]:
        # virtual generated columns are not in the log, stored ones are since PostgreSQL 18
        generated = ["", "s"] if connection.info.server_version >= 180000 else [""]
        columns: dict[int, list[SourceColumn]] = {oid: [] for oid in oids}
        keys: dict[int, list[str]] = {oid: [] for oid in oids}
        for row in connection.execute(_COLUMNS, (oids, generated)):
            oid, name, type_oid, modifier, is_identity, is_primary = row
            source_type = self.type_of(connection, type_oid, modifier)
            columns[oid].append(SourceColumn(name, source_type, is_identity))
            if is_primary:
                keys[oid].append(name)
        return {oid: (tuple(columns[oid]), tuple(keys[oid])) for oid in oids}

    def type_of(self, connection: Connection, oid: int, modifier: int) -> SourceType:
        """Return the type behind an oid, through domains."""
        if oid not in self._types:
            self._types = {row[0]: tuple(row[1:]) for row in connection.execute(_TYPES)}
        name, kind, category, base, base_modifier = self._types.get(oid, ("unknown", "b", "U", 0, -1))
        if kind == "d":
            return self.type_of(connection, base, base_modifier if modifier == -1 else modifier)
        return SourceType(name, modifier, category == "A")

    def table_of(self, connection: Connection, relation: Relation) -> SourceTable:
        """Return the table a relation message describes; its primary key is that of today."""
        columns = tuple(
            SourceColumn(
                column.name, self.type_of(connection, column.type_oid, column.modifier), column.is_key
            )
            for column in relation.columns
        )
        key = tuple(row[0] for row in connection.execute(_PRIMARY_KEY, (relation.oid,)))
        has_identity = relation.is_full_identity or any(column.is_key for column in columns)
        return SourceTable(relation.schema, relation.name, columns, key, has_identity)

    def current_lsn(self, connection: Connection) -> int:
        """Return the end of the source's log."""
        return parse_lsn(str(_one(connection, "SELECT pg_current_wal_lsn()::text")))

    @contextmanager
    def exported_snapshot(self, is_stopping: Callable[[], bool]) -> Iterator[Snapshot]:
        """Open a snapshot that fits the log without gap or overlap.

        A temporary slot's consistent point is its LSN: a transaction is in the snapshot exactly when its
        commit record lies before it.
        """
        replication = self.replication()
        with self.connect() as connection:
            try:
                slot = f"cdc_load_{secrets.token_hex(8)}"
                lsn, name = replication.create_slot(
                    slot, is_temporary=True, export=True, is_stopping=is_stopping
                )
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                connection.execute(
                    psycopg.sql.SQL("SET TRANSACTION SNAPSHOT {}").format(psycopg.sql.Literal(name))
                )
            finally:
                replication.close()
            yield Snapshot(lsn, connection)

    @contextmanager
    def plain_snapshot(self) -> Iterator[Snapshot]:
        """Open a snapshot for a load that no changes follow; needs no logical decoding."""
        with self.connect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Snapshot(self.current_lsn(connection), connection)


def _one(connection: Connection, query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


_TABLES: LiteralString = """
    SELECT c.oid, n.nspname, c.relname, c.relreplident
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
    ORDER BY n.nspname, c.relname
"""
_COLUMNS: LiteralString = """
    SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod,
           CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
                WHEN 'i' THEN coalesce(a.attnum = ANY (r.indkey), false)
                -- a deferrable primary key identifies no row in the log
                ELSE coalesce(p.indimmediate AND a.attnum = ANY (p.indkey), false) END,
           coalesce(a.attnum = ANY (p.indkey), false)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_index p ON p.indrelid = c.oid AND p.indisprimary
    LEFT JOIN pg_index r ON r.indrelid = c.oid AND r.indisreplident
    WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ANY (%s)
    ORDER BY a.attrelid, a.attnum
"""
_PRIMARY_KEY: LiteralString = """
    SELECT a.attname FROM pg_index p
    JOIN pg_attribute a ON a.attrelid = p.indrelid AND a.attnum = ANY (p.indkey)
    WHERE p.indrelid = %s AND p.indisprimary ORDER BY a.attnum
"""
_TYPES: LiteralString = """
    SELECT t.oid, CASE WHEN n.nspname = 'pg_catalog' THEN t.typname ELSE 'user-defined' END,
           t.typtype, t.typcategory, t.typbasetype, t.typtypmod
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
"""
