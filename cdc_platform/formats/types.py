"""Column types: one table of traps between what DMS writes, what Arrow holds and what Iceberg knows.

*Canonical* types are those events and base tables have; each is one Iceberg type.

| in a file (Arrow)                 | canonical (Arrow)  | Iceberg       | why                             |
|-----------------------------------|--------------------|---------------|---------------------------------|
| int8, int16, uint8, uint16        | int32              | int           | Iceberg has no smaller integers |
| uint32                            | int64              | long          | 2³²-1 does not fit an int       |
| uint64                            | decimal(20,0)      | decimal(20,0) | 2⁶⁴-1 does not fit a long       |
| float16                           | float32            | float         |                                 |
| decimal32, decimal64, decimal256  | decimal128(p,s)    | decimal(p,s)  | up to 38 digits                 |
| time32, time64[ns]                | time64[us]         | time          | Iceberg refuses time in ms      |
| date64                            | date32             | date          |                                 |
| timestamp, any unit, zone or none | timestamp[us, UTC] | timestamptz   | DMS writes UTC, zone or not     |
| dictionary, large_string, …_view  | string             | string        |                                 |
| large_binary, fixed_size_binary   | binary             | binary        |                                 |
| null                              | string             | string        | a column that never had a value |

PostgreSQL booleans written as 'true' and 'false' stay strings, and local times without a zone become
timestamptz, unless ``columns`` in cdc.yaml says ``boolean`` or ``timestamp``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.types as at

from cdc_platform.errors import SchemaError
from cdc_platform.events import TIMESTAMP_TYPE

_PLAIN: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": TIMESTAMP_TYPE,
    "string": pa.string(),
    "binary": pa.binary(),
}
_NAMES = {arrow: name for name, arrow in _PLAIN.items()}
_DECIMAL = re.compile(r"decimal\(\s*(?P<precision>[0-9]{1,2})\s*,\s*(?P<scale>[0-9]{1,2})\s*\)", re.ASCII)
_INSTEAD = {"uuid": "string", "integer": "int", "bigint": "long", "text": "string", "bool": "boolean"}


def canonical_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type a column of ``arrow_type`` has in events and in base.

    Raises SchemaError for types no DMS file has (lists, structs, intervals, decimals beyond 38 digits).
    """
    if at.is_dictionary(arrow_type):
        return canonical_type(arrow_type.value_type)
    if at.is_decimal(arrow_type):
        return _canonical_decimal(arrow_type)
    for is_kind, canonical in _TRAPS:
        if is_kind(arrow_type):
            return canonical
    if arrow_type in _NAMES:
        return arrow_type
    raise SchemaError(
        f"type {arrow_type} has no place in a base table",
        mend="leave the column out of the DMS task by a transformation rule, or have it written as a string",
    )


def iceberg_type_of(arrow_type: pa.DataType) -> str:
    """Return the Iceberg name of the canonical type of ``arrow_type``; a naive timestamp stays one.

    >>> iceberg_type_of(pa.uint64()), iceberg_type_of(pa.timestamp("us"))
    ('decimal(20, 0)', 'timestamp')
    """
    canonical: Any = arrow_type if arrow_type in _NAMES else canonical_type(arrow_type)
    if at.is_decimal(canonical):
        return f"decimal({canonical.precision}, {canonical.scale})"
    return _NAMES[canonical]


def parse_iceberg_type(text: str) -> pa.DataType:
    """Return the Arrow type of an Iceberg type as ``columns`` in cdc.yaml names it.

    Raises SchemaError naming the types there are.
    """
    name = text.strip().lower()
    if name in _PLAIN:
        return _PLAIN[name]
    if found := _DECIMAL.fullmatch(name):
        precision, scale = int(found["precision"]), int(found["scale"])
        if 1 <= precision <= 38 and scale <= precision:
            return pa.decimal128(precision, scale)
    instead = _INSTEAD.get(name)
    hint = f"write {instead!r}; " if instead else ""
    raise SchemaError(
        f"{text!r} is not a column type",
        mend=f"{hint}types are {', '.join(_PLAIN)} and decimal(p,s) with p up to 38",
    )


_TRAPS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (lambda t: at.is_uint32(t), pa.int64()),
    (lambda t: at.is_uint64(t), pa.decimal128(20, 0)),
    (lambda t: at.is_int8(t) or at.is_int16(t) or at.is_uint8(t) or at.is_uint16(t), pa.int32()),
    (lambda t: at.is_float16(t), pa.float32()),
    (lambda t: at.is_time(t), pa.time64("us")),
    (lambda t: at.is_date(t), pa.date32()),
    (lambda t: at.is_timestamp(t), TIMESTAMP_TYPE),
    (lambda t: at.is_large_string(t) or at.is_string_view(t) or at.is_null(t), pa.string()),
    (
        lambda t: at.is_large_binary(t) or at.is_binary_view(t) or at.is_fixed_size_binary(t),
        pa.binary(),
    ),
)


def _canonical_decimal(arrow_type: Any) -> pa.DataType:
    precision, scale = arrow_type.precision, arrow_type.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    if precision > 38:
        raise SchemaError(
            f"type {arrow_type} has more than 38 digits",
            mend="have DMS write the column as a string, or with 38 digits at most",
        )
    return pa.decimal128(precision, scale)
