"""Tables whose updates carry only the changed columns (``images: partial``), folded in order to full images.

In such a table NULL in an update means *not supplied*: DMS Parquet cannot tell it from a value that was set
to NULL, so a change to NULL is not seen. Inserts and rows of a load are full images. The events of a key are
laid over each other in order, from its last full image in the batch or else from the base row. What cannot be
laid over anything, or comes after newer changes were applied, is set aside, never guessed:

* an update of a key that has no image in the table or the batch since the last full load began, or since the
  key was last deleted;
* an update older than the stored row that supplies other values than the row now shows;
* an update that changes the key (its unchanged columns would have to come from another key).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
from pyiceberg.types import PrimitiveType

from cdc_platform.events import GENERATION, OP, POSITION, ROW, before_name
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.staging import EVENT, FILE, place
from cdc_platform.naming import quoted

#: Why a row is set aside: name in ``set_aside`` → (reason, mend).
REASONS = {
    "no-image": (
        "an update with only the changed columns, for a key that has no row to lay it over",
        "apply the older files of the table first, then release it",
    ),
    "late": (
        "an update with only the changed columns, older than the stored row and with other values",
        "discard it if newer changes set those columns, else reload the table",
    ),
    "key-change": (
        "an update with only the changed columns that changes the merge key",
        "let the task supply full images (supplemental logging on all columns), or reload the table",
    ),
}


class PartialImages:
    """Turns the staged events of one batch into full images, in place."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, key: Sequence[str], types: Mapping[str, PrimitiveType]
    ) -> None:
        self._con = con
        self._key = tuple(key)
        self._keys = ", ".join(map(quoted, key))
        self._types = types
        self._others = [column for column in types if column not in key]

    def touch(self) -> None:
        """Make ``touched``, for the base rows and tombstones to be found by."""
        self._con.execute(f"CREATE TABLE touched AS SELECT DISTINCT {self._keys} FROM events")

    def fold(self, base: BaseRows) -> None:
        """Fill ``set_aside`` and give the last event of each key its full image, in ``events``."""
        self._con.execute("CREATE TABLE with_row AS SELECT file, pos FROM known")
        base.images("with_row", "base_images", self._types)
        self._set_aside("key-change", f"FROM events e WHERE {OP} = 'U' AND ({self._key_changed()})")
        stored = f"""(SELECT {self._keys}, max({place("generation", "position")}) AS stored FROM (
            SELECT {self._keys}, generation, position FROM known UNION ALL
            SELECT {self._keys}, generation, position FROM tombs) GROUP BY {self._keys})"""
        here = place(f"e.{GENERATION}", f"e.{POSITION}")
        differs = " OR ".join(
            f"(e.{quoted(c)} IS NOT NULL AND e.{quoted(c)} IS DISTINCT FROM i.{quoted(c)})"
            for c in self._others
        )
        self._set_aside(
            "late",
            f"FROM events e JOIN {stored} s USING ({self._keys}) JOIN base_images i USING ({self._keys}) "
            f"WHERE e.{OP} = 'U' AND {here} < s.stored AND ({differs or 'false'})",
        )
        self._set_aside_between_loads()
        # Older than what is stored, and nothing lost by it: kept only where it is its key's last event, to be
        # counted as stale by the rule itself.
        self._con.execute(
            f"""CREATE TABLE current AS SELECT e.* FROM events e
            LEFT JOIN {stored} s USING ({self._keys}) WHERE s.stored IS NULL OR {here} > s.stored"""
        )
        self._fold_current()

    def _set_aside_between_loads(self) -> None:
        """Set aside updates whose row is only there as an older load left it: what it missed is unknown."""
        of_key = " AND ".join(f"x.{quoted(c)} = e.{quoted(c)}" for c in self._key)
        image = f"{of_key} AND x.{OP} IN ('I', 'L') AND x.{GENERATION} = e.{GENERATION}"
        self._set_aside(
            "no-image",
            f"FROM events e WHERE {OP} = 'U' "
            f"AND EXISTS (SELECT 1 FROM known x WHERE {of_key} AND x.generation < e.{GENERATION}) "
            f"AND NOT EXISTS (SELECT 1 FROM events x WHERE {image} AND x.{POSITION} < e.{POSITION})",
        )

    def _key_changed(self) -> str:
        return " OR ".join(f"e.{quoted(before_name(c))} <> e.{quoted(c)}" for c in self._key)

    def _set_aside(self, cause: str, rows: str) -> None:
        """Move events (``rows`` names them ``e``) from ``events`` to ``set_aside``."""
        self._con.execute(f"CREATE TABLE faulty AS SELECT DISTINCT e.{EVENT} {rows}")
        self._con.execute(
            f"INSERT INTO set_aside SELECT '{cause}', e.* FROM events e SEMI JOIN faulty USING ({EVENT})"
        )
        self._con.execute(f"DELETE FROM events WHERE {EVENT} IN (FROM faulty)")
        self._con.execute("DROP TABLE faulty")

    def _fold_current(self) -> None:
        """Lay each key's newest run of images over each other; write the result over its last event."""
        order = f"ROW({GENERATION}, {POSITION}, {FILE}, {ROW})"
        self._con.execute(
            f"""CREATE TABLE ordered AS
            SELECT *, row_number() OVER (PARTITION BY {self._keys} ORDER BY {order}) AS number FROM current"""
        )
        self._con.execute(
            f"""CREATE TABLE runs AS
            WITH ends AS (SELECT {self._keys}, max(number) AS stop FROM ordered WHERE {OP} <> 'D'
                          GROUP BY {self._keys})
            SELECT {self._keys}, s.stop,
                   coalesce(max(o.number) FILTER (WHERE o.{OP} <> 'U'), 0) AS start,
                   coalesce(bool_or(o.{OP} <> 'U'), false) AS has_start,
                   coalesce(arg_max(o.{OP}, o.number) FILTER (WHERE o.{OP} <> 'U') = 'D', false) AS is_deleted
            FROM ends s JOIN ordered o USING ({self._keys})
            WHERE o.number <= s.stop GROUP BY {self._keys}, s.stop"""
        )
        laid = ", ".join(
            f"arg_max(o.{quoted(c)}, o.number) FILTER (WHERE o.{quoted(c)} IS NOT NULL) AS {quoted(c)}"
            for c in self._others
        )
        self._con.execute(
            f"""CREATE TABLE laid AS SELECT {self._keys}, r.has_start, max(o.number) AS number
                {"," if laid else ""} {laid}
            FROM runs r JOIN ordered o USING ({self._keys})
            WHERE o.number BETWEEN r.start AND r.stop AND o.{OP} <> 'D' GROUP BY {self._keys}, r.has_start"""
        )
        self._write_images()

    def _write_images(self) -> None:
        """Set aside what has nothing to be laid over; write the other images over their keys' last events."""
        rows = f"(SELECT {self._keys} FROM known WHERE op <> 'D')"
        self._con.execute(
            f"CREATE TABLE imageless AS SELECT {self._keys} FROM runs r WHERE is_deleted UNION ALL "
            f"SELECT {self._keys} FROM runs r ANTI JOIN {rows} USING ({self._keys}) WHERE NOT has_start"
        )
        self._set_aside(
            "no-image",
            f"FROM ordered e JOIN runs r USING ({self._keys}) "
            f"SEMI JOIN imageless n USING ({self._keys}) "
            f"WHERE e.{OP} = 'U' AND e.number BETWEEN r.start AND r.stop",
        )
        if self._others:
            values = ", ".join(
                f"{quoted(c)} = CASE WHEN f.has_start THEN f.{quoted(c)} ELSE "
                f"coalesce(f.{quoted(c)}, f.{quoted('_cdc_base_' + c)}) END"
                for c in self._others
            )
            based = ", ".join(f"i.{quoted(c)} AS {quoted('_cdc_base_' + c)}" for c in self._others)
            self._con.execute(
                f"""UPDATE events SET {values} FROM (
                    SELECT o.{EVENT} AS target, l.*, {based}
                    FROM laid l JOIN ordered o USING ({self._keys}, number)
                    LEFT JOIN base_images i USING ({self._keys})) f WHERE events.{EVENT} = f.target"""
            )
