"""The second step of a full comparison: which keys of segments with unequal digests differ.

Rows of such segments become pairs (key, row digest) on both sides; keys whose pairs are not the same bag are
suspects. The third step compares their full rows as the window mode does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from cdc_platform.errors import RawFileError, SchemaError
from cdc_platform.events import before_name
from cdc_platform.naming import quoted
from cdc_platform.reconcile.awaited import MOST_FILES_READ
from cdc_platform.reconcile.budget import Spending
from cdc_platform.reconcile.sides import Arriving, Sides
from cdc_platform.reconcile.sources import SourceSnapshot
from cdc_platform.reconcile.window_events import Events

#: Of one segment no more keys are looked up row by row; the others are counted.
MOST_SUSPECTS = 10_000

#: Beyond this share of differing segments the fault is systemic: a sample tells as much as all of them.
SYSTEMIC_SHARE = 0.2
LEAST_DRILLED = 8


def chosen_to_drill(differing: Sequence[int], segments: int) -> list[int]:
    """Return which differing segments are drilled: all of them, or an even sample of too many.

    >>> chosen_to_drill([3, 5], 100), len(chosen_to_drill(range(100), 100))
    ([3, 5], 8)
    """
    if len(differing) <= max(LEAST_DRILLED, SYSTEMIC_SHARE * segments):
        return list(differing)
    return [differing[place * len(differing) // LEAST_DRILLED] for place in range(LEAST_DRILLED)]


@dataclass(frozen=True, slots=True)
class Drilled:
    """What drilling found: keys that were not looked up by segment, and the columns that differ at all."""

    beyond: dict[int, int]
    guilty_columns: tuple[str, ...]


def drill(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    numbers: Sequence[int],
    spending: Spending,
) -> Drilled:
    """Make ``suspects`` (segment, k0…, in_source) of the segments ``numbers``, and say what was left out.

    Raises SourceUnavailable.
    """
    kinds = [sides.digest.types[place] for place in sides.key_places]
    fields = ", ".join(f"k{place} {kind}" for place, kind in enumerate(kinds))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE suspects (segment INT, {fields}, in_source BOOLEAN)")
    beyond: dict[int, int] = {}
    guilty: set[str] = set()
    groups = [[number] for number in numbers] if sides.plan.ranged else [list(numbers)] if numbers else []
    for group in groups:
        _load_parts(connection, snapshot, sides, group, spending)
        guilty |= _guilty_columns(connection, sides)
        beyond |= _add_suspects(connection, sides)
    in_order = (column.column for column in sides.plan.columns)
    return Drilled(beyond, tuple(column for column in in_order if column in guilty))


def _load_parts(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    numbers: Sequence[int],
    spending: Spending,
) -> None:
    """Make ``source_part`` and ``base_part``: segment, canonical values v0…, both lanes."""
    low, high = sides.segments.range(numbers[0]) if sides.plan.ranged else (None, None)
    listed = ", ".join(map(str, numbers))
    with Arriving(connection, snapshot, sides, low, high, spending) as relation:
        connection.execute(
            _part_sql("source_part", sides, sides.source_values, f"{relation} s", f"segment IN ({listed})")
        )
    keys = sides.keys(sides.base_values)
    wanted = " OR ".join(f"({sides.segments.condition_sql(keys, number)})" for number in numbers)
    raw = "".join(f", b.{quoted(column.column)} AS r{place}" for place, column in enumerate(sides.plan.key))
    rows = f"{sides.base_rows} AND ({wanted})"
    connection.execute(_part_sql("base_part", sides, sides.base_values, rows, "true", raw))


def _part_sql(table: str, sides: Sides, values: list[str], rows: str, wanted: str, raw: str = "") -> str:
    number = sides.segments.number_sql(sides.keys(values))
    typed = ", ".join(
        f"({value})::{kind} AS v{place}"
        for place, (value, kind) in enumerate(zip(values, sides.digest.types, strict=True))
    )
    first, second = sides.digest.lanes([f"v{place}" for place in range(len(values))])
    return f"""CREATE OR REPLACE TEMP TABLE {table} AS
        SELECT *, {first} AS lane1, {second} AS lane2
        FROM (SELECT {number} AS segment, {typed}{raw} FROM {rows}) WHERE {wanted}"""


def _guilty_columns(connection: duckdb.DuckDBPyConnection, sides: Sides) -> set[str]:
    """Return the columns whose digests, values with their keys, differ between the parts."""
    values = [f"v{place}" for place in range(len(sides.plan.columns))]
    query = f"SELECT {sides.digest.column_aggregates(sides.key_places, values)} FROM "
    ours, theirs = (connection.execute(query + part).fetchone() for part in ("source_part", "base_part"))
    assert ours is not None
    assert theirs is not None
    return {
        column.column
        for place, column in enumerate(sides.plan.columns)
        if ours[2 * place : 2 * place + 2] != theirs[2 * place : 2 * place + 2]
    }


def _add_suspects(connection: duckdb.DuckDBPyConnection, sides: Sides) -> dict[int, int]:
    """Add the keys whose rows are not the same bag; return how many of a segment went beyond the bound."""
    places = range(len(sides.plan.key))
    keys = ", ".join(f"v{at} AS k{at}" for at in sides.key_places)
    names = ", ".join(f"k{place}" for place in places)
    pair = f"segment, {keys}, lane1, lane2"
    known = " AND ".join(f"v{at} IS NOT NULL" for at in sides.key_places)
    source, base = (f"SELECT {pair} FROM {part} WHERE {known}" for part in ("source_part", "base_part"))
    there = " AND ".join(f"s.v{at} = d.k{place}" for place, at in zip(places, sides.key_places, strict=True))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE differing_keys AS
            SELECT *, row_number() OVER (PARTITION BY segment ORDER BY {names}) AS place FROM (
                SELECT DISTINCT segment, {names} FROM (
                    (({source}) EXCEPT ALL ({base})) UNION ALL (({base}) EXCEPT ALL ({source}))))"""
    )
    connection.execute(
        f"""INSERT INTO suspects
            SELECT segment, {names}, EXISTS (FROM source_part s WHERE {there})
            FROM differing_keys d WHERE place <= {MOST_SUSPECTS}"""
    )
    _keep_raw_keys(connection, sides)
    beyond = connection.execute(
        f"SELECT segment, count(*) FROM differing_keys WHERE place > {MOST_SUSPECTS} GROUP BY 1"
    ).fetchall()
    return dict(beyond)


