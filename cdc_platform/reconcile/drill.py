"""The second step of a full comparison: which keys of segments with unequal digests differ.

Rows of such segments are pairs (key, row digest) on both sides; keys whose pairs are not the same bag are
suspects. The third step compares their full rows as the window mode does. Pairs that were kept while the
segments were read are used; rows of others are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from cdc_platform.errors import CdcError, RawFileError, SchemaError
from cdc_platform.events import before_name
from cdc_platform.naming import quoted
from cdc_platform.reconcile.awaited import MOST_FILES_READ
from cdc_platform.reconcile.budget import BudgetSpent, Spending
from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.scan import BASE_KEPT, SOURCE_KEPT, Scan
from cdc_platform.reconcile.sides import Arriving, Sides
from cdc_platform.reconcile.sources import SourceSnapshot
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window_events import Events, count
from cdc_platform.reconcile.workspace_names import in_workspace

#: Of one segment no more keys are looked up row by row; the others are counted.
MOST_SUSPECTS = 10_000

#: Beyond this share of differing segments the fault is systemic: a sample tells as much as all of them.
SYSTEMIC_SHARE = 0.2
LEAST_DRILLED = 8
#: Not so where no more keys than these differ in all of them together.
MOST_SCATTERED = 10_000


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
    """What drilling found: which segments it went into, and how many of their keys were not looked up."""

    numbers: tuple[int, ...] = ()
    beyond: Mapping[int, int] = field(default_factory=dict)
    #: Whether others differ, too.
    is_sample: bool = False

    def and_beyond(self, more: Mapping[int, int]) -> Drilled:
        """Return it with ``more`` keys that were not looked up, by segment."""
        numbers = {*self.beyond, *more}
        return replace(self, beyond={n: self.beyond.get(n, 0) + more.get(n, 0) for n in numbers})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run says of keys that were not looked up."""
        beyond = sum(self.beyond.values())
        what = f"{beyond:,} more keys differ by digest; at most {MOST_SUSPECTS:,} of a segment are looked up"
        return (what,) if beyond else ()


def no_suspects(connection: duckdb.DuckDBPyConnection, sides: Sides) -> None:
    """Make ``suspects`` (segment, k0…, in_source), without a row."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE suspects (segment INT, {sides.key_fields}, in_source BOOLEAN)"
    )


def drill(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    scan: Scan,
    spending: Spending,
    tell: Callable[[str], None],
) -> Drilled:
    """Make ``suspects`` (segment, k0…, in_source) of segments that differ, and say what was left out.

    Segments that cannot be read again are unread from then on, so that what is proven of others stays.
    """
    no_suspects(connection, sides)
    differing = [number for number in scan.differing if number != sides.segments.keyless]
    if not differing:
        return Drilled()
    tell(f"drilling into {len(differing)} segments that differ")
    kept = [number for number in differing if number in scan.kept]
    if kept:
        if not scan.base_kept:
            _load_base_pairs(connection, sides, BASE_KEPT, kept)
        _find_differing(connection, sides, (SOURCE_KEPT, BASE_KEPT), kept)
    is_known = len(kept) == len(differing)
    if is_known and count(connection, "SELECT count(*) FROM differing_keys") <= MOST_SCATTERED:
        numbers = differing
    else:
        numbers = chosen_to_drill(differing, sides.segments.ranges)
    beyond = _add_suspects(connection, sides, (SOURCE_KEPT, BASE_KEPT), numbers) if kept else {}
    try:
        beyond |= _read_again(
            connection, snapshot, sides, [n for n in numbers if n not in scan.kept], spending
        )
    except (BudgetSpent, CdcError) as error:
        reason = f"the digests differ, and the rows could not be read again: {error}"
        verdict = Verdict.UNVERIFIED if isinstance(error, BudgetSpent) else Verdict.ERROR
        scan.unread |= dict.fromkeys(numbers, (verdict, reason))
        no_suspects(connection, sides)
        return Drilled(is_sample=True)
    return Drilled(tuple(numbers), beyond, is_sample=len(numbers) < len(differing))


def _read_again(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    numbers: Sequence[int],
    spending: Spending,
) -> dict[int, int]:
    """Read the segments ``numbers`` again and add what is suspect; return what is beyond the bound.

    Raises SourceUnavailable, and BudgetSpent.
    """
    beyond: dict[int, int] = {}
    pairs = ("source_part", "base_part")
    groups = [[number] for number in numbers] if sides.plan.ranged else [list(numbers)] if numbers else []
    for group in groups:
        low, high = sides.segments.range(group[0]) if sides.plan.ranged else (None, None)
        with Arriving(connection, snapshot, sides, low, high, spending) as arriving:
            rows = sides.pairs_sql(sides.source_values, f"{arriving.first} s")
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE source_part AS SELECT * FROM ({rows}) WHERE {_among(group)}"
            )
        _load_base_pairs(connection, sides, "base_part", group)
        _find_differing(connection, sides, pairs, group)
        beyond |= _add_suspects(connection, sides, pairs, group)
    return beyond


def _among(numbers: Collection[int]) -> str:
    return f"segment IN ({', '.join(map(str, numbers))})"


def _load_base_pairs(
    connection: duckdb.DuckDBPyConnection, sides: Sides, table: str, numbers: Sequence[int]
) -> None:
    """Make ``table`` of the pairs of some segments of base; files statistics exclude are not read."""
    keys = sides.keys(sides.base_values)
    wanted = " OR ".join(f"({sides.segments.condition_sql(keys, number)})" for number in numbers)
    rows = f"{sides.base_rows} AND ({wanted})"
    pairs = sides.pairs_sql(sides.base_values, rows, sides.raw_keys)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {pairs}")


def _find_differing(
    connection: duckdb.DuckDBPyConnection, sides: Sides, pairs: tuple[str, str], numbers: Collection[int]
) -> None:
    """Make ``differing_keys`` (segment, k0…, place): keys whose pairs are not the same bag on both sides."""
    names = ", ".join(sides.key_names)
    known = " AND ".join(f"{name} IS NOT NULL" for name in sides.key_names)
    pair = f"segment, {names}, lane1, lane2"
    source, base = (
        f"SELECT {pair}, {weight} AS weight FROM {table} WHERE {_among(numbers)} AND {known}"
        for table, weight in zip(pairs, (1, -1), strict=True)
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE differing_keys AS
            SELECT *, row_number() OVER (PARTITION BY segment ORDER BY {names}) AS place FROM (
                SELECT DISTINCT segment, {names} FROM (
                    SELECT {pair} FROM ({source} UNION ALL {base}) GROUP BY ALL HAVING sum(weight) <> 0))"""
    )


