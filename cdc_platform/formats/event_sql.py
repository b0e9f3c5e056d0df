"""The one SQL statement that types the rows of a file and finds the first fault of each.

It reads a relation ``incoming`` of one batch, with these columns as far as the file has them: ``row`` (the
record's number), ``op``, ``ts``, ``seq``, ``stream``, ``c<index>`` for each column to be parsed, ``n<index>``
(is it NULL) for each other key column, ``empty`` (is every source column NULL), ``unsupplied``. It yields the
computed control columns, ``p<index>`` for the parsed ones, and ``fault``: an index into the faults, or NULL.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as at

from cdc_platform.config.model import Images, RawOptions, TableConfig
from cdc_platform.events import COMMITTED_AT, OP, POSITION, SOURCE_POSITION, TIMESTAMP_TYPE, PositionKind
from cdc_platform.formats.conversion import casts_directly, conversion_sql
from cdc_platform.formats.layout import Column, Layout
from cdc_platform.formats.types import iceberg_type_of
from cdc_platform.raw.files import AcceptedFile, FileKind

#: Rows beyond this would run into the tenth of a millisecond that a file's name may tell.
MOST_ROWS_BY_FILE_TIME = 10**8
#: The time part comes before three digits for the task and 19 of counter, or 13 of file time and 9 of row.
_TIME_PART_UNIT = 10**22


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes a row no event: a condition in SQL, and what to tell of it."""

    condition: str
    column: str | None
    reason: str
    mend: str


@dataclass(frozen=True, slots=True)
class EventSql:
    """The statement of one file, and what its faults mean."""

    statement: str
    faults: tuple[Fault, ...]
    parsed: tuple[Column, ...]
    key: tuple[Column, ...]


def event_sql(
    layout: Layout,
    types: tuple[pa.DataType, ...],
    accepted: AcceptedFile,
    options: RawOptions,
    table: TableConfig,
    *,
    where: str,
) -> EventSql:
    """Return the statement for a file of this layout, whose columns have the canonical ``types``."""
    both = (*layout.columns, *layout.before)
    parsed = tuple(column for column in both if not casts_directly(column.file_type, column.type))
    key = tuple(column for column in layout.columns if column.name in table.safe_key)
    conversions = [
        f"{_convert(column, is_before=column in layout.before, where=where)} AS p{column.index}"
        for column in parsed
    ]
    committed = _committed(layout, types)
    faults = (
        *_record_faults(layout, accepted, table),
        *_key_faults(key, parsed),
        *_value_faults(layout, parsed),
        *_image_faults(layout, table, options),
        *_position_faults(layout, accepted, options),
    )
    cases = " ".join(f"WHEN {fault.condition} THEN {number}" for number, fault in enumerate(faults))
    outputs = [
        f"{_op(layout, accepted)} AS {OP}",
        f"position AS {POSITION}",
        f"committed AS {COMMITTED_AT}",
        f"{_text('stream') if layout.stream_position is not None else 'NULL::VARCHAR'} AS {SOURCE_POSITION}",
        *[f"p{column.index}" for column in parsed],
        f"CASE {cases} END::INTEGER AS fault" if faults else "NULL::INTEGER AS fault",
    ]
    inner = ", ".join(["*", f"{committed} AS committed", *conversions])
    typed = f"SELECT *, {_position(layout, accepted)} AS position FROM (SELECT {inner} FROM incoming)"
    statement = f"SELECT {', '.join(outputs)} FROM ({typed})"
    return EventSql(statement, faults, parsed, key)


def _text(name: str) -> str:
    """Return SQL for column ``name`` as trimmed text, NULL when blank."""
    return f"nullif(trim(CAST({name} AS VARCHAR)), '')"


def _convert(column: Column, *, is_before: bool, where: str) -> str:
    raw = f"c{column.index}"
    may_be_empty = at.is_string(column.type) or at.is_binary(column.type)
    if is_before and not may_be_empty and at.is_string(column.file_type):
        raw = _text(raw)  # DMS leaves a before image blank that there is none of
    return conversion_sql(raw, column.file_type, column.type, where=f"{where}, column {column.source!r}")


def _committed(layout: Layout, types: tuple[pa.DataType, ...]) -> str:
    if layout.timestamp is None:
        return "NULL::TIMESTAMPTZ"
    if at.is_timestamp(types[layout.timestamp]):
        return "ts"
    return conversion_sql(_text("ts"), pa.string(), TIMESTAMP_TYPE, where="")


def _op(layout: Layout, accepted: AcceptedFile) -> str:
    if accepted.kind is FileKind.LOAD:
        return "'L'"
    return "CAST(op AS VARCHAR)" if layout.op is not None else "'I'"


