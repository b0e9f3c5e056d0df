"""Setting a base table back to a snapshot of its history, with the record of applied files.

The record is named by the snapshot, so it goes back with it: files applied since then count as not applied,
and the next merge takes them again. Their events have the positions they had, so the table becomes the same.
Where main waits for verdicts, the branch merges write goes back, and main with it when the target is older.
What does not go back is what Iceberg keeps apart from snapshots: the schema (columns added since stay, NULL
until their files are applied again) and the partition spec.

A snapshot that was rolled back is a target as well, while it is kept: what was merged since the two lines
parted is undone then, and what the target has over them is in force again, record and all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import RemovePropertiesUpdate, SetPropertiesUpdate

from cdc_platform.errors import CommitOutcomeUnknown, MergeError, StaleCommit
from cdc_platform.lake import quarantine, summary
from cdc_platform.lake.applied import (
    FOLDER,
    AppliedFile,
    AppliedRecord,
    BatchManifest,
    read_record,
    recorded_paths,
    walk_batches,
)
from cdc_platform.lake.branch import history, moved, published_id, standing_still, write_branch
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.lineage import SnapshotInfo, snapshot_history, snapshot_info
from cdc_platform.lake.moments import check_clock

#: Properties with a number that are no counts.
_NO_COUNTS = (summary.GENERATION_COMPLETE, summary.FILES_APPLIED, summary.FILES_QUARANTINED)
_EARLIER = "take a snapshot that `cdc inspect` lists, or reload the table"


@dataclass(frozen=True, slots=True)
class UndoneSnapshot:
    """A snapshot that a rollback takes back: a batch with what it did, or (without a batch) maintenance."""

    snapshot: SnapshotInfo
    windows: tuple[str, ...] = ()
    files: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """What a rollback will do; nothing has changed yet."""

    lake: Lake
    source: str
    table_id: str
    base: Table
    target: SnapshotInfo
    #: The record that holds at the target.
    record: AppliedRecord
    #: Newest first.
    undone: tuple[UndoneSnapshot, ...]
    #: Quarantined rows and files whose replay is taken back, so that they are released again.
    replays: tuple[str, ...]
    #: Batches and maintenance that were rolled back and are in force again, newest first.
    brought_back: tuple[UndoneSnapshot, ...] = ()
    #: What has to be merged again for the table to hold what it holds now.
    files: tuple[AppliedFile, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the table is at the target already."""
        return not self.undone and not self.brought_back

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows with files that will have to be applied again."""
        return tuple(sorted({window for one in self.undone for window in one.windows}))


def find_snapshot(
    table: Table,
    *,
    snapshot_id: int | None = None,
    batch_id: str | None = None,
    before: datetime | None = None,
) -> SnapshotInfo:
    """Return the one snapshot of the table's history that is meant: by id, as a batch left it, or by time.

    A batch may be shortened while it is unique. By its id one that was rolled back is found, too. Raises
    MergeError for one that was expired, is of another table or of another writer's branch.
    """
    history, where = snapshot_history(table), ".".join(table.name())
    if snapshot_id is not None:
        found = [one for one in history if one.snapshot_id == snapshot_id]
        found = found or _rolled_back(table, snapshot_id)
        what = _why_not(table, snapshot_id)
    elif batch_id is not None:
        names = {_own_batch(table, one) for one in history} - {None}
        batches = {name for name in names if name is not None and name.startswith(batch_id)}
        if len(batches) > 1:
            raise MergeError(
                f"{len(batches)} batches begin with {batch_id!r}", where=where, mend="give more of it"
            )
        found = [one for one in history if _own_batch(table, one) in batches]
        what = f"no snapshot that is kept was made by, or after, a batch {batch_id!r}"
    else:
        assert before is not None
        found = [one for one in history if one.committed_at is not None and one.committed_at <= before]
        what = f"no snapshot that is kept is as old as {before.isoformat()}{_oldest(history)}"
    if not found:
        raise MergeError(what, where=where, mend=_EARLIER)
    return found[0]


def _oldest(history: Sequence[SnapshotInfo]) -> str:
    """Return how far back the history goes, for a message."""
    if not history:
        return ""
    return f"; the oldest is {history[-1].snapshot_id}, committed at {history[-1].committed_at}"


def plan_rollback(lake: Lake, source: str, table_id: str, target: SnapshotInfo, base: Table) -> RollbackPlan:
    """Find what setting ``base`` back to ``target`` undoes.

    Raises MergeError when the record or the tombstones of that snapshot are gone.
    """
    objects = lake.objects(source, table_id)
    path = _record_path(base, target)
    record = read_record(base, objects, path) if path is not None else AppliedRecord()
    missing = [key for key in record.tombstones if objects.get(key) is None]
    if missing:
        what = f"the deletes remembered at snapshot {target.snapshot_id} are gone: {objects.url(missing[0])}"
        raise MergeError(what, where=".".join(base.name()), mend=_EARLIER)
    undone = tuple(_undone(base, base.current_snapshot(), target.snapshot_id))
    batches = {one.snapshot.batch_id for one in undone}
    manifests = [one for one in walk_batches(base, objects) if one.batch_id in batches]
    replays = {release for manifest in manifests for release in manifest.replayed} - record.replayed
    return RollbackPlan(
        lake,
        source,
        table_id,
        base,
        target,
        record,
        undone,
        replays=tuple(sorted({quarantine.released_item(release) for release in replays})),
        brought_back=tuple(
            _undone(base, base.snapshot_by_id(target.snapshot_id), base.metadata.current_snapshot_id)
        ),
        files=_to_merge_again(manifests, record),
    )


def _to_merge_again(manifests: Sequence[BatchManifest], record: AppliedRecord) -> tuple[AppliedFile, ...]:
    """Return the files of undone batches that ``record`` lacks, but for those a full load superseded."""
    complete = max((manifest.generation_complete for manifest in manifests), default=0)
    files: dict[tuple[str, str], AppliedFile] = {}
    for manifest in manifests:
        has_all = record.replayed.issuperset(manifest.replayed)
        for file in manifest.files:
            version = (file.key, file.etag)
            if file.generation >= complete and not (has_all and record.files.get(version) == file.generation):
                files.setdefault(version, file)
    return tuple(sorted(files.values(), key=lambda file: (file.window, file.key, file.etag)))


def commit_rollback(plan: RollbackPlan) -> None:
    """Set the table back in one commit.

    Raises StaleCommit when another writer was faster (nothing has changed) and CommitOutcomeUnknown when the
    catalog does not tell.
    """
    objects = plan.lake.objects(plan.source, plan.table_id)
    check_clock(plan.base.metadata, ".".join(plan.base.name()))
    # released before the commit: a replay too many changes nothing, one too few loses the row
    reopened = quarantine.release_again(objects, plan.replays)
    try:
        _commit(plan)
    except StaleCommit:
        quarantine.mark_replayed(objects, reopened)
        raise


def _commit(plan: RollbackPlan) -> None:
    where = ".".join(plan.base.name())
    # the way back in when every snapshot that names a record is expired must lead to the same record
    name, path = summary.BATCH_MANIFEST, plan.record.path
    record = SetPropertiesUpdate(updates={name: path}) if path else RemovePropertiesUpdate(removals=[name])
    ends = [moved(branch, snapshot_id) for branch, snapshot_id in _ends(plan)]
    try:
        plan.base._do_commit((record, *ends), standing_still(plan.base))
    except (CommitFailedException, ValidationException) as e:
        raise StaleCommit(
            "another writer committed since the rollback was planned", where=where, mend="look at it again"
        ) from e
    except Exception as e:
        now = plan.lake.load(plan.source, plan.table_id)
        if now is not None and now.metadata.current_snapshot_id == plan.target.snapshot_id:
            return
        what = f"the catalog did not say whether the rollback was committed ({type(e).__name__}: {e})"
        raise CommitOutcomeUnknown(
            what, where=where, mend="look with `cdc inspect`, then run it again"
        ) from e


def _ends(plan: RollbackPlan) -> Iterator[tuple[str, int]]:
    """Yield where branches end then: the one merges write, and main where it would not be its ancestor."""
    branch, target = write_branch(plan.base.metadata), plan.target.snapshot_id
    yield branch, target
    published = published_id(plan.base)
    if branch == MAIN_BRANCH or published is None:
        return
    ancestors = {one.snapshot_id for one in history(plan.base, plan.base.snapshot_by_id(target))}
    both = (
        one.snapshot_id
        for one in history(plan.base, plan.base.snapshot_by_id(published))
        if one.snapshot_id in ancestors
    )
    newest = next(both, None)
    if newest is None:
        what = "main, which other programs read, has no snapshot that is kept in common with the target"
        raise MergeError(what, where=".".join(plan.base.name()), mend=_EARLIER)
    if newest != published:
        yield MAIN_BRANCH, newest


def _rolled_back(table: Table, snapshot_id: int) -> list[SnapshotInfo]:
    """Return a snapshot that a merge or maintenance made and that is not in the history any more."""
    snapshot = table.snapshot_by_id(snapshot_id)
    if snapshot is None or summary.BATCH_MANIFEST not in summary.properties_of(snapshot):
        return []
    return [snapshot_info(snapshot)]


def _undone(table: Table, head: Snapshot | None, other: int | None) -> Iterator[UndoneSnapshot]:
    """Yield the snapshots of the line that ends at ``head``, newest first, that ``other``'s line has not."""
    end = table.snapshot_by_id(other) if other is not None else None
    common = {one.snapshot_id for one in history(table, end)}
    for snapshot in history(table, head):
        one = snapshot_info(snapshot)
        if one.snapshot_id in common:
            return
        told = summary.properties_of(table.snapshot_by_id(one.snapshot_id) if one.batch_id else None)
        counts = {
            name.removeprefix(summary.COUNT_PREFIX).replace("-", "_"): int(value)
            for name, value in told.items()
            if name.startswith(summary.COUNT_PREFIX) and value.isdigit() and name not in _NO_COUNTS
        }
        windows = told.get(summary.WINDOWS, "")
        yield UndoneSnapshot(
            one, tuple(filter(None, windows.split(","))), int(told.get(summary.FILES_APPLIED, 0)), counts
        )


def _own_batch(table: Table, one: SnapshotInfo) -> str | None:
    """Return the batch whose record the snapshot itself names: its own, or that of before the maintenance."""
    path = summary.properties_of(table.snapshot_by_id(one.snapshot_id)).get(summary.BATCH_MANIFEST)
    return None if path is None else path.removeprefix(f"{FOLDER}/").removesuffix(".json")


def _record_path(table: Table, target: SnapshotInfo) -> str | None:
    """Return the manifest that holds at a snapshot: its own, or, of another writer's, its parent's.

    None behind the first merge.
    """
    for path in recorded_paths(table, table.snapshot_by_id(target.snapshot_id)):
        return path
    raise MergeError(
        f"which files snapshot {target.snapshot_id} holds is not known: another writer made it, and the "
        "snapshots before it are expired",
        where=".".join(table.name()),
        mend=_EARLIER,
    )


def _why_not(table: Table, snapshot_id: int) -> str:
    if table.snapshot_by_id(snapshot_id) is None:
        return f"there is no snapshot {snapshot_id}: it was expired, or is of another table"
    return f"snapshot {snapshot_id} is not in the table's history: it is another writer's, of a branch"
