"""Quarantine: files and rows that could not be applied, kept with why, and how to get them in after all.

One JSON object each below ``quarantine/`` of the table's store; its id is a hash of file and row, so that
finding the same fault again changes nothing. A quarantined file is not applied and a quarantined row is left
out of its file. *Release* makes the next merge try it again, *discard* gives it up for good.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cdc_platform.errors import MergeError
from cdc_platform.lake.catalog import Lake
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.objects import ObjectStore, undamaged

FOLDER = "quarantine"

#: More rejected rows than this in one file, or more than half of them, quarantine the whole file.
MAX_REJECTED_ROWS = 1_000
MAX_REJECTED_SHARE = 0.5


class QuarantineState(StrEnum):
    """Where an item stands.

    ``REPLAYED`` is set by the merge that applied a released item, or found its file applied. ``REPLACED``
    is set when the file was written again (the new version is taken in by itself), for a name that was
    refused also when it is refused no more or was taken away.
    """

    OPEN = "open"
    RELEASED = "released"
    DISCARDED = "discarded"
    REPLAYED = "replayed"
    REPLACED = "replaced"


#: Items that something or somebody still has to do with.
WAITING = (QuarantineState.OPEN, QuarantineState.RELEASED)


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """A file (``row`` is None) or one row of it that was set aside."""

    id: str
    key: str
    etag: str
    row: int | None
    reason: str
    mend: str
    window: str
    generation: int
    column: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    state: QuarantineState = QuarantineState.OPEN
    found_at: str = ""
    decided_at: str | None = None
    #: Whether it is a file of a refused name, which nobody opened.
    by_name: bool = False

    @property
    def kind(self) -> str:
        """``file`` or ``row``."""
        return "file" if self.row is None else "row"

    @property
    def release(self) -> str:
        """What names this release of the item: one that is set aside again may be released again."""
        return f"{self.id}@{self.decided_at}"


def quarantine_id(key: str, etag: str, row: int | None) -> str:
    """Return the id of a file's or row's quarantine item."""
    text = json.dumps([key, etag, row])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def released_item(release: str) -> str:
    """Return the id of the item whose release is named so."""
    return release.partition("@")[0]


def item_of(
    accepted: AcceptedFile,
    row: int | None,
    *,
    reason: str,
    mend: str,
    column: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> QuarantineItem:
    """Return the open item of a file or row found faulty now."""
    key, etag = accepted.file.key, accepted.file.etag
    texts = {name: None if value is None else str(value) for name, value in (values or {}).items()}
    return QuarantineItem(
        id=quarantine_id(key, etag, row),
        key=key,
        etag=etag,
        row=row,
        reason=reason,
        mend=mend,
        window=accepted.window,
        generation=accepted.generation,
        column=column,
        values=texts,
        found_at=_now(),
    )


def again(item: QuarantineItem, *, reason: str, mend: str) -> QuarantineItem:
    """Return the open item of a released row that could not be applied this time either."""
    return replace(
        item,
        reason=reason,
        mend=mend,
        column=None,
        state=QuarantineState.OPEN,
        found_at=_now(),
        decided_at=None,
    )


def record(objects: ObjectStore, items: Iterable[QuarantineItem]) -> None:
    """Store items. One that is open or discarded stays as it is; a released or closed one opens again."""
    for item in items:
        while not _recorded(objects, item):
            # another process wrote or removed the item in between
            continue


def _recorded(objects: ObjectStore, item: QuarantineItem) -> bool:
    """Store ``item`` if it is new or has to open again; return whether it stands as it should."""
    stored = objects.read(_name(item.id))
    if stored is None:
        return objects.put_if_absent(_name(item.id), _bytes(item))
    if _item(objects, _name(item.id), stored.data).state in (QuarantineState.OPEN, QuarantineState.DISCARDED):
        return True
    return objects.replace(_name(item.id), _bytes(item), stored.version)


def find(objects: ObjectStore, key: str, etag: str, row: int | None = None) -> QuarantineItem | None:
    """Return the item of a file or row, None when it was never set aside."""
    name = _name(quarantine_id(key, etag, row))
    data = objects.get(name)
    return _item(objects, name, data) if data is not None else None


def items_in(objects: ObjectStore, state: QuarantineState | None = None) -> list[QuarantineItem]:
    """Return a store's items, oldest first."""
    found = []
    for name in objects.list(f"{FOLDER}/"):
        data = objects.get(name)
        if data is not None:
            found.append(_item(objects, name, data))
    chosen = [item for item in found if state is None or item.state == state]
    return sorted(chosen, key=lambda item: (item.found_at, item.key, item.row or -1))


