"""How a row of a table looks in its files: which columns, in which order, of which types.

``Op``, the timestamp column, the source's columns, the columns add-column rules append, the before images.
One shape serves the files of a full load, another those of changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.engine.mappings import TableMappings
from cdc_platform.local.engine.options import FileOptions, TaskOptions
from cdc_platform.local.engine.outcome import TableFailed
from cdc_platform.local.engine.pgoutput import ABSENT
from cdc_platform.local.engine.rules import AddedColumn
from cdc_platform.local.engine.source import SourceTable
from cdc_platform.local.engine.types import ColumnType, Values, column_type, limited_lobs, pc

OP = "Op"
_OPERATIONS = {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}

#: A change as captured: op, commit time text, log position text, change sequence, then the new image's values
#: and the before images' values, each as PostgreSQL's text.
ChangeRow = tuple[Any, ...]
ROW_HEAD = 4


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Rows ready to be written; ``absent`` marks, by column number, values the log did not carry."""

    rows: pa.RecordBatch
    absent: Mapping[int, Values]


@dataclass(frozen=True, slots=True)
class _Column:
    index: int  # in the source table
    name: str  # at the target
    type: ColumnType
    lob_limit: int | None
    cuts_lobs: bool = True

    def parse(self, text: Values) -> Values:
        values = self.type.parse(text, column=self.name)
        if self.lob_limit is None:
            return values
        return limited_lobs(values, self.lob_limit, column=self.name, cut=self.cuts_lobs)


