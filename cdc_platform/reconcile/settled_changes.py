"""How many raw events of the queued keys base has taken in since the last look at them."""

from __future__ import annotations

from functools import partial

import duckdb

from cdc_platform.errors import CdcError
from cdc_platform.lake.applied import AppliedRecord, read_record, record_path
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile.awaited import MOST_FILES_READ, add_awaited
from cdc_platform.reconcile.subject import Subject


def count_changes(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, since: int | None
) -> dict[int, int]:
    """Return, by key, the raw events in files applied after the snapshot ``since``.

    Each file is counted by the first look after it was applied. Where that cannot be told, because the
    snapshot is gone or a file cannot be read, nothing is counted: base's row tells that it changed.
    """
    before = _record_at(subject, since)
    if before is None:
        return {}
    workspace.execute("CREATE OR REPLACE TEMP TABLE awaited (key_id BIGINT)")
    for file in _applied_since(subject, before)[-MOST_FILES_READ:]:
        opened = partial(subject.platform.event_file, subject.source_name, subject.table.id, file)
        try:
            for batch in opened().batches():
                add_awaited(workspace, batch.events, subject.key, each=True)
        except (CdcError, duckdb.Error):
            continue
    rows = workspace.execute("SELECT key_id, count(*) FROM awaited GROUP BY key_id").fetchall()
    return dict(rows)


def _record_at(subject: Subject, snapshot_id: int | None) -> AppliedRecord | None:
    if subject.base is None or snapshot_id is None:
        return None
    snapshot = subject.base.snapshot_by_id(snapshot_id)
    path = record_path(subject.base, snapshot) if snapshot is not None else None
    if path is None:
        return None
    objects = subject.platform.objects(subject.source_name, subject.table.id)
    try:
        return read_record(subject.base, objects, path)
    except CdcError:
        return None


def _applied_since(subject: Subject, before: AppliedRecord) -> list[AcceptedFile]:
    objects = subject.platform.objects(subject.source_name, subject.table.id)
    found = [
        one for one in read_accepted(objects).readable if subject.record.holds(one) and not before.holds(one)
    ]
    return sorted(found, key=lambda one: one.file_time)
