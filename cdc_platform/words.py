"""Numbers and values in sentences and maps, the same in verdicts, on pages, in metadata and on a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "key"), counted(1200, "key")
    ('1 key', '1,200 keys')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_more(shown: Sequence[str], number: int) -> str:
    """Return the names that are shown, of so many.

    >>> and_more(["a", "b"], 2), and_more(["a", "b"], 5)
    ('a, b', 'a, b and 3 more')
    """
    more = f" and {number - len(shown)} more" if number > len(shown) else ""
    return f"{', '.join(shown)}{more}"


def in_a_cell(number: int) -> str:
    """Return a number in the width of a map's cell, rounded down: what is cut off would tell another number.

    >>> in_a_cell(999), in_a_cell(9_106), in_a_cell(45_678_901), in_a_cell(3_000_000_000)
    ('999', '9k', '45M', '3G')
    """
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)


def in_a_line(text: str, most: int | None = None) -> str:
    """Return a text as it stands in a sentence: characters that are not seen as code points, ``most`` of it.

    Some of those turn all that follows about.

    >>> in_a_line("a\u202eb"), in_a_line("abcd", 3)
    ('a<U+202E>b', 'abc… (4 characters)')
    """
    kept = text if most is None or len(text) <= most else text[:most]
    seen = "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in kept)
    return seen if kept == text else f"{seen}… ({counted(len(text), 'character')})"