def list_items(
    lake: Lake, source: str, table_id: str, *, state: QuarantineState | None = None
) -> list[QuarantineItem]:
    """Return the table's quarantine, oldest first."""
    return items_in(lake.objects(source, table_id), state)


def release(lake: Lake, source: str, table_id: str, item_id: str) -> QuarantineItem:
    """Let the next merge of the item's window try it again."""
    return _decide(lake, source, table_id, item_id, QuarantineState.RELEASED)


def discard(lake: Lake, source: str, table_id: str, item_id: str) -> QuarantineItem:
    """Give the item up: it is never applied and blocks nothing any more."""
    return _decide(lake, source, table_id, item_id, QuarantineState.DISCARDED)


def mark_replayed(objects: ObjectStore, items: Iterable[QuarantineItem]) -> None:
    """Close the waiting items a merge has applied, or found applied."""
    for item in items:
        _close(objects, item.id, WAITING, QuarantineState.REPLAYED)


def release_again(objects: ObjectStore, item_ids: Iterable[str]) -> list[QuarantineItem]:
    """Open replayed items for the next merge, because their replay is taken back; return which they are."""
    opened = []
    for item_id in item_ids:
        stored = objects.read(_name(item_id))
        if (
            stored is not None
            and _item(objects, _name(item_id), stored.data).state is QuarantineState.REPLAYED
        ):
            opened.append(_item(objects, _name(item_id), stored.data))
            _close(objects, item_id, (QuarantineState.REPLAYED,), QuarantineState.RELEASED)
    return opened


def mark_replaced(objects: ObjectStore, items: Iterable[QuarantineItem]) -> None:
    """Close waiting items whose file is not there any more as it was set aside."""
    for item in items:
        _close(objects, item.id, WAITING, QuarantineState.REPLACED)


def _close(
    objects: ObjectStore, item_id: str, states: tuple[QuarantineState, ...], state: QuarantineState
) -> None:
    stored = objects.read(_name(item_id))
    if stored is None:
        return
    item = _item(objects, _name(item_id), stored.data)
    if item.state in states:
        closed = replace(item, state=state, decided_at=_now())
        objects.replace(_name(item_id), _bytes(closed), stored.version)


def _decide(lake: Lake, source: str, table_id: str, item_id: str, state: QuarantineState) -> QuarantineItem:
    objects = lake.objects(source, table_id)
    stored = objects.read(_name(item_id))
    where = f"{source}/{table_id}"
    if stored is None:
        mend = "`cdc quarantine list` shows the ids there are"
        raise MergeError(f"there is no quarantined item {item_id!r}", where=where, mend=mend)
    item = _item(objects, _name(item_id), stored.data)
    if item.state in (QuarantineState.REPLAYED, QuarantineState.REPLACED):
        what = f"item {item_id} is closed: its file was {item.state.value}"
        raise MergeError(what, where=where, mend="nothing is left to decide")
    decided = replace(item, state=state, decided_at=_now())
    if not objects.replace(_name(item_id), _bytes(decided), stored.version):
        raise MergeError(f"item {item_id} was changed meanwhile", where=where, mend="look at it again")
    return decided


def _name(item_id: str) -> str:
    return f"{FOLDER}/{item_id}.json"


def _bytes(item: QuarantineItem) -> bytes:
    return json.dumps({**asdict(item), "kind": item.kind}, indent=1, sort_keys=True).encode()


def _item(objects: ObjectStore, name: str, data: bytes) -> QuarantineItem:
    with undamaged(objects, name):
        fields = json.loads(data)
        del fields["kind"]
        return QuarantineItem(**{**fields, "state": QuarantineState(fields["state"])})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
