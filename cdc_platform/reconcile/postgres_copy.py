"""Many rows out of PostgreSQL: ``COPY … TO STDOUT (FORMAT BINARY)`` decoded into Arrow by whole columns.

The server sends each row as one message, so where rows begin is known, and the fields of many rows are then
walked column by column. What the walk must find is checked: the number of fields, the width of each value,
the end of each row, and the trailer; a stream that was cut is an error and never just fewer rows.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.pq import ExecStatus

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.budget import BudgetSpent, Deadline
from cdc_platform.reconcile.decode import decode
from cdc_platform.reconcile.postgres_lookup import key_type
from cdc_platform.reconcile.postgres_numeric import decimals, fits
from cdc_platform.reconcile.postgres_types import NUMERIC_TEXT
from cdc_platform.reconcile.sources import ColumnPlan, Decoding, ReadPlan

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_NUMERIC, _AS_TEXT = NUMERIC_TEXT.split("{}")
_TRAILER = b"\xff\xff"
_MOST_BYTES = 4 << 20
_MOST_ROWS = 65_536
#: What may be read beyond the last value of a batch.
_PADDING = bytes(16)
_SILENCE_SECONDS = 300.0
#: What a server has to answer in that it was told to do at a moment.
_ANSWERED_SECONDS = 2.0

_WIDTHS: dict[pa.DataType, str] = {
    pa.bool_(): "u1",
    pa.int16(): ">i2",
    pa.int32(): ">i4",
    pa.int64(): ">i8",
    pa.float32(): ">f4",
    pa.float64(): ">f8",
}


def copy_rows(
    connection: psycopg.Connection[tuple[Any, ...]],
    plan: ReadPlan,
    query: sql.Composed,
    deadline: Deadline | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that ``query``, a COPY of :func:`selected`, gives: columns as the plan has them.

    Raises psycopg.Error as the server said it, SourceUnavailable when the stream is not whole, and
    BudgetSpent, the connection closed, when the server says nothing at the deadline.
    """
    pgconn = connection.pgconn
    try:
        _begin(pgconn, query.as_bytes(connection), deadline)
        yield from _batches(pgconn, plan, deadline)
    except BudgetSpent:
        # it did not even end the statement when it was told to: nothing more is heard of it
        connection.close()
        raise
    except GeneratorExit:
        # nobody wants the rest: the server must not go on, and the connection take no more of it
        with suppress(psycopg.Error, BudgetSpent):
            connection.cancel_safe(timeout=5.0)
            deque(_messages(pgconn, deadline), maxlen=0)
        raise


def _begin(pgconn: psycopg.pq.abc.PGconn, query: bytes, deadline: Deadline | None) -> None:
    """Begin a COPY. The server may only say so with the first rows."""
    pgconn.send_query(query)
    while pgconn.flush():
        select.select([], [pgconn.socket], [], _ANSWERED_SECONDS)
    while pgconn.is_busy():
        _await(pgconn, deadline)
    result = pgconn.get_result()
    if result is None:
        raise psycopg.OperationalError("the source ended the connection")
    if result.status != ExecStatus.COPY_OUT:
        while pgconn.get_result() is not None:
            continue
        raise psycopg.errors.error_from_result(result, encoding="utf-8")


def _await(pgconn: psycopg.pq.abc.PGconn, deadline: Deadline | None, most: float | None = None) -> bool:
    """Take what the server sends, waiting up to ``most`` seconds; return whether anything came.

    Raises BudgetSpent when nothing comes until shortly after the deadline, at which the server should have
    ended the statement by itself.
    """
    late = None if deadline is None else deadline.seconds_left() + _ANSWERED_SECONDS
    waits = [seconds for seconds in (late, most) if seconds is not None]
    ready, _, _ = select.select([pgconn.socket], [], [], min(waits) if waits else None)
    if ready:
        pgconn.consume_input()
    elif deadline is not None and not deadline.seconds_left():
        raise BudgetSpent(deadline.reason)
    return bool(ready)


def _batches(
    pgconn: psycopg.pq.abc.PGconn, plan: ReadPlan, deadline: Deadline | None
) -> Iterator[pa.RecordBatch]:
    parts: list[bytes] = []
    lengths: list[int] = []
    size, first, is_whole = 0, True, False
    for message in _messages(pgconn, deadline):
        data = bytes(message)
        if first:
            if not data.startswith(_HEADER):
                raise _broken("it does not begin as one", plan)
            data, first = data[len(_HEADER) :], False
        if is_whole or data == _TRAILER:
            is_whole = True
            continue
        if data:
            parts.append(data)
            lengths.append(len(data))
            size += len(data)
        if size >= _MOST_BYTES or len(parts) >= _MOST_ROWS:
            yield _batch(parts, lengths, plan)
            lengths, size = [], 0
    if not is_whole:
        raise _broken("its end is missing", plan)
    if parts:
        yield _batch(parts, lengths, plan)


def copy_query(plan: ReadPlan, low: Sequence[str] | None, high: Sequence[str] | None) -> sql.Composed:
    """Return the COPY of the columns of ``plan`` for the rows with ``low`` ≤ key < ``high`` (None: open)."""
    table = sql.Identifier(plan.table.schema, plan.table.name)
    conditions = [
        sql.SQL("({}) {} ({})").format(_key(plan), sql.SQL(operator), _values(plan, bound))
        for operator, bound in ((">=", low), ("<", high))
        if bound is not None
    ]
    where = sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")
    return sql.SQL("COPY (SELECT {} FROM {} t WHERE {}) TO STDOUT (FORMAT BINARY)").format(
        selected(plan), table, where
    )


