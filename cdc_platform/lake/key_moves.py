"""Updates that change a row's key, and pairs of them that swap the keys of two rows.

Two updates of one transaction, one right after the other in their file, that swap two keys, with other
columns that differ, are two rows that both survive.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, before_name
from cdc_platform.lake.staging import AT, EVENT, FILE
from cdc_platform.naming import quoted


def is_move(key: Sequence[str]) -> str:
    """Return the condition that an event is an update that changes its row's key; NULL where it is not."""
    changed = " OR ".join(f"{quoted(before_name(c))} <> {quoted(c)}" for c in key)
    return f"({OP} = 'U' AND ({changed}))"


def make_moves(con: duckdb.DuckDBPyConnection, key: Sequence[str], columns: Sequence[str]) -> None:
    """Make ``moves``, the key-changing updates, and ``swaps``, the first updates of two rows' swap."""
    keys, others = ", ".join(map(quoted, key)), [column for column in columns if column not in key]
    before = {c: f"coalesce({quoted(before_name(c))}, {quoted(c)})" for c in key}
    old = ", ".join(f"{value} AS {quoted(before_name(c))}" for c, value in before.items())
    con.execute(
        f"""CREATE TABLE moves AS
        SELECT {EVENT} AS event, {keys}, {old}, {GENERATION} AS generation, {POSITION} AS position,
               {COMMITTED_AT} AS committed_at, {AT} AS happened_at, {FILE} AS file, {ROW} AS "row"
        FROM events WHERE {is_move(key)}"""
    )
    con.execute(f"CREATE TABLE swaps AS {_swaps_sql(key, others)}")


def _swaps_sql(key: Sequence[str], others: Sequence[str]) -> str:
    keys = ", ".join(map(quoted, key))
    here = f"hash({keys})"
    there = f"hash({', '.join(quoted(before_name(c)) for c in key)})"
    twice = f"file, generation, position, {keys}"
    crossed = " AND ".join(
        f"a.{quoted(c)} = b.{quoted(before_name(c))} AND a.{quoted(before_name(c))} = b.{quoted(c)}"
        for c in key
    )
    differ = " OR ".join(f"x.{quoted(c)} IS DISTINCT FROM y.{quoted(c)}" for c in others) or "false"
    return f"""WITH once AS (
            SELECT *, least({here}, {there}) AS pair_low, greatest({here}, {there}) AS pair_high
            FROM moves WHERE committed_at IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY {twice} ORDER BY "row") = 1),
        numbered AS (
            SELECT *, row_number() OVER (PARTITION BY file, committed_at, pair_low, pair_high
                                         ORDER BY generation, position) AS number FROM once)
        SELECT a.event, b.event AS second, b.position
        FROM numbered a JOIN numbered b
          ON a.file = b.file AND a.committed_at = b.committed_at AND {crossed}
         AND a.number % 2 = 1 AND b.number = a.number + 1 AND b."row" = a."row" + 1
        JOIN events x ON x.{EVENT} = a.event JOIN events y ON y.{EVENT} = b.event
        WHERE {differ}"""
