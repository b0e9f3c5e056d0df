"""Sequences of change events as decimal(38,0) columns, made by whole-column arithmetic.

A sequence is ``time part × 10**22 + rest`` (see :mod:`cdc_platform.events`). Its 128 bits are computed as two
64-bit halves, because neither Arrow nor DuckDB makes decimals of that width from text at any speed.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa

from cdc_platform.events import POSITION_TYPE

#: What a sequence's time part is multiplied by.
TIME_PART_UNIT = 10**22

_WORD = 2**64
_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_DIGITS = 35
_TIME_DIGITS = 16
#: The other 19 digits, filled up to three times eight.
_REST_PADDED = 24
Words = np.ndarray[Any, np.dtype[np.uint64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def parse_change_sequences(texts: pa.Array[Any]) -> pa.Array[Any] | None:
    """Return the sequences of ``AR_H_CHANGE_SEQ`` texts, None unless each has exactly 35 digits."""
    digits = _fixed_width(texts, _DIGITS)
    if digits is None or (digits > 9).any():
        return None
    padded = np.zeros((len(digits), _TIME_DIGITS + _REST_PADDED), dtype=np.uint8)
    padded[:, :_TIME_DIGITS] = digits[:, :_TIME_DIGITS]
    padded[:, _TIME_DIGITS - _DIGITS :] = digits[:, _TIME_DIGITS:]
    eights = _numbers_of_eight(padded)
    unit = np.uint64(10**8)
    time_part = eights[:, 0] * unit + eights[:, 1]
    return sequences(time_part, 0, (eights[:, 2] * unit + eights[:, 3]) * unit + eights[:, 4])


def sequences(time_part: Words, constant: int, varying: Words) -> pa.Array[Any]:
    """Return ``time_part × 10**22 + constant + varying`` of each row as decimal(38,0).

    The sum must stay below 10**38; ``constant`` and the others are not negative.
    """
    unit_high, unit_low = divmod(TIME_PART_UNIT, _WORD)
    high, low = _product(time_part, unit_low)
    high += time_part * np.uint64(unit_high)
    for addend_high, addend_low in (divmod(constant, _WORD), (0, varying)):
        addend = np.asarray(addend_low, dtype=np.uint64)
        low = low + addend
        high += np.uint64(addend_high) + (low < addend)
    words = np.empty((len(time_part), 2), dtype="<u8")
    words[:, 0], words[:, 1] = low, high
    return pa.Array.from_buffers(POSITION_TYPE, len(time_part), [None, pa.py_buffer(cast(Any, words))])


def _product(left: Words, right: int) -> tuple[Words, Words]:
    """Return the high and low words of ``left × right``, by halves as on paper."""
    right_high, right_low = np.uint64(right >> 32), np.uint64(right & 0xFFFFFFFF)
    left_high, left_low = left >> _HALF, left & _LOW_HALF
    lowest = left_low * right_low
    middle = left_high * right_low + (lowest >> _HALF)
    cross = left_low * right_high + (middle & _LOW_HALF)
    return left_high * right_high + (middle >> _HALF) + (cross >> _HALF), left * np.uint64(right)


def _fixed_width(texts: pa.Array[Any], width: int) -> Bytes | None:
    """Return the digits of texts that are all ``width`` bytes long, one row each, else None."""
    if texts.type != pa.string() or texts.null_count or not len(texts):
        return None
    _, offset_buffer, data = cast("list[Any]", texts.buffers())
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if (np.diff(offsets) != width).any():
        return None
    text = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
    digits: Bytes = text.reshape(len(texts), width) - np.uint8(ord("0"))
    return digits


def _numbers_of_eight(digits: Bytes) -> Words:
    """Return the numbers that each eight digits of a row are: pairs, then fours, then eights, in place."""
    words = digits.view("<u8")
    words = (words * np.uint64((10 << 8) + 1) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    words = (words * np.uint64((100 << 16) + 1) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    return words * np.uint64((10_000 << 32) + 1) >> np.uint64(32)