def selected(plan: ReadPlan) -> sql.Composed:
    """Return the columns of the rows ``t``, in the form they are decoded from here."""
    return sql.SQL(", ").join(sql.SQL(_selected(column)) for column in plan.columns)


def _is_numeric(column: ColumnPlan) -> bool:
    """Whether a decimal comes as PostgreSQL's numeric, not as its text."""
    is_text = column.decoding is Decoding.DECIMAL_TEXT and column.select.startswith(_NUMERIC)
    return is_text and fits(column.arrow)


def _selected(column: ColumnPlan) -> str:
    if not _is_numeric(column):
        return column.select
    return column.select.removeprefix(_NUMERIC).removesuffix(_AS_TEXT)


def _key(plan: ReadPlan) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(c.source_column)) for c in plan.key)


def _values(plan: ReadPlan, bound: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::").format(sql.Literal(value)) + sql.SQL(key_type(plan.table, column))
        for value, column in zip(bound, plan.key, strict=True)
    )


def _messages(pgconn: psycopg.pq.abc.PGconn, deadline: Deadline | None) -> Iterator[Any]:
    """Yield the messages of the COPY in progress. Raises psycopg.Error when the server ends it otherwise."""
    while True:
        length, data = pgconn.get_copy_data(1)
        if length > 0:
            yield data
        elif length == 0:
            if not _await(pgconn, deadline, _SILENCE_SECONDS):
                raise psycopg.OperationalError(f"the source sent nothing for {_SILENCE_SECONDS:.0f} s")
        else:
            break
    failed = None
    while (result := pgconn.get_result()) is not None:
        if result.status != ExecStatus.COMMAND_OK:
            failed = failed or result
    if failed is not None:
        raise psycopg.errors.error_from_result(failed, encoding="utf-8")


def _batch(parts: list[bytes], lengths: Sequence[int], plan: ReadPlan) -> pa.RecordBatch:
    """Return the rows of ``parts``, which it takes out of the list: they are not held twice."""
    data = np.frombuffer(b"".join([*parts, _PADDING]), np.uint8)
    parts.clear()
    ends = np.cumsum(np.asarray(lengths, np.int64))
    at = ends - np.asarray(lengths, np.int64)
    if not (_numbers(data, at, ">i2") == len(plan.columns)).all():
        raise _broken("a row has another number of fields", plan)
    at = at + 2
    arrays = []
    for column in plan.columns:
        lengths_here = _numbers(data, at, ">i4").astype(np.int64)
        null = lengths_here == -1
        sizes = np.where(null, 0, lengths_here)
        at = at + 4
        if (sizes < 0).any() or (at + sizes > ends).any():
            raise _broken("a value is longer than its row", plan)
        if _is_numeric(column):
            arrays.append(_numerics(data, at, sizes, column, plan))
        else:
            arrays.append(decode(_column(data, at, sizes, null, column, plan), column))
        at = at + sizes
    if not (at == ends).all():
        raise _broken("a row is longer than its values", plan)
    return pa.RecordBatch.from_arrays(arrays, names=[column.column for column in plan.columns])


def _column(
    data: Bytes, at: Places, sizes: Places, null: npt.NDArray[np.bool_], column: ColumnPlan, plan: ReadPlan
) -> pa.Array[Any]:
    """Return the values at ``at`` in the type they have on the wire."""
    width = _WIDTHS.get(column.wire)
    if width is None:
        return _texts(data, at, sizes, null, column.wire)
    kind = np.dtype(width)
    if not (sizes[~null] == kind.itemsize).all():
        raise _broken(f"a value of {column.source_column!r} is not {kind.itemsize} bytes wide", plan)
    values = _numbers(data, at, width)
    native = values.astype(bool) if column.wire == pa.bool_() else values.astype(kind.newbyteorder("="))
    return pa.array(native, column.wire, mask=null)


def _numerics(data: Bytes, at: Places, sizes: Places, column: ColumnPlan, plan: ReadPlan) -> pa.Array[Any]:
    found = decimals(_every(data, ">u2"), at, sizes, column.arrow)
    if found is None:
        raise _broken(f"a value of {column.source_column!r} is no {column.arrow}", plan)
    return found


def _numbers(data: Bytes, at: Places, kind: str) -> npt.NDArray[Any]:
    """Return the numbers that begin at ``at``, which need not be aligned."""
    return np.asarray(_every(data, kind)[at])


def _every(data: Bytes, kind: str) -> npt.NDArray[Any]:
    """Return the numbers that begin at every byte."""
    dtype = np.dtype(kind)
    return np.ndarray((len(data) - dtype.itemsize + 1,), dtype, data.data, strides=(1,))


def _texts(
    data: Bytes, at: Places, sizes: Places, null: npt.NDArray[np.bool_], wire: pa.DataType
) -> pa.Array[Any]:
    """Return variable-length values, their bytes gathered into one buffer.

    The stream as it lies is an array of the values with what is between them, of which every second is taken:
    that needs no more than the bytes themselves, where an index of every byte would be many times as large.
    """
    # the server sends no row of 2 ** 31 bytes
    bounds = np.stack([at, at + sizes], axis=1).astype(np.int32).reshape(-1)
    whole = [None, pa.py_buffer(bounds.data), pa.py_buffer(data.data)]
    lying = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, whole, null_count=0)
    offsets, gathered = lying.take(np.arange(0, len(bounds), 2)).buffers()[1:]
    present = pa.array(~null).buffers()[1]
    return pa.Array.from_buffers(wire, len(at), [present, offsets, gathered], null_count=int(null.sum()))


def _broken(what: str, plan: ReadPlan) -> SourceUnavailable:
    return SourceUnavailable(
        f"the stream of rows is broken: {what}",
        where=plan.table.label,
        mend="reconcile again, against the database itself and not through a proxy",
    )
