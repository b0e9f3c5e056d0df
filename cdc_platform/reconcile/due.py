"""Which segments an incremental run reads whole: those without a proof, and those whose turn it is.

A lost change leaves raw and base as they are, so no proof may grow old. Were segments read at even times, the
ages of n segments in ascending order would stay below 1/n, 2/n … of the cycle. As many of the oldest are due
as it takes to come back to that. So the work is spread however often runs come, also after a run that proved
all segments at once, and no clock or count of runs has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from cdc_platform.reconcile.proofs import Proofs

#: The cycle is this share of the time that was set, so that a run that comes late breaks no promise.
CYCLE = 0.8

#: A key that is looked up costs about what so many rows read one after the other do.
ROWS_FOR_A_KEY = 10

#: A segment of more than so many times its size, and of more than this share of all rows, is cut anew.
_MOST_GROWTH, _MOST_SHARE = 4, 0.25


def due_segments(proofs: Proofs, now: datetime, within: timedelta) -> set[int]:
    """Return the segments without a proof and those whose turn it is."""
    by_age = sorted(proofs.segments, key=lambda number: (proofs.segments[number].verified_at, number))
    ages = [(now - proofs.segments[number].verified_at) / (within * CYCLE) for number in by_age]
    return {*by_age[: _behind(ages)], *proofs.unproven}


def _behind(ages: Sequence[float]) -> int:
    """Return how many of the oldest to read again; ``ages``, the oldest first, are in cycles.

    >>> _behind([0.5] * 4), _behind([0.9, 0.6, 0.4, 0.1]), _behind([1.0, 0.6, 0.4, 0.1]), _behind([3.0] * 4)
    (2, 0, 1, 4)
    """
    places = len(ages)
    for read in range(places):
        left = ages[read:]
        if all(age < (places - place) / places for place, age in enumerate(left)):
            return read
    return places


def cheaper_whole(keys: Mapping[int, int], rows: Mapping[int, int]) -> set[int]:
    """Return the segments in which so many keys changed that reading all rows is cheaper.

    >>> cheaper_whole({1: 10, 2: 10, 3: 1}, {1: 1000, 2: 50})
    {2, 3}
    """
    return {number for number, count in keys.items() if count * ROWS_FOR_A_KEY > rows.get(number, 0)}


def is_uneven(rows: Mapping[int, int], rows_per_segment: int) -> bool:
    """Whether one segment has grown to a large part of the table, so that its turn costs as much.

    >>> is_uneven({0: 100, 1: 100, 2: 100}, 100), is_uneven({0: 100, 1: 100, 2: 500}, 100)
    (False, True)
    """
    largest = max(rows.values(), default=0)
    return largest > max(_MOST_GROWTH * rows_per_segment, _MOST_SHARE * sum(rows.values()))
