"""What kind of difference lies between two values: cut, shifted, rounded, padded, spelled otherwise …

:func:`classify` says it of one pair of typed values; each class has an exact definition, in
:class:`DifferenceKind`. A class is a hint at the cause and never makes two values equal. The same
definitions as SQL, for columns of millions, are in :mod:`cdc_platform.reconcile.value_class_sql`.
"""

from __future__ import annotations

import json
import math
import struct
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from cdc_platform.reconcile.difference_kinds import (
    FALSE_WORDS,
    FARTHEST_SHIFT_MINUTES,
    LEAST_WHOLE_SINGLE,
    MOST_SINGLE_ULPS,
    MOST_ULPS,
    PRECISIONS,
    SHIFT_STEP_MINUTES,
    SOURCE_AND_BASE,
    TRUE_WORDS,
    DifferenceKind,
    ValueClass,
    label,
)

__all__ = ["DifferenceKind", "ValueClass", "are_singles", "classify", "label"]


def classify(
    first: Any, second: Any, witnesses: tuple[str, str] = SOURCE_AND_BASE, *, singles: bool = False
) -> ValueClass | None:
    """Return the class of the difference of two unequal values of two witnesses; None when it has none.

    Values are Python's own for their types: text, bytes, bool, int, float, Decimal, datetime, date. Of a
    float nobody sees how many bits its column has: ``singles`` says that they are 32 (see ``are_singles``).

    >>> classify("naïve", "na").label, classify(Decimal("2.35"), Decimal("2.345")).label
    ('truncated at 2 characters in base', 'rounded to 2 decimals in source')
    """
    if first is None or second is None:
        found = _of_null(first, second)
    else:
        found = (_singles(first, second) if singles else None) or _of_values(first, second)
    return found and replace(found, witnesses=witnesses)


def are_singles(types: Collection[str]) -> bool:
    """Whether values of two DuckDB types differ by what 32 bits tell: one has no more, both are floats.

    >>> are_singles(("FLOAT", "FLOAT")), are_singles(("DOUBLE", "DOUBLE")), are_singles(("FLOAT", "VARCHAR"))
    (True, False, False)
    """
    return "FLOAT" in types and {"FLOAT", "DOUBLE"}.issuperset(types)


def _of_values(first: Any, second: Any) -> ValueClass | None:
    for rule in _RULES:
        found = rule(first, second)
        if found is not None:
            return found
    return None


def _of_null(first: Any, second: Any) -> ValueClass | None:
    if first is None and second is None:
        return None
    if (first if second is None else second) in ("", b""):
        return ValueClass(DifferenceKind.NULL_FOR_EMPTY, side=int(second is None))
    return ValueClass(DifferenceKind.NULLED if second is None else DifferenceKind.FILLED, side=1)


def _spelling(first: Any, second: Any) -> ValueClass | None:
    """Booleans and numbers, each as itself or as text."""
    meanings = {_meaning(first), _meaning(second)}
    kinds = {type(first), type(second)}
    if meanings in ({True}, {False}) and kinds & {str, bool}:
        return ValueClass(DifferenceKind.BOOLEAN_SPELLING)
    if str not in kinds and float not in kinds:
        return None
    numbers = _number(first), _number(second)
    if kinds != {float} and numbers[0] is not None and numbers[0] == numbers[1]:
        return ValueClass(DifferenceKind.NUMBER_SPELLING)
    return None


def _not_finite(first: Any, second: Any) -> ValueClass | None:
    """Of numerics alone: a float that is not finite is a value of its type like any other."""
    odd = [isinstance(one, Decimal) and not one.is_finite() for one in (first, second)]
    return ValueClass(DifferenceKind.NOT_FINITE, side=int(odd[1])) if odd[0] != odd[1] else None


def _text(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, str) and isinstance(second, str)):
        return None
    if first.lower() == second.lower():
        return ValueClass(DifferenceKind.CASE)
    if unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second):
        return ValueClass(DifferenceKind.NORMALISATION)
    if first.rstrip(" ") == second.rstrip(" "):
        return ValueClass(DifferenceKind.PADDING, side=int(len(second) > len(first)))
    return None


def _encoded_text(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, str) and isinstance(second, str)):
        return None
    if _json(first) is not None and _json(first) == _json(second):
        return ValueClass(DifferenceKind.JSON_ORDER)
    if _misread(first, second):
        return ValueClass(DifferenceKind.MOJIBAKE, side=1)
    if _misread(second, first):
        return ValueClass(DifferenceKind.MOJIBAKE, side=0)
    return _cut(first, second, 0) or _cut(second, first, 1)


def _cut(cut: str, whole: str, side: int) -> ValueClass | None:
    left = cut.rstrip("\ufffd")
    if not left or len(cut) - len(left) > 3 or len(left) >= len(whole) or not whole.startswith(left):
        return None
    size = len(left.encode("utf-8", "surrogatepass"))
    return ValueClass(DifferenceKind.TRUNCATED, len(left), size, side)


def _bytes(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, bytes) and isinstance(second, bytes)):
        return None
    side = int(len(second) < len(first))
    if first.rstrip(b"\0") == second.rstrip(b"\0"):
        return ValueClass(DifferenceKind.PADDING, side=1 - side)
    shorter, longer = sorted((first, second), key=len)
    if shorter and len(shorter) < len(longer) and longer.startswith(shorter):
        return ValueClass(DifferenceKind.TRUNCATED, len(shorter), side=side)
    return None


