"""Where a task starts and stops in PostgreSQL's log, and the checkpoints DMS makes of its positions.

A checkpoint reads ``checkpoint:V1#<n>#<LSN>#0#0#*#0#0``, both halves of the LSN as eight hexadecimal digits:
everything committed before it is in complete, visible files. ``n`` counts the transactions the task has read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cdc_platform.errors import LocalServiceError
from cdc_platform.lsn import lsn_value

_CHECKPOINT = re.compile(r"^checkpoint:V1#\d+#([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})#")


def parse_lsn(text: str) -> int:
    """Return the LSN that ``text`` (``0/16B3748``, padded or not) stands for."""
    try:
        return lsn_value(text)
    except ValueError as fault:
        mend = "give it as PostgreSQL does, e.g. 0/16B3748"
        raise LocalServiceError(f"{text!r} is not an LSN", mend=mend) from fault


def checkpoint_text(transactions: int, lsn: int) -> str:
    """Return the RecoveryCheckpoint of an LSN.

    >>> checkpoint_text(7, 0x4AFB00000D0)
    'checkpoint:V1#7#000004AF/B00000D0#0#0#*#0#0'
    """
    return f"checkpoint:V1#{transactions}#{lsn >> 32:08X}/{lsn & 0xFFFFFFFF:08X}#0#0#*#0#0"


def parse_start_position(text: str) -> int:
    """Return the LSN of a CdcStartPosition: a checkpoint or a native LSN.

    Raises LocalServiceError for a time, which PostgreSQL cannot start at.
    """
    found = _CHECKPOINT.match(text)
    try:
        return lsn_value(found[1] if found is not None else text)
    except ValueError as fault:
        raise LocalServiceError(
            f"CdcStartPosition {text!r} is neither a checkpoint nor an LSN",
            mend="give the RecoveryCheckpoint of a run or an LSN; PostgreSQL cannot start at a time",
        ) from fault


@dataclass(frozen=True, slots=True)
class StopPosition:
    """A CdcStopPosition: stop at a server time, or at the first commit after a time."""

    is_commit_time: bool
    moment: datetime


def parse_stop_position(text: str | None) -> StopPosition | None:
    """Read ``server_time:2024-05-01T12:00:00`` or ``commit_time:…`` (UTC)."""
    if not text:
        return None
    kind, _, moment = text.partition(":")
    try:
        parsed = datetime.fromisoformat(moment.strip().removesuffix("Z") + "+00:00")
    except ValueError as fault:
        raise _wrong_stop(text) from fault
    if kind not in ("server_time", "commit_time"):
        raise _wrong_stop(text)
    return StopPosition(kind == "commit_time", parsed)


def _wrong_stop(text: str) -> LocalServiceError:
    return LocalServiceError(
        f"CdcStopPosition is {text!r}",
        mend="give server_time:yyyy-mm-ddThh:mm:ss or commit_time:yyyy-mm-ddThh:mm:ss, in UTC",
    )
