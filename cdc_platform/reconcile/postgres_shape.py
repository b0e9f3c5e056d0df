"""What PostgreSQL's catalog tells of changes to a table's rows that no change event carries.

``ALTER TABLE``, ``TRUNCATE``, a partition attached or detached, a label of an enum renamed: afterwards the
same query gives other rows, and capture has seen none of them change. The catalog holds a trace of each:
numbers that are never given twice, and the texts of definitions. One query reads them all. Of views and
foreign tables nothing is asked: no capture follows them (``SourceTable.untold``).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cdc_platform.reconcile.sources import Shape

#: The kinds of facts there are; see :class:`Shape`.
FACTS = ("columns", "types", "files", "parts")

# A row of pg_inherits is written anew when a partition is detached and attached again: its xmin tells it.
# pg_relation_filenode() is of now: a snapshot of before a TRUNCATE would read nothing and know no better.
_SHAPE: LiteralString = """
    WITH RECURSIVE read(oid, role) AS (
        SELECT c.oid, 'self'
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s
        UNION
        SELECT i.inhrelid, 'part' FROM read r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid),
    typed(name, type) AS (
        SELECT a.attname::text, a.atttypid
        FROM read r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
        WHERE r.role = 'self' AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT b.name, f.type
        FROM typed b JOIN pg_catalog.pg_type t ON t.oid = b.type CROSS JOIN LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g
                WHERE t.oid IN (g.rngtypid, (pg_catalog.to_jsonb(g)->>'rngmultitypid')::oid)
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) f(type)
        WHERE t.oid >= 16384)
    SELECT 'columns', a.attname::text,
        pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation, d.adbin::text)
    FROM read r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d
        ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated <> ''
    WHERE r.role = 'self'
    UNION ALL
    SELECT 'types', b.name, pg_catalog.concat_ws(' ', e.enumtypid, e.oid, e.enumlabel)
    FROM typed b JOIN pg_catalog.pg_enum e ON e.enumtypid = b.type
    UNION ALL
    SELECT 'types', b.name, pg_catalog.concat_ws(' ', t.oid, a.attnum, a.atttypid)
    FROM typed b
    JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype = 'c'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'files', '', pg_catalog.concat_ws(' ', c.oid, c.relkind, pg_catalog.pg_relation_filenode(c.oid))
    FROM read r JOIN pg_catalog.pg_class c ON c.oid = r.oid
    UNION ALL
    SELECT 'parts', '', pg_catalog.concat_ws(' ', i.inhparent, i.inhrelid, i.xmin)
    FROM read r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid"""


def shape_of(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> Shape:
    """Return the facts of the table, of what it is made of, and of its columns' types.

    Raises psycopg.Error.
    """
    rows = connection.execute(_SHAPE, {"schema": schema, "table": table}).fetchall()
    told: dict[str, dict[str, set[str]]] = {fact: defaultdict(set) for fact in FACTS}
    for fact, column, text in rows:
        told[fact][column].add(text)
    return {fact: {name: _digest(texts) for name, texts in of.items()} for fact, of in told.items()}


def hold(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> None:
    """Keep the table, and what it is made of, from being altered until the transaction ends, as reading does.

    Raises psycopg.Error.
    """
    query = sql.SQL("SELECT FROM {} LIMIT 0").format(sql.Identifier(schema, table))
    connection.execute(query)


def _digest(texts: Iterable[str]) -> str:
    told = hashlib.blake2b(digest_size=8)
    for text in sorted(texts):
        told.update(text.encode() + b"\0")
    return told.hexdigest()
