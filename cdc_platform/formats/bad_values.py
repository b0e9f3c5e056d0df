"""Which values of an Arrow array no base table can hold: found by whole-column arithmetic.

Parquet checks no value. What it lets through and a base table does not hold: text that is not UTF-8, dates
and timestamps outside of the years 1 to 9999 (which is all that Python, pyiceberg and SQL's literals know),
times that are none of a day, decimals of more digits than their type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_DAY = 86_400
#: Days since 1970 of the first day of year 1, and of the one after the last of year 9999.
_FIRST_DAY, _END_DAY = -719_162, 2_932_897
_NOT_ASCII_WORD, _NOT_ASCII_BYTE = 0x8080808080808080, 0x80
_MEND = "correct the value at the source: the row's next change comes in by itself; then discard this item"


@dataclass(frozen=True, slots=True)
class BadValues:
    """``find`` returns which values of an array are at fault, None for none of them."""

    find: Callable[[pa.Array[Any]], pa.Array[Any] | None]
    reason: str
    mend: str = _MEND


def bad_values_of(kind: Any) -> BadValues | None:
    """Return what may be wrong with the values of a column that has this type in a file, None for nothing."""
    if at.is_dictionary(kind):
        plain = bad_values_of(kind.value_type)
        return plain and BadValues(_decoded(plain), plain.reason, plain.mend)
    if _is_any_text(kind):
        mend = "have the source's character set converted by DMS, then reload the table"
        return BadValues(_not_text, "the value is not UTF-8 text", mend)
    if at.is_decimal128(kind):
        return BadValues(_too_long, f"the value has more digits than decimal({kind.precision}, {kind.scale})")
    if at.is_time(kind) and kind.unit in _PER_SECOND:
        find = _outside(0, _DAY * _PER_SECOND[kind.unit])
        return BadValues(find, "the value is no time of a day, which go from 00:00 to before 24:00")
    if at.is_timestamp(kind) and kind.unit in _PER_SECOND:
        per_day = _DAY * _PER_SECOND[kind.unit]
    elif at.is_date(kind):
        per_day = 1 if at.is_date32(kind) else _DAY * 1_000
    else:
        return None  # also nanoseconds, which reach from 1677 to 2262
    find = _outside(_FIRST_DAY * per_day, _END_DAY * per_day)
    return BadValues(find, "the value is outside of the years 1 to 9999, which are all that a table holds")


def shown_values(column: pa.Array[Any]) -> Sequence[object]:
    """Return the values of a column for a person, also those that Python has no value for."""
    plain = plain_array(column)
    try:
        values: Sequence[object] = plain.to_pylist()
    except (OverflowError, ValueError):
        texts: list[Any] = plain.cast(pa.string()).cast(pa.binary()).to_pylist()
        values = [None if text is None else text.decode("utf-8", "replace") for text in texts]
    return values


def plain_array(array: pa.Array[Any]) -> pa.Array[Any]:
    """Return ``array`` without dictionary and views, which not every function knows."""
    kind: Any = array.type
    if at.is_dictionary(kind):
        return plain_array(array.cast(kind.value_type))
    if at.is_string_view(kind):
        return array.cast(pa.string())
    return array.cast(pa.binary()) if at.is_binary_view(kind) else array


def is_text(columns: Sequence[pa.Array[Any]]) -> pa.Array[Any]:
    """Return which rows of binary columns hold nothing but UTF-8; ask only when some row does not."""
    own = [f"c{number}" for number in range(len(columns))]
    with duckdb.connect(config={"threads": 1, "temp_directory": ""}) as connection:
        connection.register("batch", pa.table(list(columns), names=own))
        tests = " AND ".join(f"({name} IS NULL OR TRY(decode({name})) IS NOT NULL)" for name in own)
        return (
            connection.execute(f"SELECT {tests} AS is_text FROM batch").to_arrow_table()[0].combine_chunks()
        )


def _is_any_text(kind: Any) -> bool:
    return at.is_string(kind) or at.is_large_string(kind) or at.is_string_view(kind)


def _decoded(plain: BadValues) -> Callable[[pa.Array[Any]], pa.Array[Any] | None]:
    def find(array: Any) -> pa.Array[Any] | None:
        if plain.find(array.dictionary) is None:
            return None
        return plain.find(array.cast(array.type.value_type))

    return find


def _outside(low: int, end: int) -> Callable[[pa.Array[Any]], pa.Array[Any] | None]:
    def find(array: pa.Array[Any]) -> pa.Array[Any] | None:
        numbers: Any = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
        bounds: Any = pc.min_max(numbers)
        least, most = bounds["min"].as_py(), bounds["max"].as_py()
        if least is None or (least >= low and most < end):
            return None
        lowest, first_after = (pa.scalar(bound, numbers.type) for bound in (low, end))
        return _known(pc.or_(pc.less(numbers, lowest), pc.greater_equal(numbers, first_after)))

    return find


def _too_long(array: pa.Array[Any]) -> pa.Array[Any] | None:
    if _is_valid(array):
        return None
    kind: Any = array.type
    nines = (9,) * kind.precision
    most, least = (pa.scalar(Decimal((sign, nines, -kind.scale)), kind) for sign in (0, 1))
    return _known(pc.or_(pc.greater(array, most), pc.less(array, least)))


def _not_text(array: pa.Array[Any]) -> pa.Array[Any] | None:
    if (at.is_string(array.type) and _is_ascii(array)) or _is_valid(array):
        return None
    kind = pa.large_binary() if at.is_large_string(array.type) else pa.binary()
    return pc.invert(is_text([plain_array(array).cast(kind)]))


def _is_ascii(array: pa.Array[Any]) -> bool:
    """Whether every byte of the text is ASCII: told word by word, in a tenth of the time UTF-8 takes."""
    buffers: list[Any] = array.buffers()
    _, places, data = buffers
    if data is None or places is None or not len(array):
        return True
    offsets = np.frombuffer(places, np.int32)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    whole = len(text) // 8 * 8
    word = np.bitwise_or.reduce(text[:whole].view(np.uint64)) if whole else np.uint64(0)
    return not int(word) & _NOT_ASCII_WORD and not (text[whole:] >= _NOT_ASCII_BYTE).any()


def _is_valid(array: pa.Array[Any]) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _known(mask: Any) -> pa.Array[Any]:
    return cast("pa.Array[Any]", pc.fill_null(mask, False))
