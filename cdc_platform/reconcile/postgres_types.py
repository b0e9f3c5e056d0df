"""PostgreSQL types beside base types: one table of how DMS converts, and so how the two compare.

A pair that is not in the table is not compared and listed as excluded; a pair that DMS converts with a change
is compared under a named rule, which the certificate repeats. Any change here is a new TYPE_RULES_VERSION.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from cdc_platform.decimal_text import MOST_DIGITS
from cdc_platform.naming import quoted
from cdc_platform.reconcile.sources import ColumnPlan, Decoding, SourceColumn
from cdc_platform.reconcile.typed import common_type
from cdc_platform.reconcile.verdict import Excluded, Gap

_INTEGERS = {"int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64(), "oid": pa.int64()}
_FLOATS = {"float4": pa.float32(), "float8": pa.float64()}
#: Their cast to text is the system's own, which nobody can replace, and gives the value itself.
_TEXTS = {"text", "varchar", "name"}
# Types with a typed form of their own: as text in base their value could not be told from its spelling.
_NEEDS_TYPE = {*_INTEGERS, *_FLOATS, "date", "timestamp", "timestamptz", "time", "bytea", "money"}
_UTC = pa.timestamp("us", tz="UTC")
#: What DMS makes of a numeric without precision: decimal(28,6).
DMS_SCALE = 6
_MONEY_SCALE = 4

#: The text of a numeric as the type itself writes it: a cast to text may be anybody's.
NUMERIC_TEXT = "pg_catalog.textin(pg_catalog.numeric_out({}))"
_MONEY_TEXT = NUMERIC_TEXT.format("{}::numeric")

RULE_BOOLEAN_TEXT = "boolean travels as the text 'true' or 'false'"
RULE_AS_TEXT = "travels as PostgreSQL's own text of the value"
RULE_CHAR = "char(n): pad spaces at the end are not part of the value"
RULE_NUMERIC_ROUNDED = "numeric without precision is rounded to {} decimals"
RULE_NUMERIC_TEXT = f"numeric wider than {MOST_DIGITS} digits travels as text"
RULE_UTC = "timestamp without time zone is taken as UTC"
RULE_UTC_WALL = "timestamp with time zone is taken as UTC wall time"
RULE_MONEY = "money travels as decimal"
RULE_FINITE = "NaN and infinities have no decimal form and count as NULL"
RULE_CLAMPED = "dates beyond the years 1 to 9999, and infinite ones, are clamped to the ends of that range"
RULE_MILLISECONDS = "time keeps milliseconds only, and 24:00:00 becomes the last of them"
RULE_TIMETZ = "time with time zone loses its zone"

#: The last moment of a day as DMS may have it: nothing says to which precision it clamps. Any other moment of
#: that day is a value of its own.
_LAST_MOMENTS = ("23:59:59.999999", "23:59:59.999", "23:59:59")
#: The ends dates and times are clamped to, over ``{0}``; NULL stays NULL.
_AS_CLAMPED = "CASE WHEN {{0}} > {last} THEN {last} WHEN {{0}} < {first} THEN {first} ELSE {{0}} END"
_LAST_MILLISECOND = 86_399_999_000
# least passes over NULL
_MILLISECONDS = (
    "{source} IS NOT NULL AND epoch_us({base}) = least(epoch_us({source}) // 1000 * 1000, 86399999000)"
)
_AS_MILLISECONDS = (
    "CASE WHEN {0} IS NOT NULL THEN TIME '00:00:00' "
    f"+ to_microseconds(least(epoch_us({{0}}) // 1000 * 1000, {_LAST_MILLISECOND})) END"
)


def iceberg_type(column: SourceColumn) -> str:
    """Return the Iceberg type DMS's conversion of ``column`` fits into, as ``columns`` in cdc.yaml has it."""
    match column.base_type:
        case "bool":
            return "boolean"
        case "int2" | "int4":
            return "int"
        case "int8" | "oid":
            return "long"
        case "float4":
            return "float"
        case "float8":
            return "double"
        case "numeric" if column.precision is None:
            return f"decimal(28,{DMS_SCALE})"
        case "numeric" if (shape := _decimal_shape(column)) is not None:
            return f"decimal({shape.precision},{shape.scale})"
        case "money":
            return f"decimal({MOST_DIGITS},{_MONEY_SCALE})"
        case "date" | "time":
            return column.base_type
        case "timestamp" | "timestamptz":
            return "timestamptz"
        case "bytea":
            return "binary"
        case _:
            return "string"


