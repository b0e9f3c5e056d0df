"""The merge rule for tables with a key, as SQL over the tables of one workspace.

``events`` (staged) → ``actions`` (what each event does to which key) → ``touched`` (the keys) → ``known`` and
``tombs`` (what the table remembers of them) → ``fates`` (what becomes of each key) and ``gone`` (the base
rows, by file and row number, that disappear).

An action is an upsert or a delete of one key at one position. A key-changing update is two: delete(old) and
upsert(new). Two updates of one transaction, one right after the other in their file, that swap two keys, with
other columns that differ, are two rows that both survive: each is an upsert at the later position.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, Position, before_name
from cdc_platform.lake.key_moves import is_move, make_moves
from cdc_platform.lake.staging import AT, EVENT, FILE, place
from cdc_platform.naming import quoted

#: Why the rule sets an event aside: cause → (reason, mend).
REASONS = {
    "forgotten": (
        "the event is older than the deletes the table remembers (tombstone_horizon_days), and the table has "
        "no row of its key: whether the row was deleted since cannot be told",
        "discard it if the row is gone at the source; release it if the row exists; or reload the table",
    ),
}

#: The position of whatever has none: below every event.
_NOWHERE = place("-1::BIGINT", "-1::DECIMAL(38, 0)")

#: The columns of ``fates`` after the key, for a table that keeps its deleted rows.
_SOFT_FATE = """
    CASE WHEN better OR fate = 'upsert' THEN event END AS event,
    CASE WHEN newer THEN here.g ELSE there.g END AS generation,
    CASE WHEN newer THEN here.p ELSE there.p END AS position,
    CASE WHEN newer THEN here_committed_at
         ELSE coalesce(tomb_committed_at, base_committed_at) END AS committed_at,
    CASE WHEN newer THEN here_at ELSE coalesce(tomb_at, here_at) END AS happened_at,
    file, "row", kind, base_file, base_pos,
    CASE WHEN fate = 'shadow' THEN 'D' END AS op, has_row,
    CASE WHEN fate = 'shadow' AND NOT better THEN base_file END AS image_file,
    CASE WHEN fate = 'shadow' AND NOT better THEN base_pos END AS image_pos,
    CASE WHEN fate = 'shadow' THEN CASE WHEN better THEN image.g ELSE shown.g END
         END AS image_generation,
    CASE WHEN fate = 'shadow' THEN CASE WHEN better THEN image.p ELSE shown.p END
         END AS image_position, fate"""


class KeyedRule:
    """Folds the staged events of one batch, for one key and column list."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        key: Sequence[str],
        columns: Sequence[str],
        *,
        soft: bool,
    ) -> None:
        self._con = con
        self._key = tuple(key)
        self._keys = ", ".join(map(quoted, key))
        self._columns = tuple(columns)
        self._soft = soft
        #: Whether some key has several actions.
        self._has_several = False

    def make_actions(self) -> None:
        """Make ``actions`` and ``touched`` from ``events``."""
        heads = f"""SELECT {EVENT} AS event, {self._keys}, {GENERATION} AS generation, {POSITION} AS position,
                   {OP} = 'D' AS deletes, {OP} AS kind, {COMMITTED_AT} AS committed_at, {AT} AS happened_at,
                   {FILE} AS file, {ROW} AS "row" FROM events"""
        self._con.execute(
            f"""CREATE TABLE touched AS SELECT {self._keys}, count(*) AS _cdc_actions,
                   coalesce(bool_or({is_move(self._key)}), false) AS _cdc_moves FROM events GROUP BY ALL"""
        )
        tally = "SELECT bool_or(_cdc_moves), max(_cdc_actions) > 1 FROM touched"
        moves, several = self._con.execute(tally).fetchone() or (False, False)
        if moves:
            self._make_actions_of_moves(heads)
        else:
            # Most batches have one event a key, and are read once more only.
            self._has_several = bool(several)
            kind = "TABLE" if self._has_several else "VIEW"
            self._con.execute(f"CREATE {kind} actions AS {heads}")

    def _make_actions_of_moves(self, heads: str) -> None:
        make_moves(self._con, self._key, self._columns)
        old = ", ".join(f"m.{quoted(before_name(c))} AS {quoted(c)}" for c in self._key)
        self._con.execute(
            f"""CREATE TABLE actions AS
            SELECT h.* REPLACE (coalesce(f.position, h.position) AS position)
            FROM ({heads}) h LEFT JOIN swaps f ON f.event = h.event
            UNION ALL BY NAME
            SELECT m.event, {old}, m.generation, m.position, true AS deletes, 'D' AS kind,
                   m.committed_at, m.happened_at, m.file, m."row"
            FROM moves m WHERE m.event NOT IN (SELECT second FROM swaps)"""
        )
        self._con.execute(
            "CREATE OR REPLACE TABLE touched AS "
            f"SELECT {self._keys}, count(*) AS _cdc_actions FROM actions GROUP BY ALL"
        )
        self._has_several = self._ask("SELECT max(_cdc_actions) > 1 FROM touched")

    def decide(self, floor: Position | None, *, has_positions: bool = True) -> None:
        """Make ``fates`` from ``actions``, ``known`` and ``tombs``.

        Without ``has_positions`` every row in ``known`` is certainly older than every event.

        ``fate`` is stale, lost (below the tombstone floor, so in doubt), upsert, delete, or shadow (a
        soft-deleted row). ``event`` is the event whose image the row shows, NULL where ``image_file`` says
        that it is a base row's.
        """
        latest = (
            f"TABLE latest AS {self._newest('true')}" if self._has_several else "VIEW latest AS FROM actions"
        )
        self._con.execute(f"CREATE {latest}")
        # A join of a million keys costs by the width of what is joined.
        placed = f"(SELECT {self._keys}, file, pos, -1 AS generation, -1 AS position FROM known)"
        self._judge("known" if has_positions or self._soft else placed, floor)
        if self._is_any_doubled():
            # A key with several rows, which no merge of ours leaves: the newest of them speaks for it.
            columns = ["generation", "position", "op", "file", "pos", "committed_at"]
            order = "generation DESC NULLS LAST, position DESC NULLS LAST, file, pos"
            self._con.execute("DROP TABLE fates" if self._soft else "DROP VIEW fates; DROP TABLE judged")
            self._judge(f"({self._first('FROM known', columns, order)})", floor)
            self._con.execute(
                f"""CREATE TABLE gone AS SELECT k.file, k.pos FROM known k
                JOIN fates f USING ({self._keys}) WHERE f.fate IN ('upsert', 'delete', 'shadow')"""
            )
            return
        self._con.execute(
            "CREATE TABLE gone AS SELECT base_file AS file, base_pos AS pos FROM fates "
            "WHERE has_row AND fate IN ('upsert', 'delete', 'shadow')"
        )

    def _judge(self, known: str, floor: Position | None) -> None:
        """Make ``fates``; ``known`` is SQL for what the table has of each key."""
        join = f"LEFT JOIN {known} k USING ({self._keys}) LEFT JOIN tombs t USING ({self._keys})"
        self._con.execute(self._soft_fates(join, floor) if self._soft else self._hard_fates(join, floor))

    def _is_any_doubled(self) -> bool:
        """Whether the table has several rows of some key."""
        return self._ask("SELECT (SELECT count(*) FROM fates) > (SELECT count(*) FROM touched)")

    def _ask(self, query: str) -> bool:
        return bool((self._con.execute(query).fetchone() or (False,))[0])

    def _newest(self, condition: str) -> str:
        """Return SQL for the newest action of each key that ``condition`` lets through."""
        names = ["event", "deletes", "kind", "generation", "position"]
        names += ["committed_at", "happened_at", "file", "row"]
        # A delete and an upsert of one key at one position are of a swap that its file tells twice.
        order = 'generation DESC, position DESC, deletes, file DESC, "row" DESC'
        return self._first(f"SELECT * FROM actions WHERE {condition}", names, order)

    def _first(self, rows: str, names: Sequence[str], order: str) -> str:
        """Return SQL for the first of ``rows`` per key, by ``order``.

        Most keys have one row: only the others are sorted, so that a large load neither sorts nor aggregates
        whole rows in memory.
        """
        selected = f"{self._keys}, {', '.join(map(quoted, names))}"
        several = f"SELECT {self._keys} FROM ({rows}) GROUP BY {self._keys} HAVING count(*) > 1"
        return (
            f"SELECT {selected} FROM ({rows}) ANTI JOIN ({several}) USING ({self._keys}) UNION ALL "
            f"SELECT {selected} FROM ({rows}) SEMI JOIN ({several}) USING ({self._keys}) "
            f"QUALIFY row_number() OVER (PARTITION BY {self._keys} ORDER BY {order}) = 1"
        )

    def _hard_fates(self, join: str, floor: Position | None) -> str:
        lost = f"WHEN {self._doubt(floor)} THEN 'lost'" if floor is not None else ""
        beats_row = _is_above("l", "coalesce(k.generation, -1)", "coalesce(k.position, -1)")
        beats_tomb = _is_above("l", "coalesce(t.generation, -1)", "coalesce(t.position, -1)")
        # What only tables that keep deleted rows need stays out of the table, which has a row for each key.
        return f"""CREATE TABLE judged AS
            SELECT {self._keys}, l.event, l.generation, l.position, l.committed_at, l.happened_at,
                   l.file, l."row", l.kind, k.file AS base_file, k.pos AS base_pos,
                   CASE WHEN NOT {beats_row} OR NOT {beats_tomb} THEN 'stale'
                        {lost}
                        WHEN l.deletes THEN 'delete' ELSE 'upsert' END AS fate
            FROM latest l {join};
            CREATE VIEW fates AS
            SELECT *, NULL::VARCHAR AS op, base_file IS NOT NULL AS has_row,
                   NULL::INTEGER AS image_file, NULL::BIGINT AS image_pos,
                   NULL::BIGINT AS image_generation, NULL::DECIMAL(38, 0) AS image_position
            FROM judged"""

    def _doubt(self, floor: Position) -> str:
        """Return the condition that a forgotten delete may be newer than an upsert of a key without a row.

        A tombstone of the key says nothing here: it may be of a late delete, older than the forgotten one.
        """
        above = _is_above("l", str(floor.generation), f"{floor.sequence}::DECIMAL(38, 0)")
        exempt = "l.file IN (SELECT file FROM released)"
        return f"NOT l.deletes AND k.file IS NULL AND NOT {above} AND NOT {exempt}"

    def _soft_fates(self, join: str, floor: Position | None) -> str:
        """A deleted row stays, with its last image, which an older event found later may still better."""
        self._con.execute(f"CREATE TABLE images AS {self._newest('NOT deletes')}")
        buried = (
            f"CASE WHEN t.generation IS NULL THEN {_NOWHERE} ELSE {place('t.generation', 't.position')} END"
        )
        stored = place("coalesce(k.generation, -1)", "coalesce(k.position, -1)")
        shown = f"""CASE WHEN k.file IS NULL THEN {_NOWHERE}
                         WHEN k.op <> 'D' OR t.image_generation IS NULL THEN {stored}
                         ELSE {place("t.image_generation", "t.image_position")} END"""
        return f"""CREATE TABLE fates AS
            WITH found AS (
                SELECT {self._keys}, {place("l.generation", "l.position")} AS here, l.deletes AS deletes,
                       l.committed_at AS here_committed_at, l.happened_at AS here_at,
                       l.file AS file, l."row" AS "row",
                       i.event AS event,
                       CASE WHEN i.event IS NULL THEN {_NOWHERE}
                            ELSE {place("i.generation", "i.position")} END AS image,
                       k.file IS NOT NULL AS has_row, k.file AS base_file, k.pos AS base_pos,
                       k.op AS base_op, i.kind AS kind,
                       k.committed_at AS base_committed_at,
                       greatest({stored}, {buried}) AS there,
                       t.committed_at AS tomb_committed_at, t.happened_at AS tomb_at, {shown} AS shown,
                       {self._doubt(floor) if floor is not None else "false"} AS in_doubt
                FROM latest l LEFT JOIN images i USING ({self._keys}) {join}),
            weighed AS (
                SELECT *, here > there AS newer, image > shown AS better,
                       CASE WHEN here > there THEN deletes ELSE coalesce(base_op, 'D') = 'D' END AS is_deleted
                FROM found),
            named AS (
                SELECT *, CASE WHEN newer AND in_doubt THEN 'lost'
                               WHEN NOT is_deleted THEN CASE WHEN newer THEN 'upsert' ELSE 'stale' END
                               WHEN NOT newer AND NOT better THEN 'stale'
                               WHEN event IS NULL AND NOT has_row THEN 'delete'
                               ELSE 'shadow' END AS fate
                FROM weighed)
            SELECT {self._keys}, {_SOFT_FATE}
            FROM named"""

    def set_aside_lost(self) -> None:
        """Move the events in doubt to ``set_aside``."""
        self._con.execute(
            "INSERT INTO set_aside SELECT 'forgotten', e.* FROM events e "
            f"JOIN fates f ON f.event = e.{EVENT} WHERE f.fate = 'lost'"
        )

    def outcome_sql(self, columns: Sequence[str], *, written: Sequence[int] = ()) -> str:
        """Return the SQL of the rows to write: control columns, then ``columns``.

        The rows of the files ``written`` lie in data files already.
        """
        control = f"f.generation AS {GENERATION}, f.position AS {POSITION}, f.committed_at AS {COMMITTED_AT}"
        names = {c: f"f.{quoted(c)}" if c in self._key else f"e.{quoted(c)}" for c in columns}
        selected = ", ".join(names.values())
        query = (
            f"SELECT coalesce(f.op, e.{OP}) AS {OP}, {control}, {selected} FROM fates f "
            f"JOIN events e ON e.{EVENT} = f.event WHERE f.fate IN ('upsert', 'shadow')"
        )
        if written:
            query += f" AND f.file NOT IN ({', '.join(map(str, written))})"
        if self._soft:
            query += (
                f" UNION ALL SELECT f.op, {control}, {selected} FROM fates f "
                "JOIN shadow_images e ON e.file = f.image_file AND e.pos = f.image_pos "
                "WHERE f.fate = 'shadow'"
            )
        return query

    def outline_sql(self) -> str:
        """Return the SQL of the rows to write without their images: control columns, key, file and row.

        Only for tables that keep no deleted rows: there every image is its event's.
        """
        control = f"generation AS {GENERATION}, position AS {POSITION}, committed_at AS {COMMITTED_AT}"
        return (
            f'SELECT kind AS {OP}, {control}, {self._keys}, file AS {FILE}, "row" AS {ROW} '
            "FROM fates WHERE fate = 'upsert'"
        )

    def tombstones_sql(self) -> str:
        """Return the SQL of the tombstones this batch leaves."""
        return f"""SELECT {self._keys}, generation, position, committed_at, happened_at,
                   image_generation, image_position
            FROM fates WHERE fate IN ('delete', 'shadow')"""


def _is_above(side: str, generation: str, position: str) -> str:
    """Return SQL for: the position of ``side`` is above this one."""
    return (
        f"({side}.generation > {generation} OR "
        f"({side}.generation = {generation} AND {side}.position > {position}))"
    )
