"""A merge that was prepared: what it needs is known, nothing is opened yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdc_platform.config.model import TableConfig

if TYPE_CHECKING:
    from cdc_platform.lake.catalog import Lake
    from cdc_platform.lake.inputs import MergeInput
    from cdc_platform.lake.result import MergeResult
    from cdc_platform.lake.standing import Standing


@dataclass(frozen=True, slots=True)
class PreparedMerge:
    """A merge of a table that only has to be run.

    ``bytes`` is the size of the files it has not applied; ``skipped`` are applied files that are not inputs.
    """

    lake: Lake
    source: str
    table: TableConfig
    inputs: tuple[MergeInput, ...]
    completed_generation: int | None
    standing: Standing
    bytes: int
    skipped: int

    def run(self) -> MergeResult:
        """Merge, in one snapshot, and do the maintenance the merge makes due."""
        from cdc_platform.lake.maintenance import after_merge
        from cdc_platform.lake.merge import merge

        result = merge(
            self.lake,
            self.source,
            self.table,
            self.inputs,
            completed_generation=self.completed_generation,
            standing=self.standing,
        )
        result = replace(result, files_skipped=result.files_skipped + self.skipped)
        if result.snapshot_id is None:
            return result
        return replace(result, maintenance=after_merge(self.lake, self.source, self.table))
