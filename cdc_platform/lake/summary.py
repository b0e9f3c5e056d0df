"""The ``cdc.*`` properties a merge writes into its snapshot's summary, and what summaries tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

#: Identifies the merge; how an unknown commit outcome is resolved.
BATCH_ID: Final = "cdc.batch-id"
#: Object key of the batch manifest, below the table's object store. Also a table property.
BATCH_MANIFEST: Final = "cdc.batch-manifest"
#: Windows of the files applied, comma-separated.
WINDOWS: Final = "cdc.windows"
#: ``generation:sequence`` of the lowest and highest event applied.
POSITION_LOW: Final = "cdc.position-low"
POSITION_HIGH: Final = "cdc.position-high"
#: What the sequences are made of.
POSITION_KIND: Final = "cdc.position-kind"
#: Highest commit time applied to the table so far, ISO 8601 UTC.
WATERMARK: Final = "cdc.watermark"
#: The newest generation whose full load is complete in the table.
GENERATION_COMPLETE: Final = "cdc.generation-complete"
#: Files applied, and files and rows set aside, by this batch.
FILES_APPLIED: Final = "cdc.files-applied"
FILES_QUARANTINED: Final = "cdc.files-quarantined"
#: Prefix of every count of :class:`cdc_platform.lake.result.MergeCounts`, dashes for underscores.
COUNT_PREFIX: Final = "cdc."
#: What a snapshot that changed no row was made by: ``compaction``.
MAINTENANCE: Final = "cdc.maintenance"
#: Identifies it.
MAINTENANCE_ID: Final = "cdc.maintenance-id"
#: The proof: how many rows the rewritten files hold, and the sum of their hashes, before as after.
PROOF_ROWS: Final = "cdc.proof-rows"
PROOF_HASH_SUM: Final = "cdc.proof-hash-sum"
#: What every snapshot that is no merge takes over from its parent, so that the record stands.
INHERITED: Final = (BATCH_MANIFEST, WATERMARK, GENERATION_COMPLETE)


def properties_of(snapshot: Snapshot | None) -> Mapping[str, str]:
    """Return what a snapshot's summary says besides its operation; nothing where there is none."""
    return snapshot.summary.additional_properties if snapshot is not None and snapshot.summary else {}


def is_ours(snapshot: Snapshot) -> bool:
    """Whether a merge or maintenance of this platform made the snapshot, and no other program."""
    told = properties_of(snapshot)
    return BATCH_ID in told or MAINTENANCE in told


def row_count(table: Table) -> int | None:
    """Return how many rows base has by its current snapshot's totals: our deletes are of one row each.

    None where another program rewrote files, for deletes of files that are gone may be counted then.
    """
    totals = properties_of(table.current_snapshot())
    if "total-records" not in totals:
        return None
    deletes = int(totals.get("total-position-deletes", 0))
    if deletes and any(map(_is_foreign_rewrite, table.snapshots())):
        return None
    return int(totals["total-records"]) - deletes


def _is_foreign_rewrite(snapshot: Snapshot) -> bool:
    appends = snapshot.summary is None or snapshot.summary.operation is Operation.APPEND
    return not appends and not is_ours(snapshot)
