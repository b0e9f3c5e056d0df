"""Segments of a table by its key: half-open ranges between quantiles that are taken from the lake.

Segment 0 is open below, the last one open above, so every key lies in exactly one; one more segment takes the
rows that have NULL in a key column. Keys of several columns are ordered lexicographically, text and bytes
byte by byte, NaN above every number: the order DuckDB has, and both sides are put into segments by DuckDB.

Whole numbers that lie about evenly are cut into many segments at multiples of a power of two instead, so that
a shift tells the segment: where rows come in no order, a search among many bounds costs as much as a lane.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from cdc_platform.naming import sql_text
from cdc_platform.reconcile.key_numbers import WholeNumbers, is_whole
from cdc_platform.words import in_a_line

#: A bound as text, a value for each key column; what DuckDB writes and reads again without loss.
Bound = tuple[str, ...]

ROWS_PER_SEGMENT = 65_536
MOST_SEGMENTS = 256
_SAMPLE_ROWS = 32_768
#: Numbers of segments on a grid, that of rows without a key among them, are a byte.
_MOST_ON_GRID = 255
#: Among fewer bounds a search is as quick.
_LEAST_ON_GRID = 32
#: A segment of a grid may have so many times the rows it should.
_MOST_UNEVEN = 2

#: DuckDB's `bitstring_agg` takes ranges of a thousand million values at most.
_MOST_MARKS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Segments:
    """The ranges of a key with columns of ``types`` between ascending ``bounds``."""

    types: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()

    @property
    def ranges(self) -> int:
        """How many ranges there are; their numbers are 0 to one less."""
        return len(self.bounds) + 1

    @property
    def keyless(self) -> int:
        """The number of the segment of rows with NULL in their key."""
        return self.ranges

    def range(self, number: int) -> tuple[Bound | None, Bound | None]:
        """Return the lowest key of a range and the lowest key above it; None where it is open."""
        low = self.bounds[number - 1] if 0 < number < self.ranges else None
        return low, self.bounds[number] if number < len(self.bounds) else None

    def number_sql(self, keys: Sequence[str]) -> str:
        """Return the SQL of the number of the segment that holds the key ``keys`` (SQL each)."""
        if (step := self.step) is not None:
            return self._on_grid(keys[0], step)
        unknown = " OR ".join(f"({key}) IS NULL" for key in keys)
        return f"CASE WHEN {unknown} THEN {self.keyless} ELSE {self._tree(keys, 0, len(self.bounds))} END"

    def condition_sql(self, keys: Sequence[str], number: int, last: int | None = None) -> str:
        """Return the SQL condition that a key lies in the segment, in a form statistics can answer.

        With ``last``: in a range of those from ``number`` to ``last``.
        """
        if number == self.keyless:
            return " OR ".join(f"({key}) IS NULL" for key in keys)
        (low, _), (_, high) = self.range(number), self.range(number if last is None else last)
        conditions = [f"({key}) IS NOT NULL" for key in keys]
        if low is not None:
            conditions += [f"({keys[0]}) >= {self._literal(low, 0)}", f"NOT ({self._below(keys, low)})"]
        if high is not None:
            conditions += [f"({keys[0]}) <= {self._literal(high, 0)}", f"({self._below(keys, high)})"]
        return " AND ".join(conditions)

    @property
    def mark_bytes(self) -> int:
        """Return how much memory the marks of :meth:`marks_sql` take; 0 where there are none."""
        step = self.step
        return self.ranges * (step // 8 + 1) if step is not None and step <= _MOST_MARKS else 0

    def marks_sql(self, key: str) -> str:
        """Return SQL of an aggregate: how many keys of a segment are different in what the shift drops.

        Where these are as many as its rows, no two rows have one key. A mark is a bit for each key there can
        be in a segment.
        """
        assert self.step is not None, "bounds are a grid"
        low = self.step - 1
        return f"bit_count(bitstring_agg(({key})::BIGINT & {low}, 0::BIGINT, {low}::BIGINT))"

    def label(self, number: int) -> str:
        """Return the range in words."""
        if number == self.keyless:
            return "rows without a key"
        low, high = (None if bound is None else in_a_line(", ".join(bound)) for bound in self.range(number))
        if low is None:
            return "all keys" if high is None else f"below {high}"
        return f"from {low}" if high is None else f"from {low} to below {high}"

    @property
    def step(self) -> int | None:
        """Return the power of two that the bounds are multiples of in a row, None where they are not."""
        # of bytes the difference of two may be none
        if not is_whole(self.types) or self.types == ("TINYINT",) or not 1 < len(self.bounds) < _MOST_ON_GRID:
            return None
        first, second = (int(bound[0]) for bound in self.bounds[:2])
        step = second - first
        grid = range(first, first + step * len(self.bounds), step)
        if step & (step - 1) or first % step or [int(bound[0]) for bound in self.bounds] != list(grid):
            return None
        return step

    def _on_grid(self, key: str, step: int) -> str:
        """Return the number as SQL where the bounds are multiples of ``step``, a power of two, in a row."""
        last = len(self.bounds)
        first, beyond = int(self.bounds[0][0]), int(self.bounds[-1][0])
        cell = f"(({key}) >> {step.bit_length() - 1}) - ({first // step - 1})"
        # a byte: the engine then groups by an array instead of a hash
        return (
            f"CASE WHEN ({key}) >= {first} AND ({key}) < {beyond} THEN ({cell})::UTINYINT "
            f"WHEN ({key}) < {first} THEN 0::UTINYINT WHEN ({key}) >= {beyond} THEN {last}::UTINYINT "
            f"ELSE {self.keyless}::UTINYINT END"
        )

    def _tree(self, keys: Sequence[str], first: int, last: int) -> str:
        """Return a binary search over the bounds ``first`` to below ``last`` as SQL."""
        if first == last:
            return str(first)
        middle = (first + last) // 2
        below, above = self._tree(keys, first, middle), self._tree(keys, middle + 1, last)
        return f"CASE WHEN {self._below(keys, self.bounds[middle])} THEN {below} ELSE {above} END"

    def _below(self, keys: Sequence[str], bound: Bound, place: int = 0) -> str:
        key, literal = f"({keys[place]})", self._literal(bound, place)
        if place == len(keys) - 1:
            return f"{key} < {literal}"
        return f"{key} < {literal} OR ({key} = {literal} AND ({self._below(keys, bound, place + 1)}))"

    def _literal(self, bound: Bound, place: int) -> str:
        return f"{sql_text(bound[place])}::{self.types[place]}"


def neighbours(numbers: Collection[int], keyless: int) -> list[tuple[int, int]]:
    """Return the first and last of each stretch of neighbours; ``keyless`` is nobody's.

    >>> neighbours([0, 1, 3, 5, 4, 6], 6)
    [(0, 1), (3, 5), (6, 6)]
    """
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1 and number != keyless:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def quantile_segments(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    keys: Sequence[str],
    types: Sequence[str],
    *,
    rows: int,
    rows_per_segment: int = ROWS_PER_SEGMENT,
) -> Segments:
    """Return segments of about equally many rows of ``relation`` (a FROM item of ``rows`` rows).

    They are taken from a sample of its keys; no other side is asked. A key that is in the sample more often
    than a segment has rows makes one bound only.
    """
    wanted = wanted_segments(rows, rows_per_segment)
    if wanted < 2:
        return Segments(tuple(types))
    names = [f"k{place}" for place in range(len(keys))]
    typed = [f"({key})::{kind} AS {name}" for key, kind, name in zip(keys, types, names, strict=True)]
    known = " AND ".join(f"{name} IS NOT NULL" for name in names)
    # a statement of its own: as part of the next one the scan would be one thread's
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE sampled_keys AS
            SELECT * FROM (SELECT {", ".join(typed)} FROM {relation})
            WHERE hash({", ".join(names)}) % {one_of(rows)} = 0 AND {known}"""
    )
    found = _cut(connection, names, types, wanted)
    connection.execute("DROP TABLE sampled_keys")
    return Segments(tuple(types), found)


