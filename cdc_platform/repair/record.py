"""What is kept of a repair: one JSON object with its plan and how far it has come, beside the table.

``repairs/<id>/repair.json`` is changed by compare-and-swap only, one step at a time, so a repair that was cut
off goes on where it stopped, and two processes cannot carry it out in two ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from cdc_platform.errors import ReconciliationError
from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import FOLDER


class RepairState(StrEnum):
    """How far a repair has come.

    ``APPROVED``: its events are accepted, and the next merge applies them whoever runs it. ``UNDOING``: what
    takes them back is decided and accepted.
    """

    PLANNED = "planned"
    APPROVED = "approved"
    APPLIED = "applied"
    VERIFIED = "verified"
    UNDOING = "undoing"
    UNDONE = "undone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Guard:
    """A bound or condition of a repair: whether it holds, and what was seen."""

    name: str
    passed: bool
    told: str


@dataclass(frozen=True, slots=True)
class EventsFile:
    """An accepted file of repair events, as window manifests know it."""

    key: str
    etag: str
    size: int
    window: str
    instant: str
    generation: int
    sequence: str
    kind: str
    rows: int

    def accepted(self) -> AcceptedFile:
        """Return the file as a merge takes it."""
        at = datetime.fromisoformat(self.instant)
        file = RawFile(self.key, self.size, self.etag, at)
        return AcceptedFile(file, FileKind.CHANGES, at, self.window, self.generation, self.rows)


@dataclass(frozen=True, slots=True)
class Approval:
    """What was approved: the keys still different then, and the events made for them."""

    by: str
    at: str
    source_position: str
    keys: int
    #: Keys of the plan that were left out at approval: equal by then, or changed meanwhile.
    dropped: int
    file: EventsFile
    #: Object with the touched keys and their rows before.
    touched: str
    snapshot_before: str
    #: Object key of the record of what base had applied then; None before the first merge.
    record_before: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step carried out: the snapshot it left, and its counts."""

    at: str
    snapshot_id: str | None
    batch_id: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """The touched keys compared with the source after the merge."""

    at: str
    verdict: str
    reason: str
    tally: Mapping[str, int]
    source_position: str | None
    snapshot_id: str | None


@dataclass(frozen=True, slots=True)
class Undo:
    """How a repair is taken back: ``rollback``, ``withdrawal`` (nothing was merged yet) or ``events``."""

    method: str
    by: str
    at: str
    keys: int
    #: Keys that a later change has overtaken, or of which a genuine change came meanwhile; they stay as they
    #: are.
    left: int = 0
    file: EventsFile | None = None
    snapshot_id: str | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair: the plan, and what became of it."""

    id: str
    source: str
    table_id: str
    window: str
    run_id: str | None
    by: str
    created_at: str
    state: RepairState
    snapshot_id: str
    source_position: str
    compared: int
    #: insert, update, delete → keys.
    ops: Mapping[str, int]
    #: missing, unexpected, changed, duplicate → keys.
    kinds: Mapping[str, int]
    #: Why keys that differ are not repaired → how many.
    left_out: Mapping[str, int]
    #: Column → keys whose value in it changes.
    columns_changed: Mapping[str, int]
    partitions: Mapping[str, int]
    files: int
    guards: tuple[Guard, ...]
    upserts_only: bool
    key: tuple[str, ...]
    columns: tuple[str, ...]
    excluded: Mapping[str, str]
    preview: tuple[Mapping[str, Any], ...]
    #: Object with the keys to touch, their rows before and after; None when guards refuse to make one.
    planned: str | None
    seconds: float
    approval: Approval | None = None
    applied: Outcome | None = None
    verified: Verification | None = None
    undo: Undo | None = None
    failure: str | None = None

    @property
    def keys(self) -> int:
        """How many keys the plan touches."""
        return sum(self.ops.values())

    @property
    def refusals(self) -> tuple[str, ...]:
        """What the guards that do not hold say."""
        return tuple(guard.told for guard in self.guards if not guard.passed)

    @property
    def where(self) -> str:
        """Source, table and id, for messages."""
        return f"{self.source}.{self.table_id} repair {self.id}"


def record_key(repair_id: str) -> str:
    """Return the object key of a repair's record."""
    return f"{FOLDER}/{repair_id}/repair.json"


def read_repair(objects: ObjectStore, repair_id: str, where: str) -> Repair:
    """Return a repair. Raises ReconciliationError when there is none of this id."""
    data = objects.get(record_key(repair_id)) if _is_id(repair_id) else None
    if data is None:
        mend = "`cdc repair --list` shows the ids there are"
        raise ReconciliationError(f"there is no repair {repair_id!r}", where=where, mend=mend)
    return _parse(data)


def repairs_in(objects: ObjectStore) -> list[Repair]:
    """Return the repairs of a table, oldest first."""
    keys = (key for key in objects.list(f"{FOLDER}/") if key.endswith("/repair.json"))
    found = (objects.get(key) for key in keys)
    return sorted((_parse(data) for data in found if data is not None), key=lambda one: one.created_at)


def store_new(objects: ObjectStore, repair: Repair) -> None:
    """Keep a plan."""
    objects.put(record_key(repair.id), _bytes(repair))


def advance(objects: ObjectStore, before: Repair, after: Repair) -> Repair:
    """Replace ``before`` by ``after``. Raises ReconciliationError when another process moved it meanwhile."""
    stored = objects.read(record_key(before.id))
    if stored is None or _parse(stored.data) != before:
        raise _moved(before)
    if not objects.replace(record_key(before.id), _bytes(after), stored.version):
        raise _moved(before)
    return after


def failed(objects: ObjectStore, repair: Repair, why: str) -> Repair:
    """Record that a repair cannot go on."""
    return advance(objects, repair, replace(repair, state=RepairState.FAILED, failure=why))


def _moved(repair: Repair) -> ReconciliationError:
    return ReconciliationError(
        "another process works on this repair", where=repair.where, mend="look at it with `cdc repair --list`"
    )


def _is_id(text: str) -> bool:
    return bool(text) and all(c.isalnum() or c == "-" for c in text)


def _bytes(repair: Repair) -> bytes:
    return json.dumps({"version": 1, **asdict(repair)}, indent=1).encode()


def _parse(data: bytes) -> Repair:
    told: dict[str, Any] = json.loads(data)
    del told["version"]
    told["state"] = RepairState(told["state"])
    told["guards"] = tuple(Guard(**guard) for guard in told["guards"])
    for name in ("key", "columns", "preview"):
        told[name] = tuple(told[name])
    if told["approval"]:
        told["approval"] = Approval(**{**told["approval"], "file": EventsFile(**told["approval"]["file"])})
    if told["undo"]:
        file = told["undo"]["file"]
        told["undo"] = Undo(**{**told["undo"], "file": EventsFile(**file) if file else None})
    for name, kind in (("applied", Outcome), ("verified", Verification)):
        told[name] = kind(**told[name]) if told[name] else None
    return Repair(**told)
