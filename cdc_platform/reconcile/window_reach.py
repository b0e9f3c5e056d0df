"""Whether capture is known to have told every change of a window: without that, its equal keys are no MATCH.

A window is of the keys its raw files name, and a change nobody captured is in no file. So somebody has to be
asked. L is where the source was read in this run and C how far capture had come afterwards; it has passed

* everything, when C ≥ L;
* the window's end, when raw has a change that was committed well after it: capture goes by the log's order;
* the window's end, when C ≥ where the source stood when the window's last run read it, well after that end.

So a window that is still on is MATCH only when C ≥ L. Commit times are taken a moment before commits enter
the log, and window bounds are of another clock: LEEWAY is far more than either. Quiet proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import pyarrow.compute as pc

from cdc_platform.errors import CdcError
from cdc_platform.events import COMMITTED_AT
from cdc_platform.lsn import find_lsn
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.manifests import read_manifest, windows_of
from cdc_platform.raw.repairs import is_repair
from cdc_platform.reconcile.in_flight import Capture, judge_difference
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.verdict import Comparison, Verdict, combine
from cdc_platform.reconcile.verdict_index import read_index

#: How long after a window's end a commit proves that capture has passed it.
LEEWAY = timedelta(minutes=5)

#: So many tables of the source, and files of each, are looked into for such a commit.
_MOST_TABLES, _MOST_FILES = 20, 2


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a window's changes are known to be captured; not far enough where ``verdict`` is not MATCH."""

    verdict: Verdict
    reason: str = ""
    #: What shows it, where that is not that capture has come to where the source was read.
    notes: tuple[str, ...] = ()
    #: Whether it is only that capture may bring more.
    is_open: bool = False


def as_far_as_captured(subject: Subject, found: Comparison, capture: Capture) -> Comparison:
    """Return the comparison, MATCH only where capture is known to have told every change of the window."""
    if found.verdict is not Verdict.MATCH:
        return found
    reach = reach_of(subject, found.source_position or "", capture)
    if reach.verdict is Verdict.MATCH:
        return with_table(subject, replace(found, notes=(*found.notes, *reach.notes)))
    reason, points = f"{found.reason}; {reach.reason}", (*found.points, reach.verdict)
    return replace(found, verdict=reach.verdict, reason=reason, points=points, awaits_more=reach.is_open)


def with_table(subject: Subject, found: Comparison) -> Comparison:
    """Return a comparison that rests on captured changes, no MATCH where the table is not captured."""
    told = subject.platform.table_capture(subject.source_name, subject.table.id)
    return replace(
        found,
        verdict=combine([found.verdict, *(verdict for verdict, _ in told.points)]),
        reason="; ".join([found.reason, *(text for _, text in told.points)]),
        points=(*found.points, *(verdict for verdict, _ in told.points)),
        notes=(*found.notes, *told.notes),
    )


def reach_of(subject: Subject, position: str, capture: Capture, now: datetime | None = None) -> Reach:
    """Say how far the changes of the subject's window were captured; the source was read at ``position``."""
    judged = judge_difference(position, replace(capture, unaccepted=0))
    if judged.verdict is Verdict.DIFFERENT:
        return Reach(Verdict.MATCH)
    is_refused = judged.verdict is Verdict.UNVERIFIED and capture.position is not None
    end = subject.source.window.bounds(subject.window)[1]
    is_over = (now or datetime.now(UTC)) >= end
    if is_over and not is_refused:
        # one task captures all tables of a source whose task is known
        passed = _earlier_look(subject, end + LEEWAY, capture) or _committed_after(
            subject, end + LEEWAY, others=capture.position is not None
        )
        if passed:
            return Reach(Verdict.MATCH, notes=(passed,))
    why = judged.reason if capture.position is not None else "capture's position is not known"
    reason = f"whether every change of the window was captured is not known: {why}"
    return Reach(judged.verdict, reason, is_open=not is_refused)


def _earlier_look(subject: Subject, moment: datetime, capture: Capture) -> str | None:
    """Return that capture has come to where the window's last run, at ``moment`` or later, read."""
    entry = read_index(subject.platform.objects(subject.source_name, subject.table.id)).get(subject.window)
    then = find_lsn(entry.get("source_position")) if entry else None
    captured = find_lsn(capture.position)
    if entry is None or then is None or captured is None or captured < then:
        return None
    if datetime.fromisoformat(entry["started_at"]) < moment:
        return None
    stood = f"{entry['source_position']}, where the source stood at {entry['started_at']}"
    return f"captured up to {capture.position}, and so beyond {stood}"


def _committed_after(subject: Subject, moment: datetime, *, others: bool) -> str | None:
    """Return that raw has a change committed after ``moment``, of the table or ``others`` of its source."""
    tables = (table.id for table in subject.source.tables if table.active and table.id != subject.table.id)
    for table_id in (subject.table.id, *islice(tables, _MOST_TABLES if others else 0)):
        for file in islice(_newest_changes(subject, table_id, moment), _MOST_FILES):
            newest = _newest_commit(subject, table_id, file)
            if newest is not None and newest >= moment:
                return (
                    f"raw has a change committed {newest.isoformat(sep=' ')}, after its end ({file.file.key})"
                )
    return None


def _newest_changes(subject: Subject, table_id: str, moment: datetime) -> Iterator[AcceptedFile]:
    """Yield DMS's change files of a table made after ``moment``, the newest first."""
    objects = subject.platform.objects(subject.source_name, table_id)
    first = subject.source.window.key_of(moment)
    for window in sorted((one for one in windows_of(objects) if one >= first), reverse=True):
        manifest = read_manifest(objects, subject.source_name, table_id, window)
        yield from sorted(_of_capture(manifest.readable, moment), key=lambda one: one.file_time, reverse=True)


def _of_capture(files: Iterable[AcceptedFile], moment: datetime) -> Iterator[AcceptedFile]:
    # a repair's events have a time of our own making
    made_after = (one for one in files if one.kind is FileKind.CHANGES and one.file_time >= moment)
    return (one for one in made_after if not is_repair(one.file.key))


def _newest_commit(subject: Subject, table_id: str, file: AcceptedFile) -> datetime | None:
    """Return the newest commit time among a file's first events; None where it tells none."""
    try:
        events = subject.platform.event_file(subject.source_name, table_id, file)
        batches = (batch.events for batch in events.batches())
        newest = (pc.max(one.column(COMMITTED_AT)).as_py() for one in batches if one.num_rows)
        return next(newest, None)
    except CdcError:
        # it is not the file that is compared here; another may tell
        return None
