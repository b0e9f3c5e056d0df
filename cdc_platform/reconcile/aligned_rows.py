"""Segments whose rows two sets of files give in one order: compared value by value, without a digest.

An export of a table and its base often lie in the order of the key. The first row of a range of keys on one
side is put beside the first on the other, the second beside the second, and so on, as files are read. Where
no value of any two differs, and no side has a row left over, both have the same rows there, whatever order
that was: each row stands beside one other. Of a range in which anything differs nothing is said; digests,
which know no order, are asked then. So rows in no order cost what the first few segments of them do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import duckdb

from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.parquet_source import ParquetReader, ParquetSnapshot
from cdc_platform.reconcile.row_group_order import rows_of_groups_in_order
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.typed import differs_sql
from cdc_platform.reconcile.window_events import count

#: So many segments are tried before the others.
_TRIED = 2
#: Ranges of the others, for each thread: at the ends of a range parts of the files are read once more.
_RANGES_PER_THREAD = 4
#: After so many ranges with something that differs digests are cheaper for the rest.
_MOST_UNEQUAL = 2
#: What the engine calls reading two scans row beside row; anything else would hold the rows of one side.
_AS_READ = "POSITIONAL_SCAN"

#: The first and the last segment of some in a row.
_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Segments with equal rows on both sides: how many, and those in which no two have one key, if known."""

    rows: Mapping[int, int] = field(default_factory=dict)
    distinct: frozenset[int] = frozenset()


def aligned_segments(
    connection: duckdb.DuckDBPyConnection, reader: SourceReader, sides: Sides, options: FullOptions
) -> Aligned:
    """Return the segments of which the files of both sides give equal rows in one order.

    There are none where the source is no export, where base is not read as it lies in its files (deletes by
    position, another form of a key), where keys are not whole numbers on a grid, and where a budget is kept.
    A range that cannot be read is one in which something differs: whoever reads it for digests says why.
    """
    if not isinstance(reader, ParquetReader) or sides.segments.step is None or options.budget != Budget():
        return Aligned()
    with reader.snapshot() as snapshot:
        query = _Query(sides, snapshot.relation(sides.plan))
        tried = (0, _TRIED - 1)
        at_once = _rows_of_groups(connection, query.sql(*tried), snapshot, sides)
        first = _equal(connection, query, tried) if at_once is not None else None
        others = _of_others(connection, query, at_once or 0) if first is not None else []
    known = {number: found for part in (first, *others) for number, found in (part or {}).items()}
    rows = {number: n for number, (n, _) in known.items()}
    if rows:
        of = f"{len(rows)} of {sides.segments.ranges} segments, {sum(rows.values()):,} rows"
        options.tell(f"{of}: equal value by value, in one order on both sides")
    return Aligned(rows, frozenset(number for number, (_, is_distinct) in known.items() if is_distinct))


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of a range of segments: rows and marked keys by segment of base.

    The first row that differs is an error, so that no more is read.
    """

    sides: Sides
    #: The source's rows as a FROM item.
    relation: str

    def sql(self, first: int, last: int) -> str:
        sides, segments = self.sides, self.sides.segments
        source, base = sides.source_values, sides.base_values
        kinds = sides.digest.types
        differs = " OR ".join(
            differs_sql(f"({left})::{kind}", f"({right})::{kind}")
            for left, right, kind in zip(source, base, kinds, strict=True)
        )
        marks = segments.marks_sql(*sides.keys(base)) if sides.has_marks else "NULL"
        of_source = segments.condition_sql(sides.keys(source), first, last)
        of_base = segments.condition_sql(sides.keys(base), first, last)
        return (
            f"SELECT {segments.number_sql(sides.keys(base))} AS segment, count(*), {marks}, "
            # a count, not any value: to count, the engine has to look at every row
            f"count(CASE WHEN {differs} THEN error('they differ')::INTEGER END) "
            f"FROM (SELECT * FROM {self.relation} s WHERE {of_source}) s "
            f"POSITIONAL JOIN (SELECT * FROM {sides.base_rows} AND {of_base}) b GROUP BY 1"
        )


#: By segment: its rows, and whether it is known that each has a key of its own.
_Found = Mapping[int, tuple[int, bool]]


def _rows_of_groups(
    connection: duckdb.DuckDBPyConnection, query: str, snapshot: ParquetSnapshot, sides: Sides
) -> int | None:
    """Return the rows of the largest row group, 0 where nothing tells; None where it is not worth trying.

    That is where the engine holds the rows of a side, and where the footers speak against one order.
    """
    (key,) = sides.plan.key
    try:
        ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
        if all(step["name"] != _AS_READ for step in _steps(json.loads(plan))):
            return None
        there, here = (snapshot.files, key.source_column), (sides.view.files, key.column)
        return rows_of_groups_in_order(connection, there, here)
    except duckdb.Error:
        return None


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for step in steps:
        yield step
        yield from _steps(step["children"])


def _equal(connection: duckdb.DuckDBPyConnection, query: _Query, of: _Range) -> _Found | None:
    """Return the segments of a range where no row differs, None where one does or cannot be read."""
    try:
        found = connection.execute(query.sql(*of)).fetchall()
    except duckdb.Error:
        return None
    if any(unequal for *_, unequal in found):
        return None
    empty = dict.fromkeys(range(of[0], of[1] + 1), (0, True))
    return {**empty, **{number: (rows, rows == marked) for number, rows, marked, _ in found}}


def _of_others(connection: duckdb.DuckDBPyConnection, query: _Query, group_rows: int) -> list[_Found | None]:
    """Ask of all segments but those that were tried, a range at a time on each of the engine's threads.

    Each range reads a row group of so many rows whole, and at its ends parts of others.
    """
    threads = count(connection, "SELECT current_setting('threads')")
    groups = (query.sides.rows or 0) // max(1, group_rows)
    wanted = max(threads, min(threads * _RANGES_PER_THREAD, groups))
    unequal: list[_Range] = []
    with _connections(connection, threads) as connections:
        free: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
        for one in connections:
            free.put(one)

        def asked(of: _Range) -> _Found | None:
            if len(unequal) >= _MOST_UNEQUAL:
                return None
            own = free.get()
            try:
                found = _equal(own, query, of)
            finally:
                free.put(own)
            if found is None:
                unequal.append(of)
            return found

        with ThreadPoolExecutor(threads) as pool:
            try:
                asking = [pool.submit(asked, of) for of in _ranges(query.sides.segments.ranges, wanted)]
                return [answer.result() for answer in asking]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for one in connections:
                    one.interrupt()
                raise


def _ranges(segments: int, wanted: int) -> Iterator[_Range]:
    """Yield the segments after those tried in about so many ranges of equally many."""
    size = -(-(segments - _TRIED) // wanted)
    for first in range(_TRIED, segments, size):
        yield first, min(first + size, segments) - 1


@contextmanager
def _connections(
    connection: duckdb.DuckDBPyConnection, threads: int
) -> Iterator[list[duckdb.DuckDBPyConnection]]:
    """Yield so many connections to the engine, each of which works on the thread that asks it.

    Rows are put beside each other by one thread; with threads of its own the engine would pass such a query
    from one to another and wait in between, which takes half as long again.
    """
    with ExitStack() as stack:
        made = [stack.enter_context(closing(connection.cursor())) for _ in range(threads)]
        stack.callback(connection.execute, f"SET threads = {threads}")
        connection.execute("SET threads = 1")
        yield made
