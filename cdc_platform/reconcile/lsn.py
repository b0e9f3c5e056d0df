"""PostgreSQL log positions: text ↔ number."""

from __future__ import annotations

import re

_LSN = re.compile(r"(?:^|#)([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})(?=$|#)")


def parse_lsn(text: str | None) -> int | None:
    """Return the position of ``0/16B3748`` or of a DMS checkpoint that holds one; None when there is none.

    >>> parse_lsn("0/10"), parse_lsn("checkpoint:V1#1#000004AF/B00000D0#0") == parse_lsn("4AF/B00000D0")
    (16, True)
    """
    found = _LSN.search(text.strip()) if text else None
    return (int(found[1], 16) << 32) + int(found[2], 16) if found else None


def format_lsn(position: int) -> str:
    """Return ``position`` as PostgreSQL writes it.

    >>> format_lsn(0x4AFB00000D0)
    '4AF/B00000D0'
    """
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
