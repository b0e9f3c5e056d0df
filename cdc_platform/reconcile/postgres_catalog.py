"""What PostgreSQL's catalog says of a table: columns, their types, primary key, row security."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc_platform.naming import safe_name
from cdc_platform.reconcile.sources import SourceColumn, SourceTable

_TABLE = """
    SELECT c.oid, row_security_active(c.oid), c.relkind <> 'p' AND EXISTS (
        SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), c.relkind::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_schema_privilege(n.oid, 'USAGE')"""

# The log has no changes of these, or tells them as of another table.
_NO_EVENTS = {
    "v": "is a view, and changes of the tables below it are no changes of it",
    "m": "is a materialized view, which capture does not follow",
    "f": "is a foreign table, which capture does not follow",
}
_INHERITED = "has child tables, whose rows are read with it and whose changes are no changes of it"
_UNLOGGED = """
    WITH RECURSIVE read(oid) AS (
        SELECT %s::oid
        UNION ALL
        SELECT i.inhrelid FROM read r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid)
    SELECT c.oid::pg_catalog.regclass::text
    FROM read r JOIN pg_catalog.pg_class c ON c.oid = r.oid
    WHERE c.relkind = 'f' OR c.relkind = 'r' AND c.relpersistence <> 'p'
    ORDER BY 1 LIMIT 1"""

_COLUMNS = """
    WITH RECURSIVE below(attnum, type, typmod) AS (
        SELECT attnum, atttypid, atttypmod FROM pg_catalog.pg_attribute
        WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END
        FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
           CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE n.nspname || '.' END || t.typname,
           t.typcategory, b.typmod,
           NOT a.attnotnull, has_column_privilege(a.attrelid, a.attnum, 'SELECT'), a.attgenerated = 'v',
           pg_catalog.format_type(b.type, -1), a.atttypid <> b.type,
           CASE WHEN a.atttypid = b.type AND o.pronamespace = 'pg_catalog'::regnamespace
                     AND o.proargtypes[0] IN (t.oid, 'anyarray'::regtype, 'anyenum'::regtype)
                THEN 'pg_catalog.' || o.proname ELSE '' END,
           EXISTS (SELECT FROM pg_catalog.pg_cast x JOIN pg_catalog.pg_proc f ON f.oid = x.castfunc
                   WHERE x.castsource = 'text'::regtype AND x.casttarget = t.oid
                     AND f.pronamespace <> 'pg_catalog'::regnamespace)
    FROM pg_catalog.pg_attribute a
    JOIN below b ON b.attnum = a.attnum
    JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    JOIN pg_catalog.pg_proc o ON o.oid = t.typoutput
    WHERE a.attrelid = %(table)s
    ORDER BY a.attnum"""

_PRIMARY_KEY = """
    SELECT a.attname
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = %s AND i.indisprimary AND i.indisvalid
    ORDER BY k.place"""

# Types PostgreSQL orders as the lake does, and whose text both read alike.
_ORDERED_TYPES = (
    *("int2", "int4", "int8", "oid", "uuid", "date", "timestamp", "timestamptz", "numeric"),
    *("text", "varchar"),
)
_LEAST_CORRELATION = 0.9

_KEY_ORDER = """
    SELECT s.correlation, a.attcollation = 0 OR c.collnamespace = 'pg_catalog'::regnamespace AND (
        c.collname IN ('C', 'POSIX')
        OR (c.collname = 'default' AND d.datlocprovider IN ('b', 'c')
            AND (d.datcollate IN ('C', 'POSIX') OR d.datlocprovider = 'b'))),
        pg_encoding_to_char(d.encoding) = 'UTF8'
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class t ON t.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_catalog.pg_database d ON d.datname = current_database()
    LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_stats s
        ON s.schemaname = n.nspname AND s.tablename = t.relname AND s.attname = a.attname AND NOT s.inherited
    WHERE n.nspname = %s AND t.relname = %s AND t.relkind = 'r' AND a.attname = %s"""


def reads_ranges(
    connection: psycopg.Connection[tuple[Any, ...]], table: SourceTable, key: Sequence[str]
) -> bool:
    """Whether a range of ``key`` (source columns) costs no more than its rows, in the order of the lake.

    It does for a primary key along which the table lies, of types and collations that order by bytes. Rows
    in another order would be read once for each range that has any of their page. Raises psycopg.Error.
    """
    types = {column.name: column.base_type for column in table.columns}
    if not key or tuple(key) != table.unique_key or any(types[name] not in _ORDERED_TYPES for name in key):
        return False
    facts = [connection.execute(_KEY_ORDER, [table.schema, table.name, name]).fetchone() for name in key]
    if any(fact is None or not fact[1] or not fact[2] for fact in facts):
        return False
    leading = facts[0]
    return leading is not None and abs(leading[0] or 0) >= _LEAST_CORRELATION


def has_no_row(connection: psycopg.Connection[tuple[Any, ...]], table: SourceTable) -> bool:
    """Return whether the table, with its partitions and children, has no row. Raises psycopg.Error."""
    name = sql.Identifier(table.schema, table.name)
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(name)
    return connection.execute(query).fetchone() == (True,)


def describe_table(
    connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str
) -> SourceTable | None:
    """Return the table's columns and primary key; None when there is no such table. Raises psycopg.Error."""
    found = connection.execute(_TABLE, [schema, table]).fetchone()
    if found is None:
        return None
    oid, hides_rows, is_inherited, kind = found
    columns = connection.execute(_COLUMNS, {"table": oid}).fetchall()
    key = connection.execute(_PRIMARY_KEY, [oid]).fetchall()
    return SourceTable(
        schema=schema,
        name=table,
        columns=tuple(_column(row) for row in columns),
        primary_key=tuple(name for (name,) in key),
        hides_rows=bool(hides_rows),
        is_inherited=bool(is_inherited),
        untold=_INHERITED if is_inherited else _NO_EVENTS.get(kind) or _unlogged(connection, oid, kind),
    )


def _unlogged(connection: psycopg.Connection[tuple[Any, ...]], oid: int, kind: str) -> str:
    found = connection.execute(_UNLOGGED, [oid]).fetchone()
    if found is None:
        return ""
    return "is unlogged" if kind == "r" else f"has a partition that is unlogged or foreign ({found[0]})"


def _column(row: tuple[Any, ...]) -> SourceColumn:
    name, declared, type_name, category, typmod, nullable, readable, is_virtual, plain, *of_type = row
    is_domain, output, has_own_cast = of_type
    precision, scale = _numeric_shape(typmod) if type_name == "numeric" else (None, None)
    return SourceColumn(
        name=name,
        safe_name=safe_name(name),
        declared_type=declared,
        base_type=type_name,
        category=category,
        precision=precision,
        scale=scale,
        nullable=bool(nullable),
        readable=bool(readable),
        is_virtual=bool(is_virtual),
        plain_type=plain,
        is_domain=bool(is_domain),
        output=output,
        has_own_cast=bool(has_own_cast),
    )


def _numeric_shape(typmod: int) -> tuple[int | None, int | None]:
    """Return (precision, scale) packed in a numeric's type modifier; the scale is 11 bits, signed."""
    if typmod < 4:
        return None, None
    packed = typmod - 4
    scale = packed & 0x7FF
    return packed >> 16, scale - 0x800 if scale & 0x400 else scale
