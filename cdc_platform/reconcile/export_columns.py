"""What the columns of a Parquet file hold, and whether the engine that reads them keeps every value.

The engine reads some types as narrower ones without a word: nanoseconds are cut to microseconds, decimals of
more than 38 digits become floats. Types are therefore told from the file's own schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cdc_platform.decimal_text import MOST_DIGITS
from cdc_platform.naming import quoted
from cdc_platform.reconcile.typed import canonical_schema, common_type

_UNSIGNED: dict[pa.DataType, pa.DataType] = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
}
_SQL: dict[pa.DataType, str] = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


@dataclass(frozen=True, slots=True)
class HeldColumn:
    """A column of a file.

    ``name`` is the one the file has, ``read_name`` the one the engine gives it; ``type`` holds each of its
    values, and ``label`` is what a message calls the file's type.
    ``finer``: values may have nanoseconds, which the engine cuts. ``zone_untold``: a timestamp that the
    oldest form of Parquet's types leaves open. ``doubt`` says why values cannot be told from what is read.
    """

    name: str
    read_name: str
    type: pa.DataType
    label: str
    finer: bool = False
    zone_untold: bool = False
    doubt: str = ""


def held_column(shape: Mapping[str, Any], read: pa.Field[Any]) -> HeldColumn:
    """Return what a column holds by a row of the file's schema, the engine reading it as ``read``."""
    logical, seen = shape["logical"] or "", canonical_schema(pa.schema([read])).field(0).type
    names = (shape["name"], read.name)
    if pa.types.is_nested(seen):
        return HeldColumn(*names, seen, str(seen))
    if logical.startswith(("NullType", "UnknownType")):
        return HeldColumn(*names, pa.null(), "null")
    if shape["type"] == "INT96":
        doubt = "timestamps of the old form INT96 have nanoseconds and do not say their zone"
        return HeldColumn(*names, seen, "INT96", doubt=doubt)
    if (shape["digits"] or 0) > MOST_DIGITS:
        label = f"decimal({shape['digits']}, {shape['scale'] or 0})"
        return HeldColumn(
            *names, seen, label, doubt=f"{label} is wider than the {MOST_DIGITS} digits compared here"
        )
    if "NANOS=NanoSeconds" in logical:
        label = str(seen).replace("[us", "[ns")
        return HeldColumn(*names, _in_microseconds(seen), label, finer=True)
    if (shape["converted"] or "").startswith("TIMESTAMP_") and not logical:
        return HeldColumn(*names, pa.timestamp("us", tz="UTC"), "timestamp", zone_untold=True)
    return HeldColumn(*names, _UNSIGNED.get(seen, _in_microseconds(seen)), str(seen))


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else kind


def one_type(kinds: Iterable[pa.DataType]) -> pa.DataType | None:
    """Return the type all of ``kinds`` convert to without changing any value, None when there is none."""
    found: pa.DataType | None = pa.null()
    # a float takes up narrow numbers that have no common type with a narrower float
    for kind in sorted(set(kinds), key=lambda one: (one != pa.float64(), str(one))):
        found = common_type(found, kind) if found is not None else None
    return found


def cast_sql(held: HeldColumn, wanted: pa.DataType) -> str | None:
    """Return SQL of a held column's values as ``wanted``, None when a value could change on the way."""
    kind, name = _sql_type(wanted), quoted(held.read_name)
    if held.doubt:
        return None
    if pa.types.is_null(held.type):
        return None if kind is None else f"NULL::{kind}"
    is_open = held.zone_untold and wanted == pa.timestamp("us")
    if kind is None or not (is_open or common_type(held.type, wanted) == wanted):
        return None
    return f"{name}::{kind}"


def _sql_type(kind: pa.DataType) -> str | None:
    if isinstance(kind, pa.Decimal128Type):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return _SQL.get(kind)
