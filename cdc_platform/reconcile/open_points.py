"""What stands against MATCH beside differing keys: raw rows of the window that nothing could compare."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window_events import WindowEvents
from cdc_platform.words import counted


def open_points(events: WindowEvents, unaccepted: Sequence[str]) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH beside differing keys: (the verdict it forces, a sentence)."""
    points: list[tuple[Verdict, str]] = []
    if events.unreadable:
        key, why = events.unreadable[0]
        points.append(
            (Verdict.UNVERIFIED, f"{_files(events.unreadable)} can no longer be read, first {key}: {why}")
        )
    if events.forgotten_files:
        gone = f"{_files(events.forgotten_files)} of this window, first {events.forgotten_files[0]}"
        points.append((Verdict.UNVERIFIED, f"base has applied {gone}, and raw holds them no more"))
    if events.quarantined_files:
        points.append((Verdict.UNVERIFIED, f"{_files(events.quarantined_files)} in quarantine"))
    held = events.held_rows + events.rejected_rows
    if held:
        points.append((Verdict.UNVERIFIED, f"{counted(held, 'row')} of applied files in quarantine"))
    if events.keyless_rows:
        rows = counted(events.keyless_rows, "row")
        points.append((Verdict.UNVERIFIED, f"{rows} without a merge key, neither applied nor in quarantine"))
    if events.pending_files:
        points.append((Verdict.IN_FLIGHT, f"{_files(events.pending_files)} accepted and not yet applied"))
    if unaccepted:
        points.append((Verdict.IN_FLIGHT, f"{_files(unaccepted)} in raw and not yet accepted"))
    return points


def given_up(events: WindowEvents) -> tuple[str, ...]:
    """Return what was discarded from quarantine, so that base lacks it and nothing is compared with it."""
    return (*events.discarded_files, *events.discarded_places)


def given_up_text(events: WindowEvents) -> list[str]:
    """Return how much that is, as a part of a reason; nothing when it is nothing."""
    pairs = ((len(events.discarded_files), "file"), (len(events.discarded_places), "row"))
    parts = [counted(number, noun) for number, noun in pairs if number]
    return [f"{' and '.join(parts)} discarded from quarantine, not compared"] if parts else []


def _files(names: Sequence[object]) -> str:
    return counted(len(names), "file")
