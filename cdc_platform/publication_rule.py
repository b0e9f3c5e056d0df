"""How far main may be moved: a function of what is pending and of the newest verdicts, and of nothing else.

A pending snapshot may be published when every window that it, or one before it that main has not, changed was
found MATCH, by the newest run of that window, at a snapshot after the window's last change in it and not
after it. Compaction in between is harmless, it proves that no row changes. A merge that completes a full load
removes rows whatever their window, so it opens all windows before it again. What another program wrote has no
window: nothing but a full comparison speaks for it. A full comparison that is MATCH speaks for its snapshot
and all before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MATCH = "MATCH"
_REFUSING = ("DIFFERENT", "ERROR")


@dataclass(frozen=True, slots=True)
class Pending:
    """A snapshot that main has not."""

    snapshot_id: int
    #: The windows whose rows it changed.
    windows: frozenset[str] = frozenset()
    #: Whether it removed rows of older generations, of whatever window.
    completes_load: bool = False
    #: Whether neither a merge nor maintenance of ours made it.
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """The newest verdict of a window, or of the whole table, and the snapshot it is about."""

    verdict: str
    snapshot_id: int | None
    #: Run ids are in the order of their starts.
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Why main is not moved over all that is pending; a foreign snapshot has no window."""

    window: str | None
    verdict: str | None
    reason: str

    @property
    def is_refused(self) -> bool:
        """Whether something is wrong, and not only still to be looked at."""
        return self.window is None or self.verdict in _REFUSING


@dataclass(frozen=True, slots=True)
class Decision:
    """How many of the pending snapshots may be published, and what holds the others."""

    publishable: int
    held: tuple[Held, ...]


def decide(pending: Sequence[Pending], verdicts: Mapping[str, Judged], full: Judged | None) -> Decision:
    """Return how many of ``pending`` (oldest first) main may be moved over."""
    place = {one.snapshot_id: number for number, one in enumerate(pending, start=1)}
    proven_at: dict[int, set[str]] = {}
    for window, judged in verdicts.items():
        if judged.verdict == MATCH and judged.snapshot_id in place:
            proven_at.setdefault(place[judged.snapshot_id], set()).add(window)
    floor = _proven_whole(pending, place, verdicts, full)
    publishable, seen, unproven, foreign = floor, set[str](), set[str](), list[Held]()
    for number, one in enumerate(pending[floor:], start=floor + 1):
        seen |= one.windows
        unproven |= seen if one.completes_load else one.windows
        unproven -= proven_at.get(number, set())
        if one.is_foreign:
            text = f"snapshot {one.snapshot_id} was made by another program: compare the whole table"
            foreign.append(Held(None, None, text))
        if not unproven and not foreign:
            publishable = number
    held = (_held(window, verdicts.get(window), place) for window in sorted(unproven))
    return Decision(publishable, (*foreign, *held))


def _proven_whole(
    pending: Sequence[Pending],
    place: Mapping[int, int],
    verdicts: Mapping[str, Judged],
    full: Judged | None,
) -> int:
    """Return how many of ``pending`` a full comparison speaks for that no later verdict contradicts."""
    if full is None or full.verdict != MATCH or full.snapshot_id is None or full.snapshot_id not in place:
        return 0
    number = place[full.snapshot_id]
    later = (verdicts.get(window) for one in pending[:number] for window in one.windows)
    contradicted = any(one and one.verdict in _REFUSING and one.run_id > full.run_id for one in later)
    return 0 if contradicted else number


def _held(window: str, judged: Judged | None, place: Mapping[int, int]) -> Held:
    if judged is None:
        return Held(window, None, "it was not reconciled yet")
    if judged.verdict != MATCH:
        return Held(window, judged.verdict, f"it is {judged.verdict}")
    if judged.snapshot_id in place:
        return Held(window, judged.verdict, "rows of it changed again since it was found MATCH")
    return Held(window, judged.verdict, "it was found MATCH before it was merged last")
