"""Makes both sides of a full comparison: typed, and base cut into segments of its key."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.digest import Salt
from cdc_platform.reconcile.key_numbers import are_distinct, is_whole, read_numbers, sample_of
from cdc_platform.reconcile.key_statistics import statistical_sample
from cdc_platform.reconcile.segments import (
    Bound,
    Segments,
    one_of,
    quantile_segments,
    segments_of_sample,
    wanted_segments,
)
from cdc_platform.reconcile.sides import Sides, row_digest
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.window_events import count

#: Each thread of the engine has marks of its own; then they are put together, and read.
_MORE_COPIES = 2
_NUMBER_BYTES = 8
#: So many segments a row group may be of: how keys lie within it is not known.
_MOST_IN_A_GROUP = 4


def make_sides(
    connection: duckdb.DuckDBPyConnection,
    plan: ReadPlan,
    view: BaseView,
    salt: Salt,
    *,
    bounds: tuple[Bound, ...] | None,
    rows_per_segment: int,
    numbers_at_once: int = 0,
) -> Sides:
    """Type both sides and cut base into segments, or along ``bounds`` when they are known already.

    So many numbers of keys may be held in memory.
    """
    digest = row_digest(connection, plan, view, salt)
    sides = Sides(plan, view, digest, Segments(()))
    key_types = tuple(sides.key_types)
    if bounds is not None:
        return _marking(connection, replace(sides, segments=Segments(key_types, bounds)), numbers_at_once)
    rows = count(connection, f"SELECT count(*) FROM {sides.base_rows}")
    (key, *others) = sides.keys(sides.base_values)
    sizes = {"rows": rows, "rows_per_segment": rows_per_segment}
    found = _segments_by_statistics(connection, sides, **sizes)
    if found is not None or plan.is_unique or rows > numbers_at_once or not is_whole(key_types):
        segments = found or quantile_segments(connection, sides.base_rows, [key, *others], key_types, **sizes)
        return _marking(connection, replace(sides, segments=segments, rows=rows), numbers_at_once)
    numbers = read_numbers(connection, key, sides.base_rows)
    sample = pa.array(sample_of(numbers, one_of(rows)))
    segments = segments_of_sample(connection, sample, key_types[0], **sizes)
    return Sides(plan, view, digest, segments, rows, are_distinct(numbers))


def _segments_by_statistics(
    connection: duckdb.DuckDBPyConnection, sides: Sides, *, rows: int, rows_per_segment: int
) -> Segments | None:
    """Return segments a shift tells, cut by the footers of base's files; None where these tell none."""
    wanted = wanted_segments(rows, rows_per_segment)
    if not is_whole(sides.key_types) or wanted < 2:
        return None
    column, most = sides.plan.key[0].column, _MOST_IN_A_GROUP * rows // wanted
    sample = statistical_sample(connection, sides.view.files, column, rows=rows, most=most)
    if sample is None:
        return None
    sizes = {"rows": rows, "rows_per_segment": rows_per_segment}
    found = segments_of_sample(connection, pa.array(sample), sides.key_types[0], **sizes)
    return found if found.step is not None else None


def _marking(connection: duckdb.DuckDBPyConnection, sides: Sides, numbers_at_once: int) -> Sides:
    """Return the sides with marks, where keys may come twice and marks fit where so many numbers would."""
    threads = count(connection, "SELECT current_setting('threads')")
    taken = sides.segments.mark_bytes * (threads + _MORE_COPIES)
    return replace(sides, has_marks=not sides.plan.is_unique and 0 < taken <= numbers_at_once * _NUMBER_BYTES)
