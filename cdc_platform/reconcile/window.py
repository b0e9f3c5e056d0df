"""Reconciling one window of one table: pin base, read raw, read the source, compare, certify.

The order matters for a right verdict: base is pinned before the source is read, and raw is listed after
capture was asked how far it has come; see ``in_flight``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from cdc_platform.config.model import DeleteMode, Images, PlatformConfig, SourceConfig, TableConfig
from cdc_platform.errors import CdcError, redact
from cdc_platform.lake.applied import AppliedRecord, read_applied
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.quarantine import items_in
from cdc_platform.lake.read import iceberg_scan_sql, open_workspace
from cdc_platform.naming import sql_text
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.manifests import WindowManifest, windows_of
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.store import RawStore
from cdc_platform.reconcile.awaited import load_awaited_keys, unaccepted_files
from cdc_platform.reconcile.base_rows import BaseView, load_base_rows
from cdc_platform.reconcile.certificate import certificate
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.open_points import open_points
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.raw_base import compare_raw_base
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.standing import Quarantined, quarantined, standing_of, window_files
from cdc_platform.reconcile.typed import canonical_schema
from cdc_platform.reconcile.verdict import (
    RAW_MATCHES_BASE,
    SOURCE_MATCHES_BASE,
    Comparison,
    Reconciliation,
    Verdict,
    combine,
)
from cdc_platform.reconcile.window_events import Events, Standing, WindowEvents, load_window_events

_T = TypeVar("_T")


class Platform(Protocol):
    """What reconciliation needs of ``pipeline.Platform``."""

    config: PlatformConfig

    @property
    def lake(self) -> Lake: ...

    def source(self, name: str) -> SourceConfig: ...

    def table(self, source: str, table_id: str) -> TableConfig: ...

    def raw_store(self, source: str, table_id: str | None = None) -> RawStore: ...

    def objects(self, source: str, table_id: str) -> ObjectStore: ...

    def manifest(self, source: str, table_id: str, window: str) -> WindowManifest: ...

    def event_file(self, source: str, table_id: str, accepted: AcceptedFile) -> Events: ...

    def captured_position(self, source: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Subject:
    """The window being reconciled and the base it is compared with, pinned to one snapshot."""

    platform: Platform
    source_name: str
    source: SourceConfig
    table: TableConfig
    window: str
    record: AppliedRecord
    quarantine: Quarantined
    view: BaseView

    @property
    def key(self) -> tuple[str, ...]:
        return self.table.safe_key

    @property
    def where(self) -> str:
        return f"{self.source_name}.{self.table.id} {self.window}"

    @property
    def manifest(self) -> WindowManifest:
        return self.platform.manifest(self.source_name, self.table.id, self.window)

    def unaccepted(self) -> list[str]:
        """Return the windows of raw files nobody has accepted yet, one entry a file."""
        platform, table_id = self.platform, self.table.id
        objects = platform.objects(self.source_name, table_id)
        known = {
            (file.file.key, file.file.etag)
            for window in windows_of(objects)
            for file in platform.manifest(self.source_name, table_id, window).files
        }
        store = platform.raw_store(self.source_name, table_id)
        found = unaccepted_files(store, self.source, self.table, known | set(self.quarantine.files))
        return [window for _, window in found]


def reconcile_window(platform: Platform, source: str, table_id: str, window: str) -> Reconciliation:
    """Compare raw with base and the source with base for the keys changed in ``window``.

    Never raises for a side that cannot be compared: the verdict says so. Raises ConfigError for an unknown
    table and ValueError for a key that is no window.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    config, table = platform.source(source), platform.table(source, table_id)
    bounds = config.window.bounds(window)
    run_id = f"{started_at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    subject, workspace = pin(platform, source, table_id, window), open_workspace(platform.lake, iceberg=True)
    try:
        comparisons = _compare(subject, workspace)
    finally:
        workspace.close()
    verdict = combine(comparison.verdict for comparison in comparisons)
    return Reconciliation(
        run_id=run_id,
        source=source,
        table_id=table_id,
        window=window,
        verdict=verdict,
        comparisons=comparisons,
        certificate=certificate(
            run_id=run_id,
            source=source,
            table=table.name,
            window=window,
            bounds=bounds,
            merge_key=table.merge_key,
            verdict=verdict,
            comparisons=comparisons,
            started_at=started_at,
        ),
        started_at=started_at,
        seconds=round(time.monotonic() - started, 3),
    )


def pin(platform: Platform, source: str, table_id: str, window: str) -> _Subject:
    """Load base as it stands now, with the files applied in just that snapshot."""
    config, table = platform.source(source), platform.table(source, table_id)
    objects = platform.objects(source, table_id)
    base = platform.lake.load(source, table_id)
    record = read_applied(base, objects)
    return _Subject(
        platform=platform,
        source_name=source,
        source=config,
        table=table,
        window=window,
        record=record,
        quarantine=quarantined(items_in(objects)),
        view=base_view(base, record, table, objects),
    )


def base_view(
    base: Table | None, record: AppliedRecord, table: TableConfig, objects: ObjectStore
) -> BaseView:
    """Return how SQL reads the pinned snapshot of ``base``."""
    snapshot = base.current_snapshot() if base is not None else None
    urls = ", ".join(sql_text(objects.url(key)) for key in record.tombstones)
    return BaseView(
        relation=iceberg_scan_sql(base) if base is not None and snapshot is not None else None,
        schema=canonical_schema(schema_to_pyarrow(base.schema(), include_field_ids=False))
        if base
        else pa.schema([]),
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        tombstones=f"read_parquet([{urls}], union_by_name = true)" if urls else None,
        completed_generation=record.generation_complete or None,
        soft_deletes=table.delete_mode is DeleteMode.SOFT,
        partial_images=table.images is Images.PARTIAL,
    )


