"""The rule that says where a fault lies, from what the three witnesses say of one key. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cdc_platform.raw.repairs import is_undo
from cdc_platform.reconcile.faults import BaseImage, Fault, Located, RawImage


class SourceSays(StrEnum):
    """What the source says of a key: a row unlike base's, no row, the row base has, or nothing is known."""

    ROW = "row"
    NO_ROW = "no row"
    AS_BASE = "as base"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Vanished:
    """The snapshot that took a row away, and whether maintenance of this platform made it."""

    snapshot_id: int
    operation: str | None
    is_maintenance: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the witnesses say of one key. Positions before the last complete full load are left out.

    ``equal`` is the newest applied event whose image is base's row. ``waiting`` is the newest event that no
    merge took in. ``never_carried`` are base's columns whose value no event of the row has. ``altered``
    names, for differing columns that are a known distortion of the source's value, which; ``unheard`` are
    differing columns that the newest applied event's file does not have. ``doubt`` is why
    the raw witness is not whole, empty when it is.
    """

    source: SourceSays
    copies: int
    base: BaseImage | None = None
    newest: RawImage | None = None
    equal: RawImage | None = None
    waiting: RawImage | None = None
    #: Why a row of the key that no reader could type waits in quarantine.
    refused: str | None = None
    #: Why such a row was refused that a person gave up.
    given_up: str | None = None
    tombstone: tuple[int, int] | None = None
    vanished: Vanished | None = None
    never_carried: Sequence[str] = ()
    columns: Sequence[str] = ()
    altered: Sequence[str] = ()
    unheard: Sequence[str] = ()
    completed: int = 0
    doubt: str = ""


def decide(facts: Facts) -> Located:
    """Return where the fault lies.

    Base against raw first: where they disagree the fault lies between them. Where they agree, it lies
    between the source and raw.
    """
    base, newest = facts.base, facts.newest
    if facts.source is SourceSays.AS_BASE:
        found = decide(replace(facts, source=SourceSays.NOT_ASKED))
        return replace(found, reason=f"{found.reason}; the source has what base has")
    if facts.copies > 1:
        reason = f"base holds {facts.copies} rows of this key"
        return Located(Fault.DUPLICATE, _by_foreign(reason, base), newest, base)
    if base is None:
        return _lost(facts) if newest is not None and not newest.deletes else _raw_as_base(facts)
    if newest is not None and not newest.deletes and newest.equals_base:
        if base.place < newest.place:
            reason = f"base holds the row at an older position than its newest event ({newest.where})"
            return Located(Fault.STALE, reason, newest, base)
        return _raw_as_base(facts)
    if newest is None:
        return _unheard_of(facts, base)
    return _still_there(facts, base, newest) if newest.deletes else _other_values(facts, base, newest)


def _lost(facts: Facts) -> Located:
    newest, vanished = facts.newest, facts.vanished
    assert newest is not None
    if vanished is not None and vanished.is_maintenance:
        reason = f"maintenance lost the row in snapshot {vanished.snapshot_id}"
        return Located(Fault.MERGE_LOST, reason, newest)
    if vanished is not None:
        reason = (
            f"snapshot {vanished.snapshot_id} ({vanished.operation}), which is no merge, took the row away"
        )
        return Located(Fault.WRITTEN_OUT_OF_BAND, reason, newest)
    reason = f"the row's newest event ({newest.where}) was applied and base lacks the row"
    return Located(Fault.MERGE_LOST, reason, newest)


def _unheard_of(facts: Facts, base: BaseImage) -> Located:
    """Base has a row of which raw has no event that counts."""
    if base.generation < facts.completed:
        reason = (
            f"full load {facts.completed} does not hold the row, and base still has it from {base.generation}"
        )
        return Located(Fault.DELETE_NOT_APPLIED, reason, base=base)
    if facts.doubt:
        return Located(Fault.UNKNOWN, f"raw has no event of the row, but {facts.doubt}", base=base)
    reason = _by_foreign("base has the row, and no raw event ever carried it", base)
    return Located(Fault.WRITTEN_OUT_OF_BAND, reason, base=base)


def _still_there(facts: Facts, base: BaseImage, newest: RawImage) -> Located:
    """The newest event deletes the row, and base has it."""
    was_deleted = facts.tombstone is not None and facts.tombstone >= newest.place
    if was_deleted and base.is_foreign:
        reason = _by_foreign(f"the row was deleted ({newest.where}) and brought back", base)
        return Located(Fault.WRITTEN_OUT_OF_BAND, reason, newest, base)
    if facts.equal is not None or base.place <= newest.place:
        reason = f"the newest event ({newest.where}) deletes the row and base has it"
        return Located(Fault.DELETE_NOT_APPLIED, _by_foreign(reason, base), newest, base)
    if facts.doubt:
        return Located(Fault.UNKNOWN, f"base has a row newer than any event read, but {facts.doubt}", newest)
    reason = _by_foreign("base has a row that no raw event ever carried, after its delete", base)
    return Located(Fault.WRITTEN_OUT_OF_BAND, reason, newest, base)


def _other_values(facts: Facts, base: BaseImage, newest: RawImage) -> Located:
    """The newest event writes the row, and base has other values."""
    equal = facts.equal
    if equal is not None and equal.place < newest.place:
        reason = f"base holds the image of {equal.where}, and the newest event is {newest.where}"
        misordered = base.place >= newest.place and not base.is_foreign
        fault = Fault.MISORDERED if misordered else Fault.STALE
        return Located(fault, _by_foreign(reason, base), newest, base)
    if facts.doubt:
        reason = f"base has neither the newest event's values nor an older one's, but {facts.doubt}"
        return Located(Fault.UNKNOWN, reason, newest, base)
    if facts.never_carried:
        names = ", ".join(facts.never_carried)
        reason = _by_foreign(f"base has a value of {names} that no raw event of the row ever carried", base)
        return Located(Fault.WRITTEN_OUT_OF_BAND, reason, newest, base)
    reason = f"base mixes the values of several events; the newest is {newest.where}"
    return Located(Fault.MISORDERED, _by_foreign(reason, base), newest, base)


def _raw_as_base(facts: Facts) -> Located:
    """Raw and base agree, so what differs came to be before the raw files."""
    if facts.source is SourceSays.NOT_ASKED:
        reason = "the row's raw events say what base holds: the difference is not in its values"
        return Located(Fault.UNKNOWN, reason, facts.newest, facts.base)
    open_point = _waiting(facts)
    if open_point is not None:
        return open_point
    found, newest = facts.source, facts.newest
    if newest is not None and is_undo(newest.file):
        reason = (
            f"what base holds is no change of the source: the undo of a repair ({newest.where}) restored it"
        )
        return Located(Fault.REPAIR_UNDONE, reason, newest, facts.base)
    if found is SourceSays.ROW and facts.base is not None and _is_altered(facts):
        columns = "; ".join(facts.altered)
        reason = f"the newest event ({newest.where if newest else '?'}) has the row with {columns}"
        return Located(Fault.CAPTURE_ALTERED, reason, newest, facts.base)
    if facts.doubt:
        return Located(Fault.UNKNOWN, f"no event read explains it, but {facts.doubt}", newest, facts.base)
    if found is SourceSays.NO_ROW:
        reason = "the source has no such row, and no raw event deletes it"
        return Located(Fault.DELETE_NOT_CAPTURED, reason, newest, facts.base)
    if newest is None:
        reason = "the source has the row, and no raw event ever carried it"
    elif facts.unheard and len(facts.unheard) == len(facts.columns) and not newest.deletes:
        reason = (
            f"the row's newest event ({newest.where}) is of before {', '.join(facts.unheard)}: a default "
            "that a new column gives to old rows is told by no change, unless one that told it was lost"
        )
        return Located(Fault.COLUMN_ADDED, reason, newest, facts.base)
    else:
        last = "deletes the row" if newest.deletes else "says what base holds"
        reason = f"the row's newest event ({newest.where}) {last}, and the source has it otherwise"
    return Located(Fault.CAPTURE_LOST, reason, newest, facts.base)


def _waiting(facts: Facts) -> Located | None:
    """Return the fault when an event that no merge took in may explain the difference."""
    waiting = facts.waiting
    if facts.refused is not None:
        reason = f"a row that names this key was refused: {facts.refused}"
        return Located(Fault.QUARANTINED, reason, facts.newest, facts.base)
    if facts.given_up is not None:
        reason = f"a row that names this key was refused and discarded: {facts.given_up}"
        return Located(Fault.DISCARDED, reason, facts.newest, facts.base)
    if waiting is None or (facts.newest is not None and waiting.place < facts.newest.place):
        return None
    match waiting.standing:
        case "quarantined":
            reason = f"the row's newest event ({waiting.where}) waits in quarantine"
            return Located(Fault.QUARANTINED, reason, waiting, facts.base)
        case "discarded":
            reason = f"the row's newest event ({waiting.where}) was discarded from quarantine"
            return Located(Fault.DISCARDED, reason, waiting, facts.base)
        case _:
            reason = f"the row's newest event ({waiting.where}) is not applied yet"
            return Located(Fault.UNKNOWN, reason, waiting, facts.base)


def _is_altered(facts: Facts) -> bool:
    return bool(facts.altered) and len(facts.altered) == len(facts.columns)


def _by_foreign(reason: str, base: BaseImage | None) -> str:
    """Add who wrote the row's data file when that is neither a merge nor maintenance."""
    if base is None or not base.is_foreign:
        return reason
    return f"{reason}; its data file was added by snapshot {base.snapshot_id}, which no merge made"
