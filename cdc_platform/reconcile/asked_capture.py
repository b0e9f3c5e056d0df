"""How far capture has come, asked after the source was read."""

from __future__ import annotations

from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.patience import is_behind
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.subject import Subject


def captured_before(subject: Subject, plan: ReadPlan) -> str | None:
    """Return how far capture has come before a standby is read; of no other source."""
    return subject.platform.captured_position(subject.source_name) if plan.is_standby else None


def ask_capture(subject: Subject, reader: SourceReader, position: str, before: str | None = None) -> Capture:
    """Return how far capture has come, given a moment to come to ``position``, where the source was read.

    ``before`` is where it stood before a standby was read. Raw has to be listed afterwards.
    """
    platform, source = subject.platform, subject.source_name
    captured = platform.patience.ask(source, lambda: platform.captured_position(source), position)
    now, halted = reader.position() if captured else None, _halted(subject, captured, position)
    return Capture(captured, now, before=before, halted=halted)


def _halted(subject: Subject, captured: str | None, position: str) -> str:
    """Return why capture does not come to ``position`` by itself, and what to do; empty where it may."""
    if not is_behind(captured, position):
        return ""
    told = subject.platform.table_capture(subject.source_name, subject.table.id).halted
    return f"{told}: resume it with `cdc replicate -s {subject.source_name}`" if told else ""
