"""The events of one row in the raw files: found by key or position, read in batches, matched by SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from cdc_platform.errors import RawFileError, SchemaError
from cdc_platform.events import (
    BEFORE_PREFIX,
    COMMITTED_AT,
    CONTROL_PREFIX,
    GENERATION,
    OP,
    POSITION,
    ROW,
    SOURCE_POSITION,
    Position,
    PositionKind,
)
from cdc_platform.formats.event_file import RejectedRow
from cdc_platform.formats.event_sql import MOST_ROWS_BY_FILE_TIME
from cdc_platform.formats.sequences import TIME_PART_UNIT
from cdc_platform.lake.wanted import Wanted
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.repairs import is_repair

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

#: More events of one row than this are not kept: they are no longer for a person to read.
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event of a row as a raw file has it. ``row`` is its 0-based number among the file's records."""

    file: AcceptedFile
    row: int
    position: Position
    op: str
    committed_at: datetime | None
    source_position: str | None
    after: Mapping[str, Any]
    before: Mapping[str, Any]


@dataclass(slots=True)
class Reading:
    """What was read on the way, and what could not be."""

    files: int = 0
    #: Raw file → why it could not be read.
    unread: dict[str, str] = field(default_factory=dict)


def events_of(
    platform: Platform,
    source: str,
    table_id: str,
    files: Iterable[AcceptedFile],
    wanted: Wanted,
    reading: Reading,
    refused: Callable[[AcceptedFile, Sequence[RejectedRow]], None] = lambda *_: None,
) -> Iterator[RawEvent]:
    """Yield the events of ``files`` that touch the row: by its key before or after them, or their position.

    A file that cannot be read is told in ``reading`` and passed over; ``refused`` is told rows that are none.
    """
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        for accepted in files:
            reading.files += 1
            try:
                with closing(platform.event_file(source, table_id, accepted)) as file:
                    for batch in file.batches():
                        refused(accepted, batch.rejected)
                        yield from _matching(con, batch.events, accepted, wanted)
            except (RawFileError, SchemaError) as error:
                reading.unread[accepted.file.key] = error.what


def possible_carriers(
    files: Iterable[AcceptedFile], position: Position, kind: PositionKind | None
) -> list[AcceptedFile]:
    """Return the files that may carry the event at ``position``, the likeliest first.

    Sound: a position made of a file's time names the file; a change sequence only tells where to begin.
    """
    wanted_kind = FileKind.CHANGES if position.sequence else FileKind.LOAD
    chosen = [one for one in files if one.generation == position.generation and one.kind is wanted_kind]
    if not position.sequence:
        return chosen
    if kind in (PositionKind.COMMIT_TIME, PositionKind.FILE_TIME):
        return [one for one in chosen if is_repair(one.file.key) or _is_numbered_by(one, position.sequence)]
    committed = _time_of(position.sequence)
    if committed is None:
        return chosen

    def distance(one: AcceptedFile) -> tuple[bool, timedelta]:
        # a file is written after what it holds was committed
        return one.file_time < committed, abs(one.file_time - committed)

    return sorted(chosen, key=distance)


def _is_numbered_by(one: AcceptedFile, sequence: int) -> bool:
    first = round(one.file_time.timestamp() * 1_000_000) // 100 * MOST_ROWS_BY_FILE_TIME
    return 0 <= sequence % TIME_PART_UNIT - first < MOST_ROWS_BY_FILE_TIME


def _time_of(sequence: int) -> datetime | None:
    """Return the time a change sequence begins with, to the second."""
    digits = f"{sequence:038d}"[:14]
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _matching(
    con: duckdb.DuckDBPyConnection, batch: pa.RecordBatch, accepted: AcceptedFile, wanted: Wanted
) -> Iterator[RawEvent]:
    names = set(batch.schema.names)
    prefixes = ("", BEFORE_PREFIX) if wanted.is_key else ("",)
    conditions = [
        wanted.condition(prefix)
        for prefix in prefixes
        if all(f"{prefix}{name}" in names for name in wanted.values)
    ]
    if not batch.num_rows or not conditions:
        return
    con.register("incoming", pa.Table.from_batches([batch]))
    try:
        query = f"SELECT * FROM incoming WHERE {' OR '.join(conditions)} ORDER BY {ROW} LIMIT {MOST_EVENTS}"
        found: list[dict[str, Any]] = con.execute(query).to_arrow_table().to_pylist()
    finally:
        con.unregister("incoming")
    yield from (_event(values, accepted, batch.schema.names) for values in found)


def _event(values: Mapping[str, Any], accepted: AcceptedFile, names: Sequence[str]) -> RawEvent:
    return RawEvent(
        file=accepted,
        row=int(values[ROW]),
        position=Position(int(values[GENERATION]), int(values[POSITION])),
        op=str(values[OP]),
        committed_at=values[COMMITTED_AT],
        source_position=values[SOURCE_POSITION],
        after={name: values[name] for name in names if not name.startswith(CONTROL_PREFIX)},
        before=_images(values, names),
    )


def _images(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {
        name.removeprefix(BEFORE_PREFIX): values[name] for name in names if name.startswith(BEFORE_PREFIX)
    }
