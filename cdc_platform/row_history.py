"""A row of base traced back to the raw files: which event gave it its value, and everything that befell it.

Base keeps of each row the position of its event, and every batch the files it applied; the raw files hold the
events. So lineage is a look-up by position, and a history is a reading of the raw files, on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import MergeError
from cdc_platform.events import Position
from cdc_platform.lake.applied import AppliedRecord, read_applied, walk_batches
from cdc_platform.lake.lineage import (
    BatchOfFile,
    StoredRow,
    StoredTombstone,
    batch_of,
    find_rows,
    find_tombstone,
)
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, items_in
from cdc_platform.lake.wanted import Wanted, key_text, wanted_key, wanted_position
from cdc_platform.naming import safe_name
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.row_events import MOST_EVENTS, RawEvent, Reading, events_of, possible_carriers
from cdc_platform.row_fates import Fate, Fates, HistoryEvent

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

__all__ = [
    "Carrier",
    "Fate",
    "HistoryEvent",
    "RowHistory",
    "RowLineage",
    "row_history",
    "row_lineage",
    "what_is_wanted",
]


@dataclass(frozen=True, slots=True)
class Carrier:
    """The raw event that a stored position names, and the batch that applied its file."""

    event: RawEvent
    batch: BatchOfFile | None


@dataclass(frozen=True, slots=True)
class RowLineage:
    """Where a row that was asked for comes from. A row that is gone has at most a tombstone.

    ``carriers`` are found by position: one for each of ``rows``, or one for the tombstone; None where no raw
    file has the event any more, or nothing tells which of its rows it was.
    """

    wanted: Wanted
    rows: tuple[StoredRow, ...]
    tombstone: StoredTombstone | None
    #: A key that is in neither may have had a tombstone up to here.
    floor: Position | None
    carriers: tuple[Carrier | None, ...]
    #: Raw files that were looked into and could not be read → why.
    unread: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowHistory:
    """Every event of a row in the accepted raw files, in the order of their positions."""

    wanted: Wanted
    events: tuple[HistoryEvent, ...]
    #: Quarantined rows that are no events, whose values name the row.
    unreadable: tuple[QuarantineItem, ...]
    files_read: int
    unread: Mapping[str, str]


def what_is_wanted(
    platform: Platform, source: str, table_id: str, key: Collection[str], position: str | None
) -> Wanted:
    """Return what the texts of a key, or of a position, mean for a table. Raises ConfigError, MergeError."""
    where = f"{source}/{table_id}"
    if position is not None:
        return wanted_position(position, where=where)
    base = _base(platform, source, table_id)
    return wanted_key(platform.table(source, table_id), base.schema(), list(key), where=where)


def row_lineage(platform: Platform, source: str, table_id: str, wanted: Wanted) -> RowLineage:
    """Find the rows that are meant and what gave them their values. Raises MergeError without a table."""
    base, objects = _base(platform, source, table_id), platform.objects(source, table_id)
    record = read_applied(base, objects)
    rows = find_rows(platform.lake, base, wanted)
    tombstone = None if rows else find_tombstone(platform.lake, objects, record, wanted)
    asked = [
        (row.position, row.added_by.batch_id, _same_row(platform, source, table_id, base, row))
        for row in rows
    ]
    if tombstone is not None:
        asked.append((tombstone.position, None, wanted))
    files, reading = _as_applied(platform.accepted(source, table_id).files, record), Reading()
    carriers: list[Carrier | None] = []
    for position, likely, row in asked:
        candidates = possible_carriers(files, position, record.position_kind(position.generation))
        # without a key nothing tells the rows of a load apart, which all have one position
        found = events_of(platform, source, table_id, candidates, row, reading)
        event = next((one for one in found if one.position == position), None) if _is_named(row) else None
        if event is None:
            carriers.append(None)
        else:
            version = (event.file.file.key, event.file.file.etag)
            batch = batch_of(base, objects, version, position.generation, likely)
            carriers.append(Carrier(event, batch))
    return RowLineage(wanted, rows, tombstone, record.tombstone_floor, tuple(carriers), reading.unread)


def row_history(
    platform: Platform,
    source: str,
    table_id: str,
    wanted: Wanted,
    windows: Collection[str] | None = None,
    *,
    progress: Callable[[int, int, AcceptedFile], None] = lambda *_: None,
) -> RowHistory:
    """Read every event of a row from the accepted raw files (of ``windows``), with what became of it.

    ``progress`` is told (number, of how many, file) before each file. Raises MergeError without a base table,
    and for a row with more events than a person reads.
    """
    base, objects = _base(platform, source, table_id), platform.objects(source, table_id)
    table, record, items = platform.table(source, table_id), read_applied(base, objects), items_in(objects)
    files = [
        one
        for one in platform.accepted(source, table_id).readable
        if windows is None or one.window in windows
    ]
    reading, events = Reading(), list[RawEvent]()
    for event in events_of(platform, source, table_id, _told(files, progress), wanted, reading):
        events.append(event)
        if len(events) > MOST_EVENTS:
            what = f"{wanted} has more than {MOST_EVENTS:,} events"
            raise MergeError(what, where=f"{source}/{table_id}", mend="narrow them with --window")
    events.sort(key=lambda one: (one.position, one.file.file_time, one.file.file.key, one.row))
    fates = Fates(record, walk_batches(base, objects), items, table.images)
    known = {(one.file.file.key, one.file.file.etag, one.row) for one in events}
    unreadable = (
        item
        for item in items
        if item.row is not None
        and item.state in WAITING
        and (item.key, item.etag, item.row) not in known
        and _names_row(item, wanted)
        and (windows is None or item.window in windows)
    )
    return RowHistory(wanted, tuple(fates.of(events)), tuple(unreadable), reading.files, reading.unread)


def _base(platform: Platform, source: str, table_id: str) -> Table:
    platform.table(source, table_id)
    base = platform.lake.load(source, table_id)
    if base is None or base.current_snapshot() is None:
        where = f"{source}/{table_id}"
        raise MergeError("there is no base table yet", where=where, mend="merge its files first: cdc apply")
    return base


def _same_row(platform: Platform, source: str, table_id: str, base: Table, row: StoredRow) -> Wanted:
    """Return how to know a stored row again in the raw files: by its key, else by its position."""
    table: TableConfig = platform.table(source, table_id)
    if table.safe_key:
        texts = [f"{name}={key_text(row.values[name])}" for name in table.safe_key]
        return wanted_key(table, base.schema(), texts, where=f"{source}/{table_id}")
    at = row.position
    return wanted_position(f"{at.generation}:{at.sequence}", where=f"{source}/{table_id}")


def _is_named(row: Wanted) -> bool:
    position = row.position
    return position is None or position.sequence > 0


def _as_applied(files: Iterable[AcceptedFile], record: AppliedRecord) -> list[AcceptedFile]:
    """Return files as the table took them in: a load that became known since gave them a new generation."""
    return [
        replace(one, generation=record.files.get((one.file.key, one.file.etag), one.generation))
        for one in files
    ]


def _told(
    files: list[AcceptedFile], progress: Callable[[int, int, AcceptedFile], None]
) -> Iterator[AcceptedFile]:
    for number, one in enumerate(files, start=1):
        progress(number, len(files), one)
        yield one


def _names_row(item: QuarantineItem, wanted: Wanted) -> bool:
    """Whether the values of a row that is no event name the row that is meant."""
    values = {safe_name(name): value for name, value in item.values.items()}
    return wanted.is_key and all(values.get(name) == str(value) for name, value in wanted.values.items())
