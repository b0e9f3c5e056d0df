"""Both sides of a full comparison as SQL: the same columns, in one type each, put into the same segments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import duckdb
import pyarrow as pa

from cdc_platform.naming import quoted
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget, BudgetSpent, Spending
from cdc_platform.reconcile.digest import RowDigest, Salt, duckdb_types
from cdc_platform.reconcile.segments import Bound, Segments, neighbours
from cdc_platform.reconcile.sources import ReadPlan, SourceSnapshot
from cdc_platform.reconcile.typed import canonical_schema, common_type
from cdc_platform.reconcile.window_events import count

#: Rows and both sums of lanes; a segment without rows has zeros.
Digest = tuple[int, int, int]
EMPTY: Digest = (0, 0, 0)

_NO_MARKS = "NULL"
#: A segment, its digest, and how many of its keys are marked.
_DigestRow = tuple[int, int, int, int, int | None]


@dataclass(frozen=True, slots=True)
class Sides:
    """The columns of ``plan`` on both sides, their digest, and the segments of the key."""

    plan: ReadPlan
    view: BaseView
    digest: RowDigest
    segments: Segments
    #: Of base, where they were counted to cut it into segments.
    rows: int | None = None
    #: Whether it is known of base's keys, all of which were read, that no two are equal.
    are_distinct: bool = False
    #: Whether keys are marked while base is digested, so that it is known of each segment then.
    has_marks: bool = False
    #: The segments whose rows these are; None: all.
    only: frozenset[int] | None = None

    @property
    def key_places(self) -> tuple[int, ...]:
        """The places of the key columns among the compared ones."""
        names = [column.column for column in self.plan.columns]
        return tuple(names.index(column.column) for column in self.plan.key)

    @property
    def source_values(self) -> list[str]:
        """SQL of each column over a source row ``s``, in the form it usually has in base."""
        return [column.usual.format(f"s.{quoted(column.column)}") for column in self.plan.columns]

    @property
    def base_values(self) -> list[str]:
        """SQL of each column over a base row ``b``."""
        return [column.base.format(f"b.{quoted(column.column)}") for column in self.plan.columns]

    def keys(self, values: list[str]) -> list[str]:
        """Return SQL of the key columns among ``values``, typed."""
        return [f"({values[place]})::{self.digest.types[place]}" for place in self.key_places]

    @property
    def raw_keys(self) -> str:
        """SQL of r0…: base's key columns as they are, where they are compared in another form (padding)."""
        return "".join(
            f", b.{quoted(column.column)} AS r{place}"
            for place, column in enumerate(self.plan.key)
            if column.base != "{}"
        )

    def pairs_sql(self, values: list[str], rows: str, raw: str = "") -> str:
        """Return SQL of a pair of key and row digest for each row: segment, k0…, lane1, lane2, ``raw``."""
        keys = self.keys(values)
        named = "".join(f", {key} AS k{place}" for place, key in enumerate(keys))
        first, second = self.digest.lanes(values)
        number = self.segments.number_sql(keys)
        return f"SELECT {number} AS segment{named}, {first} AS lane1, {second} AS lane2{raw} FROM {rows}"

    @property
    def base_rows(self) -> str:
        """The live rows of base, as what follows FROM."""
        rows = f"{self.view.relation} b WHERE {self.view.live_condition}"
        return rows if self.only is None else f"{rows} AND ({self._within(self.base_values, self.only)})"

    def source_rows(self, relation: str) -> str:
        """Return the source's rows ``s`` among those of ``relation``, as a FROM item."""
        if self.only is None:
            return f"{relation} s"
        return f"(SELECT * FROM {relation} s WHERE {self._within(self.source_values, self.only)}) s"

    def _within(self, values: list[str], only: Collection[int]) -> str:
        stretches, keys = neighbours(only, self.segments.keyless), self.keys(values)
        return " OR ".join(f"({self.segments.condition_sql(keys, *stretch)})" for stretch in stretches)

    @property
    def source_schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.column, column.arrow) for column in self.plan.columns])

    @property
    def key_names(self) -> list[str]:
        """The names k0, k1 … tables of keys have for the key columns."""
        return [f"k{place}" for place in range(len(self.plan.key))]

    @property
    def key_types(self) -> list[str]:
        """The types both sides are compared in, of the key columns."""
        return [self.digest.types[place] for place in self.key_places]

    @property
    def key_fields(self) -> str:
        """The columns of such a table, as CREATE TABLE has them."""
        return ", ".join(f"{name} {kind}" for name, kind in zip(self.key_names, self.key_types, strict=True))

    def keys_of(self, values: Sequence[str]) -> list[str]:
        """Return SQL of the key columns, of which base holds ``values``, as they are compared."""
        return [
            f"({column.base.format(value)})::{kind}"
            for column, value, kind in zip(self.plan.key, values, self.key_types, strict=True)
        ]


def row_digest(
    connection: duckdb.DuckDBPyConnection, plan: ReadPlan, view: BaseView, salt: Salt
) -> RowDigest:
    """Return the digest of the plan's columns, in the types both sides convert to."""
    held = {field.name: field.type for field in canonical_schema(view.columns)}
    kinds = [common_type(column.arrow, held[column.column]) or column.arrow for column in plan.columns]
    return RowDigest(duckdb_types(connection, kinds), salt)


