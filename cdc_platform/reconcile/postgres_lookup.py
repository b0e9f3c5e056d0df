"""Looking keys up in PostgreSQL: their rows, and which of them rows of another key become on their way.

Keys are sent as text, each cast to the type its column has: neither infinite dates nor years beyond Python's
are lost on the way there. A key that the type cannot hold has no row, which is an answer and no error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, cast

import psycopg
import pyarrow as pa
from psycopg.types.numeric import Int4BinaryLoader, Int8BinaryLoader

from cdc_platform.naming import quoted
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceTable

_Connection = psycopg.Connection[tuple[Any, ...]]
_Texts = Sequence[Sequence[str | None]]

#: Types keys are cast to without the length or domain they are declared with: a cast to those cuts values.
_PLAIN_TYPES = frozenset(
    (
        *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "text", "varchar", "bpchar"),
        *("date", "time", "timetz", "timestamp", "timestamptz", "bytea", "uuid"),
    )
)

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The calendar repeats itself after so many years, and they are so many days.
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
_DAY_MICROSECONDS = 86_400_000_000
_INFINITE_DAYS, _INFINITE_MICROSECONDS = 2**31 - 1, 2**63 - 1


def rows_of_keys(connection: _Connection, keys: pa.Table, plan: ReadPlan) -> list[tuple[Any, ...]]:
    """Return the number of a key, from 1, and the columns of each of its rows. Raises psycopg.Error."""
    # The expressions come from the type table of this package, over quoted identifiers.
    selected = ", ".join(column.select for column in plan.columns)
    same = " AND ".join(f"t.{quoted(c.source_column)} = k.k{i}" for i, c in enumerate(plan.key))
    return _asked(
        connection, keys, plan, f"SELECT k.n, {selected} FROM ", f" JOIN {_table(plan)} t ON {same}"
    )


def numbers_of_altered(connection: _Connection, keys: pa.Table, plan: ReadPlan) -> list[int]:
    """Return the numbers, from 0, of the keys that rows with another key in the source have in base.

    So for rows of such a key itself, as the source has it. Raises psycopg.Error.
    """
    where = " AND ".join(_reaches(column, f"k.k{i}") for i, column in enumerate(plan.key))
    rest = f" WHERE EXISTS (SELECT 1 FROM {_table(plan)} t WHERE {where} AND {_altered(plan)})"
    return [number - 1 for (number,) in _asked(connection, keys, plan, "SELECT k.n FROM ", rest)]


def has_altered_key(connection: _Connection, plan: ReadPlan) -> bool:
    """Return whether any row has another key in base than in the source. Raises psycopg.Error."""
    found = connection.execute(
        f"SELECT EXISTS (SELECT 1 FROM {_table(plan)} t WHERE {_altered(plan)})".encode()
    ).fetchone()
    return bool(found and found[0])


def holds_bounds(connection: _Connection, bounds: Sequence[Sequence[str]], plan: ReadPlan) -> bool:
    """Return whether the key's types can hold ``bounds``, in their order. Raises psycopg.Error."""
    texts = [[bound[i] for bound in bounds] for i in range(len(plan.key))]
    for column, values in zip(plan.key, texts, strict=True):
        # other spellings of one value are in another order
        if _base_type(plan.table, column) == "uuid" and any(not _CANONICAL_UUID.fullmatch(v) for v in values):
            return False
    casts = ", ".join("%s" + _array_cast(plan.table, c).replace("%", "%%") for c in plan.key)
    try:
        with connection.transaction():
            connection.execute(f"SELECT {casts}".encode(), texts)
    except psycopg.DataError:
        return False
    return True


def key_type(table: SourceTable, column: ColumnPlan) -> str:
    """Return the type values of a key column are compared in."""
    base_type = _base_type(table, column)
    return base_type if base_type in _PLAIN_TYPES else column.declared_type


def _table(plan: ReadPlan) -> str:
    return f"{quoted(plan.table.schema)}.{quoted(plan.table.name)}"


