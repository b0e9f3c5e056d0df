"""Looking keys up in PostgreSQL: their rows, and which of them rows of another key become on their way.

Keys are sent as text, each cast to the type its column has: neither infinite dates nor years beyond Python's
are lost on the way there. A key that the type cannot hold has no row, which is an answer and no error. Where
a type has no equality, keys are compared as text, which is what base has of such a type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.types.numeric import Int4BinaryLoader, Int8BinaryLoader

from cdc_platform.naming import quoted
from cdc_platform.reconcile.postgres_key_texts import key_texts, text_array
from cdc_platform.reconcile.postgres_types import RULE_AS_TEXT, own_text
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceColumn, SourceTable

_Connection = psycopg.Connection[tuple[Any, ...]]
_Texts = Sequence[Sequence[str | None]]
_Columns = Collection[ColumnPlan]

#: Types by the names they are cast to. No cast is to the length or domain a column is declared with: that
#: cuts values, or refuses them.
_PLAIN_TYPES = frozenset(
    (
        *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "text", "varchar", "bpchar"),
        *("date", "time", "timetz", "timestamp", "timestamptz", "bytea", "uuid"),
    )
)

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Classes of SQLSTATE of what a key is refused with when its type cannot hold it: bad data, a domain's CHECK,
#: a name that does not exist (regclass and its like), a syntax or size no value of the type has.
_REFUSALS = frozenset(("0A", "22", "23", "3F", "42", "54", "P0"))
_STATEMENT, _PRIVILEGE = "42", "42501"


def rows_of_keys(connection: _Connection, keys: pa.Table, plan: ReadPlan) -> list[tuple[Any, ...]]:
    """Return the number of a key, from 1, and the columns of each of its rows. Raises psycopg.Error."""
    # The expressions come from the type table of this package, over quoted identifiers.
    selected = ", ".join(column.select for column in plan.columns)

    def tail(as_text: _Columns) -> str:
        same = (_equals(plan.table, c, f"k.k{i}", as_text) for i, c in enumerate(plan.key))
        return f" JOIN {_table(plan)} t ON {' AND '.join(same)}"

    return _answered(connection, keys, plan, f"SELECT k.n, {selected} FROM ", tail)


def numbers_of_altered(connection: _Connection, keys: pa.Table, plan: ReadPlan) -> list[int]:
    """Return the numbers, from 0, of the keys that rows with another key in the source have in base.

    So for rows of such a key itself, as the source has it. Raises psycopg.Error.
    """

    def tail(as_text: _Columns) -> str:
        where = " AND ".join(_reaches(plan.table, c, f"k.k{i}", as_text) for i, c in enumerate(plan.key))
        return f" WHERE EXISTS (SELECT 1 FROM {_table(plan)} t WHERE {where} AND {_altered(plan)})"

    return [number - 1 for (number,) in _answered(connection, keys, plan, "SELECT k.n FROM ", tail)]


def has_altered_key(connection: _Connection, plan: ReadPlan) -> bool:
    """Return whether any row has another key in base than in the source. Raises psycopg.Error."""
    query = f"SELECT EXISTS (SELECT 1 FROM {_table(plan)} t WHERE {_altered(plan)})"
    return connection.execute(query.encode()).fetchone() == (True,)


def holds_bounds(connection: _Connection, bounds: Sequence[Sequence[str]], plan: ReadPlan) -> bool:
    """Return whether the key's types can hold ``bounds``, in their order. Raises psycopg.Error."""
    texts = [[bound[i] for bound in bounds] for i in range(len(plan.key))]
    for column, values in zip(plan.key, texts, strict=True):
        # other spellings of one value are in another order
        if _base_type(plan.table, column) == "uuid" and any(not _CANONICAL_UUID.fullmatch(v) for v in values):
            return False
    return len(_held(connection, plan, texts, ())) == len(bounds)


def key_type(table: SourceTable, column: ColumnPlan) -> str:
    """Return the type values of a key column are compared in."""
    found = _of(table, column)
    return found.base_type if found.base_type in _PLAIN_TYPES else found.plain_type


def _table(plan: ReadPlan) -> str:
    return f"{quoted(plan.table.schema)}.{quoted(plan.table.name)}"


def _altered(plan: ReadPlan) -> str:
    """Return the condition that a column of the key of a row ``t`` is another in base."""
    return f"({' OR '.join(c.altered.format(_own(c)) for c in plan.key if c.altered is not None)})"


def _own(column: ColumnPlan) -> str:
    return f"t.{quoted(column.source_column)}"


def _equals(table: SourceTable, column: ColumnPlan, key: str, as_text: _Columns) -> str:
    """Return the condition that a value of the source is the key's."""
    if column in as_text:
        return f"{own_text(_of(table, column)).format(_own(column))} = {key}"
    # of a domain not every type's equality is found
    cast_ = f"::{key_type(table, column)}" if _of(table, column).is_domain else ""
    return f"{_own(column)}{cast_} = {key}"