def segments_of_sample(
    connection: duckdb.DuckDBPyConnection,
    sample: pa.Array[Any],
    kind: str,
    *,
    rows: int,
    rows_per_segment: int = ROWS_PER_SEGMENT,
) -> Segments:
    """Return such segments of a key of one column of a type, from a sample that was taken already."""
    wanted = wanted_segments(rows, rows_per_segment)
    if wanted < 2:
        return Segments((kind,))
    connection.register("sampled_keys", pa.table([sample], names=["k0"]))
    try:
        return Segments((kind,), _cut(connection, ["k0"], [kind], wanted))
    finally:
        connection.unregister("sampled_keys")


def wanted_segments(rows: int, rows_per_segment: int) -> int:
    """Return into how many segments a table is cut."""
    return min(MOST_SEGMENTS, rows // max(1, rows_per_segment))


def one_of(rows: int) -> int:
    """Return of how many rows one is taken for the sample."""
    return max(1, rows // _SAMPLE_ROWS)


def _cut(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], types: Sequence[str], wanted: int
) -> tuple[Bound, ...]:
    """Return the bounds of about as many segments as are wanted, from ``sampled_keys``."""
    if is_whole(types) and wanted >= _LEAST_ON_GRID:
        sample = connection.execute(f"SELECT {names[0]}::BIGINT FROM sampled_keys").to_arrow_table()
        found = _grid_bounds(sample.column(0).to_numpy(), wanted)
        if found is not None:
            return found
    return _quantiles(connection, names, wanted)


def _grid_bounds(sample: WholeNumbers, wanted: int) -> tuple[Bound, ...] | None:
    """Return multiples of a power of two, fewer than twice as many as are wanted; None: they cut unevenly.

    Of the lowest and the highest keys, up to half a segment each, it does not matter how far off they lie.
    """
    if not len(sample):
        return None
    beside = int(len(sample) * 0.5 / wanted)
    first, last = (int(one) for one in np.partition(sample, (beside, -1 - beside))[[beside, -1 - beside]])
    most, shift = min(_MOST_ON_GRID, 2 * wanted - 1), 0
    while (last >> shift) - (first >> shift) >= most:
        shift += 1
    low, high = first >> shift, last >> shift
    largest = int(np.bincount(np.clip(sample >> shift, low, high) - low).max())
    if largest * wanted > _MOST_UNEVEN * len(sample):
        return None
    return tuple((str(cell << shift),) for cell in range(low + 1, high + 1))


def _quantiles(connection: duckdb.DuckDBPyConnection, names: Sequence[str], wanted: int) -> tuple[Bound, ...]:
    """Return the bounds between as many parts of ``sampled_keys`` as are wanted."""
    order, texts = ", ".join(names), ", ".join(f"{name}::VARCHAR" for name in names)
    found = connection.execute(
        f"""WITH placed AS (
                SELECT *, row_number() OVER (ORDER BY {order}) AS place, count(*) OVER () AS n
                FROM sampled_keys)
            SELECT {texts} FROM (
                SELECT DISTINCT {order} FROM placed WHERE place > 1
                AND floor((place - 1) * {wanted} / n) > floor((place - 2) * {wanted} / n))
            ORDER BY {order}"""
    ).fetchall()
    # a zero byte ends an SQL text; no source here has one in a key
    return tuple(row for row in found if not any("\0" in part for part in row))
