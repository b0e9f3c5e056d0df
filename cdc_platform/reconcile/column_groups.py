"""The columns of a row a group at a time, so that what a comparison takes does not grow with their number.

The engine keeps room for 2,048 values of each column in every operator of a statement and in each of its
threads, however few rows there are, and takes time to plan a statement that grows with the square of what it
gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")

#: So many columns of both sides in one statement.
COLUMNS_AT_ONCE = 64


def column_groups(columns: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield ``columns`` in order, at most COLUMNS_AT_ONCE at a time.

    >>> [len(group) for group in column_groups(range(150))]
    [64, 64, 22]
    """
    for first in range(0, len(columns), COLUMNS_AT_ONCE):
        yield columns[first : first + COLUMNS_AT_ONCE]