def _compare(subject: _Subject, workspace: duckdb.DuckDBPyConnection) -> tuple[Comparison, ...]:
    if not subject.key:
        reason = "the table has no merge key, so its rows cannot be told apart by window"
        return (
            _unverified(RAW_MATCHES_BASE, reason, subject),
            _unverified(SOURCE_MATCHES_BASE, reason, subject),
        )
    unaccepted = guarded(lambda: subject.unaccepted())
    if isinstance(unaccepted, Failed):
        return tuple(_failed(name, unaccepted, subject) for name in (RAW_MATCHES_BASE, SOURCE_MATCHES_BASE))
    here = [window for window in unaccepted if window == subject.window]
    loaded = guarded(lambda: _load(subject, workspace))
    if isinstance(loaded, Failed):
        unknown = "the keys changed in the window are not known, since its raw files could not be compared"
        return _failed(RAW_MATCHES_BASE, loaded, subject), _unverified(SOURCE_MATCHES_BASE, unknown, subject)
    subject, events = loaded
    floor = subject.record.tombstone_floor
    raw = guarded(
        lambda: compare_raw_base(workspace, events, subject.view, unaccepted=here, tombstone_floor=floor)
    )
    return (
        _failed(RAW_MATCHES_BASE, raw, subject) if isinstance(raw, Failed) else raw,
        _compare_source(subject, workspace, events, here),
    )


def _load(subject: _Subject, workspace: duckdb.DuckDBPyConnection) -> tuple[_Subject, WindowEvents]:
    open_file = partial(subject.platform.event_file, subject.source_name, subject.table.id)
    files = window_files(subject.manifest, subject.record, subject.quarantine, open_file)
    events = load_window_events(
        workspace,
        files,
        key=subject.key,
        base_columns=subject.view.columns,
        completed_generation=subject.view.completed_generation,
        where=subject.where,
    )
    if subject.view.relation is None:
        # Before the first merge there is no table: nothing but the keys can be compared, with no row.
        subject = replace(subject, view=replace(subject.view, schema=events.key_columns))
    load_base_rows(workspace, subject.view, subject.key)
    return subject, events


def _compare_source(
    subject: _Subject, workspace: duckdb.DuckDBPyConnection, events: WindowEvents, here: list[str]
) -> Comparison:
    points = open_points(events, here)
    if not events.keys:
        verdict = combine([Verdict.MATCH, *(verdict for verdict, _ in points)])
        reason = "; ".join(
            ["no key was changed in this window, nothing was read", *(text for _, text in points)]
        )
        return _plain(SOURCE_MATCHES_BASE, verdict, reason, subject)
    reader = source_reader(subject.source)
    if isinstance(reader, str):
        return _unverified(SOURCE_MATCHES_BASE, reader, subject)
    table = subject.table
    compared = guarded(
        lambda: compare_source_base(
            workspace,
            reader,
            reader.plan(table.schema_name, table.table_name, subject.key, subject.view.columns),
            subject.view,
            observe=lambda: observe(subject, workspace, reader),
            open_points=points,
        )
    )
    return _failed(SOURCE_MATCHES_BASE, compared, subject) if isinstance(compared, Failed) else compared


def source_reader(source: SourceConfig) -> SourceReader | str:
    """Return the reader of a source, or why there is none."""
    if source.connection is None:
        return "the source has no `connection` in cdc.yaml, so it was not read"
    if source.engine != "postgresql":
        return f"reading {source.engine} sources is not supported yet"
    return PostgresReader(source.connection)


def observe(subject: _Subject, workspace: duckdb.DuckDBPyConnection, reader: SourceReader) -> Capture:
    """Ask how far capture has come, then find what the pinned snapshot still awaits: in this order."""
    platform, table_id = subject.platform, subject.table.id
    captured = platform.captured_position(subject.source_name)
    now = reader.position() if captured else None
    waiting: list[Callable[[], Events]] = []
    for window in windows_of(platform.objects(subject.source_name, table_id)):
        for file in platform.manifest(subject.source_name, table_id, window).readable:
            if standing_of(file, subject.record, subject.quarantine) is Standing.PENDING:
                waiting.append(partial(platform.event_file, subject.source_name, table_id, file))
    untold = load_awaited_keys(workspace, waiting, subject.key)
    return Capture(captured, now, unaccepted=len(subject.unaccepted()) + untold)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a step could not be done."""

    reason: str


def guarded(step: Callable[[], _T]) -> _T | Failed:
    """Run ``step``; what it raises on purpose, or DuckDB over bad files, becomes a reason."""
    try:
        return step()
    except CdcError as error:
        return Failed(str(error))
    except (duckdb.Error, pa.ArrowException) as error:
        return Failed(redact(f"{type(error).__name__}: {error}"))


def _failed(name: str, failed: Failed, subject: _Subject) -> Comparison:
    return _plain(name, Verdict.ERROR, failed.reason, subject)


def _unverified(name: str, reason: str, subject: _Subject) -> Comparison:
    return _plain(name, Verdict.UNVERIFIED, reason, subject)


def _plain(name: str, verdict: Verdict, reason: str, subject: _Subject) -> Comparison:
    return Comparison(name=name, verdict=verdict, reason=reason, snapshot_id=subject.view.snapshot_id)
