"""How base tables are kept healthy: when files are rewritten, and how long the past is kept.

Every option has a default; a table overrides single options, the others are those of the whole file.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from cdc_platform.config.base import LONGEST_DAYS, Model, mistake

#: Below this age an unnamed file may belong to a merge that has not committed yet.
SHORTEST_ORPHAN_AGE_HOURS = 1.0


class CompactionOptions(Model):
    """Which data files are rewritten, and in which portions."""

    after_merge: bool = Field(True, description="rewrite what is due right after each merge of the table")
    after_merge_mb: int = Field(256, ge=1, description="most MB of files to rewrite after one merge")
    small_file_share: float = Field(
        0.25, gt=0, lt=1, description="a file below this share of the table's target file size is small"
    )
    min_files: int = Field(8, ge=2, description="so many small files of a partition are gathered into one")
    delete_debt: float = Field(
        0.1, gt=0, le=1, description="a file with this share of its rows deleted is rewritten"
    )
    min_deleted_rows: int = Field(1_000, ge=1, description="fewer deleted rows never cause a rewrite")
    group_mb: int = Field(256, ge=1, description="MB of files rewritten in one snapshot")
    attempts: int = Field(5, ge=1, description="how often a group is offered while other writers commit")


class SnapshotOptions(Model):
    """Which snapshots are kept for time travel and rollback; tags and branches always are."""

    max_age_days: float = Field(7, gt=0, le=LONGEST_DAYS, description="older snapshots expire")
    min_count: int = Field(20, ge=1, description="the newest so many are kept whatever their age")
    max_count: int = Field(100, ge=1, description="the newest so many at most are kept whatever their age")

    @model_validator(mode="after")
    def _counts_agree(self) -> SnapshotOptions:
        if self.max_count < self.min_count:
            what = f"`max_count` {self.max_count} is below `min_count` {self.min_count}"
            raise mistake(what, "raise the one or lower the other")
        return self


class OrphanOptions(Model):
    """Which files no snapshot names are removed."""

    min_age_hours: float = Field(
        72,
        gt=0,
        le=24 * LONGEST_DAYS,
        description="younger files stay: a merge writes its files before the snapshot that names them",
    )


class MaintenanceOptions(Model):
    """The maintenance policy of all tables, or of one."""

    compaction: CompactionOptions = CompactionOptions()
    snapshots: SnapshotOptions = SnapshotOptions()
    orphans: OrphanOptions = OrphanOptions()

    def with_overrides(self, overrides: MaintenanceOptions | None) -> MaintenanceOptions:
        """Return this policy with every option that ``overrides`` sets itself.

        >>> all_tables = MaintenanceOptions.model_validate({"compaction": {"min_files": 4}})
        >>> one = MaintenanceOptions.model_validate({"compaction": {"delete_debt": 0.5}})
        >>> merged = all_tables.with_overrides(one).compaction
        >>> merged.min_files, merged.delete_debt
        (4, 0.5)
        """
        if overrides is None:
            return self
        ours, theirs = self.model_dump(), overrides.model_dump(exclude_unset=True)
        return MaintenanceOptions.model_validate(
            {part: {**ours[part], **theirs.get(part, {})} for part in ours}
        )
