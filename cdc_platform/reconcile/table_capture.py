"""What capture says of one table: whether its changes are captured at all, and by which capture.

How far capture has come is said of the task as a whole. A table that the task has given up is left out of its
files while the position goes on; and a task that was begun anew may have left something out before.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.reconcile.capture_slot import TaskSlot
from cdc_platform.reconcile.verdict import Verdict

#: The name of the capture among the conditions proofs hold under.
CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class TableCapture:
    """``doubt``: why changes of the table are not captured; empty where they are.

    ``begun`` tells this capture from any other, also from itself begun anew. ``unknown``: why neither can be
    told; empty where both are. ``slot``: the replication slot it reads, or why that is not known; empty where
    it was not asked for. ``halted``: that its task has ended, and why; empty where it has not.
    """

    doubt: str = ""
    begun: str = ""
    unknown: str = ""
    slot: TaskSlot | str = ""
    halted: str = ""

    @property
    def conditions(self) -> dict[str, str]:
        """What proofs rest on of it; nothing where it is not known."""
        return {} if self.unknown else {CAPTURE: "; ".join(filter(None, (self.begun, self.doubt)))}

    @property
    def points(self) -> list[tuple[Verdict, str]]:
        """What stands against a MATCH that rests on captured changes."""
        return [(Verdict.UNVERIFIED, self.doubt)] if self.doubt else []

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not checked."""
        return (f"whether the table is captured was not checked: {self.unknown}",) if self.unknown else ()
