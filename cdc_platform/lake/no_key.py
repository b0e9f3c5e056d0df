"""Tables without a merge key: every row that ever came (``append``), or the multiset of live rows.

A row's identity is its event's position. Where the task writes a change sequence, an event that comes again
under another file name is known by it; rows of a load (position 0) and other position kinds are only known by
their file, so two deliveries of one file under two names are two sets of rows. That is the most the input can
tell, and why DMS advises a key.

*append*: loads and inserts are rows; deletes are ignored and counted; updates are set aside. *multiset*: a
delete removes exactly one equal copy (every column, NULLs alike) that came before it; an update with a full
before image is a delete and an insert; a delete that finds no copy is set aside. Tombstones remember, by
position, the deletes and the inserts they removed, so that neither acts twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from cdc_platform.config.model import NoKey
from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, before_name
from cdc_platform.lake.staging import AT, EVENT, FILE
from cdc_platform.naming import quoted

REASONS = {
    "append-update": (
        "an update in a table that keeps every row that ever came (no_key: append)",
        "discard it, or give the table a merge key or `no_key: multiset` with before images",
    ),
    "no-before": (
        "an update of a table without a key, without the full before image",
        "let the task add before images of all columns, or reload the table",
    ),
    "no-copy": (
        "a delete that finds no equal row",
        "apply the older files of the table first, then release it",
    ),
}

#: The identity of a row of a table without a key.
IDENTITY = (GENERATION, POSITION)


class NoKeyRule:
    """Decides what the staged events of one batch add and remove."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        policy: NoKey,
        columns: Sequence[str],
        *,
        has_before: bool,
        has_sequence: bool,
    ) -> None:
        self._con = con
        self._policy = policy
        self._columns = tuple(columns)
        self._values = ", ".join(map(quoted, columns))
        self._has_before = has_before
        self._has_sequence = has_sequence

    def touch(self) -> None:
        """Make ``touched``: the positions that may have been applied before."""
        condition = f"{POSITION} > 0" if self._has_sequence else "false"
        self._con.execute(
            f"CREATE TABLE touched AS SELECT DISTINCT {GENERATION}, {POSITION} FROM events WHERE {condition}"
        )

    def decide(self) -> None:
        """Make ``repeated`` (events known already), ``added`` and ``removing``."""
        self._con.execute(
            f"""CREATE TABLE repeated AS
            SELECT e.{EVENT} AS event FROM events e SEMI JOIN (
                SELECT {GENERATION}, {POSITION} FROM known UNION ALL
                SELECT {GENERATION}, {POSITION} FROM tombs) k USING ({GENERATION}, {POSITION})
            UNION
            SELECT e.{EVENT} FROM events e SEMI JOIN touched t USING ({GENERATION}, {POSITION})
            QUALIFY row_number() OVER (PARTITION BY {GENERATION}, {POSITION} ORDER BY {FILE}, {ROW}) > 1"""
        )
        self._refuse_updates()
        control = f"{GENERATION} AS generation, {POSITION} AS position"
        control += f", {COMMITTED_AT} AS committed_at, {AT} AS happened_at"
        control += f', {FILE} AS file, {ROW} AS "row"'
        fresh = f"{EVENT} NOT IN (SELECT event FROM repeated)"
        before = ", ".join(f"{quoted(before_name(c))} AS {quoted(c)}" for c in self._columns)
        self._con.execute(
            f"""CREATE TABLE added AS SELECT {EVENT} AS event, {control}, {self._values} FROM events
            WHERE {OP} IN ('L', 'I', 'U') AND {fresh}"""
        )
        updates = f"UNION ALL SELECT {control}, {before} FROM events WHERE {OP} = 'U' AND {fresh}"
        deletes = "false" if self._policy == NoKey.APPEND else f"{OP} = 'D' AND {fresh}"
        self._con.execute(
            f"""CREATE TABLE removing AS SELECT {control}, {self._values} FROM events WHERE {deletes}
            {updates if self._has_before and self._policy == NoKey.MULTISET else ""}"""
        )

    def _refuse_updates(self) -> None:
        if self._policy == NoKey.APPEND:
            cause, condition = "append-update", f"{OP} = 'U'"
        elif not self._has_before:
            cause, condition = "no-before", f"{OP} = 'U'"
        else:
            return
        repeated = f"{EVENT} NOT IN (SELECT event FROM repeated)"
        self._con.execute(
            f"INSERT INTO set_aside SELECT '{cause}', * FROM events WHERE {condition} AND {repeated}"
        )
        self._con.execute(f"DELETE FROM events WHERE {condition}")

    def match(self, base_copies: str) -> None:
        """Match ``removing`` with copies that came before; make ``gone`` and drop matched rows of ``added``.

        ``base_copies`` is SQL for (file, pos, generation, position, columns…) of base rows of equal contents.
        A delete is unmatched where, in order, more deletes than copies of its contents have come.
        """
        self._con.execute(
            f"""CREATE TABLE copies AS
            SELECT file AS base_file, pos AS base_pos, NULL::BIGINT AS event, generation, position,
                   {self._values} FROM ({base_copies})
            UNION ALL
            SELECT NULL, NULL, event, generation, position, {self._values}
            FROM added a SEMI JOIN removing r ON {self._equal("a", "r")}"""
        )
        group = f"PARTITION BY {self._values}"
        running = f'{group} ORDER BY generation, position, side DESC, file, "row" ROWS UNBOUNDED PRECEDING'
        self._con.execute(
            f"""CREATE TABLE unmatched AS
            WITH both_sides AS (
                SELECT generation, position, 1 AS side, 0 AS file, 0 AS "row", {self._values} FROM copies
                UNION ALL
                SELECT generation, position, -1, file, "row", {self._values} FROM removing),
            balanced AS (SELECT *, sum(side) OVER ({running}) AS balance FROM both_sides),
            lowest AS (SELECT *, least(min(balance) OVER ({running}), 0) AS low FROM balanced)
            SELECT file, "row", generation, position FROM (
                SELECT *, coalesce(lag(low) OVER (
                    {group} ORDER BY generation, position, side DESC, file, "row"), 0) AS low_before
                FROM lowest) WHERE side = -1 AND low < low_before"""
        )
        self._con.execute(
            "INSERT INTO set_aside SELECT 'no-copy', e.* FROM events e "
            f'JOIN unmatched u ON u.file = e.{FILE} AND u."row" = e.{ROW}'
        )
        self._take_copies()

    def _take_copies(self) -> None:
        """Take one copy for each matched delete, the earliest first."""
        group = f"PARTITION BY {self._values}"
        self._con.execute(
            'CREATE TABLE matched AS SELECT * FROM removing ANTI JOIN unmatched USING (file, "row")'
        )
        self._con.execute(
            'DELETE FROM added WHERE ROW(file, "row") IN (SELECT ROW(file, "row") FROM unmatched)'
        )
        count = f"(SELECT {self._values}, count(*) AS many FROM matched GROUP BY ALL)"
        first = f"row_number() OVER ({group} ORDER BY generation, position, base_file, base_pos, event)"
        self._con.execute(
            f"""CREATE TABLE taken AS SELECT c.* FROM (SELECT *, {first} AS number FROM copies) c
            JOIN {count} m ON {self._equal("c", "m")} WHERE c.number <= m.many"""
        )
        self._con.execute(
            "CREATE TABLE gone AS SELECT base_file AS file, base_pos AS pos FROM taken WHERE event IS NULL"
        )
        self._con.execute(
            "CREATE TABLE undone AS SELECT a.* FROM added a SEMI JOIN taken t ON a.event = t.event"
        )
        self._con.execute("DELETE FROM added WHERE event IN (SELECT event FROM undone)")

    def _equal(self, left: str, right: str) -> str:
        return " AND ".join(
            f"{left}.{quoted(c)} IS NOT DISTINCT FROM {right}.{quoted(c)}" for c in self._columns
        )

    def outcome_sql(self, columns: Sequence[str]) -> str:
        """Return the SQL of the rows to write: control columns, then ``columns``."""
        selected = ", ".join(f"e.{quoted(c)}" for c in columns)
        return (
            f"SELECT e.{OP}, e.{GENERATION}, e.{POSITION}, e.{COMMITTED_AT}, {selected} "
            f"FROM added a JOIN events e ON e.{EVENT} = a.event"
        )

    def tombstones_sql(self) -> str:
        """Return the SQL of positions that left no visible row: deletes, and the inserts they removed."""
        nothing = "NULL::BIGINT AS image_generation, NULL::DECIMAL(38, 0) AS image_position"
        identity = f"generation AS {GENERATION}, position AS {POSITION}"
        row = f"{identity}, generation, position, committed_at, happened_at, {nothing}"
        if not self._has_sequence or self._policy == NoKey.APPEND:
            return f"SELECT {row} FROM removing WHERE false"
        base = (
            "SELECT generation, position, NULL::TIMESTAMPTZ AS committed_at, now() AS happened_at "
            "FROM taken WHERE event IS NULL AND position > 0"
        )
        spent = (
            "SELECT generation, position, committed_at, happened_at FROM matched UNION ALL "
            "SELECT generation, position, committed_at, happened_at FROM undone WHERE position > 0 "
            f"UNION ALL {base}"
        )
        return f"SELECT {row} FROM ({spent})"
