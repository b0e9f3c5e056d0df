"""How a key of whole numbers lies, by what the footers of base's files tell: no row is read for it.

Where each row group holds a range of its own, as in files in the order of the key, numbers are taken to lie
evenly between its first and its last. That decides where segments are cut, and nothing else: whatever the
footers say, every key lies in one segment.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np

from cdc_platform.naming import sql_text
from cdc_platform.reconcile.key_numbers import WholeNumbers

#: Of more files the footers are read with the rows.
MOST_FILES = 256
#: Enough to tell how evenly the keys lie in as many segments as there may be.
_POINTS = 4096
#: The ranges of all row groups together may be so many times the range of the whole.
_MOST_OVERLAP = 2


def statistical_sample(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], column: str, *, rows: int, most: int
) -> WholeNumbers | None:
    """Return numbers that lie as the ``column`` of ``files`` does; None where the footers do not tell that.

    They do not where ranges overlap, a row group has none or more than ``most`` rows, or those that have one
    hold less than ``rows``.
    """
    if not 0 < len(files) <= MOST_FILES:
        return None
    found = connection.execute(
        f"""SELECT row_group_num_rows, TRY_CAST(stats_min_value AS BIGINT),
                   TRY_CAST(stats_max_value AS BIGINT)
            FROM parquet_metadata([{", ".join(map(sql_text, files))}])
            WHERE path_in_schema = {sql_text(column)} AND row_group_num_rows > 0"""
    ).fetchall()
    ranges = [(count, low, high) for count, low, high in found if low is not None and high is not None]
    total = sum(count for count, _, _ in ranges)
    if not ranges or len(ranges) < len(found) or total < rows or max(ranges)[0] > most:
        return None
    whole = max(high for *_, high in ranges) - min(low for _, low, _ in ranges) + 1
    if sum(high - low + 1 for _, low, high in ranges) > _MOST_OVERLAP * whole:
        return None
    return np.array([point for one in ranges for point in _points(*one, total)], np.int64)


def _points(count: int, low: int, high: int, total: int) -> list[int]:
    """Return the share of the points that a row group of so many rows has, between its lowest and highest."""
    share = max(1, _POINTS * count // total)
    return [low + (high - low) * (2 * place + 1) // (2 * share) for place in range(share)]
