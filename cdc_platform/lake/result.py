"""What a merge did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from cdc_platform.lake.quarantine import QuarantineItem
from cdc_platform.raw.files import RawFile

if TYPE_CHECKING:
    from cdc_platform.lake.maintenance.run import MaintenanceResult


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """Events that came, by op, and what became of them and of the table's rows."""

    loads: int = 0
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    #: Deletes of a key the table does not have; they leave a tombstone.
    deletes_without_row: int = 0
    #: Updates of a key the table does not have (before a load is complete, or a lost insert).
    updates_without_row: int = 0
    #: Keys whose last event of the batch was older than, or the same as, what the table knows.
    stale: int = 0
    #: Events of a generation older than the last complete load.
    superseded: int = 0
    #: Deletes that an append table ignores.
    ignored: int = 0
    #: Rows of an older generation removed by the completion of a load.
    rows_unloaded: int = 0
    rows_quarantined: int = 0

    @property
    def events(self) -> int:
        """All events read."""
        return self.loads + self.inserts + self.updates + self.deletes

    def as_dict(self) -> dict[str, int]:
        """Return every count by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The outcome of one merge. ``snapshot_id`` is None when there was nothing to record."""

    source: str
    table_id: str
    batch_id: str
    snapshot_id: int | None
    counts: MergeCounts
    files_applied: tuple[RawFile, ...] = ()
    #: Files that were already applied, and files that wait in quarantine.
    files_skipped: int = 0
    files_waiting: int = 0
    quarantined: tuple[QuarantineItem, ...] = ()
    #: The generation this merge completed, if it did.
    generation_completed: int | None = None
    watermark: datetime | None = None
    attempts: int = 1
    seconds: Mapping[str, float] = field(default_factory=dict)
    #: What the table does not do as ``cdc.yaml`` says, each with the mend; the merge is right all the same.
    warnings: tuple[str, ...] = ()
    #: What was rewritten or expired right after it, by the table's policy; None when nothing was due.
    maintenance: MaintenanceResult | None = None

    @property
    def files_quarantined(self) -> int:
        """How many whole files this merge set aside."""
        return sum(item.row is None for item in self.quarantined)
