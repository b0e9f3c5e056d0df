"""Where the fault of a difference lies: the terms, what each means, what to do next, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """Which step between the source and base made a row wrong, as three witnesses tell.

    ``CAPTURE_LOST``: the source's newest state of the row is in no raw event. ``CAPTURE_ALTERED``: it is,
    with a value changed on the way in a way that has a name (cut, shifted, rounded …). ``COLUMN_ADDED``: the
    row's newest event is of before the columns that differ, which a default may have filled without a change.
    ``DELETE_NOT_CAPTURED``: the source has no such row and no raw event deletes it.
    ``MERGE_LOST``: a merge took the row's newest event in and base lacks the row. ``MISORDERED``: base holds
    an older image under the newest position, or a mix of several events. ``STALE``: base holds an older
    image. ``DELETE_NOT_APPLIED``: the newest event deletes the row and base has it. ``DUPLICATE``: base
    has more than one row of the key. ``WRITTEN_OUT_OF_BAND``: base has a value that no raw event ever
    carried, or a writer that is no merge took the row away or brought it back. ``QUARANTINED``: the event
    waits in quarantine. ``DISCARDED``: a person gave it up there. ``REPAIR_UNDONE``: base holds what the undo
    of a repair brought back. ``UNKNOWN``: the reason says why.
    """

    CAPTURE_LOST = "capture lost"
    CAPTURE_ALTERED = "altered by capture"
    COLUMN_ADDED = "column added"
    DELETE_NOT_CAPTURED = "delete not captured"
    MERGE_LOST = "merge lost"
    MISORDERED = "misordered"
    STALE = "stale"
    DELETE_NOT_APPLIED = "delete not applied"
    DUPLICATE = "duplicate"
    WRITTEN_OUT_OF_BAND = "written out of band"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"
    REPAIR_UNDONE = "repair undone"
    UNKNOWN = "unknown"


#: So many of a row's newest raw events are kept as evidence, with their values.
KEPT_EVENTS = 2

#: What a person does next.
MENDS = {
    Fault.CAPTURE_LOST: "look at the task's log for that time, then bring the row back (cdc repair), or "
    "reload the table where much was lost",
    Fault.CAPTURE_ALTERED: "mend the task's settings or the column's type, then reload the table",
    Fault.COLUMN_ADDED: "bring the rows back (cdc repair), or reload the table where they are many",
    Fault.DELETE_NOT_CAPTURED: "look at the task's log and whether the source truncates the table, then "
    "take the row away (cdc repair), or reload the table where many stayed",
    Fault.MERGE_LOST: "roll the table back to before it (cdc rollback) and merge again",
    Fault.MISORDERED: "roll the table back to before it (cdc rollback) and merge again",
    Fault.STALE: "roll the table back to before it (cdc rollback) and merge again",
    Fault.DELETE_NOT_APPLIED: "roll the table back to before it (cdc rollback) and merge again",
    Fault.DUPLICATE: "find the writer of the second row, then roll the table back (cdc rollback) and merge "
    "again",
    Fault.WRITTEN_OUT_OF_BAND: "find who writes into the table, take the right away, then write the source's "
    "row over it (cdc repair), or roll the table back (cdc rollback) and merge again",
    Fault.QUARANTINED: "mend the file or row and release it: cdc quarantine release",
    Fault.DISCARDED: "bring the row back as the source has it: cdc repair",
    Fault.REPAIR_UNDONE: "repair it again (cdc repair) unless the undo was meant to bring this back",
    Fault.UNKNOWN: "look at the row's events: cdc inspect --history",
}

#: Instead, where a table has no merge key: no row of it can be repaired by itself.
_KEYLESS_MENDS = {
    Fault.CAPTURE_LOST: "look at the task's log for that time, then reload the table",
    Fault.DELETE_NOT_CAPTURED: "look at the task's log and whether the source truncates the table, then "
    "reload the table",
    Fault.WRITTEN_OUT_OF_BAND: "find who writes into the table, take the right away, then roll the table "
    "back (cdc rollback) and merge again",
    Fault.DISCARDED: "reload the table",
}


@dataclass(frozen=True, slots=True)
class RawImage:
    """A raw event of a row, values as JSON has them. ``file`` is the key of its raw file, ``row`` from 0.

    ``standing`` says where the event is on its way to base (applied, pending, quarantined, discarded, or
    superseded by a full load). ``equals_base``: its image is the row base holds; None for a delete.
    """

    file: str
    row: int
    op: str
    #: Whether it takes the row's key away: a delete, or an update that gave the row another key.
    deletes: bool
    generation: int
    sequence: int
    standing: str
    committed_at: str | None = None
    source_position: str | None = None
    equals_base: bool | None = None
    values: Mapping[str, Any] | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The event's position, to compare."""
        return self.generation, self.sequence

    @property
    def where(self) -> str:
        """Return file and row for a person."""
        return f"{self.file} row {self.row}"

    def as_json(self) -> dict[str, Any]:
        """Return the event with its values as JSON can hold it."""
        return {**asdict(self), "sequence": str(self.sequence), "values": self.values and dict(self.values)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> RawImage:
        """Return what :meth:`as_json` told."""
        return cls(**{**found, "sequence": int(found["sequence"])})


@dataclass(frozen=True, slots=True)
class BaseImage:
    """Where a row of base lies and who wrote its data file. ``batch_id`` is None for a writer of no merge."""

    data_file: str
    data_row: int
    generation: int
    sequence: int
    snapshot_id: int | None = None
    batch_id: str | None = None
    is_maintenance: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """The stored position, to compare."""
        return self.generation, self.sequence

    @property
    def is_foreign(self) -> bool:
        """Whether neither a merge nor maintenance of this platform wrote the row's data file."""
        return self.snapshot_id is not None and self.batch_id is None and not self.is_maintenance


@dataclass(frozen=True, slots=True)
class Located:
    """Where the fault of one key lies, why, and on what evidence."""

    fault: Fault
    reason: str
    #: The event that tells it; None where there is none.
    event: RawImage | None = None
    base: BaseImage | None = None
    #: The row's newest events, newest first.
    events: tuple[RawImage, ...] = ()
    is_keyless: bool = False

    @property
    def mend(self) -> str:
        """What a person does next."""
        return (_KEYLESS_MENDS if self.is_keyless else {}).get(self.fault, MENDS[self.fault])

    @property
    def sentence(self) -> str:
        """What happened and what to do, for a person."""
        return f"{self.fault.value.capitalize()}: {self.reason}; {self.mend}"

    def seen_with(self, events: tuple[RawImage, ...]) -> Located:
        """Return it with the row's newest events."""
        return replace(self, events=events)

    def as_json(self) -> dict[str, Any]:
        """Return the evidence as JSON can hold it; numbers beyond 2⁵³ are text."""
        found: dict[str, Any] = {"reason": self.reason, "mend": self.mend}
        if self.event is not None:
            found["raw"] = {
                "file": self.event.file,
                "row": self.event.row,
                "op": self.event.op,
                "position": f"{self.event.generation}:{self.event.sequence}",
                "committed_at": self.event.committed_at,
                "source_position": self.event.source_position,
                "standing": self.event.standing,
            }
        if self.base is not None:
            found["base"] = {
                "data_file": self.base.data_file,
                "data_row": self.base.data_row,
                "position": f"{self.base.generation}:{self.base.sequence}",
                "snapshot_id": None if self.base.snapshot_id is None else str(self.base.snapshot_id),
                "batch_id": self.base.batch_id,
            }
        if self.events:
            found["events"] = [one.as_json() for one in self.events[:KEPT_EVENTS]]
        return found

    @classmethod
    def from_json(cls, fault: Fault, found: Mapping[str, Any]) -> Located:
        """Return what :meth:`as_json` told of a key, as far as a report shows it."""
        base, place = found.get("base"), (0, 0)
        if base is not None:
            place = _place(base["position"])
        return cls(
            fault,
            found["reason"],
            base=BaseImage(base["data_file"], base["data_row"], *place) if base is not None else None,
            events=tuple(map(RawImage.from_json, found.get("events", ()))),
        )


def _place(position: str) -> tuple[int, int]:
    generation, _, sequence = position.partition(":")
    return int(generation), int(sequence)


def faults_in_words(faults: Mapping[Fault, int], different: int = 0) -> str:
    """Return where the faults lie as one sentence; empty for none.

    ``different`` is how many keys differ, of which no more than a bounded number are looked into.

    >>> faults_in_words({Fault.CAPTURE_LOST: 2, Fault.STALE: 1})
    'Of 3 differences looked into: 2 capture lost, 1 stale'
    >>> faults_in_words({Fault.STALE: 100}, 1234)
    'Of 100 of 1,234 differences looked into: 100 stale'
    """
    if not faults:
        return ""
    total = sum(faults.values())
    of = f"{total:,} of {different:,}" if different > total else f"{total:,}"
    parts = ", ".join(f"{keys:,} {fault.value}" for fault, keys in faults.items())
    return f"Of {of} difference{'s' if max(total, different) != 1 else ''} looked into: {parts}"
