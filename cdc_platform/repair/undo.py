"""Taking a repair back: the rows as they were before, wherever nothing later has overtaken it.

* Nothing was merged yet: its events are withdrawn.
* Nothing was merged since, and nothing with it: its events are withdrawn and the table goes back to the
  snapshot before, control columns and all.
* Else compensating events restore the rows it replaced. They stand at the repair's own place in the order of
  changes, one step above it: whatever is later than the repair is later than its undoing as well. Keys whose
  row is not the repair's any more are left alone, and so are those of which a genuine change reached raw
  meanwhile (see :mod:`latecomers`).
"""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.config.model import Images
from cdc_platform.errors import ReconciliationError, StaleCommit
from cdc_platform.events import PositionKind
from cdc_platform.lake.applied import read_applied, walk_batches
from cdc_platform.lake.lineage import snapshot_history
from cdc_platform.lake.read import open_workspace
from cdc_platform.lake.rollback import commit_rollback, plan_rollback
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.pipeline import Platform
from cdc_platform.raw.manifests import read_load_sets
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import UNDO
from cdc_platform.reconcile.base_rows import load_base_rows
from cdc_platform.reconcile.subject import Subject, pin
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.repair.approve import accept_events
from cdc_platform.repair.audit import tell
from cdc_platform.repair.carry_out import merge_events, withdraw
from cdc_platform.repair.draft import count_rows
from cdc_platform.repair.events import keep_events, repair_events
from cdc_platform.repair.latecomers import load_latecomers
from cdc_platform.repair.order import Place
from cdc_platform.repair.record import Approval, EventsFile, Repair, RepairState, Undo, advance

_BEGUN = (RepairState.APPROVED, RepairState.APPLIED, RepairState.VERIFIED)

#: How often another way is taken because a merge was faster.
_ATTEMPTS = 5


def undo_repair(platform: Platform, repair: Repair, by: str) -> Repair:
    """Take ``repair`` back. An undo that was cut off goes on; one that is done stays as it is.

    Raises ReconciliationError when there is nothing to take back or its rows cannot be restored, StaleCommit
    when other writers are always faster.
    """
    objects = platform.objects(repair.source, repair.table_id)
    # a merge that had read the manifest before the withdrawal may have committed after it
    is_back = repair.state is RepairState.UNDONE and _is_withdrawn(repair) and _is_applied(platform, repair)
    if repair.state in _BEGUN or is_back:
        undo = _decided(platform, repair, by)
        repair = advance(objects, repair, replace(repair, state=RepairState.UNDOING, undo=undo))
    for _ in range(_ATTEMPTS):
        if repair.state is not RepairState.UNDOING:
            break
        repair = advance(objects, repair, _carried_on(platform, repair))
    if repair.state is RepairState.UNDOING:
        raise StaleCommit("other writers were always faster", where=repair.where, mend="run the undo again")
    if repair.state is not RepairState.UNDONE:
        what = f"the repair is {repair.state.value}: there is nothing to take back"
        raise ReconciliationError(what, where=repair.where, mend="`cdc repair --list` shows what was done")
    tell(platform.lake, repair)
    return repair


def _decided(platform: Platform, repair: Repair, by: str) -> Undo:
    approval = _approval(repair)
    if not _is_applied(platform, repair):
        return Undo("withdrawal", by, _now(), keys=0)
    if _snapshot_before(platform, repair) is not None:
        return Undo("rollback", by, _now(), keys=approval.keys)
    return _compensation(platform, repair, by)


def _carried_on(platform: Platform, repair: Repair) -> Repair:
    """Do what was decided, or decide anew because the table moved."""
    undo = repair.undo
    assert undo is not None
    if undo.method == "events":
        if undo.file is not None:
            accept_events(platform, repair, undo.file)
            undo = replace(undo, snapshot_id=merge_events(platform, repair, undo.file).snapshot_id)
        return replace(repair, state=RepairState.UNDONE, undo=undo)
    # first, so that no merge applies the events again after they were taken out
    withdraw(platform, repair, _approval(repair).file)
    if not _is_applied(platform, repair) or (undo.method == "rollback" and _roll_back(platform, repair)):
        now = platform.lake.load(repair.source, repair.table_id)
        current = now.current_snapshot() if now is not None else None
        undo = replace(undo, snapshot_id=str(current.snapshot_id) if current else None)
        return replace(repair, state=RepairState.UNDONE, undo=undo)
    return replace(repair, undo=_decided(platform, repair, undo.by))


def _roll_back(platform: Platform, repair: Repair) -> bool:
    """Set the table back to the snapshot before the repair; return whether that was possible."""
    base, target = platform.lake.load(repair.source, repair.table_id), _snapshot_before(platform, repair)
    found = [one for one in snapshot_history(base) if one.snapshot_id == target] if base is not None else []
    if base is None or not found:
        return False
    try:
        commit_rollback(plan_rollback(platform.lake, repair.source, repair.table_id, found[0], base))
    except StaleCommit:
        return False
    return True


