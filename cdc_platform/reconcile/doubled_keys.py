"""Merge keys that stand for several rows on both sides: equal as bags, and still no proof of anything.

A segment whose digests are equal holds the same rows on both sides, so a key is double in the source there
just where it is double in base, and base alone tells which are. They become suspects: looked up on both
sides, such a key is a difference, since what is one row a key for the merge is several for the source.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from cdc_platform.naming import quoted
from cdc_platform.reconcile.drill import MOST_SUSPECTS
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import ReadPlan


def add_doubled_keys(connection: duckdb.DuckDBPyConnection, sides: Sides, numbers: Collection[int]) -> None:
    """Add to ``suspects`` the keys of segments ``numbers`` of which base has several rows.

    Where the merge key holds the source's primary key there are none that the digests do not show.
    """
    if not numbers or _is_unique(sides.plan):
        return
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
    names = ", ".join(f"k{place}" for place in places)
    listed = ", ".join(map(str, numbers))
    connection.execute(
        f"""INSERT INTO suspects
            SELECT segment, {names}, true FROM (
                SELECT {number} AS segment, {names} FROM (
                    SELECT {canonical}, {held} FROM {sides.base_rows}
                    GROUP BY {", ".join(f"c{place}" for place in places)} HAVING count(*) > 1)
                WHERE {known}) d
            WHERE segment IN ({listed}) AND NOT EXISTS (
                FROM suspects s WHERE {" AND ".join(f"s.k{place} = d.k{place}" for place in places)})
            QUALIFY row_number() OVER (PARTITION BY segment ORDER BY {names}) <= {MOST_SUSPECTS}"""
    )


def _is_unique(plan: ReadPlan) -> bool:
    key = {column.source_column for column in plan.key}
    return bool(plan.table.primary_key) and set(plan.table.primary_key) <= key
