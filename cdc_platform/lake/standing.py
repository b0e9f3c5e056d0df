"""Where a base table stands: its metadata, what it has applied and what waits, read once for one attempt."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.table import Table

from cdc_platform.lake.applied import AppliedRecord, read_applied
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.quarantine import QuarantineItem, items_in


@dataclass(frozen=True, slots=True)
class Standing:
    """A base table (None before its first merge) with its record and quarantine.

    It may be old when it is used: a commit asserts that the table still is where it was.
    """

    base: Table | None
    record: AppliedRecord
    items: tuple[QuarantineItem, ...]


def read_standing(lake: Lake, source: str, table_id: str) -> Standing:
    """Read where a table stands now."""
    objects = lake.objects(source, table_id)
    base = lake.load(source, table_id)
    return Standing(base, read_applied(base, objects), tuple(items_in(objects)))
