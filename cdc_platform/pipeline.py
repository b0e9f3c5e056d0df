"""The platform's operations, as the command line and the Dagster shell both call them.

:class:`Platform` is an opened ``cdc.yaml``. ``take_in`` records what DMS left, ``merge_table`` brings
accepted files into a base table, ``reconcile`` compares. Each may be repeated, in any order, by any number of
processes: what is recorded with the data decides what is still to do, never the caller's memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cdc_platform.config.load import load_config
from cdc_platform.config.model import Images, PlatformConfig, SourceConfig, TableConfig
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.lake.applied import AppliedRecord, read_applied
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.load_completion import complete_load, completed_generation
from cdc_platform.prepared_merge import PreparedMerge
from cdc_platform.publication import Publication, publish
from cdc_platform.raw import intake
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.intake import IntakeResult
from cdc_platform.raw.load_sets import LoadSets
from cdc_platform.raw.manifests import (
    Accepted,
    WindowManifest,
    read_accepted,
    read_load_sets,
    read_manifest,
    windows_of,
)
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import is_repair
from cdc_platform.raw.store import RawStore, open_raw_store
from cdc_platform.raw.window_keys import check_lengths
from cdc_platform.reconcile.patience import CapturePatience
from cdc_platform.refused_names import (
    close_overwritten,
    close_refused,
    never_applied,
    not_accepted,
    not_given_up,
    quarantine_name,
    release_found_again,
)
from cdc_platform.table_status import TableStatus, status
from cdc_platform.window_checks import CheckOutcome

if TYPE_CHECKING:
    from cdc_platform.formats.dms_reader import EventFile
    from cdc_platform.lake.result import MergeResult
    from cdc_platform.reconcile.table_capture import TableCapture
    from cdc_platform.reconcile.verdict import Reconciliation
    from cdc_platform.repair.event_file import RepairFile
    from cdc_platform.replication import TableStatistics

__all__ = [
    "CheckOutcome",
    "IntakeResult",
    "Platform",
    "PreparedMerge",
    "Publication",
    "TableStatus",
    "complete_load",
    "merge_table",
    "prepare_merge",
    "publish",
    "reconcile",
    "status",
    "take_in",
]


class Platform:
    """An opened configuration: the lake, the raw locations and the small objects beside the tables."""

    def __init__(self, config: PlatformConfig) -> None:
        self.config, self.patience = config, CapturePatience()
        self._stores: dict[str, RawStore] = {}

    @classmethod
    def open(cls, path: str | Path) -> Platform:
        """Read ``cdc.yaml`` at ``path``. Raises ConfigError with every mistake in it."""
        return cls(load_config(path))

    @cached_property
    def lake(self) -> Lake:
        """The catalog, opened on first use."""
        return open_lake(self.config)

    def source(self, name: str) -> SourceConfig:
        """Return a source's configuration. Raises ConfigError naming those there are."""
        if name not in self.config.sources:
            there = ", ".join(self.config.sources) or "none"
            raise ConfigError("cdc.yaml", [("sources", f"there is no source {name!r}", f"sources: {there}")])
        return self.config.sources[name]

    def table(self, source: str, table_id: str) -> TableConfig:
        """Return a table's configuration. Raises ConfigError naming those there are."""
        tables = {table.id: table for table in self.source(source).tables}
        if table_id not in tables:
            mend = f"tables: {', '.join(tables) or 'none'}"
            path = f"sources.{source}.tables"
            raise ConfigError("cdc.yaml", [(path, f"there is no table {table_id!r}", mend)])
        return tables[table_id]

    def tables(self, sources: Collection[str] | None = None) -> Iterator[tuple[str, TableConfig]]:
        """Yield (source name, table) of every active table."""
        for name, source in self.config.sources.items():
            if sources is None or name in sources:
                yield from ((name, table) for table in source.tables if table.active)

    def raw_store(self, source: str, table_id: str | None = None) -> RawStore:
        """Return the raw location of a source, or of one of its tables that has its own."""
        config = self.source(source)
        raw = config.raw if table_id is None else config.raw_of(self.table(source, table_id))
        if raw.location not in self._stores:
            self._stores[raw.location] = open_raw_store(self.config, raw)
        return self._stores[raw.location]

    def objects(self, source: str, table_id: str) -> ObjectStore:
        """Return the store of a table's manifests, quarantine and reports."""
        return self.lake.objects(source, table_id)

    def load_sets(self, source: str, table_id: str) -> LoadSets:
        """Return the full loads known of a table."""
        return read_load_sets(self.objects(source, table_id))

    def windows(self, source: str, table_id: str) -> tuple[str, ...]:
        """Return the windows that have accepted files, oldest first.

        Raises ConfigError when they are not as long as is configured.
        """
        windows = tuple(windows_of(self.objects(source, table_id)))
        check_lengths(windows, self.source(source).window, source=source, table_id=table_id)
        return windows

    def manifest(self, source: str, table_id: str, window: str) -> WindowManifest:
        """Return what was accepted into a window."""
        return read_manifest(self.objects(source, table_id), source, table_id, window)

    def accepted(self, source: str, table_id: str) -> Accepted:
        """Return everything accepted of a table, load sets and manifests read once.

        Raises ConfigError when its windows are not as long as is configured.
        """
        accepted = read_accepted(self.objects(source, table_id))
        windows = (one.window for one in accepted.manifests)
        check_lengths(windows, self.source(source).window, source=source, table_id=table_id)
        return accepted

    def applied(self, source: str, table_id: str) -> AppliedRecord:
        """Return what the base table has applied."""
        return read_applied(self.lake.load(source, table_id), self.objects(source, table_id))

    def event_file(self, source: str, table_id: str, accepted: AcceptedFile) -> EventFile | RepairFile:
        """Open an accepted file as a normalised event stream."""
        from cdc_platform.formats.dms_reader import open_event_file
        from cdc_platform.repair.event_file import open_repair_file

        if is_repair(accepted.file.key):
            return open_repair_file(self.objects(source, table_id), accepted)
        table = self.table(source, table_id)
        store, raw = self.raw_store(source, table_id), self.source(source).raw_of(table)
        return open_event_file(store, raw, table, accepted)

    def has_task(self, source: str) -> bool:
        """Return whether ``cdc.yaml`` says anything of a source's DMS task; if not, DMS is never asked."""
        return "dms" in self.source(source).model_fields_set

    def captured_position(self, source: str) -> str | None:
        """Return the log position up to which a source's changes are in raw files; None when unknown."""
        from cdc_platform.replication import captured_position, dms_client, task_identifier

        if not self.has_task(source):
            return None
        try:
            return captured_position(dms_client(self.config, source), task_identifier(self.config, source))
        except CdcError:
            return None  # the verdict then says what could not be decided, and why

    def table_capture(self, source: str, table_id: str, *, with_slot: bool = False) -> TableCapture:
        """Return what the source's DMS task says of a table; where nobody can tell, it says why."""
        from cdc_platform.reconcile.table_capture import TableCapture
        from cdc_platform.replication import dms_client, table_capture, task_identifier

        if not self.has_task(source):
            return TableCapture(unknown="cdc.yaml says nothing of the source's DMS task")
        table, task = self.table(source, table_id), task_identifier(self.config, source)
        try:
            return table_capture(dms_client(self.config, source), task, table, with_slot=with_slot)
        except CdcError as error:
            return TableCapture(unknown=error.what)

    def table_statistics(self, source: str, table_id: str) -> TableStatistics | None:
        """Return DMS's statistics of a table; None when its task has none. Raises ReplicationError."""
        from cdc_platform.replication import describe_task, dms_client, statistics_of, task_identifier

        if not self.has_task(source):
            return None
        table, client = self.table(source, table_id), dms_client(self.config, source)
        task = describe_task(client, task_identifier(self.config, source))
        return statistics_of(client, task, table.schema_name, table.table_name)


