"""The branch merges write: main, or the one a table whose main shows only what reconciles keeps before it.

A table holds back when it has the branch :data:`PENDING`, and nothing else says so: neither ``cdc.yaml``,
which is only a wish until the next merge, nor a property. Its main is an ancestor of that branch. Readers of
other programs see main. The platform's own writing, maintenance and checks work on the table as
:func:`at_write_branch` shows it, where the current snapshot is the end of the branch that merges write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

#: The branch that merges write while main waits for a verdict.
PENDING = "cdc_pending"


def write_branch(metadata: TableMetadata) -> str:
    """Return the branch that merges and compaction write."""
    return PENDING if PENDING in metadata.refs else MAIN_BRANCH


def holds_back(table: Table) -> bool:
    """Return whether main waits for verdicts."""
    return PENDING in table.metadata.refs


def published_id(table: Table) -> int | None:
    """Return the snapshot that readers of main see."""
    main = table.metadata.refs.get(MAIN_BRANCH)
    return main.snapshot_id if main is not None else None


def at_write_branch(table: Table) -> Table:
    """Return ``table`` with the end of its write branch as the current snapshot; itself when that is main."""
    if not holds_back(table):
        return table
    return _AtItsEnd(
        table.name(),
        _at_its_end(table.metadata),
        table.metadata_location,
        table.io,
        table.catalog,
        table.config,
    )


def reloaded(table: Table) -> Table:
    """Return the table as it stands now, at its write branch."""
    return at_write_branch(table.catalog.load_table(table.name()))


def history(table: Table, snapshot: Snapshot | None) -> Iterator[Snapshot]:
    """Yield ``snapshot`` and its ancestors, as far as they are there."""
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None


def held_back(table: Table) -> Iterator[Snapshot]:
    """Yield the snapshots of the write branch that main has not, newest first."""
    published = published_id(table)
    for snapshot in history(table, table.current_snapshot()) if holds_back(table) else ():
        if snapshot.snapshot_id == published:
            return
        yield snapshot


def moved(branch: str, snapshot_id: int) -> SetSnapshotRefUpdate:
    """Return what lets ``branch`` end at a snapshot."""
    return SetSnapshotRefUpdate(
        snapshot_id=snapshot_id,
        ref_name=branch,
        type=SnapshotRefType.BRANCH,
        max_ref_age_ms=None,
        max_snapshot_age_ms=None,
        min_snapshots_to_keep=None,
    )


def standing_still(table: Table) -> tuple[TableRequirement, ...]:
    """Return what asserts that it is this table and that main and the branch end where ``table`` has them."""
    metadata = table.metadata
    stand = {name: reference.snapshot_id for name, reference in metadata.refs.items()}
    # of a table without snapshots nothing but main can be asserted, and no other branch can be there
    branches = (MAIN_BRANCH, PENDING) if metadata.snapshots else (MAIN_BRANCH,)
    ends = (AssertRefSnapshotId(ref=name, snapshot_id=stand.get(name)) for name in branches)
    return (*ends, AssertTableUUID(uuid=metadata.table_uuid))


def adding(
    table: Table, snapshot: Snapshot, properties: Mapping[str, str]
) -> tuple[tuple[TableUpdate, ...], tuple[TableRequirement, ...]]:
    """Return what adds the snapshot and moves the write branch, asserting where it stood, of which table."""
    branch = write_branch(table.metadata)
    there: list[TableRequirement] = [AssertRefSnapshotId(snapshot_id=snapshot.parent_snapshot_id, ref=branch)]
    if branch == MAIN_BRANCH and table.metadata.snapshots:
        # who holds the table back meanwhile leaves main to verdicts
        there.append(AssertRefSnapshotId(snapshot_id=None, ref=PENDING))
    first = (SetPropertiesUpdate(updates=dict(properties)),) if properties else ()
    updates = (*first, AddSnapshotUpdate(snapshot=snapshot), moved(branch, snapshot.snapshot_id))
    return updates, (*there, AssertTableUUID(uuid=table.metadata.table_uuid))


class _AtItsEnd(Table):
    """A table of which what is read of its metadata is that of its write branch, also after a commit."""

    def _do_commit(
        self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]
    ) -> None:
        super()._do_commit(updates, requirements)
        self.metadata = _at_its_end(self.metadata)

    def refresh(self) -> Table:
        super().refresh()
        self.metadata = _at_its_end(self.metadata)
        return self


def _at_its_end(metadata: TableMetadata) -> TableMetadata:
    if PENDING not in metadata.refs:
        return metadata
    return metadata.model_copy(update={"current_snapshot_id": metadata.refs[PENDING].snapshot_id})
