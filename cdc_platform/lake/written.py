"""What a commit has written, to be removed when it certainly failed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from pyiceberg.table import Table

from cdc_platform.lake.merge_plan import MergePlan


@dataclass(slots=True)
class Written:
    """What a commit wrote so far, to remove when it certainly failed."""

    table: Table | None = None
    files: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    #: Whether the catalog was asked to commit: the files may be in the table from then on.
    is_offered: bool = False

    def remove(self, plan: MergePlan) -> None:
        # What cannot be removed now is an orphan, which the clean-up finds; the error that led here counts.
        for path in self.files:
            with suppress(Exception):
                if self.table is not None:
                    self.table.io.delete(path)
        for key in self.objects:
            with suppress(Exception):
                plan.objects.delete(key)

    def offer(self) -> None:
        self.is_offered = True