def take_in(
    platform: Platform,
    source: str,
    tables: Collection[str] | None = None,
    windows: Collection[str] | None = None,
    *,
    full: bool = True,
) -> IntakeResult:
    """Record the files DMS left for ``tables`` (ids; None: every active one), and quarantine odd names.

    ``full=False`` leaves out change files some days older than the newest known: for frequent calls.
    """
    result = intake.take_in(
        source,
        platform.source(source),
        store_of=lambda table: platform.raw_store(source, table.id),
        objects_of=lambda table_id: platform.objects(source, table_id),
        tables=tables,
        windows=windows,
        full=full,
        never_applied=partial(never_applied, platform, source),
    )
    result = replace(result, refused=tuple(not_accepted(platform, source, result.refused)))
    for refused in result.refused:
        quarantine_name(platform, source, refused)
    for table_id in (new := {one.table_id for one in result.accepted}):
        close_overwritten(platform, source, table_id)
    again: list[tuple[str, str]] = []
    for _, table in platform.tables([source]):
        if (full and (tables is None or table.id in tables)) or table.id in new:
            close_refused(platform, source, table.id, result, full=full)
        if full and windows is None and (tables is None or table.id in tables):
            again += release_found_again(platform, source, table.id)
    told = tuple(not_given_up(platform, source, result.refused))
    return replace(result, refused=told, reassigned=(*result.reassigned, *again))


