"""Snapshot expiry: old snapshots leave the table, then the files and objects only they named.

The current snapshot, those of branches and tags, those main is still to be moved over, the newest few of the
table's history, and the snapshot that holds the record of a kept one always stay; so a roll-back to any
snapshot that is left finds its rows and its applied files. Snapshots that were rolled back are no history:
they stay until they are old.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, RemoveSnapshotsUpdate

from cdc_platform.config.maintenance import SnapshotOptions
from cdc_platform.errors import StaleCommit
from cdc_platform.lake import summary
from cdc_platform.lake.branch import held_back, history
from cdc_platform.lake.maintenance.named import named_files, named_objects, own_objects, roots
from cdc_platform.lake.moments import check_clock
from cdc_platform.raw.objects import ObjectStore

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ExpiryPlan:
    """The snapshots that expire, and the files and objects that only they name."""

    table: Table
    objects: ObjectStore
    expired: tuple[Snapshot, ...]
    kept: int
    files: frozenset[str] = frozenset()
    object_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """What an expiry removed, or would."""

    snapshots: int
    kept: int
    files: int
    objects: int


def expired_snapshots(table: Table, options: SnapshotOptions, now: datetime) -> tuple[Snapshot, ...]:
    """Return the snapshots that may go, by the metadata alone."""
    ranks = {one.snapshot_id: rank for rank, one in enumerate(history(table, table.current_snapshot()))}
    oldest = (now - timedelta(days=options.max_age_days)).timestamp() * 1000
    kept = {reference.snapshot_id for reference in table.metadata.refs.values()}
    if table.metadata.current_snapshot_id is not None:
        kept.add(table.metadata.current_snapshot_id)
    # without what lies between them main could not be moved forward
    kept |= {snapshot.snapshot_id for snapshot in held_back(table)}
    for snapshot in table.metadata.snapshots:
        rank = ranks.get(snapshot.snapshot_id)
        is_young = snapshot.timestamp_ms >= oldest and (rank is None or rank < options.max_count)
        if is_young or (rank is not None and rank < options.min_count):
            kept.add(snapshot.snapshot_id)
    kept |= _holders_of_records(table, kept)
    return tuple(each for each in table.metadata.snapshots if each.snapshot_id not in kept)


def plan_expiry(
    table: Table, objects: ObjectStore, options: SnapshotOptions, *, now: datetime | None = None
) -> ExpiryPlan:
    """Choose the snapshots that expire, and find what goes with them."""
    expired = expired_snapshots(table, options, now or datetime.now(UTC))
    going = {each.snapshot_id for each in expired}
    kept = [each for each in table.metadata.snapshots if each.snapshot_id not in going]
    if not expired:
        return ExpiryPlan(table, objects, (), len(kept))
    files, keys = _only_of(expired, kept, table, objects)
    return ExpiryPlan(table, objects, expired, len(kept), frozenset(files), frozenset(keys))


def commit_expiry(plan: ExpiryPlan) -> ExpiryResult:
    """Take the snapshots of ``plan`` out of the table, then remove what no snapshot names any more.

    Raises StaleCommit when other writers commit first each time it is tried, and MergeError where the clock
    is behind; nothing is removed then.
    """
    if not plan.expired:
        return ExpiryResult(0, plan.kept, 0, 0)
    table = _without(plan)
    there = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
    gone = [snapshot for snapshot in plan.expired if snapshot.snapshot_id not in there]
    files, keys = plan.files, plan.object_keys
    if len(gone) < len(plan.expired):
        # A tag or branch made meanwhile has kept some.
        only_files, only_keys = _only_of(gone, table.metadata.snapshots, plan.table, plan.objects)
        files, keys = frozenset(only_files), frozenset(only_keys)
    # What cannot be removed now is an orphan, which the clean-up finds.
    for path in sorted(files):
        with suppress(Exception):
            table.io.delete(path)
    for key in sorted(keys):
        with suppress(Exception):
            plan.objects.delete(key)
    return ExpiryResult(len(gone), len(there), len(files), len(keys))


def _holders_of_records(table: Table, kept: set[int]) -> set[int]:
    """Return the snapshots that hold the record of those of ``kept`` that another engine made."""
    holders = set()
    for snapshot_id in kept:
        for at in history(table, table.snapshot_by_id(snapshot_id)):
            if summary.BATCH_MANIFEST in summary.properties_of(at):
                holders.add(at.snapshot_id)
                break
    return holders


def _without(plan: ExpiryPlan) -> Table:
    """Commit the removal and return the table after it."""
    for _ in range(_ATTEMPTS):
        # Loaded just now: a tag that the commit does not know of would go with its snapshot.
        table = plan.table.catalog.load_table(plan.table.name())
        held = {reference.snapshot_id for reference in table.metadata.refs.values()}
        there = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
        ids = [each.snapshot_id for each in plan.expired if each.snapshot_id in there - held]
        if not ids:
            return table
        # Without the assertions a roll-back that comes in between would leave a branch without its snapshot.
        standing = (
            AssertRefSnapshotId(ref=name, snapshot_id=reference.snapshot_id)
            for name, reference in table.metadata.refs.items()
        )
        check_clock(table.metadata, ".".join(table.name()))
        with suppress(CommitFailedException):
            # pyiceberg's own way copies the metadata twice for each snapshot that goes
            table._do_commit(
                (RemoveSnapshotsUpdate(snapshot_ids=ids),),
                (AssertTableUUID(uuid=table.metadata.table_uuid), *standing),
            )
            return table.catalog.load_table(table.name())
    raise StaleCommit(
        f"other writers committed first, {_ATTEMPTS} times",
        where=".".join(plan.table.name()),
        mend="run the expiry again; nothing was removed",
    )


def _only_of(
    gone: Sequence[Snapshot], kept: Sequence[Snapshot], table: Table, objects: ObjectStore
) -> tuple[set[str], set[str]]:
    """Return the files and objects that only ``gone`` snapshots name; ``table`` still has all of them."""
    still = roots(kept, gone)
    ours = named_files(table.io, still)
    theirs = named_files(table.io, gone, but=ours.manifests)
    needed = named_objects(table, [*still, *kept[-1:]], objects)
    keys = named_objects(table, gone, objects) - needed - own_objects(kept)
    return theirs.all - ours.all, keys
