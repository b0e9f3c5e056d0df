"""What DMS makes of PostgreSQL's types: one table from a column's type to an Arrow type and a text parser.

Full load (COPY) and the log (pgoutput) both give values as PostgreSQL's own text, so one parser serves both
and a row looks the same whichever way it came. Where DMS changes a value, so does this module:

* ``boolean`` is the string ``true`` or ``false`` unless the endpoint says MapBooleanAsBoolean;
* ``numeric`` without precision is ``decimal(28,6)``, rounded; with more than 38 digits it is a string;
  NaN and infinity have no decimal: NULL;
* ``timestamp`` and ``timestamptz`` are both UTC microseconds; infinity, years before 1 and after 9999 are
  clamped to the ends of that range, dates too;
* ``time`` keeps milliseconds only (Parquet TIME32), and loses its zone;
* everything else (uuid, json, inet, interval, enums, arrays…) is PostgreSQL's text.
"""

from __future__ import annotations

import binascii
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute

from cdc_platform.decimal_text import MOST_DIGITS, decimals_of_text
from cdc_platform.errors import LocalServiceError

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
_LOG = logging.getLogger(__name__)
_UNBOUNDED_NUMERIC = pa.decimal128(28, 6)
_LOB_NAMES = frozenset({"text", "json", "jsonb", "xml", "bytea", "tsvector", "hstore"})
_EARLIEST_DATE, _LATEST_DATE = "0001-01-01", "9999-12-31"

# the stubs of the compute functions do not know arrays whose type is only known at run time
pc: Any = pyarrow.compute
Values: TypeAlias = Any  # an Arrow array
ArrowType: TypeAlias = Any
Text: TypeAlias = Any  # an Arrow string array
Parser: TypeAlias = Callable[[Text, ArrowType], Values]


@dataclass(frozen=True, slots=True)
class SourceType:
    """A column's type at the source: PostgreSQL's base type name (domains resolved) and type modifier."""

    name: str
    modifier: int = -1
    is_array: bool = False

    @property
    def is_lob(self) -> bool:
        """Whether DMS treats the column as a LOB (truncated in limited LOB mode, no before image)."""
        return self.is_array or self.name in _LOB_NAMES


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The Arrow type a column has in the files, and how PostgreSQL's text becomes it."""

    arrow: ArrowType
    parser: Parser

    def parse(self, text: Text, *, column: str) -> Values:
        """Return ``text`` (an Arrow string array) as values of this type.

        Raises LocalServiceError, naming the column, when a value does not fit.
        """
        try:
            return self.parser(text, self.arrow)
        except (pa.ArrowInvalid, binascii.Error) as fault:
            raise LocalServiceError(
                f"a value does not fit {self.arrow}: {fault}",
                where=f"column {column}",
                mend="leave the column out with a remove-column rule, or reload the table once it is mended",
            ) from fault


def column_type(source: SourceType, *, boolean_as_boolean: bool = False) -> ColumnType:
    """Return what DMS writes for a PostgreSQL column of type ``source``.

    >>> column_type(SourceType("numeric")).arrow
    Decimal128Type(decimal128(28, 6))
    """
    if source.is_array:
        return ColumnType(pa.string(), _parse_plain)
    if source.name == "bool":
        return ColumnType(pa.bool_() if boolean_as_boolean else pa.string(), _parse_boolean)
    if source.name == "numeric":
        return _numeric_type(source.modifier)
    arrow, parser = _TYPES.get(source.name, (pa.string(), _parse_plain))
    return ColumnType(arrow, parser)


def _numeric_type(modifier: int) -> ColumnType:
    if modifier < 4:
        return ColumnType(_UNBOUNDED_NUMERIC, _parse_unbounded_numeric)
    precision = ((modifier - 4) >> 16) & 0xFFFF
    scale = ((modifier - 4) & 0x7FF ^ 1024) - 1024
    precision, scale = max(precision, scale) - min(scale, 0), max(scale, 0)
    if precision > MOST_DIGITS:
        return ColumnType(pa.string(), _parse_plain)
    return ColumnType(pa.decimal128(precision, scale), _parse_numeric)


def _parse_plain(text: Text, arrow: ArrowType) -> Values:
    return text.cast(arrow)


def _parse_boolean(text: Text, arrow: ArrowType) -> Values:
    truth = pc.equal(text, "t")
    return truth if arrow == pa.bool_() else truth.cast(arrow)


def _parse_numeric(text: Text, arrow: ArrowType) -> Values:
    try:
        return text.cast(arrow)
    except pa.ArrowInvalid:
        return _without_specials(text).cast(arrow)


def _parse_unbounded_numeric(text: Text, arrow: ArrowType) -> Values:
    try:
        return decimals_of_text(text, arrow)
    except pa.ArrowInvalid:
        # one digit more than is kept decides the rounding, whatever follows it
        short = pc.replace_substring_regex(_without_specials(text), r"(\.\d{7})\d+", r"\1")
        return pc.round(decimals_of_text(short, pa.decimal128(38, 7)), 6, "half_towards_infinity").cast(arrow)


