"""Whether a task still reads the replication slot it read when a table was proven, or one made anew since.

A slot that is dropped and made anew keeps the log from then on: what was committed in between reaches no
file, while capture's position goes on. The catalog has no number that tells the one from the other. But a
slot can only be dropped while nobody reads it, and its counter of decoded transactions begins anew. So it is
the same

* while the task was not started again since, and it is being read or keeps all after the task's checkpoint;
* when it has decoded more transactions than there were since, ten times over (what a task did not acknowledge
  is decoded again): the others are older.

Only the slot that the task's source endpoint names is looked at: other slots come and go, and are others'.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from cdc_platform.errors import SourceUnavailable
from cdc_platform.lsn import find_lsn

#: The name of what was seen of the slot among the conditions proofs hold under.
SLOT = "slot"

#: No transaction is decoded more often than this, on average.
_DECODED_AGAIN = 10

_NOT_CHECKED = "whether the task still reads the replication slot it read before was not checked: "


@dataclass(frozen=True, slots=True)
class TaskSlot:
    """What DMS tells: the slot its source endpoint names, when the task was started last, its checkpoint."""

    name: str
    run: str
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """What the source tells of a slot. ``confirmed``: where it keeps the log from; None where there is none.

    ``decoded`` counts the transactions it has decoded, None where the server counts none; ``transactions``
    those the server has begun, asked afterwards.
    """

    confirmed: str | None
    is_active: bool
    decoded: int | None
    transactions: int


@runtime_checkable
class KnowsSlots(Protocol):
    """A reader of a source that keeps its log by slots."""

    def slot(self, name: str) -> SlotSeen | None:
        """Return what there is of a logical slot of this database; None where this server cannot tell.

        Raises SourceUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class SlotNow:
    """The slot as it stands now; ``unknown`` says why nothing is known of it."""

    task: TaskSlot | None = None
    seen: SlotSeen | None = None
    unknown: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """What is kept beside proofs; nothing where it is not known."""
        if self.task is None or self.seen is None:
            return {}
        return {SLOT: json.dumps({"name": self.task.name, "run": self.task.run, **asdict(self.seen)})}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not checked."""
        return (_NOT_CHECKED + self.unknown,) if self.unknown else ()

    def doubt(self, earlier: str | None) -> str | None:
        """Return, in words, why it need not be the slot ``earlier`` was kept of.

        None where it is, and where nothing is known of it now.
        """
        if self.task is None or self.seen is None:
            return None
        then = _read(earlier)
        if then is None:
            return "which replication slot the task read then is not known"
        if then["name"] != self.task.name:
            return f"the task reads another replication slot ({self.task.name}; then {then['name']})"
        confirmed, before = find_lsn(self.seen.confirmed), find_lsn(then["confirmed"])
        named = f"replication slot {self.task.name}"
        if confirmed is None:
            return f"{named}, which the task reads, is not there"
        decoded, earlier_decoded = self.seen.decoded or 0, then["decoded"] or 0
        if before is None or confirmed < before or decoded < earlier_decoded:
            return f"{named} was made anew since, or its statistics were reset"
        if self._was_held_since(then["run"], confirmed):
            return None
        if decoded > _DECODED_AGAIN * (self.seen.transactions - then["transactions"]):
            return None
        return f"the task was started again since, and nothing shows that {named} is the one it read before"

    def _was_held_since(self, run: str, confirmed: int) -> bool:
        """Whether the task, started once, has read the slot ever since, or may go on to where it stopped."""
        assert self.task is not None
        assert self.seen is not None
        checkpoint = find_lsn(self.task.checkpoint)
        keeps_all = self.seen.is_active or (checkpoint is not None and confirmed <= checkpoint)
        return bool(run) and run == self.task.run and keeps_all


NO_SLOT = SlotNow()


def slot_now(told: TaskSlot | str, reader: object) -> SlotNow:
    """Ask the source for the slot DMS named.

    ``told`` may be why it named none; it is empty where DMS said nothing at all.
    """
    if isinstance(told, str):
        return SlotNow(unknown=told)
    seen, why = None, "the source does not show it; a standby has none of its primary's"
    with suppress(SourceUnavailable):
        seen = reader.slot(told.name) if isinstance(reader, KnowsSlots) else None
    return SlotNow(told, seen, "" if seen is not None else f"{told.name}: {why}")


def _read(earlier: str | None) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = {**json.loads(earlier or "")}
        complete = {"name", "run", "confirmed", "decoded", "transactions"} <= found.keys()
        return found if complete and isinstance(found["transactions"], int) else None
    except (TypeError, ValueError):
        return None
