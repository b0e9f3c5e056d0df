"""Numbers in sentences, the same in verdicts, on pages, in metadata and on a terminal."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "key"), counted(1200, "key")
    ('1 key', '1,200 keys')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
