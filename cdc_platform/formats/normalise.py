"""From the rows of a file to events: control columns, canonical types, and the rows that are no events.

What can fail row by row goes through the file's SQL statement (:mod:`cdc_platform.formats.event_sql`), unless
every row of the batch is well-formed at a glance (:mod:`cdc_platform.formats.direct`); columns that only
change their Arrow type never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.errors import UnreadableRawFile
from cdc_platform.events import EVENT_COLUMNS, GENERATION, ROW, Op, PositionKind
from cdc_platform.formats.conversion import cast_directly
from cdc_platform.formats.direct import DirectControl
from cdc_platform.formats.event_file import EventBatch, RejectedRow, RowBatch
from cdc_platform.formats.event_sql import MOST_ROWS_BY_FILE_TIME, event_sql
from cdc_platform.formats.layout import Layout
from cdc_platform.formats.storable import Storable, shown_rows
from cdc_platform.formats.types import canonical_type
from cdc_platform.raw.files import AcceptedFile, FileKind


class Normaliser:
    """Turns the row batches of one file into event batches. ``types`` are the file's, column by column."""

    def __init__(
        self,
        layout: Layout,
        types: tuple[pa.DataType, ...],
        accepted: AcceptedFile,
        options: RawOptions,
        table: TableConfig,
        *,
        where: str,
        is_text: bool,
    ) -> None:
        self._layout, self._accepted, self._where = layout, accepted, where
        self._no_sup = options.csv.no_sup_value if is_text and accepted.kind is FileKind.CHANGES else None
        self._sql = event_sql(layout, types, accepted, options, table, where=where)
        self._direct = None if is_text or self._sql.parsed else DirectControl(layout, accepted, table)
        self._storable = None if is_text else Storable(layout, types, table)
        self._connection = _database().cursor()

    def close(self) -> None:
        """Release what the file held."""
        self._connection.close()

    def events_of(self, rows: RowBatch) -> EventBatch:
        """Return the events of ``rows``, and those rejected, in the order of the file."""
        schema = self._layout.schema
        if self._storable is not None:
            rows = self._storable.sift(rows)
        if rows.columns.num_rows == 0:
            return EventBatch(pa.RecordBatch.from_pylist([], schema=schema), rows.rejected)
        self._check_height(rows.numbers)
        columns, unsupplied = self._supplied(list(rows.columns.columns))
        control = self._direct.control_of(columns, rows.numbers) if self._direct is not None else None
        if control is not None:
            arrays = self._assembled(columns, rows.numbers, control)
            return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema), rows.rejected)
        self._connection.register("incoming", self._incoming(columns, rows.numbers, unsupplied))
        found = self._connection.execute(self._sql.statement).to_arrow_table()
        typed = {name: _one(found, name) for name in found.column_names}
        fault = typed["fault"]
        arrays = self._assembled(columns, rows.numbers, typed)
        rejected = rows.rejected
        if fault.null_count < len(fault):
            is_event = pc.is_null(fault)
            arrays = [array.filter(is_event) for array in arrays]
            rejected += self._rejected(rows, fault)
        return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema), rejected)

    def _supplied(self, columns: list[pa.Array[Any]]) -> tuple[list[pa.Array[Any]], pa.Array[Any] | None]:
        """Return the columns with CsvNoSupValue as NULL, and which rows had any."""
        if self._no_sup is None:
            return columns, None
        unsupplied: pa.Array[Any] = pa.repeat(pa.scalar(False), len(columns[0]))
        for column in self._layout.columns:
            marked: Any = pc.fill_null(_equal(columns[column.index], self._no_sup), False)
            unsupplied = pc.or_(unsupplied, marked)
            columns[column.index] = pc.if_else(marked, None, columns[column.index])
        return columns, unsupplied

    def _incoming(
        self, columns: list[pa.Array[Any]], numbers: pa.Array[Any], unsupplied: pa.Array[Any] | None
    ) -> pa.Table:
        layout = self._layout
        taken: dict[str, pa.Array[Any]] = {"row": numbers}
        for name, index in (
            ("op", layout.op),
            ("ts", layout.timestamp),
            ("seq", layout.change_sequence),
            ("stream", layout.stream_position),
        ):
            if index is not None:
                taken[name] = _canonical(columns[index])
        taken |= {f"c{column.index}": _canonical(columns[column.index]) for column in self._sql.parsed}
        taken |= {f"n{column.index}": pc.is_null(columns[column.index]) for column in self._sql.key}
        taken["empty"] = _all_null([columns[column.index] for column in layout.columns], len(numbers))
        taken["unsupplied"] = pa.repeat(pa.scalar(False), len(numbers)) if unsupplied is None else unsupplied
        return pa.table(taken)

    def _assembled(
        self, columns: list[pa.Array[Any]], numbers: pa.Array[Any], typed: Mapping[str, pa.Array[Any]]
    ) -> list[pa.Array[Any]]:
        generation: pa.Array[Any] = pa.repeat(pa.scalar(self._accepted.generation, pa.int64()), len(numbers))
        known = {GENERATION: generation, ROW: numbers}
        arrays: list[pa.Array[Any]] = [
            known[field.name] if field.name in known else typed[field.name].cast(field.type)
            for field in EVENT_COLUMNS
        ]
        is_new = pc.is_in(arrays[0], value_set=pa.array([Op.INSERT.value, Op.LOAD.value]))
        for column in self._layout.columns:
            arrays.append(self._column(column.index, column.type, columns, typed))
        for column in self._layout.before:
            image = self._column(column.index, column.type, columns, typed)
            arrays.append(pc.if_else(is_new, pa.scalar(None, image.type), image))
        return arrays

    def _column(
        self,
        index: int,
        target: pa.DataType,
        columns: list[pa.Array[Any]],
        typed: Mapping[str, pa.Array[Any]],
    ) -> pa.Array[Any]:
        is_parsed = any(column.index == index for column in self._sql.parsed)
        return cast_directly(typed[f"p{index}"] if is_parsed else columns[index], target)

    def _rejected(self, rows: RowBatch, fault: pa.Array[Any]) -> tuple[RejectedRow, ...]:
        is_bad = pc.is_valid(fault)
        numbers: list[Any] = rows.numbers.filter(is_bad).to_pylist()
        faults: list[Any] = fault.filter(is_bad).to_pylist()
        return tuple(
            RejectedRow(
                row=number,
                column=self._sql.faults[which].column,
                reason=self._sql.faults[which].reason,
                mend=self._sql.faults[which].mend,
                values=row,
            )
            for number, which, row in zip(numbers, faults, shown_rows(rows.columns, is_bad), strict=True)
        )

    def _check_height(self, numbers: pa.Array[Any]) -> None:
        is_bounded = (
            self._accepted.kind is FileKind.CHANGES
            and self._layout.position_kind is not PositionKind.CHANGE_SEQUENCE
        )
        if is_bounded and (numbers[-1].as_py() or 0) >= MOST_ROWS_BY_FILE_TIME:
            raise UnreadableRawFile(
                f"the file has more than {MOST_ROWS_BY_FILE_TIME:,} changes and no change sequence",
                where=self._where,
                mend="lower CdcMinFileSize, or have the task add $AR_H_CHANGE_SEQ",
            )


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Return this process's database for typing rows; one thread, so that rows keep their order."""
    # never to disk: by default it would spill into the working folder, where other processes do, too
    connection = duckdb.connect(config={"threads": 1, "memory_limit": "1GB", "temp_directory": ""})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _one(table: pa.Table, name: str) -> pa.Array[Any]:
    column: Any = table.column(name)
    array: pa.Array[Any] = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return array


def _equal(array: pa.Array[Any], text: str) -> Any:
    return pc.equal(array, pa.scalar(text))


def _canonical(array: pa.Array[Any]) -> pa.Array[Any]:
    return cast_directly(array, canonical_type(array.type))


def _all_null(arrays: list[pa.Array[Any]], height: int) -> pa.Array[Any]:
    if any(array.null_count == 0 for array in arrays):
        return pa.repeat(pa.scalar(False), height)
    result: pa.Array[Any] = pa.repeat(pa.scalar(True), height)
    for array in arrays:
        result = pc.and_(result, pc.is_null(array))
    return result
