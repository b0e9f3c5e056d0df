"""Genuine events that reached raw since a repair read base, and that would stand if it had not been made.

A change that was lost when the repair was made is stale once its own file arrives: the repair stands above
it. To restore the row of before the repair would take that change back as well.
"""

from __future__ import annotations

from functools import partial

import duckdb

from cdc_platform.errors import MergeError, ReconciliationError
from cdc_platform.lake.applied import AppliedRecord, read_record, record_path
from cdc_platform.lake.quarantine import items_in
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.raw.repairs import is_repair
from cdc_platform.reconcile.standing import window_files
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import Reading, load_events
from cdc_platform.reconcile.suspects import same_key
from cdc_platform.reconcile.window_events import Standing, WindowFile
from cdc_platform.repair.record import Approval, Repair

_COUNTED = (Standing.APPLIED, Standing.PENDING)


def load_latecomers(con: duckdb.DuckDBPyConnection, subject: Subject, repair: Repair) -> None:
    """Make ``latecomers`` (key_id): the touched keys that such an event is of.

    Reads ``touched`` and ``keys``, and replaces ``keys``. Raises ReconciliationError when a file that may
    hold such an event cannot be read.
    """
    assert repair.approval is not None
    con.execute("CREATE TEMP TABLE suspects AS FROM keys")
    reading = load_events(con, subject, Reading(_files_since(subject, repair.approval)))
    if reading.unread:
        raise ReconciliationError(
            f"whether genuine changes of its keys came meanwhile cannot be told: {reading.doubt}",
            where=repair.where,
            mend="bring the file back, or set it aside (cdc quarantine), then run the undo again",
        )
    standings = ", ".join(f"'{one}'" for one in _COUNTED)
    con.execute(
        f"""CREATE TEMP TABLE latecomers AS
            SELECT DISTINCT s.key_id FROM effects e JOIN raw_events r ON r.rowid = e.event
            JOIN suspects s ON {same_key(subject.key, "e", "s")} JOIN touched t ON t.key_id = s.key_id
            WHERE r.standing IN ({standings})
              AND (t.generation IS NULL OR (e.generation, e.position) > (t.generation, t.position))"""
    )


def _files_since(subject: Subject, approval: Approval) -> list[WindowFile]:
    """Return DMS's files of which some row was not applied when the repair read base."""
    platform, record = subject.platform, subject.record
    objects = platform.objects(subject.source_name, subject.table.id)
    before = _record_before(subject, approval)
    replayed = record.replayed - before.replayed
    released = {
        (item.key, item.etag)
        for item in items_in(objects)
        if item.row is not None and item.release in replayed
    }
    since = []
    open_file = partial(platform.event_file, subject.source_name, subject.table.id)
    for manifest in read_accepted(objects).manifests:
        for file in window_files(manifest, record, subject.quarantine, open_file):
            version = (file.accepted.file.key, file.accepted.file.etag)
            is_new = version not in before.files or version in released
            if is_new and file.standing in _COUNTED and not is_repair(version[0]):
                since.append(file)
    return [one for one in since if one.accepted.generation >= record.generation_complete]


def _record_before(subject: Subject, approval: Approval) -> AppliedRecord:
    """Return what base had applied when the repair read it.

    Where that is no longer kept, nothing: every event above what base knew of its key counts as late then.
    """
    base = subject.base
    snapshot = base.snapshot_by_id(int(approval.snapshot_before)) if base is not None else None
    path = approval.record_before
    if path is None and base is not None and snapshot is not None:
        path = record_path(base, snapshot)
    if base is None or path is None:
        return AppliedRecord()
    try:
        return read_record(base, subject.platform.objects(subject.source_name, subject.table.id), path)
    except MergeError:
        return AppliedRecord()
