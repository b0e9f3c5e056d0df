"""Carrying out an approved repair: one merge of its events alone, then its keys compared with the source.

Each step is recorded when it is done, and found done when it is repeated: a repair that was cut off goes on.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

from cdc_platform.errors import MergeError, ReconciliationError
from cdc_platform.lake.applied import read_applied
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.lineage import batch_of
from cdc_platform.lake.merge import merge
from cdc_platform.pipeline import Platform
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.manifests import mark_replaced
from cdc_platform.repair.approve import accept_events
from cdc_platform.repair.audit import tell
from cdc_platform.repair.judge import judged_keys
from cdc_platform.repair.record import (
    EventsFile,
    Outcome,
    Repair,
    RepairState,
    Verification,
    advance,
    failed,
)


def carry_out(platform: Platform, repair: Repair) -> Repair:
    """Merge an approved repair, verify it, and record both; what is done already is not done again.

    Raises MergeError when its events cannot be merged, SourceUnavailable when they cannot be verified (run
    it again then).
    """
    if repair.state is RepairState.APPROVED:
        repair = _applied(platform, repair)
    if repair.state is RepairState.APPLIED:
        repair = _verified(platform, repair)
    if repair.state is RepairState.VERIFIED:
        tell(platform.lake, repair)
    return repair


def merge_events(platform: Platform, repair: Repair, file: EventsFile) -> Outcome:
    """Merge one accepted file of a repair, and nothing else, and return what that did."""
    source, table = repair.source, platform.table(repair.source, repair.table_id)
    accepted = _as_accepted(platform, repair, file)
    opened = partial(platform.event_file, source, table.id, accepted)
    result = merge(platform.lake, source, table, [MergeInput(accepted, opened)])
    set_aside = [item for item in result.quarantined if item.key == file.key]
    if set_aside:
        raise MergeError(
            f"the merge set its events aside: {set_aside[0].reason}",
            where=repair.where,
            mend="undo the repair (cdc repair --undo), mend the cause, repair again",
        )
    if result.snapshot_id is not None:
        counts = {name: count for name, count in result.counts.as_dict().items() if count}
        return Outcome(_now(), str(result.snapshot_id), result.batch_id, counts)
    return _done_before(platform, repair, accepted)


def _applied(platform: Platform, repair: Repair) -> Repair:
    assert repair.approval is not None
    accept_events(platform, repair)
    objects = platform.objects(repair.source, repair.table_id)
    try:
        outcome = merge_events(platform, repair, repair.approval.file)
    except MergeError as error:
        if not error.retryable:
            withdraw(platform, repair, repair.approval.file)
            failed(objects, repair, error.what)
        raise
    return advance(objects, repair, replace(repair, state=RepairState.APPLIED, applied=outcome))


def _done_before(platform: Platform, repair: Repair, accepted: AcceptedFile) -> Outcome:
    """Return the outcome of a merge whose process did not live to record it, or that another one made."""
    base, objects = (
        platform.lake.load(repair.source, repair.table_id),
        platform.objects(repair.source, repair.table_id),
    )
    assert base is not None
    if not read_applied(base, objects).holds(accepted):
        raise MergeError("its events were not merged", where=repair.where, mend="run it again")
    version = (accepted.file.key, accepted.file.etag)
    batch = batch_of(base, objects, version, accepted.generation, None)
    if batch is None:
        return Outcome(_now(), None)
    made = batch.snapshot.snapshot_id if batch.snapshot is not None else None
    return Outcome(_now(), str(made) if made is not None else None, batch.batch_id)


def _as_accepted(platform: Platform, repair: Repair, file: EventsFile) -> AcceptedFile:
    """Return the file as its manifest has it: a full load known since gives it another generation."""
    manifest = platform.manifest(repair.source, repair.table_id, file.window)
    for one in manifest.readable:
        if (one.file.key, one.file.etag) == (file.key, file.etag):
            return replace(one, rows=file.rows)
    raise ReconciliationError("its events were withdrawn", where=repair.where, mend="plan it again")


def _verified(platform: Platform, repair: Repair) -> Repair:
    assert repair.approval is not None
    objects = platform.objects(repair.source, repair.table_id)
    url = objects.url(repair.approval.touched)
    with judged_keys(platform, repair.source, repair.table_id, repair.window, url) as judged:
        comparison = judged.comparison
        assert comparison is not None
        found = Verification(
            at=_now(),
            verdict=comparison.verdict.value,
            reason=comparison.reason.replace("keys changed in the window", "keys repaired"),
            tally=asdict(comparison.tally),
            source_position=comparison.source_position,
            snapshot_id=str(comparison.snapshot_id),
        )
    return advance(objects, repair, replace(repair, state=RepairState.VERIFIED, verified=found))


def withdraw(platform: Platform, repair: Repair, file: EventsFile) -> None:
    """Take a file of events out of what merges read: it is not merged (again) by anyone."""
    objects = platform.objects(repair.source, repair.table_id)
    mark_replaced(objects, repair.source, repair.table_id, file.window, {(file.key, file.etag)})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