def _snapshot_before(platform: Platform, repair: Repair) -> int | None:
    """Return the snapshot before the repair's, while that is the newest and holds nothing else."""
    base = platform.lake.load(repair.source, repair.table_id)
    history = snapshot_history(base) if base is not None else ()
    if base is None or len(history) < 2 or history[0].batch_id is None:
        return None
    newest = next(walk_batches(base, platform.objects(repair.source, repair.table_id)))
    mine = {(file.key, file.etag) for file in newest.files}
    file = _approval(repair).file
    alone = newest.batch_id == history[0].batch_id and mine == {(file.key, file.etag)}
    return history[1].snapshot_id if alone and not newest.replayed else None


def _compensation(platform: Platform, repair: Repair, by: str) -> Undo:
    """Make and keep the events that restore the rows of the keys the repair still speaks for."""
    approval, objects = _approval(repair), platform.objects(repair.source, repair.table_id)
    subject = pin(platform, repair.source, repair.table_id, repair.window)
    base = platform.lake.load(repair.source, repair.table_id)
    assert base is not None
    _check_columns(base, repair)
    with closing(open_workspace(platform.lake, iceberg=True)) as con:
        url = objects.url(approval.touched)
        names = ", ".join(f"key_{i} AS {in_workspace(column)}" for i, column in enumerate(repair.key))
        con.execute(f"CREATE TEMP TABLE touched AS FROM {parquet_sql([url])}")
        con.execute(f"CREATE TEMP TABLE keys AS SELECT key_id, {names} FROM touched")
        load_base_rows(con, subject.view, repair.key)
        load_latecomers(con, subject, repair)
        partial = subject.table.images is Images.PARTIAL
        con.execute(f"CREATE TEMP TABLE restored AS {_restored_sql(approval.file.sequence, partial)}")
        keys = count_rows(con, "restored")
        several = count_rows(con, "restored WHERE several")
        if several:
            raise ReconciliationError(
                f"{several:,} of its keys had several rows in base before, which no merge can restore",
                where=repair.where,
                mend="nothing is lost: the source has one row of each; reconcile to see it",
            )
        file = _keep(objects, con, repair, subject, base) if keys else None
    return Undo("events", by, _now(), keys=keys, left=approval.keys - keys, file=file)


def _check_columns(base: Table, repair: Repair) -> None:
    """Refuse when base has lost a column of the rows to restore."""
    there = set(base.schema().column_names)
    gone = [name for name in repair.columns if name not in there]
    if gone:
        raise ReconciliationError(
            f"base has lost {', '.join(map(repr, gone))} since, a part of the rows to restore",
            where=repair.where,
            mend="add it to base again under that name and run the undo again, or leave the repair and "
            "reconcile: nothing was taken back",
        )


def _keep(
    objects: ObjectStore, con: duckdb.DuckDBPyConnection, repair: Repair, subject: Subject, base: Table
) -> EventsFile:
    approval = _approval(repair)
    instant = datetime.fromisoformat(approval.file.instant)
    generation = read_load_sets(objects).generation_of(instant)
    place = Place(PositionKind(approval.file.kind), instant, generation)
    try:
        events = repair_events(
            con,
            base.schema(),
            repair.key,
            repair.columns,
            rows="FROM restored",
            image="before",
            place=place,
            step=1,
            source_position=approval.source_position,
        )
    except pa.ArrowException as error:
        raise ReconciliationError(
            f"base's columns have other types since, which the rows to restore do not fit: {error}",
            where=repair.where,
            mend="leave the repair and reconcile: nothing was taken back",
        ) from error
    part = f"{UNDO}{secrets.token_hex(3)}"
    window = subject.source.window.key_of(instant)
    return keep_events(
        objects, base.schema(), events, place, repair_id=repair.id, part=part, window=window, step=1
    )


def _restored_sql(sequence: str, partial: bool) -> str:
    """Return SQL for the touched keys whose newest change is still the repair's, in base and in raw."""
    again = "'I'" if partial else "CASE WHEN t.op = 'D' THEN 'I' ELSE 'U' END"
    return f"""
        SELECT t.* REPLACE (CASE WHEN t.has_before THEN {again} ELSE 'D' END AS op)
        FROM touched t JOIN (
            SELECT key_id, max({{g: generation, p: position}}) AS place FROM (
                SELECT key_id, _cdc_generation AS generation, _cdc_position AS position FROM base_rows
                UNION ALL SELECT key_id, generation, position FROM tombstones) GROUP BY key_id) n
        ON n.key_id = t.key_id AND n.place.p = {sequence}::DECIMAL(38, 0)
        WHERE NOT EXISTS (FROM latecomers l WHERE l.key_id = t.key_id)"""


def _approval(repair: Repair) -> Approval:
    assert repair.approval is not None
    return repair.approval


def _is_withdrawn(repair: Repair) -> bool:
    return repair.undo is not None and repair.undo.method != "events"


def _is_applied(platform: Platform, repair: Repair) -> bool:
    base = platform.lake.load(repair.source, repair.table_id)
    record = read_applied(base, platform.objects(repair.source, repair.table_id))
    file = _approval(repair).file
    return (file.key, file.etag) in record.files


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
