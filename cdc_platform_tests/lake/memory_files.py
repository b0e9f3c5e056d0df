"""Event files made in memory, to feed a merge without a raw format in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from cdc_platform.errors import CdcError
from cdc_platform.events import (
    COMMITTED_AT,
    EVENT_COLUMNS,
    GENERATION,
    OP,
    POSITION,
    ROW,
    SOURCE_POSITION,
    PositionKind,
    before_name,
)
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile

EPOCH = datetime(2024, 5, 1, tzinfo=UTC)

#: The columns most tests use: a key and one value.
COLUMNS = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.string())])


@dataclass(frozen=True)
class Change:
    """One event: op, the row's values, the key values before, and where it stands."""

    op: str
    values: Mapping[str, Any]
    position: int
    before: Mapping[str, Any] = field(default_factory=dict)
    committed_at: datetime | None = None


@dataclass(frozen=True)
class Rejected:
    """A row the reader refused."""

    row: int
    column: str | None
    reason: str
    mend: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """A batch of events and refused rows."""

    events: pa.RecordBatch
    rejected: Sequence[Rejected] = ()


@dataclass(frozen=True)
class MemoryFile:
    """An event file in memory; ``fault`` is raised after its first batch."""

    schema: pa.Schema
    rows: Sequence[Mapping[str, Any]]
    position_kind: PositionKind = PositionKind.CHANGE_SEQUENCE
    source_columns: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    fault: CdcError | None = None
    batch_rows: int = 3

    def close(self) -> None:
        """Nothing to let go of."""

    def batches(self) -> Iterator[Batch]:
        rejected = tuple(self.rejected)
        for start in range(0, max(len(self.rows), 1), self.batch_rows):
            rows = [dict(row) for row in self.rows[start : start + self.batch_rows]]
            yield Batch(pa.RecordBatch.from_pylist(rows, schema=self.schema), rejected)
            rejected = ()
            if self.fault is not None:
                raise self.fault


def changes(*events: tuple[Any, ...] | Change) -> list[Change]:
    """Return changes from short tuples: (op, id, v, position[, id before])."""
    made = []
    for each in events:
        if isinstance(each, Change):
            made.append(each)
            continue
        op, key, value, position, *before = each
        made.append(Change(op, {"id": key, "v": value}, position, {"id": before[0]} if before else {}))
    return made


def event_schema(columns: pa.Schema, before: Sequence[str]) -> pa.Schema:
    """Return the event schema of a file with ``columns``."""
    fields = [*EVENT_COLUMNS, *columns]
    return pa.schema([*fields, *(pa.field(before_name(c), columns.field(c).type) for c in before)])


def memory_file(
    events: Sequence[Change],
    *,
    generation: int,
    columns: pa.Schema = COLUMNS,
    before: Sequence[str] = ("id",),
    **options: Any,
) -> MemoryFile:
    """Return a file of ``events``; a commit time follows from the position unless given."""
    rows = []
    for number, event in enumerate(events):
        at = event.committed_at or EPOCH + timedelta(seconds=min(event.position, 10**9))
        rows.append(
            {
                OP: event.op,
                GENERATION: generation,
                POSITION: Decimal(event.position),
                COMMITTED_AT: at,
                ROW: number,
                SOURCE_POSITION: None,
                **event.values,
                **{before_name(name): value for name, value in event.before.items()},
            }
        )
    return MemoryFile(event_schema(columns, before), rows, **options)


def accepted(
    name: str,
    *,
    kind: FileKind = FileKind.CHANGES,
    generation: int = 0,
    minute: int = 0,
    window: str = "2024-05-01",
    rows: int | None = None,
) -> AcceptedFile:
    """Return an accepted file; ``name`` is its key and its ETag."""
    at = EPOCH + timedelta(minutes=minute)
    return AcceptedFile(RawFile(name, 100, f"etag-{name}", at), kind, at, window, generation, rows)


def change_file(name: str, *events: Any, generation: int = 0, minute: int = 0, **options: Any) -> MergeInput:
    """Return a change file ``name`` of short tuples or changes."""
    file = memory_file(changes(*events), generation=generation, **options)
    return MergeInput(accepted(name, generation=generation, minute=minute, rows=len(events)), lambda: file)


def load_file(name: str, *rows: Any, generation: int = 1, minute: int = 0, **options: Any) -> MergeInput:
    """Return a file of a full load: rows are (id, v) or mappings."""
    events = [
        Change("L", row if isinstance(row, Mapping) else {"id": row[0], "v": row[1]}, 0) for row in rows
    ]
    file = memory_file(events, generation=generation, before=(), **options)
    taken = accepted(name, kind=FileKind.LOAD, generation=generation, minute=minute, rows=len(rows))
    return MergeInput(taken, lambda: file)
