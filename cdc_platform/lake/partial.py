"""Tables whose updates carry only the changed columns (``images: partial``), folded in order to full images.

In such a table NULL in an update means *not supplied*: DMS Parquet cannot tell it from a value that was set
to NULL, so a change to NULL is not seen. *Whole* images are inserts, rows of a load, and updates that supply
every column. The events of a key are laid over each other in order, from the last whole image in the batch or
else from the stored row. What cannot be laid over anything is set aside, never guessed:

* an update of a key that has no image in the table or the batch since the last full load began, or since the
  key was last deleted;
* an update that changes the key (its unchanged columns would have to come from another key).

An event *late*, that is below the stored row, may belong below updates that were laid over the row without
it, and what these supplied is not known any more. The late events of a key in the batch are laid over each
other. One that has the last word on a column is set aside if the row shows another value there, for a newer
update may or may not have set it. It is not where that cannot matter: the row, the tombstone or the batch
shows that the key was deleted or given a whole image since, or a newer update of the batch sets the column.
Applied files that are among the merge's inputs are read again for it.
Where the row shows the same value it is right, whoever set it. So every column is that of the newest event
that came in, or the event that supplies it waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
from pyiceberg.types import PrimitiveType

from cdc_platform.events import GENERATION, OP, POSITION, ROW, before_name
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.recall import Recall
from cdc_platform.lake.staging import AT, EVENT, FILE, place
from cdc_platform.naming import quoted

_COMPARE = "compare the row with the source's: "
#: Why a row is set aside: name in ``set_aside`` → (reason, mend).
REASONS = {
    "no-image": (
        "an update with only the changed columns, for a key that has no row to lay it over",
        "apply the older files of the table first, then release it",
    ),
    "late": (
        "an update with only the changed columns, older than the stored row and with other values",
        f"{_COMPARE}discard it if they agree (newer changes set those columns); else bring the source's row "
        "in (`cdc repair`, or reload the table), then release it",
    ),
    "late-image": (
        "an image older than the stored row and with other values, over which newer updates with only the "
        "changed columns may have had to be laid",
        f"{_COMPARE}discard it if they agree; else bring the source's row in (`cdc repair`, or reload the "
        "table), then release it",
    ),
    "key-change": (
        "an update with only the changed columns that changes the merge key",
        "let the task supply full images (supplemental logging on all columns), or reload the table",
    ),
}

_NOWHERE = place("-1::BIGINT", "-1::DECIMAL(38, 0)")


class PartialImages:
    """Turns the staged events of one batch into full images, in place.

    ``soft``: deleted rows are kept, and their last image may be bettered by events from before the delete.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        key: Sequence[str],
        types: Mapping[str, PrimitiveType],
        *,
        soft: bool,
    ) -> None:
        self._con = con
        self._key = tuple(key)
        self._keys = ", ".join(map(quoted, key))
        self._types = types
        self._others = [quoted(column) for column in types if column not in key]
        self._soft = soft

    def touch(self) -> None:
        """Make ``touched``, for the base rows and tombstones to be found by."""
        self._con.execute(f"CREATE TABLE touched AS SELECT DISTINCT {self._keys} FROM events")

    def fold(self, base: BaseRows, recall: Recall) -> None:
        """Fill ``set_aside`` and give the last event of each key its full image, in ``events``.

        ``recall`` is asked only where a late event may matter.
        """
        changed = " OR ".join(f"{quoted(before_name(c))} <> {quoted(c)}" for c in self._key)
        self._set_aside("key-change", f"SELECT {EVENT} AS event FROM events WHERE {OP} = 'U' AND ({changed})")
        self._stand()
        self._line_up()
        self._find_late()
        self._chain()
        self._con.execute(
            f"""CREATE TABLE with_row AS SELECT DISTINCT s.file, s.pos FROM stands s
            WHERE has_image AND ({self._keys}) IN (SELECT ({self._keys}) FROM late UNION ALL
            SELECT ({self._keys}) FROM chains WHERE NOT is_whole AND start IS NULL)"""
        )
        base.images("with_row", "base_images", self._types)
        self._set_aside_late(recall)
        self._set_aside_without_image()
        self._lay()

    def _stand(self) -> None:
        """Make ``stands``: what is stored of each key.

        ``edge`` is where its image stands, or its delete: what is not above is late. ``generation`` is the
        image's. ``buried`` is a delete from before the image, ``died`` one after it.
        """
        stored = f"CASE WHEN k.file IS NULL THEN {_NOWHERE} ELSE {place('k.generation', 'k.position')} END"
        tomb = (
            f"CASE WHEN t.generation IS NULL THEN {_NOWHERE} ELSE {place('t.generation', 't.position')} END"
        )
        image = place("t.image_generation", "t.image_position")
        shown = "CASE WHEN op <> 'D' OR image IS NULL THEN stored ELSE image END"
        if self._soft:
            edge, has_image, is_gone = shown, "op IS NOT NULL", "op IS NULL OR op = 'D'"
        else:
            edge, is_gone = "greatest(stored, tomb)", "false"
            has_image = "coalesce(op <> 'D' AND stored > tomb, false)"
        order = "generation DESC NULLS LAST, position DESC NULLS LAST, file, pos"
        self._con.execute(
            f"""CREATE TABLE stands AS
            WITH newest AS (
                SELECT * FROM known
                QUALIFY row_number() OVER (PARTITION BY {self._keys} ORDER BY {order}) = 1),
            found AS (
                SELECT {self._keys}, k.file, k.pos, k.op, {stored} AS stored, {tomb} AS tomb,
                       CASE WHEN t.image_generation IS NOT NULL THEN {image} END AS image
                FROM touched LEFT JOIN newest k USING ({self._keys}) LEFT JOIN tombs t USING ({self._keys})),
            placed AS (SELECT *, {edge} AS edge, {is_gone} AS is_gone FROM found)
            SELECT {self._keys}, file, pos, edge, edge.g AS generation, {has_image} AS has_image,
                   coalesce(op IN ('I', 'L'), false) AS is_certain,
                   CASE WHEN is_gone THEN {_NOWHERE} ELSE tomb END AS buried,
                   CASE WHEN is_gone AND greatest(stored, tomb) > edge THEN greatest(stored, tomb) END AS died
            FROM placed"""
        )

    @property
    def _is_whole(self) -> str:
        supplied = " AND ".join(f"{c} IS NOT NULL" for c in self._others) or "true"
        return f"({OP} IN ('I', 'L') OR ({OP} = 'U' AND {supplied}))"

    def _line_up(self) -> None:
        """Make ``line``: the events of each key, numbered in order, with the delete the table knows of."""
        order = "here, event_file, event_row"
        self._con.execute(
            f"""CREATE TABLE line AS
            WITH heads AS (
                SELECT {EVENT} AS event, {self._keys}, {OP} AS op, {place(GENERATION, POSITION)} AS here,
                       {FILE} AS event_file, {ROW} AS event_row, {self._is_whole} AS is_whole
                FROM events UNION ALL
                SELECT NULL, {self._keys}, 'D', died, -1, -1, false FROM stands WHERE died IS NOT NULL)
            SELECT h.*, s.* EXCLUDE ({self._keys}, edge, died), here > edge AS is_current,
                   row_number() OVER (PARTITION BY {self._keys} ORDER BY {order}) AS number
            FROM heads h JOIN stands s USING ({self._keys})"""
        )

    def _find_late(self) -> None:
        """Make ``late``: events not above the stored row that may have a say in what it should show."""
        ends = "is_whole" if self._soft else "is_whole OR op = 'D'"
        values = "".join(f", e.{c}" for c in self._others)
        self._con.execute(
            f"""CREATE TABLE late AS
            WITH ended AS (SELECT {self._keys} FROM line WHERE is_current AND ({ends})),
            candidates AS (SELECT * FROM line ANTI JOIN ended USING ({self._keys})
                           WHERE NOT is_current AND has_image AND NOT is_certain)
            SELECT c.event, {self._keys_of("c")}, c.op, c.here, c.event_file, c.event_row, c.is_whole {values}
            FROM candidates c JOIN events e ON e.{EVENT} = c.event
            WHERE c.here.g = c.generation AND c.here > c.buried"""
        )

    def _chain(self) -> None:
        """Make ``chains``: the current events, each with the whole image or delete it follows (``start``)."""
        start = "struct_pack(number := number, op := op, generation := here.g)"
        self._con.execute(
            f"""CREATE TABLE chains AS
            SELECT *, max({start}) FILTER (WHERE is_whole OR op = 'D') OVER (
                PARTITION BY {self._keys} ORDER BY number ROWS UNBOUNDED PRECEDING) AS start
            FROM line WHERE is_current"""
        )

    def _set_aside_late(self, recall: Recall) -> None:
        """Set aside late events with the last word on a column that the row shows otherwise."""
        if not self._others or not self._con.execute("SELECT 1 FROM late LIMIT 1").fetchone():
            return
        # what updates of the batch set that are laid over the row
        overlaid = ", ".join(f"bool_or(e.{c} IS NOT NULL) AS {c}" for c in self._others)
        self._con.execute(
            f"""CREATE TABLE overlaid AS SELECT {self._keys_of("c")}, {overlaid}
            FROM chains c SEMI JOIN late USING ({self._keys}) JOIN events e ON e.{EVENT} = c.event
            WHERE c.start IS NULL AND c.here.g = c.generation GROUP BY {self._keys_of("c")}"""
        )
        if self._find_doubtful() and self._recall(recall):
            self._find_doubtful()
        for cause, which in (("late", "NOT is_whole"), ("late-image", "is_whole")):
            self._set_aside(cause, f"SELECT event FROM doubtful WHERE {which}")

    def _find_doubtful(self) -> bool:
        """Make ``doubtful`` of ``late``; return whether there are any."""
        doubt = " OR ".join(
            f"(l.number = max(l.number) FILTER (WHERE l.is_whole OR l.{c} IS NOT NULL) OVER same "
            f"AND l.{c} IS DISTINCT FROM i.{c} AND NOT coalesce(o.{c}, false))"
            for c in self._others
        )
        joined = " AND ".join(f"o.{quoted(c)} = l.{quoted(c)}" for c in self._key)
        self._con.execute(
            f"""CREATE OR REPLACE TABLE doubtful AS
            WITH numbered AS (
                SELECT *, row_number() OVER (PARTITION BY {self._keys}
                                             ORDER BY here, event_file, event_row) AS number FROM late),
            ended AS (
                SELECT *, max(number) FILTER (WHERE is_whole OR op = 'D') OVER (PARTITION BY {self._keys})
                          AS last_end FROM numbered),
            judged AS (
                SELECT l.event, {self._keys_of("l")}, l.is_whole, {doubt} AS is_doubtful
                FROM (FROM ended WHERE op <> 'D' AND number >= coalesce(last_end, 0)) l
                JOIN stands s USING ({self._keys}) JOIN base_images i ON i.file = s.file AND i.pos = s.pos
                LEFT JOIN overlaid o ON {joined} WINDOW same AS (PARTITION BY {self._keys_of("l")}))
            SELECT event, {self._keys}, is_whole FROM judged WHERE is_doubtful AND event IS NOT NULL"""
        )
        return self._con.execute("SELECT 1 FROM doubtful LIMIT 1").fetchone() is not None

    def _recall(self, recall: Recall) -> bool:
        """Add to ``late`` what files already applied say of the keys in doubt; return whether they do."""
        self._con.execute(
            f"CREATE TABLE recalled AS SELECT {OP}, {GENERATION}, {POSITION}, {FILE}, {ROW}, "
            f"{', '.join([self._keys, *self._others])} FROM events WHERE false"
        )
        oldest = f"SELECT min({AT}) FROM events e JOIN doubtful d ON e.{EVENT} = d.event"
        (since,) = self._con.execute(oldest).fetchone() or (None,)
        recall.into("recalled", f"(SELECT DISTINCT {self._keys} FROM doubtful)", since)
        self._con.execute(
            f"""INSERT INTO late BY NAME
            SELECT {self._keys}, r.{OP} AS op, {place(f"r.{GENERATION}", f"r.{POSITION}")} AS here,
                   r.{FILE} AS event_file, r.{ROW} AS event_row, {self._is_whole} AS is_whole,
                   {", ".join(f"r.{c}" for c in self._others)}
            FROM recalled r JOIN stands s USING ({self._keys})
            WHERE r.{GENERATION} = s.generation AND here > s.buried AND here <= s.edge"""
        )
        return self._con.execute("SELECT 1 FROM recalled LIMIT 1").fetchone() is not None

    def _set_aside_without_image(self) -> None:
        """Set aside updates that have nothing to be laid over, or only what an older load left."""
        self._set_aside(
            "no-image",
            """SELECT event FROM chains WHERE op = 'U' AND NOT is_whole AND CASE
               WHEN start IS NULL THEN NOT has_image OR here.g <> generation
               ELSE start.op = 'D' OR start.generation <> here.g END""",
        )

    def _set_aside(self, cause: str, faulty: str) -> None:
        """Move the events that ``faulty`` yields from ``events`` to ``set_aside``."""
        self._con.execute(f"CREATE TABLE faulty AS {faulty}")
        among = f"{EVENT} IN (SELECT event FROM faulty)"
        self._con.execute(f"INSERT INTO set_aside SELECT '{cause}', e.* FROM events e WHERE {among}")
        self._con.execute(f"DELETE FROM events WHERE {among}")
        self._con.execute("DROP TABLE faulty")

    def _keys_of(self, name: str) -> str:
        return ", ".join(f"{name}.{quoted(column)}" for column in self._key)

    def _lay(self) -> None:
        """Write over the last event of each key the image it results in, unless it is whole by itself."""
        if not self._others:
            return
        laid = ", ".join(
            f"arg_max(e.{c}, c.number) FILTER (WHERE e.{c} IS NOT NULL) AS {c}" for c in self._others
        )
        self._con.execute(
            f"""CREATE TABLE laid AS
            WITH kept AS (SELECT c.* FROM chains c SEMI JOIN events e ON e.{EVENT} = c.event WHERE op <> 'D'),
            lasts AS (SELECT * FROM kept QUALIFY number = max(number) OVER (PARTITION BY {self._keys}))
            SELECT l.event AS target, l.file, l.pos, l.start IS NOT NULL AS has_start, {laid}
            FROM (FROM lasts WHERE NOT is_whole) l JOIN kept c USING ({self._keys})
            JOIN events e ON e.{EVENT} = c.event
            WHERE c.number >= coalesce(l.start.number, 0) GROUP BY l.event, l.file, l.pos, l.start"""
        )
        values = ", ".join(
            f"{c} = CASE WHEN f.has_start THEN f.{c} ELSE coalesce(f.{c}, f.base_{n}) END"
            for n, c in enumerate(self._others)
        )
        based = ", ".join(f"i.{c} AS base_{n}" for n, c in enumerate(self._others))
        self._con.execute(
            f"""UPDATE events SET {values} FROM (
                SELECT l.*, {based} FROM laid l LEFT JOIN base_images i ON i.file = l.file AND i.pos = l.pos
            ) f WHERE events.{EVENT} = f.target"""
        )
