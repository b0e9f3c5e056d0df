"""Merge keys that stand for several rows on both sides: equal as bags, and still no proof of anything.

A segment whose digests are equal holds the same rows on both sides, so a key is double in the source there
just where it is double in base, and base alone tells which are. They become suspects: looked up on both
sides, such a key is a difference, since what is one row a key for the merge is several for the source.

All rows of a key have one hash, so keys are grouped only of the rows whose hash is not alone. Hashes are
sorted as numbers, 8 bytes a row whatever the key is, which costs a few times less than grouping the keys.
Where keys are whole numbers near each other, it is known that they are distinct, if they are: of segments
from marks that were made as base was digested (see :meth:`Segments.marks_sql`), or of all from cutting base
into segments (see :mod:`key_numbers`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import duckdb
import pyarrow as pa

from cdc_platform.errors import StorageUnavailable
from cdc_platform.naming import quoted
from cdc_platform.reconcile.drill import MOST_SUSPECTS
from cdc_platform.reconcile.repeated_numbers import Numbers, RepeatedNumbers
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.window_events import count

#: Hashes of keys that are held at a time, at most: a hundred megabytes.
HASHES_AT_ONCE = 12_000_000
#: Keys that are grouped at a time.
KEYS_AT_ONCE = 1_000_000

_BATCH_ROWS = 65_536
_BUFFER = "16MB"


def add_doubled_keys(
    connection: duckdb.DuckDBPyConnection, sides: Sides, numbers: Collection[int], at_once: int
) -> None:
    """Add to ``suspects`` the keys of segments ``numbers`` of which base has several rows.

    ``at_once`` hashes of keys may be held in memory.
    Where the merge key holds a primary key that is of all rows there are none the digests do not show.
    """
    if not numbers or sides.plan.is_unique or sides.are_distinct:
        return
    hashed = hash_sql(sides)
    rows = sides.base_rows
    if len(numbers) < sides.segments.ranges:
        rows += f" AND {sides.segments.number_sql(sides.keys(sides.base_values))} IN ({_listed(numbers)})"
    repeated = _load_repeated_hashes(connection, sides, hashed, rows, min(at_once, HASHES_AT_ONCE))
    parts = -(-repeated // KEYS_AT_ONCE)
    for part in range(parts):
        several = f"SELECT hash FROM repeated_hashes WHERE hash % {parts} = {part}"
        _add_part(connection, sides, numbers, f"{hashed} IN ({several})")
    connection.execute("DROP TABLE repeated_hashes")


def hash_sql(sides: Sides) -> str:
    """Return the SQL of the hash of the key of a base row ``b``: one for equal keys, seldom for others."""
    return f"hash({', '.join(sides.keys(sides.base_values))})"


def _load_repeated_hashes(
    connection: duckdb.DuckDBPyConnection, sides: Sides, hashed: str, rows: str, at_once: int
) -> int:
    """Make ``repeated_hashes`` of the key hashes several of ``rows`` have; return how many there are."""
    known = " AND ".join(f"({key}) IS NOT NULL" for key in sides.keys(sides.base_values))
    expected = sides.rows if sides.rows is not None else count(connection, f"SELECT count(*) FROM {rows}")
    connection.execute("CREATE OR REPLACE TEMP TABLE repeated_hashes (hash UBIGINT)")
    found = f"SELECT {hashed} AS hash FROM {rows} AND {known}"
    ((spill,),) = connection.execute("SELECT current_setting('temp_directory')").fetchall()
    folder = Path(spill).parent
    # threads of the engine wait for room there while hashes are taken out
    connection.execute(f"SET streaming_buffer_size = '{_BUFFER}'")
    try:
        with RepeatedNumbers(folder, at_once=at_once, expected=expected) as hashes:
            for batch in connection.execute(found).to_arrow_reader(_BATCH_ROWS):
                hashes.add(batch.column(0).to_numpy())
            for several in hashes.found():
                _insert(connection, several)
    except OSError as error:
        mend = "make room there, or let the lake spill elsewhere"
        raise StorageUnavailable(
            f"hashes of keys cannot spill: {error}", where=str(folder), mend=mend
        ) from error
    return count(connection, "SELECT count(*) FROM repeated_hashes")


def _insert(connection: duckdb.DuckDBPyConnection, several: Numbers) -> None:
    if len(several):
        connection.register("more_hashes", pa.table({"hash": several}))
        connection.execute("INSERT INTO repeated_hashes SELECT hash FROM more_hashes")
        connection.unregister("more_hashes")


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _add_part(
    connection: duckdb.DuckDBPyConnection, sides: Sides, numbers: Collection[int], condition: str
) -> None:
    """Add the doubled keys of base's rows under a condition."""
    places = range(len(sides.plan.key))
    typed = sides.keys(sides.base_values)
    number = sides.segments.number_sql([f"c{place}" for place in places])
    canonical = ", ".join(f"{key} AS c{place}" for place, key in zip(places, typed, strict=True))
    # rows of base are found by the form base has, where that is another (padding)
    held = ", ".join(
        f"any_value(b.{quoted(column.column)}) AS k{place}" if column.base != "{}" else f"{key} AS k{place}"
        for place, (column, key) in enumerate(zip(sides.plan.key, typed, strict=True))
    )
    known = " AND ".join(f"c{place} IS NOT NULL" for place in places)
    names = ", ".join(sides.key_names)
    there = " AND ".join(f"s.{name} = d.{name}" for name in sides.key_names)
    connection.execute(
        f"""INSERT INTO suspects
            SELECT segment, {names}, true FROM (
                SELECT {number} AS segment, {names} FROM (
                    SELECT {canonical}, {held} FROM {sides.base_rows} AND {condition}
                    GROUP BY {", ".join(f"c{place}" for place in places)} HAVING count(*) > 1)
                WHERE {known}) d
            WHERE segment IN ({_listed(numbers)}) AND NOT EXISTS (
                FROM suspects s WHERE {there})
            QUALIFY row_number() OVER (PARTITION BY segment ORDER BY {names}) <= {MOST_SUSPECTS}"""
    )
