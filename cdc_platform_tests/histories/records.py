"""The rows of the raw files of a case, and the files themselves as a merge takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from cdc_platform.errors import UnreadableRawFile
from cdc_platform.events import PositionKind, before_name
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import FileKind
from cdc_platform_tests.histories.case import Case, File
from cdc_platform_tests.histories.shape import Shape
from cdc_platform_tests.histories.source import Life, Row
from cdc_platform_tests.lake.memory_files import EPOCH, Change, MemoryFile, Rejected, accepted, memory_file

_KEY_TYPES = {"text": pa.string(), "decimal": pa.decimal128(20, 0)}


@dataclass(frozen=True)
class Record:
    """One row of a raw file; ``key`` is None where a key column is NULL."""

    op: str
    key: int | None
    row: Row | None
    sequence: int
    moment: int | None = None
    before: int | None = None
    pair: int | None = None


def generation_of(life: Life, file: File) -> int | None:
    """Return the generation a file belongs to once its load is known, None when nothing is left of it."""
    if file.load is not None:
        return life.loads[file.load].generation if file.load in life.loads else None
    found = [life.transactions[part[0]].generation for part in file.parts if part[0] in life.transactions]
    return found[0] if found else None


def era_of(life: Life, file: File) -> int:
    if file.load is not None:
        return life.loads[file.load].era
    return next(life.transactions[part[0]].era for part in file.parts if part[0] in life.transactions)


def records_of(case: Case, life: Life, file: File) -> list[Record]:
    """Return a file's rows in their order."""
    if file.load is not None:
        load = life.loads[file.load]
        found = [Record("L", key, load.rows[key], 0) for key in file.keys if key in load.rows]
    else:
        found = _changes(case, life, file)
    if file.has_null_key and found:
        last = found[-1]
        found.append(
            Record("L" if file.load is not None else "I", None, None, last.sequence + 1, last.moment)
        )
    return found


def _changes(case: Case, life: Life, file: File) -> list[Record]:
    found: list[Record] = []
    for number, start, stop in file.parts:
        transaction = life.transactions.get(number)
        for place, event in enumerate(transaction.events if transaction else ()):
            if transaction is not None and start <= place and (stop is None or place < stop):
                sequence = _sequence(case, file, transaction.moment, place, len(found))
                record = Record(
                    event.op, event.key, event.row, sequence, transaction.moment, event.before, event.pair
                )
                found.append(record)
    return found


def _sequence(case: Case, file: File, moment: int, place: int, row: int) -> int:
    kind = kind_of(case, file)
    if kind == "change-sequence":
        return (2_024_050_100_000_000 + moment) * 10**22 + place * 10
    commit = (EPOCH + _since_epoch(case, moment)).timestamp() if kind == "commit-time" else 0
    file_ms = (int(EPOCH.timestamp()) + file.minute * 60) * 1000
    return int(commit) * 10**6 * 10**22 + file_ms * 10**9 + row


def _since_epoch(case: Case, moment: int) -> timedelta:
    return timedelta(days=moment) if case.forgets else timedelta(seconds=moment)


def kind_of(case: Case, file: File) -> str:
    """Return what the positions of a file are made of."""
    if file.fault != "kind":
        return case.shape.kind
    return "commit-time" if case.shape.kind == "change-sequence" else "change-sequence"


def committed_at(case: Case, file: File, moment: int | None) -> datetime | None:
    if moment is None or kind_of(case, file) == "file-time":
        return None
    return EPOCH + _since_epoch(case, moment)


def input_of(case: Case, life: Life, file: File, generation: int, *, mended: bool = True) -> MergeInput:
    """Return the file as a merge takes it, as a part of a generation."""
    records = records_of(case, life, file)
    made = event_file(case, life, file, records, generation)
    if not mended:
        made = _spoiled(case, file, made)
    taken = accepted(
        file.name,
        kind=FileKind.LOAD if file.load is not None else FileKind.CHANGES,
        generation=generation,
        minute=file.minute,
        rows=len(records),
    )
    return MergeInput(taken, lambda: made)


def _spoiled(case: Case, file: File, made: MemoryFile) -> MemoryFile:
    """Return an event file with the faults it has until somebody mends it."""
    if file.fault == "torn":
        return replace(made, fault=UnreadableRawFile("cut short", where=file.name, mend="write it again"))
    if file.fault == "type":
        return replace(made, schema=made.schema.append(pa.field("odd", pa.list_(pa.int64()))))
    nothing = dict.fromkeys(case.shape.key_names)
    refused = [row for row in file.bad_rows if row % 2 and row < len(made.rows)]
    rows = [
        {**row, **nothing, **{before_name(name): None for name in nothing if before_name(name) in row}}
        if number in file.bad_rows
        else row
        for number, row in enumerate(made.rows)
    ]
    return replace(
        made,
        rows=[row for number, row in enumerate(rows) if number not in refused],
        rejected=[Rejected(row, None, "refused", "correct the reader", {}) for row in refused],
    )


def event_file(case: Case, life: Life, file: File, records: list[Record], generation: int) -> MemoryFile:
    """Return ``records`` as the event file a reader makes of a raw file."""
    shape = case.shape
    names = shape.key_names
    types = dict(zip(names, shape.key_types(), strict=True)) | {
        name: _KEY_TYPES[file.key_as] for name in names if file.key_as in _KEY_TYPES
    }
    columns = types | shape.columns_in(era_of(life, file))
    moves = any(record.before not in (None, record.key) for record in records)
    has_before = file.load is None and (file.has_before or moves or file.deletes_before)
    made = [_change(case, file, record, has_before) for record in records]
    return memory_file(
        list(made),
        generation=generation,
        columns=pa.schema([pa.field(name, kind) for name, kind in columns.items()]),
        before=names if has_before else (),
        position_kind=PositionKind(kind_of(case, file)),
        batch_rows=file.batch_rows,
    )


def _change(case: Case, file: File, record: Record, has_before: bool) -> Change:
    shape = case.shape
    key = _key(shape, file, record.key)
    before = _key(shape, file, record.before) if has_before and record.before is not None else {}
    if record.op == "D" and file.deletes_before:
        key, before = {}, key
    values = {**key, **(record.row or {})}
    at = committed_at(case, file, record.moment)
    return Change(record.op, values, record.sequence, before, at)


def _key(shape: Shape, file: File, key: int | None) -> dict[str, Any]:
    if key is None:
        # All but the last column of a key have a value: one NULL is enough to have no key.
        first = dict(zip(shape.key_names, shape.key_values(0), strict=True))
        return {**{name: _written(file, value) for name, value in first.items()}, shape.key_names[-1]: None}
    return {
        name: _written(file, value)
        for name, value in zip(shape.key_names, shape.key_values(key), strict=True)
    }


def _written(file: File, value: Any) -> Any:
    if file.key_as == "text":
        return str(value)
    return Decimal(value) if file.key_as == "decimal" else value
