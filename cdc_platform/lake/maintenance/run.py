"""The maintenance of one table: what is due, and doing it.

:func:`maintain` does everything its steps name. :func:`after_merge` does only what keeps the table as quick
as it was before the merge, and asks first, by the numbers in the snapshot's summary, whether to look at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from cdc_platform.config.maintenance import MaintenanceOptions
from cdc_platform.config.model import PlatformConfig, TableConfig
from cdc_platform.errors import CdcError, redact
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.health import TableHealth, health_of, table_health
from cdc_platform.lake.maintenance.compaction import GroupResult, commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.maintenance.expiry import ExpiryResult, commit_expiry, expired_snapshots, plan_expiry
from cdc_platform.lake.maintenance.intact import check_files
from cdc_platform.lake.maintenance.orphans import OrphanResult, plan_orphans, remove_orphans
from cdc_platform.lake.outages import outages
from cdc_platform.lake.summary import properties_of

_MB = 1024 * 1024
#: After a merge snapshots expire in portions: each costs a commit.
_EXPIRE_AT_ONCE = 20


class Step(StrEnum):
    """A kind of maintenance."""

    COMPACT = "compact"
    EXPIRE = "expire"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """What was done to one table, or would be; a step that was not asked for is None."""

    source: str
    table_id: str
    dry_run: bool
    before: TableHealth | None = None
    after: TableHealth | None = None
    groups: tuple[GroupResult, ...] | None = None
    expiry: ExpiryResult | None = None
    orphans: OrphanResult | None = None
    seconds: float = 0.0
    #: Why the rest was left, where that must not fail what it followed.
    error: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        expired, orphans = self.expiry, self.orphans
        return not (
            self.groups or (expired and expired.snapshots) or (orphans and orphans.files) or self.error
        )

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why groups of files were left as they are."""
        return tuple(group.skipped for group in self.groups or () if group.skipped)


def policy_of(config: PlatformConfig, table: TableConfig) -> MaintenanceOptions:
    """Return the policy that holds for ``table``."""
    return config.maintenance.with_overrides(table.maintenance)