class RowShape:
    """The columns of one table's files under one task's rules."""

    def __init__(
        self,
        table: SourceTable,
        mappings: TableMappings,
        files: FileOptions,
        options: TaskOptions,
        *,
        is_load: bool,
    ) -> None:
        self.table = table
        self._is_load = is_load
        self._files = files
        self._has_op = files.has_op_on_load if is_load else files.has_op_on_changes
        kept = mappings.columns_of(table.schema, table.name, (column.name for column in table.columns))
        self._columns = [
            _Column(
                index,
                kept[column.name],
                column_type(column.type, boolean_as_boolean=options.boolean_as_boolean),
                options.lob_limit if column.type.is_lob else None,
                options.cuts_lobs,
            )
            for index, column in enumerate(table.columns)
            if column.name in kept
        ]
        self._added = mappings.added_to(table.schema, table.name)
        self._before = self._before_columns(mappings)
        self.schema = self._schema()

    @property
    def before_indexes(self) -> tuple[int, ...]:
        """Which source columns have before images, by number."""
        return tuple(column.index for column in self._before)

    def load_batch(self, texts: Sequence[Values], task_started: datetime) -> FileBatch:
        """Return rows of a full load from their texts, one Arrow array per source column."""
        count = len(texts[0])
        stamps = self._load_stamps(count, task_started)
        heads = [_repeated("I", count)] if self._has_op else []
        heads += [stamps] if self._files.timestamp_column else []
        values = [column.parse(texts[column.index]) for column in self._columns]
        added = [self._load_value(column, count, stamps) for column in self._added]
        before = [pa.nulls(count, column.type.arrow) for column in self._before]
        arrays = [*heads, *values, *added, *before]
        return FileBatch(pa.RecordBatch.from_arrays(arrays, schema=self.schema), {})

    def change_batch(self, rows: Sequence[ChangeRow], *, has_absent: bool) -> FileBatch:
        """Return captured changes as rows of a change file."""
        ops, moments, positions, sequences, *texts = zip(*rows, strict=True)
        heads: list[Values] = [pa.array(ops, pa.string())] if self._has_op else []
        heads += [pa.array(moments, pa.string())] if self._files.timestamp_column else []
        absent: dict[int, Values] = {}
        values: list[Values] = []
        for column in self._columns:
            text, missing = _text_of(texts[column.index], has_absent)
            if missing is not None:
                absent[len(heads) + len(values)] = missing
            values.append(column.parse(text))
        added = [self._change_value(column, ops, moments, positions, sequences) for column in self._added]
        images = texts[len(self.table.columns) :]
        before = [
            column.parse(_text_of(image, has_absent)[0])
            for column, image in zip(self._before, images, strict=True)
        ]
        arrays = [*heads, *values, *added, *before]
        return FileBatch(pa.RecordBatch.from_arrays(arrays, schema=self.schema), absent)

    def _before_columns(self, mappings: TableMappings) -> list[_Column]:
        rule = mappings.before_images_of(self.table.schema, self.table.name)
        if rule is None:
            return []
        chosen, key = [], self.table.key
        for column in self._columns:
            source = self.table.columns[column.index]
            # DMS keeps no before images of LOBs, whatever the filter says
            if source.type.is_lob and source.name not in key:
                continue
            if rule.columns == "pk-only" and source.name not in key:
                continue
            chosen.append(dataclasses.replace(column, name=rule.name_of(column.name)))
        return chosen

    def _schema(self) -> pa.Schema:
        fields: list[Any] = [pa.field(OP, pa.string())] if self._has_op else []
        if self._files.timestamp_column:
            fields.append(pa.field(self._files.timestamp_column, pa.string(), nullable=False))
        fields += [pa.field(column.name, column.type.arrow) for column in self._columns]
        fields += [pa.field(column.name, column.arrow) for column in self._added]
        fields += [pa.field(column.name, column.type.arrow) for column in self._before]
        names = [field.name for field in fields]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise TableFailed(
                f"two columns are called {doubled[0]!r} at the target",
                where=self.table.id,
                mend="rename one of them in the table mappings",
            )
        return pa.schema(fields)

    def _load_stamps(self, count: int, task_started: datetime) -> Values:
        if self._files.load_timestamp_is_task_start:
            return _repeated(task_started.strftime("%Y-%m-%d %H:%M:%S.%f"), count)
        # the transfer time, different on each row as DMS has it
        first = int(datetime.now(UTC).timestamp() * 1e6)
        moments = pa.array(range(first, first + count), pa.int64()).cast(pa.timestamp("us"))
        return moments.cast(pa.string())

    def _load_value(self, column: AddedColumn, count: int, stamps: Values) -> Values:
        if column.expression in ("$AR_H_CHANGE_SEQ", "$AR_H_STREAM_POSITION"):
            empty = column.arrow == pa.string() and not self._files.is_parquet
            return _repeated("", count) if empty else pa.nulls(count, column.arrow)
        if column.expression in ("$AR_H_TIMESTAMP", "$AR_H_COMMIT_TIMESTAMP"):
            return _converted(stamps, column)
        return self._constant(column, "INSERT", count)

    def _change_value(
        self, column: AddedColumn, ops: Any, moments: Any, positions: Any, sequences: Any
    ) -> Values:
        match column.expression:
            case "$AR_H_CHANGE_SEQ":
                return _converted(pa.array(sequences, pa.string()), column)
            case "$AR_H_STREAM_POSITION":
                return _converted(pa.array(positions, pa.string()), column)
            case "$AR_H_TIMESTAMP" | "$AR_H_COMMIT_TIMESTAMP":
                return _converted(pa.array(moments, pa.string()), column)
            case "$AR_H_OPERATION":
                return pa.array([_OPERATIONS[op] for op in ops], pa.string())
        return self._constant(column, "", len(ops))

    def _constant(self, column: AddedColumn, operation: str, count: int) -> Values:
        values = {
            "$AR_H_OPERATION": operation,
            "$AR_M_SOURCE_SCHEMA": self.table.schema,
            "$AR_M_SOURCE_TABLE_NAME": self.table.name,
        }
        text = values.get(column.expression)
        return _converted(_repeated(column.literal if text is None else text, count), column)


def _text_of(values: Sequence[bytes | None], has_absent: bool) -> tuple[Values, Values | None]:
    if not has_absent:
        return pa.array(values, pa.string()), None
    raw = pa.array(values, pa.binary())
    missing = pc.fill_null(pc.equal(raw, ABSENT), False)
    return pc.if_else(missing, pa.scalar(None, pa.binary()), raw).cast(pa.string()), missing


def _repeated(text: str, count: int) -> Values:
    return pa.repeat(pa.scalar(text, pa.string()), count)


def _converted(text: Values, column: AddedColumn) -> Values:
    try:
        if pa.types.is_timestamp(column.arrow):
            return text.cast(pa.timestamp("us")).cast(column.arrow)
        return text.cast(column.arrow)
    except pa.ArrowInvalid as fault:
        raise LocalServiceError(
            f"{column.expression} does not fit {column.arrow}: {fault}",
            where=f"added column {column.name}",
            mend="give the add-column rule data-type string",
        ) from fault
