"""What became of each event of one row: told by what the table has, by its batches and by the quarantine.

The table says which event made the row, by its position, and nothing else does: the newest event that was
read need not be it, when files have gone or only some windows were asked for. The batches say in which order
events came, and the quarantine which of them wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc_platform.config.model import Images
from cdc_platform.events import Op, Position
from cdc_platform.lake.applied import AppliedRecord, BatchManifest
from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState, quarantine_id, released_item
from cdc_platform.row_events import RawEvent

#: Before every batch whose record is kept.
_OLDEST = -1


class Fate(StrEnum):
    """What became of an event.

    ``CURRENT`` made the row (or its absence) what it is: the table has its position. ``APPLIED`` did so once;
    ``OVERTAKEN`` came with a newer event of the row in the same merge; ``STALE`` came when the table knew a
    newer one, or the same; these three as far as the events that were read tell, and the one that made the
    row. ``SUPERSEDED`` is of a generation before the last complete full load. The others are not in base:
    ``PENDING`` waits for the next merge, ``QUARANTINED`` for a person, ``DISCARDED`` was given up.
    """

    CURRENT = "current"
    APPLIED = "applied"
    OVERTAKEN = "overtaken"
    STALE = "stale"
    SUPERSEDED = "superseded"
    PENDING = "pending"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An event of the row with its fate, and the batch that applied it where that is recorded."""

    event: RawEvent
    fate: Fate
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Maker:
    """What the table has of the event that made a row, or its absence, what it is.

    ``batch_id`` is of the batch that merged it and ``event`` the event itself, where they are known otherwise
    than by reading the row's events.
    """

    position: Position
    is_of_row: bool
    batch_id: str | None = None
    event: RawEvent | None = None

    def is_made_by(self, event: RawEvent) -> bool:
        """Whether it is this event: an insert is never what a row is gone by."""
        is_absence_told = self.is_of_row or event.op not in (Op.INSERT, Op.LOAD)
        return event.position == self.position and is_absence_told


class Fates:
    """Knows the batches and the quarantine of a table; tells the fates of the events of one of its rows."""

    def __init__(
        self,
        record: AppliedRecord,
        batches: Iterable[BatchManifest],
        items: Iterable[QuarantineItem],
        images: Images,
    ) -> None:
        self._record = record
        self._images = images
        self._items = {item.id: item for item in items}
        newest_first = list(batches)
        self._ids = [manifest.batch_id for manifest in reversed(newest_first)]
        self._files: dict[tuple[str, str, int], int] = {}
        self._replayed: dict[str, int] = {}
        for number, manifest in enumerate(reversed(newest_first)):
            for file in manifest.files:
                # a batch that replays some rows of a file names it again: the others were merged before
                self._files.setdefault((file.key, file.etag, file.generation), number)
            self._replayed |= dict.fromkeys(map(released_item, manifest.replayed), number)

    def of(self, events: Sequence[RawEvent], maker: Maker | None) -> Iterator[HistoryEvent]:
        """Yield ``events`` in their order with their fates; ``maker`` is what the table has, if anything."""
        fates: dict[int, Fate] = {}
        merged: dict[int, list[int]] = defaultdict(list)
        batch: dict[int, int] = {}
        for index, event in enumerate(events):
            outside = self._outside(event)
            if outside is not None:
                fates[index] = outside
                continue
            batch[index] = self._batch(event)
            if event.position.generation < self._record.generation_complete:
                fates[index] = Fate.SUPERSEDED
            else:
                merged[batch[index]].append(index)
        fates |= self._merged(events, merged, maker)
        for index, event in enumerate(events):
            number = batch.get(index, _OLDEST)
            yield HistoryEvent(event, fates[index], self._ids[number] if number != _OLDEST else None)

    def _outside(self, event: RawEvent) -> Fate | None:
        """Return the fate of an event that no merge took in, None for the others."""
        version = (event.file.file.key, event.file.file.etag)
        for item_id in (quarantine_id(*version, event.row), quarantine_id(*version, None)):
            item = self._items.get(item_id)
            if item is None or (item.row is None and self._record.holds(event.file)):
                continue
            match item.state:
                case QuarantineState.OPEN:
                    return Fate.QUARANTINED
                case QuarantineState.DISCARDED:
                    return Fate.DISCARDED
                case QuarantineState.RELEASED if item.release not in self._record.replayed:
                    return Fate.PENDING
        return None if self._record.holds(event.file) else Fate.PENDING

    def _batch(self, event: RawEvent) -> int:
        key, etag = event.file.file.key, event.file.file.etag
        replayed = self._replayed.get(quarantine_id(key, etag, event.row))
        return (
            replayed if replayed is not None else self._files.get((key, etag, event.file.generation), _OLDEST)
        )

    def _merged(
        self, events: Sequence[RawEvent], batches: Mapping[int, list[int]], maker: Maker | None
    ) -> dict[int, Fate]:
        """Return the fates of merged events, batch by batch as they were merged."""
        fates: dict[int, Fate] = {}
        newest: Position | None = None
        is_made = False
        made_in = self._merged_in(maker) if maker and not any(map(maker.is_made_by, events)) else None
        for number in sorted({*batches} if made_in is None else {*batches, made_in}):
            known = newest
            if maker is not None and number == made_in:
                newest = max(maker.position, known or maker.position)
            # of two events at one position in one merge, the later in the files counts
            for index in sorted(batches.get(number, ()), key=lambda i: (events[i].position, i), reverse=True):
                position = events[index].position
                if maker is not None and not is_made and maker.is_made_by(events[index]):
                    fates[index], newest, is_made = Fate.CURRENT, max(position, newest or position), True
                elif known is not None and position <= known:
                    fates[index] = Fate.STALE
                elif newest is None or position > newest:
                    fates[index], newest = Fate.APPLIED, position
                elif position == newest:
                    fates[index] = Fate.STALE
                else:
                    is_part = self._images is Images.PARTIAL
                    fates[index] = Fate.APPLIED if is_part else Fate.OVERTAKEN
        return fates

    def _merged_in(self, maker: Maker) -> int | None:
        """Return which batch merged an event that is not among those that were read, where that is known."""
        if maker.event is not None:
            return self._batch(maker.event)
        return self._ids.index(maker.batch_id) if maker.batch_id in self._ids else None