def base_digests(
    connection: duckdb.DuckDBPyConnection, sides: Sides, kept: str | None = None
) -> tuple[dict[int, Digest], set[int]]:
    """Return the digest of each segment of base that has rows, in one scan.

    ``kept`` names the temporary table its pairs (see :meth:`Sides.pairs_sql`) are left in. The second are
    the segments of which marks tell that each row has a key of its own.
    """
    values = sides.base_values
    if kept is None:
        marks = sides.segments.marks_sql(*sides.keys(values)) if sides.has_marks else _NO_MARKS
        rows = _digest_rows(connection, sides, values, sides.base_rows, marks)
    else:
        marks = sides.segments.marks_sql("k0") if sides.has_marks else _NO_MARKS
        rows = _kept_rows(connection, sides.pairs_sql(values, sides.base_rows, sides.raw_keys), kept, marks)
    return _by_segment(rows), {segment for segment, n, _, _, marked in rows if n == marked}


def source_digests(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    number: int | None,
    spending: Spending,
    kept: Kept | None = None,
) -> tuple[dict[int, Digest], bool]:
    """Return the digests of the source's rows of one segment, or of all of them (None), as they stream by.

    The second is whether their pairs were left in ``kept``: not when there are more than it has room for.
    Raises SourceUnavailable, and BudgetSpent when a bound is reached on the way.
    """
    low, high = (None, None) if number is None else sides.segments.range(number)
    room = None if kept is None else kept.rows
    with Arriving(connection, snapshot, sides, low, high, spending, room) as arriving:
        first = sides.source_rows(arriving.first)
        if kept is None:
            return _digests(connection, sides, sides.source_values, first), False
        found = _by_segment(_kept_rows(connection, sides.pairs_sql(sides.source_values, first), kept.table))
        rest = arriving.rest()
        if rest is None:
            return found, True
        connection.execute(f"DROP TABLE {kept.table}")
        return _sum(found, _digests(connection, sides, sides.source_values, sides.source_rows(rest))), False


def _sum(found: dict[int, Digest], more: dict[int, Digest]) -> dict[int, Digest]:
    """Return the digests of two disjoint sets of rows together."""
    pairs = {number: (found.get(number, EMPTY), more.get(number, EMPTY)) for number in {*found, *more}}
    return {number: (a[0] + b[0], a[1] + b[1], a[2] + b[2]) for number, (a, b) in pairs.items()}


def _digests(
    connection: duckdb.DuckDBPyConnection, sides: Sides, values: list[str], rows: str
) -> dict[int, Digest]:
    return _by_segment(_digest_rows(connection, sides, values, rows))


def _by_segment(rows: Sequence[_DigestRow]) -> dict[int, Digest]:
    return {segment: (n, first, second) for segment, n, first, second, _ in rows}


def _digest_rows(
    connection: duckdb.DuckDBPyConnection, sides: Sides, values: list[str], rows: str, marks: str = _NO_MARKS
) -> list[_DigestRow]:
    number, aggregates = sides.segments.number_sql(sides.keys(values)), sides.digest.aggregates(values)
    return connection.execute(
        f"SELECT {number} AS segment, {aggregates}, {marks} FROM {rows} GROUP BY 1"
    ).fetchall()


def _kept_rows(
    connection: duckdb.DuckDBPyConnection, pairs: str, table: str, marks: str = _NO_MARKS
) -> list[_DigestRow]:
    """Make ``table`` of ``pairs``; return the digests of its segments."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {pairs}")
    return connection.execute(
        f"SELECT segment, count(*), sum(lane1), sum(lane2), {marks} FROM {table} GROUP BY 1"
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Kept:
    """A temporary table for pairs, and how many it has room for, give or take a batch."""

    table: str
    rows: int


class Arriving:
    """The source's rows of a range of keys as FROM items, each to be read once.

    ``first`` has all rows, or about ``most`` of them; then :meth:`rest` has the others. What reading them
    raised comes out unchanged: DuckDB would make one kind of error of all.
    """

    first: str

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        snapshot: SourceSnapshot,
        sides: Sides,
        low: Bound | None,
        high: Bound | None,
        spending: Spending,
        most: int | None = None,
    ) -> None:
        self._connection, self._spending, self._schema = connection, spending, sides.source_schema
        self._rows = iter(snapshot.rows_between(low, high, sides.plan))
        self._most = most
        relation = getattr(snapshot, "relation", None)
        self._direct: str | None = relation(sides.plan) if relation is not None else None
        # a range is read to its end, so that the snapshot lives on
        self._interruptible = low is None and high is None
        self._error: BaseException | None = None

    def __enter__(self) -> Arriving:
        self._spending.before_query()
        if self._direct is not None and self._spending.budget == Budget() and self._is_within(self._direct):
            self.first = self._direct
        else:
            self.first = self._registered(self._batches(self._most))
        return self

    def _is_within(self, relation: str) -> bool:
        return self._most is None or count(self._connection, f"SELECT count(*) FROM {relation}") <= self._most

    def __exit__(self, *_: object) -> None:
        # what was read directly was not registered, which is no error
        self._connection.unregister("arriving_rows")
        close = getattr(self._rows, "close", None)
        if close is not None:
            close()
        if self._error is not None:
            raise self._error from None

    def rest(self) -> str | None:
        """Return the rows after those of ``first``, once these were read; None where there are none."""
        if self.first == self._direct:
            return None
        batches = self._batches(None)
        following = next(batches, None)
        return None if following is None else self._registered(chain((following,), batches))

    def _registered(self, batches: Iterator[pa.RecordBatch]) -> str:
        self._connection.register("arriving_rows", pa.RecordBatchReader.from_batches(self._schema, batches))
        return "arriving_rows"

    def _batches(self, most: int | None) -> Iterator[pa.RecordBatch]:
        passed = 0
        try:
            while most is None or passed < most:
                batch = next(self._rows, None)
                if batch is None:
                    return
                passed += batch.num_rows
                self._spending.rows += batch.num_rows
                if self._interruptible and (reason := self._spending.exhausted()) is not None:
                    raise BudgetSpent(reason)
                yield batch
        except (Exception, KeyboardInterrupt) as error:
            self._error = error
            raise
