"""Whether a commit happened, asked of the table itself.

A catalog that says "conflict" may still have committed: clients repeat a call whose answer was lost, and the
repetition then conflicts with its own first try (Glue by boto3, REST behind a proxy). So the files of a
snapshot are free only when the table's history proves that the snapshot is not in it.
"""

from __future__ import annotations

from enum import Enum

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.lake.branch import write_branch


class Outcome(Enum):
    """What the table says of a snapshot that was offered to it."""

    COMMITTED = "committed"
    #: Every snapshot made since the one it builds on is there, and it is none of them.
    ABSENT = "absent"
    UNKNOWN = "unknown"


def outcome_of(table: Table, snapshot: Snapshot) -> Outcome:
    """Return what became of ``snapshot``, which was offered to ``table``. Never raises for an outage."""
    try:
        now = table.catalog.load_table(table.name()).metadata
    except Exception:
        # The look may fail for whatever the commit failed for, or the table be gone: nothing is known then.
        return Outcome.UNKNOWN
    if now.table_uuid != table.metadata.table_uuid:
        return Outcome.UNKNOWN
    if now.snapshot_by_id(snapshot.snapshot_id) is not None:
        return Outcome.COMMITTED
    return Outcome.ABSENT if _is_whole(now, snapshot.parent_snapshot_id) else Outcome.UNKNOWN


def _is_whole(metadata: TableMetadata, ancestor: int | None) -> bool:
    """Whether the history from now back to ``ancestor`` is there, none of it expired or rolled back."""
    branch = metadata.snapshot_by_name(write_branch(metadata))
    at = branch.snapshot_id if branch is not None else None
    while at is not None and at != ancestor:
        snapshot = metadata.snapshot_by_id(at)
        if snapshot is None:
            return False
        at = snapshot.parent_snapshot_id
    return at == ancestor
