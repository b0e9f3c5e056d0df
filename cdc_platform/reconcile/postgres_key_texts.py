"""Keys as text that PostgreSQL reads: also what neither Python's dates nor the driver's lists hold well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, cast

import pyarrow as pa

# The calendar repeats itself after so many years, and they are so many days.
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
_DAY_MICROSECONDS = 86_400_000_000
_INFINITE_DAYS, _INFINITE_MICROSECONDS = 2**31 - 1, 2**63 - 1


def text_array(texts: Sequence[str | None]) -> str:
    r"""Return an array of texts as PostgreSQL reads it: the driver takes several times as long for a list.

    >>> print(text_array(["1", None, "", 'a "b" \\ {c}, null', "NULL"]))
    {"1",NULL,"","a \"b\" \\ {c}, null","NULL"}
    """
    parts = [
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in texts
    ]
    return f"{{{','.join(parts)}}}"


def key_texts(values: Any, base_type: str) -> list[str | None]:
    """Return the values of a key column as PostgreSQL reads them where the column is of ``base_type``."""
    kind = values.type
    if pa.types.is_date(kind):
        return [_date_text(days) for days in values.cast(pa.int32()).to_pylist()]
    if pa.types.is_timestamp(kind):
        in_microseconds = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
        return [_moment_text(moment) for moment in in_microseconds.to_pylist()]
    if pa.types.is_time(kind):
        return [None if time is None else _time_text(time) for time in values.cast(pa.int64()).to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        prefix = "\\x" if base_type == "bytea" else ""
        return [None if one is None else prefix + cast("bytes", one).hex() for one in values.to_pylist()]
    return [None if one is None else str(one) for one in values.to_pylist()]


def _date_text(days: int | None) -> str | None:
    """Return days since 1970 as a date, of any year.

    >>> _date_text(0), _date_text(3_000_000), _date_text(-800_000), _date_text(2**31 - 1)
    ('1970-01-01', '10183-09-21', '0222-09-04 BC', 'infinity')
    """
    if days is None:
        return None
    if abs(days) >= _INFINITE_DAYS:
        return "infinity" if days > 0 else "-infinity"
    return "".join(_day_parts(days))


def _moment_text(moment: int | None) -> str | None:
    if moment is None:
        return None
    if abs(moment) >= _INFINITE_MICROSECONDS:
        return "infinity" if moment > 0 else "-infinity"
    days, time = divmod(moment, _DAY_MICROSECONDS)
    day, era = _day_parts(days)
    return f"{day} {_time_text(time)}{era}"


def _day_parts(days: int) -> tuple[str, str]:
    cycles, rest = divmod(days, _CYCLE_DAYS)
    day = date(1970, 1, 1) + timedelta(days=rest)
    year = day.year + _CYCLE_YEARS * cycles
    return f"{year if year > 0 else 1 - year:04d}-{day:%m-%d}", "" if year > 0 else " BC"


def _time_text(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{rest:06d}"
