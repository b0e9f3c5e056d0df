"""Column types on their three sides (Arrow, Iceberg, DuckDB), and which type two of them become.

A table's column only ever widens, and only where Iceberg allows it; a narrower value is cast up when no
value can be lost. Key columns may also change between number and text, value by value, because a full load
and the log decoder of one source do not always agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    PrimitiveType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from cdc_platform.decimal_text import MOST_DIGITS

#: Iceberg types that several Arrow types become.
_SEVERAL = (IntegerType, StringType, BinaryType)

_ICEBERG: dict[pa.DataType, PrimitiveType] = {
    pa.bool_(): BooleanType(),
    pa.int8(): IntegerType(),
    pa.int16(): IntegerType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.binary(): BinaryType(),
    pa.large_binary(): BinaryType(),
    pa.date32(): DateType(),
    pa.time64("us"): TimeType(),
    pa.timestamp("us"): TimestampType(),
    pa.timestamp("us", tz="UTC"): TimestamptzType(),
}

_ARROW: dict[IcebergType, pa.DataType] = {
    IntegerType(): pa.int32(),
    StringType(): pa.string(),
    BinaryType(): pa.binary(),
    **{kind: arrow for arrow, kind in _ICEBERG.items() if not isinstance(kind, _SEVERAL)},
}

_DUCKDB: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    StringType: "VARCHAR",
    BinaryType: "BLOB",
    FixedType: "BLOB",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    UUIDType: "UUID",
}

_DIGITS: dict[type[IcebergType], int] = {IntegerType: 10, LongType: 19}


def iceberg_type(arrow: pa.DataType) -> PrimitiveType | None:
    """Return the Iceberg type of a canonical Arrow type, None when a base table cannot hold it."""
    if pa.types.is_decimal128(arrow):
        return DecimalType(arrow.precision, arrow.scale)
    return _ICEBERG.get(arrow)


def arrow_type(iceberg: IcebergType) -> pa.DataType | None:
    """Return the canonical Arrow type of an Iceberg type, None for those no base table of ours has."""
    if isinstance(iceberg, DecimalType):
        return pa.decimal128(iceberg.precision, iceberg.scale)
    return _ARROW.get(iceberg)


def duckdb_type(iceberg: IcebergType) -> str | None:
    """Return the DuckDB type of an Iceberg type, None for nested ones."""
    if isinstance(iceberg, DecimalType):
        return f"DECIMAL({iceberg.precision}, {iceberg.scale})"
    return _DUCKDB.get(type(iceberg))


@dataclass(frozen=True, slots=True)
class Combined:
    """The type a column has from now on, and whether each incoming value has to be checked for loss."""

    type: PrimitiveType
    checked: bool = False


def combined(table: IcebergType, incoming: PrimitiveType, *, key: bool) -> Combined | None:
    """Return the type of a column of type ``table`` once ``incoming`` values go into it, None for never.

    >>> combined(IntegerType(), LongType(), key=False).type
    LongType()
    >>> combined(LongType(), StringType(), key=False), combined(LongType(), StringType(), key=True).checked
    (None, True)
    """
    if not isinstance(table, PrimitiveType):
        return None
    if table == incoming:
        return Combined(table)
    widened = _numbers(table, incoming)
    if widened is not None:
        return Combined(widened)
    if key and _exchangeable(table) and _exchangeable(incoming):
        return Combined(table, checked=not isinstance(table, StringType))
    return None


def _numbers(table: PrimitiveType, incoming: PrimitiveType) -> PrimitiveType | None:
    match table, incoming:
        case (LongType(), IntegerType()) | (IntegerType(), LongType()):
            return LongType()
        case (DoubleType(), FloatType() | IntegerType()) | (FloatType(), DoubleType()):
            return DoubleType()
        case DecimalType(), DecimalType() if incoming.scale <= table.scale:
            return _decimal(table, incoming.precision - incoming.scale)
        case DecimalType(), IntegerType() | LongType():
            return _decimal(table, _DIGITS[type(incoming)])
    return None


def _decimal(table: DecimalType, integer_digits: int) -> DecimalType | None:
    """Return ``table`` with room for so many digits before the point; the scale never changes."""
    precision = max(table.precision, integer_digits + table.scale)
    return DecimalType(precision, table.scale) if precision <= MOST_DIGITS else None


def _exchangeable(kind: Any) -> bool:
    return isinstance(kind, IntegerType | LongType | StringType) or (
        isinstance(kind, DecimalType) and kind.scale == 0
    )
