"""What PostgreSQL's catalog tells of changes to a table's rows that no change event carries.

``ALTER TABLE``, ``TRUNCATE``, a partition attached or detached, a label of an enum renamed, a view replaced:
afterwards the same query gives other rows, and capture has seen none of them change. The catalog holds a
trace of each: numbers that are never given twice, and the texts of definitions. One query reads them all.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cdc_platform.reconcile.sources import UNSEEN, Shape

#: The kinds of facts there are; see :class:`Shape`.
FACTS = ("columns", "types", "files", "parts", "views", UNSEEN)

# A function whose body is a string may call any other, which nothing in the catalog tells: then all of them
# count. One that is not declared immutable may read any table, or the clock: what it gives changes unseen.
# A row of pg_inherits is written anew when a partition is detached and attached again: its xmin tells it.
# pg_relation_filenode() is of now: a snapshot of before a TRUNCATE would read nothing and know no better.
_SHAPE: LiteralString = r"""
    WITH RECURSIVE reached(kind, oid, role) AS (
        SELECT 'relation', c.oid, 'self'
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relname = %(table)s
        UNION
        SELECT f.kind, f.oid, f.role FROM reached r CROSS JOIN LATERAL (
            SELECT 'relation', i.inhrelid, CASE r.role WHEN 'viewed' THEN 'viewed' ELSE 'part' END
            FROM pg_catalog.pg_inherits i WHERE i.inhparent = r.oid AND r.kind = 'relation'
            UNION ALL
            SELECT CASE d.refclassid WHEN 'pg_catalog.pg_class'::pg_catalog.regclass
                       THEN 'relation' ELSE 'function' END,
                   coalesce(o.oprcode, d.refobjid), 'viewed'
            FROM (SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid AS class, w.oid
                  FROM pg_catalog.pg_class v
                  JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid AND w.ev_type = '1'
                  WHERE r.kind = 'relation' AND v.oid = r.oid AND v.relkind = 'v'
                  UNION ALL
                  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, r.oid
                  WHERE r.kind = 'function') b
            JOIN pg_catalog.pg_depend d ON d.classid = b.class AND d.objid = b.oid
            LEFT JOIN pg_catalog.pg_operator o
                ON o.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass
            WHERE d.refobjid <> r.oid AND d.refclassid IN (
                'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
                'pg_catalog.pg_operator'::pg_catalog.regclass)) f(kind, oid, role)),
    read AS (SELECT oid, role FROM reached WHERE kind = 'relation'),
    called AS (
        SELECT p.oid, p.oid::pg_catalog.regprocedure::text AS name, p.provolatile AS kind, p::text AS told,
               pg_catalog.to_jsonb(p)->>'prosqlbody' AS body, l.lanname IN ('internal', 'c') AS is_compiled
        FROM (SELECT DISTINCT oid FROM reached WHERE kind = 'function') f
        JOIN pg_catalog.pg_proc p ON p.oid = f.oid JOIN pg_catalog.pg_language l ON l.oid = p.prolang),
    trees(tree) AS (
        SELECT w.ev_action::text FROM read r
        JOIN pg_catalog.pg_class v ON v.oid = r.oid AND v.relkind = 'v'
        JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
        UNION ALL
        SELECT c.body FROM called c WHERE c.body IS NOT NULL),
    typed(name, type) AS (
        SELECT CASE r.role WHEN 'self' THEN a.attname::text ELSE '' END, a.atttypid
        FROM read r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
        WHERE r.role <> 'part' AND a.attnum > 0 AND NOT a.attisdropped
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
    SELECT 'files', '',
        pg_catalog.concat_ws(' ', f.ftrelid, f.ftserver, f.ftoptions::text, s.srvoptions::text)
    FROM read r
    JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = r.oid
    JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    UNION ALL
    SELECT 'parts', '', pg_catalog.concat_ws(' ', i.inhparent, i.inhrelid, i.xmin)
    FROM read r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid
    UNION ALL
    SELECT 'views', '', pg_catalog.concat_ws(' ', w.ev_class,
        pg_catalog.sha256(pg_catalog.convert_to(w.ev_action::text, 'UTF8')))
    FROM read r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
    UNION ALL
    SELECT 'views', '',
        pg_catalog.concat_ws(' ', c.oid, pg_catalog.sha256(pg_catalog.convert_to(c.told, 'UTF8')))
    FROM called c
    UNION ALL
    SELECT 'views', '', pg_catalog.concat_ws(' ', a.aggfnoid::oid, a::text)
    FROM called c JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = c.oid
    UNION ALL
    SELECT 'views', '',
        pg_catalog.concat_ws(' ', p.oid, pg_catalog.sha256(pg_catalog.convert_to(p::text, 'UTF8')))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND l.lanname NOT IN ('internal', 'c')
        AND EXISTS (SELECT FROM called c WHERE c.body IS NULL AND NOT c.is_compiled)
    UNION ALL
    SELECT 'unseen', '', c.name FROM called c WHERE c.body IS NULL AND c.kind <> 'i'
    UNION ALL
    SELECT 'unseen', '', 'CURRENT_DATE, or what is like it'
    FROM trees t WHERE t.tree LIKE '%%SQLVALUEFUNCTION%%'
    UNION ALL
    SELECT 'unseen', '', p.oid::pg_catalog.regprocedure::text
    FROM trees t
    CROSS JOIN LATERAL pg_catalog.regexp_matches(t.tree, ':funcid (\d+)', 'g') m(id)
    JOIN pg_catalog.pg_proc p ON p.oid = m.id[1]::oid
    WHERE p.provolatile = 'v' OR (p.provolatile <> 'i' AND p.proname IN (
        'now', 'transaction_timestamp', 'statement_timestamp', 'age'))"""


def shape_of(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> Shape:
    """Return the facts of the table, of what it is made of, and of its columns' types.

    Raises psycopg.Error.
    """
    rows = connection.execute(_SHAPE, {"schema": schema, "table": table}).fetchall()
    told: dict[str, dict[str, set[str]]] = {fact: defaultdict(set) for fact in FACTS}
    for fact, column, text in rows:
        told[fact][column].add(text)
    unseen = {name: ", ".join(sorted(texts)) for name, texts in told.pop(UNSEEN).items()}
    facts = {fact: {name: _digest(texts) for name, texts in of.items()} for fact, of in told.items()}
    return {**facts, UNSEEN: unseen}


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