def _decimal_shape(column: SourceColumn) -> pa.Decimal128Type[int, int] | None:
    """Return the decimal that holds a numeric with a precision; None when it has more than 38 digits."""
    if column.precision is None:
        return None
    scale = column.scale or 0
    digits = max(column.precision, scale) - min(scale, 0)
    return pa.decimal128(digits, max(scale, 0)) if digits <= MOST_DIGITS else None


def plan_column(
    column: SourceColumn, base_type: pa.DataType, *, is_key: bool = False
) -> ColumnPlan | Excluded:
    """Return how ``column`` is read to be compared with a base column of ``base_type``."""
    if column.is_virtual:
        untold = (
            "computed when it is read in the source, so that no log carries it: a change leaves base without"
        )
        return Excluded(column.safe_name, untold, Gap.NO_RULE)
    planned = _planned(column, base_type, is_key)
    if planned is None:
        return Excluded(
            column.safe_name,
            f"{column.declared_type} in the source and {base_type} in base: no rule compares them by value; "
            "declare the column's type in `columns`",
            Gap.NO_RULE,
        )
    return planned


def _planned(column: SourceColumn, base: pa.DataType, is_key: bool) -> ColumnPlan | None:
    if pa.types.is_string(base) or pa.types.is_large_string(base):
        return _as_text(column)
    if column.base_type == "bool":
        return _plan(column, "{}", pa.bool_()) if pa.types.is_boolean(base) else None
    if column.base_type in _INTEGERS:
        cast = "{}::int8" if column.base_type == "oid" else "{}"
        return _by_value(_plan(column, cast, _INTEGERS[column.base_type]), base)
    if column.base_type in _FLOATS:
        return _plan(column, "{}", _FLOATS[column.base_type]) if pa.types.is_floating(base) else None
    if column.base_type in ("numeric", "money"):
        return _numeric(column, base, is_key)
    return _temporal_or_bytes(column, base, is_key)


def _as_text(column: SourceColumn) -> ColumnPlan | None:
    if column.base_type in _TEXTS:
        return _plan(column, "{}::text", pa.string())
    if column.base_type == "bpchar":
        return _plan(column, "{}::text", pa.string(), base="rtrim({}, ' ')", rule=RULE_CHAR)
    if column.base_type == "bool":
        return _plan(column, "{}::text", pa.string(), rule=RULE_BOOLEAN_TEXT)
    if column.base_type == "numeric":
        wide = column.precision is not None and _decimal_shape(column) is None
        return _plan(column, NUMERIC_TEXT, pa.string(), rule=RULE_NUMERIC_TEXT) if wide else None
    if column.base_type in _NEEDS_TYPE:
        return None
    return _plan(column, own_text(column), pa.string(), rule=RULE_AS_TEXT)


def own_text(column: SourceColumn) -> str:
    """Return the SQL template, over ``{0}``, of the text PostgreSQL itself writes of a value, as DMS has it.

    That is what the type's output function gives. A cast to text is another function where the type has one,
    the system's (inet adds a mask length) or anybody's, and may even make two values one.
    """
    if column.output:
        return f"pg_catalog.textin({column.output}({{0}}))"
    # format calls the output function of whatever type it is given, and writes NULL as nothing; "IS NOT NULL"
    # is false of a composite with a NULL in it
    return "CASE WHEN {0} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {0}) END"


def _numeric(column: SourceColumn, base: pa.DataType, is_key: bool) -> ColumnPlan | None:
    if column.base_type == "money":
        plan = _plan(column, _MONEY_TEXT, pa.decimal128(MOST_DIGITS, _MONEY_SCALE), rule=RULE_MONEY)
    elif column.precision is None:
        if not isinstance(base, pa.Decimal128Type):
            return None
        return _numeric_key(column, base) if is_key else _numeric_of_any_size(column, base)
    elif (fitting := _decimal_shape(column)) is None:
        return None
    else:
        plan = _plan(column, NUMERIC_TEXT, fitting, rule=RULE_FINITE)
    return _by_value(plan, base)


def _numeric_of_any_size(column: SourceColumn, base: pa.Decimal128Type[int, int]) -> ColumnPlan:
    """Compare as text of as many decimals on both sides: no decimal type holds what the source may."""
    places = max(DMS_SCALE, base.scale)
    text = "{}::VARCHAR"
    if base.precision == base.scale:
        # DuckDB writes no zero before the point of a decimal without digits there
        text = f"regexp_replace({text}, '^(-?)[.]', '\\10.')"
    missing = "0" * (places - base.scale)
    padded = f"({text} || '{'' if base.scale else '.'}{missing}')" if missing else text
    rule = f"{RULE_NUMERIC_ROUNDED.format(places)}; {RULE_FINITE}"
    planned = _plan(column, _rounded(places), pa.string(), base=padded, rule=rule)
    return replace(planned, decoding=Decoding.NUMBER_TEXT)


