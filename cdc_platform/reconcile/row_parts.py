"""Whole rows in parts by their own hash: what stands in for segments of the key where a table has none.

A row is its values. Equal rows have equal hashes, so they lie in one part on both sides, and a part is
equal when its digest is. There are many more parts than segments that are reported, so that a few rows that
differ lead to few others that have to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Spending
from cdc_platform.reconcile.digest import Salt
from cdc_platform.reconcile.segments import MOST_SEGMENTS, Segments
from cdc_platform.reconcile.sides import Arriving, Sides, row_digest
from cdc_platform.reconcile.sources import ReadPlan, SourceSnapshot
from cdc_platform.reconcile.window_events import count

_BITS = 16
#: The part of a row, over its first lane.
PART = f"(lane1 >> {64 - _BITS})::USMALLINT"


@dataclass(frozen=True, slots=True)
class Buckets:
    """How parts are put together to the segments of a result: a power of two of them."""

    bits: int

    @classmethod
    def of(cls, rows: int, rows_per_segment: int) -> Buckets:
        """Return as many segments as a table of ``rows`` is reported in.

        >>> [Buckets.of(rows, 65_536).number for rows in (0, 65_536, 300_000, 10**9)]
        [1, 1, 4, 256]
        """
        wanted = min(MOST_SEGMENTS, rows // max(1, rows_per_segment))
        return cls(max(0, wanted.bit_length() - 1))

    @property
    def number(self) -> int:
        return 1 << self.bits

    def segment_sql(self, part: str = "part") -> str:
        """Return SQL of the segment of a part."""
        return f"({part} >> {_BITS - self.bits})::INTEGER"

    def label(self, number: int) -> str:
        """Return the segment in words."""
        if not self.bits:
            return "all rows"
        return f"rows by hash, bucket {number + 1} of {self.number}"


def row_sides(connection: duckdb.DuckDBPyConnection, plan: ReadPlan, view: BaseView, salt: Salt) -> Sides:
    """Type both sides of a table without a key."""
    return Sides(plan, view, row_digest(connection, plan, view, salt), Segments(()))


def hashed_sql(sides: Sides, values: Sequence[str], rows: str, kept: Sequence[str] = ()) -> str:
    """Return SQL of both lanes of each of ``rows`` (what follows FROM), and of what is ``kept`` of it."""
    first, second = sides.digest.lanes(values)
    return f"SELECT {', '.join([f'{first} AS lane1', f'{second} AS lane2', *kept])} FROM {rows}"


def load_base_parts(connection: duckdb.DuckDBPyConnection, sides: Sides) -> None:
    """Make ``base_parts`` (part, n, lane1, lane2) in one scan of base."""
    _load(connection, "base_parts", hashed_sql(sides, sides.base_values, sides.base_rows))


def load_source_parts(
    connection: duckdb.DuckDBPyConnection, snapshot: SourceSnapshot, sides: Sides, spending: Spending
) -> None:
    """Make ``source_parts`` as the source's rows stream by. Raises SourceUnavailable, BudgetSpent."""
    with Arriving(connection, snapshot, sides, None, None, spending) as arriving:
        _load(connection, "source_parts", hashed_sql(sides, sides.source_values, f"{arriving.first} s"))


def _load(connection: duckdb.DuckDBPyConnection, table: str, hashed: str) -> None:
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {table} AS
            SELECT {PART} AS part, count(*) AS n, sum(lane1) AS lane1, sum(lane2) AS lane2
            FROM ({hashed}) GROUP BY 1"""
    )


def load_parts(connection: duckdb.DuckDBPyConnection) -> int:
    """Make ``parts`` (part, n_source, n_base, differs) of both sides; return how many differ."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE parts AS
            SELECT part, coalesce(s.n, 0) AS n_source, coalesce(b.n, 0) AS n_base,
                   (s.n, s.lane1, s.lane2) IS DISTINCT FROM (b.n, b.lane1, b.lane2) AS differs
            FROM source_parts s FULL JOIN base_parts b USING (part)"""
    )
    return count(connection, "SELECT count(*) FROM parts WHERE differs")
