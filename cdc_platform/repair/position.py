"""Where a repair's events stand in the order of changes: above all that its read shows, below the rest.

A *closed instant* B of the source's clock is one before which every commit was visible in the read. The
repair's position is made of the last hundredth of a second before B, and of an ordinal no task has. So every
genuine event committed before B is below it, and every one committed at B or after above. Positions made of
file times alone tell nothing of commits: there no such place exists.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cdc_platform.errors import ReconciliationError
from cdc_platform.events import PositionKind
from cdc_platform.formats.sequences import TIME_PART_UNIT

#: What instants are multiples of: the finest a change sequence tells time.
STEP = timedelta(milliseconds=10)

#: Above the rest of any genuine sequence: the three digits between time and counter are a task's ordinal.
_ORDINAL = 999 * 10**19
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: An event is written within this of its commit, or nothing is concluded from it ...
_LATEST = timedelta(minutes=20)
#: ... and never earlier than this before it, by the two clocks.
_EARLIEST = timedelta(minutes=5)


def closed_sequence(kind: PositionKind, instant: datetime, step: int = 0) -> int:
    """Return the sequence of a repair whose read shows every commit before ``instant``, and none after.

    ``step`` orders what stands at one instant: 1 undoes what 0 did. Raises ReconciliationError for positions
    that do not tell the time of the commit.

    >>> closed_sequence(PositionKind.CHANGE_SEQUENCE, datetime(2026, 3, 1, 12, 0, 0, 10_000, UTC))
    20260301120000009990000000000000000000
    """
    last = instant - STEP
    match kind:
        case PositionKind.CHANGE_SEQUENCE:
            utc = last.astimezone(UTC)
            time_part = int(f"{utc:%Y%m%d%H%M%S}{utc.microsecond // 10_000:02d}")
        case PositionKind.COMMIT_TIME:
            time_part = (instant - _EPOCH) // timedelta(microseconds=1) - 1
        case PositionKind.FILE_TIME:
            raise ReconciliationError(
                "the table's changes are ordered by the times of their files alone, so nothing tells whether "
                "a change that arrives later was committed before or after the source was read",
                mend="let the DMS task write AR_H_CHANGE_SEQ or TimestampColumnName, and reload the table",
            )
    return time_part * TIME_PART_UNIT + _ORDINAL + step


def committed_at(kind: PositionKind, sequence: int) -> datetime | None:
    """Return the commit time a genuine sequence begins with; None when it is none.

    >>> committed_at(PositionKind.COMMIT_TIME, 10**22 * 1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    time_part = sequence // TIME_PART_UNIT
    try:
        if kind is PositionKind.COMMIT_TIME:
            return _EPOCH + timedelta(microseconds=time_part)
        digits = f"{time_part:016d}"
        whole = datetime.strptime(digits[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return whole + int(digits[14:]) * STEP
    except (ValueError, OverflowError):
        return None


def agrees(written: datetime, committed: datetime | None) -> bool | None:
    """Say whether an event's commit time can be the source's UTC time, given when its file was written.

    None: it was written too long after to tell. A time zone in place of UTC is half an hour off or more.
    """
    if committed is None or committed > written + _EARLIEST:
        return False
    return True if committed >= written - _LATEST else None