def _numeric_key(column: SourceColumn, base: pa.Decimal128Type[int, int]) -> ColumnPlan | None:
    """Keys are ordered, so they stay numbers: one that no decimal holds is refused where it is read."""
    whole = base.precision - base.scale
    places = max(base.scale, min(DMS_SCALE, MOST_DIGITS - whole))
    # what has more decimals than base can be compared in is refused, and never rounded down to it
    select = _rounded(places) if places >= DMS_SCALE else NUMERIC_TEXT
    rule = f"{RULE_NUMERIC_ROUNDED.format(places)}; {RULE_FINITE}"
    return _by_value(_plan(column, select, pa.decimal128(MOST_DIGITS, places), rule=rule), base)


def _rounded(places: int) -> str:
    return NUMERIC_TEXT.format(f"round({{}}, {places})")


def _temporal_or_bytes(column: SourceColumn, base: pa.DataType, is_key: bool) -> ColumnPlan | None:
    kind = column.base_type
    if kind == "bytea" and (pa.types.is_binary(base) or pa.types.is_large_binary(base)):
        return _plan(column, "{}", pa.binary())
    if kind == "uuid" and pa.types.is_fixed_size_binary(base):
        return _plan(column, "uuid_send({})", pa.binary())
    if kind == "date" and pa.types.is_date32(base):
        return _clamped(_plan(column, "{}", pa.date32(), rule=RULE_CLAMPED), is_key)
    if kind in ("time", "timetz") and pa.types.is_time64(base):
        rule = RULE_MILLISECONDS if kind == "time" else f"{RULE_TIMETZ}; {RULE_MILLISECONDS}"
        planned = _plan(column, "{}::time", pa.time64("us"), rule=rule, also=_MILLISECONDS)
        return replace(planned, usual=_AS_MILLISECONDS)
    if kind in ("timestamp", "timestamptz") and isinstance(base, pa.TimestampType):
        zoned = base.tz is not None
        shift = None if zoned == (kind == "timestamptz") else (RULE_UTC if zoned else RULE_UTC_WALL)
        rule = "; ".join(filter(None, [shift, RULE_CLAMPED]))
        return _clamped(_plan(column, "{}", _UTC if zoned else pa.timestamp("us"), rule=rule), is_key)
    return None


def _clamped(planned: ColumnPlan, is_key: bool) -> ColumnPlan:
    """Return the plan of dates or times of which base holds those beyond its range as the end of it."""
    first, last = "0001-01-01", "9999-12-31"
    ends = [f"DATE '{last}'"]
    start = f"DATE '{first}'"
    if isinstance(planned.arrow, pa.TimestampType):
        name, zone = ("TIMESTAMPTZ", "+00") if planned.arrow.tz else ("TIMESTAMP", "")
        ends = [f"{name} '{last} {moment}{zone}'" for moment in _LAST_MOMENTS]
        start = f"{name} '{first} 00:00:00{zone}'"
    also = (
        f"({{source}} > {ends[0]} AND {{base}} IN ({', '.join(ends)}))"
        f" OR ({{source}} < {start} AND {{base}} = {start})"
    )
    usual = "{}" if is_key else _AS_CLAMPED.format(first=start, last=ends[0])
    return replace(planned, also=also, usual=usual)


def _by_value(plan: ColumnPlan, base: pa.DataType) -> ColumnPlan | None:
    return None if common_type(plan.arrow, base) is None else plan


def _plan(
    column: SourceColumn,
    select: str,
    arrow: pa.DataType,
    *,
    base: str = "{}",
    also: str | None = None,
    rule: str | None = None,
) -> ColumnPlan:
    wire, decoding = arrow, Decoding.AS_IS
    if pa.types.is_decimal(arrow):
        wire, decoding = pa.string(), Decoding.DECIMAL_TEXT
    elif pa.types.is_date(arrow):
        wire, decoding = pa.int32(), Decoding.EPOCH_2000_DAYS
    elif pa.types.is_timestamp(arrow):
        wire, decoding = pa.int64(), Decoding.EPOCH_2000_MICROSECONDS
    elif pa.types.is_time(arrow):
        wire = pa.int64()
    return ColumnPlan(
        column=column.safe_name,
        source_column=column.name,
        declared_type=column.declared_type,
        select=select.format(f"t.{quoted(column.name)}"),
        wire=wire,
        arrow=arrow,
        decoding=decoding,
        base=base,
        also=also,
        rule=rule,
    )
