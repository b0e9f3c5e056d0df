"""Values of rows as HTML: what looks alike is told apart, what cannot be seen is marked, long text is cut."""

from __future__ import annotations

import json
import re
from typing import Any

from markupsafe import Markup, escape

#: Of a longer text so much is shown, around the first place where it differs from base's.
SHOWN_CHARACTERS = 1_200
_BEFORE = 200
_MARKS = {" ": "·", "\t": "⇥", "\n": "⏎", "\r": "␍", "\u00a0": "⍽"}
#: Characters that are seen as nothing, or turn the ones around them about.
_UNSEEN = re.compile(
    "([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+)"
)


def show(value: Any, start: int = 0) -> Markup:
    """Return a value as HTML in which NULL, the empty text, blanks at either end and control codes are seen.

    Of long text an excerpt is shown, from about ``start`` on.
    """
    if value is None:
        return Markup('<span class="none">NULL</span>')
    if value == "":
        return Markup('<span class="none">empty text</span>')
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= SHOWN_CHARACTERS:
        return _whole(text)
    begin = max(0, min(start - _BEFORE, len(text) - SHOWN_CHARACTERS))
    end = begin + SHOWN_CHARACTERS
    before = _left_out(begin)
    after = _left_out(len(text) - end)
    return before + _whole(text[begin:end]) + after


def first_difference(left: Any, right: Any) -> int:
    """Return where two texts part; 0 for anything else.

    >>> first_difference("abcd", "abxd"), first_difference("ab", "abc"), first_difference(None, "a")
    (2, 2, 0)
    """
    if not isinstance(left, str) or not isinstance(right, str):
        return 0
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle - 1)
    return low


def _left_out(characters: int) -> Markup:
    if not characters:
        return Markup("")
    return Markup('<span class="none"> … {} characters … </span>').format(f"{characters:,}")


def _whole(text: str) -> Markup:
    body = text.strip(" \t\r\n\u00a0")
    if not body:
        return _blanks(text)
    begin = text.index(body)
    return _blanks(text[:begin]) + _visible(body) + _blanks(text[begin + len(body) :])


def _blanks(text: str) -> Markup:
    marks = "".join(_MARKS.get(character, character) for character in text)
    return Markup('<span class="blank">{}</span>').format(marks) if text else Markup("")


def _visible(text: str) -> Markup:
    parts = _UNSEEN.split(text)
    return Markup("").join(
        _code_points(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def _code_points(text: str) -> Markup:
    names = " ".join(f"U+{ord(character):04X}" for character in text)
    return Markup('<span class="unseen">{}</span>').format(names)