def _add_suspects(
    connection: duckdb.DuckDBPyConnection, sides: Sides, pairs: tuple[str, str], numbers: Collection[int]
) -> dict[int, int]:
    """Add the differing keys of ``numbers``; return how many of a segment went beyond the bound."""
    source, base = pairs
    names = ", ".join(sides.key_names)
    there = " AND ".join(f"s.{name} = d.{name}" for name in sides.key_names)
    connection.execute(
        f"""INSERT INTO suspects
            SELECT segment, {names}, EXISTS (FROM {source} s WHERE {there})
            FROM differing_keys d WHERE place <= {MOST_SUSPECTS} AND {_among(numbers)}"""
    )
    _keep_raw_keys(connection, sides, base)
    beyond = connection.execute(
        f"""SELECT segment, count(*) FROM differing_keys
            WHERE place > {MOST_SUSPECTS} AND {_among(numbers)} GROUP BY 1"""
    ).fetchall()
    return dict(beyond)


def _keep_raw_keys(connection: duckdb.DuckDBPyConnection, sides: Sides, base: str) -> None:
    """Put suspects under the key base holds, where its form is another (padding): rows are found by it."""
    for place, column in enumerate(sides.plan.key):
        if column.base != "{}":
            connection.execute(
                f"""UPDATE suspects SET k{place} = b.raw
                    FROM (SELECT DISTINCT k{place} AS value, r{place} AS raw FROM {base}) b
                    WHERE k{place} = b.value"""
            )


def guilty_columns(connection: duckdb.DuckDBPyConnection, sides: Sides) -> tuple[str, ...]:
    """Return the columns whose digests, values with their keys, differ between the rows looked up."""
    columns = sides.plan.columns
    source = [column.usual.format(f"s.{in_workspace(column.column)}") for column in columns]
    base = [column.base.format(f"b.{in_workspace(column.column)}") for column in columns]
    live = f"base_rows b WHERE {sides.view.live_condition}"
    guilty: list[str] = []
    for places in column_groups(range(len(columns))):
        ours, theirs = (
            connection.execute(
                f"SELECT {sides.digest.column_aggregates(sides.key_places, values, places)} FROM {rows}"
            ).fetchone()
            or ()
            for values, rows in ((source, "source_rows s"), (base, live))
        )
        guilty += [
            columns[place].column
            for at, place in enumerate(places)
            if ours[2 * at : 2 * at + 2] != theirs[2 * at : 2 * at + 2]
        ]
    return tuple(guilty)


def load_changed_keys(
    connection: duckdb.DuckDBPyConnection, sides: Sides, files: Sequence[Callable[[], Events]]
) -> int:
    """Make ``changed_keys`` (segment, k0…) of what ``files`` change; return how many could not tell."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE changed_keys (segment INT, {sides.key_fields})")
    untold = max(0, len(files) - MOST_FILES_READ)
    for open_file in files[:MOST_FILES_READ]:
        try:
            for batch in open_file().batches():
                _add_changed(connection, sides, batch.events)
                untold += 1 if batch.rejected else 0
        except (RawFileError, SchemaError, duckdb.Error):
            # A file nobody can read may hold any key.
            untold += 1
    connection.execute("CREATE OR REPLACE TEMP TABLE changed_keys AS SELECT DISTINCT * FROM changed_keys")
    return untold


def _add_changed(connection: duckdb.DuckDBPyConnection, sides: Sides, events: pa.RecordBatch) -> None:
    connection.register("changes", pa.Table.from_batches([events]))
    names = [[column.column for column in sides.plan.key]]
    before = [before_name(column) for column in names[0]]
    if all(name in events.schema.names for name in before):
        names.append(before)
    for side in names:
        keys = sides.keys_of([f"c.{quoted(name)}" for name in side])
        known = " AND ".join(f"c.{quoted(name)} IS NOT NULL" for name in side)
        number = sides.segments.number_sql(keys)
        wanted = f"SELECT DISTINCT {number}, {', '.join(keys)} FROM changes c WHERE {known}"
        connection.execute(f"INSERT INTO changed_keys {wanted}")
    connection.unregister("changes")