def _keep_raw_keys(connection: duckdb.DuckDBPyConnection, sides: Sides) -> None:
    """Put suspects under the key base holds, where its form is another (padding): rows are found by it."""
    for place, (column, at) in enumerate(zip(sides.plan.key, sides.key_places, strict=True)):
        if column.base != "{}":
            connection.execute(
                f"""UPDATE suspects SET k{place} = b.raw
                    FROM (SELECT DISTINCT v{at} AS value, r{place} AS raw FROM base_part) b
                    WHERE k{place} = b.value"""
            )


def load_changed_keys(
    connection: duckdb.DuckDBPyConnection, sides: Sides, files: Sequence[Callable[[], Events]]
) -> int:
    """Make ``changed_keys`` (segment, k0…) of what ``files`` change; return how many could not tell."""
    kinds = [sides.digest.types[place] for place in sides.key_places]
    fields = ", ".join(f"k{place} {kind}" for place, kind in enumerate(kinds))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE changed_keys (segment INT, {fields})")
    untold = max(0, len(files) - MOST_FILES_READ)
    for open_file in files[:MOST_FILES_READ]:
        try:
            for batch in open_file().batches():
                _add_changed(connection, sides, kinds, batch.events)
                untold += 1 if batch.rejected else 0
        except (RawFileError, SchemaError, duckdb.Error):
            # A file nobody can read may hold any key.
            untold += 1
    connection.execute("CREATE OR REPLACE TEMP TABLE changed_keys AS SELECT DISTINCT * FROM changed_keys")
    return untold


def _add_changed(
    connection: duckdb.DuckDBPyConnection, sides: Sides, kinds: Sequence[str], events: pa.RecordBatch
) -> None:
    connection.register("changes", pa.Table.from_batches([events]))
    names = [[column.column for column in sides.plan.key]]
    before = [before_name(column) for column in names[0]]
    if all(name in events.schema.names for name in before):
        names.append(before)
    for side in names:
        keys = [
            f"{column.base.format('c.' + quoted(name))}::{kind}"
            for column, name, kind in zip(sides.plan.key, side, kinds, strict=True)
        ]
        known = " AND ".join(f"c.{quoted(name)} IS NOT NULL" for name in side)
        number = sides.segments.number_sql(keys)
        wanted = f"SELECT DISTINCT {number}, {', '.join(keys)} FROM changes c WHERE {known}"
        connection.execute(f"INSERT INTO changed_keys {wanted}")
    connection.unregister("changes")