def maintain(
    lake: Lake,
    source: str,
    table: TableConfig,
    steps: Collection[Step] = tuple(Step),
    *,
    dry_run: bool = False,
    force: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> MaintenanceResult | None:
    """Compact, expire and clean one table by its policy; None before its first merge.

    ``dry_run`` only plans. ``force`` allows orphans younger than an hour. ``note`` is told what goes on.
    Raises MergeError when files of the table are missing or cut, or a proof fails, StaleCommit when other
    writers never let it commit.
    """
    work = _work_on(lake, source, table, dry_run=dry_run, force=force, note=note)
    with outages(".".join(lake.identifier(source, table.id))):
        return _maintained(work, steps, partial(table_health, lake, source, table))


def maintain_appended(
    lake: Lake,
    identifier: tuple[str, str],
    steps: Collection[Step] = tuple(Step),
    *,
    dry_run: bool = False,
    force: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> MaintenanceResult | None:
    """Maintain a table that is no base table, by the policy of all; None where there is none.

    What is told and raised is :func:`maintain`'s; its namespace stands in the place of a source.
    """
    policy = lake.config.maintenance

    def load() -> Table | None:
        try:
            return lake.catalog.load_table(identifier)
        except NoSuchTableError:
            return None

    def health() -> TableHealth | None:
        table = load()
        return health_of(lake, table, policy.compaction) if table is not None else None

    work = _Work(lake, *identifier, policy, load, dry_run, force, note)
    with outages(".".join(identifier)):
        return _maintained(work, steps, health)


def _maintained(
    work: _Work, steps: Collection[Step], health: Callable[[], TableHealth | None]
) -> MaintenanceResult | None:
    started = time.perf_counter()
    base = work.load()
    if base is None:
        return None
    check_files(base)
    before = health()
    groups = work.compact() if Step.COMPACT in steps else None
    expiry = work.expire() if Step.EXPIRE in steps else None
    orphans = work.clean() if Step.ORPHANS in steps else None
    after = before if work.dry_run else health()
    seconds = round(time.perf_counter() - started, 3)
    return MaintenanceResult(
        work.source, work.table_id, work.dry_run, before, after, groups, expiry, orphans, seconds
    )


def after_merge(lake: Lake, source: str, table: TableConfig) -> MaintenanceResult | None:
    """Do what the policy wants done at once; None when there is nothing. Never fails the merge it follows."""
    started = time.perf_counter()
    policy = policy_of(lake.config, table)
    if not policy.compaction.after_merge:
        return None
    work = _work_on(lake, source, table)
    groups: tuple[GroupResult, ...] = ()
    expiry, error = None, None
    try:
        with outages(".".join(lake.identifier(source, table.id))):
            base = lake.load(source, table.id)
            if base is None or base.current_snapshot() is None:
                return None
            if _may_be_due(base, policy):
                groups = work.compact(most_bytes=policy.compaction.after_merge_mb * _MB)
            if len(expired_snapshots(base, policy.snapshots, datetime.now(UTC))) >= _EXPIRE_AT_ONCE:
                expiry = work.expire()
    except CdcError as e:
        # The merge is done and its snapshot stands: the next run of the maintenance meets this again.
        error = redact(str(e))
    if not groups and expiry is None and error is None:
        return None
    seconds = round(time.perf_counter() - started, 3)
    return MaintenanceResult(
        source, table.id, False, groups=groups, expiry=expiry, seconds=seconds, error=error
    )


def _may_be_due(table: Table, policy: MaintenanceOptions) -> bool:
    """Whether the current snapshot's totals allow that a file is due; true when they are not there."""
    totals = properties_of(table.current_snapshot())
    names = ("total-data-files", "total-position-deletes", "total-delete-files")
    files, deleted, _ = (int(totals.get(name, -1)) for name in names)
    if min(files, deleted) < 0:
        return True
    # with fewer deletes only a file none of whose rows is left could be in debt, and merges drop those
    return files >= policy.compaction.min_files or deleted >= policy.compaction.min_deleted_rows


@dataclass(frozen=True, slots=True)
class _Work:
    """The steps on one table, each on the table as it stands when the step begins."""

    lake: Lake
    source: str
    table_id: str
    policy: MaintenanceOptions
    load: Callable[[], Table | None]
    dry_run: bool
    force: bool
    note: Callable[[str], None]

    @property
    def where(self) -> str:
        return f"{self.source}/{self.table_id}"

    def compact(self, most_bytes: int | None = None) -> tuple[GroupResult, ...]:
        options = self.policy.compaction
        plan = plan_compaction(self._base(), options, most_bytes=most_bytes)
        if self.dry_run:
            return tuple(map(GroupResult.expected, plan.groups))
        total, done = len(plan.groups), 0

        def each(_: GroupResult) -> None:
            nonlocal done
            done += 1
            self.note(f"{self.where}: {done} of {total} groups compacted")

        return commit_compaction(self.lake, plan, attempts=options.attempts, each=each)

    def expire(self) -> ExpiryResult:
        self.note(f"{self.where}: expiring snapshots")
        objects = self.lake.objects(self.source, self.table_id)
        plan = plan_expiry(self._base(), objects, self.policy.snapshots)
        if self.dry_run:
            return ExpiryResult(len(plan.expired), plan.kept, len(plan.files), len(plan.object_keys))
        return commit_expiry(plan)

    def clean(self) -> OrphanResult:
        self.note(f"{self.where}: looking for orphans")
        objects = self.lake.objects(self.source, self.table_id)
        plan = plan_orphans(self._base(), objects, self.policy.orphans, force=self.force)
        return OrphanResult(len(plan.files), plan.bytes) if self.dry_run else remove_orphans(plan)

    def _base(self) -> Table:
        base = self.load()
        assert base is not None
        return base


def _work_on(
    lake: Lake,
    source: str,
    table: TableConfig,
    *,
    dry_run: bool = False,
    force: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> _Work:
    load = partial(lake.load, source, table.id)
    return _Work(lake, source, table.id, policy_of(lake.config, table), load, dry_run, force, note)
