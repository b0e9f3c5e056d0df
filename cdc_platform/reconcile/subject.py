"""What is reconciled: one window of one table, and base pinned to the snapshot it stands at now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from cdc_platform.config.model import Images, PlatformConfig, SourceConfig, TableConfig
from cdc_platform.events import GENERATION, POSITION
from cdc_platform.lake.applied import AppliedRecord, read_applied
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.declared import keeps_deleted
from cdc_platform.lake.live_rows import live_files
from cdc_platform.lake.outages import outages
from cdc_platform.lake.quarantine import items_in
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted, safe_name
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.manifests import Accepted, WindowManifest, read_accepted
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.store import RawStore
from cdc_platform.reconcile.awaited import unaccepted_files
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.patience import CapturePatience
from cdc_platform.reconcile.standing import Quarantined, quarantined, standing_of, window_files
from cdc_platform.reconcile.table_capture import TableCapture
from cdc_platform.reconcile.typed import canonical_schema
from cdc_platform.reconcile.window_events import Events, Standing, WindowEvents, load_window_events


class Platform(Protocol):
    """What reconciliation needs of ``pipeline.Platform``."""

    config: PlatformConfig
    patience: CapturePatience

    @property
    def lake(self) -> Lake: ...

    def source(self, name: str) -> SourceConfig: ...

    def table(self, source: str, table_id: str) -> TableConfig: ...

    def raw_store(self, source: str, table_id: str | None = None) -> RawStore: ...

    def objects(self, source: str, table_id: str) -> ObjectStore: ...

    def manifest(self, source: str, table_id: str, window: str) -> WindowManifest: ...

    def event_file(self, source: str, table_id: str, accepted: AcceptedFile) -> Events: ...

    def captured_position(self, source: str) -> str | None: ...

    def table_capture(self, source: str, table_id: str, *, with_slot: bool = False) -> TableCapture: ...


_TOMBSTONE = f"generation AS {GENERATION}", f"position AS {POSITION}"


@dataclass(frozen=True, slots=True)
class OnTheWay:
    """Files on their way to base: how to open those that change keys, and how many may change any key.

    ``waiting_loads``: so many of ``files`` are of a full load, which takes away what is not in it as well.
    """

    files: list[Callable[[], Events]]
    of_any_key: int
    waiting_loads: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """The window being reconciled and the base it is compared with, pinned to one snapshot."""

    platform: Platform
    source_name: str
    source: SourceConfig
    table: TableConfig
    window: str
    record: AppliedRecord
    quarantine: Quarantined
    view: BaseView
    #: The base table at the pinned snapshot; None before the first merge.
    base: Table | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return self.table.safe_key

    @property
    def where(self) -> str:
        return f"{self.source_name}.{self.table.id} {self.window}"

    @property
    def manifest(self) -> WindowManifest:
        return self.platform.manifest(self.source_name, self.table.id, self.window)

    def has_files(self) -> bool:
        """Return whether there is, or was, a raw file of the table, of any name and whatever became of it."""
        accepted = read_accepted(self.platform.objects(self.source_name, self.table.id))
        store = self.platform.raw_store(self.source_name, self.table.id)
        there = store.list(f"{self.table.schema_name}/{self.table.table_name}/")
        held = self.quarantine.files or self.quarantine.held_rows or self.quarantine.discarded_rows
        return bool(held) or any(True for _ in (*accepted.files, *there))

    def on_the_way(self) -> OnTheWay:
        """Return what of any window the pinned snapshot has not applied, accepted or not.

        What is accepted is read once and before raw is listed: a file that is accepted in between is seen.
        """
        accepted = read_accepted(self.platform.objects(self.source_name, self.table.id))
        waiting = [
            one
            for one in accepted.readable
            if standing_of(one, self.record, self.quarantine) is Standing.PENDING
        ]
        new = self._unaccepted(accepted)
        # a full load takes rows away that are not in it
        loads = [one for one in new if one.kind is FileKind.LOAD]
        changes = [one for one in new if one.kind is not FileKind.LOAD]
        opened = partial(self.platform.event_file, self.source_name, self.table.id)
        accepted_loads = sum(one.kind is FileKind.LOAD for one in waiting)
        return OnTheWay([partial(opened, one) for one in (*waiting, *changes)], len(loads), accepted_loads)

    def load_events(self, connection: duckdb.DuckDBPyConnection) -> WindowEvents:
        """Load the events of the window's files; see :func:`load_window_events`."""
        opened = partial(self.platform.event_file, self.source_name, self.table.id)
        return load_window_events(
            connection,
            window_files(self.manifest, self.record, self.quarantine, opened),
            key=self.key,
            base_columns=self.view.columns,
            completed_generation=self.view.completed_generation,
            where=self.where,
        )

    def unaccepted(self, accepted: Accepted | None = None) -> list[str]:
        """Return the windows of raw files nobody has accepted yet, one entry a file.

        ``accepted`` is what was, read just now.
        """
        known = accepted or read_accepted(self.platform.objects(self.source_name, self.table.id))
        return [one.window for one in self._unaccepted(known)]

    def _unaccepted(self, accepted: Accepted) -> list[AcceptedFile]:
        known = {(file.file.key, file.file.etag) for file in accepted.files}
        store = self.platform.raw_store(self.source_name, self.table.id)
        return unaccepted_files(store, self.source, self.table, known | set(self.quarantine.files))


def pin(platform: Platform, source: str, table_id: str, window: str) -> Subject:
    """Load base as it stands now, with the files applied in just that snapshot.

    Raises MergeError or FileMissing where a file of base is damaged or not there, StorageUnavailable for
    an outage.
    """
    config, table = platform.source(source), platform.table(source, table_id)
    objects = platform.objects(source, table_id)
    base = platform.lake.load(source, table_id)
    with outages(f"{source}.{table_id}"):
        record = read_applied(base, objects)
        return Subject(
            platform=platform,
            source_name=source,
            source=config,
            table=table,
            window=window,
            record=record,
            quarantine=quarantined(items_in(objects)),
            view=base_view(base, record, table, objects),
            base=base,
        )


def base_view(
    base: Table | None, record: AppliedRecord, table: TableConfig, objects: ObjectStore
) -> BaseView:
    """Return how SQL reads the pinned snapshot of ``base``."""
    snapshot = base.current_snapshot() if base is not None else None
    live = live_files(base) if base is not None and snapshot is not None else None
    urls = [objects.url(key) for key in record.tombstones]
    key = (f"{quoted(alias(name))} AS {quoted(name)}" for name in table.safe_key)
    tombstone_keys = f"SELECT {', '.join([*key, *_TOMBSTONE])}"
    return BaseView(
        relation=live.sql() if live is not None else None,
        schema=canonical_schema(schema_to_pyarrow(base.schema(), include_field_ids=False))
        if base
        else pa.schema([]),
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        tombstones=f"({tombstone_keys} FROM {parquet_sql(urls, by_name=True)})" if urls else None,
        completed_generation=record.generation_complete or None,
        soft_deletes=keeps_deleted(base, table),
        partial_images=table.images is Images.PARTIAL,
        fields=_fields(base.schema()) if base is not None else {},
        declared={safe_name(column.name): column.type for column in table.columns},
        files=tuple(local_path(one.data.file_path) for one in live.files) if live is not None else (),
    )


def _fields(schema: Schema) -> dict[str, str]:
    """Return, of each column, what its values are read from: a name says nothing of that."""
    return {
        one.name: f"{one.field_id}: {one.field_type}, {one.initial_default!r} in older files"
        for one in schema.fields
    }
