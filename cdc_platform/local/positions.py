"""The forms of CDC start and stop positions, checked before a task is started with them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cdc_platform.local.api_errors import invalid_value

_CHECKPOINT = re.compile(r"checkpoint:V1#\d+#(?P<lsn>[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:#.*)?")
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_STOP = re.compile(r"(?P<kind>server_time|commit_time):\s*(?P<at>\S+)")


def check_start_position(position: str) -> None:
    """Raise ApiError unless a PostgreSQL source can start there: an LSN, or a checkpoint that holds one."""
    if _LSN.fullmatch(position) or _CHECKPOINT.fullmatch(position):
        return
    if _is_time(position):
        raise invalid_value(
            "CdcStartPosition is a time; a PostgreSQL source can start only at an LSN or a checkpoint"
        )
    raise invalid_value(
        f"CdcStartPosition {position!r} is neither an LSN (4AF/B00000D0) nor a checkpoint (checkpoint:V1#…)"
    )


def check_stop_position(position: str) -> None:
    """Raise ApiError unless the position is ``server_time:<UTC>`` or ``commit_time:<UTC>``."""
    found = _STOP.fullmatch(position.strip())
    if found is None or not _is_time(found["at"]):
        raise invalid_value(
            f"CdcStopPosition {position!r} is neither server_time:yyyy-mm-ddThh:mm:ss nor commit_time:…"
        )


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True
