"""Typed values: which two column types compare by value, and how a value looks in JSON.

Nothing here makes text to compare: two columns are brought to their common type and compared NULL-safe by
one engine. Floats are equal when their bits are, except that NaN equals NaN and -0.0 equals 0.0; decimals
and integers are equal by value whatever their scale; text and bytes are equal byte by byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from cdc_platform.decimal_text import MOST_DIGITS

#: Changes whenever a rule of this module or of the source's type rules does: old verdicts say what they mean.
TYPE_RULES_VERSION = "4"

#: Longest text a discrepancy carries; comparing always sees the whole value.
_LONGEST_TEXT = 2000

_DIGITS: dict[pa.DataType, int] = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 19}


def common_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Return the type both convert to without changing any value, or None when there is none."""
    left, right = _plain(left), _plain(right)
    if left == right:
        return left
    if pa.types.is_null(left):
        return right
    if pa.types.is_null(right):
        return left
    if pa.types.is_floating(left) and pa.types.is_floating(right):
        return pa.float64()
    if pa.types.is_signed_integer(left) and pa.types.is_signed_integer(right):
        return left if left.bit_width >= right.bit_width else right
    pair = {left, right}
    if pa.float64() in pair and pair & {pa.int8(), pa.int16(), pa.int32(), pa.float32()}:
        return pa.float64()
    return _common_decimal(left, right)


def _plain(type_: pa.DataType) -> pa.DataType:
    """Return the canonical form of a type that only differs in layout."""
    if pa.types.is_large_string(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return pa.binary()
    if pa.types.is_large_list(type_) or pa.types.is_list(type_):
        return pa.list_(_plain(type_.value_type))
    return type_


def _common_decimal(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    shapes = [_decimal_shape(left), _decimal_shape(right)]
    if any(shape is None for shape in shapes):
        return None
    whole = max(shape[0] for shape in shapes if shape)
    scale = max(shape[1] for shape in shapes if shape)
    return pa.decimal128(whole + scale, scale) if whole + scale <= MOST_DIGITS else None


def _decimal_shape(type_: pa.DataType) -> tuple[int, int] | None:
    """Return (digits before the point, digits after it) of a decimal or an integer."""
    if isinstance(type_, pa.Decimal128Type):
        return type_.precision - type_.scale, type_.scale
    digits = _DIGITS.get(type_)
    return None if digits is None else (digits, 0)


def differs_sql(left: str, right: str) -> str:
    """Return the SQL condition that two values of one type differ, NULL being equal to NULL only."""
    return f"{left} IS DISTINCT FROM {right}"


def json_values(columns: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it."""
    return {column: json_value(value) for column, value in zip(columns, values, strict=True)}


def json_value(value: Any) -> Any:
    """Return ``value`` as JSON can hold it, never losing a digit; long text is cut and says so.

    >>> json_value(Decimal("1.10")), json_value(b"\\x00a"), json_value(float("nan"))
    ('1.10', '\\\\x0061', 'NaN')
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value).replace("nan", "NaN")
        case bytes():
            return _cut("\\x" + value.hex())
        case str():
            return _cut(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta() | Decimal() | UUID():
            return str(value)
        case dict():
            return {str(name): json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [json_value(item) for item in value]
        case _:
            return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """Return ``schema`` without the layout differences that are none of its values."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])
