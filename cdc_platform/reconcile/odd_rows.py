"""Which rows of parts with unequal digests are not as many on both sides, the source being read once more.

The second reading is a snapshot of its own. It brings the values, and it confirms: a part whose digest is
another now than at the first reading has rows that moved meanwhile, and nothing is concluded from it. So a
commit that reached capture, and base, before readers saw it is never called a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from cdc_platform.naming import quoted
from cdc_platform.reconcile.budget import Spending
from cdc_platform.reconcile.row_parts import PART, hashed_sql
from cdc_platform.reconcile.sides import Arriving, Sides
from cdc_platform.reconcile.sources import SourceSnapshot
from cdc_platform.reconcile.window_events import count

#: Of either side so many rows are looked into at most: those of other parts stay undecided.
MOST_ROWS = 2_000_000


@dataclass(frozen=True, slots=True)
class LookedInto:
    """How many parts differ, and how many of them were looked into."""

    differing: int = 0
    chosen: int = 0

    @property
    def is_sample(self) -> bool:
        return self.chosen < self.differing


def value_names(sides: Sides) -> list[str]:
    """Return what the compared columns are called in ``source_bag`` and ``base_bag``."""
    return [f"v{place}" for place in range(len(sides.plan.columns))]


def choose_parts(connection: duckdb.DuckDBPyConnection) -> LookedInto:
    """Make ``chosen`` (part) of the ``parts`` that are looked into."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS SELECT part FROM (
                SELECT part, row_number() OVER parts_in_order AS place,
                       sum(greatest(n_source, n_base)) OVER parts_in_order AS through
                FROM parts WHERE differs WINDOW parts_in_order AS (ORDER BY part))
            WHERE through <= {MOST_ROWS} OR place = 1"""
    )
    differing = count(connection, "SELECT count(*) FROM parts WHERE differs")
    return LookedInto(differing, count(connection, "SELECT count(*) FROM chosen"))


def load_odd_rows(
    connection: duckdb.DuckDBPyConnection, snapshot: SourceSnapshot, sides: Sides, spending: Spending
) -> None:
    """Make ``odd``: each row of ``chosen`` parts that is not as often on both sides, and whether it moved.

    ``source_bag`` and ``base_bag`` have the values. Raises SourceUnavailable, and BudgetSpent.
    """
    with Arriving(connection, snapshot, sides, None, None, spending) as arriving:
        rows = f"{arriving.first} s"
        _load_bag(connection, "source_bag", sides, sides.source_values, rows, "s")
    _load_bag(connection, "base_bag", sides, sides.base_values, sides.base_rows, "b")
    _load_moved(connection)
    source, base = (
        f"(SELECT part, lane1, lane2, sum(n)::BIGINT AS n FROM {bag} GROUP BY ALL)"
        for bag in ("source_bag", "base_bag")
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE odd AS
            SELECT row_number() OVER (ORDER BY lane1, lane2) AS id, part, lane1, lane2,
                   coalesce(s.n, 0) AS n_source, coalesce(b.n, 0) AS n_base,
                   part IN (SELECT part FROM moved) AS moved
            FROM {source} s FULL JOIN {base} b USING (part, lane1, lane2)
            WHERE s.n IS DISTINCT FROM b.n"""
    )


def no_odd_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Make ``chosen``, ``moved`` and ``odd`` without a row."""
    for table in ("chosen", "moved"):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} (part USMALLINT)")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE odd (id BIGINT, part USMALLINT, lane1 UBIGINT, lane2 UBIGINT, "
        "n_source BIGINT, n_base BIGINT, moved BOOLEAN)"
    )


def _load_bag(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    sides: Sides,
    values: Sequence[str],
    rows: str,
    side: str,
) -> None:
    """Make ``table`` (part, lane1, lane2, v0…, n) of each different row in ``chosen`` parts, as it is."""
    names = [column.column for column in sides.plan.columns]
    kept = [
        f"{side}.{quoted(name)} AS {short}" for name, short in zip(names, value_names(sides), strict=True)
    ]
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {table} AS
            SELECT {PART} AS part, *, count(*) AS n FROM ({hashed_sql(sides, values, rows, kept)})
            WHERE {PART} IN (SELECT part FROM chosen) GROUP BY ALL"""
    )


def _load_moved(connection: duckdb.DuckDBPyConnection) -> None:
    """Make ``moved`` (part): those ``chosen`` that have another digest in the source than at first."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moved AS
            SELECT c.part FROM chosen c LEFT JOIN source_parts f USING (part) LEFT JOIN (
                SELECT part, sum(n)::BIGINT AS n, sum(lane1::HUGEINT * n) AS lane1,
                       sum(lane2::HUGEINT * n) AS lane2
                FROM source_bag GROUP BY part) a USING (part)
            WHERE (f.n, f.lane1, f.lane2) IS DISTINCT FROM (a.n, a.lane1, a.lane2)"""
    )