def merge_table(
    platform: Platform, source: str, table_id: str, windows: Sequence[str] | None = None
) -> MergeResult:
    """Merge accepted files of ``windows`` (None: all) that base has not applied, in one snapshot.

    Files whose generation changed since they were applied (a full load became known later) are applied
    again with them, whatever their window.
    """
    return prepare_merge(platform, source, table_id, windows).run()


def prepare_merge(
    platform: Platform, source: str, table_id: str, windows: Sequence[str] | None = None
) -> PreparedMerge:
    """Find what :func:`merge_table` has to merge; nothing is opened yet."""
    from cdc_platform.lake.inputs import MergeInput
    from cdc_platform.lake.standing import read_standing

    table, accepted = platform.table(source, table_id), platform.accepted(source, table_id)
    standing = read_standing(platform.lake, source, table_id)
    applied = standing.record
    wanted = None if windows is None else set(windows)
    # of a late event it matters what later windows set, where updates tell the changed columns only
    looks_back = wanted and table.images is Images.PARTIAL
    files = [
        one
        for one in accepted.readable
        if wanted is None
        or one.window in wanted
        or applied.is_outdated(one)
        or (looks_back and one.window > min(wanted) and applied.holds(one))
    ]
    complete = completed_generation(platform, source, table_id, accepted, applied, files)
    if not table.merge_key:
        # without a key a file applied again would double its rows, unless the load's completion removes them
        files = [one for one in files if not applied.is_outdated(one) or one.generation == complete]
    # Of a long history nearly all is applied: only what the merge may read is made an input.
    freed = {(item.key, item.etag) for item in standing.items}
    chosen = [
        one
        for one in files
        if table.images is Images.PARTIAL or not applied.holds(one) or (one.file.key, one.file.etag) in freed
    ]
    inputs = (MergeInput(one, partial(platform.event_file, source, table_id, one)) for one in chosen)
    size = sum(one.file.size for one in chosen if not applied.holds(one))
    skipped = len(files) - len(chosen)
    return PreparedMerge(platform.lake, source, table, tuple(inputs), complete, standing, size, skipped)


def reconcile(platform: Platform, source: str, table_id: str, window: str) -> Reconciliation:
    """Compare a window: raw files with base, and the source with base."""
    from cdc_platform.reconcile.window import reconcile_window

    return reconcile_window(platform, source, table_id, window)