def _position(layout: Layout, accepted: AcceptedFile) -> str:
    if accepted.kind is FileKind.LOAD:
        return "0::DECIMAL(38, 0)"
    if layout.position_kind is PositionKind.CHANGE_SEQUENCE:
        seq = _text("seq")
        # by its halves, since DuckDB takes 200 times as long for a decimal of so many digits from text
        time_part, counter = (
            f"CAST({half} AS UBIGINT)::HUGEINT" for half in (f"left({seq}, 16)", f"right({seq}, 19)")
        )
        return (
            f"CASE WHEN regexp_full_match({seq}, '[0-9]{{35}}') "
            f"THEN CAST({time_part} * {_TIME_PART_UNIT}::HUGEINT + {counter} AS DECIMAL(38, 0)) END"
        )
    micros = round(accepted.file_time.timestamp() * 1_000_000)
    by_file = f"{micros // 100 * MOST_ROWS_BY_FILE_TIME}::HUGEINT + row::HUGEINT"
    if layout.position_kind is PositionKind.FILE_TIME:
        return f"CAST({by_file} AS DECIMAL(38, 0))"
    return (
        "CASE WHEN epoch_us(committed) BETWEEN 0 AND 9999999999999999 "
        f"THEN CAST(epoch_us(committed)::HUGEINT * {_TIME_PART_UNIT}::HUGEINT + {by_file} "
        "AS DECIMAL(38, 0)) END"
    )


def _record_faults(layout: Layout, accepted: AcceptedFile, table: TableConfig) -> list[Fault]:
    faults: list[Fault] = []
    is_blank = "empty" if layout.op is None else f"empty AND {_text('op')} IS NULL"
    faults.append(
        Fault(
            is_blank,
            None,
            "the record is empty",
            "DMS has written such when tasks start and stop: discard it, and see that the next "
            f"reconciliation of {table.name} matches",
        )
    )
    if layout.op is not None:
        known = ("I",) if accepted.kind is FileKind.LOAD else ("I", "U", "D")
        listed = ", ".join(f"'{op}'" for op in known)
        faults.append(
            Fault(
                f"op IS NULL OR CAST(op AS VARCHAR) NOT IN ({listed})",
                "Op",
                f"Op is not {' or '.join(known)}",
                "see that delimiters and columns in cdc.yaml are those of the S3 endpoint; if DMS lost the "
                "op, reload the table",
            )
        )
    return faults


def _key_faults(key: tuple[Column, ...], parsed: tuple[Column, ...]) -> list[Fault]:
    return [
        Fault(
            f"c{column.index} IS NULL" if column in parsed else f"n{column.index}",
            column.source,
            "the merge key is NULL",
            "choose a `merge_key` that is never NULL, or find out why the source or DMS wrote none",
        )
        for column in key
    ]


def _value_faults(layout: Layout, parsed: tuple[Column, ...]) -> list[Fault]:
    faults = []
    for column in parsed:
        is_before = column in layout.before
        raw = _text(f"c{column.index}") if is_before else f"c{column.index}"
        only = " AND CAST(op AS VARCHAR) <> 'I'" if is_before and layout.op is not None else ""
        faults.append(
            Fault(
                f"{raw} IS NOT NULL AND p{column.index} IS NULL{only}",
                column.source,
                f"the value is not of type {iceberg_type_of(column.type)}",
                f"declare the type {column.source!r} really has in `columns` of cdc.yaml",
            )
        )
    return faults


def _image_faults(layout: Layout, table: TableConfig, options: RawOptions) -> list[Fault]:
    if options.csv.no_sup_value is None or table.images is Images.PARTIAL or layout.op is None:
        return []
    return [
        Fault(
            "unsupplied AND CAST(op AS VARCHAR) = 'U'",
            None,
            "the source's log did not carry every column of the row (CsvNoSupValue)",
            "set `images: partial` on the table, or add supplemental logging of all columns at the source",
        )
    ]


def _position_faults(layout: Layout, accepted: AcceptedFile, options: RawOptions) -> list[Fault]:
    faults = []
    if layout.timestamp is not None:
        faults.append(
            Fault(
                f"{_text('ts')} IS NOT NULL AND committed IS NULL",
                options.timestamp_column,
                "the commit time is not yyyy-MM-dd HH:mm:ss.SSSSSS",
                "correct `timestamp_column` in cdc.yaml",
            )
        )
    if accepted.kind is FileKind.LOAD or layout.position_kind is PositionKind.FILE_TIME:
        return faults
    by_sequence = layout.position_kind is PositionKind.CHANGE_SEQUENCE
    column = options.change_sequence_column if by_sequence else options.timestamp_column
    wanted = "35 digits" if by_sequence else "a time since 1970"
    faults.append(
        Fault(
            "position IS NULL",
            column,
            f"the change has no position: {column} is not {wanted}",
            "see that the task fills the column with $AR_H_CHANGE_SEQ"
            if by_sequence
            else "see that TimestampColumnName is set on the endpoint, or have the task add $AR_H_CHANGE_SEQ",
        )
    )
    return faults
