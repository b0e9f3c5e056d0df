"""What a merge decided, for the commit to carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig
from cdc_platform.events import Position
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.direct_load import DirectLoad
from cdc_platform.lake.intake import Intake
from cdc_platform.lake.quarantine import QuarantineItem
from cdc_platform.lake.result import MergeCounts
from cdc_platform.lake.rules import Decision
from cdc_platform.lake.schema import TargetSchema
from cdc_platform.lake.selection import Selection
from cdc_platform.lake.staging import FEW_EVENTS
from cdc_platform.lake.tombstones import Tombstones
from cdc_platform.lake.workspaces import take_back
from cdc_platform.raw.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Reach:
    """The lowest and highest position of a batch, and the watermark the table has with it."""

    low: Position | None
    high: Position | None
    watermark: datetime | None


@dataclass(frozen=True, slots=True)
class MergePlan:
    """Everything :func:`cdc_platform.lake.commit.commit_merge` needs; close it after."""

    lake: Lake
    source: str
    config: TableConfig
    base: Table | None
    record: AppliedRecord
    objects: ObjectStore
    con: duckdb.DuckDBPyConnection
    target: TargetSchema
    rows: BaseRows
    tombstones: Tombstones
    batch_id: str
    selection: Selection
    intake: Intake
    counts: MergeCounts
    quarantined: tuple[QuarantineItem, ...]
    decision: Decision
    completed: int | None
    #: Load files already written into data files, of a table that may have been made for them.
    direct: DirectLoad | None
    created: Table | None
    #: The staged events by file, where they stayed as they came.
    kept: Mapping[int, pa.Table]
    reach: Reach
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The table's name for messages."""
        return ".".join(self.lake.identifier(self.source, self.config.id))

    @property
    def is_small(self) -> bool:
        """Whether so little is to be written that threads would cost more than they save."""
        staged = sum(staged.rows for staged in self.intake.staged)
        return self.direct is None and self.completed is None and staged <= FEW_EVENTS

    @property
    def has_record(self) -> bool:
        """Whether there is anything for a snapshot to record."""
        if self.base is None:
            # A load without rows leaves no file: there is nothing yet to make a table of.
            return bool(self.intake.staged)
        return bool(self.intake.staged or self.selection.superseded or self.completed is not None)

    def close(self) -> None:
        """Free the workspace, and remove what was written ahead and not committed."""
        if self.direct is not None:
            self.direct.discard()
        take_back(self.con, self.lake)
