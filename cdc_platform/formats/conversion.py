"""From the type a file has to the type a column should have: an Arrow cast, or an SQL expression.

An Arrow cast is used where no value can fail. Everywhere else an SQL expression yields NULL for a value that
does not convert, and whoever uses it compares with the input to tell the failures: a value is never changed
silently. A fraction is not rounded into an integer, a decimal text with too many digits is refused; only
a value written as a float (``+5.0656000000000000e+05``) is rounded to a decimal column's scale, because that
is what a float stands for.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

from cdc_platform.errors import IncompatibleSchemaChange
from cdc_platform.formats.types import canonical_type, iceberg_type_of

_WHOLE = r"[+-]?[0-9]+([.]0*)?"
_DECIMAL = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)"
_FLOAT = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)[eE][+-]?[0-9]+"
_DAY = r"[0-9]{4,6}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?"
_ZONE = r" ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
_HEX = r"(0[xX]|[\\]x)?([0-9A-Fa-f]{2})*"
_NARROW_DIGITS = 18
#: The first and the last moment of the years that tables and their readers hold.
_YEARS = ("0001-01-01", "9999-12-31")
_MOMENTS = ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")
_INTEGER_DIGITS = {pa.int32(): 10, pa.int64(): 19}


def casts_directly(file_type: pa.DataType, target: pa.DataType) -> bool:
    """Return whether every value of ``file_type`` has its equal in ``target``."""
    source: Any = canonical_type(file_type)
    goal: Any = target
    if source == goal or (at.is_timestamp(source) and at.is_timestamp(goal)):
        return True
    if at.is_decimal(goal):
        if at.is_decimal(source):
            digits, scale = source.precision - source.scale, source.scale
        elif source in _INTEGER_DIGITS:
            digits, scale = _INTEGER_DIGITS[source], 0
        else:
            return False
        return bool(goal.scale >= scale and goal.precision - goal.scale >= digits)
    widening = {(pa.int32(), pa.int64()), (pa.int32(), pa.float64()), (pa.float32(), pa.float64())}
    return (source, goal) in widening


def cast_directly(array: pa.Array[Any], target: pa.DataType) -> pa.Array[Any]:
    """Return ``array`` as ``target``; nanoseconds lose their last three digits, as Iceberg has none."""
    if array.type == target:
        return array
    if at.is_dictionary(array.type):
        array = pc.cast(array, array.type.value_type)
    is_fine = at.is_timestamp(array.type) or at.is_time(array.type)
    return pc.cast(array, target, safe=not (is_fine and getattr(array.type, "unit", "") == "ns"))


def conversion_sql(value: str, file_type: pa.DataType, target: pa.DataType, *, where: str) -> str:
    """Return SQL for ``value`` (of the canonical type of ``file_type``) as ``target``, NULL on failure.

    Raises IncompatibleSchemaChange, naming ``where``, when no value of the one type is one of the other.
    """
    source = canonical_type(file_type)
    if at.is_string(source):
        return _from_text(value, target)
    expression = _from_value(value, source, target)
    if expression is None:
        raise IncompatibleSchemaChange(
            f"the file holds {iceberg_type_of(source)} where `columns` declares {iceberg_type_of(target)}",
            where=where,
            mend=f"declare {iceberg_type_of(source)} or string in `columns` of cdc.yaml",
        )
    return expression


def duckdb_type(arrow_type: pa.DataType) -> str:
    """Return the DuckDB name of a canonical type."""
    return {
        "int": "INTEGER",
        "long": "BIGINT",
        "string": "VARCHAR",
        "binary": "BLOB",
    }.get(iceberg_type_of(arrow_type), iceberg_type_of(arrow_type).upper())


def _matches(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, '{pattern}')"


def _from_text(value: str, target: Any) -> str:
    text = f"trim({value})"
    to = duckdb_type(target)
    if at.is_string(target):
        return value
    if at.is_boolean(target):
        return (
            f"CASE WHEN lower({text}) IN ('true', 't', '1', 'y', 'yes') THEN true "
            f"WHEN lower({text}) IN ('false', 'f', '0', 'n', 'no') THEN false END"
        )
    if at.is_integer(target):
        float_value = f"TRY_CAST({text} AS DOUBLE)"
        return (
            f"CASE WHEN {_matches(text, _WHOLE)} THEN TRY_CAST(split_part({text}, '.', 1) AS {to}) "
            f"WHEN {_matches(text, _FLOAT)} AND {float_value} = trunc({float_value}) "
            f"THEN TRY_CAST({float_value} AS {to}) END"
        )
    if at.is_decimal(target):
        return _decimal_from_text(text, target)
    if at.is_floating(target):
        number = f"({_matches(text, _DECIMAL)} OR {_matches(text, _FLOAT)})"
        names = "('nan', 'inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity')"
        return (
            f"CASE WHEN {number} AND isfinite(TRY_CAST({text} AS {to})) THEN TRY_CAST({text} AS {to}) "
            f"WHEN lower({text}) IN {names} THEN TRY_CAST({text} AS {to}) END"
        )
    if at.is_binary(target):
        return (
            rf"CASE WHEN {_matches(text, _HEX)} THEN unhex(regexp_replace({text}, '^(0[xX]|[\\]x)', '')) END"
        )
    return _moment_from_text(text, target)


def _decimal_from_text(text: str, target: Any) -> str:
    to, narrow = duckdb_type(target), _NARROW_DIGITS - target.scale
    is_plain = (
        f"{_matches(text, _DECIMAL)} AND length(rtrim(split_part({text}, '.', 2), '0')) <= {target.scale}"
    )
    cases = [
        f"WHEN {is_plain} THEN TRY_CAST({text} AS {to})",
        f"WHEN {_matches(text, _FLOAT)} THEN TRY_CAST(TRY_CAST({text} AS DOUBLE) AS {to})",
    ]
    if target.precision > _NARROW_DIGITS and narrow > 0:
        # a decimal of more than 18 digits takes DuckDB 100 times as long from text: most values need not
        through = f"CAST(TRY_CAST({text} AS DECIMAL({_NARROW_DIGITS}, {target.scale})) AS {to})"
        cases.insert(0, f"WHEN {is_plain} AND length(split_part({text}, '.', 1)) <= {narrow} THEN {through}")
    return f"CASE {' '.join(cases)} END"


def _moment_from_text(text: str, target: Any) -> str:
    if at.is_date(target):
        midnight = rf"{_DAY}([ T]00:00(:00([.]0+)?)?)?"
        day = f"regexp_extract({text}, '^{_DAY}')"
        return (
            f"CASE WHEN {_matches(text, midnight)} THEN {_storable(f'TRY_CAST({day} AS DATE)', 'DATE')} END"
        )
    if at.is_time(target):
        clock = f"TRY_CAST({text} AS TIME)"
        return f"CASE WHEN {_matches(text, _CLOCK)} AND {clock} < TIME '24:00:00' THEN {clock} END"
    moment = f"{_DAY}([ T]{_CLOCK})?"
    to = "TIMESTAMP" if target.tz is None else "TIMESTAMPTZ"
    shape = moment if target.tz is None else f"{moment}({_ZONE})?"
    return f"CASE WHEN {_matches(text, shape)} THEN {_storable(f'TRY_CAST({text} AS {to})', to)} END"


def _storable(moment: str, kind: str) -> str:
    """Return SQL for ``moment``, NULL outside of the years that tables hold."""
    low, high = _YEARS if kind == "DATE" else _MOMENTS
    return f"(CASE WHEN {moment} BETWEEN {kind} '{low}' AND {kind} '{high}' THEN {moment} END)"


def _from_value(value: str, source: Any, target: Any) -> str | None:
    to = duckdb_type(target)
    is_number = at.is_integer(source) or at.is_decimal(source) or at.is_floating(source)
    if at.is_string(target) and not at.is_binary(source):
        return f"CAST({value} AS VARCHAR)"
    if is_number and at.is_integer(target):
        return f"CASE WHEN {value} = trunc({value}) THEN TRY_CAST({value} AS {to}) END"
    if at.is_floating(source) and at.is_decimal(target):
        return f"TRY_CAST({value} AS {to})"
    if is_number and at.is_decimal(target):
        return f"CASE WHEN TRY_CAST({value} AS {to}) = {value} THEN TRY_CAST({value} AS {to}) END"
    if is_number and at.is_floating(target):
        return f"TRY_CAST({value} AS {to})"
    if is_number and at.is_boolean(target):
        return f"CASE WHEN {value} = 1 THEN true WHEN {value} = 0 THEN false END"
    if at.is_boolean(source) and at.is_integer(target):
        return f"CAST({value} AS {to})"
    if at.is_timestamp(source) and at.is_date(target):
        return f"CASE WHEN {value} = date_trunc('day', {value}) THEN CAST({value} AS DATE) END"
    if at.is_date(source) and at.is_timestamp(target):
        return f"CAST({value} AS {to})"
    return None
