"""A first look at changed keys, by digest: those whose rows are equal on both sides need no second.

Rows of changed keys stream out of the source and become pairs of key and digest, as the rows of segments do;
base's likewise. A key is equal when either side has one row of it and their digests are equal, or neither
side has any. Whatever else there is, it is a suspect: looked up in the same snapshot, decoded in another way,
and compared column by column. So the first look may be wrong in one direction only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import duckdb
import pyarrow as pa

from cdc_platform.errors import SourceUnavailable
from cdc_platform.naming import quoted
from cdc_platform.reconcile.budget import BudgetSpent, Spending
from cdc_platform.reconcile.proven_segments import KeyCounts
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import ReadPlan, SourceSnapshot
from cdc_platform.reconcile.window_events import count
from cdc_platform.words import counted

_FIRST_CHUNK, _SMALLEST_CHUNK, _LARGEST_CHUNK = 1_000, 50, 50_000
#: Keys are asked for in chunks that should take the source so long.
_TARGET_SECONDS = 0.5
_MOST_GROWTH = 8


@runtime_checkable
class StreamsKeys(Protocol):
    """A snapshot whose source streams the rows of many keys."""

    def rows_among(self, keys: pa.Table, plan: ReadPlan) -> Iterator[pa.RecordBatch] | None:
        """Return the rows of ``keys``, once each, as a stream; None where there is none for such keys.

        Reading on raises SourceUnavailable unless all of them came, and BudgetSpent at a deadline.
        """
        ...


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The keys that are equal, counted by segment, and those nobody looked at: why, and how many."""

    equal: Mapping[int, KeyCounts] = field(default_factory=dict)
    left_over: str = ""
    keys_left: Mapping[int, int] = field(default_factory=dict)


def look_at_changed(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    base_relation: Callable[[], str],
    spending: Spending,
) -> FirstLook:
    """Look at the keys of ``changed`` (segment, k0 …), and add those that are suspect to ``suspects``.

    ``base_relation`` gives a FROM item of live rows of base, all those of ``changed`` among them;
    ``changed_keys`` are the keys of files on their way. What ``spending`` does not suffice for is left over.
    """
    names = ", ".join(sides.key_names)
    for table in ("source_pairs", "base_pairs"):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} ({sides.key_fields}, lane1 UBIGINT, lane2 UBIGINT)"
        )
    reading = _Reading(connection, snapshot, sides, spending)
    reading.read()
    if reading.has_pairs:
        rows = f"{base_relation()} b SEMI JOIN changed c ON {_same_key(sides)}"
        live = f"(SELECT b.* FROM {rows}) b WHERE {sides.view.live_condition}"
        _add_pairs(connection, sides, "base_pairs", sides.base_values, live)
    _load_first_look(connection, sides, reading)
    connection.execute(
        f"INSERT INTO suspects SELECT segment, {names}, NULL FROM first_look "
        f"WHERE place < {reading.done} AND NOT is_equal ORDER BY {names}"
    )
    left = connection.execute(
        f"SELECT segment, count(*) FROM first_look WHERE place >= {reading.done} GROUP BY 1"
    ).fetchall()
    unseen = f"{reading.keys - reading.done:,} of {counted(reading.keys, 'changed key')} were not looked up"
    return FirstLook(_equal(connection), f"{reading.why}: {unseen}" if left else "", dict(left))


