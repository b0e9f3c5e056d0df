"""A row of base traced back to the raw files: which event gave it its value, and everything that befell it.

Base keeps of each row the position of its event, and every batch the files it applied; the raw files hold the
events. So lineage is a look-up by position, and a history is a reading of the raw files, on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyiceberg.table import Table

from cdc_platform.config.model import Images, TableConfig
from cdc_platform.errors import MergeError
from cdc_platform.events import OP, Op, Position
from cdc_platform.formats.event_file import RejectedRow
from cdc_platform.lake.applied import read_applied, walk_batches
from cdc_platform.lake.lineage import (
    BatchOfFile,
    StoredRow,
    StoredTombstone,
    batch_of,
    find_rows,
    find_tombstone,
)
from cdc_platform.lake.named_keys import named_keys, safe_texts
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, QuarantineState, items_in
from cdc_platform.lake.wanted import Wanted, key_text, wanted_key, wanted_position
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.row_events import MOST_EVENTS, RawEvent, Reading, events_of, possible_carriers
from cdc_platform.row_fates import Fate, Fates, HistoryEvent, Maker

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

__all__ = [
    "Carrier",
    "Fate",
    "HistoryEvent",
    "Maker",
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
    #: Rows that are no events, whose values name the row: they wait in quarantine or were given up there.
    unreadable: tuple[QuarantineItem, ...]
    files_read: int
    unread: Mapping[str, str]
    #: What the table has of the event that made the row, or its absence, where that is not among ``events``;
    #: with the event when a file that was not asked for has it.
    maker: Maker | None = None


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
    table = _Traced(platform, source, table_id)
    rows, tombstone = table.stored(wanted)
    asked = [(row.position, row.added_by.batch_id, table.same_row(row)) for row in rows]
    if tombstone is not None:
        asked.append((tombstone.position, None, wanted))
    files, reading = table.files(), Reading()
    carriers: list[Carrier | None] = []
    for position, likely, row in asked:
        event = table.event_at(position, row, files, reading)
        if event is None:
            carriers.append(None)
        else:
            version = (event.file.file.key, event.file.file.etag)
            batch = batch_of(table.base, table.objects, version, position.generation, likely)
            carriers.append(Carrier(event, batch))
    floor = table.record.tombstone_floor
    return RowLineage(wanted, rows, tombstone, floor, tuple(carriers), reading.unread)


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
    table = _Traced(platform, source, table_id)
    maker, items = table.maker(wanted), items_in(table.objects)
    files = table.files(readable=True)
    asked = [one for one in files if windows is None or one.window in windows]
    reading, events = Reading(), list[RawEvent]()
    prefix = platform.source(source).raw_of(platform.table(source, table_id)).before_image_prefix
    refused = _Refused(wanted, prefix, [one for one in items if windows is None or one.window in windows])
    read = _told(asked, progress)
    for event in events_of(platform, source, table_id, read, wanted, reading, refused.take):
        events.append(event)
        if len(events) > MOST_EVENTS:
            what = f"{wanted} has more than {MOST_EVENTS:,} events"
            raise MergeError(what, where=f"{source}/{table_id}", mend="narrow them with --window")
    events.sort(key=lambda one: (one.position, one.file.file_time, one.file.file.key, one.row))
    missing = None
    if maker is not None and not any(map(maker.is_made_by, events)):
        others = [one for one in files if one not in asked]
        maker = missing = replace(maker, event=table.event_at(maker.position, wanted, others, Reading()))
    fates = tuple(table.fates(items).of(events, maker))
    if not _is_named(wanted):
        # rows of a load, which no position tells apart: none of them is the same as another
        fates = tuple(replace(one, fate=Fate.APPLIED) if one.fate is Fate.STALE else one for one in fates)
    known = {(one.file.file.key, one.file.file.etag, one.row) for one in events}
    return RowHistory(wanted, fates, refused.but_for(known), reading.files, reading.unread, missing)


class _Refused:
    """The rows that are no events and name the row that is meant, now or by their image before the change.

    Of a file that waits, or was given up, as a whole no item tells of them: they are found as it is read.
    """

    def __init__(self, wanted: Wanted, prefix: str | None, items: Iterable[QuarantineItem]) -> None:
        self._wanted, self._prefix = wanted, prefix
        there = [one for one in items if one.state in (*WAITING, QuarantineState.DISCARDED)]
        self._whole = {(one.key, one.etag): one for one in there if one.row is None}
        self._found = [one for one in there if one.row is not None and self._names(one.values)]

    def take(self, file: AcceptedFile, rows: Sequence[RejectedRow]) -> None:
        """Take the rows of a file that are no events."""
        whole = self._whole.get((file.file.key, file.file.etag))
        if whole is not None:
            self._found += [
                replace(whole, row=one.row, reason=one.reason, mend=one.mend, values=one.values)
                for one in rows
                if self._names(one.values)
            ]

    def but_for(self, known: Collection[tuple[str, str, int]]) -> tuple[QuarantineItem, ...]:
        """Return what was found but for rows that are events."""
        return tuple(one for one in self._found if (one.key, one.etag, one.row) not in known)

    def _names(self, values: Mapping[str, Any]) -> bool:
        wanted = self._wanted
        key = tuple(map(str, wanted.values.values()))
        return wanted.is_key and key in named_keys(safe_texts(values), list(wanted.values), self._prefix)


class _Traced:
    """One table as the lake has it now, with the record of its files: what a row is traced in."""

    def __init__(self, platform: Platform, source: str, table_id: str) -> None:
        self._platform, self._source, self._id = platform, source, table_id
        self._config: TableConfig = platform.table(source, table_id)
        self.base, self.objects = _base(platform, source, table_id), platform.objects(source, table_id)
        self.record = read_applied(self.base, self.objects)

    def stored(self, wanted: Wanted) -> tuple[tuple[StoredRow, ...], StoredTombstone | None]:
        """Return the rows that are meant, or what is remembered of their delete."""
        rows = find_rows(self._platform.lake, self.base, wanted)
        if rows:
            return rows, None
        return rows, find_tombstone(self._platform.lake, self.objects, self.record, wanted)

    def maker(self, wanted: Wanted) -> Maker | None:
        """Return what the table has of the event that made the row; None for nothing, and rows of a load.

        Without a key nothing tells those apart: all have one position.
        """
        if not _is_named(wanted):
            return None
        rows, tombstone = self.stored(wanted)
        if not rows:
            return Maker(tombstone.position, is_of_row=False) if tombstone is not None else None
        row = max(rows, key=lambda one: one.position)
        # rows that keep a delete, or parts of several events, may have been written again by a later merge
        is_written_once = row.values[OP] != Op.DELETE and self._config.images is Images.FULL
        return Maker(
            row.position, is_of_row=True, batch_id=row.added_by.batch_id if is_written_once else None
        )

    def files(self, *, readable: bool = False) -> list[AcceptedFile]:
        """Return the files as the table took them in: a load known since gave them a new generation."""
        accepted, applied = self._platform.accepted(self._source, self._id), self.record.files
        return [
            replace(one, generation=applied.get((one.file.key, one.file.etag), one.generation))
            for one in (accepted.readable if readable else accepted.files)
        ]

    def event_at(
        self, position: Position, row: Wanted, files: Iterable[AcceptedFile], reading: Reading
    ) -> RawEvent | None:
        """Return the event of the row at ``position``, None where no file has it or nothing names the row."""
        if not _is_named(row):
            return None
        candidates = possible_carriers(files, position, self.record.position_kind(position.generation))
        found = events_of(self._platform, self._source, self._id, candidates, row, reading)
        return next((one for one in found if one.position == position), None)

    def same_row(self, row: StoredRow) -> Wanted:
        """Return how to know a stored row again in the raw files: by its key, else by its position."""
        where = f"{self._source}/{self._id}"
        if self._config.safe_key:
            texts = [f"{name}={key_text(row.values[name])}" for name in self._config.safe_key]
            return wanted_key(self._config, self.base.schema(), texts, where=where)
        at = row.position
        return wanted_position(f"{at.generation}:{at.sequence}", where=where)

    def fates(self, items: Iterable[QuarantineItem]) -> Fates:
        """Return who tells the fates of events."""
        return Fates(self.record, walk_batches(self.base, self.objects), items, self._config.images)


def _base(platform: Platform, source: str, table_id: str) -> Table:
    platform.table(source, table_id)
    base = platform.lake.load(source, table_id)
    if base is None or base.current_snapshot() is None:
        where = f"{source}/{table_id}"
        raise MergeError("there is no base table yet", where=where, mend="merge its files first: cdc apply")
    return base


def _is_named(row: Wanted) -> bool:
    position = row.position
    return position is None or position.sequence > 0


def _told(
    files: list[AcceptedFile], progress: Callable[[int, int, AcceptedFile], None]
) -> Iterator[AcceptedFile]:
    for number, one in enumerate(files, start=1):
        progress(number, len(files), one)
        yield one
