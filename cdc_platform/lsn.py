"""Positions in the log of PostgreSQL (LSN) as text and as numbers: as text, ``9/0`` is after ``10/0``."""

from __future__ import annotations

import re

_PART = r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})"
_LSN = re.compile(_PART)
#: In a text of its own, or between the marks of a DMS checkpoint.
_WITHIN = re.compile(rf"(?:^|#){_PART}(?=$|#)")


def lsn_text(position: int) -> str:
    """Return an LSN as PostgreSQL prints it.

    >>> lsn_text(0x16B3748), lsn_text(0x4AFB00000D0)
    ('0/16B3748', '4AF/B00000D0')
    """
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def lsn_value(text: str) -> int:
    """Return the number of an LSN (``0/16B3748``, padded or not). Raises ValueError for any other text.

    >>> lsn_value("9/0") < lsn_value("10/0")
    True
    """
    found = _LSN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an LSN such as 4AF/B00000D0")
    return (int(found[1], 16) << 32) | int(found[2], 16)


def find_lsn(text: str | None) -> int | None:
    """Return the position of an LSN, or of a DMS checkpoint that holds one; None when there is none.

    >>> find_lsn("0/10"), find_lsn("checkpoint:V1#1#000004AF/B00000D0#0") == lsn_value("4AF/B00000D0")
    (16, True)
    """
    found = _WITHIN.search(text.strip()) if text else None
    return (int(found[1], 16) << 32) | int(found[2], 16) if found else None