def _altered(plan: ReadPlan) -> str:
    """Return the condition that a column of the key of a row ``t`` is another in base."""
    return f"({' OR '.join(c.altered.format(_own(c)) for c in plan.key if c.altered is not None)})"


def _own(column: ColumnPlan) -> str:
    return f"t.{quoted(column.source_column)}"


def _reaches(column: ColumnPlan, key: str) -> str:
    """Return the condition that a value of the source is the key's, or may become it."""
    if column.reached_from is None:
        return f"{_own(column)} = {key}"
    lowest, highest = (bound.format(key) for bound in column.reached_from)
    return f"{_own(column)} >= {lowest} AND {_own(column)} <= {highest}"


def _asked(
    connection: _Connection, keys: pa.Table, plan: ReadPlan, head: str, tail: str
) -> list[tuple[Any, ...]]:
    """Return what a query gives that has the keys as ``k`` (k0 …, n from 1) between ``head`` and ``tail``."""
    names = ", ".join(f"k{i}" for i in range(len(plan.key)))
    casts = [_array_cast(plan.table, column) for column in plan.key]
    # a percent sign of a name is none of a placeholder
    head, tail = head.replace("%", "%%"), tail.replace("%", "%%")
    arrays = ", ".join("%s" + one.replace("%", "%%") for one in casts)
    query = f"{head}unnest({arrays}) WITH ORDINALITY AS k({names}, n){tail}"
    texts = [_key_texts(keys.column(i), column, plan.table) for i, column in enumerate(plan.key)]
    try:
        # a savepoint: a failure would end the snapshot
        with connection.transaction():
            return _fetched(connection, query, texts)
    except psycopg.DataError:
        held = _held(connection, f"SELECT {arrays}", texts, 0, keys.num_rows)
        if len(held) == keys.num_rows:
            raise
        rows = _fetched(connection, query, [[column[place] for place in held] for column in texts])
        return [(held[number - 1] + 1, *row) for number, *row in rows]


def _fetched(connection: _Connection, query: str, texts: _Texts) -> list[tuple[Any, ...]]:
    with connection.cursor(binary=True) as cursor:
        # Dates and times arrive as the integers they are: PostgreSQL's range exceeds Python's.
        cursor.adapters.register_loader("date", Int4BinaryLoader)
        for name in ("time", "timestamp", "timestamptz"):
            cursor.adapters.register_loader(name, Int8BinaryLoader)
        cursor.execute(query.encode(), [list(column) for column in texts])
        return cursor.fetchall()


def _held(connection: _Connection, cast_query: str, texts: _Texts, first: int, last: int) -> list[int]:
    """Return the places of the keys from ``first`` to below ``last`` that the key's types can hold."""
    try:
        with connection.transaction():
            connection.execute(cast_query.encode(), [list(column[first:last]) for column in texts])
        return list(range(first, last))
    except psycopg.DataError:
        if last - first < 2:
            return []
        middle = (first + last) // 2
        below = _held(connection, cast_query, texts, first, middle)
        return below + _held(connection, cast_query, texts, middle, last)


def _array_cast(table: SourceTable, column: ColumnPlan) -> str:
    """Return the cast of an array of texts to one of what the key column compares with."""
    # the text of money depends on a locale
    between = "::numeric[]" if _base_type(table, column) == "money" else ""
    return f"{between}::{key_type(table, column)}[]"


def _base_type(table: SourceTable, column: ColumnPlan) -> str:
    return next(one.base_type for one in table.columns if one.name == column.source_column)


def _key_texts(values: Any, column: ColumnPlan, table: SourceTable) -> list[str | None]:
    """Return the values of a key column as PostgreSQL reads them."""
    kind = values.type
    if pa.types.is_date(kind):
        return [_date_text(days) for days in values.cast(pa.int32()).to_pylist()]
    if pa.types.is_timestamp(kind):
        in_microseconds = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
        return [_moment_text(moment) for moment in in_microseconds.to_pylist()]
    if pa.types.is_time(kind):
        return [None if time is None else _time_text(time) for time in values.cast(pa.int64()).to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        prefix = "\\x" if _base_type(table, column) == "bytea" else ""
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
