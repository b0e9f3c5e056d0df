"""Whole rows that are equal by rule and not by hash: a value that DMS clamps may have one of several forms.

Digests hold the source's value in the form it usually has in base. A row of base that has another form of it
is a row too many, and the source's is one too many there; such rows are brought together here, as many as
there are. Where more than one pairing is possible nothing is concluded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.odd_rows import value_names
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.typed import differs_sql

#: Of either side so many different rows are held against the other's: what goes beyond stays undecided.
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Link:
    """A form ``variant`` of the source's odd row ``source``, there ``n`` times, equals base's ``base``."""

    source: int
    variant: int
    n: int
    base: int


def load_ruled(connection: duckdb.DuckDBPyConnection, sides: Sides) -> None:
    """Make ``ruled`` (id, n, undecided): of how many copies of an odd row the other side has one by rule."""
    found: Counter[int] = Counter()
    undecided: set[int] = set()
    if any(column.also for column in sides.plan.columns):
        surplus = dict(
            connection.execute(
                "SELECT id, abs(n_source - n_base) FROM odd WHERE NOT moved AND n_source <> n_base"
            ).fetchall()
        )
        found, undecided = pair(_links(connection, sides), surplus)
        undecided |= _beyond(connection)
    ids = sorted({*found, *undecided})
    table = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "n": pa.array([found[one] for one in ids], pa.int64()),
            "undecided": pa.array([one in undecided for one in ids], pa.bool_()),
        }
    )
    connection.register("ruled_rows", table)
    connection.execute("CREATE OR REPLACE TEMP TABLE ruled AS FROM ruled_rows")
    connection.unregister("ruled_rows")


def pair(links: Iterable[Link], surplus: Mapping[int, int]) -> tuple[Counter[int], set[int]]:
    """Return how many copies of each odd row have a partner, and the rows of which that is not certain.

    ``surplus`` is how many copies either side has too many. A form with several partners, or a partner of
    several forms, leaves no choice; both at once may.

    >>> pair([Link(1, 10, 2, 5), Link(1, 10, 2, 6)], {1: 3, 5: 1, 6: 1})[0] == {1: 2, 5: 1, 6: 1}
    True
    """
    links = list(links)
    partners, forms = Counter(one.variant for one in links), Counter(one.base for one in links)
    found: Counter[int] = Counter()
    used: Counter[int] = Counter()
    undecided = {
        row for one in links if partners[one.variant] > 1 < forms[one.base] for row in (one.source, one.base)
    }
    for one in links:
        left = (surplus[one.source] - found[one.source], surplus[one.base] - found[one.base])
        number = max(0, min(*left, one.n - used[one.variant]))
        found[one.source] += number
        found[one.base] += number
        used[one.variant] += number
    return found, _reached(links, undecided)


def _reached(links: Sequence[Link], rows: set[int]) -> set[int]:
    """Return ``rows`` and all that links lead to from them: another choice there may be another one here."""
    found, before = set(rows), -1
    while len(found) > before:
        before = len(found)
        found |= {row for one in links if {one.source, one.base} & found for row in (one.source, one.base)}
    return found


def _links(connection: duckdb.DuckDBPyConnection, sides: Sides) -> list[Link]:
    conditions = []
    for column, name in zip(sides.plan.columns, value_names(sides), strict=True):
        left, right = f"s.{name}", column.base.format(f"b.{name}")
        if column.also is None:
            conditions.append(f"{left} IS NOT DISTINCT FROM {right}")
        else:
            also = column.also.format(source=left, base=right)
            conditions.append(f"(NOT ({differs_sql(left, right)}) OR coalesce({also}, false))")
    source, base = (
        f"""(SELECT o.id, g.* FROM {bag} g JOIN (
                SELECT * FROM odd WHERE NOT moved AND {side} ORDER BY id LIMIT {MOST_ROWS}) o
            ON o.lane1 = g.lane1 AND o.lane2 = g.lane2)"""
        for bag, side in (("source_bag", "n_source > n_base"), ("base_bag", "n_base > n_source"))
    )
    rows = connection.execute(
        f"""SELECT DISTINCT s.id, s.variant, s.n, b.id
            FROM (SELECT *, row_number() OVER () AS variant FROM {source}) s
            JOIN {base} b ON {" AND ".join(conditions)} ORDER BY ALL"""
    ).fetchall()
    return [Link(*row) for row in rows]


def _beyond(connection: duckdb.DuckDBPyConnection) -> set[int]:
    """Return the odd rows no partner was looked for."""
    rows = connection.execute(
        f"""SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY n_source > n_base ORDER BY id) AS place
            FROM odd WHERE NOT moved) WHERE place > {MOST_ROWS}"""
    ).fetchall()
    return {row[0] for row in rows}