class _Reading:
    """Reads the source's rows of ``changed`` into ``source_pairs``, as far as the budget goes."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        snapshot: SourceSnapshot,
        sides: Sides,
        spending: Spending,
    ) -> None:
        self._connection, self._snapshot, self._sides, self._spending = connection, snapshot, sides, spending
        self.keys = count(connection, "SELECT count(*) FROM changed")
        #: So many keys, the first ones, are not left over; and why the others are.
        self.done, self.why = 0, ""
        #: From which to below which of these the source gave no stream.
        self.without: list[tuple[int, int]] = []
        self.has_pairs = False
        self._error: BaseException | None = None

    def read(self) -> None:
        """Read until all keys are done, or the budget is spent."""
        size = _FIRST_CHUNK
        while self.done < self.keys:
            end = min(self.keys, self.done + min(size, self._room()))
            started = time.monotonic()
            try:
                if (reason := self._spending.exhausted()) is not None:
                    raise BudgetSpent(reason)
                self._spending.before_query()
                is_read = self._is_read(self.done, end)
            except BudgetSpent as spent:
                self.why = str(spent)
                return
            if not is_read:
                self.without.append((self.done, end))
            self._spending.rows += end - self.done
            self.done, size = end, _next_size(size, time.monotonic() - started)

    def _room(self) -> int:
        """Return how many rows may still be read."""
        most = self._spending.budget.max_rows
        return _LARGEST_CHUNK if most is None else most - self._spending.rows

    def _is_read(self, first: int, end: int) -> bool:
        """Read the rows of some keys; return whether the source gave all of them."""
        plan, names = self._sides.plan, ", ".join(self._sides.key_names)
        is_plain = all(c.base == c.usual == "{}" and c.altered is None for c in plan.key)
        if not (is_plain and isinstance(self._snapshot, StreamsKeys)):
            return False
        # in order, the source finds neighbours on one page
        keys = self._connection.execute(
            f"SELECT {names} FROM changed WHERE rowid >= {first} AND rowid < {end} ORDER BY {names}"
        ).to_arrow_table()
        batches = self._snapshot.rows_among(keys, plan)
        if batches is None:
            return False
        self._error = None
        arriving = pa.RecordBatchReader.from_batches(self._sides.source_schema, self._caught(batches))
        self._connection.register("arriving_rows", arriving)
        try:
            values = self._sides.source_values
            _add_pairs(self._connection, self._sides, "source_pairs", values, "arriving_rows s")
        finally:
            self._connection.unregister("arriving_rows")
        self.has_pairs = True
        if isinstance(self._error, SourceUnavailable):
            # the look-up tells which key is refused, or what else is wrong
            return False
        if self._error is not None:
            raise self._error
        return True

    def _caught(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield what comes until it ends; the engine would make one kind of error of all."""
        try:
            yield from batches
        except (Exception, KeyboardInterrupt) as error:
            self._error = error


def _next_size(size: int, seconds: float) -> int:
    """Return the size of the next chunk, the last one having taken so long.

    >>> _next_size(1000, 0.01), _next_size(1000, 0.25), _next_size(1000, 2.0), _next_size(50_000, 0.1)
    (8000, 2000, 250, 50000)
    """
    wanted = size * min(_MOST_GROWTH, _TARGET_SECONDS / max(seconds, 1e-3))
    return max(_SMALLEST_CHUNK, min(_LARGEST_CHUNK, int(wanted)))


def _same_key(sides: Sides) -> str:
    return " AND ".join(
        f"b.{quoted(column.column)} = c.k{place}" for place, column in enumerate(sides.plan.key)
    )


def _add_pairs(
    connection: duckdb.DuckDBPyConnection, sides: Sides, table: str, values: list[str], rows: str
) -> None:
    names = ", ".join(sides.key_names)
    pairs = sides.pairs_sql(values, rows)
    connection.execute(f"INSERT INTO {table} SELECT {names}, lane1, lane2 FROM ({pairs})")


def _load_first_look(connection: duckdb.DuckDBPyConnection, sides: Sides, reading: _Reading) -> None:
    """Make ``first_look`` (segment, k0 …, place, is_there, is_equal): the keys of ``changed``."""
    names = [f"c.{name}" for name in sides.key_names]
    using = ", ".join(sides.key_names)
    unread = [f"c.rowid BETWEEN {first} AND {end - 1}" for first, end in reading.without]
    unknown = " OR ".join([f"c.rowid >= {reading.done}", *unread])
    first = sides.key_names[0]
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE first_look AS
            SELECT c.segment, {", ".join(names)}, c.rowid AS place, b.{first} IS NOT NULL AS is_there,
                   NOT ({unknown}) AND w.{first} IS NULL AND (s.{first} IS NULL) = (b.{first} IS NULL)
                   AND coalesce(s.lane1 = b.lane1 AND s.lane2 = b.lane2, true) AS is_equal
            FROM changed c LEFT JOIN source_pairs s USING ({using}) LEFT JOIN base_pairs b USING ({using})
            LEFT JOIN (SELECT DISTINCT {using} FROM changed_keys) w USING ({using})"""
    )
    if count(connection, "SELECT count(*) FROM first_look") != reading.keys:
        # a key of several rows on a side
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE first_look AS
                SELECT segment, {using}, place, bool_or(is_there) AS is_there,
                       bool_and(is_equal) AND count(*) = 1 AS is_equal
                FROM first_look GROUP BY ALL"""
        )


def _equal(connection: duckdb.DuckDBPyConnection) -> dict[int, KeyCounts]:
    rows = connection.execute(
        """SELECT segment, count(*), count(*) FILTER (is_there) FROM first_look WHERE is_equal GROUP BY 1"""
    ).fetchall()
    return {
        segment: KeyCounts(keys, equal=there, in_base=there, in_source=there) for segment, keys, there in rows
    }
