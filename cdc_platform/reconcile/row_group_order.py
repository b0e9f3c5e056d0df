"""Whether two sets of Parquet files can give rows in one order, by what their footers tell of a key.

Where they do, row groups that hold rows of the same places have keys in common. Where they mostly have none,
to put rows beside each other would be for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from cdc_platform.naming import sql_text
from cdc_platform.reconcile.export_listing import literal
from cdc_platform.reconcile.key_statistics import MOST_FILES

#: Of rows that one side lacks the next ones are some places off, at the ends of row groups in another group.
_MOST_APART = 0.05


def rows_of_groups_in_order(
    connection: duckdb.DuckDBPyConnection, one: tuple[Sequence[str], str], other: tuple[Sequence[str], str]
) -> int | None:
    """Return how many rows the largest row group has; None where the files cannot give rows in one order.

    The files of a side are read one after another; they stand with its name of the key. 0 where the footers
    do not tell, or there are many of them. Raises duckdb.Error where a file cannot be read.
    """
    if max(len(one[0]), len(other[0])) > MOST_FILES:
        return 0
    left, right = _groups(connection, *one), _groups(connection, *other)
    if left is None or right is None:
        return 0
    (left_ends, left_low, left_high), (right_ends, right_low, right_high) = left, right
    rows = min(left_ends[-1], right_ends[-1])
    ends = np.union1d(left_ends, right_ends)
    ends = ends[ends <= rows]
    at, there = np.searchsorted(left_ends, ends), np.searchsorted(right_ends, ends)
    is_apart = (left_high[at] < right_low[there]) | (right_high[there] < left_low[at])
    if np.diff(ends, prepend=0)[is_apart].sum() > _MOST_APART * rows:
        return None
    return max(int(np.diff(of, prepend=0).max()) for of in (left_ends, right_ends))


def _groups(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], column: str
) -> tuple[Any, Any, Any] | None:
    """Return of each row group in turn how many rows there are up to its end, and its lowest and highest key.

    None where there is no row, or a group that does not tell.
    """
    found = connection.execute(
        f"""SELECT sum(m.row_group_num_rows) OVER (ORDER BY f.place, m.row_group_id)::BIGINT,
                   TRY_CAST(m.stats_min_value AS BIGINT), TRY_CAST(m.stats_max_value AS BIGINT)
            FROM parquet_metadata([{", ".join(sql_text(literal(file)) for file in files)}]) m
            JOIN unnest([{", ".join(map(sql_text, files))}]) WITH ORDINALITY f(name, place)
                ON f.name = m.file_name
            WHERE m.path_in_schema = {sql_text(column)} AND m.row_group_num_rows > 0 ORDER BY 1"""
    ).fetchall()
    if not found or any(low is None or high is None for _, low, high in found):
        return None
    ends, low, high = (np.array(values, np.int64) for values in zip(*found, strict=True))
    return ends, low, high