def _without_specials(text: Text) -> Text:
    finite = pc.invert(pc.match_substring_regex(text, "^(NaN|-?Infinity)$"))
    return pc.if_else(finite, text, pa.scalar(None, pa.string()))


def _parse_money(text: Text, arrow: ArrowType) -> Values:
    return pc.replace_substring_regex(text, "[^0-9.-]", "").cast(arrow)


def _parse_date(text: Text, arrow: ArrowType) -> Values:
    try:
        return text.cast(arrow)
    except pa.ArrowInvalid:
        return _clamped(text, _EARLIEST_DATE, _LATEST_DATE).cast(arrow)


def _parse_timestamp(text: Text, arrow: ArrowType) -> Values:
    naive = pa.timestamp("us")
    try:
        return text.cast(naive).cast(arrow)
    except pa.ArrowInvalid:
        first, last = f"{_EARLIEST_DATE} 00:00:00", f"{_LATEST_DATE} 23:59:59.999999"
        return _clamped(text, first, last).cast(naive).cast(arrow)


def _parse_timestamptz(text: Text, arrow: ArrowType) -> Values:
    try:
        return text.cast(arrow)
    except pa.ArrowInvalid:
        first, last = f"{_EARLIEST_DATE} 00:00:00+00", f"{_LATEST_DATE} 23:59:59.999999+00"
        return _clamped(text, first, last).cast(arrow)


def _clamped(text: Text, first: str, last: str) -> Text:
    early = pc.match_substring_regex(text, "^-infinity$| BC$")
    late = pc.match_substring_regex(text, "^infinity$|^[0-9]{5,}-")
    return pc.if_else(early, first, pc.if_else(pc.and_not(late, early), last, text))


def _parse_time(text: Text, arrow: ArrowType) -> Values:
    local = pc.replace_substring_regex(text, "[+-].*$", "")
    local = pc.if_else(pc.equal(local, "24:00:00"), "23:59:59.999", local)
    moment = pc.binary_join_element_wise("1970-01-01", local, " ").cast(pa.timestamp("us"))
    return moment.cast(pa.time64("us")).cast(arrow, safe=False)


def _parse_bytes(text: Text, arrow: ArrowType) -> Values:
    """Decode ``\\x…`` of a whole column at once: its hex digits lie end to end in one buffer."""
    digits = pc.fill_null(pc.utf8_slice_codeunits(text, 2), "")
    ends = pc.cumulative_sum(pc.divide(pc.binary_length(digits), 2))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    packed = digits.buffers()[2]
    raw = binascii.unhexlify(packed[: 2 * offsets[-1].as_py()]) if packed is not None else b""
    presence = pa.concat_arrays([pc.is_valid(text)]).buffers()[1]
    return pa.Array.from_buffers(arrow, len(text), [presence, offsets.buffers()[1], pa.py_buffer(raw)])


_TYPES: dict[str, tuple[ArrowType, Parser]] = {
    "int2": (pa.int16(), _parse_plain),
    "int4": (pa.int32(), _parse_plain),
    "int8": (pa.int64(), _parse_plain),
    "oid": (pa.int64(), _parse_plain),
    "float4": (pa.float32(), _parse_plain),
    "float8": (pa.float64(), _parse_plain),
    "money": (pa.decimal128(38, 4), _parse_money),
    "date": (pa.date32(), _parse_date),
    "time": (pa.time32("ms"), _parse_time),
    "timetz": (pa.time32("ms"), _parse_time),
    "timestamp": (UTC_MICROSECONDS, _parse_timestamp),
    "timestamptz": (UTC_MICROSECONDS, _parse_timestamptz),
    "bytea": (pa.binary(), _parse_bytes),
}


def limited_lobs(values: Values, limit: int, *, column: str, cut: bool) -> Values:
    """Return LOB values as limited LOB mode leaves them: cut to ``limit`` bytes (or characters).

    DMS cuts with no more than a line in its log. Raises LocalServiceError instead when ``cut`` is false.
    """
    is_text = pa.types.is_string(values.type)
    lengths = pc.utf8_length(values) if is_text else pc.binary_length(values)
    longest = pc.max(lengths).as_py()
    if longest is None or longest <= limit:
        return values
    if not cut:
        raise LocalServiceError(
            f"a value is {longest} long, LobMaxSize allows {limit}",
            where=f"column {column}",
            mend="raise LobMaxSize, then reload the table",
        )
    _LOG.warning("column %s: values were cut to %d, the longest from %d", column, limit, longest)
    return pc.utf8_slice_codeunits(values, 0, limit) if is_text else pc.binary_slice(values, 0, limit)