def _reaches(table: SourceTable, column: ColumnPlan, key: str, as_text: _Columns) -> str:
    """Return the condition that a value of the source is the key's, or may become it."""
    if column.reached_from is None:
        return _equals(table, column, key, as_text)
    lowest, highest = (bound.format(key) for bound in column.reached_from)
    return f"{_own(column)} >= {lowest} AND {_own(column)} <= {highest}"


def _answered(
    connection: _Connection, keys: pa.Table, plan: ReadPlan, head: str, tail: Callable[[_Columns], str]
) -> list[tuple[Any, ...]]:
    """Return what a query over the keys gives; ``tail`` is of the columns it compares as text."""
    texts = [key_texts(keys.column(i), _base_type(plan.table, column)) for i, column in enumerate(plan.key)]
    # a cast that somebody made reads other values, or none, out of what base has
    cast = [c for c in plan.key if _is_own_text(plan.table, c) and _of(plan.table, c).has_own_cast]
    try:
        return _asked(connection, plan, _query(plan, head, tail(cast), cast), texts, cast)
    except psycopg.Error as error:
        as_text = [column for column in plan.key if _is_own_text(plan.table, column)]
        if not as_text or not _is_of_statement(error):
            raise
    return _asked(connection, plan, _query(plan, head, tail(as_text), as_text), texts, as_text)


def _query(plan: ReadPlan, head: str, tail: str, as_text: _Columns = ()) -> str:
    """Return a query that has the keys of its parameters as ``k`` between ``head`` and ``tail``."""
    # each by itself: a cast of an array makes elements of what is an array in it
    casts = (f"x.k{i}{_cast(plan.table, c, as_text)} AS k{i}" for i, c in enumerate(plan.key))
    names = ", ".join(f"k{i}" for i in range(len(plan.key)))
    # a percent sign of a name is none of a placeholder
    before, after = (
        part.replace("%", "%%")
        for part in (
            f"{head}(SELECT x.n, {', '.join(casts)} FROM unnest(",
            f") WITH ORDINALITY AS x({names}, n)) k{tail}",
        )
    )
    return before + ", ".join("%s::text[]" for _ in plan.key) + after


def _asked(
    connection: _Connection, plan: ReadPlan, query: str, texts: _Texts, as_text: _Columns = ()
) -> list[tuple[Any, ...]]:
    """Return what ``query`` gives, of those keys that its types can hold."""
    try:
        return _fetched(connection, query, texts)
    except psycopg.Error as error:
        if not _is_refusal(error):
            raise
        held = _held(connection, plan, texts, as_text)
        if len(held) == len(texts[0]):
            raise
    rows = _fetched(connection, query, [[column[place] for place in held] for column in texts])
    return [(held[number - 1] + 1, *row) for number, *row in rows]


def _fetched(connection: _Connection, query: str, texts: _Texts) -> list[tuple[Any, ...]]:
    # a savepoint: a failure would end the snapshot
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        # Dates and times arrive as the integers they are: PostgreSQL's range exceeds Python's.
        cursor.adapters.register_loader("date", Int4BinaryLoader)
        for name in ("time", "timestamp", "timestamptz"):
            cursor.adapters.register_loader(name, Int8BinaryLoader)
        cursor.execute(query.encode(), [text_array(column) for column in texts])
        return cursor.fetchall()


def _held(connection: _Connection, plan: ReadPlan, texts: _Texts, as_text: _Columns) -> list[int]:
    """Return the places of the keys that the key's types can hold."""
    read = ", ".join(f"count(k.k{i})" for i in range(len(plan.key)))
    query = _query(plan, f"SELECT {read} FROM ", "", as_text)

    def held(first: int, last: int) -> list[int]:
        try:
            _fetched(connection, query, [column[first:last] for column in texts])
            return list(range(first, last))
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            if last - first < 2:
                return []
        middle = (first + last) // 2
        return held(first, middle) + held(middle, last)

    # what refuses no key at all is the fault of none
    _fetched(connection, query, [[] for _ in texts])
    return held(0, len(texts[0]))


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether a value may have been refused, and not the whole statement."""
    if error.sqlstate is None:
        # what the driver does not even send: a zero byte
        return isinstance(error, psycopg.DataError)
    return error.sqlstate[:2] in _REFUSALS and error.sqlstate != _PRIVILEGE


def _is_of_statement(error: psycopg.Error) -> bool:
    """Whether there is no such comparison or type, as far as the reconciliation user sees."""
    return (error.sqlstate or "").startswith(_STATEMENT)


def _cast(table: SourceTable, column: ColumnPlan, as_text: _Columns = ()) -> str:
    """Return the cast of a text to what the key column compares with."""
    # the text of money depends on a locale
    between = "::numeric" if _base_type(table, column) == "money" else ""
    return "" if column in as_text else f"{between}::{key_type(table, column)}"


def _is_own_text(table: SourceTable, column: ColumnPlan) -> bool:
    """Whether base has PostgreSQL's own text of the values of a key column."""
    return column.rule == RULE_AS_TEXT and _base_type(table, column) not in _PLAIN_TYPES


def _of(table: SourceTable, column: ColumnPlan) -> SourceColumn:
    return next(one for one in table.columns if one.name == column.source_column)


def _base_type(table: SourceTable, column: ColumnPlan) -> str:
    return _of(table, column).base_type
