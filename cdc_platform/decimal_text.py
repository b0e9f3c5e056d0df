"""Text of numbers as decimals, without the silent wrap of what has more digits than 128 bits hold."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

#: Digits a decimal of 128 bits holds.
MOST_DIGITS = 38


def decimals_of_text(text: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Return ``text`` (plain notation: sign, digits, point) as decimals of ``kind``.

    Raises pa.ArrowInvalid for a number that does not fit. Arrow itself takes numbers of more than 38 digits
    modulo 2 ** 128.
    """
    longest = pc.max(pc.binary_length(cast(Any, text))).as_py()
    if longest is not None and longest > MOST_DIGITS:
        digits = pc.utf8_ltrim(pc.replace_substring_regex(cast(Any, text), "[-+.]", ""), "0")
        most = pc.max(pc.binary_length(cast(Any, digits))).as_py()
        if most > MOST_DIGITS:
            raise pa.ArrowInvalid(f"a number has {most} digits, and {kind} holds {MOST_DIGITS} at most")
    return cast("pa.Array[Any]", text.cast(kind))
