"""The keys of base as whole numbers, read once: a sample for the segments, and whether they are distinct.

Only for keys of one column of whole numbers. These lie near each other as a rule, so that a mark for each
number between the first and the last tells whether one came twice, without hash, sort or another reading.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
#: Marks are taken where so many are enough: they are a byte each, numbers eight.
_MARKS_PER_NUMBER = 2

WholeNumbers = npt.NDArray[np.int64]


def is_whole(types: Sequence[str]) -> bool:
    """Whether a key with columns of these types is one whole number."""
    return len(types) == 1 and types[0] in _WHOLE


def read_numbers(connection: duckdb.DuckDBPyConnection, key: str, rows: str) -> list[WholeNumbers]:
    """Return the key (SQL) of ``rows`` (what follows FROM, with a condition) in parts, where it is not NULL.

    All threads of the engine hand them over together, which takes half as long as streaming them.
    """
    found = connection.sql(f"SELECT ({key})::BIGINT FROM {rows} AND ({key}) IS NOT NULL").to_arrow_table()
    return [part.to_numpy() for part in found.column(0).iterchunks() if len(part)]


def sample_of(parts: Sequence[WholeNumbers], one_of: int) -> WholeNumbers:
    """Return one of so many numbers."""
    return np.concatenate([np.empty(0, np.int64), *(part[::one_of] for part in parts)])


def are_distinct(parts: Sequence[WholeNumbers]) -> bool:
    """Whether no number came twice; false as well where they lie too far apart to tell."""
    count = sum(map(len, parts))
    if not count:
        return True
    first, last = min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)
    if last - first >= _MARKS_PER_NUMBER * count:
        return False
    marks = np.zeros(last - first + 1, bool)
    for part in parts:
        marks[part - first] = True
    return int(np.count_nonzero(marks)) == count
