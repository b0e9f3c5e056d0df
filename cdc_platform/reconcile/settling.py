"""The settling queue: keys a run could not decide, kept beside the table until a later run does.

One JSON object in the table's object store, bounded, changed by compare-and-swap, so runs at the same time
add up. Of each key it holds how often runs found it open: a count and no flag, so that a key which another
run put in once more while it was decided stays. A key also holds what the last look at it saw; what can be
said of it then is told in ``settle``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.suspects import key_text
from cdc_platform.reconcile.verdict import Sighting

SETTLING_OBJECT = "reports/settling.json"
#: More keys are not kept: how many were left out is told.
MOST_QUEUED = 10_000
_FORM = 1

#: A key's columns as text that casts back to just their values.
Key = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a key saw: where the source was read, its row, and the place of base's row.

    Base was pinned before the source was read. ``source`` tells rows apart, ``base`` the events they are of.
    """

    position: str
    source: str
    base: str
    at: str


@dataclass(frozen=True, slots=True)
class Queued:
    """A key in the queue. ``reported`` is the position it was called different at, until it is equal."""

    key: Key
    found_by: str
    first_seen: datetime
    first_position: str | None
    sightings: int = 1
    #: Raw events of the key that were applied since it was first seen.
    changes: int = 0
    look: Look | None = None
    reported: str | None = None

    def age(self, now: datetime) -> timedelta:
        """How long ago it was first seen."""
        return now - self.first_seen


@dataclass(frozen=True, slots=True)
class Queue:
    """All keys by their texts. ``snapshot_id`` is base's at the last look, ``left_out`` what had no room."""

    entries: Mapping[str, Queued] = field(default_factory=dict)
    left_out: int = 0
    snapshot_id: int | None = None

    @property
    def in_flight(self) -> int:
        """How many keys wait for a decision."""
        return sum(one.reported is None for one in self.entries.values())


class _Stored(TypedDict):
    """The object, as JSON has it."""

    left_out: int
    snapshot_id: int | None
    entries: list[Queued]


_STORED = TypeAdapter(_Stored)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run found of one key. ``sightings`` are those it knew of; ``look`` None: it is decided equal."""

    sightings: int
    look: Look | None
    changes: int = 0
    reported: str | None = None


def read_queue(objects: ObjectStore) -> Queue:
    """Return the queue of a table. Raises StateError when the object is damaged."""
    data = objects.get(SETTLING_OBJECT)
    return _parsed(objects, data)


def note(objects: ObjectStore, sightings: Iterable[Sighting], *, found_by: str, at: datetime) -> None:
    """Add what a run left open, or count it once more."""
    found = list(sightings)
    if found:
        _change(objects, lambda queue: _with_sightings(queue, found, found_by, at))


def settle_queue(objects: ObjectStore, settled: Mapping[str, Settled], snapshot_id: int | None) -> Queue:
    """Take out what was decided, unless another run saw it open meanwhile; return what is left."""
    return _change(objects, lambda queue: _with_settled(queue, settled, snapshot_id))


def _with_sightings(queue: Queue, found: Iterable[Sighting], found_by: str, at: datetime) -> Queue:
    entries, left_out = dict(queue.entries), queue.left_out
    for one in found:
        text = key_text(one.key)
        known = entries.get(text)
        reported = one.position if one.different else None
        if known is not None:
            entries[text] = replace(known, sightings=known.sightings + 1, reported=reported or known.reported)
        elif len(entries) < MOST_QUEUED:
            entries[text] = Queued(one.key, found_by, at, one.position, reported=reported)
        else:
            left_out += 1
    return replace(queue, entries=entries, left_out=left_out)


def _with_settled(queue: Queue, settled: Mapping[str, Settled], snapshot_id: int | None) -> Queue:
    entries = dict(queue.entries)
    for text, one in settled.items():
        known = entries.get(text)
        if known is None:
            continue
        more = known.sightings - one.sightings
        if one.look is None and more <= 0:
            del entries[text]
        elif one.look is None:
            entries[text] = replace(known, sightings=more, look=None, reported=None)
        else:
            changes = known.changes + one.changes
            entries[text] = replace(known, look=one.look, changes=changes, reported=one.reported)
    left_out = queue.left_out if entries else 0
    return Queue(entries, left_out, snapshot_id)


def _change(objects: ObjectStore, change: Callable[[Queue], Queue]) -> Queue:
    while True:
        stored = objects.read(SETTLING_OBJECT)
        queue = change(_parsed(objects, stored.data if stored else None))
        if objects.replace(SETTLING_OBJECT, _bytes(queue), stored.version if stored else None):
            return queue


def _bytes(queue: Queue) -> bytes:
    value = {
        "form": _FORM,
        "left_out": queue.left_out,
        "snapshot_id": None if queue.snapshot_id is None else str(queue.snapshot_id),
        "entries": [
            {**asdict(one), "key": dict(one.key), "first_seen": one.first_seen.isoformat()}
            for one in queue.entries.values()
        ],
    }
    return json.dumps(value, indent=1).encode()


def _parsed(objects: ObjectStore, data: bytes | None) -> Queue:
    if data is None:
        return Queue()
    mend = "remove it and compare the table's windows again: what is open is found anew"
    with undamaged(objects, SETTLING_OBJECT, mend=mend):
        stored = json.loads(data)
        if stored["form"] != _FORM:
            # another version wrote it: what is open is found again
            return Queue()
        found = _STORED.validate_python(stored)
        entries = {key_text(one.key): one for one in found["entries"]}
        return Queue(entries, found["left_out"], found["snapshot_id"])