def _singles(first: Any, second: Any) -> ValueClass | None:
    """Of columns of 32 bits; a value that has more, beside them, is another class's."""
    if not (isinstance(first, float) and isinstance(second, float)):
        return None
    if not (_single(first) == first and _single(second) == second):
        return None
    if not (math.isfinite(first) and math.isfinite(second)):
        return None
    are_whole = first.is_integer() and second.is_integer()
    if are_whole and max(abs(first), abs(second)) < LEAST_WHOLE_SINGLE:
        return None
    apart = abs(_ordinal(first, "<f", "<i") - _ordinal(second, "<f", "<i"))
    return ValueClass(DifferenceKind.ULP, apart) if 1 <= apart <= MOST_SINGLE_ULPS else None


def _floats(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, float) and isinstance(second, float)):
        return None
    if not (math.isfinite(first) and math.isfinite(second)):
        return None
    apart = abs(_ordinal(first) - _ordinal(second))
    if 1 <= apart <= MOST_ULPS:
        return ValueClass(DifferenceKind.ULP, apart)
    if _single(first) == second or _single(second) == first:
        return ValueClass(DifferenceKind.SINGLE_PRECISION, side=int(_single(first) == second))
    return None


def _numbers(first: Any, second: Any) -> ValueClass | None:
    kinds = {type(first), type(second)}
    # a number of any size is text beside a decimal
    if bool in kinds or (str in kinds and Decimal not in kinds):
        return None
    one, other = _number(first), _number(second)
    if one is None or other is None:
        return None
    shorter, longer = sorted((one, other), key=decimals)
    places = decimals(shorter)
    if places == decimals(longer):
        return None
    unit, apart, side = Decimal(1).scaleb(-places), abs(one - other), int(shorter is other)
    if apart * 2 <= unit:
        return ValueClass(DifferenceKind.ROUNDED, places, side=side)
    toward_zero = shorter == 0 or (shorter > 0) == (longer > 0)
    if toward_zero and apart < unit and abs(shorter) < abs(longer):
        return ValueClass(DifferenceKind.CUT_DECIMALS, places, side=side)
    return None


def _times_of_day(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, time) and isinstance(second, time)):
        return None
    # an hour after 23:30 is 0:30: the shorter way round the clock
    one, other = (datetime.combine(date(1970, 1, 2), of.replace(tzinfo=UTC)) for of in (first, second))
    days = [timedelta(days=day) for day in (0, -1, 1)]
    return _times(one, min((other + day for day in days), key=lambda moment: abs(moment - one)))


def _times(first: Any, second: Any) -> ValueClass | None:
    if not (isinstance(first, date) and isinstance(second, date)):
        return None
    if not isinstance(first, datetime) and not isinstance(second, datetime):
        days = (second - first).days
        return ValueClass(DifferenceKind.SHIFTED, days * 1440, side=1) if abs(days) == 1 else None
    one, other = _microseconds(first), _microseconds(second)
    minutes, rest = divmod(other - one, 60 * 10**6)
    if minutes and not rest and not minutes % SHIFT_STEP_MINUTES and abs(minutes) <= FARTHEST_SHIFT_MINUTES:
        return ValueClass(DifferenceKind.SHIFTED, minutes, side=1)
    for unit in PRECISIONS.values():
        is_multiple = (one % unit == 0) != (other % unit == 0)
        if is_multiple and 0 < abs(one - other) < unit:
            return ValueClass(DifferenceKind.REDUCED_PRECISION, unit, side=int(other % unit == 0))
    return None


_RULES: tuple[Callable[[Any, Any], ValueClass | None], ...] = (
    *(_not_finite, _text, _spelling, _encoded_text),
    *(_bytes, _floats, _numbers, _times, _times_of_day),
)


def decimals(number: Decimal) -> int:
    """Return how many decimals a finite number has without trailing zeros.

    >>> decimals(Decimal("1.50")), decimals(Decimal("2E3"))
    (1, 0)
    """
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _meaning(value: Any) -> bool | None:
    text = str(value).strip().lower() if isinstance(value, str | bool | int) else None
    return True if text in TRUE_WORDS else False if text in FALSE_WORDS else None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _json(text: str) -> Any:
    """Return a JSON object or array in a form that knows no order of keys; None for anything else."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(
            text,
            parse_float=Decimal,
            parse_int=Decimal,
            object_pairs_hook=lambda pairs: ("{", sorted(pairs, key=repr)),
        )
    except (ValueError, RecursionError):
        return None


def _misread(right: str, wrong: str) -> bool:
    encoded = right.encode("utf-8", "surrogatepass")
    return any(encoded.decode(charset, "replace") == wrong for charset in ("latin-1", "cp1252"))


def _ordinal(number: float, as_float: str = "<d", as_bits: str = "<q") -> int:
    """Return a number's place among all doubles, or those of another form; both zeros are at 0."""
    (bits,) = struct.unpack(as_bits, struct.pack(as_float, abs(number)))
    return -int(bits) if number < 0 else int(bits)


def _single(number: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.inf


def _microseconds(moment: date) -> int:
    """Return microseconds since 1970; a time without a zone is taken as UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
